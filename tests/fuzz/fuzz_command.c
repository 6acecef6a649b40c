// SPDX-License-Identifier: MIT
// What a command may write: stdout as JSON gives outputs or a failure with a message, never both and never
// neither; stderr is kept within its limits, the same whatever the pieces it comes in; base64 is read or refused.
#include "base/base64.h"
#include "base/text.h"
#include "provider/classify.h"
#include "provider/command_answer.h"
#include "provider/said.h"
#include <stdlib.h>
#include <string.h>

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

static void check_outcome(struct outcome *outcome) {
    struct verdict verdict;
    if (outcome->failure.kind != FAILURE_NONE) {
        must(outcome->output_count == 0 && outcome->failure.message && *outcome->failure.message);
        classify(&outcome->failure, NULL, 1767225600000, &verdict);
        must(verdict.message[0] && text_is_utf8(verdict.message, strlen(verdict.message)));
        must(!strpbrk(verdict.message, "\n\r\x1b"));
    }
    for (size_t i = 0; i < outcome->output_count; i++) {
        must(strchr(outcome->outputs[i].mime, '/') != NULL && !outcome->outputs[i].partial);
    }
    outcome_free(outcome);
}

static void check_said(const char *bytes, size_t length, size_t piece) {
    struct said whole, pieces;
    struct buf a, b;
    said_init(&whole, NULL, NULL);
    said_init(&pieces, NULL, NULL);
    buf_init(&a, BUF_UNLIMITED);
    buf_init(&b, BUF_UNLIMITED);
    said_add(&whole, bytes, length);
    for (size_t at = 0; at < length; at += piece) {
        said_add(&pieces, bytes + at, length - at < piece ? length - at : piece);
    }
    said_write(&whole, &a);
    said_write(&pieces, &b);
    must(a.length == b.length && strcmp(buf_borrow(&a), buf_borrow(&b)) == 0);
    must(a.length == strlen(buf_borrow(&a)) && a.length < SAID_HEAD + SAID_TAIL + 64);
    buf_clear(&b);
    said_write_end(&whole, 1500, &b);
    must(b.length <= 1503);
    said_free(&whole);
    said_free(&pieces);
    buf_free(&a);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    struct outcome *outcome = outcome_new();
    command_answer_json(text, size, 1767225600000, outcome);
    check_outcome(outcome);
    outcome = outcome_new();
    must(command_answer_error(text, size, 0, outcome) == (outcome->failure.kind == FAILURE_SCRIPTED));
    check_outcome(outcome);
    outcome = outcome_new();
    command_answer_bytes(text, size, false, outcome);
    check_outcome(outcome);
    check_said(text, size, size % 7 + 1);
    struct buf bytes;
    buf_init(&bytes, BUF_UNLIMITED);
    must(!base64_decode(&bytes, text) ||
         bytes.length ==
             strlen(text) / 4 * 3 -
                 (strlen(text) ? (text[strlen(text) - 1] == '=') + (text[strlen(text) - 2] == '=') : 0));
    buf_free(&bytes);
    free(text);
    return 0;
}
