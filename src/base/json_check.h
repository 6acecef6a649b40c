// SPDX-License-Identifier: MIT
// Internal to base/json*: the grammar of JSON (RFC 8259), read without a tree.
#ifndef GENRUN_BASE_JSON_CHECK_H
#define GENRUN_BASE_JSON_CHECK_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Refuses what json_parse promises to refuse.
int json_check(const char *text, size_t length, struct err *e) must_check;

// Nonzero when one of eight bytes does not stand for itself inside a JSON string: a quote, a
// backslash, a control character, or beyond ASCII. The lowest bit set is the top bit of the first such
// byte in little-endian order: a byte below n borrows when n is subtracted, and so may wrongly mark those
// above it, never those below.
static inline uint64_t json_word_marks(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    return ((quote - ones) | (backslash - ones) | (word - ones * 0x20) | word) & highs;
}

// True for one byte of that kind.
static inline bool json_byte_is_plain(char c) {
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

// The first byte from `p` on that is not plain, or `end`.
static inline const char *json_skip_plain(const char *p, const char *end) {
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        uint64_t marks = json_word_marks(word);
        if (marks) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return p + __builtin_ctzll(marks) / 8;
#else
            break;
#endif
        }
        p += 8;
    }
    while (p < end && json_byte_is_plain(*p)) {
        p++;
    }
    return p;
}

static inline bool json_is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

// The value of a hex digit, 16 or more for anything else.
static inline unsigned json_hex(char c) {
    return c >= '0' && c <= '9'                 ? (unsigned)(c - '0')
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (unsigned)((c | 32) - 'a' + 10)
                                                : 16;
}

#endif
