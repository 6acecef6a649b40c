// SPDX-License-Identifier: MIT
// The check in front of the parser. cJSON cuts strings at \u0000, passes invalid
// UTF-8 through, takes [01], [1.] and raw line ends, stops at trailing garbage
// and cuts a number at 63 characters; so the text is read here first, byte by
// byte, in one pass without recursion: open containers are the bits of a word.
#include "base/json_check.h"
#include "base/json.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_LONGEST 63 // cJSON copies a number into 64 bytes

_Static_assert(JSON_DEPTH <= 64, "one bit of a uint64_t for each open container");

struct check {
    const char *start, *end;
    const char *at;     // the byte that is read next
    const char *reason; // set by what refuses
};

static bool refuse(struct check *c, const char *reason) {
    c->reason = reason;
    return false;
}

// Four hex digits at `p`; 0x10000 when they are not there.
static uint32_t hex4(const char *p, const char *end) {
    if (end - p < 4) {
        return 0x10000;
    }
    unsigned a = json_hex(p[0]), b = json_hex(p[1]), d = json_hex(p[2]), f = json_hex(p[3]);
    return (a | b | d | f) > 15 ? 0x10000 : a << 12 | b << 8 | d << 4 | f;
}

// At a backslash inside a string.
static bool check_escape(struct check *c) {
    const char *p = c->at + 1;
    if (p == c->end || *p == 0 || !strchr("\"\\/bfnrtu", *p)) {
        return refuse(c, "an unknown escape in a string: write a backslash as \\\\");
    }
    if (*p != 'u') {
        c->at = p + 1;
        return true;
    }
    uint32_t unit = hex4(p + 1, c->end);
    if (unit > 0xFFFF) {
        return refuse(c, "\\u without four hex digits: complete it");
    }
    if (unit == 0) {
        return refuse(c, "\\u0000 cannot be stored: remove it");
    }
    p += 5;
    if (unit >= 0xD800 && unit <= 0xDFFF) {
        uint32_t low =
            unit < 0xDC00 && c->end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, c->end) : 0;
        if (low < 0xDC00 || low > 0xDFFF) {
            return refuse(c,
                          "half a surrogate pair is no character: write both halves or the character itself");
        }
        p += 6;
    }
    c->at = p;
    return true;
}

// At the opening quote of a string.
static bool check_string(struct check *c) {
    c->at++;
    for (;;) {
        c->at = json_skip_plain(c->at, c->end);
        if (c->at == c->end) {
            return refuse(c, "the text ends inside a string: it was cut, or a quote is missing");
        }
        char x = *c->at;
        if (x == '"') {
            c->at++;
            return true;
        }
        if (x == '\\') {
            if (!check_escape(c)) {
                return false;
            }
        } else if ((unsigned char)x >= 0x80) {
            size_t size = text_utf8_size(c->at, (size_t)(c->end - c->at));
            if (size == 0) {
                return refuse(c, "invalid UTF-8: save the text as UTF-8");
            }
            c->at += size;
        } else if (x == 0) {
            return refuse(c, "a NUL byte: remove it");
        } else {
            return refuse(c, "a raw control character in a string: escape it, as in \\n or \\t");
        }
    }
}

static const char *skip_digits(const char *p, const char *end) {
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

// True when the number of at most 63 characters is beyond a double.
static bool number_overflows(const char *first, size_t length) {
    char copy[NUMBER_LONGEST + 1];
    size_t n = 0;
    int moved = 0; // the decimal point is taken out: strtod would want that of the locale
    bool in_fraction = false;
    size_t i = 0;
    for (; (first[i] | 32) != 'e'; i++) {
        if (first[i] == '.') {
            in_fraction = true;
        } else {
            copy[n++] = first[i];
            moved += in_fraction;
        }
    }
    copy[n] = 0;
    // the power is read apart; one of many digits is as good as a million
    long power = 0;
    bool negative = first[++i] == '-';
    for (i += first[i] == '-' || first[i] == '+'; i < length; i++) {
        power = power < 1000000 ? power * 10 + (first[i] - '0') : power;
    }
    char whole[NUMBER_LONGEST + 32];
    snprintf(whole, sizeof whole, "%se%ld", copy, (negative ? -power : power) - moved);
    return !isfinite(strtod(whole, NULL));
}

// At a minus or a digit.
static bool check_number(struct check *c) {
    static const char malformed[] = "a malformed number: write it like 10, -0.5 or 1e3";
    const char *first = c->at, *p = first + (*first == '-');
    const char *digits = p;
    p = skip_digits(p, c->end);
    if (p == digits || (*digits == '0' && p - digits > 1)) {
        return refuse(c, malformed);
    }
    if (p < c->end && *p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p, c->end);
        if (p == fraction) {
            return refuse(c, malformed);
        }
    }
    bool exponent = p < c->end && (*p | 32) == 'e';
    if (exponent) {
        p++;
        p += p < c->end && (*p == '+' || *p == '-');
        const char *power = p;
        p = skip_digits(p, c->end);
        if (p == power) {
            return refuse(c, malformed);
        }
    }
    size_t length = (size_t)(p - first);
    if (length > NUMBER_LONGEST) {
        return refuse(c, "a number of more than 63 characters: shorten it, or write it as a string");
    }
    if (exponent && number_overflows(first, length)) { // without one, 63 digits always fit
        return refuse(c, "a number too large for a double: write it as a string");
    }
    c->at = p;
    return true;
}

static bool check_word(struct check *c, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0) {
        return refuse(c, "not a JSON value: a bare word must be true, false or null");
    }
    c->at += length;
    return true;
}

static void skip_blanks(struct check *c) {
    while (c->at < c->end && json_is_blank(*c->at)) {
        c->at++;
    }
}

// At a string, a number or a word.
static bool check_scalar(struct check *c) {
    if (c->at == c->end) {
        return refuse(c, "the text ends where a value should be: it was cut, or is empty");
    }
    switch (*c->at) {
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    case '\xEF':
        return refuse(c, "not a JSON value: remove a byte order mark");
    default:
        if (*c->at == '-' || (*c->at >= '0' && *c->at <= '9')) {
            return check_number(c);
        }
        return refuse(c, *c->at ? "a value should be here: look for a stray comma or a missing quote"
                                : "a NUL byte: remove it");
    }
}

// At a member of an object: its key and the colon.
static bool check_key(struct check *c) {
    skip_blanks(c);
    if (c->at == c->end || *c->at != '"') {
        return refuse(c, "a key in double quotes should be here: look for a stray comma or a missing quote");
    }
    if (!check_string(c)) {
        return false;
    }
    skip_blanks(c);
    if (c->at == c->end || *c->at != ':') {
        return refuse(c, "a colon should follow the key");
    }
    c->at++;
    return true;
}

static bool check_value(struct check *c) {
    uint64_t is_object = 0; // bit n: what is open at depth n
    unsigned depth = 0;
    for (;;) {
        // a value is due
        skip_blanks(c);
        if (c->at < c->end && (*c->at == '{' || *c->at == '[')) {
            bool object = *c->at == '{';
            if (depth == JSON_DEPTH) {
                return refuse(c, "nested deeper than 64: flatten it");
            }
            is_object = (is_object & ~(UINT64_C(1) << depth)) | (uint64_t)object << depth;
            depth++;
            c->at++;
            skip_blanks(c);
            if (c->at == c->end || *c->at != (object ? '}' : ']')) {
                if (object && !check_key(c)) {
                    return false;
                }
                continue;
            }
            c->at++; // an empty one is a value
            depth--;
        } else if (!check_scalar(c)) {
            return false;
        }
        // a value has ended: close what ends with it
        for (;;) {
            if (depth == 0) {
                return true;
            }
            skip_blanks(c);
            bool object = is_object >> (depth - 1) & 1;
            if (c->at < c->end && *c->at == (object ? '}' : ']')) {
                c->at++;
                depth--;
                continue;
            }
            if (c->at == c->end || *c->at != ',') {
                return refuse(c, object ? "a comma or } should be here" : "a comma or ] should be here");
            }
            c->at++;
            if (object && !check_key(c)) {
                return false;
            }
            break;
        }
    }
}

int json_check(const char *text, size_t length, struct err *e) {
    struct check c = {.start = text, .end = text + length, .at = text};
    if (check_value(&c)) {
        skip_blanks(&c);
        if (c.at == c.end) {
            return ERR_OK;
        }
        c.reason = *c.at ? "something follows the value: remove it" : "a NUL byte: remove it";
    }
    return err_set(e, ERR_INVALID, "invalid JSON at byte %zu: %s", (size_t)(c.at - c.start) + 1, c.reason);
}
