// SPDX-License-Identifier: MIT
// Inside of src/queue/: rows copied out before they are handed on.
#ifndef GENRUN_QUEUE_ROWS_H
#define GENRUN_QUEUE_ROWS_H

#include "queue/queue.h"

struct rows {
    struct row **list;
    size_t count;
};
// Copies all rows of a statement (NULL: it failed already); does not end it.
int rows_take(struct db *db, sqlite3_stmt *s, struct rows *out, struct err *e) must_check;
// Gives each row away; false when the receiver ended it.
bool rows_give(struct rows *rows, queue_each each, void *payload);
void rows_free(struct rows *rows);

#endif
