// SPDX-License-Identifier: MIT
// Internal to base/json*: the grammar of JSON (RFC 8259), read without a tree.
#ifndef GENRUN_BASE_JSON_CHECK_H
#define GENRUN_BASE_JSON_CHECK_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Refuses what json_parse promises to refuse.
int json_check(const char *text, size_t length, struct err *e) must_check;

// True for an eight-byte word in which every byte stands for itself inside a JSON string: no
// quote, no backslash, no control character, nothing beyond ASCII.
static inline bool json_word_is_plain(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    // a byte below n borrows into its top bit when n is subtracted; a top bit set before is caught by `word`
    return (((quote - ones) | (backslash - ones) | (word - ones * 0x20) | word) & highs) == 0;
}

// True for one byte of that kind.
static inline bool json_byte_is_plain(char c) {
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

// The first byte from `p` on that is not plain, or `end`.
static inline const char *json_skip_plain(const char *p, const char *end) {
    uint64_t word;
    while (end - p >= 8 && (__builtin_memcpy(&word, p, 8), json_word_is_plain(word))) {
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
