// SPDX-License-Identifier: MIT
// Cached statements, bound by a string of types.
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "db/connection.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct statement {
    const char *sql; // the literal's address is the key
    sqlite3_stmt *handle;
};

static size_t slot_of(const struct db *db, const char *sql) {
    size_t i = ((size_t)sql >> 3) * 0x9E3779B97F4A7C15u >> 20;
    for (i &= db->statement_slots - 1; db->statements[i].sql && db->statements[i].sql != sql;)
        i = (i + 1) & (db->statement_slots - 1);
    return i;
}

static void grow(struct db *db) {
    struct statement *old = db->statements;
    size_t count = db->statement_slots;
    db->statement_slots = count ? count * 2 : 128;
    db->statements = mem_alloc(db->statement_slots, sizeof *db->statements);
    for (size_t i = 0; i < count; i++)
        if (old[i].sql)
            db->statements[slot_of(db, old[i].sql)] = old[i];
    free(old);
}

void statement_free_all(struct db *db) {
    for (size_t i = 0; i < db->statement_slots; i++)
        sqlite3_finalize(db->statements[i].handle);
    free(db->statements);
    db->statements = NULL;
    db->statement_slots = db->statement_count = 0;
}

static sqlite3_stmt *cached(struct db *db, const char *sql, struct err *e) {
    if (db_has_lost(db, e))
        return NULL;
    if (db->statement_count * 2 >= db->statement_slots)
        grow(db);
    struct statement *s = &db->statements[slot_of(db, sql)];
    if (!s->sql) {
        if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, NULL) !=
            SQLITE_OK) {
            db_failed(db, e);
            return NULL;
        }
        s->sql = sql;
        db->statement_count++;
    }
    return s->handle;
}

// Bound without copies: the caller's values live until the statement is done or was run.
static void bind(sqlite3_stmt *s, const char *types, va_list values) {
    for (int i = 1; *types; types++, i++) {
        switch (*types) {
        case 'i':
            sqlite3_bind_int64(s, i, va_arg(values, int64_t));
            break;
        case 'n':
            sqlite3_bind_double(s, i, va_arg(values, double));
            break;
        case 't': {
            const char *text = va_arg(values, const char *);
            if (text)
                sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
            else
                sqlite3_bind_null(s, i);
            break;
        }
        default: {
            const void *bytes = va_arg(values, const void *);
            size_t length = va_arg(values, size_t);
            if (!bytes)
                sqlite3_bind_null(s, i);
            else if (*types == 'x' && !memchr(bytes, 0, length) && text_is_utf8(bytes, length))
                sqlite3_bind_text64(s, i, bytes, length, SQLITE_STATIC, SQLITE_UTF8);
            else
                sqlite3_bind_blob64(s, i, length ? bytes : "", length, SQLITE_STATIC);
        }
        }
    }
}

static void set_deadline(struct db *db) {
    if (!db->in_begin && sqlite3_get_autocommit(db->handle))
        db->busy_until_ms = clock_monotonic_ms() + DB_WAIT_MS;
}

int db_run(struct db *db, struct err *e, const char *sql, const char *types, ...) {
    sqlite3_stmt *s = cached(db, sql, e);
    if (!s)
        return e ? (int)e->code : ERR_DATABASE;
    va_list values;
    va_start(values, types);
    bind(s, types, values);
    va_end(values);
    set_deadline(db);
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW)
        ;
    int result = code == SQLITE_DONE ? 0 : db_failed(db, e);
    sqlite3_reset(s);
    if (*types)
        sqlite3_clear_bindings(s);
    return result;
}

sqlite3_stmt *db_ask(struct db *db, struct err *e, const char *sql, const char *types, ...) {
    sqlite3_stmt *s = cached(db, sql, e);
    if (!s)
        return NULL;
    va_list values;
    va_start(values, types);
    bind(s, types, values);
    va_end(values);
    set_deadline(db);
    return s;
}

sqlite3_stmt *db_ask_text(struct db *db, struct err *e, const char *sql, const char *types, ...) {
    sqlite3_stmt *s = NULL;
    if (db_has_lost(db, e))
        return NULL;
    if (sqlite3_prepare_v2(db->handle, sql, -1, &s, NULL) != SQLITE_OK) {
        db_failed(db, e);
        return NULL;
    }
    va_list values;
    va_start(values, types);
    bind(s, types, values);
    va_end(values);
    set_deadline(db);
    return s;
}

int db_next(struct db *db, sqlite3_stmt *statement, struct err *e) {
    if (db->lost && db_has_lost(db, e))
        return -1;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return 1;
    if (code == SQLITE_DONE)
        return 0;
    db_failed(db, e);
    return -1;
}

void db_done(struct db *db, sqlite3_stmt *statement) {
    (void)db;
    if (!statement)
        return;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

void db_drop(struct db *db, sqlite3_stmt *statement) {
    (void)db;
    sqlite3_finalize(statement);
}

int db_integer(struct db *db, struct err *e, int64_t *out, int64_t fallback, const char *sql,
               const char *types, ...) {
    sqlite3_stmt *s = cached(db, sql, e);
    *out = fallback;
    if (!s)
        return e ? (int)e->code : ERR_DATABASE;
    va_list values;
    va_start(values, types);
    bind(s, types, values);
    va_end(values);
    set_deadline(db);
    int result = 0;
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)
        *out = sqlite3_column_int64(s, 0);
    while (code == SQLITE_ROW)
        code = sqlite3_step(s);
    if (code != SQLITE_DONE)
        result = db_failed(db, e);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return result;
}

int64_t db_changes(struct db *db) {
    return sqlite3_changes64(db->handle);
}

int64_t db_total_changes(struct db *db) {
    return sqlite3_total_changes64(db->handle);
}

int64_t db_last_id(struct db *db) {
    return sqlite3_last_insert_rowid(db->handle);
}

const char *db_text(sqlite3_stmt *statement, int column) {
    return (const char *)sqlite3_column_text(statement, column);
}

int64_t db_int(sqlite3_stmt *statement, int column) {
    return sqlite3_column_int64(statement, column);
}

bool db_is_null(sqlite3_stmt *statement, int column) {
    return sqlite3_column_type(statement, column) == SQLITE_NULL;
}
