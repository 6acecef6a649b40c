// SPDX-License-Identifier: MIT
// A strict checker of JSON text without recursion and without a tree. A line
// break inside a string is not JSON, so in text that passed every line break
// stands between tokens and can go.
#include "batch/compact.h"

#include "base/text.h"
#include <string.h>

#define DEPTH 1024

struct scan {
    const char *at, *end;
    unsigned char is_object[DEPTH]; // what is open, outermost first
    size_t depth;
};

static void skip_blanks(struct scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool take_char(struct scan *s, char c) {
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static bool take_digits(struct scan *s) {
    const char *start = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > start;
}

static bool take_number(struct scan *s) {
    take_char(s, '-');
    if (!take_char(s, '0') && !take_digits(s))
        return false;
    if (take_char(s, '.') && !take_digits(s))
        return false;
    if (take_char(s, 'e') || take_char(s, 'E')) {
        if (!take_char(s, '+'))
            take_char(s, '-');
        return take_digits(s);
    }
    return true;
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool take_string(struct scan *s) {
    if (!take_char(s, '"'))
        return false;
    while (s->at < s->end) {
        unsigned char c = (unsigned char)*s->at++;
        if (c == '"')
            return true;
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        if (s->at == s->end)
            return false;
        c = (unsigned char)*s->at++;
        if (c == 'u') {
            for (int i = 0; i < 4; i++)
                if (s->at == s->end || !is_hex(*s->at++))
                    return false;
        } else if (c == '\0' || !strchr("\"\\/bfnrt", c)) {
            return false;
        }
    }
    return false;
}

static bool take_word(struct scan *s, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length) != 0)
        return false;
    s->at += length;
    return true;
}

static bool take_key(struct scan *s) {
    if (!take_string(s))
        return false;
    skip_blanks(s);
    if (!take_char(s, ':'))
        return false;
    skip_blanks(s);
    return true;
}

// Takes a value, or the opening of one that holds others. *opened tells that its first member is next.
static bool take_value(struct scan *s, bool *opened) {
    *opened = false;
    if (s->at == s->end)
        return false;
    char c = *s->at;
    if (c == '"')
        return take_string(s);
    if (c == 't')
        return take_word(s, "true");
    if (c == 'f')
        return take_word(s, "false");
    if (c == 'n')
        return take_word(s, "null");
    if (c != '{' && c != '[')
        return take_number(s);
    s->at++;
    skip_blanks(s);
    if (take_char(s, c == '{' ? '}' : ']'))
        return true;
    if (s->depth == DEPTH)
        return false;
    s->is_object[s->depth++] = c == '{';
    *opened = true;
    return c == '[' || take_key(s);
}

bool compact_is_json(const char *text, size_t length) {
    struct scan s;
    s.at = text;
    s.end = text + length;
    s.depth = 0;
    if (!text_is_utf8(text, length))
        return false;
    for (skip_blanks(&s);;) {
        bool opened = false;
        if (!take_value(&s, &opened))
            return false;
        if (opened)
            continue;
        // After a value: close what ends here, then a comma leads to the next one.
        skip_blanks(&s);
        while (s.depth > 0 && take_char(&s, s.is_object[s.depth - 1] ? '}' : ']')) {
            s.depth--;
            skip_blanks(&s);
        }
        if (s.depth == 0)
            return s.at == s.end;
        if (!take_char(&s, ','))
            return false;
        skip_blanks(&s);
        if (s.is_object[s.depth - 1] && !take_key(&s))
            return false;
    }
}

bool compact_json(struct buf *out, const char *text, size_t length) {
    if (!compact_is_json(text, length))
        return false;
    const char *end = text + length;
    while (text < end) {
        size_t run = 0;
        while (text + run < end && text[run] != '\n' && text[run] != '\r')
            run++;
        buf_append(out, text, run);
        text += run;
        while (text < end && (*text == '\n' || *text == '\r'))
            text++;
    }
    return true;
}
