// SPDX-License-Identifier: MIT
// Text: UTF-8, escaping for people's terminals, widths, nearest names, words.
// Nothing here depends on the locale; "blank" and "case" mean ASCII.
#include "base/text.h"
#include "base/mem.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- UTF-8 (RFC 3629, section 4) ----

static bool is_tail(unsigned char c) {
    return (c & 0xC0) == 0x80;
}

size_t text_utf8_size(const char *bytes, size_t length) {
    const unsigned char *s = (const unsigned char *)bytes;
    if (length == 0) {
        return 0;
    }
    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] < 0xC2 || s[0] > 0xF4 || length < 2) {
        return 0;
    }
    if (s[0] < 0xE0) {
        return is_tail(s[1]) ? 2 : 0;
    }
    if (length < 3 || !is_tail(s[1]) || !is_tail(s[2])) {
        return 0;
    }
    if (s[0] < 0xF0) { // overlong below E0 A0, surrogates from ED A0
        return (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ? 0 : 3;
    }
    if (length < 4 || !is_tail(s[3])) {
        return 0;
    }
    return (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F) ? 0 : 4;
}

bool text_is_utf8(const char *bytes, size_t length) {
    const char *end = bytes + length;
    while (bytes < end) {
        uint64_t eight;
        if (end - bytes >= 8 && (memcpy(&eight, bytes, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) {
            bytes += 8;
            continue;
        }
        size_t size = text_utf8_size(bytes, (size_t)(end - bytes));
        if (size == 0) {
            return false;
        }
        bytes += size;
    }
    return true;
}

size_t text_utf8_decode(const char *bytes, size_t length, uint32_t *code_point) {
    const unsigned char *s = (const unsigned char *)bytes;
    size_t size = text_utf8_size(bytes, length);
    if (size < 2) {
        *code_point = size ? s[0] : 0;
        return size;
    }
    uint32_t c = s[0] & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++) {
        c = c << 6 | (s[i] & 0x3Fu);
    }
    *code_point = c;
    return size;
}

// ---- escaping ----

#define ELLIPSIS "\xE2\x80\xA6" // one column, three bytes

struct piece {
    char text[8];   // what is shown for one character or one invalid byte
    size_t length;  // its bytes
    size_t columns; // what it takes on a terminal
};

// Line and paragraph separators, and the controls that turn the direction of what follows:
// with them a message can show other words than it holds.
static bool is_deceptive(uint32_t c) {
    return c == 0x2028 || c == 0x2029 || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

// Fills `piece` for the character at `bytes`; returns the bytes consumed.
static size_t escape_one(struct piece *piece, const char *bytes, size_t length) {
    uint32_t c;
    size_t size = text_utf8_decode(bytes, length, &c);
    if (size && c >= 0x20 && c != 0x7F && (c < 0x80 || c > 0x9F) && !is_deceptive(c)) {
        memcpy(piece->text, bytes, size);
        piece->length = size;
        piece->columns = text_char_width(c);
        return size;
    }
    int n;
    if (size && (c == '\n' || c == '\t' || c == '\r')) {
        n = snprintf(piece->text, sizeof piece->text, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    } else if (c > 0xFF) {
        n = snprintf(piece->text, sizeof piece->text, "\\u%04x", c & 0xFFFF);
    } else {
        n = snprintf(piece->text, sizeof piece->text, "\\x%02x", size ? c & 0xFF : (unsigned char)*bytes);
    }
    piece->length = piece->columns = (size_t)n;
    return size ? size : 1;
}

static bool is_plain(char c) {
    return c >= 0x20 && c < 0x7F;
}

// How many of the bytes can be shown within `limit` (columns, or bytes of output). When not all
// can, `reserve` is left free for an ellipsis and *cut is set.
static size_t escape_measure(const char *bytes, size_t length, size_t limit, size_t reserve, bool in_columns,
                             bool *cut) {
    size_t used = 0, fit = 0;
    *cut = false;
    for (size_t i = 0; i < length;) {
        struct piece piece = {.length = 1, .columns = 1};
        i += is_plain(bytes[i]) ? 1 : escape_one(&piece, bytes + i, length - i);
        used += in_columns ? piece.columns : piece.length;
        if (used > limit) {
            *cut = true;
            return fit;
        }
        if (used + reserve <= limit) {
            fit = i;
        }
    }
    return length;
}

void text_escape(struct buf *out, const char *bytes, size_t length, size_t columns) {
    bool cut = false;
    if (columns) {
        length = escape_measure(bytes, length, columns, 1, true, &cut);
    }
    for (size_t i = 0; i < length;) {
        size_t run = i;
        while (i < length && is_plain(bytes[i])) {
            i++;
        }
        buf_append(out, bytes + run, i - run);
        if (i < length) {
            struct piece piece;
            i += escape_one(&piece, bytes + i, length - i);
            buf_append(out, piece.text, piece.length);
        }
    }
    if (cut) {
        buf_text(out, ELLIPSIS);
    }
}

size_t text_escape_array(char *out, size_t size, const char *bytes, size_t length) {
    bool cut = false;
    size_t used = 0;
    length = escape_measure(bytes, length, size - 1, strlen(ELLIPSIS), false, &cut);
    for (size_t i = 0; i < length;) {
        struct piece piece;
        i += escape_one(&piece, bytes + i, length - i);
        memcpy(out + used, piece.text, piece.length);
        used += piece.length;
    }
    if (cut) {
        memcpy(out + used, ELLIPSIS, strlen(ELLIPSIS));
        used += strlen(ELLIPSIS);
    }
    out[used] = 0;
    return used;
}

// ---- nearest name ----

#define NEAREST_LONGEST 64 // a name longer than this is no typing error

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

// Changes (insert, remove, replace, swap of neighbours) between two names, in either case.
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t rows[3][NEAREST_LONGEST + 1];
    for (size_t j = 0; j <= b_length; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            char x = lower(a[i - 1]), y = lower(b[j - 1]);
            size_t best = above[j - 1] + (x != y);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && x == lower(b[j - 2]) && lower(a[i - 2]) == y &&
                two_above[j - 2] + 1 < best) {
                best = two_above[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[a_length % 3][b_length];
}

const char *text_nearest(const char *name, const char *const *candidates, size_t count) {
    size_t length = strlen(name);
    const char *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    if (length == 0 || length > NEAREST_LONGEST) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        size_t other = candidates[i] ? strlen(candidates[i]) : 0;
        if (other == 0 || other > NEAREST_LONGEST) {
            continue;
        }
        // one change in three characters is still a typing error
        size_t longer = other > length ? other : length;
        size_t distance = edit_distance(name, length, candidates[i], other);
        if (distance <= (longer + 2) / 3 && distance < longer && distance < nearest_distance) {
            nearest = candidates[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

// ---- words ----

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// Copies one word (POSIX shell, 2.2 Quoting) from *from to *to, NUL-terminated. False when a quote is open.
static bool take_word(const char **from, char **to) {
    const char *p = *from;
    char *out = *to;
    char quote = 0;
    for (; *p && (quote || !is_blank(*p)); p++) {
        if (quote ? *p == quote : *p == '\'' || *p == '"') {
            quote = quote ? 0 : *p;
        } else if (*p == '\\' && quote != '\'' && p[1] && (!quote || strchr("$`\"\\\n", p[1]))) {
            p++;
            if (*p != '\n') { // an escaped newline joins two lines
                *out++ = *p;
            }
        } else {
            *out++ = *p;
        }
    }
    *out++ = 0;
    *from = p;
    *to = out;
    return quote == 0;
}

char **text_words(const char *line) {
    // One block: the pointers, then the text. n characters hold at most (n + 1) / 2 words, and
    // no word is longer than it was, but for its NUL where the last one has no blank after it.
    size_t length = strlen(line);
    size_t most = (length + 1) / 2 + 1;
    char **words = mem_alloc(1, most * sizeof *words + length + 1);
    char *out = (char *)(words + most);
    size_t count = 0;
    for (;;) {
        while (is_blank(*line) || (line[0] == '\\' && line[1] == '\n')) {
            line += *line == '\\' ? 2 : 1;
        }
        if (!*line) {
            return words; // mem_alloc has set the NULL at the end
        }
        words[count++] = out;
        if (!take_word(&line, &out)) {
            text_words_free(words);
            return NULL;
        }
    }
}

void text_words_free(char **words) {
    free(words);
}

// ---- small searches ----

char *text_trim(char *text) {
    while (is_blank(*text)) {
        text++;
    }
    char *end = text + strlen(text);
    while (end > text && is_blank(end[-1])) {
        end--;
    }
    *end = 0;
    return text;
}

char *text_take_advice(const char *message, char **advice) {
    const char *colon = NULL;
    for (const char *at = message; (at = strstr(at, ": ")) != NULL; at += 2) {
        colon = at;
    }
    *advice = colon != NULL ? mem_copy(colon + 2) : NULL;
    return mem_copy_bytes(message, colon != NULL ? (size_t)(colon - message) : strlen(message));
}

bool text_starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && memcmp(text + length - tail, suffix, tail) == 0;
}

const char *text_find_nocase(const char *text, const char *needle) {
    size_t length = strlen(needle);
    for (;; text++) {
        size_t i = 0;
        while (i < length && lower(text[i]) == lower(needle[i])) { // stops at the text's NUL
            i++;
        }
        if (i == length) {
            return text;
        }
        if (!*text) {
            return NULL;
        }
    }
}
