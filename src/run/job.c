// SPDX-License-Identifier: MIT
#include "run/job.h"
#include "base/clock.h"
#include "base/depot.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/openai.h"
#include "run/webhook_job.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRE_EVERY_MS 2000
#define CHECKPOINT_EVERY_MS (5 * 60 * 1000) // what little stands in the log when the work is over

// ---- cleanup_stuck_generation ----

static int64_t cleanup_every_ms(const struct job_settings *settings) {
    return settings->cleanup_every_ms;
}

static struct cleanup_rules cleanup_rules(const struct job_run *run) {
    return (struct cleanup_rules){.stuck_after_ms = run->context.settings->stuck_after_ms,
                                  .heartbeat_interval_ms = run->context.heartbeat_interval_ms,
                                  .requeue = run->context.settings->requeue,
                                  .count = run->context.count,
                                  .is_live = run->context.is_live,
                                  .payload = run->context.live};
}

static void *cleanup_begin(struct job_run *run) {
    const struct cleanup_rules rules = cleanup_rules(run);
    return cleanup_new(&run->upkeep, &rules);
}

// Without a runner nobody else looks at the alerts; before what they tell of is put right.
static int cleanup_slice(struct job_run *run, bool *more, struct err *e) {
    const struct job_context *c = &run->context;
    const struct cleanup_rules rules = cleanup_rules(run);
    int result = 0;
    bool first = !run->begun;
    run->begun = true;
    if (!c->by_runner && !c->dry_run && first)
        result =
            queue_check_alerts(c->db, run->upkeep.runner_is_up, &rules, c->settings->alert_stuck_after_ms,
                               c->settings->alert_failure_rate, clock_wall_at(), e);
    return result ? result : cleanup_step(run->state, more, e);
}

static void cleanup_end(void *state) {
    cleanup_free(state);
}

// ---- retention ----

static int64_t retention_every_ms(const struct job_settings *s) {
    return s->completed_after_ms || s->failed_after_ms || s->logs_after_ms ? s->retention_every_ms : 0;
}

static void *retention_begin(struct job_run *run) {
    const struct job_settings *s = run->context.settings;
    return retention_new(
        &run->upkeep, &(struct retention_rules){s->completed_after_ms, s->failed_after_ms, s->logs_after_ms});
}

static int retention_slice(struct job_run *run, bool *more, struct err *e) {
    const struct job_settings *s = run->context.settings;
    int result = retention_step(run->state, more, e);
    if (!s->completed_after_ms && !s->failed_after_ms && !s->logs_after_ms)
        snprintf(run->upkeep.note, sizeof run->upkeep.note,
                 "nothing is removed: [retention] sets no time after which");
    return result;
}

static void retention_end(void *state) {
    retention_free(state);
}

// ---- checkpoint ----

static int64_t checkpoint_every_ms(const struct job_settings *settings) {
    (void)settings;
    return CHECKPOINT_EVERY_MS;
}

static bool checkpoint_is_needed(struct db *db) {
    return db_wal_pages(db) > 0;
}

static void *checkpoint_begin(struct job_run *run) {
    (void)run;
    return NULL;
}

// Only the owner may: the runner that is up, or this command when none is.
static int checkpoint_slice(struct job_run *run, bool *more, struct err *e) {
    struct upkeep *u = &run->upkeep;
    int left = 0;
    bool was_owner = db_is_owner(u->db);
    *more = false;
    if (!was_owner && (u->runner_is_up || db_own(u->db, e) != 0)) {
        snprintf(u->note, sizeof u->note, "a runner is up, which does this by itself");
        return 0;
    }
    int result = u->dry_run ? 0 : db_checkpoint(u->db, run->context.by_runner ? 50 : 5000, &left, e);
    if (!was_owner)
        db_disown(u->db);
    if (!result && left > 0)
        snprintf(u->note, sizeof u->note, "%d pages are left: another process still reads an older state",
                 left);
    return result;
}

static void checkpoint_end(void *state) {
    (void)state;
}

// ---- expire ----

struct expiry {
    bool windows_done;
    char file[OPENAI_ID_SIZE]; // the last one looked at
};

static int64_t expire_every_ms(const struct job_settings *settings) {
    (void)settings;
    return EXPIRE_EVERY_MS;
}

static bool expire_is_needed(struct db *db) {
    bool due = false;
    struct err ignored;
    return queue_openai_is_due(db, clock_wall_at(), &due, &ignored) == 0 && due;
}

static void *expire_begin(struct job_run *run) {
    (void)run;
    return mem_alloc(1, sizeof(struct expiry));
}

// One window that is over. A dry run only counts them.
static int expire_window(struct upkeep *u, bool *more, struct err *e) {
    char id[OPENAI_ID_SIZE] = "";
    bool ended = false;
    int64_t count = 0;
    if (u->dry_run) {
        *more = false;
        int result = queue_openai_due(u->db, clock_wall_at(), &count, e);
        if (!result && count > 0)
            upkeep_tell(u, &(struct finding){.kind = "batch", .what = "its window is over", .count = count});
        u->sure_count = u->told_count;
        return result;
    }
    int result = upkeep_transaction(u, e);
    if (result)
        return result;
    result = queue_openai_expire(u->db, clock_wall_at(), id, &ended, e);
    *more = id[0] != 0;
    if (!result && ended)
        upkeep_tell(u, &(struct finding){.kind = "batch",
                                         .id = id,
                                         .what = "its window is over: what has not ended is cancelled",
                                         .count = 1,
                                         .fixed = true});
    if (result)
        db_rollback(u->db);
    return result ? result : upkeep_commit(u, e);
}

static int expire_file(struct job_run *run, struct expiry *x, bool *more, struct err *e) {
    struct upkeep *u = &run->upkeep;
    struct err late;
    char id[OPENAI_ID_SIZE];
    int result = queue_file_expired(u->db, clock_wall_at(), x->file, id, e);
    *more = !result && id[0];
    if (!*more)
        return result;
    memcpy(x->file, id, sizeof id);
    upkeep_tell(u, &(struct finding){
                       .kind = "file", .id = id, .what = "it has expired", .count = 1, .fixed = !u->dry_run});
    if (u->dry_run) {
        u->sure_count = u->told_count;
        return 0;
    }
    if ((result = upkeep_transaction(u, e)))
        return result;
    result = queue_file_remove(u->db, id, e);
    if (result)
        db_rollback(u->db);
    else
        result = upkeep_commit(u, e);
    // Without its row it is gone; what is left of it on the disk is swept away at the next start.
    if (!result && depot_remove(run->context.settings->files, id, &late) != 0)
        log_warn("%s", late.message);
    return result;
}

static int expire_slice(struct job_run *run, bool *more, struct err *e) {
    struct expiry *x = run->state;
    bool further = false;
    *more = true;
    if (!x->windows_done) {
        int result = expire_window(&run->upkeep, &further, e);
        x->windows_done = !result && !further;
        return result;
    }
    return expire_file(run, x, more, e);
}

static void expire_end(void *state) {
    free(state);
}

// ---- sync ----

static int64_t sync_every_ms(const struct job_settings *settings) {
    return settings->sync_every_ms;
}

// The runner has a thread for it.
static bool sync_is_needed(struct db *db) {
    (void)db;
    return false;
}

static void *sync_begin(struct job_run *run) {
    (void)run;
    return NULL;
}

static int sync_slice(struct job_run *run, bool *more, struct err *e) {
    struct upkeep *u = &run->upkeep;
    *more = false;
    if (u->dry_run || !run->context.sync) {
        snprintf(u->note, sizeof u->note, "'genrun sync status' tells what there is to bring to Postgres");
        return 0;
    }
    return run->context.sync(run->context.sync_payload, u, e);
}

static void sync_end(void *state) {
    (void)state;
}

// ---- the table ----

static const struct job jobs[] = {
    {"cleanup_stuck_generation", "repair counters, take back what nobody runs, end locks that nobody renews",
     cleanup_every_ms, false, NULL, cleanup_begin, cleanup_slice, cleanup_end},
    {"retention", "remove what has had its time", retention_every_ms, false, NULL, retention_begin,
     retention_slice, retention_end},
    {"checkpoint", "bring the write-ahead log into the database file", checkpoint_every_ms, true,
     checkpoint_is_needed, checkpoint_begin, checkpoint_slice, checkpoint_end},
    {"expire", "end batches whose completion window is over, remove files that have expired", expire_every_ms,
     false, expire_is_needed, expire_begin, expire_slice, expire_end},
    {"sync", "bring what is new to Postgres, and carry out the orders typed there", sync_every_ms, true,
     sync_is_needed, sync_begin, sync_slice, sync_end},
    {"webhooks", "send what endpoints are still to get, remove what has had its time", webhook_job_every_ms,
     true, NULL, webhook_job_begin, webhook_job_slice, webhook_job_end},
};
#define JOB_COUNT (sizeof jobs / sizeof *jobs)
_Static_assert(JOB_COUNT <= JOB_MOST, "the runner plans so many");

const struct job *job_at(size_t index) {
    return index < JOB_COUNT ? &jobs[index] : NULL;
}

const struct job *job_find(const char *name) {
    for (size_t i = 0; i < JOB_COUNT; i++)
        if (strcmp(jobs[i].name, name) == 0)
            return &jobs[i];
    return NULL;
}

// ---- a run ----

int job_begin(struct job_run **out, const struct job *job, const struct job_context *context, struct err *e) {
    struct job_run *run = mem_alloc(1, sizeof *run);
    run->job = job;
    run->context = *context;
    run->upkeep = (struct upkeep){.db = context->db,
                                  .job = job->name,
                                  .run_by = context->by_runner ? "runner" : "command",
                                  .by_runner = context->by_runner,
                                  .dry_run = context->dry_run,
                                  .lockless = job->lockless,
                                  .lock_ms = context->settings->lock_expiry_ms,
                                  .each = context->each,
                                  .payload = context->payload};
    int result = upkeep_begin(&run->upkeep, e);
    *out = NULL;
    if (result) {
        free(run);
        return result;
    }
    run->state = job->begin(run);
    *out = run;
    return 0;
}

int job_step(struct job_run *run, bool runner_is_up, bool *more, int64_t *pause_ms, struct err *e) {
    run->upkeep.runner_is_up = runner_is_up;
    *more = false;
    int result = run->job->step(run, more, e);
    upkeep_deliver(&run->upkeep, result != 0);
    *pause_ms = run->upkeep.pause_ms;
    return result;
}

static void free_run(struct job_run *run) {
    run->job->free(run->state);
    free(run);
}

int job_end(struct job_run *run, int result, struct row **summary, struct err *e) {
    struct upkeep *u = &run->upkeep;
    result = upkeep_end(u, result, e);
    if (summary) {
        struct row *row = row_new();
        row_add_text(row, "job", run->job->name);
        row_add_integer(row, "dry_run?", u->dry_run);
        row_add_integer(row, "found", u->found);
        row_add_integer(row, "fixed", u->fixed);
        row_add_integer(row, "started_at", u->started_at);
        row_add_integer(row, "ended_at", clock_wall_at());
        row_add_text(row, "note", u->note[0] ? u->note : NULL);
        *summary = row;
    }
    free_run(run);
    return result;
}

void job_abandon(struct job_run *run) {
    if (!run)
        return;
    upkeep_abandon(&run->upkeep);
    free_run(run);
}
