// SPDX-License-Identifier: MIT
// Checkpoints. SQLite before 3.51.3 can lose a commit that meets another
// connection's checkpoint. So only the owner checkpoints, PASSIVE, on a second
// connection, while the first holds the writer lock and no commit can happen.
// (FULL and TRUNCATE would do it on one connection, but fall back to an unlocked
// PASSIVE when they do not get the lock.)
#include "db/connection.h"
#include "db/moved.h"
#include <unistd.h>

static int open_second(struct db *db, struct err *e) {
    if (db->checkpointer)
        return 0;
    int result = db_check_place(db, e);
    if (!result)
        result = connection_open(&db->checkpointer, db->path, e);
    if (!result)
        result = connection_set_up(db->checkpointer, db->path, e);
    // A connection that has not read yet would report success and do nothing.
    if (!result &&
        sqlite3_exec(db->checkpointer, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL) != SQLITE_OK)
        result = err_set(e, ERR_DATABASE, "database %s cannot be read for a checkpoint: %s", db->path,
                         sqlite3_errmsg(db->checkpointer));
    if (result && db->checkpointer) {
        sqlite3_close(db->checkpointer);
        db->checkpointer = NULL;
    }
    return result;
}

int db_checkpoint(struct db *db, int64_t wait_ms, int *left_pages, struct err *e) {
    int log = 0, copied = 0;
    int result = 0;
    if (!db->is_owner)
        return err_set(e, ERR_CONFLICT, "only the owner of the database checkpoints it");
    if (db->depth > 0)
        return err_set(e, ERR_CONFLICT, "no checkpoint can be made inside of a transaction");
    if ((result = open_second(db, e)) || (result = db_begin(db, wait_ms, e)))
        return result;
    int code = sqlite3_wal_checkpoint_v2(db->checkpointer, "main", SQLITE_CHECKPOINT_PASSIVE, &log, &copied);
    db_rollback(db);
    if (code != SQLITE_OK && code != SQLITE_BUSY)
        return err_set(e, ERR_DATABASE, "database %s: the checkpoint failed: %s", db->path,
                       sqlite3_errmsg(db->checkpointer));
    // What was copied whole is reused from its start by the next commit.
    db->wal_pages = log > copied ? log - copied : 0;
    if (left_pages)
        *left_pages = log > copied ? log - copied : 0;
    return 0;
}

void db_checkpoint_final(struct db *db) {
    struct err e;
    if (!db->is_owner)
        return;
    if (db_checkpoint(db, 50, NULL, &e) != 0)
        return;
    if (db->checkpointer) {
        sqlite3_close(db->checkpointer);
        db->checkpointer = NULL;
    }
}
