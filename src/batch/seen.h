// SPDX-License-Identifier: MIT
// Tells whether a name was given twice in a file of any length. What is kept of
// a name is a keyed 128-bit hash and its line: up to a fixed number of records
// in memory, beyond it as sorted runs in an unlinked temporary file that are
// merged at the end. So memory stays bounded, and a file of hostile names
// cannot make two different ones collide.
#ifndef GENRUN_BATCH_SEEN_H
#define GENRUN_BATCH_SEEN_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

struct seen;

#define SEEN_IN_MEMORY 65536 // records of 24 bytes

// `in_memory` is the number of records kept in memory, at least 2. The caller frees it with seen_free.
struct seen *seen_new(size_t in_memory);
void seen_free(struct seen *seen); // NULL is fine
// Notes a name and its line; lines must ascend. ERR_CONFIG when the temporary file cannot be written.
int seen_add(struct seen *seen, const char *name, size_t length, int64_t line, struct err *e) must_check;
// Finds the earliest line whose name stood on a line before: *second is that line and *first the
// one where the name stood first; both 0 when all names differ. Ends the noting: only
// seen_free may follow.
int seen_find_duplicate(struct seen *seen, int64_t *first, int64_t *second, struct err *e) must_check;

#endif
