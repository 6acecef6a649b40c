// SPDX-License-Identifier: MIT
// Rows on their way: read from SQLite, written as one array a column, in the text form of Postgres's arrays.
#ifndef GENRUN_SYNC_ROWSET_H
#define GENRUN_SYNC_ROWSET_H

#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include "sync/table.h"
#include <stdint.h>

#define ROWSET_COLUMNS 48 // the most a table has

struct rowset {
    const struct table *table;
    struct buf columns[ROWSET_COLUMNS]; // "{…" each, without its end
    size_t count, bytes;
    const char *wrong; // the column in which one of them holds what Postgres cannot; NULL: none
};

void rowset_begin(struct rowset *r, const struct table *table);
void rowset_free(struct rowset *r);
// Adds the statement's current row, whose columns are those of the table.
void rowset_add(struct rowset *r, sqlite3_stmt *statement);
// Ends the arrays and gives them, as many as the table has columns.
void rowset_values(struct rowset *r, const char **values);

#endif
