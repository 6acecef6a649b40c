// SPDX-License-Identifier: MIT
// Puts JSON text that came from elsewhere into one line of a results file, byte
// for byte but for the line breaks between its tokens. Nothing is parsed into a
// tree: \u0000, big numbers and repeated keys pass as the server wrote them.
#ifndef GENRUN_BATCH_COMPACT_H
#define GENRUN_BATCH_COMPACT_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

// True for exactly one JSON value (RFC 8259) in valid UTF-8, nested no deeper than 1024.
bool compact_is_json(const char *text, size_t length);
// Appends such a value without its line breaks; appends nothing and returns false for other text.
bool compact_json(struct buf *out, const char *text, size_t length);

#endif
