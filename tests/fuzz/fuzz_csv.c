// SPDX-License-Identifier: MIT
// The CSV reader, line by line as a file gives them. What it accepts, written again, is read as the same
// cells; what it refuses, it explains. The first byte says whether the writer quotes everything.
#include "batch/csv.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void must(bool holds) {
    if (!holds)
        abort();
}

// Takes lines until a record is complete; false at the end or for a refusal, with *at behind what was taken.
static bool take(struct csv *c, const char **at, const char *end, int64_t *number) {
    struct err e = {.code = ERR_OK};
    do {
        if (*at == end)
            return false;
        const char *lf = memchr(*at, '\n', (size_t)(end - *at));
        const char *stop = lf ? lf : end;
        bool crlf = lf && stop > *at && stop[-1] == '\r';
        if (csv_take_line(c, *at, (size_t)(stop - *at) - crlf,
                          crlf ? "\r\n"
                          : lf ? "\n"
                               : "",
                          ++*number, &e)) {
            must(e.code == ERR_INVALID && strstr(e.message, ": "));
            return false;
        }
        *at = lf ? lf + 1 : end;
    } while (c->open);
    must(c->count > 0 && c->count <= CSV_COLUMNS_MAXIMUM && c->first_line <= *number);
    return true;
}

static void check_again(const struct csv *c, bool quoted) {
    struct buf out;
    struct csv again;
    buf_init(&out, BUF_UNLIMITED);
    csv_init(&again);
    for (size_t i = 0; i < c->count; i++) {
        if (i)
            buf_char(&out, ',');
        csv_write(&out, csv_text(c, i), c->cells[i].length, quoted);
    }
    buf_char(&out, '\n');
    const char *at = out.data;
    int64_t number = 0;
    must(take(&again, &at, out.data + out.length, &number) && at == out.data + out.length);
    must(again.count == c->count);
    for (size_t i = 0; i < c->count; i++) {
        must(again.cells[i].length == c->cells[i].length);
        must(memcmp(csv_text(&again, i), csv_text(c, i), c->cells[i].length + 1) == 0);
        must(csv_text(c, i)[c->cells[i].length] == '\0');
    }
    csv_free(&again);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct csv c;
    int64_t number = 0;
    if (size < 1)
        return 0;
    const char *at = (const char *)data + 1, *end = (const char *)data + size;
    csv_init(&c);
    while (take(&c, &at, end, &number))
        check_again(&c, data[0] & 1);
    csv_free(&c);
    return 0;
}
