// SPDX-License-Identifier: MIT
// The readers of small texts: escaping is safe, stable and within its limits, words fit their
// block, and a duration or time that is accepted reads back the same from its own text form.
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

static void check_escape(const char *bytes, size_t length) {
    struct buf once, twice;
    buf_init(&once, BUF_UNLIMITED);
    buf_init(&twice, BUF_UNLIMITED);
    text_escape(&once, bytes, length, 0);
    const char *text = buf_borrow(&once);
    must(text_is_utf8(text, once.length) && !strpbrk(text, "\n\r\t\x1b\x7f"));
    text_escape(&twice, text, once.length, 0);
    must(strcmp(text, buf_borrow(&twice)) == 0);
    size_t columns = length % 40 + 1;
    buf_clear(&twice);
    text_escape(&twice, bytes, length, columns);
    must(text_width(buf_borrow(&twice)) <= columns);
    char *array = malloc(columns + 4);
    must(text_escape_array(array, columns + 4, bytes, length) <= columns + 3);
    must(text_is_utf8(array, strlen(array)));
    free(array);
    buf_free(&once);
    buf_free(&twice);
}

static void check_times(const char *text) {
    int64_t ms, back;
    struct err e = {0};
    if (clock_parse_duration(text, &ms, &e) == ERR_OK) {
        char form[32];
        must(ms >= 0);
        clock_format_duration(ms, form, sizeof form);
        must(clock_parse_duration(form, &back, NULL) == ERR_OK && back == ms);
    } else {
        must(e.message[0] != 0);
    }
    if (clock_parse_iso(text, &ms) == ERR_OK) {
        char form[CLOCK_ISO_SIZE];
        clock_format_iso(ms, form);
        must(clock_parse_iso(form, &back) == ERR_OK);
        must(back == ms || form[0] == '0' || form[0] == '9'); // an offset can lead out of the years there are
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    static const char *const names[] = {"submit", "heartbeat_interval", "logs"};
    char *text = strndup((const char *)data, size);
    check_escape((const char *)data, size);
    check_times(text);
    size_t total = 0;
    char **words = text_words(text);
    for (char **w = words; w && *w; w++) {
        total += strlen(*w);
    }
    must(total <= size);
    text_words_free(words);
    const char *nearest = text_nearest(text, names, 3);
    must(!nearest || strlen(text) <= 64);
    must(!id_is_valid(text) || strlen(text) == 36);
    must(strlen(text_trim(text)) <= size);
    free(text);
    return 0;
}
