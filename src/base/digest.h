// SPDX-License-Identifier: MIT
// Digests, by OpenSSL's libcrypto, and comparing what must not be guessed.
#ifndef GENRUN_BASE_DIGEST_H
#define GENRUN_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#define DIGEST_SIZE 32                        // bytes of a SHA-256
#define DIGEST_HEX_SIZE (2 * DIGEST_SIZE + 1) // and its text with the NUL

void digest_sha256(unsigned char out[DIGEST_SIZE], const void *bytes, size_t length);
void digest_hmac_sha256(unsigned char out[DIGEST_SIZE], const void *key, size_t key_length, const void *bytes,
                        size_t length);
// In lower case.
void digest_hex(char out[DIGEST_HEX_SIZE], const unsigned char digest[DIGEST_SIZE]);
// The SHA-256 of a text, as hex.
void digest_text(char out[DIGEST_HEX_SIZE], const char *text);
// Are they equal? Takes as long wherever they differ.
bool digest_equal(const void *a, const void *b, size_t length);
// Of the library: "3.0.19".
const char *digest_version(void);

#endif
