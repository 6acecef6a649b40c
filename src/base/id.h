// SPDX-License-Identifier: MIT
// Identifiers. Ids are UUIDv7 (RFC 9562, section 6.2 method 2): 48 bits of Unix
// milliseconds, then random bits that count up inside one process, so that ids
// made in a row sort in order and their last 8 characters lie close together
// (the index over tails stays dense). Ids never step back with the clock.
#ifndef GENRUN_BASE_ID_H
#define GENRUN_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_SIZE 37 // 36 characters and the NUL
#define ID_TAIL 8  // the fewest characters of an id's end that serve for it

void id_make(char out[ID_SIZE]);
// True for 36 characters in the form of a UUID, in either case.
bool id_is_valid(const char *text);
// Fills `out` with 2*bytes random hex digits and a NUL.
void id_random_hex(char *out, size_t bytes);
uint64_t id_random_u64(void);
void id_random_bytes(void *out, size_t bytes);

#endif
