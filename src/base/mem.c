// SPDX-License-Identifier: MIT
// Allocation that does not fail. The only state is the handler that is told
// before the process ends; it stands alone because running out of memory has no
// caller that could be asked.
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

static void mem_exhausted(size_t bytes) __attribute__((noreturn, cold));
static void mem_exhausted(size_t bytes) {
    if (exhausted_handler) {
        exhausted_handler(bytes);
    } else {
        char line[128]; // no allocation here: there is no memory
        int n = snprintf(line, sizeof line,
                         "genrun: no memory for %zu bytes: give it more, or run less at once\n", bytes);
        ssize_t written = write(STDERR_FILENO, line, (size_t)n);
        (void)written; // nothing is left to do when stderr is gone too
    }
    abort();
}

void *mem_alloc(size_t count, size_t size) {
    if (count == 0 || size == 0) {
        count = size = 1;
    }
    void *p = calloc(count, size); // checks the multiplication
    if (!p) {
        mem_exhausted(count > SIZE_MAX / size ? SIZE_MAX : count * size);
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
    char *copy = malloc(length + 1);
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
