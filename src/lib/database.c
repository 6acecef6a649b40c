// SPDX-License-Identifier: MIT
// Care of the file, of the public API: check, backup, vacuum, migrate. Each opens
// the database for itself, so that it is left as it is where that matters.
#include "base/mem.h"
#include "db/backup.h"
#include "db/migrate.h"
#include "lib/handle.h"
#include "queue/audit.h"
#include <string.h>

static int open_database(genrun *g, struct db **out, enum db_mode mode) {
    *out = NULL;
    if (!g->config)
        return err_set(&g->err, ERR_CONFIG, HANDLE_NOT_OPEN);
    int result = handle_whole(g);
    return result ? result : db_open(out, g->config->database, mode, &g->err);
}

// ---- check ----

struct checking {
    struct each each;
    int64_t problems;
};

static int count_problem(void *payload, struct row *row) {
    struct checking *c = payload;
    c->problems++;
    return handle_each_row(&c->each, row);
}

static int check(struct checking *c, struct db *db, bool quick, struct err *e) {
    bool current = false;
    // One moment for all, so that a runner's work in between is no difference.
    int result = db_run(db, e, "BEGIN", "");
    if (!result)
        result = check_file(db, quick, count_problem, c, e);
    if (!result)
        result = check_schema(db, &current, count_problem, c, e);
    if (!result && current)
        result = audit_rows(db, count_problem, c, e);
    db_rollback(db);
    return result;
}

int genrun_check(genrun *g, int quick, genrun_each each, void *payload) {
    struct checking c = {.each = {each, payload}};
    struct db *db = NULL;
    struct err e = {0};
    int result = open_database(g, &db, DB_LOOK);
    if (result)
        return handle_result(g, result);
    result = check(&c, db, quick != 0, &e);
    db_close(db);
    // What is damaged may end the check before its time.
    if (result)
        result = err_set(&g->err, e.code, "%s", e.message);
    else if (c.problems > 0)
        result = err_set(&g->err, ERR_DATABASE, "database %s has %lld problem%s: do what each line says",
                         g->config->database, (long long)c.problems, c.problems == 1 ? "" : "s");
    return handle_result(g, result);
}

// ---- backup ----

struct backup_caller {
    genrun_progress progress;
    void *payload;
};

static int on_progress(void *payload, int64_t done, int64_t total) {
    struct backup_caller *c = payload;
    return c->progress(c->payload, done, total, "bytes");
}

int genrun_backup(genrun *g, const char *path, genrun_progress progress, void *payload) {
    struct backup_caller caller = {progress, payload};
    struct db *db = NULL;
    int result = open_database(g, &db, DB_LOOK);
    if (!result)
        result = backup_write(db, path, progress ? on_progress : NULL, &caller, &g->err);
    db_close(db);
    return handle_result(g, result);
}

// ---- vacuum, migrate ----

// Takes the owner's lock; who has it is told by its process, where that is known.
static int own(genrun *g, struct db *db) {
    struct row *row = NULL;
    struct err ignored = {0};
    int result = db_own(db, &g->err);
    if (!result)
        return 0;
    if (queue_stats(db, true, &row, &ignored) == 0 && row_integer(row, "runner_pid", 0) > 0)
        err_set(&g->err, ERR_CONFLICT, "the runner with process id %lld has database %s: stop it first",
                (long long)row_integer(row, "runner_pid", 0), g->config->database);
    row_free(row);
    return result;
}

int genrun_vacuum(genrun *g, int64_t *before, int64_t *after) {
    int64_t from = 0, to = 0;
    struct db *db = NULL;
    int result = open_database(g, &db, DB_EXISTING);
    if (!result)
        result = own(g, db);
    if (!result)
        result = backup_vacuum(db, &from, &to, &g->err);
    db_close(db);
    if (before)
        *before = from;
    if (after)
        *after = to;
    return handle_result(g, result);
}

static int migrate(genrun *g, struct db *looking) {
    struct db *db = NULL;
    int result = own(g, looking);
    if (!result)
        result = open_database(g, &db, DB_EXISTING); // which migrates
    db_close(db);
    return result;
}

int genrun_migrate(genrun *g, int *from, int *to, int dry_run) {
    int pending = 0;
    struct db *db = NULL;
    int result = open_database(g, &db, DB_LOOK);
    if (!result)
        result = migrate_examine(db_handle(db), db_path(db), &pending, &g->err);
    if (from)
        *from = migrate_newest() - pending;
    if (to)
        *to = migrate_newest();
    if (!result && pending > 0 && !dry_run)
        result = migrate(g, db);
    db_close(db);
    return handle_result(g, result);
}
