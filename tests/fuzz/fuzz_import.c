// SPDX-License-Identifier: MIT
// libFuzzer target of the import, and of the export with the same bytes as a server's answer.
// The first byte chooses format, name and defaults; the rest is the file. What must hold: each
// accepted item is valid UTF-8, its parameters are an object without genrun's own keys, and every
// result is one line of JSON.
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "batch/compact.h"
#include "batch/csv.h"
#include "batch/export.h"
#include "batch/import.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void expect(int condition, const char *what) {
    if (condition)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void expect_text(const char *text) {
    expect(!text || (*text && text_is_utf8(text, strlen(text))), "a text that is empty or not UTF-8");
}

static int check_item(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    int64_t *last = payload;
    expect(line > *last, "lines ascend");
    *last = line;
    (void)e;
    expect_text(spec->prompt);
    expect_text(spec->model_id);
    expect_text(spec->custom_id);
    expect_text(spec->topic);
    expect_text(spec->tier);
    expect_text(spec->type);
    expect_text(spec->template_id);
    expect_text(spec->session_id);
    expect_text(spec->endpoint);
    expect(spec->prompt || spec->parameters, "neither prompt nor body");
    expect(spec->priority >= -SPEC_PRIORITY_LIMIT && spec->priority <= SPEC_PRIORITY_LIMIT, "priority");
    if (!spec->parameters)
        return 0;
    cJSON *object = NULL;
    struct err why = {.code = ERR_OK};
    expect(json_parse(spec->parameters, strlen(spec->parameters), &object, &why) == 0, why.message);
    expect(cJSON_IsObject(object), "parameters are no object");
    static const char *const own[] = {"error", "errorContext", "cancelledAt", "cancelledReason"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        expect(!json_get(object, own[i]), "a key of a result");
    cJSON_Delete(object);
    return 0;
}

// A row of CSV: as many cells as the header has, text and bytes in them whole.
static void check_row(const struct result *result) {
    struct csv c;
    struct err e = {.code = ERR_OK};
    struct buf out;
    int64_t number = 0;
    csv_init(&c);
    buf_init(&out, BUF_UNLIMITED);
    export_line(&out, EXPORT_CSV, result);
    for (const char *at = out.data, *end = at + out.length; at < end; number++) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        expect(lf != NULL && (number == 0 || c.open), "more than a row");
        bool crlf = lf > at && lf[-1] == '\r';
        expect(csv_take_line(&c, at, (size_t)(lf - at) - crlf, crlf ? "\r\n" : "\n", number + 1, &e) == 0,
               e.message);
        at = lf + 1;
    }
    expect(!c.open && c.count == 15, "another number of cells");
    const char *prompt = result->prompt ? result->prompt : "";
    expect(strcmp(csv_text(&c, 4), prompt) == 0, "another prompt");
    const char *output = result->text;
    if (output && text_is_utf8(output, result->text_length) && !memchr(output, '\0', result->text_length))
        expect(c.cells[6].length == result->text_length &&
                   memcmp(csv_text(&c, 6), output, result->text_length) == 0,
               "another output");
    else if (output)
        expect(c.cells[6].length == 0 && c.cells[7].length == (result->text_length + 2) / 3 * 4,
               "bytes as text");
    csv_free(&c);
    buf_free(&out);
}

static void check_export(const char *bytes, size_t length, unsigned choice) {
    static const char *const states[] = {"completed", "failed", "cancelled"};
    static const char *const mimes[] = {"text/plain", "application/json", NULL};
    static const int codes[] = {0, 200, 500};
    char *text = mem_copy_bytes(bytes, length);
    struct result result = {.id = "0197f3c2-1111-7abc-8def-0123456789ab",
                            .custom_id = choice & 1 ? text : NULL,
                            .status = states[choice % 3],
                            .model_id = "m",
                            .prompt = choice & 2 ? text : NULL,
                            .http_status = codes[choice / 3 % 3],
                            .body = choice & 4 ? bytes : NULL,
                            .body_length = choice & 4 ? length : 0,
                            .text = choice & 8 ? bytes : NULL,
                            .text_length = choice & 8 ? length : 0,
                            .text_mime = mimes[choice / 9 % 3],
                            .error_message = choice & 16 ? text : NULL,
                            .completed_at = 1};
    check_row(&result);
    for (int format = EXPORT_OPENAI; format <= EXPORT_JSONL; format++) {
        struct buf out;
        cJSON *value = NULL;
        buf_init(&out, BUF_UNLIMITED);
        export_line(&out, (enum export_format)format, &result);
        expect(strchr(out.data, '\n') == out.data + out.length - 1, "not one line");
        expect(compact_is_json(out.data, out.length), "a line that is not JSON");
        // JSON of a server is handed on even where our own parser refuses it (\u0000, halves of
        // surrogates, deep nesting, endless numbers). What we write ourselves it reads.
        if (!compact_is_json(bytes, length)) {
            struct err why = {.code = ERR_OK};
            expect(json_parse_object(out.data, out.length, &value, &why) == 0, why.message);
            cJSON_Delete(value);
        }
        expect(text_is_utf8(out.data, out.length), "a line that is not UTF-8");
        buf_free(&out);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"in.jsonl", "in", "in.txt", "in.csv"};
    static const char *const defaults[] = {NULL, "{\"seed\":1,\"model\":\"d\"}", "{\"stream\":true}",
                                           "{\"error\":1}"};
    if (size < 2)
        return 0;
    struct buf notes;
    buf_init(&notes, BUF_UNLIMITED);
    struct import_options options = {.format = (enum import_format)(data[0] % 5),
                                     .parameters = defaults[data[0] >> 2 & 3],
                                     .priority = 5,
                                     .notes = &notes};
    const char *name = names[data[0] >> 4 & 3];
    struct err e = {.code = ERR_OK};
    enum import_format used = IMPORT_GUESS;
    int64_t last = 0, lines = 0;
    unsigned choice = data[0];
    data++;
    size--;
    char *bytes = mem_copy_bytes(data, size);
    FILE *stream = fmemopen(bytes, size, "r");
    int rc = import_lines(stream, name, &options, check_item, &last, &used, &lines, &e);
    fclose(stream);
    expect(rc == 0 || rc == ERR_INVALID, "an odd code");
    expect(rc == 0 ? lines > 0 : e.message[0] != '\0', "no item, or no reason");
    expect(!notes.length || notes.data[notes.length - 1] == '\n', "half a note");
    buf_free(&notes);
    check_export(bytes, size, choice);
    free(bytes);
    return 0;
}
