// SPDX-License-Identifier: MIT
// Running of the public API: the queue until stopped or drained, one turn for a
// host's loop, or just what is waited for.
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "lib/handle.h"
#include "lib/host.h"
#include "lib/prepare.h"
#include "lib/service.h"
#include "lib/sync_thread.h"
#include "lib/watchdog.h"
#include "loop/child.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 250            // between two looks at what is waited for
#define SERVE_PATIENCE_MS 1000 // with another runner's right, which may be that of a dead one
#define OWNER_LOOK_MS 20       // between two tries to get the owner's lock
#define SYNC_LEAST_MS 2000     // for the last push, when live work has taken all of the grace
#define TURN_MS 60000          // a turn's longest wait: the runner's own timers end it sooner

int handle_loop(genrun *g) {
    struct loop *loop = NULL;
    int result = g->loop ? 0 : loop_open(&loop, &g->err);
    if (!loop)
        return result;
    g->loop = loop;
    if (g->own_process)
        child_adopt(loop);
    return result;
}

void host_own_process(genrun *g) {
    g->own_process = true;
}

// Nothing that waits, runs or pauses may be called inside of the tick.
static int check_outside(genrun *g) {
    return handle_outside(g,
                          "the runner's own transaction is no place to wait or to run in: call it outside");
}

static int open_runner(genrun *g, int64_t only_batch, int64_t only_generation, bool watched) {
    const struct runner_options options = {.settings = &g->config->scheduler,
                                           .jobs = &g->config->jobs,
                                           .models = g->config->models,
                                           .model_count = g->config->model_count,
                                           .max_output = g->config->max_output,
                                           .version = GENRUN_VERSION,
                                           .only_batch = only_batch,
                                           .only_generation = only_generation,
                                           .on_turn = watched ? watchdog_beat : NULL,
                                           .handle = g,
                                           .message = genrun_message};
    int result = handle_loop(g);
    return result ? result : runner_open(&g->runner, g->db, g->loop, &options, &g->err);
}

// Returns `result`, or when that is 0 what went wrong with the end.
static int close_runner(genrun *g, const char *reason, int result) {
    struct err e = {0};
    int ended = runner_end(g->runner, reason, &e);
    g->runner = NULL;
    if (ended && result)
        log_error("%s", e.message);
    else if (ended)
        g->err = e;
    return result ? result : ended;
}

// The first signal stops gracefully, the second at once.
static void on_signal(void *payload, int number) {
    genrun *g = payload;
    log_info("signal %d: %s", number,
             g->stop ? "ending at once" : "no more is claimed, live work may finish; again: at once");
    g->stop++;
}

// A run of the whole queue, and who is told of it.
struct running {
    genrun *g;
    const genrun_run_options *options;
    const struct host_hooks *hooks;
    struct service *service;
    struct sync_thread *sync;
    struct prepare *prepare; // NULL with hooks: a server does it itself
    int taken;               // stops
    int64_t grace_end_ms;    // for the hooks' is_done; 0: no stop began
    int64_t changes;         // of the database, that the hooks were told of
};

static void begin_stop(struct running *run) {
    const struct host_hooks *hooks = run->hooks;
    int64_t grace_ms = run->g->config->scheduler.shutdown_grace_ms;
    if (run->grace_end_ms)
        return;
    run->grace_end_ms = clock_monotonic_ms() + grace_ms + 1;
    service_stops(run->service, grace_ms);
    prepare_stop(run->prepare);
    if (hooks->on_stopping)
        hooks->on_stopping(hooks->payload);
}

static void take_stop(struct running *run) {
    genrun *g = run->g;
    if (g->stop == run->taken || !g->runner)
        return;
    run->taken = g->stop;
    runner_stop(g->runner, g->stop > 1);
    begin_stop(run);
}

static void call_hooks(struct running *run) {
    const struct host_hooks *hooks = run->hooks;
    int64_t changes = runner_changes(run->g->runner);
    if (changes != run->changes && hooks->on_commit)
        hooks->on_commit(hooks->payload);
    if (changes != run->changes)
        sync_thread_commit(run->sync);
    run->changes = changes;
    sync_thread_turn(run->sync);
    if (hooks->on_turn)
        hooks->on_turn(hooks->payload);
}

static bool hooks_are_done(const struct running *run) {
    const struct host_hooks *hooks = run->hooks;
    return !hooks->is_done || run->g->stop > 1 || clock_monotonic_ms() >= run->grace_end_ms ||
           hooks->is_done(hooks->payload);
}

static int turn(struct running *run) {
    genrun *g = run->g;
    int64_t wait_ms = service_wait_ms(run->service, g, TURN_MS);
    int64_t left_ms = run->grace_end_ms - clock_monotonic_ms();
    // After the grace only the runner's own end is waited for.
    if (run->grace_end_ms && left_ms > 0 && left_ms < wait_ms)
        wait_ms = left_ms;
    int result = runner_turn(g->runner, wait_ms, &g->err);
    if (result)
        return result;
    take_stop(run);
    service_turned(run->service, g);
    call_hooks(run);
    return 0;
}

static int drained_code(genrun *g) {
    int64_t waits = 0;
    int result = queue_count_left(g->db, &waits, &g->err);
    if (result)
        return result;
    if (waits > 0)
        return err_set(&g->err, ERR_CONFLICT,
                       "%lld generation%s left that cannot start by %s: end or wait for what holds %s",
                       (long long)waits, waits == 1 ? " is" : "s are", waits == 1 ? "itself" : "themselves",
                       waits == 1 ? "it" : "them");
    if (runner_failed(g->runner) > 0)
        return err_set(&g->err, ERR_WORK, "%lld generation%s failed: 'genrun list --status failed' shows %s",
                       (long long)runner_failed(g->runner), runner_failed(g->runner) == 1 ? "" : "s",
                       runner_failed(g->runner) == 1 ? "it" : "them");
    return 0;
}

// What is drained stops as at a signal, for the sake of the hooks; its result stands already.
static int end_drained(struct running *run) {
    genrun *g = run->g;
    int code = drained_code(g);
    struct err why = g->err;
    if (!run->hooks->is_done && !run->hooks->on_stopping)
        return code;
    runner_stop(g->runner, false);
    begin_stop(run);
    while (!hooks_are_done(run)) {
        int result = turn(run);
        if (result)
            return result;
    }
    g->err = why;
    return code;
}

static int run_until_end(struct running *run, const char **reason) {
    genrun *g = run->g;
    *reason = "stopped";
    take_stop(run); // asked for before this one began
    for (;;) {
        int result = turn(run);
        if (result)
            return result;
        if (run->grace_end_ms && runner_is_stopped(g->runner) && hooks_are_done(run))
            return 0;
        // What it has read is seen by the look that follows.
        bool is_prepared = prepare_is_done(run->prepare);
        if (run->options->drain && !g->stop && is_prepared &&
            runner_is_drained(g->runner, run->options->drain_wait_ms)) {
            *reason = "drained";
            return end_drained(run);
        }
    }
}

// Becomes the runner: one at a time. A command that owns the database for a moment is waited for.
static int open_server(genrun *g, bool watched, struct service *service) {
    bool told = false;
    int64_t patient_ms = clock_monotonic_ms() + SERVE_PATIENCE_MS;
    int result = db_serve(g->db, &g->err);
    // A program that a killed runner was just starting holds its right, too, until it has become that program.
    while (result == ERR_CONFLICT && !g->stop && clock_monotonic_ms() < patient_ms)
        result = loop_wait(g->loop, OWNER_LOOK_MS, &g->err) ? ERR_REMOTE : db_serve(g->db, &g->err);
    if (result)
        return result;
    while ((result = open_runner(g, 0, 0, watched)) == ERR_CONFLICT && !g->stop) {
        if (!told)
            log_info("a command that waits for its own work has the database: the runner takes over when "
                     "what runs there has ended");
        told = true;
        service_waits(service);
        if ((result = loop_wait(g->loop, OWNER_LOOK_MS, &g->err)))
            break;
    }
    if (result)
        db_unserve(g->db);
    return result;
}

static int run_up(struct running *run, const char **reason) {
    genrun *g = run->g;
    const struct host_hooks *hooks = run->hooks;
    int result = hooks->on_up ? hooks->on_up(hooks->payload) : 0;
    if (result)
        return result;
    service_ready(run->service);
    log_info("runner started: database %s, concurrency %d", g->config->database,
             g->config->scheduler.concurrency);
    if (run->options->watchdog)
        result = watchdog_start(g->config->scheduler.heartbeat_timeout_ms, g->config->database,
                                runner_seq(g->runner), &g->err);
    if (!result)
        result = sync_thread_start(&run->sync, g);
    if (!result && !hooks->on_up)
        result = prepare_start(&run->prepare, g);
    if (!result)
        result = run_until_end(run, reason);
    prepare_end(run->prepare);
    run->prepare = NULL;
    sync_thread_leave(run->sync);
    if (hooks->on_down)
        hooks->on_down(hooks->payload);
    if (run->options->watchdog)
        watchdog_end();
    log_info("runner %s: %lld completed, %lld failed", *reason, (long long)runner_completed(g->runner),
             (long long)runner_failed(g->runner));
    return result;
}

// What ended is in Postgres, too, when the run is over: in the rest of the grace, or for a moment after all of it.
static void end_sync(struct running *run, bool well) {
    genrun *g = run->g;
    struct err why = g->err, ignored;
    int64_t grace_ms = g->config->scheduler.shutdown_grace_ms, now_ms = clock_monotonic_ms(),
            until_ms = now_ms + (grace_ms < SYNC_LEAST_MS ? grace_ms : SYNC_LEAST_MS);
    if (!run->sync)
        return;
    if (!run->grace_end_ms)
        run->grace_end_ms = now_ms + grace_ms;
    if (well && g->stop < 2)
        sync_thread_last(run->sync, run->grace_end_ms > until_ms ? run->grace_end_ms : until_ms);
    sync_thread_end(run->sync);
    run->sync = NULL;
    if (db_own(g->db, &ignored) == 0) {
        db_checkpoint_final(g->db);
        db_disown(g->db);
    }
    g->err = why;
}

static int run(struct running *run) {
    genrun *g = run->g;
    const char *reason = "stopped";
    int result = open_server(g, run->options->watchdog != 0, run->service);
    if (result)
        return g->stop ? 0 : result;
    run->changes = runner_changes(g->runner);
    result = run_up(run, &reason);
    result = close_runner(g, reason, result);
    end_sync(run, result == 0 || result == ERR_WORK || result == ERR_CONFLICT);
    db_unserve(g->db);
    return result;
}

int host_run(genrun *g, const genrun_run_options *options, const struct host_hooks *hooks) {
    const genrun_run_options none = GENRUN_RUN_OPTIONS_INIT;
    const struct host_hooks no_hooks = {0};
    struct running running = {
        .g = g, .options = options ? options : &none, .hooks = hooks ? hooks : &no_hooks};
    int result = check_outside(g);
    if (result)
        return handle_result(g, result);
    g->create = true;
    running.service = running.options->notify ? service_open() : NULL;
    result = handle_database(g);
    if (!result)
        result = handle_loop(g);
    if (!result && running.options->signals)
        result = loop_signals(g->loop, on_signal, g, &g->err);
    if (!result) {
        result = run(&running);
        if (running.options->signals)
            loop_signals_end(g->loop);
    }
    g->stop = 0;
    service_close(running.service);
    return handle_result(g, result);
}

int genrun_run(genrun *g, const genrun_run_options *options) {
    return host_run(g, options, NULL);
}

int genrun_step(genrun *g, int64_t timeout_ms) {
    int result = check_outside(g);
    if (result)
        return handle_result(g, result);
    g->create = true;
    result = handle_database(g);
    if (!result && !g->runner && !(result = db_serve(g->db, &g->err)) &&
        (result = open_runner(g, 0, 0, false)))
        db_unserve(g->db);
    if (!result)
        result = runner_turn(g->runner, g->stop ? 0 : timeout_ms, &g->err);
    g->stop = 0;
    return handle_result(g, result);
}

void genrun_stop(genrun *g) {
    g->stop++;
    struct loop *loop = g->loop;
    if (loop)
        loop_wake(loop);
}

// ---- waiting ----

static int wait_for_change(genrun *g, int64_t timeout_ms) {
    int result = handle_loop(g);
    if (result)
        return result;
    if (!g->wake)
        g->wake = wake_open(g->db, g->loop);
    int64_t end_ms = clock_monotonic_ms() + timeout_ms;
    for (;;) {
        int64_t now_ms = clock_monotonic_ms();
        if (wake_has_changed(g->wake, now_ms) || g->stop || now_ms >= end_ms)
            return 0;
        int64_t until_ms = wake_due_ms(g->wake) < end_ms ? wake_due_ms(g->wake) : end_ms;
        // Without a notice the version is asked again at the end of the wait.
        if ((result = loop_wait(g->loop, until_ms - now_ms, &g->err)))
            return result;
    }
}

int genrun_wait_change(genrun *g, int64_t timeout_ms) {
    int result = check_outside(g);
    if (!result)
        result = handle_scoped_database(g);
    if (!result)
        result = wait_for_change(g, timeout_ms);
    g->stop = 0;
    return handle_result(g, result);
}

struct wait {
    const char *id; // as the caller gave it
    int64_t seq;
    bool is_batch;
    bool is_asked; // for one attempt that was asked for, not for the end
    genrun_each each;
    void *payload;
    int64_t shown_ms;
    char *shown; // JSON of the row shown last
};

// Shows the row when it changed; at the end always.
static int show(genrun *g, struct wait *w, bool at_end) {
    struct row *row = NULL;
    int64_t now_ms = clock_monotonic_ms();
    if (!w->each || (!at_end && now_ms - w->shown_ms < LOOK_MS))
        return 0;
    w->shown_ms = now_ms;
    int result =
        w->is_batch ? queue_batch_get(g->db, w->seq, &row, &g->err) : queue_get(g->db, w->seq, &row, &g->err);
    if (!result && (at_end || !w->shown || strcmp(w->shown, row_json(row)) != 0)) {
        free(w->shown);
        w->shown = mem_copy(row_json(row));
        if (w->each(w->payload, (genrun_row *)row) != 0)
            result = err_set(&g->err, ERR_CONFLICT,
                             "the wait was ended: the work stays in the queue for a runner");
    }
    row_free(row);
    return result;
}

// With the owner's lock this handle runs what it waits for; else another runner does.
static int advance(genrun *g, const struct wait *w) {
    if (!g->runner) {
        if (db_is_served(g->db))
            return wait_for_change(g, LOOK_MS);
        int result = open_runner(g, w->is_batch ? w->seq : 0, w->is_batch ? 0 : w->seq, false);
        if (result == ERR_CONFLICT)
            return wait_for_change(g, LOOK_MS);
        if (result)
            return result;
    }
    // What this handle waits for may be parked for days: a runner of the whole queue that has come up takes over,
    // once what runs here has ended.
    if (db_is_served(g->db)) {
        runner_yield(g->runner);
        if (runner_is_stopped(g->runner))
            return close_runner(g, "another runner takes over", 0);
    }
    return runner_turn(g->runner, LOOK_MS, &g->err);
}

static int ended_code(genrun *g, const struct wait *w, const char *status) {
    int64_t unsuccessful = strcmp(status, "completed") != 0;
    if (w->is_batch && !unsuccessful) {
        struct row *row = NULL;
        int result = queue_batch_get(g->db, w->seq, &row, &g->err);
        if (result)
            return result;
        unsuccessful = row_integer(row, "failed_items", 0) + row_integer(row, "cancelled_items", 0);
        row_free(row);
        if (unsuccessful > 0)
            return err_set(
                &g->err, ERR_WORK,
                "%lld items failed or were cancelled: 'genrun batch results %s --errors' shows them",
                (long long)unsuccessful, w->id);
    }
    return unsuccessful ? err_set(&g->err, ERR_WORK, "the %s %s: 'genrun logs %s' tells why",
                                  w->is_batch ? "batch job is" : "generation is", status, w->id)
                        : 0;
}

static int has_ended(genrun *g, const struct wait *w, bool *ended, char status[16]) {
    bool open = false;
    int result = queue_ended(g->db, w->is_batch, w->seq, ended, status, &g->err);
    if (result || !w->is_asked || *ended)
        return result;
    // Served, and not running any more: the attempt is over, though it may be tried again later.
    result = queue_request_is_open(g->db, w->seq, &open, &g->err);
    *ended = !open && strcmp(status, "processing") != 0;
    return result;
}

static int wait_until_end(genrun *g, struct wait *w) {
    char status[16];
    for (;;) {
        bool ended = false;
        int result = has_ended(g, w, &ended, status);
        if (!result)
            result = show(g, w, ended);
        if (result)
            return result;
        if (ended)
            return ended_code(g, w, status);
        if (g->stop)
            return err_set(&g->err, ERR_CONFLICT,
                           "the wait for %s was interrupted: the work stays in the queue for a runner",
                           w->id);
        if ((result = advance(g, w)))
            return result;
    }
}

// Waits with the loop and, where wanted, the signals of this process.
static int wait_here(genrun *g, struct wait *w, int signals) {
    bool running = g->runner != NULL;
    int result = handle_loop(g);
    if (!result && signals)
        result = loop_signals(g->loop, on_signal, g, &g->err);
    if (!result) {
        result = wait_until_end(g, w);
        if (signals)
            loop_signals_end(g->loop);
    }
    // A runner of the host's own (genrun_step) goes on.
    if (!running)
        result = close_runner(g, "ended with what was waited for", result);
    free(w->shown);
    g->stop = 0;
    return result;
}

int genrun_wait(genrun *g, const char *id, int signals, genrun_each each, void *payload) {
    struct wait w = {.id = id, .each = each, .payload = payload};
    int result = check_outside(g);
    if (!result)
        result = handle_any(g, id, &w.seq, &w.is_batch);
    if (!result)
        result = wait_here(g, &w, signals);
    return handle_result(g, result);
}

int genrun_batch_process_next(genrun *g, genrun_row **out, const char *id, int signals) {
    struct wait w = {.id = id, .is_asked = true};
    int64_t batch_seq = 0;
    *out = NULL;
    int result = check_outside(g);
    if (!result)
        result = handle_batch(g, id, &batch_seq);
    if (!result)
        result = queue_request_next(g->db, batch_seq, &w.seq, &g->err);
    if (result || w.seq == 0)
        return handle_result(g, result);
    result = wait_here(g, &w, signals);
    if (result && result != ERR_WORK) {
        // Nobody waits for it any more: it is left to the ordinary order.
        struct err e;
        if (queue_request_withdraw(g->db, w.seq, &e) != 0)
            log_error("%s", e.message);
        return handle_result(g, result);
    }
    return handle_result(g, queue_get(g->db, w.seq, (struct row **)out, &g->err));
}

int host_mark_hung(const char *database, const char *runner) {
    struct db *db = NULL;
    struct err e;
    sigset_t none;
    // The watchdog's signal handler became this process: what the runner had blocked is blocked here, too.
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // Should the disk be what hangs, this process must end all the same.
    alarm(10);
    if (db_open(&db, database, DB_EXISTING, &e) != 0 ||
        queue_runner_mark_hung(db, strtoll(runner, NULL, 10), &e) != 0)
        log_error("%s", e.message);
    db_close(db);
    return ERR_WORK;
}
