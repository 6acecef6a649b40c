// SPDX-License-Identifier: MIT
// A row copied out of the database: named cells that outlive the statement, and
// their JSON form (camelCase names, RFC 3339 times, JSON columns as JSON). A column whose
// name ends in '?' is a yes or no: its name is without that, and its JSON false or true.
#ifndef GENRUN_DB_ROW_H
#define GENRUN_DB_ROW_H

#include "base/buf.h"
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct row;

// Copies the current row of a statement; the caller frees it.
struct row *row_copy(sqlite3_stmt *statement);
// A row made by hand: cells are added in order.
struct row *row_new(void);
void row_add_text(struct row *row, const char *name, const char *text); // NULL: a NULL cell
void row_add_integer(struct row *row, const char *name, int64_t value);
void row_add_number(struct row *row, const char *name, double value);
void row_free(struct row *row);         // NULL is fine
size_t row_size(const struct row *row); // bytes of its cells

const char *row_text(const struct row *row,
                     const char *name); // numbers as text, too; NULL when NULL or absent
const void *row_bytes(const struct row *row, const char *name, size_t *length);
int64_t row_integer(const struct row *row, const char *name, int64_t fallback);
double row_number(const struct row *row, const char *name, double fallback);
// The JSON object, made once and kept until the row is freed. Columns whose names begin with _ are inner ones and
// not in it.
const char *row_json(struct row *row);

#endif
