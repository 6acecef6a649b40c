// SPDX-License-Identifier: MIT
// The stream of a form: parts between delimiter lines. A delimiter is CRLF, "--" and the boundary; since a
// boundary holds no CR, one that breaks off can begin anew only at its next CR, so that what has to be
// remembered between two pieces is a number.
#include "http/multipart.h"
#include "base/buf.h"
#include "base/mem.h"
#include "http/part.h"
#include <stdlib.h>
#include <string.h>

#define DELIMITER (4 + MULTIPART_BOUNDARY) // CRLF, "--", the boundary

enum state {
    STATE_CONTENT, // of a part, or in front of the first one
    STATE_AFTER,   // behind a delimiter: is it the last one?
    STATE_DASH,    // behind its first dash
    STATE_PADDING, // blanks behind it
    STATE_CR,      // and the CR of its line end
    STATE_HEADERS, // of a part
    STATE_DONE,    // what follows is of no matter
    STATE_FAILED
};

struct multipart {
    struct multipart_sink sink;
    enum state state;
    bool in_part;
    char delimiter[DELIMITER + 1];
    size_t delimiter_length;
    size_t matched;  // of the delimiter, at the end of what came
    size_t imagined; // of these, at the begin: the end of a line that is no content
    size_t parts;
    struct buf headers; // of the part that begins
    size_t line;        // where the last line of them begins
    struct err failed;
};

int multipart_open(struct multipart **out, const char *content_type, const struct multipart_sink *sink,
                   struct err *e) {
    char boundary[MULTIPART_BOUNDARY + 1];
    *out = NULL;
    int code = part_boundary(content_type, boundary, e);
    if (code != ERR_OK)
        return code;
    struct multipart *m = mem_alloc(1, sizeof *m);
    m->sink = *sink;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, strlen(boundary) + 1);
    m->delimiter_length = strlen(m->delimiter);
    m->matched = m->imagined = 2; // the body begins like a line
    buf_init(&m->headers, MULTIPART_HEADERS);
    *out = m;
    return ERR_OK;
}

void multipart_free(struct multipart *m) {
    if (m == NULL)
        return;
    buf_free(&m->headers);
    free(m);
}

static int hand_on(const struct multipart *m, const char *bytes, size_t length, struct err *e) {
    return m->in_part && length > 0 ? m->sink.on_bytes(m->sink.payload, bytes, length, e) : ERR_OK;
}

static int end_content(struct multipart *m, struct err *e) {
    bool was_in_part = m->in_part;
    m->in_part = false;
    m->matched = m->imagined = 0;
    m->state = STATE_AFTER;
    return was_in_part ? m->sink.on_part_end(m->sink.payload, e) : ERR_OK;
}

// How many bytes at the end are the begin of a delimiter.
static size_t tail_matched(const struct multipart *m, const char *p, const char *end) {
    if ((size_t)(end - p) >= m->delimiter_length)
        p = end - m->delimiter_length + 1;
    while ((p = memchr(p, '\r', (size_t)(end - p))) != NULL) {
        if (memcmp(p, m->delimiter, (size_t)(end - p)) == 0)
            return (size_t)(end - p);
        p++;
    }
    return 0;
}

// Content up to a delimiter, which is taken too, or to the end; *p is moved on.
static int take_content(struct multipart *m, const char **p, const char *end, struct err *e) {
    if (m->matched > 0) {
        while (*p < end && m->matched < m->delimiter_length && **p == m->delimiter[m->matched]) {
            ++*p;
            m->matched++;
        }
        if (m->matched == m->delimiter_length)
            return end_content(m, e);
        if (*p == end)
            return ERR_OK;
        size_t from = m->imagined, matched = m->matched;
        m->matched = m->imagined = 0;
        return hand_on(m, m->delimiter + from, matched - from, e); // they were content after all
    }
    const char *found = memmem(*p, (size_t)(end - *p), m->delimiter, m->delimiter_length);
    if (found == NULL)
        m->matched = tail_matched(m, *p, end);
    size_t length = (size_t)((found != NULL ? found : end - m->matched) - *p);
    int code = hand_on(m, *p, length, e);
    *p = found != NULL ? found + m->delimiter_length : end;
    return code == ERR_OK && found != NULL ? end_content(m, e) : code;
}

// One byte of the rest of a delimiter's line.
static int take_line_end(struct multipart *m, char c, struct err *e) {
    if (m->state == STATE_AFTER && c == '-') {
        m->state = STATE_DASH;
    } else if (m->state == STATE_DASH && c == '-') {
        m->state = STATE_DONE;
        return m->sink.on_end(m->sink.payload, e);
    } else if ((m->state == STATE_AFTER || m->state == STATE_PADDING) && (c == ' ' || c == '\t')) {
        m->state = STATE_PADDING;
    } else if ((m->state == STATE_AFTER || m->state == STATE_PADDING) && c == '\r') {
        m->state = STATE_CR;
    } else if (m->state == STATE_CR && c == '\n') {
        if (m->parts == MULTIPART_PARTS)
            return err_set(e, ERR_INVALID, "the form has more than %d parts: send fewer", MULTIPART_PARTS);
        m->parts++;
        m->state = STATE_HEADERS;
        m->line = 0;
        buf_clear(&m->headers);
    } else {
        return err_set(
            e, ERR_INVALID,
            "a boundary line of the form goes on behind its boundary (part %zu): choose a boundary that "
            "does not occur in the content",
            m->parts);
    }
    return ERR_OK;
}

static int begin_part(struct multipart *m, struct err *e) {
    struct part_head head;
    int code = part_read_head(&head, m->headers.data, m->headers.length, e);
    if (code != ERR_OK)
        return err_prefix(e, "part %zu of the form", m->parts);
    struct multipart_part part = {head.name, head.filename, head.type};
    code = m->sink.on_part(m->sink.payload, &part, e);
    part_free_head(&head);
    m->in_part = true;
    m->state = STATE_CONTENT;
    m->matched = m->imagined = 2; // a delimiter may follow at once: its CRLF is that of the blank line
    return code;
}

// Up to the end of a line of headers.
static int take_headers(struct multipart *m, const char **p, const char *end, struct err *e) {
    const char *lf = memchr(*p, '\n', (size_t)(end - *p));
    const char *stop = lf != NULL ? lf + 1 : end;
    if (!buf_append(&m->headers, *p, (size_t)(stop - *p)))
        return err_set(e, ERR_INVALID,
                       "the headers of part %zu of the form take more than %d bytes: shorten them", m->parts,
                       MULTIPART_HEADERS);
    *p = stop;
    if (lf == NULL)
        return ERR_OK;
    size_t length = m->headers.length - m->line;
    if (length < 2 || m->headers.data[m->headers.length - 2] != '\r')
        return err_set(e, ERR_INVALID,
                       "a header line of part %zu of the form ends without CR: end lines with CRLF",
                       m->parts);
    m->line = m->headers.length;
    return length == 2 ? begin_part(m, e) : ERR_OK;
}

int multipart_feed(struct multipart *m, const char *bytes, size_t length, struct err *e) {
    const char *p = bytes, *end = bytes + length;
    int code = ERR_OK;
    while (p < end && code == ERR_OK && m->state != STATE_DONE) {
        struct err why = {0};
        if (m->state == STATE_FAILED)
            return err_set(e, m->failed.code, "%s", m->failed.message);
        if (m->state == STATE_CONTENT)
            code = take_content(m, &p, end, &why);
        else if (m->state == STATE_HEADERS)
            code = take_headers(m, &p, end, &why);
        else
            code = take_line_end(m, *p++, &why);
        if (code != ERR_OK) {
            m->state = STATE_FAILED;
            m->failed = why;
            err_set(e, why.code, "%s", why.message);
        }
    }
    return code;
}

int multipart_finish(struct multipart *m, struct err *e) {
    if (m->state == STATE_DONE)
        return ERR_OK;
    if (m->state == STATE_FAILED)
        return err_set(e, m->failed.code, "%s", m->failed.message);
    if (m->parts == 0)
        return err_set(e, ERR_INVALID,
                       "the form has no part: its body is empty, or has another boundary than "
                       "its Content-Type says");
    return err_set(e, ERR_INVALID,
                   "the form ends in part %zu, before its last boundary: it was cut, send it again",
                   m->parts);
}
