// SPDX-License-Identifier: MIT
// Opening a connection by the rules, transactions, and errors that say what to do.
#include "db/db.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "db/connection.h"
#include "db/header.h"
#include "db/migrate.h"
#include "db/moved.h"
#include "db/owner.h"
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// A short fixed sleep: SQLite's own growing ones starve a waiter beside a writer in series.
static int on_busy(void *payload, int count) {
    const struct db *db = payload;
    (void)count;
    if (clock_monotonic_ms() >= db->busy_until_ms)
        return 0;
    const struct timespec pause = {0, 500000};
    nanosleep(&pause, NULL);
    return 1;
}

static int on_wal(void *payload, sqlite3 *handle, const char *name, int pages) {
    struct db *db = payload;
    (void)handle;
    (void)name;
    db->wal_pages = pages;
    return SQLITE_OK;
}

int connection_failed(sqlite3 *handle, const char *path, struct err *e) {
    int code = sqlite3_extended_errcode(handle);
    const char *text = sqlite3_errmsg(handle);
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
        return err_set(e, ERR_CONFLICT, "%s", text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(e, ERR_DATABASE,
                       "database %s " CONNECTION_LOCKED ": end its open transaction and try again", path);
    case SQLITE_FULL:
        return err_set(e, ERR_DATABASE, "database %s cannot grow, the disk is full: free some space", path);
    case SQLITE_IOERR:
        return err_set(e, ERR_DATABASE, "database %s: input or output failed (%s): check the disk", path,
                       text);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(e, ERR_DATABASE,
                       "database %s cannot be written: check the rights of the file and its folder", path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(e, ERR_DATABASE, "database %s is damaged (%s): restore a backup", path, text);
    case SQLITE_CANTOPEN:
        return err_set(e, ERR_DATABASE,
                       "database %s cannot be opened: check the rights of the file and its folder, where "
                       "files beside it are made",
                       path);
    case SQLITE_TOOBIG:
        return err_set(e, ERR_INVALID, "a value is larger than the database takes: split it");
    default:
        return err_set(e, ERR_DATABASE, "database %s: %s (SQLite code %d)", path, text, code);
    }
}

static void lose(struct db *db) {
    if (db->lost)
        return;
    db->lost = true;
    db->lost_code = db->last_code;
    connection_failed(db->handle, db->path, &db->loss);
}

int db_failed(struct db *db, struct err *e) {
    db->last_code = sqlite3_extended_errcode(db->handle) & 0xff;
    db->bounded |= db->bound > 0 && db->last_code == SQLITE_TOOBIG;
    if (db->depth > 0 && sqlite3_get_autocommit(db->handle))
        lose(db);
    return connection_failed(db->handle, db->path, e);
}

bool db_has_lost(struct db *db, struct err *e) {
    if (!db->lost && db->depth > 0 && sqlite3_get_autocommit(db->handle))
        lose(db);
    if (!db->lost)
        return false;
    db->last_code = db->lost_code;
    err_set(e, db->loss.code, "%s", db->loss.message);
    return true;
}

static int make_folder(const char *path, struct err *e) {
    char *copy = mem_copy(path);
    char *folder = dirname(copy);
    int result = 0;
    if (access(folder, F_OK) != 0) {
        for (char *p = folder + 1; !result; p++) {
            if (*p && *p != '/')
                continue;
            char held = *p;
            *p = 0;
            if (mkdir(folder, 0700) != 0 && errno != EEXIST)
                result = err_set(
                    e, ERR_DATABASE,
                    "folder %s for the database cannot be made (%s): make it, or name another place with -d",
                    folder, strerror(errno));
            *p = held;
            if (!held)
                break;
        }
    }
    free(copy);
    return result;
}

int connection_open(sqlite3 **out, const char *path, struct err *e) {
    // The files hold prompts: those beside the database get its rights, which owner_open() made 0600. (A umask would
    // be that of all threads.)
    int code = sqlite3_open_v2(path, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        err_set(e, ERR_DATABASE, "database %s cannot be opened: %s", path,
                *out ? sqlite3_errmsg(*out) : "no memory");
        sqlite3_close(*out);
        *out = NULL;
        return ERR_DATABASE;
    }
    sqlite3_extended_result_codes(*out, 1);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return 0;
}

// Settings of every connection. Checkpoints belong to the owner alone (see db_checkpoint), so nothing
// here starts one; journal_size_limit lets the next commit after a reset cut a grown log.
static const char settings[] =
    "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=8388608;"
    "PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON;"
    "PRAGMA mmap_size=0; PRAGMA foreign_keys=ON";

static int set_up_looking(sqlite3 *handle, const char *path, struct err *e) {
    if (sqlite3_exec(handle, settings, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(handle, "PRAGMA query_only=ON", NULL, NULL, NULL) != SQLITE_OK)
        return connection_failed(handle, path, e);
    return 0;
}

int connection_set_up(sqlite3 *handle, const char *path, struct err *e) {
    sqlite3_stmt *s = NULL;
    // Setting WAL on a file that has it already writes nothing.
    int code = sqlite3_prepare_v2(handle, "PRAGMA journal_mode=WAL", -1, &s, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    const char *mode = code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    bool wal = mode && strcmp(mode, "wal") == 0;
    // Finalizing repeats the failure of the step, so the connection still tells the reason.
    sqlite3_finalize(s);
    if (!wal)
        return code == SQLITE_ROW
                   ? err_set(e, ERR_DATABASE, "database %s cannot have a write-ahead log: use a local disk",
                             path)
                   : connection_failed(handle, path, e);
    if (sqlite3_exec(handle, settings, NULL, NULL, NULL) != SQLITE_OK)
        return connection_failed(handle, path, e);
    return 0;
}

static int prepare_file(struct db *db, enum db_mode mode, struct err *e) {
    const char *network = NULL;
    if (mode == DB_CREATE) {
        int result = make_folder(db->path, e);
        if (result)
            return result;
    }
    if (file_is_on_network(db->path, &network))
        return err_set(e, ERR_DATABASE,
                       "database %s is on a network file system (%s), where locks cannot be trusted: "
                       "use a local disk",
                       db->path, network);
    return owner_open(&db->owner, db->path, mode == DB_CREATE, e);
}

static int nothing_there(const struct db *db, struct err *e) {
    return err_set(e, ERR_NOT_FOUND, "database %s is empty: submit something, or name another with -d",
                   db->path);
}

static int open_once(struct db **out, const char *path, enum db_mode mode, struct err *e) {
    struct db *db = mem_alloc(1, sizeof *db);
    bool fresh = false, had_log = false;
    int pending = 0;
    int result = 0;
    *out = NULL;
    db->path = mem_copy(path);
    db->busy_until_ms = clock_monotonic_ms() + DB_WAIT_MS;
    // Looked at before SQLite opens it, and again before anything is set: a file of another program stays untouched.
    if ((result = prepare_file(db, mode, e)) ||
        (result = header_examine(owner_descriptor(db->owner), path, migrate_newest(), &fresh, e)))
        goto out;
    if (fresh && mode != DB_CREATE) {
        result = nothing_there(db, e);
        goto out;
    }
    had_log = header_log_has_content(path);
    if ((result = connection_open(&db->handle, path, e)))
        goto out;
    sqlite3_busy_handler(db->handle, on_busy, db);
    if ((result = migrate_examine(db->handle, path, &pending, e)))
        goto out;
    // Marked by its maker, who is still at it or died.
    if (pending == migrate_newest() && mode != DB_CREATE) {
        result = nothing_there(db, e);
        goto out;
    }
    if (sqlite3_db_readonly(db->handle, "main") == 1 || access(path, W_OK) != 0) {
        result = err_set(e, ERR_DATABASE,
                         "database %s is read-only: check the rights of the file and its folder", path);
        goto out;
    }
    if ((fresh && (result = migrate_mark(db->handle, path, e))) ||
        (result =
             mode == DB_LOOK ? set_up_looking(db->handle, path, e) : connection_set_up(db->handle, path, e)))
        goto out;
    if (pending > 0 && mode != DB_LOOK && (result = migrate_apply(db->handle, path, e)))
        goto out;
    sqlite3_wal_hook(db->handle, on_wal, db);
    // What a look made beside the file goes with it: with no log before and nobody else there, nothing is copied.
    if (mode == DB_LOOK && !had_log)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    *out = db;
    return 0;
out:
    // Refused: what SQLite made beside the file goes with the connection (a log that was there is not copied).
    if (db->handle && !had_log)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    db_close(db);
    return result;
}

int db_open(struct db **out, const char *path, enum db_mode mode, struct err *e) {
    struct err reason = {0};
    int64_t end_ms = clock_monotonic_ms() + DB_WAIT_MS;
    int result;
    // While others make the file, SQLite refuses some steps at once, without asking the busy handler.
    while ((result = open_once(out, path, mode, &reason)) && strstr(reason.message, CONNECTION_LOCKED) &&
           clock_monotonic_ms() < end_ms) {
        const struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
    }
    return result ? err_set(e, reason.code, "%s", reason.message) : 0;
}

void db_close(struct db *db) {
    if (!db)
        return;
    statement_free_all(db);
    if (db->handle)
        sqlite3_close(db->handle);
    if (db->checkpointer)
        sqlite3_close(db->checkpointer);
    if (db->owner) {
        owner_unlock(db->owner, db);
        for (int right = 0; right < OWNER_RIGHTS; right++)
            owner_give(db->owner, (enum owner_right)right, db);
        owner_close(db->owner);
    }
    free(db->path);
    free(db);
}

const char *db_path(const struct db *db) {
    return db->path;
}

const char *db_log_path(const struct db *db) {
    return sqlite3_filename_wal(sqlite3_db_filename(db->handle, "main"));
}

sqlite3 *db_handle(struct db *db) {
    return db->handle;
}

static int begin_whole(struct db *db, int64_t wait_ms, struct err *e) {
    // The owner sees to that itself: it still has ends to write.
    int result = db->is_owner ? 0 : db_check_place(db, e);
    if (result)
        return result;
    db->busy_until_ms = clock_monotonic_ms() + wait_ms;
    db->in_begin = true;
    result = db_run(db, e, "BEGIN IMMEDIATE", "");
    db->in_begin = false;
    return result;
}

int db_begin(struct db *db, int64_t wait_ms, struct err *e) {
    int result = db->depth > 0 ? db_run(db, e, "SAVEPOINT part", "") : begin_whole(db, wait_ms, e);
    if (!result)
        db->depth++;
    return result;
}

static void end_whole(struct db *db) {
    // After some failures SQLite has rolled back by itself.
    if (!sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    db->depth = 0;
    db->lost = false;
}

static int commit_whole(struct db *db, struct err *e) {
    int result = db_has_lost(db, e) ? (int)db->loss.code : 0;
    if (!result) {
        db->depth = 0; // a COMMIT that fails is not the loss of a transaction that goes on
        result = db_run(db, e, "COMMIT", "");
    }
    end_whole(db);
    return result;
}

int db_commit(struct db *db, struct err *e) {
    if (db->depth <= 1)
        return commit_whole(db, e);
    int result = db_run(db, e, "RELEASE part", "");
    if (result)
        db_rollback(db);
    else
        db->depth--;
    return result;
}

void db_rollback(struct db *db) {
    if (db->depth <= 1) {
        end_whole(db);
        return;
    }
    db->depth--;
    if (db->lost)
        return;
    // What cannot be undone alone must not be committed with the whole.
    if (sqlite3_exec(db->handle, "ROLLBACK TO part", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db->handle, "RELEASE part", NULL, NULL, NULL) != SQLITE_OK) {
        db->last_code = sqlite3_extended_errcode(db->handle) & 0xff;
        lose(db);
    }
}

bool db_is_begun(const struct db *db) {
    return db->depth > 0;
}

bool db_was_busy(const struct db *db) {
    return db->last_code == SQLITE_BUSY || db->last_code == SQLITE_LOCKED;
}

bool db_was_refused(const struct db *db) {
    return db->last_code == SQLITE_CONSTRAINT || db->last_code == SQLITE_TOOBIG ||
           db->last_code == SQLITE_MISMATCH || db->last_code == SQLITE_ERROR;
}

int64_t db_data_version(struct db *db) {
    int64_t version = -1;
    struct err e;
    if (db_integer(db, &e, &version, -1, "PRAGMA data_version", ""))
        return -1;
    return version;
}

int db_own(struct db *db, struct err *e) {
    int result = owner_lock(db->owner, db, e);
    if (!result)
        db->is_owner = true;
    return result;
}

void db_disown(struct db *db) {
    if (db->is_owner)
        owner_unlock(db->owner, db);
    db->is_owner = false;
}

int db_serve(struct db *db, struct err *e) {
    return owner_take(db->owner, OWNER_SERVE, db)
               ? 0
               : err_set(e, ERR_CONFLICT,
                         "another runner has this database: stop it first, or use another database");
}

void db_unserve(struct db *db) {
    owner_give(db->owner, OWNER_SERVE, db);
}

bool db_is_served(struct db *db) {
    return owner_is_taken(db->owner, OWNER_SERVE, db);
}

bool db_sync_take(struct db *db, bool is_next) {
    if (!owner_take(db->owner, OWNER_SYNC, db)) {
        if (is_next)
            (void)owner_take(db->owner, OWNER_SYNC_NEXT, db); // or another is, and gives it up
        return false;
    }
    owner_give(db->owner, OWNER_SYNC_NEXT, db);
    return true;
}

void db_sync_give(struct db *db) {
    owner_give(db->owner, OWNER_SYNC_NEXT, db);
    owner_give(db->owner, OWNER_SYNC, db);
}

bool db_sync_is_wanted(struct db *db) {
    return owner_is_taken(db->owner, OWNER_SYNC_NEXT, db);
}

bool db_is_owner(const struct db *db) {
    return db->is_owner;
}

int db_wal_pages(const struct db *db) {
    return db->wal_pages;
}
