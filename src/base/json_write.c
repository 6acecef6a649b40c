// SPDX-License-Identifier: MIT
// Writing JSON into a buffer, without a tree. Runs of bytes that stand for
// themselves are found eight at a time and copied whole.
#include "base/json.h"
#include "base/json_check.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD" // U+FFFD

// Appends what stands for a control character, a quote or a backslash.
static void write_escape(struct buf *out, unsigned char c) {
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *name = c ? strchr(names, c) : NULL;
    char text[6] = {'\\', 'u', '0', '0', '0', '0'};
    if (name) {
        text[1] = letters[name - names];
        buf_append(out, text, 2);
    } else if (c == 0) {
        buf_append(out, REPLACEMENT, strlen(REPLACEMENT));
    } else {
        text[4] = "0123456789abcdef"[c >> 4];
        text[5] = "0123456789abcdef"[c & 15];
        buf_append(out, text, sizeof text);
    }
}

void json_write_bytes(struct buf *out, const char *bytes, size_t length) {
    const char *p = bytes, *run = bytes, *end = bytes + length;
    buf_char(out, '"');
    while ((p = json_skip_plain(p, end)) < end) {
        size_t size = (unsigned char)*p < 0x80 ? 0 : text_utf8_size(p, (size_t)(end - p));
        if (size) { // beyond ASCII: part of the run
            p += size;
            continue;
        }
        buf_append(out, run, (size_t)(p - run));
        if ((unsigned char)*p < 0x80) {
            write_escape(out, (unsigned char)*p);
        } else {
            buf_append(out, REPLACEMENT, strlen(REPLACEMENT));
        }
        run = ++p;
    }
    buf_append(out, run, (size_t)(end - run));
    buf_char(out, '"');
}

void json_write_text(struct buf *out, const char *text) {
    json_write_bytes(out, text, strlen(text));
}

void json_write_key(struct buf *out, const char *key) {
    char last = out->length ? out->data[out->length - 1] : '{';
    if (last != '{' && last != '[') {
        buf_char(out, ',');
    }
    json_write_text(out, key);
    buf_char(out, ':');
}

void json_write_member_text(struct buf *out, const char *key, const char *text) {
    json_write_key(out, key);
    if (text) {
        json_write_text(out, text);
    } else {
        buf_append(out, "null", 4);
    }
}

static void write_integer(struct buf *out, int64_t value) {
    char digits[24];
    char *p = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--p = (char)('0' + rest % 10);
    } while (rest /= 10);
    if (value < 0) {
        *--p = '-';
    }
    buf_append(out, p, (size_t)(digits + sizeof digits - p));
}

void json_write_member_integer(struct buf *out, const char *key, int64_t value) {
    json_write_key(out, key);
    write_integer(out, value);
}

// The fewest of 15 to 17 digits that read back as the same double.
void json_write_number(struct buf *out, double value) {
    if (!isfinite(value)) {
        buf_text(out, "null");
        return;
    }
    if (value > -1e15 && value < 1e15 && value == (double)(int64_t)value) { // most are whole
        write_integer(out, (int64_t)value);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    char *comma = strchr(text, ','); // the decimal point of some locales
    if (comma) {
        *comma = '.';
    }
    buf_text(out, text);
}

void json_write_member_number(struct buf *out, const char *key, double value) {
    json_write_key(out, key);
    json_write_number(out, value);
}

void json_write_member_bool(struct buf *out, const char *key, bool value) {
    json_write_key(out, key);
    buf_text(out, value ? "true" : "false");
}

void json_write_member_raw(struct buf *out, const char *key, const char *raw) {
    json_write_key(out, key);
    buf_text(out, raw ? raw : "null");
}
