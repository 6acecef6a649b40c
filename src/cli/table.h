// SPDX-License-Identifier: MIT
// Aligned tables for people. On a terminal the columns that may be cut are cut so
// that a line fits it; elsewhere nothing is cut. Text is escaped here. Long lists
// are printed in blocks, so memory stays flat.
#ifndef GENRUN_CLI_TABLE_H
#define GENRUN_CLI_TABLE_H

#include "cli/terminal.h"
#include <stdint.h>
#include <stdio.h>

struct table_column {
    const char *title;
    bool right; // numbers
    int cut; // true: may be shortened to fit the terminal; TABLE_LEAVES: also left out when that is not enough
};
#define TABLE_LEAVES 2

struct table;

// Both are borrowed until table_free.
struct table *table_new(FILE *out, const struct terminal *terminal, const struct table_column *columns,
                        size_t count);
// Fills the next cell, row by row; NULL and "" show as "-".
void table_cell(struct table *t, const char *text, enum style style);
void table_cell_integer(struct table *t, int64_t value);
// The last characters of an id, which serve for it.
void table_cell_id(struct table *t, const char *id);
// Prints what is pending, and the titles if they were not printed yet and there was a row.
void table_flush(struct table *t);
// Rows begun so far.
size_t table_rows(const struct table *t);
void table_free(struct table *t); // prints nothing

#endif
