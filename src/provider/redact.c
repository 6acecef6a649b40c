// SPDX-License-Identifier: MIT
// Masks credentials in text of servers. It knows forms, not values: prefixes that
// vendors give their keys, and words after which a key stands. It rather masks a
// harmless word than shows a key.
#include "provider/redact.h"

#include "base/text.h"
#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define MASK "\xe2\x80\xa6" // …
#define VALUE_LEAST 6       // shorter values stand in any text

struct prefix {
    const char *text;
    size_t least; // token characters that must follow
};

static const struct prefix prefixes[] = {
    {"sk-", 4},     {"sk_", 8},    {"pk-", 12},    {"rk-", 12},         {"rk_", 12},
    {"csk-", 8},    {"gsk_", 8},   {"xai-", 8},    {"hf_", 12},         {"r8_", 12},
    {"nvapi-", 8},  {"pplx-", 8},  {"fw_", 12},    {"AIza", 12},        {"ya29.", 8},
    {"AKIA", 12},   {"ASIA", 12},  {"ghp_", 12},   {"github_pat_", 12}, {"eyJ", 16},
    {"glpat-", 12}, {"whsec_", 8}, {"tgp_v1_", 8}, {"xoxb-", 8},        {"xoxp-", 8},
};

// A key follows these after ':' or '=' (and quotes, blanks, "provided", "is", "was").
static const char *const names[] = {
    "api key",          "api-key",      "api_key",      "apikey",     "api token",     "api_token",
    "secret",           "secret_key",   "password",     "passwd",     "access key",    "access_key",
    "subscription-key", "access token", "access_token", "auth_token", "authorization", "client_secret",
};
static const char *const parameter_names[] = {"key", "token", "sig", "signature"}; // only as name=value

static const char *const schemes[] = {"basic", "bearer"};
// Words, not keys, that stand after a scheme's name.
static const char *const scheme_words[] = {"token",  "tokens", "auth",  "authentication", "authorization",
                                           "scheme", "realm",  "error", "header",         "or"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_token(char c) {
    return isalnum((unsigned char)c) || (c != '\0' && strchr("_-+/*~", c) != NULL);
}

// The length of the key at `at`: token characters, with '.' and '=' inside or '=' at the end.
static size_t token_length(const char *at, const char *end) {
    const char *p = at;
    while (p < end) {
        if (is_token(*p) || *p == '=') {
            p++;
        } else if (*p == '.' && p + 1 < end && is_token(p[1])) {
            p++;
        } else if (end - p >= 3 && memcmp(p, MASK, 3) == 0) { // a server's own mask: "sk-abc…xyz"
            p += 3;
        } else if (*p == '.' && end - p >= 3 && p[1] == '.' && p[2] == '.') { // "sk-abc...xyz"
            p += 3;
        } else {
            break;
        }
    }
    return (size_t)(p - at);
}

static bool starts(const char *at, const char *end, const char *word, size_t *length) {
    *length = strlen(word);
    return (size_t)(end - at) >= *length && strncasecmp(at, word, *length) == 0;
}

static bool is_word_end(const char *at, const char *end) {
    return at >= end || !(isalnum((unsigned char)*at) || *at == '_' || *at == '-');
}

static size_t skip_any(const char *at, const char *end, const char *set) {
    size_t n = 0;
    while (at + n < end && at[n] != '\0' && strchr(set, at[n]) != NULL)
        n++;
    return n;
}

static bool is_scheme_word(const char *at, const char *end) {
    for (size_t i = 0; i < COUNT(scheme_words); i++) {
        size_t n;
        if (starts(at, end, scheme_words[i], &n) && is_word_end(at + n, end))
            return true;
    }
    return false;
}

// "basic" is also a common word: only what may be base64 of more than a few letters counts.
static bool is_base64_like(const char *at, size_t length) {
    for (size_t i = 0; i < length && length >= 8; i++) {
        if (!islower((unsigned char)at[i]))
            return true;
    }
    return false;
}

// "Bearer KEY": the bytes up to the key, and the key's length; 0 when there is none.
static size_t match_scheme(const char *at, const char *end, size_t *key) {
    for (size_t i = 0; i < COUNT(schemes); i++) {
        size_t n;
        if (!starts(at, end, schemes[i], &n))
            continue;
        size_t blanks = skip_any(at + n, end, " \t:\"'`<");
        if (blanks == 0)
            continue;
        n += blanks;
        *key = token_length(at + n, end);
        bool is_key = i == 0 ? is_base64_like(at + n, *key) : !is_scheme_word(at + n, end);
        return *key > 0 && is_key ? n : 0;
    }
    return 0;
}

// "api key provided: KEY", "password=KEY", `"api_key": "KEY"`: as match_scheme.
static size_t match_name(const char *at, const char *end, size_t *key) {
    for (size_t i = 0; i < COUNT(names) + COUNT(parameter_names); i++) {
        bool strict = i >= COUNT(names);
        size_t n;
        if (!starts(at, end, strict ? parameter_names[i - COUNT(names)] : names[i], &n) ||
            !is_word_end(at + n, end))
            continue;
        if (!strict) {
            n += skip_any(at + n, end, " \t\"'`");
            static const char *const fill[] = {"provided", "is", "was", "used", "given", "value"};
            for (size_t f = 0; f < COUNT(fill); f++) {
                size_t word;
                if (starts(at + n, end, fill[f], &word) && is_word_end(at + n + word, end))
                    n += word + skip_any(at + n + word, end, " \t\"'`");
            }
        }
        size_t delimiter = skip_any(at + n, end, strict ? "=" : ":= \t");
        if (delimiter == 0)
            continue;
        n += delimiter;
        n += skip_any(at + n, end, " \t\"'`<(");
        *key = token_length(at + n, end);
        size_t inner;
        if (*key > 0 && match_scheme(at + n, end, &inner) == 0)
            return n;
    }
    return 0;
}

static size_t match_prefix(const char *at, const char *end, size_t *key) {
    for (size_t i = 0; i < COUNT(prefixes); i++) {
        size_t n = strlen(prefixes[i].text);
        if ((size_t)(end - at) < n || memcmp(at, prefixes[i].text, n) != 0)
            continue;
        *key = token_length(at + n, end);
        if (*key >= prefixes[i].least)
            return n;
    }
    return 0;
}

// "://user:secret@host": as match_scheme.
static size_t match_userinfo(const char *at, const char *end, size_t *key) {
    if (end - at < 4 || memcmp(at, "://", 3) != 0)
        return 0;
    for (const char *p = at + 3; p < end && p - at < 512; p++) {
        if (*p == '@') {
            *key = (size_t)(p - at) - 3;
            return *key > 0 ? 3 : 0;
        }
        if (isspace((unsigned char)*p) || strchr("/?#\"'<>", *p) != NULL)
            return 0;
    }
    return 0;
}

void redact_append(struct buf *out, const char *text, size_t length) {
    const char *end = text + length, *kept = text;
    bool in_word = false;
    for (const char *p = text; p < end;) {
        size_t key = 0;
        size_t before = *p == ':' ? match_userinfo(p, end, &key) : 0;
        if (before == 0 && !in_word && isalpha((unsigned char)*p)) {
            before = match_scheme(p, end, &key);
            if (before == 0)
                before = match_name(p, end, &key);
            if (before == 0)
                before = match_prefix(p, end, &key);
        }
        if (before > 0) {
            buf_append(out, kept, (size_t)(p - kept) + before);
            buf_text(out, MASK);
            p += before + key;
            kept = p;
            in_word = false;
        } else {
            in_word = isalnum((unsigned char)*p); // "x-api-key", "MY_API_KEY": '-' and '_' end a word
            p++;
        }
    }
    buf_append(out, kept, (size_t)(end - kept));
}

bool redact_is_secret_name(const char *name) {
    static const char *const words[] = {"auth", "key", "token", "secret", "cookie", "password"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (text_find_nocase(name, words[i]))
            return true;
    return false;
}

void redact_cut(char *text, const char *value) {
    size_t length = strlen(value);
    size_t end = strlen(text), dots = strlen(MASK);
    if (end >= dots && strcmp(text + end - dots, MASK) == 0)
        end -= dots;
    for (size_t part = length < end ? length : end; part >= VALUE_LEAST; part--)
        if (memcmp(text + end - part, value, part) == 0) {
            memset(text + end - part, '*', part);
            return;
        }
}

void redact_value(char *text, const char *value) {
    size_t length = strlen(value);
    for (char *at = text; length >= VALUE_LEAST && (at = strstr(at, value)); at += length)
        memset(at, '*', length);
}
