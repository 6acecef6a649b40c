// SPDX-License-Identifier: MIT
#include "sync/keys.h"
#include "base/mem.h"
#include <stdlib.h>

void keys_add(struct keys *k, int64_t number, const char *text) {
    if (k->count == k->room) {
        k->room = k->room ? k->room * 2 : 256;
        k->numbers = mem_resize(k->numbers, k->room, sizeof *k->numbers);
        k->texts = mem_resize(k->texts, k->room, sizeof *k->texts);
    }
    k->numbers[k->count] = number;
    k->texts[k->count++] = mem_copy(text);
}

void keys_free(struct keys *k) {
    for (size_t i = 0; i < k->count; i++)
        free(k->texts[i]);
    free(k->numbers);
    free(k->texts);
    *k = (struct keys){0};
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

void keys_unique(struct keys *k) {
    size_t n = 0;
    for (size_t i = 0; i < k->count; i++) {
        free(k->texts[i]);
        k->texts[i] = NULL;
    }
    if (k->count)
        qsort(k->numbers, k->count, sizeof *k->numbers, compare);
    for (size_t i = 0; i < k->count; i++)
        if (n == 0 || k->numbers[i] != k->numbers[n - 1])
            k->numbers[n++] = k->numbers[i];
    k->count = n;
}

void keys_write_numbers(const struct keys *k, struct buf *out) {
    buf_char(out, '{');
    for (size_t i = 0; i < k->count; i++)
        buf_format(out, "%s%lld", i ? "," : "", (long long)k->numbers[i]);
    buf_char(out, '}');
}

void keys_write_texts(const struct keys *k, struct buf *out) {
    buf_char(out, '{');
    for (size_t i = 0; i < k->count; i++) {
        buf_text(out, i ? ",\"" : "\"");
        for (const char *c = k->texts[i]; *c; c++) {
            if (*c == '"' || *c == '\\')
                buf_char(out, '\\');
            buf_char(out, *c);
        }
        buf_char(out, '"');
    }
    buf_char(out, '}');
}
