// SPDX-License-Identifier: MIT
// Turns and time: how long to wait, which clock ran out, and what a jump of the
// clock or a suspend of the machine means (nothing: deadlines move with it).
#include "run/runner.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "db/moved.h"
#include "loop/child.h"
#include "run/state.h"
#include <stdlib.h>
#include <time.h>

#define GAP_US 500        // between commits at full load, so that a person's statement gets in
#define LATE_MS 2000      // a turn later than this was not running: suspended, stopped
#define JUMP_MS 2000      // a step of the wall clock beyond this is a jump
#define JUMP_WAIT_MS 50   // for the writer lock
#define PATIENCE_MS 10000 // of a stop with a database that takes no results
#define YIELD_MS (INT64_C(366) * 24 * 3600 * 1000) // longer than any clock of live work
#define GATE_ROUNDING_MS 2
#define PATIENCE_AT_ONCE_MS 1000 // of one that is to be at once

static int register_runner(struct runner *r, int64_t now_ms, int64_t now_at, struct err *e) {
    int result = db_begin(r->db, 5000, e);
    if (result)
        return result;
    if ((result = queue_runner_start(r->db, &r->me, r->options.version, r->settings.heartbeat_timeout_ms,
                                     now_at, e)) ||
        (result = recovery_write(r, now_at, e)) ||
        (result = gate_list_refresh(&r->gates, r->db, true, now_ms, e))) {
        db_rollback(r->db);
        return result;
    }
    return db_commit(r->db, e);
}

static int mend_and_register(struct runner *r, int64_t now_ms, int64_t now_at, struct err *e) {
    struct err why = *e;
    int64_t fixed = 0;
    int result = chores_mend(r->db, r->options.jobs, &fixed, e);
    if (result)
        return result;
    log_warn("the database refused the start (%s): %lld counters did not add up and were repaired",
             why.message, (long long)fixed);
    result = register_runner(r, now_ms, now_at, e);
    // Not that another runner is up, which is what a conflict means to the caller.
    return result && db_was_refused(r->db)
               ? err_set(e, ERR_DATABASE, "the database refuses the start (%s): restore a backup",
                         why.message)
               : result;
}

static int start(struct runner *r, struct err *e) {
    int64_t now_ms = clock_monotonic_ms(), now_at = clock_wall_at();
    int result = recovery_begin(r, e);
    if (result)
        return result;
    result = register_runner(r, now_ms, now_at, e);
    // Counters that say too little refuse that work is taken back.
    if (result && db_was_refused(r->db))
        result = mend_and_register(r, now_ms, now_at, e);
    if (result)
        return result;
    recovery_note_written(r);
    if (!r->options.only_batch && !r->options.only_generation) {
        r->chores = chores_new(now_ms);
        r->webhooks = webhooks_new(r->db, r->loop, r->options.jobs->webhooks, r->options.jobs->webhook_count);
    }
    r->wake = wake_open(r->db, r->loop);
    r->last_turn_ms = now_ms;
    r->clock_offset_ms = now_at - clock_boottime_ms();
    r->slept_ms = clock_boottime_ms() - now_ms;
    r->judged_overdue_ms = now_ms; // what waited too long while nobody ran gets a try first
    r->changed = r->claimable = r->asked = r->sweeping = true;
    r->gates_open_ms = r->next_overdue_ms = r->next_look_ms = INT64_MAX;
    r->seen_changes = db_total_changes(r->db);
    return 0;
}

int runner_open(struct runner **out, struct db *db, struct loop *loop, const struct runner_options *options,
                struct err *e) {
    *out = NULL;
    int result = db_own(db, e);
    if (result)
        return result;
    struct runner *r = mem_alloc(1, sizeof *r);
    r->options = *options;
    r->settings = *options->settings;
    r->metrics = metrics_new();
    r->started_at = clock_wall_at();
    write_open(&r->writes);
    r->db = db;
    r->loop = loop;
    r->gates.models = options->models;
    r->gates.model_count = options->model_count;
    r->gates.started_at = r->started_at;
    r->ready = ready_new(db);
    if ((result = start(r, e))) {
        recovery_end(r);
        ready_free(r->ready);
        gate_list_free(&r->gates);
        metrics_free(r->metrics);
        free(r);
        db_disown(db);
        return result;
    }
    *out = r;
    return 0;
}

// ---- time ----

static void shift_clocks(struct runner *r, int64_t gap_ms) {
    for (struct attempt *a = r->live; a; a = a->next)
        attempt_shift(a, gap_ms);
    if (r->stopping)
        r->stop_at_ms += gap_ms;
}

// The process did not run for a while (a stopped or suspended machine): nothing is judged by that time.
static void notice_gap(struct runner *r, int64_t waited_from_ms, int64_t timeout_ms, int64_t now_ms) {
    int64_t late = now_ms - waited_from_ms - timeout_ms;
    if (late < LATE_MS)
        return;
    if (r->live)
        log_warn("this process did not run for %lld s: clocks of live work start anew from there",
                 (long long)late / 1000);
    shift_clocks(r, late);
    r->changed = true;
}

// The machine was suspended: clocks of live work stood still with it, but a server's time to wait went on.
static void notice_sleep(struct runner *r, int64_t now_ms) {
    int64_t slept = clock_boottime_ms() - now_ms;
    int64_t gap = slept - r->slept_ms;
    if (gap < LATE_MS)
        return;
    log_info("the machine slept for %lld s", (long long)gap / 1000);
    r->slept_ms = slept;
    for (size_t i = 0; i < r->gates.count; i++)
        gate_slept(r->gates.list[i], gap, now_ms);
    // Everything is looked at anew, and what lives beats at once.
    r->changed = true;
    r->next_beat_ms = 0;
    // Whoever waited too long meanwhile gets a try before it is judged.
    r->judged_overdue_ms = now_ms;
    r->next_overdue_ms = INT64_MAX;
}

static void shift_waits(struct runner *r, int64_t jump_ms) {
    for (size_t i = 0; i < r->gates.count; i++)
        gate_jumped(r->gates.list[i], jump_ms);
    for (struct attempt *a = r->live; a; a = a->next)
        a->claim.waiting_since += a->claim.waiting_since > 0 ? jump_ms : 0;
    for (struct attempt *a = r->ended; a; a = a->next)
        a->claim.waiting_since += a->claim.waiting_since > 0 ? jump_ms : 0;
}

// The wall clock was set: waits that it measures move along, so that nothing starts early or waits for years.
static void notice_jump(struct runner *r) {
    int64_t offset = clock_wall_at() - clock_boottime_ms();
    int64_t jump = offset - r->clock_offset_ms;
    if (jump < JUMP_MS && jump > -JUMP_MS)
        return;
    struct err e;
    if (db_begin(r->db, JUMP_WAIT_MS, &e) != 0)
        return; // tried again in the next turn
    if (queue_shift_delays(r->db, jump, &e) != 0 ||
        queue_log(r->db, "warn", "runner.clock_jumped", 0, 0, "the wall clock was set; delays moved along",
                  NULL, &e) != 0) {
        db_rollback(r->db);
        return;
    }
    if (db_commit(r->db, &e) != 0)
        return;
    log_warn("the clock was set by %lld s: delays move along", (long long)jump / 1000);
    r->clock_offset_ms = offset;
    r->next_due_at = r->next_due_at ? r->next_due_at + jump : 0;
    shift_waits(r, jump);
    // By the new time everything that lives seems to be without a heartbeat.
    r->next_beat_ms = 0;
}

static void expire(struct runner *r, int64_t now_ms) {
    struct attempt *a = r->live;
    while (a) {
        struct attempt *next = a->next;
        if (attempt_expire(a, now_ms))
            a->on_end(a->payload, a);
        a = next;
    }
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

// When something is to be written next.
static int64_t next_write_ms(const struct runner *r, int64_t now_ms) {
    int64_t until = least(r->next_overdue_ms, r->next_look_ms);
    if (r->live)
        until = least(until, r->next_beat_ms);
    if (r->next_due_at)
        until =
            least(until, now_ms + (r->next_due_at > clock_wall_at() ? r->next_due_at - clock_wall_at() : 0));
    if (r->sweeping)
        until = least(until, r->next_sweep_ms);
    if (runner_has_uncounted(r))
        until = least(until, r->next_count_ms);
    return runner_free_slots(r) > 0 ? least(until, r->gates_open_ms) : until;
}

// How long there is nothing to do, in ms.
static int64_t idle_ms(struct runner *r, int64_t now_ms) {
    int64_t until = now_ms + r->settings.poll_interval_ms;
    if (runner_has_work(r, now_ms))
        return 0;
    until = least(until, write_due_ms(&r->writes));
    for (struct attempt *a = r->live; a; a = a->next) {
        const char *which;
        until = least(until, attempt_deadline_ms(a, &which));
    }
    if (r->stopping && r->live)
        until = least(until, r->stop_at_ms);
    until = least(until, wake_due_ms(r->wake));
    until = least(until, chores_due_ms(r->chores));
    until = least(until, webhooks_due_ms(r->webhooks));
    // Without the database nothing else can be done before the next try.
    until = least(until, r->retry_at_ms > now_ms ? r->retry_at_ms : next_write_ms(r, now_ms));
    return until > now_ms ? until - now_ms : 0;
}

// At full load others get a gap between two commits. A wait of whole milliseconds would double it.
static void leave_gap(struct runner *r) {
    int64_t left = r->last_commit_us + GAP_US - clock_monotonic_us();
    if (left <= 0 || left > GAP_US)
        return;
    const struct timespec pause = {0, left * 1000};
    nanosleep(&pause, NULL);
}

static void stop_live(struct runner *r) {
    while (r->live) {
        struct attempt *a = r->live;
        attempt_stop(a, END_STOPPED, NULL);
        a->on_end(a->payload, a);
    }
}

// Commits of this connection's other users are no new version of the database, but rows changed through it.
static void notice_own_changes(struct runner *r) {
    r->changed |= db_total_changes(r->db) != r->seen_changes;
}

static bool see_foreign_commit(struct runner *r, int64_t now_ms) {
    bool changed = wake_has_changed(r->wake, now_ms);
    r->foreign_commits += changed;
    r->foreign |= changed;
    return changed;
}

int64_t runner_changes(const struct runner *runner) {
    return runner->foreign_commits + db_total_changes(runner->db);
}

static void write_ends(struct runner *r);
static void write_end(struct runner *r, const char *reason);

// The database is not where it was: what ended is written to it, and what runs is taken back, as at any stop.
static int leave(struct runner *r, struct err *e) {
    if (r->left)
        return err_set(
            e, ERR_DATABASE,
            "the database was moved, deleted or replaced: close it, see what is there and open it");
    write_failed(r, true, "the database was moved, deleted or replaced");
    write_ends(r);
    write_end(r, "stopped");
    r->left = true;
    return db_rescue(r->db, e);
}

// The turn before has ended here, with all that its caller did after it.
static void note_turn(struct runner *r) {
    struct metrics *m = r->metrics;
    if (!r->last_wake_us)
        return;
    int64_t us = clock_monotonic_us() - r->last_wake_us;
    metrics_note(&m->turns, us);
    if (us / 1000 < r->settings.heartbeat_interval_ms || us / 1000 < LATE_MS)
        return;
    m->stall_ms = us / 1000;
    m->stalled_ms = clock_monotonic_ms();
}

int runner_turn(struct runner *r, int64_t max_wait_ms, struct err *e) {
    note_turn(r);
    notice_own_changes(r);
    int64_t from_ms = clock_monotonic_ms();
    int64_t timeout_ms = least(idle_ms(r, from_ms), max_wait_ms);
    size_t dying = child_dying(r->loop, NULL);
    int result = loop_wait(r->loop, timeout_ms, e);
    r->last_wake_us = loop_woke_us(r->loop);
    if (result)
        return result;
    if (db_has_moved(r->db))
        return leave(r, e);
    r->claimable |= child_dying(r->loop, NULL) < dying;
    int64_t now_ms = clock_monotonic_ms();
    // From turn to turn, since a process can be stopped anywhere.
    notice_gap(r, r->last_turn_ms, timeout_ms, now_ms);
    r->last_turn_ms = now_ms;
    notice_sleep(r, now_ms);
    notice_jump(r);
    if (r->options.on_turn)
        r->options.on_turn(r->options.payload);
    expire(r, now_ms);
    if (r->stopping && now_ms >= r->stop_at_ms)
        stop_live(r);
    if (see_foreign_commit(r, now_ms)) {
        r->changed = true;
        // Whoever held the lock has given it up: no need to wait for the timer.
        r->retry_at_ms = least(r->retry_at_ms, now_ms);
    }
    notice_own_changes(r);
    if (now_ms >= r->gates_open_ms) {
        r->gates_open_ms = INT64_MAX;
        r->claimable = true;
    }
    if (runner_has_work(r, now_ms)) {
        leave_gap(r);
        runner_tick(r, now_ms);
        r->last_commit_us = clock_monotonic_us();
    }
    write_expire(r, now_ms);
    chores_turn(r, clock_monotonic_ms());
    webhooks_turn(r->webhooks, runner_changes(r), clock_monotonic_ms());
    return 0;
}

const struct metrics *runner_metrics(const struct runner *runner) {
    return runner->metrics;
}

const struct webhooks *runner_webhooks(const struct runner *runner) {
    return runner->webhooks;
}

void runner_look(const struct runner *runner, struct runner_view *out) {
    const struct runner *r = runner;
    int64_t now_ms = clock_monotonic_ms();
    *out = (struct runner_view){.started_at = r->started_at,
                                .live = (int64_t)r->live_count,
                                .kept = (int64_t)r->ended_count,
                                .stopping = r->stopping,
                                .left = r->left || db_has_moved(r->db),
                                .trouble_is_lock = r->trouble_is_lock,
                                .trouble = r->trouble.message};
    for (const struct host_write *w = r->writes.pending.first; w; w = w->next)
        out->writes++;
    if (r->trouble_count > 0)
        out->trouble_ms = now_ms - r->trouble_since_ms + 1;
    if (r->metrics->stalled_ms && now_ms - r->metrics->stalled_ms < r->settings.heartbeat_timeout_ms)
        out->stall_ms = r->metrics->stall_ms;
}

void runner_models(const struct runner *runner,
                   void (*each)(void *payload, const char *model, const char *state, int running),
                   void *payload) {
    for (size_t i = 0; i < runner->gates.count; i++) {
        const struct gate *g = runner->gates.list[i];
        each(payload, g->model_id, g->state.state, g->running);
    }
}

void runner_write(struct runner *runner, struct host_write *write) {
    write_queue(&runner->writes, write);
}

void runner_write_cancel(struct runner *runner, struct host_write *write) {
    write_cancel(&runner->writes, write);
}

void runner_stop(struct runner *runner, bool at_once) {
    int64_t now_ms = clock_monotonic_ms();
    int64_t stop_at_ms = now_ms + (at_once ? 0 : runner->settings.shutdown_grace_ms);
    if (!runner->stopping || stop_at_ms < runner->stop_at_ms)
        runner->stop_at_ms = stop_at_ms;
    runner->stopping = true;
    runner->at_once |= at_once;
}

void runner_yield(struct runner *runner) {
    if (!runner->stopping)
        runner->stop_at_ms = clock_monotonic_ms() + YIELD_MS;
    runner->stopping = true;
}

// Until when a stop waits for the database to take the ends in memory.
static int64_t give_up_ms(const struct runner *r) {
    return r->stop_at_ms + (r->at_once ? PATIENCE_AT_ONCE_MS : PATIENCE_MS);
}

bool runner_is_stopped(const struct runner *runner) {
    return runner->stopping && !runner->live && (runner->at_once || child_dying(runner->loop, NULL) == 0) &&
           ((!runner->ended && !runner->writes.pending.first) || clock_monotonic_ms() >= give_up_ms(runner));
}

bool runner_is_drained(struct runner *r, int64_t wait_ms) {
    int64_t now_ms = clock_monotonic_ms();
    // Asked once more: another process may have committed between the last look and the last tick.
    r->changed |= see_foreign_commit(r, now_ms);
    if (r->writes.pending.first)
        return false;
    if (r->live || r->ended || r->changed || r->claimable || r->asked || r->sweeping || recovery_goes_on(r) ||
        child_dying(r->loop, NULL) > 0)
        return false;
    if (!webhooks_are_idle(r->webhooks))
        return false;
    if (r->next_due_at && r->next_due_at - clock_wall_at() <= wait_ms)
        return false;
    // A gate that was closed at the last claim may have opened since (its time is rounded up, by 2 ms at most): the
    // next turn claims through it.
    if (r->gates_open_ms - GATE_ROUNDING_MS <= now_ms)
        return false;
    gate_list_sort(&r->gates, now_ms);
    for (size_t i = 0; i < r->gates.closed_count; i++) {
        struct gate *g = r->gates.closed[i];
        int64_t opens = gate_opens_ms(g, now_ms);
        if (opens != INT64_MAX && opens - now_ms <= wait_ms && queue_model_waits(r->db, g->model_id))
            return false;
    }
    return true;
}

int64_t runner_completed(const struct runner *runner) {
    return runner->completed;
}

int64_t runner_failed(const struct runner *runner) {
    return runner->failed;
}

int64_t runner_seq(const struct runner *runner) {
    return runner->me.seq;
}

static void write_end(struct runner *r, const char *reason) {
    struct err e;
    if (db_begin(r->db, 5000, &e) != 0)
        return;
    int64_t now_at = clock_wall_at();
    if ((runner_has_uncounted(r) && runner_count_ends(r, now_at, &e) != 0) ||
        queue_runner_stop(r->db, &r->me, reason, now_at, &e) != 0)
        db_rollback(r->db);
    else if (db_commit(r->db, &e) != 0)
        log_debug("the end of the runner could not be written down: %s", e.message);
}

// Results in memory are worth some patience with a busy or full disk.
static void write_ends(struct runner *r) {
    const struct timespec pause = {0, 50000000};
    if (!r->stopping || r->stop_at_ms > clock_monotonic_ms())
        r->stop_at_ms = clock_monotonic_ms();
    r->stopping = true;
    stop_live(r);
    while (r->ended) {
        runner_tick(r, clock_monotonic_ms());
        if (!r->ended || clock_monotonic_ms() >= give_up_ms(r))
            return;
        nanosleep(&pause, NULL);
    }
}

int runner_end(struct runner *runner, const char *reason, struct err *e) {
    struct runner *r = runner;
    int result = 0;
    if (!r)
        return 0;
    chores_free(r->chores);
    r->chores = NULL;
    webhooks_free(r->webhooks);
    r->webhooks = NULL;
    if (!r->left)
        write_ends(r);
    write_failed(r, true, "the runner stops");
    child_end_all(r->loop);
    if (r->ended)
        result =
            err_set(e, ERR_DATABASE,
                    "%zu ends could not be written: free the database, the next runner does this work again",
                    r->ended_count);
    else if (!r->left)
        write_end(r, reason);
    while (r->ended) {
        struct attempt *a = r->ended;
        r->ended = a->next;
        attempt_free(a);
    }
    wake_close(r->wake);
    recovery_end(r);
    ready_free(r->ready);
    gate_list_free(&r->gates);
    metrics_free(r->metrics);
    free(r->claims);
    if (!r->left)
        db_checkpoint_final(r->db);
    db_disown(r->db);
    free(r);
    return result;
}

void runner_close(struct runner *runner, const char *reason) {
    struct err e;
    if (runner_end(runner, reason, &e) != 0)
        log_error("%s", e.message);
}
