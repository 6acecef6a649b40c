// SPDX-License-Identifier: MIT
// What rows are asked for by: numbers, or the texts of a small table.
#ifndef GENRUN_SYNC_KEYS_H
#define GENRUN_SYNC_KEYS_H

#include "base/buf.h"
#include <stddef.h>
#include <stdint.h>

struct keys {
    int64_t *numbers;
    char **texts; // NULL where the number counts
    size_t count, room;
};

void keys_add(struct keys *k, int64_t number, const char *text); // copies the text
void keys_free(struct keys *k);                                  // it is empty then, and may be used again
// Numbers in order, each once: a row may stand only once in a statement. The texts are given up.
void keys_unique(struct keys *k);
// As an array of Postgres.
void keys_write_numbers(const struct keys *k, struct buf *out);
void keys_write_texts(const struct keys *k, struct buf *out);

#endif
