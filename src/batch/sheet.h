// SPDX-License-Identifier: MIT
// A CSV file as items: what its header makes of the columns, and each row as a
// specification. What the format is stands in batch/import.h.
#ifndef GENRUN_BATCH_SHEET_H
#define GENRUN_BATCH_SHEET_H

#include "base/err.h"
#include "batch/csv.h"
#include "batch/item.h"
#include "queue/spec.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sheet {
    struct sheet_column *columns;
    size_t count;
    size_t *default_columns; // for each default of the reader its column, SHEET_NO_COLUMN: none
    // The first parameter that would be a number, true, false or null without its quotes; NULL: none.
    const char *quoted_value;
    int64_t quoted_value_line;
};
#define SHEET_NO_COLUMN ((size_t)-1)

// True for an unquoted cell that stands for a JSON number, true, false or null; whatever else stands for text.
bool sheet_is_value(const char *text, size_t length);

// Reads the header. ERR_INVALID with what is wrong with it. In any case the caller ends with sheet_free.
int sheet_init(struct sheet *s, const struct csv *header, const struct item_reader *r,
               struct err *e) must_check;
void sheet_free(struct sheet *s);
// Fills *spec from a row, or returns ERR_INVALID with what is wrong with it. The texts of the spec are valid
// until the next line is taken or the next row read.
int sheet_read(struct sheet *s, const struct csv *row, struct item_reader *r, struct spec *spec,
               struct err *e) must_check;

#endif
