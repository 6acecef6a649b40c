// SPDX-License-Identifier: MIT
// Percent decoding and the query string. Strict: what two readers could take for two things is refused.
#include "http/query.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define SHOWN_COLUMNS 60 // of a name in a message

static int hex_value(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

char *query_decode(const char *raw, size_t length, bool plus, const char **why) {
    char *out = mem_alloc(1, length + 1);
    size_t n = 0;
    *why = NULL;
    for (size_t i = 0; i < length && *why == NULL; i++) {
        unsigned char c = (unsigned char)raw[i];
        if (c == '%') {
            int high = length - i > 2 ? hex_value(raw[i + 1]) : -1;
            int low = high >= 0 ? hex_value(raw[i + 2]) : -1;
            if (low < 0)
                *why = "a percent sign without two hex digits: write a percent sign itself as %25";
            else if (high + low == 0)
                *why = "a NUL byte (%00): remove it";
            else
                out[n++] = (char)(high << 4 | low);
            i += 2;
        } else if (c <= ' ' || c == 0x7F) {
            *why = "a raw blank or control character: write it as %XX";
        } else {
            out[n++] = c == '+' && plus ? ' ' : (char)c;
        }
    }
    if (*why == NULL && !text_is_utf8(out, n))
        *why = "bytes that are not UTF-8: encode the text as UTF-8";
    if (*why != NULL) {
        free(out);
        return NULL;
    }
    return out;
}

int query_add(struct query *q, char *name, char *value, struct err *e) {
    const char *problem = query_get(q, name) != NULL ? "twice: give it once" : NULL;
    if (problem != NULL) {
        struct buf shown;
        buf_init(&shown, BUF_UNLIMITED);
        text_escape(&shown, name, strlen(name), SHOWN_COLUMNS);
        err_set(e, ERR_INVALID, "'%s' is given %s", buf_borrow(&shown), problem);
        buf_free(&shown);
    } else if (q->count == QUERY_PAIRS) {
        problem = "too many";
        err_set(e, ERR_INVALID, "more than %d parameters: leave some out", QUERY_PAIRS);
    }
    if (problem != NULL) {
        free(name);
        free(value);
        return ERR_INVALID;
    }
    if (q->pairs == NULL)
        q->pairs = mem_alloc(QUERY_PAIRS, sizeof *q->pairs);
    q->pairs[q->count++] = (struct query_pair){name, value};
    return ERR_OK;
}

// One piece between two '&'.
static int take_piece(struct query *q, const char *piece, size_t length, struct err *e) {
    const char *equals = memchr(piece, '=', length), *why = NULL;
    size_t name_length = equals != NULL ? (size_t)(equals - piece) : length;
    if (name_length == 0)
        return err_set(e, ERR_INVALID, "the query has a value without a name: write name=value");
    char *name = query_decode(piece, name_length, true, &why);
    if (name == NULL)
        return err_set(e, ERR_INVALID, "a name in the query has %s", why);
    char *value =
        equals != NULL ? query_decode(equals + 1, length - name_length - 1, true, &why) : mem_copy("");
    if (value == NULL) {
        struct buf shown;
        buf_init(&shown, BUF_UNLIMITED);
        text_escape(&shown, name, strlen(name), SHOWN_COLUMNS);
        err_set(e, ERR_INVALID, "the value of '%s' in the query has %s", buf_borrow(&shown), why);
        buf_free(&shown);
        free(name);
        return ERR_INVALID;
    }
    return query_add(q, name, value, e);
}

int query_parse(struct query *q, const char *raw, struct err *e) {
    *q = (struct query){0};
    int code = ERR_OK;
    while (raw != NULL && *raw != '\0' && code == ERR_OK) {
        size_t length = strcspn(raw, "&");
        if (length > 0)
            code = take_piece(q, raw, length, e);
        raw += length + (raw[length] == '&');
    }
    if (code != ERR_OK)
        query_free(q);
    return code;
}

const char *query_get(const struct query *q, const char *name) {
    for (size_t i = 0; i < q->count; i++)
        if (strcmp(q->pairs[i].name, name) == 0)
            return q->pairs[i].value;
    return NULL;
}

void query_free(struct query *q) {
    for (size_t i = 0; i < q->count; i++) {
        free(q->pairs[i].name);
        free(q->pairs[i].value);
    }
    free(q->pairs);
    *q = (struct query){0};
}
