// SPDX-License-Identifier: MIT
#include "run/chores.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/job.h"
#include "run/state.h"
#include <stdlib.h>
#include <string.h>

#define FIRST_MS 60000      // after the start, at the latest: a restored backup is looked at soon
#define AGAIN_MS 60000      // after a run that failed, or that another process was at
#define LOOK_MS 2000        // at alerts and at strays
#define HURRY_EVERY_MS 5000 // at most
#define SWEEP_MS 60000      // whether all that waits can be found
#define FIRST_SWEEP_MS 3000
#define SHARE 3          // beside work a slice is followed by so many times its length without one
#define COUNT_SHARE 2000 // all rows are counted in one 2000th of the time at most

struct stray { // processing, and not in this runner's hands
    int64_t seq;
    char token[17];
    int64_t since_ms;
};

struct chores {
    int64_t due_ms[JOB_MOST]; // of each job of the table; INT64_MAX: not by itself; 0: not planned yet
    struct job_run *run;      // under way
    size_t index;             // of it
    int64_t slice_ms;         // its next slice
    int64_t spent_ms;         // by it
    int64_t count_ms;         // not before: all rows are counted again
    int64_t look_ms, sweep_ms;
    int64_t violations; // at the last sweep
    int64_t hurried_ms;
    struct stray *strays;
    size_t stray_count;
    bool told; // that a job fails
};

struct chores *chores_new(int64_t now_ms) {
    struct chores *c = mem_alloc(1, sizeof *c);
    c->look_ms = now_ms + LOOK_MS;
    c->sweep_ms = now_ms + FIRST_SWEEP_MS;
    c->hurried_ms = now_ms - HURRY_EVERY_MS;
    return c;
}

void chores_free(struct chores *c) {
    if (!c)
        return;
    job_abandon(c->run);
    free(c->strays);
    free(c);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t chores_due_ms(const struct chores *c) {
    if (!c)
        return INT64_MAX;
    int64_t due_ms = c->run ? c->slice_ms : INT64_MAX;
    for (size_t i = 0; !c->run && job_at(i); i++)
        due_ms = least(due_ms, c->due_ms[i]);
    return least(due_ms, c->look_ms);
}

bool chores_hurry(struct chores *c, int64_t now_ms) {
    if (!c)
        return false;
    bool planned =
        c->due_ms[0] != 0 && c->due_ms[0] <= now_ms; // the table's first row is the one that repairs
    if (planned || (c->run && c->index == 0 && c->run->context.count))
        return true;
    if (now_ms - c->hurried_ms < HURRY_EVERY_MS)
        return false;
    c->hurried_ms = c->count_ms = c->due_ms[0] = now_ms;
    return true;
}

static bool is_live(void *payload, int64_t seq, const char *token) {
    const struct runner *r = payload;
    // What a dead runner left goes back to the queue by another way, when its processes are gone.
    if (recovery_goes_on(r))
        return true;
    for (const struct attempt *a = r->live; a; a = a->next)
        if (a->claim.seq == seq && strcmp(a->claim.token, token) == 0)
            return true;
    for (const struct attempt *a = r->ended; a; a = a->next)
        if (a->claim.seq == seq && strcmp(a->claim.token, token) == 0)
            return true;
    return false;
}

// ---- jobs ----

static void plan(struct chores *c, size_t index, const struct job *job, const struct runner *r,
                 int64_t after_ms) {
    int64_t every_ms = job->every_ms(r->options.jobs);
    c->due_ms[index] = every_ms > 0 ? after_ms + every_ms : INT64_MAX;
}

static void begin_job(struct runner *r, struct chores *c, size_t index, int64_t now_ms) {
    struct err e;
    const struct job *job = job_at(index);
    const struct job_context context = {.db = r->db,
                                        .settings = r->options.jobs,
                                        .heartbeat_interval_ms = r->settings.heartbeat_interval_ms,
                                        .by_runner = true,
                                        .count = now_ms >= c->count_ms,
                                        .is_live = is_live,
                                        .live = r};
    plan(c, index, job, r, now_ms);
    if (job->is_needed && !job->is_needed(r->db))
        return;
    int result = job_begin(&c->run, job, &context, &e);
    if (result) {
        log_debug("%s", e.message);
        c->due_ms[index] = least(c->due_ms[index], now_ms + AGAIN_MS);
        return;
    }
    c->index = index;
    c->spent_ms = 0;
    c->slice_ms = now_ms;
}

static void end_job(struct runner *r, struct chores *c, int result, struct err *e, int64_t now_ms) {
    struct row *summary = NULL;
    const struct job *job = c->run->job;
    bool counted = c->run->context.count && c->index == 0;
    result = job_end(c->run, result, &summary, e);
    c->run = NULL;
    if (counted)
        c->count_ms = now_ms + c->spent_ms * COUNT_SHARE;
    if (result) {
        if (!c->told)
            log_error("job %s failed: %s", job->name, e->message);
        c->due_ms[c->index] = least(c->due_ms[c->index], now_ms + AGAIN_MS);
    } else if (row_integer(summary, "found", 0) > 0) {
        log_warn("job %s found %lld and put %lld right: 'genrun logs' tells more", job->name,
                 (long long)row_integer(summary, "found", 0), (long long)row_integer(summary, "fixed", 0));
    }
    c->told = result != 0;
    row_free(summary);
    // What was refused for wrong counters is tried again at once.
    if (counted)
        r->retry_at_ms = least(r->retry_at_ms, now_ms);
}

static void step_job(struct runner *r, struct chores *c, int64_t now_ms) {
    struct err e = {0};
    bool more = false;
    int64_t pause_ms = 0;
    int result = job_step(c->run, true, &more, &pause_ms, &e);
    int64_t end_ms = clock_monotonic_ms(), took_ms = end_ms - now_ms;
    c->spent_ms += took_ms;
    c->slice_ms = end_ms + (r->live || r->claimable ? SHARE * took_ms : 0) + QUEUE_GAP_MS + pause_ms;
    // The writer lock is another's for a moment.
    if (result && db_was_busy(r->db))
        return;
    if (result || !more)
        end_job(r, c, result, &e, end_ms);
}

static void turn_jobs(struct runner *r, struct chores *c, int64_t now_ms) {
    if (c->run) {
        if (now_ms >= c->slice_ms)
            step_job(r, c, now_ms);
        return;
    }
    for (size_t i = 0; job_at(i) && !c->run; i++) {
        if (c->due_ms[i] == 0) {
            plan(c, i, job_at(i), r, now_ms);
            c->due_ms[i] = c->due_ms[i] == INT64_MAX ? INT64_MAX : least(c->due_ms[i], now_ms + FIRST_MS);
        }
        if (now_ms >= c->due_ms[i])
            begin_job(r, c, i, now_ms);
    }
}

// ---- strays ----

static int64_t seen_since(const struct chores *c, const struct stuck *k, int64_t now_ms) {
    for (size_t i = 0; i < c->stray_count; i++)
        if (c->strays[i].seq == k->seq && strcmp(c->strays[i].token, k->token) == 0)
            return c->strays[i].since_ms;
    return now_ms;
}

static int take_back(struct runner *r, const struct stuck *k, struct err *e) {
    bool done;
    int result = db_begin(r->db, 50, e);
    if (result)
        return result;
    result = stuck_end(r->db, k, r->options.jobs->requeue, clock_wall_at(), &done, e);
    if (result)
        db_rollback(r->db);
    return result ? result : db_commit(r->db, e);
}

// What is processing and in nobody's hands is taken back after heartbeat_timeout, by this process's own clock. (A dead
// runner's work was, at the start; such a row comes by a foreign write.)
static int look_for_strays(struct runner *r, struct chores *c, const struct cleanup_rules *rules,
                           int64_t now_ms, struct err *e) {
    struct stuck_list found;
    int64_t count = 0;
    int result = db_integer(
        r->db, e, &count, 0,
        "SELECT count(*) FROM generation INDEXED BY generation_processing WHERE status='processing'", "");
    if (result || (size_t)count <= r->live_count + r->ended_count || recovery_goes_on(r)) {
        c->stray_count = 0;
        return result;
    }
    if ((result = stuck_find(r->db, true, rules, clock_wall_at(), &found, e)))
        return result;
    struct stray *strays = mem_alloc(found.count + 1, sizeof *strays);
    for (size_t i = 0; i < found.count; i++) {
        struct stuck *k = &found.list[i];
        strays[i] = (struct stray){.seq = k->seq, .since_ms = seen_since(c, k, now_ms)};
        memcpy(strays[i].token, k->token, sizeof strays[i].token);
        if (!result && now_ms - strays[i].since_ms >= r->settings.heartbeat_timeout_ms)
            result = take_back(r, k, e);
    }
    free(c->strays);
    c->strays = strays;
    c->stray_count = found.count;
    stuck_free(&found);
    return result;
}

// What is hidden from the claim would wait for ever: the cleanup brings it out now, not on its schedule.
static int sweep(struct runner *r, struct chores *c, int64_t now_ms, struct err *e) {
    int64_t count = 0;
    int result = queue_violations(r->db, true, clock_wall_at(), &count, e);
    bool news = !result && count > c->violations;
    c->violations = result ? c->violations : count;
    c->sweep_ms = now_ms + SWEEP_MS;
    if (news && r->options.jobs->cleanup_every_ms > 0)
        chores_hurry(c, now_ms);
    else if (news)
        log_warn("%lld generations will not come to an end by themselves: 'genrun job %s' puts that right",
                 (long long)count, job_at(0)->name);
    return result;
}

static void look(struct runner *r, struct chores *c, int64_t now_ms) {
    struct err e;
    const struct job_settings *s = r->options.jobs;
    const struct cleanup_rules rules = {
        .heartbeat_interval_ms = r->settings.heartbeat_interval_ms, .is_live = is_live, .payload = r};
    c->look_ms = now_ms + LOOK_MS;
    if (queue_check_alerts(r->db, true, &rules, s->alert_stuck_after_ms, s->alert_failure_rate,
                           clock_wall_at(), &e) != 0 ||
        look_for_strays(r, c, &rules, now_ms, &e) != 0 ||
        (now_ms >= c->sweep_ms && sweep(r, c, now_ms, &e) != 0))
        log_debug("looking around was put off: %s", e.message);
}

void chores_turn(struct runner *r, int64_t now_ms) {
    struct chores *c = r->chores;
    if (!c || r->stopping)
        return;
    turn_jobs(r, c, now_ms);
    if (now_ms >= c->look_ms)
        look(r, c, now_ms);
}

int chores_mend(struct db *db, const struct job_settings *settings, int64_t *fixed, struct err *e) {
    struct upkeep run = {.db = db,
                         .job = job_at(0)->name,
                         .run_by = "runner",
                         .by_runner = true,
                         .lock_ms = settings->lock_expiry_ms};
    bool more = true;
    int result = upkeep_begin(&run, e);
    if (result)
        return result;
    struct recount *recount = recount_new(&run);
    while (!result && more)
        result = recount_step(recount, &more, e);
    recount_free(recount);
    upkeep_deliver(&run, result != 0);
    *fixed = run.fixed;
    return upkeep_end(&run, result, e);
}
