// SPDX-License-Identifier: MIT
// The reader of forms: whatever the bytes, it hands on the same parts in whatever pieces they come; and what is
// written as a form is read as what it was. The first byte says what the rest is.
#include "base/buf.h"
#include "base/text.h"
#include "http/multipart.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void must(bool holds) {
    if (!holds)
        abort();
}

// ---- what happened, as one text ----

struct story {
    struct buf text;
    bool in_part, ended;
};

static int on_part(void *payload, const struct multipart_part *part, struct err *e) {
    struct story *s = payload;
    (void)e;
    must(!s->in_part && !s->ended);
    s->in_part = true;
    must(*part->name && text_is_utf8(part->name, strlen(part->name)) && strlen(part->name) <= MULTIPART_NAME);
    if (part->filename) {
        must(strlen(part->filename) <= MULTIPART_FILENAME && !strchr(part->filename, '/'));
        must(text_is_utf8(part->filename, strlen(part->filename)));
        for (const char *c = part->filename; *c; c++)
            must((unsigned char)*c >= 0x20 && *c != 0x7F);
    }
    buf_format(&s->text, "(%s|%s|%s)", part->name, part->filename ? part->filename : "",
               part->type ? part->type : "");
    return ERR_OK;
}

static int on_bytes(void *payload, const char *bytes, size_t length, struct err *e) {
    struct story *s = payload;
    (void)e;
    must(s->in_part && length > 0);
    buf_append(&s->text, bytes, length);
    return ERR_OK;
}

static int on_part_end(void *payload, struct err *e) {
    struct story *s = payload;
    (void)e;
    must(s->in_part);
    s->in_part = false;
    buf_text(&s->text, ";");
    return ERR_OK;
}

static int on_end(void *payload, struct err *e) {
    struct story *s = payload;
    (void)e;
    must(!s->in_part && !s->ended);
    s->ended = true;
    return ERR_OK;
}

// Reads the body in pieces of 1 to `most` bytes, their sizes drawn from `seed`.
static void read_form(struct story *s, const char *type, const char *body, size_t length, size_t most,
                      uint32_t seed) {
    struct multipart_sink sink = {on_part, on_bytes, on_part_end, on_end, s};
    struct multipart *m = NULL;
    struct err e = {0};
    *s = (struct story){0};
    buf_init(&s->text, BUF_UNLIMITED);
    int code = multipart_open(&m, type, &sink, &e);
    while (code == ERR_OK && length > 0) {
        seed = seed * 1664525u + 1013904223u;
        size_t n = 1 + (seed >> 8) % most;
        n = n < length ? n : length;
        char *copy = malloc(n);
        memcpy(copy, body, n);
        code = multipart_feed(m, copy, n, &e);
        free(copy);
        body += n;
        length -= n;
    }
    if (code == ERR_OK)
        code = multipart_finish(m, &e);
    must(s->ended || code == ERR_INVALID);
    must(code == ERR_OK || (code == ERR_INVALID && strstr(e.message, ": ") != NULL));
    if (code != ERR_OK)
        buf_format(&s->text, "!%s", e.message);
    multipart_free(m);
}

static void check_pieces(const char *type, const char *body, size_t length, uint32_t seed) {
    static const size_t mosts[] = {1, 3, 17, 200};
    struct story whole, pieces;
    read_form(&whole, type, body, length, 1, seed);
    for (size_t i = 0; i < sizeof mosts / sizeof *mosts; i++) {
        read_form(&pieces, type, body, length, i ? mosts[i] : length + 1, i ? seed : 0xFFFFFF00u);
        must(pieces.text.length == whole.text.length);
        must(!whole.text.length || memcmp(pieces.text.data, whole.text.data, whole.text.length) == 0);
        buf_free(&pieces.text);
    }
    buf_free(&whole.text);
}

// The bytes, cut into parts at each 'P', as a form; left out are those in which the boundary occurs.
static void check_written(const char *bytes, size_t length, uint32_t seed) {
    struct buf body, expected;
    struct story s;
    if (memmem(bytes, length, "--b", 3))
        return;
    buf_init(&body, BUF_UNLIMITED);
    buf_init(&expected, BUF_UNLIMITED);
    for (size_t n = 0; n < MULTIPART_PARTS; n++) {
        const char *cut = n < MULTIPART_PARTS - 1 ? memchr(bytes, 'P', length) : NULL;
        size_t part = cut ? (size_t)(cut - bytes) : length;
        buf_text(&body, "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n");
        buf_append(&body, bytes, part);
        buf_text(&body, "\r\n");
        buf_text(&expected, "(n||)");
        buf_append(&expected, bytes, part);
        buf_text(&expected, ";");
        if (!cut)
            break;
        bytes += part + 1;
        length -= part + 1;
    }
    buf_text(&body, "--b--");
    read_form(&s, "multipart/form-data; boundary=b", body.data, body.length, 1 + seed % 64, seed);
    must(s.ended && s.text.length == expected.length);
    must(memcmp(s.text.data, expected.data, expected.length) == 0);
    buf_free(&s.text);
    buf_free(&expected);
    buf_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const types[] = {"multipart/form-data; boundary=b",
                                        "multipart/form-data; boundary=\"----formdata-undici-0539\"",
                                        "multipart/form-data; boundary=-"};
    if (size < 2)
        return 0;
    const char *bytes = (const char *)data + 2;
    size_t length = size - 2;
    uint32_t seed = data[1];
    if (data[0] % 8 < 3) {
        check_pieces(types[data[0] % 8], bytes, length, seed);
    } else if (data[0] % 8 == 3) {
        check_written(bytes, length, seed);
    } else if (data[0] % 8 == 4) { // a line of the type, then the body
        const char *lf = memchr(bytes, '\n', length);
        size_t line = lf ? (size_t)(lf - bytes) : length;
        char *type = strndup(bytes, line);
        check_pieces(type, bytes + line, length - line, seed);
        free(type);
    } else { // the headers of a part, then its content
        struct buf body;
        buf_init(&body, BUF_UNLIMITED);
        buf_text(&body, "--b\r\nContent-Disposition: form-data; name=");
        buf_append(&body, bytes, length);
        check_pieces(types[0], body.data, body.length, seed);
        buf_free(&body);
    }
    return 0;
}
