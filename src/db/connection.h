// SPDX-License-Identifier: MIT
// Inside of src/db/: the state of a connection.
#ifndef GENRUN_DB_CONNECTION_H
#define GENRUN_DB_CONNECTION_H

#include "db/db.h"

struct owner;
struct statement;

#define DB_WAIT_MS 5000 // of statements outside db_begin(), for a lock

struct db {
    char *path;
    struct owner *owner;
    sqlite3 *handle;
    sqlite3 *checkpointer; // second connection: a holder of the writer lock cannot checkpoint itself
    struct statement *statements;
    size_t statement_count; // used slots
    size_t statement_slots; // a power of two
    int64_t cut_at_ms;      // monotonic: when a running statement is cut; 0: never
    int64_t busy_until_ms;  // monotonic: when a wait for the lock gives up
    int wal_pages;
    int last_code;   // SQLite's primary code of the last failure
    int depth;       // of db_begin(): 1 is the transaction, more are savepoints in it
    bool lost;       // all that the open transaction had written is gone, or cannot be trusted
    int lost_code;   // by which failure
    struct err loss; // and what that said
    int64_t bound;   // of values, in bytes; 0: none
    bool bounded;    // one was longer
    bool in_begin;
    bool is_owner;
};

// In the message of every failure that is another process's lock.
#define CONNECTION_LOCKED "is locked by another process"
int connection_open(sqlite3 **out, const char *path, struct err *e) must_check;
int connection_set_up(sqlite3 *handle, const char *path, struct err *e) must_check;
void statement_free_all(struct db *db);
// Turns SQLite's last error into one line; returns its code.
int db_failed(struct db *db, struct err *e);
// Is the transaction that db_begin() opened gone? Nothing more may be written then: it would stand by itself. Says by
// which failure.
bool db_has_lost(struct db *db, struct err *e);
int connection_failed(sqlite3 *handle, const char *path, struct err *e);

#endif
