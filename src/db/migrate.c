// SPDX-License-Identifier: MIT
// Applying the embedded schema, forward only, and refusing files that are not ours.
#include "db/migrate.h"
#include "base/clock.h"
#include "db/connection.h"
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int migrate_newest(void) {
    int n = 0;
    while (migration_list[n].name)
        n++;
    return n;
}

// FNV-1a, 64 bits: enough to notice an edit, no defence against an enemy.
static void checksum(const char *sql, char out[17]) {
    uint64_t hash = 14695981039346656037u;
    for (const unsigned char *p = (const unsigned char *)sql; *p; p++)
        hash = (hash ^ *p) * 1099511628211u;
    snprintf(out, 17, "%016" PRIx64, hash);
}

static int failed(sqlite3 *handle, const char *path, struct err *e) {
    switch (sqlite3_errcode(handle)) {
    case SQLITE_NOTADB:
        return err_set(e, ERR_DATABASE, "%s is not a database: name genrun's own file with -d", path);
    case SQLITE_ERROR: // such as a table that is missing
        return err_set(e, ERR_DATABASE, "database %s is damaged (%s): restore a backup", path,
                       sqlite3_errmsg(handle));
    default:
        return connection_failed(handle, path, e);
    }
}

static int integer(sqlite3 *handle, const char *sql, int64_t *out) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(handle, sql, -1, &s, NULL);
    *out = 0;
    if (code == SQLITE_OK) {
        code = sqlite3_step(s);
        if (code == SQLITE_ROW)
            *out = sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : -1;
}

// A checksum that differs means that the file was edited after it was applied.
static int compare_checksums(sqlite3 *handle, const char *path, int version, struct err *e) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(handle, "SELECT version, name, checksum FROM schema_migrations ORDER BY version",
                           -1, &s, NULL) != SQLITE_OK)
        return failed(handle, path, e);
    int result = 0;
    int rows = 0;
    while (!result && sqlite3_step(s) == SQLITE_ROW) {
        int v = sqlite3_column_int(s, 0);
        const char *sum = (const char *)sqlite3_column_text(s, 2);
        char own[17];
        if (v < 1 || v > migrate_newest())
            continue;
        checksum(migration_list[v - 1].sql, own);
        if (!sum || strcmp(sum, own) != 0)
            result = err_set(e, ERR_DATABASE,
                             "%s was made by another edition of schema %s: use the genrun that made it", path,
                             migration_list[v - 1].name);
        rows++;
    }
    sqlite3_finalize(s);
    if (!result && rows != version)
        return err_set(e, ERR_DATABASE,
                       "%s is damaged: its list of migrations has %d rows for version %d: restore a backup",
                       path, rows, version);
    return result;
}

static int examine(sqlite3 *handle, const char *path, int *pending, struct err *e) {
    int64_t application = 0, version = 0, tables = 0;
    if (integer(handle, "PRAGMA application_id", &application) != 0 ||
        integer(handle, "PRAGMA user_version", &version) != 0 ||
        integer(handle, "SELECT count(*) FROM sqlite_schema", &tables) != 0)
        return failed(handle, path, e);
    *pending = version >= 0 && version <= migrate_newest() ? migrate_newest() - (int)version : 0;
    if (tables == 0 && application == 0 && version == 0)
        return 0;
    if (application != MIGRATE_APPLICATION_ID)
        return err_set(e, ERR_DATABASE, "%s is a database of another program: name genrun's own file with -d",
                       path);
    if (version > migrate_newest())
        return err_set(e, ERR_DATABASE,
                       "%s has schema version %d and this genrun knows %d: use a newer genrun", path,
                       (int)version, migrate_newest());
    // Marked and not yet filled: the maker is still at it, or died.
    if (version == 0 && tables == 0)
        return 0;
    return compare_checksums(handle, path, (int)version, e);
}

int migrate_examine(sqlite3 *handle, const char *path, int *pending, struct err *e) {
    // One look at one moment: another process may be filling the file just now.
    bool alone = sqlite3_get_autocommit(handle) != 0;
    if (alone && sqlite3_exec(handle, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
        return failed(handle, path, e);
    int result = examine(handle, path, pending, e);
    if (alone && !sqlite3_get_autocommit(handle))
        sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

int migrate_mark(sqlite3 *handle, const char *path, struct err *e) {
    char sql[64];
    int pending = 0;
    int64_t application = 0;
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d", MIGRATE_APPLICATION_ID);
    if (integer(handle, "PRAGMA application_id", &application) != 0)
        return failed(handle, path, e);
    if (application != 0)
        return migrate_examine(handle, path, &pending, e);
    // An empty database that has a log already: the mark belongs into the file itself.
    if (sqlite3_exec(handle, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(handle, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return failed(handle, path, e);
    // Under the lock: it may have become another program's meanwhile.
    int result = migrate_examine(handle, path, &pending, e);
    if (!result && (sqlite3_exec(handle, sql, NULL, NULL, NULL) != SQLITE_OK ||
                    sqlite3_exec(handle, "COMMIT", NULL, NULL, NULL) != SQLITE_OK))
        result = failed(handle, path, e);
    if (!sqlite3_get_autocommit(handle))
        sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

static int apply_one(sqlite3 *handle, const char *path, int version, struct err *e) {
    const struct migration *m = &migration_list[version - 1];
    char sum[17], tail[512];
    checksum(m->sql, sum);
    snprintf(tail, sizeof tail,
             "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
             " checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT;"
             "INSERT INTO schema_migrations VALUES (%d, '%s', '%s', %" PRId64 ");"
             "PRAGMA user_version = %d; PRAGMA application_id = %d;",
             version, m->name, sum, clock_wall_at(), version, MIGRATE_APPLICATION_ID);
    if (sqlite3_exec(handle, m->sql, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(handle, tail, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    if (sqlite3_errcode(handle) != SQLITE_ERROR)
        return failed(handle, path, e);
    return err_set(e, ERR_DATABASE, "schema %s could not be applied to %s (%s): use a newer SQLite than %s",
                   m->name, path, sqlite3_errmsg(handle), sqlite3_libversion());
}

int migrate_apply(sqlite3 *handle, const char *path, struct err *e) {
    for (;;) {
        int pending = 0;
        // The version is read under the writer lock: another process may have been faster.
        if (sqlite3_exec(handle, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
            return failed(handle, path, e);
        int result = migrate_examine(handle, path, &pending, e);
        if (!result && pending > 0)
            result = apply_one(handle, path, migrate_newest() - pending + 1, e);
        if (!result && sqlite3_exec(handle, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
            result = failed(handle, path, e);
        if (result && !sqlite3_get_autocommit(handle))
            sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL);
        if (result || pending <= 1)
            return result;
    }
}
