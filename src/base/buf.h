// SPDX-License-Identifier: MIT
// A growable byte buffer with a hard maximum given at init. The data is always
// NUL-terminated beyond `length`. Past the maximum an append stores nothing,
// sets `overflow` and returns false: the caller decides what that means. Every
// later append fails too, so that the data is never text with a hole in it,
// until buf_clear, buf_free or buf_take. Appended bytes must not lie in the
// buffer itself.
#ifndef GENRUN_BASE_BUF_H
#define GENRUN_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; // NULL until the first append
    size_t length;
    size_t capacity; // bytes allocated, the NUL's included
    size_t maximum;  // the greatest length
    bool overflow;
};

#define BUF_UNLIMITED ((size_t)-1 / 4)

void buf_init(struct buf *b, size_t maximum);
void buf_free(struct buf *b);  // releases the data; the buffer can be used again
void buf_clear(struct buf *b); // forgets the content, keeps the memory
// Room for so many bytes more, so that the next appends need not grow the buffer; nothing beyond the maximum.
void buf_reserve(struct buf *b, size_t length);
bool buf_append(struct buf *b, const void *bytes, size_t length);
bool buf_text(struct buf *b, const char *text);
bool buf_char(struct buf *b, char c);
bool buf_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Drops the first `length` bytes.
void buf_drop(struct buf *b, size_t length);
// Takes the data out (never NULL); the caller frees it. The buffer is empty afterwards.
char *buf_take(struct buf *b);
// The text so far, "" when empty; valid until the next change.
const char *buf_borrow(const struct buf *b);

#endif
