// SPDX-License-Identifier: MIT
// Checkpoints. SQLite before 3.51.3 can lose a commit that meets another
// connection's checkpoint. So only the owner checkpoints, PASSIVE, on a second
// connection, while the first holds the writer lock and no commit can happen.
// (FULL and TRUNCATE would do it on one connection, but fall back to an unlocked
// PASSIVE when they do not get the lock.)
#include "db/connection.h"
#include "db/moved.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
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

// ---- how long the log is ----

#define LOG_HEAD 32 // https://www.sqlite.org/fileformat2.html#walformat
#define FRAME_HEAD 24
#define SALTS 8

struct log_file {
    int fd;
    int64_t frame_size, frames;
    unsigned char salts[SALTS]; // of what was written since the log began anew
};

static bool open_log(struct log_file *log, const char *path) {
    unsigned char head[LOG_HEAD];
    struct stat st;
    *log = (struct log_file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (log->fd < 0)
        return false;
    if (fstat(log->fd, &st) != 0 || pread(log->fd, head, sizeof head, 0) != (ssize_t)sizeof head)
        return false;
    log->frame_size =
        FRAME_HEAD + ((int64_t)head[8] << 24 | head[9] << 16 | head[10] << 8 | head[11]); // the page
    log->frames = (st.st_size - LOG_HEAD) / log->frame_size;
    memcpy(log->salts, head + 16, sizeof log->salts);
    return true;
}

static bool is_of_now(const struct log_file *log, int64_t frame) {
    unsigned char salts[SALTS];
    return pread(log->fd, salts, sizeof salts, LOG_HEAD + frame * log->frame_size + 8) ==
               (ssize_t)sizeof salts &&
           memcmp(salts, log->salts, sizeof salts) == 0;
}

// The file keeps its size when the log begins anew: what is of now stands before what is older.
int db_log_pages(const struct db *db) {
    struct log_file log;
    int64_t from = 0;
    if (open_log(&log, db_log_path(db)))
        for (int64_t to = log.frames; from < to;) {
            int64_t middle = from + (to - from) / 2;
            if (is_of_now(&log, middle))
                from = middle + 1;
            else
                to = middle;
        }
    // No lock of SQLite's stands on this file, so closing it gives none up.
    if (log.fd >= 0)
        close(log.fd);
    return from < INT32_MAX ? (int)from : INT32_MAX;
}

// ---- the checkpoint ----

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
