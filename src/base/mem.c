// SPDX-License-Identifier: MIT
// Allocation that does not fail. The only state is the handler that is told
// before the process ends: where memory is gone there is no caller to ask.
#include "base/mem.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void (*exhausted_handler)(size_t bytes);

void mem_on_exhausted(void (*handler)(size_t bytes)) {
    exhausted_handler = handler;
}

void mem_give_up(const char *line) {
    ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written; // nothing is left to do when stderr is gone too
    abort();
}

static void mem_exhausted(size_t bytes) __attribute__((noreturn, cold));
static void mem_exhausted(size_t bytes) {
    char line[128] = ""; // no allocation here: there is no memory
    if (exhausted_handler) {
        exhausted_handler(bytes);
    } else {
        snprintf(line, sizeof line, "genrun: no memory for %zu bytes: give it more, or run less at once\n",
                 bytes);
    }
    mem_give_up(line);
}

void *mem_alloc(size_t count, size_t size) {
    if (count == 0 || size == 0) {
        count = size = 1;
    }
    if (count > SIZE_MAX / size) {
        mem_exhausted(SIZE_MAX);
    }
    void *p = calloc(count, size);
    if (!p) {
        mem_exhausted(count * size);
    }
    return p;
}

void *mem_resize(void *p, size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size) {
        mem_exhausted(SIZE_MAX);
    }
    size_t bytes = count * size;
    void *q = realloc(p, bytes ? bytes : 1);
    if (!q) {
        mem_exhausted(bytes);
    }
    return q;
}

char *mem_copy(const char *text) {
    return text ? mem_copy_bytes(text, strlen(text)) : NULL;
}

char *mem_copy_bytes(const void *bytes, size_t length) {
    char *copy = length < SIZE_MAX ? malloc(length + 1) : NULL;
    if (!copy) {
        mem_exhausted(length);
    }
    if (length) { // `bytes` may be NULL then
        memcpy(copy, bytes, length);
    }
    copy[length] = 0;
    return copy;
}

char *mem_format(const char *format, ...) {
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) {
        mem_exhausted(0);
    }
    return text;
}
