// SPDX-License-Identifier: MIT
// Base64 (RFC 4648, section 4), strict: only the alphabet, padding as it must be.
#ifndef GENRUN_BASE_BASE64_H
#define GENRUN_BASE_BASE64_H

#include "base/buf.h"

// Appends the bytes that the text stands for; false, and nothing useful appended, when it is no base64.
bool base64_decode(struct buf *out, const char *text);

// Appends the bytes as base64, padded.
void base64_encode(struct buf *out, const void *bytes, size_t length);
// Appends the bytes in the alphabet of URLs (section 5), without padding.
void base64_url(struct buf *out, const void *bytes, size_t length);

#endif
