// SPDX-License-Identifier: MIT
// The only file that knows libcrypto. It fails for lack of memory alone, and then the process ends as anywhere else.
#include "base/digest.h"
#include "base/mem.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define GONE "genrun: libcrypto made no SHA-256: there is no memory, or its configuration forbids it\n"

void digest_sha256(unsigned char out[DIGEST_SIZE], const void *bytes, size_t length) {
    unsigned size = 0;
    if (EVP_Digest(bytes, length, out, &size, EVP_sha256(), NULL) != 1 || size != DIGEST_SIZE)
        mem_give_up(GONE);
}

void digest_hmac_sha256(unsigned char out[DIGEST_SIZE], const void *key, size_t key_length, const void *bytes,
                        size_t length) {
    unsigned size = 0;
    if (!HMAC(EVP_sha256(), key, (int)key_length, bytes, length, out, &size) || size != DIGEST_SIZE)
        mem_give_up(GONE);
}

void digest_hex(char out[DIGEST_HEX_SIZE], const unsigned char digest[DIGEST_SIZE]) {
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[2 * DIGEST_SIZE] = '\0';
}

void digest_text(char out[DIGEST_HEX_SIZE], const char *text) {
    unsigned char digest[DIGEST_SIZE];
    digest_sha256(digest, text, strlen(text));
    digest_hex(out, digest);
}

bool digest_equal(const void *a, const void *b, size_t length) {
    return CRYPTO_memcmp(a, b, length) == 0;
}

const char *digest_version(void) {
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
