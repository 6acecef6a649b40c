// SPDX-License-Identifier: MIT
// What a command says on stderr, kept for people: its beginning and its end, at
// most a few KiB however much it is. Lines that only tell of progress (a number) are left out,
// and so is what a carriage return overwrote.
#ifndef GENRUN_PROVIDER_SAID_H
#define GENRUN_PROVIDER_SAID_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

#define SAID_HEAD 2048
#define SAID_TAIL 4096
#define SAID_SECRET 1024 // the longest secret that is surely masked

// Overwrites what must not be seen in a text.
typedef void (*said_mask)(const void *payload, char *text);

struct said {
    char head[SAID_HEAD], tail[SAID_TAIL]; // the tail is a ring
    size_t head_length;
    uint64_t beyond; // bytes that came after the head
    struct buf line; // the line so far
    bool after_return;
    said_mask mask;
    const void *payload;
};

// mask NULL: nothing is masked. It sees each line before any part of it is dropped.
void said_init(struct said *said, said_mask mask, const void *payload);
void said_free(struct said *said);
void said_add(struct said *said, const char *bytes, size_t length);
// Appends all that is kept, with a note of what was left out between beginning and end; the open line is closed.
void said_write(struct said *said, struct buf *out);
// Appends the last `most` bytes at most of that, from the beginning of a character, without blanks around.
void said_write_end(struct said *said, size_t most, struct buf *out);

#endif
