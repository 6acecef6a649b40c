// SPDX-License-Identifier: MIT
// One run of a job: its lock, its findings, and what is written down of it.
#include "queue/upkeep.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "queue/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 5000      // for the writer lock, of a command
#define RUNNER_WAIT_MS 50 // of the loop

// This run of this process: two handles of one process are two owners. The identity stays readable for
// process_may_live().
static void name_owner(struct upkeep *run) {
    char identity[128], own[9];
    process_identity(identity, sizeof identity);
    id_random_hex(own, 4);
    snprintf(run->owner, sizeof run->owner, "%s:%s", identity, own);
}

int upkeep_begin(struct upkeep *run, struct err *e) {
    run->started_at = clock_wall_at();
    run->locked = run->ended = false;
    run->found = run->fixed = run->pause_ms = 0;
    run->note[0] = 0;
    name_owner(run);
    if (run->dry_run || run->lockless)
        return 0;
    if (run->by_runner)
        return lock_job_is_free(run->db, run->job, run->owner, run->started_at, run->lock_ms, e);
    int result = upkeep_transaction(run, e);
    return result ? result : upkeep_commit(run, e);
}

int upkeep_transaction(struct upkeep *run, struct err *e) {
    int result = db_begin(run->db, run->by_runner ? RUNNER_WAIT_MS : WAIT_MS, e);
    if (result)
        return result;
    char reason[64];
    snprintf(reason, sizeof reason, "%s, pid %ld", run->run_by, (long)getpid());
    if (!run->lockless)
        result =
            lock_job(run->db, run->job, run->owner, reason, clock_wall_at(), run->lock_ms, run->locked, e);
    if (result)
        db_rollback(run->db);
    return result;
}

int upkeep_commit(struct upkeep *run, struct err *e) {
    int result = db_commit(run->db, e);
    run->locked |= result == 0;
    if (!result)
        run->sure_count = run->told_count;
    return result;
}

// Does this run say something that the row of the run before does not?
static bool is_news(const struct upkeep *run, int result) {
    struct err ignored;
    int64_t known = 0;
    if (run->lockless)
        return result != 0;
    if (!run->by_runner || run->locked)
        return true;
    return db_integer(
               run->db, &ignored, &known, 0,
               "SELECT 1 FROM jobs WHERE name=?1 AND (outcome='failed')=?2 AND found=?3 AND fixed=0"
               " UNION ALL SELECT 1 WHERE ?3=0 AND ?2=0 AND NOT EXISTS (SELECT 1 FROM jobs WHERE name=?1)",
               "tii", run->job, (int64_t)(result != 0), run->found) == 0 &&
           !known;
}

static int log_end(struct upkeep *run, int64_t now_at, const char *failure, struct err *e) {
    struct buf data;
    if (run->found == 0 && !failure)
        return 0;
    buf_init(&data, 4096);
    buf_char(&data, '{');
    json_write_member_text(&data, "job", run->job);
    json_write_member_integer(&data, "found", run->found);
    json_write_member_integer(&data, "fixed", run->fixed);
    json_write_member_integer(&data, "ms", now_at - run->started_at);
    buf_char(&data, '}');
    int result = queue_log(run->db, failure ? "error" : "info", failure ? "job.failed" : "job.completed", 0,
                           0, failure, buf_borrow(&data), e);
    buf_free(&data);
    return result;
}

static int write_end(struct upkeep *run, const char *failure, struct err *e) {
    char run_by[64];
    int64_t now_at = clock_wall_at();
    int result = upkeep_transaction(run, e);
    if (result)
        return result;
    snprintf(run_by, sizeof run_by, "%s, pid %ld", run->run_by, (long)getpid());
    result = db_run(
        run->db, e,
        "INSERT INTO jobs (name, started_at, ended_at, outcome, found, fixed, message, run_by)"
        " VALUES (?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT (name) DO UPDATE SET started_at=?2, ended_at=?3,"
        " outcome=?4, found=?5, fixed=?6, message=?7, run_by=?8",
        "tiitiitt", run->job, run->started_at, now_at, failure ? "failed" : "done", run->found, run->fixed,
        failure, run_by);
    if (!result)
        result = log_end(run, now_at, failure, e);
    if (!result)
        result = lock_job_release(run->db, run->job, run->owner, e);
    if (result)
        db_rollback(run->db);
    return result ? result : db_commit(run->db, e);
}

int upkeep_end(struct upkeep *run, int result, struct err *e) {
    struct err late = {0};
    // Without its lock the run is another's to tell of.
    if (run->dry_run || result == ERR_CONFLICT || !is_news(run, result))
        return result;
    int ended = write_end(run, result ? e->message : NULL, &late);
    return result || !ended ? result : err_set(e, late.code, "%s", late.message);
}

void upkeep_abandon(struct upkeep *run) {
    struct err ignored;
    upkeep_deliver(run, true);
    // What cannot be written now ends with this process, or by its expiry.
    if (!run->locked || db_begin(run->db, RUNNER_WAIT_MS, &ignored) != 0)
        return;
    if (lock_job_release(run->db, run->job, run->owner, &ignored) != 0)
        db_rollback(run->db);
    else if (db_commit(run->db, &ignored) != 0)
        log_debug("the lock of job %s could not be given back: %s", run->job, ignored.message);
}

void upkeep_tell(struct upkeep *run, const struct finding *f) {
    struct row *row = row_new();
    row_add_text(row, "kind", f->kind);
    row_add_text(row, "id", f->id);
    row_add_text(row, "user_id", f->user_id);
    row_add_text(row, "what", f->what);
    row_add_integer(row, "count", f->count > 0 ? f->count : 1);
    if (f->since)
        row_add_integer(row, "since", f->since);
    else
        row_add_text(row, "since", NULL);
    row_add_text(row, "before", f->before);
    row_add_text(row, "after", f->after);
    row_add_integer(row, "fixed?", f->fixed);
    run->told = mem_resize(run->told, run->told_count + 1, sizeof(struct row *));
    run->told[run->told_count++] = row;
}

void upkeep_deliver(struct upkeep *run, bool failed) {
    for (size_t i = 0; i < run->told_count; i++) {
        struct row *row = run->told[i];
        bool counts = !failed || i < run->sure_count;
        int64_t count = counts ? row_integer(row, "count", 1) : 0;
        run->found += count;
        run->fixed += row_integer(row, "fixed", 0) ? count : 0;
        if (counts && run->each && !run->ended)
            run->ended = run->each(run->payload, row) != 0;
        else
            row_free(row);
    }
    free(run->told);
    run->told = NULL;
    run->told_count = run->sure_count = 0;
}

int queue_jobs(struct db *db, queue_each each, void *payload, struct err *e) {
    struct rows rows;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT n.name, j.started_at, j.ended_at, j.outcome, j.found, j.fixed, j.message, j.run_by,"
        " k.reason AS locked_by, k.acquired_at AS locked_at"
        " FROM (SELECT name FROM jobs UNION SELECT substr(name, 5) FROM locks WHERE name GLOB 'job:*') n"
        " LEFT JOIN jobs j ON j.name=n.name LEFT JOIN locks k ON k.name='job:'||n.name ORDER BY n.name",
        "");
    int result = rows_take(db, s, &rows, e);
    db_done(db, s);
    if (result)
        return result;
    rows_give(&rows, each, payload);
    rows_free(&rows);
    return 0;
}
