// SPDX-License-Identifier: MIT
// Four characters at a time.
#include "base/base64.h"

#include <string.h>

static int value_of(char c) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

bool base64_decode(struct buf *out, const char *text) {
    size_t length = strlen(text);
    if (length % 4)
        return false;
    size_t padding = length && text[length - 1] == '=' ? 1 + (text[length - 2] == '=') : 0;
    for (size_t i = 0; i < length; i += 4) {
        unsigned bits = 0;
        size_t kept = i + 4 == length ? 4 - padding : 4;
        for (size_t k = 0; k < 4; k++) {
            int value = k < kept ? value_of(text[i + k]) : 0;
            if (value < 0)
                return false;
            bits = bits << 6 | (unsigned)value;
        }
        const char bytes[] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        buf_append(out, bytes, kept - 1);
    }
    return true;
}

static void encode(struct buf *out, const char *alphabet, const void *bytes, size_t length) {
    const unsigned char *in = bytes;
    for (size_t i = 0; i < length; i += 3) {
        unsigned group = (unsigned)in[i] << 16 | (i + 1 < length ? (unsigned)in[i + 1] << 8 : 0) |
                         (i + 2 < length ? in[i + 2] : 0);
        for (size_t part = 0; part < 4 && i + part <= length; part++)
            buf_char(out, alphabet[group >> (18 - 6 * part) & 63]);
    }
}

void base64_encode(struct buf *out, const void *bytes, size_t length) {
    encode(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", bytes, length);
    for (size_t over = length % 3; over == 1 || over == 2; over++)
        buf_char(out, '=');
}

void base64_url(struct buf *out, const void *bytes, size_t length) {
    encode(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", bytes, length);
}
