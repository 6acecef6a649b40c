// SPDX-License-Identifier: MIT
// Reads and writes CSV. A line ends a record unless a quote is open, so the only
// state between lines is that quote.
#include "batch/csv.h"

#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

void csv_init(struct csv *c) {
    *c = (struct csv){.cells = mem_alloc(CSV_COLUMNS_MAXIMUM, sizeof *c->cells)};
    buf_init(&c->text, CSV_RECORD_MAXIMUM);
}

void csv_free(struct csv *c) {
    buf_free(&c->text);
    free(c->cells);
    c->cells = NULL;
}

const char *csv_text(const struct csv *c, size_t column) {
    return c->text.data + c->cells[column].at;
}

// Refuses what is wrong with the last cell; the line is told where it is not the record's first.
static int refuse_cell(const struct csv *c, int64_t number, const char *what, const char *remedy,
                       struct err *e) {
    if (number == c->first_line)
        return err_set(e, ERR_INVALID, "%s cell %zu: %s", what, c->count, remedy);
    return err_set(e, ERR_INVALID, "%s cell %zu, on line %lld: %s", what, c->count, (long long)number,
                   remedy);
}

// Takes a quoted cell to its closing quote; false where the line ends before.
static bool take_quoted(struct csv *c, const char **at, const char *end) {
    const char *quote;
    while ((quote = memchr(*at, '"', (size_t)(end - *at)))) {
        buf_append(&c->text, *at, (size_t)(quote - *at));
        *at = quote + 1;
        if (*at == end || **at != '"')
            return true;
        buf_char(&c->text, '"');
        ++*at;
    }
    buf_append(&c->text, *at, (size_t)(end - *at));
    *at = end;
    return false;
}

static int take_unquoted(struct csv *c, const char **at, const char *end, int64_t number, struct err *e) {
    const char *comma = memchr(*at, ',', (size_t)(end - *at));
    size_t length = (size_t)((comma ? comma : end) - *at);
    if (memchr(*at, '"', length))
        return refuse_cell(c, number, "a quote inside the unquoted",
                           "put the whole cell in quotes and double those inside it", e);
    if (memchr(*at, '\r', length))
        return refuse_cell(c, number, "a lone CR in the unquoted",
                           "end lines with LF or CRLF, or put the cell in quotes", e);
    buf_append(&c->text, *at, length);
    *at += length;
    return ERR_OK;
}

// Opens the cell that begins at `*at`.
static int begin_cell(struct csv *c, const char **at, const char *end, int64_t number, struct err *e) {
    if (c->count == CSV_COLUMNS_MAXIMUM)
        return err_set(e, ERR_INVALID, "more than %zu columns: leave out what is not needed, or use JSONL",
                       CSV_COLUMNS_MAXIMUM);
    struct csv_cell *cell = &c->cells[c->count++];
    cell->at = c->text.length;
    cell->quoted = *at < end && **at == '"';
    if (cell->quoted) {
        ++*at;
        c->open = true;
        c->quote_line = number;
    }
    return ERR_OK;
}

static int check_size(const struct csv *c, struct err *e) {
    if (!c->text.overflow)
        return ERR_OK;
    if (c->open)
        return err_set(e, ERR_INVALID,
                       "the record is longer than 64 MiB: the quote that opens on line %lld may lack its end",
                       (long long)c->quote_line);
    return err_set(e, ERR_INVALID, "the record is longer than 64 MiB: split it");
}

int csv_take_line(struct csv *c, const char *line, size_t length, const char *ending, int64_t number,
                  struct err *e) {
    const char *at = line, *end = line + length;
    if (!c->open) {
        buf_clear(&c->text);
        c->count = 0;
        c->first_line = number;
    }
    for (;; at++) { // behind a comma
        int rc = c->open ? ERR_OK : begin_cell(c, &at, end, number, e);
        if (rc)
            return rc;
        struct csv_cell *cell = &c->cells[c->count - 1];
        if (!cell->quoted) {
            rc = take_unquoted(c, &at, end, number, e);
        } else if (!take_quoted(c, &at, end)) {
            buf_text(&c->text, ending);
            return check_size(c, e);
        } else if (at < end && *at != ',') {
            rc = refuse_cell(c, number, "text behind the closing quote of",
                             "double the quotes inside it, or remove what follows", e);
        }
        c->open = false;
        cell->length = c->text.length - cell->at;
        buf_char(&c->text, '\0');
        if (!rc)
            rc = check_size(c, e);
        if (rc || at == end)
            return rc;
    }
}

void csv_write(struct buf *out, const char *text, size_t length, bool quoted) {
    const char *end = text + length, *quote;
    for (const char *p = text; p < end && !quoted; p++)
        quoted = *p == ',' || *p == '"' || *p == '\n' || *p == '\r';
    if (!quoted) {
        buf_append(out, text, length);
        return;
    }
    buf_char(out, '"');
    while ((quote = memchr(text, '"', (size_t)(end - text)))) {
        buf_append(out, text, (size_t)(quote + 1 - text));
        buf_char(out, '"');
        text = quote + 1;
    }
    buf_append(out, text, (size_t)(end - text));
    buf_char(out, '"');
}
