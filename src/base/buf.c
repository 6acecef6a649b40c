// SPDX-License-Identifier: MIT
// The growable buffer. `capacity` counts the byte for the NUL, `maximum` does
// not, so a buffer holds exactly `maximum` bytes and allocates at most one more.
#include "base/buf.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 64 // bytes of the first allocation

void buf_init(struct buf *b, size_t maximum) {
    *b = (struct buf){.maximum = maximum < BUF_UNLIMITED ? maximum : BUF_UNLIMITED};
}

void buf_free(struct buf *b) {
    if (!b) {
        return;
    }
    free(b->data);
    buf_init(b, b->maximum);
}

void buf_clear(struct buf *b) {
    b->length = 0;
    b->overflow = false;
    if (b->data) {
        b->data[0] = 0;
    }
}

// Makes room for `length` more bytes and the NUL; false when that passes the maximum.
static bool buf_grow(struct buf *b, size_t length) {
    if (b->overflow || length > b->maximum - b->length) {
        b->overflow = true;
        return false;
    }
    size_t need = b->length + length + 1;
    if (need <= b->capacity) {
        return true;
    }
    size_t capacity = b->capacity ? b->capacity * 2 : BUF_FIRST;
    if (capacity < need) {
        capacity = need;
    }
    if (capacity > b->maximum + 1) {
        capacity = b->maximum + 1;
    }
    b->data = mem_resize(b->data, capacity, 1);
    b->capacity = capacity;
    return true;
}

void buf_reserve(struct buf *b, size_t length) {
    if (!b->overflow && length <= b->maximum - b->length) {
        (void)buf_grow(b, length);
    }
}

bool buf_append(struct buf *b, const void *bytes, size_t length) {
    if (!buf_grow(b, length)) {
        return false;
    }
    if (length) { // `bytes` may be NULL then
        memcpy(b->data + b->length, bytes, length);
        b->length += length;
    }
    b->data[b->length] = 0;
    return true;
}

bool buf_text(struct buf *b, const char *text) {
    return buf_append(b, text, strlen(text));
}

bool buf_char(struct buf *b, char c) {
    return buf_append(b, &c, 1);
}

bool buf_format(struct buf *b, const char *format, ...) {
    va_list args;
    if (!buf_grow(b, 0)) {
        return false;
    }
    size_t room = b->capacity - b->length;
    va_start(args, format);
    int n = vsnprintf(b->data + b->length, room, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n >= room) {
        if (!buf_grow(b, (size_t)n)) {
            b->data[b->length] = 0; // nothing is stored, not even what fitted
            return false;
        }
        va_start(args, format);
        n = vsnprintf(b->data + b->length, (size_t)n + 1, format, args);
        va_end(args);
    }
    if (n < 0) { // an encoding error of %ls, or more than INT_MAX bytes
        b->data[b->length] = 0;
        b->overflow = true;
        return false;
    }
    b->length += (size_t)n;
    return true;
}

void buf_drop(struct buf *b, size_t length) {
    if (length >= b->length) {
        length = b->length;
    }
    if (length == 0) {
        return;
    }
    b->length -= length;
    memmove(b->data, b->data + length, b->length + 1);
}

char *buf_take(struct buf *b) {
    char *data = b->data ? b->data : mem_copy("");
    buf_init(b, b->maximum);
    return data;
}

const char *buf_borrow(const struct buf *b) {
    return b->data ? b->data : "";
}
