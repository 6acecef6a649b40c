// SPDX-License-Identifier: MIT
#include "db/check.h"
#include "base/mem.h"
#include "db/connection.h"
#include "db/migrate.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char restore[] = "restore a backup, or save what can be read with the sqlite3 shell's .recover";

int check_tell(check_each each, void *payload, const char *check, const char *problem, const char *advice) {
    struct row *row = row_new();
    row_add_text(row, "check", check);
    row_add_text(row, "problem", problem);
    row_add_text(row, "advice", advice);
    return each(payload, row);
}

// ---- the file ----

// SQLite's text may have several lines.
static int tell_damage(check_each each, void *payload, const char *text) {
    char *line = mem_copy(text != NULL ? text : "damaged");
    for (char *c = line; (c = strchr(c, '\n')) != NULL;)
        *c = ' ';
    int end = check_tell(each, payload, "integrity", line, restore);
    free(line);
    return end;
}

static int check_pages(struct db *db, bool quick, check_each each, void *payload, struct err *e) {
    int more = 0, end = 0;
    sqlite3_stmt *s = db_ask(db, e, quick ? "PRAGMA quick_check(100)" : "PRAGMA integrity_check(100)", "");
    if (!s)
        return (int)e->code;
    while (end == 0 && (more = db_next(db, s, e)) == 1)
        if (!db_text(s, 0) || strcmp(db_text(s, 0), "ok") != 0)
            end = tell_damage(each, payload, db_text(s, 0));
    db_done(db, s);
    return more < 0 ? (int)e->code : 0;
}

static int check_references(struct db *db, check_each each, void *payload, struct err *e) {
    int more = 0, end = 0;
    sqlite3_stmt *s = db_ask(db, e, "PRAGMA foreign_key_check", "");
    if (!s)
        return (int)e->code;
    while (end == 0 && (more = db_next(db, s, e)) == 1) {
        char *problem = mem_format("row %lld of %s refers to a row of %s that is not there",
                                   (long long)db_int(s, 1), db_text(s, 0), db_text(s, 2));
        end = check_tell(each, payload, "references", problem, "delete that row, or restore a backup");
        free(problem);
    }
    db_done(db, s);
    return more < 0 ? (int)e->code : 0;
}

int check_file(struct db *db, bool quick, check_each each, void *payload, struct err *e) {
    int result = check_pages(db, quick, each, payload, e);
    return result ? result : check_references(db, each, payload, e);
}

// ---- the schema ----

static const char mend[] = "put it back as the file in genrun's schema folder has it, or restore a backup";

// The SQL of an object; NULL: there is none. The caller frees it. `types` are its type and name.
static char *sql_of(sqlite3 *handle, const char *type, const char *name) {
    sqlite3_stmt *s = NULL;
    char *sql = NULL;
    if (sqlite3_prepare_v2(handle,
                           "SELECT coalesce(sql, '') FROM sqlite_schema WHERE type = ?1 AND name = ?2", -1,
                           &s, NULL) == SQLITE_OK) {
        sqlite3_bind_text(s, 1, type, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 2, name, -1, SQLITE_STATIC);
        if (sqlite3_step(s) == SQLITE_ROW)
            sql = mem_copy((const char *)sqlite3_column_text(s, 0));
    }
    sqlite3_finalize(s);
    return sql;
}

static bool has_name(sqlite3 *handle, const char *name) {
    char *table = sql_of(handle, "table", name), *view = sql_of(handle, "view", name);
    bool has = table != NULL || view != NULL;
    free(table);
    free(view);
    return has;
}

// What the file lacks or has otherwise.
static int compare_own(struct db *db, sqlite3 *model, check_each each, void *payload) {
    sqlite3_stmt *s = NULL;
    int end = 0;
    if (sqlite3_prepare_v2(model, "SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid",
                           -1, &s, NULL) != SQLITE_OK)
        return 0;
    while (end == 0 && sqlite3_step(s) == SQLITE_ROW) {
        const char *type = db_text(s, 0), *name = db_text(s, 1);
        char *held = sql_of(db->handle, type, name);
        if (held == NULL || strcmp(held, db_text(s, 2)) != 0) {
            char *problem = mem_format("the %s %s %s", type, name,
                                       held == NULL ? "is missing" : "is not as genrun made it");
            end = check_tell(each, payload, "schema", problem, mend);
            free(problem);
        }
        free(held);
    }
    sqlite3_finalize(s);
    return end;
}

// Triggers and indexes that somebody put on genrun's tables: they change what its statements do and cost.
static int compare_others(struct db *db, sqlite3 *model, check_each each, void *payload, struct err *e) {
    int more = 0, end = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT type, name, tbl_name FROM sqlite_schema WHERE (type = 'trigger' OR type = 'index')"
               " AND sql IS NOT NULL ORDER BY rowid",
               "");
    if (!s)
        return (int)e->code;
    while (end == 0 && (more = db_next(db, s, e)) == 1) {
        const char *type = db_text(s, 0), *name = db_text(s, 1), *table = db_text(s, 2);
        char *own = sql_of(model, type, name);
        if (own == NULL && has_name(model, table)) {
            char *problem = mem_format("the %s %s on %s is not genrun's", type, name, table);
            char *advice = mem_format("remove it with DROP %s %s",
                                      strcmp(type, "index") == 0 ? "INDEX" : "TRIGGER", name);
            end = check_tell(each, payload, "schema", problem, advice);
            free(problem);
            free(advice);
        }
        free(own);
    }
    db_done(db, s);
    return more < 0 ? (int)e->code : 0;
}

int check_schema(struct db *db, bool *current, check_each each, void *payload, struct err *e) {
    sqlite3 *model = NULL;
    int pending = 0;
    int result = migrate_examine(db->handle, db->path, &pending, e);
    *current = !result && pending == 0;
    if (result)
        return result;
    if (pending > 0) {
        char *problem = mem_format("the schema has version %d, this genrun makes %d",
                                   migrate_newest() - pending, migrate_newest());
        check_tell(each, payload, "schema", problem, "run 'genrun db migrate' and check again");
        free(problem);
        return 0;
    }
    if (sqlite3_open(":memory:", &model) != SQLITE_OK)
        result = err_set(e, ERR_DATABASE, "no memory for a schema to compare with: free some memory");
    if (!result)
        result = migrate_apply(model, ":memory:", e);
    if (!result && compare_own(db, model, each, payload) == 0)
        result = compare_others(db, model, each, payload, e);
    sqlite3_close(model);
    return result;
}
