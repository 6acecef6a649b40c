// SPDX-License-Identifier: MIT
// CSV as RFC 4180 has it: cells apart by commas, in double quotes where they
// hold a comma, a quote (doubled) or a line end. The reader is given line by
// line, reads no file and keeps one record.
//
// What is read: quoted cells keep every byte, their line ends included; unquoted ones too, blanks at their
// ends included. Refused rather than guessed at: a quote inside an unquoted cell, text behind a closing
// quote, a CR outside of quotes that no LF follows.
#ifndef GENRUN_BATCH_CSV_H
#define GENRUN_BATCH_CSV_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CSV_COLUMNS_MAXIMUM ((size_t)2000)
#define CSV_RECORD_MAXIMUM ((size_t)64 << 20) // bytes of text in all its cells

struct csv_cell {
    size_t at; // in the text of the record
    size_t length;
    bool quoted;
};

// One record, valid until the next line is taken.
struct csv {
    struct buf text;        // the cells one after the other, a NUL behind each
    struct csv_cell *cells; // CSV_COLUMNS_MAXIMUM of them
    size_t count;
    bool open;          // a quoted cell goes on on the next line: the record is not complete
    int64_t first_line; // where the record begins
    int64_t quote_line; // where the quote stands that is open
};

void csv_init(struct csv *c);
void csv_free(struct csv *c);
// Takes the next line, without its end; `ending` is that end ("\n", "\r\n", "" for the last one), `number` its
// number. Unless c->open is set then, a record is complete. ERR_INVALID, without the file's name, for what is
// refused: nothing more may be taken then.
int csv_take_line(struct csv *c, const char *line, size_t length, const char *ending, int64_t number,
                  struct err *e) must_check;
// The text of a cell, with a NUL behind it.
const char *csv_text(const struct csv *c, size_t column);

// Appends a cell, in quotes where its text needs them or `quoted` asks for them.
void csv_write(struct buf *out, const char *text, size_t length, bool quoted);

#endif
