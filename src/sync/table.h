// SPDX-License-Identifier: MIT
// The tables of the mirror: what is read here and written there, column by column. One list drives the SELECT, the
// INSERT, what counts as a change, and the comparison of both sides.
#ifndef GENRUN_SYNC_TABLE_H
#define GENRUN_SYNC_TABLE_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

enum column_kind {
    COLUMN_TEXT,
    COLUMN_UUID,
    COLUMN_INTEGER,
    COLUMN_NUMBER,
    COLUMN_TIME, // Unix milliseconds here, timestamptz there
    COLUMN_JSON,
    COLUMN_FLAG, // 0 or 1 here, boolean there
    COLUMN_BYTES // bytea
};

struct column {
    const char *name;
    enum column_kind kind;
    const char *from; // the SQL of SQLite that gives it; NULL: the name
};

struct table {
    const char *name;
    const struct column *columns; // ends with a NULL name
    const char *source;           // FROM … WHERE the key ?1, in SQLite
    const char *key;              // the columns that a row there is known by
    bool text_key;                // ?1 is text, not a number
    bool versioned;               // rows carry sync_version, and an older one never replaces a newer
    bool shared; // rows belong to no box (key: id): the last one to change one has said so (genrun_told)
};

enum {
    TABLE_GENERATIONS,
    TABLE_OUTPUTS,
    TABLE_BATCH_JOBS,
    TABLE_LOGS,
    TABLE_LOCKS,
    TABLE_PROFILES,
    TABLE_SESSIONS,
    TABLE_PROJECTS,
    TABLE_COUNT
};
extern const struct table table_list[TABLE_COUNT];

size_t table_width(const struct table *t); // columns
// The statement that reads the rows of a key.
void table_select(const struct table *t, struct buf *out);
// The statement that writes rows there: $1 the node, $2 the version (of a versioned table), then an array for each column.
void table_upsert(const struct table *t, struct buf *out);

#endif
