// SPDX-License-Identifier: MIT
// The door to SQLite: one connection, opened by the rules that keep it safe
// (WAL, synchronous=FULL, no checkpoint but by the owner), with cached
// statements, short transactions and errors that say what to do.
#ifndef GENRUN_DB_DB_H
#define GENRUN_DB_DB_H

#include "base/err.h"
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;

enum db_mode {
    DB_EXISTING, // ERR_NOT_FOUND when the file does not exist, or nothing is in it yet
    DB_CREATE,   // made, with its folder, when it does not exist
    DB_LOOK      // as DB_EXISTING, and left as it is: pending migrations stay pending, nothing can be written
};

// Opens and, where needed, migrates the database. Refused, with the file untouched: a database of
// another program, a newer one, a damaged one, one on a network file system, one that cannot be written.
// *out is NULL on failure. Not to be used by two threads at once, nor after fork().
int db_open(struct db **out, const char *path, enum db_mode mode, struct err *e) must_check;
void db_close(struct db *db); // NULL is fine; gives up ownership
const char *db_path(const struct db *db);
// The write-ahead log, beside the file itself when the path is a link. Valid as long as the connection.
const char *db_log_path(const struct db *db);
sqlite3 *db_handle(struct db *db);

// ---- statements ----
// `types` has a letter for each parameter: i int64_t, n number (double), t text (NULL is NULL),
// b bytes (const void *, size_t; NULL is NULL), x text or blob by validity (const char *, size_t).
// `sql` must be a literal or live as long as the connection: statements are cached by its address.

// Runs a statement to its end.
int db_run(struct db *db, struct err *e, const char *sql, const char *types, ...) must_check;
// Begins a statement that gives rows; NULL on failure. Step with db_next, and end with db_done, always.
sqlite3_stmt *db_ask(struct db *db, struct err *e, const char *sql, const char *types, ...) must_check;
// As db_ask, for SQL built at run time: not cached, and ended with db_drop.
sqlite3_stmt *db_ask_text(struct db *db, struct err *e, const char *sql, const char *types, ...) must_check;
// 1 a row, 0 the end, -1 a failure (in e).
int db_next(struct db *db, sqlite3_stmt *statement, struct err *e) must_check;
void db_done(struct db *db, sqlite3_stmt *statement); // NULL is fine
void db_drop(struct db *db, sqlite3_stmt *statement); // NULL is fine
// One integer of one row; `fallback` when there is no row or it is NULL.
int db_integer(struct db *db, struct err *e, int64_t *out, int64_t fallback, const char *sql,
               const char *types, ...) must_check;
// Rows changed by the last db_run on a table (0 for a view: use the total).
int64_t db_changes(struct db *db);
int64_t db_total_changes(struct db *db);
int64_t db_last_id(struct db *db);
// Columns of the current row: NULL-safe, valid until the next step.
const char *db_text(sqlite3_stmt *statement, int column);
int64_t db_int(sqlite3_stmt *statement, int column); // 0 for NULL
bool db_is_null(sqlite3_stmt *statement, int column);

// ---- transactions ----
// BEGIN IMMEDIATE, waiting at most wait_ms for another writer (sleeps of 0.5 ms).
// ERR_DATABASE when the lock was not had: db_was_busy() is then true.
// Inside an open transaction of the same connection it begins a part of that one (a savepoint): db_rollback() undoes the
// part, db_commit() leaves it to the whole, which alone is on disk when its own db_commit() has succeeded. After some
// failures (full disk, I/O, no memory) SQLite rolls back the whole at once: nothing more can then be written in it, and
// db_commit() fails with that failure, of every part and of the whole.
int db_begin(struct db *db, int64_t wait_ms, struct err *e) must_check;
// Ends what the last db_begin() began, also when it fails: then it is rolled back.
int db_commit(struct db *db, struct err *e) must_check;
void db_rollback(struct db *db);
bool db_is_begun(const struct db *db); // inside of db_begin() and its end
bool db_was_busy(const struct db *db); // the last failure was another process's lock
bool db_was_refused(
    const struct db *db); // the last failure lay in what was to be written: a constraint, a trigger, a size
// A statement that still runs limit_ms from now fails, and db_was_cut() is then true. 0: no limit.
void db_limit(struct db *db, int64_t limit_ms);
bool db_was_cut(const struct db *db); // the last failure was that limit
// Values longer than so many bytes are not read: a statement that comes to one fails at once, and db_was_bounded() is then
// true until the next call. 0: no bound.
void db_bound(struct db *db, int64_t bytes);
bool db_was_bounded(const struct db *db);
// Changes with every commit of another connection, not with own ones; -1 on failure.
int64_t db_data_version(struct db *db);

// ---- what goes on around the file ----
// The process that holds SQLite's writer lock at this moment, as /proc/locks tells; 0: none, or none to be seen.
int64_t db_writer(struct db *db);
// True for the versions of SQLite, as sqlite3_libversion_number() gives them, in which a commit that meets the
// checkpoint of another connection can be lost (https://www.sqlite.org/wal.html#walresetbug).
bool db_has_wal_reset_bug(int version);

// ---- ownership: the right to run work and to checkpoint ----
// Takes the flock on the database's own inode. ERR_CONFLICT when another process, or another
// handle of this one, has it.
int db_own(struct db *db, struct err *e) must_check;
void db_disown(struct db *db);
bool db_is_owner(const struct db *db);
// The right to be the runner of the whole queue, taken before db_own: with it a runner may wait for a command that
// owns the database for a moment, and a second one is refused at once with ERR_CONFLICT.
int db_serve(struct db *db, struct err *e) must_check;
void db_unserve(struct db *db);
bool db_is_served(struct db *db); // by another handle or process
// The right to sync with Postgres: one session of all handles and processes at a time; it is gone with its process, also
// a killed one. False: another has it; is_next: and is told that this one waits for it, until db_sync_give().
bool db_sync_take(struct db *db, bool is_next);
void db_sync_give(struct db *db);      // not had: fine
bool db_sync_is_wanted(struct db *db); // by one that is to be next
// Pages in the write-ahead log after the last own commit.
int db_wal_pages(const struct db *db);
// The same with what other connections have written since: counted in the file. 0: nothing, or it cannot be read.
int db_log_pages(const struct db *db);
// Owner only: copies the log into the database while holding the writer lock, so that no commit can meet
// it. *left_pages (may be NULL) are those that a reader still holds back. Waits at most wait_ms for the lock.
int db_checkpoint(struct db *db, int64_t wait_ms, int *left_pages, struct err *e) must_check;
// The checkpoint at the end of a run: done when the lock is to be had at once.
void db_checkpoint_final(struct db *db);

#endif
