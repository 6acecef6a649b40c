// SPDX-License-Identifier: MIT
// The tick: in ONE transaction settle what ended, beat, see what others did, make
// due what is due, sweep, and claim for free slots; commit; only then start what
// was claimed. A tick whose commit fails is rolled back whole, and nothing that it
// claimed has started.
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/child.h"
#include "run/state.h"
#include <stdlib.h>
#include <string.h>

#define WRITER_WAIT_MS 50 // the loop never waits longer for the writer lock
#define SWEEP_ROWS 500
#define LOOK_EVERY_MS 1000   // whether the writer of a batch job that is being filled still lives
#define COUNT_EVERY_MS 1000  // throughput: not in every tick, one page less to write
#define CHECKPOINT_PAGES 500 // well below the 1,000 at which a sqlite3 shell would do it, unlocked
#define CHECKPOINT_AGAIN_MS 1000
#define OVERDUE_EVERY_MS 10000 // between two looks at what waits for closed gates, at most
#define TROUBLE_MAX_MS 1000
#define PLAIN_TRIES 2 // to end a row plainly that refused its result

static double share(void) {
    return (double)(id_random_u64() >> 11) / 9007199254740992.0; // 2^53
}

int runner_free_slots(const struct runner *r) {
    if (r->stopping || r->exclusive)
        return 0;
    // A stopped process keeps its slot until it is gone, lest there are more than the limit.
    int64_t left = r->settings.concurrency - (int64_t)(r->live_count + child_dying(r->loop, NULL));
    return left > 0 ? (int)left : 0;
}

bool runner_has_uncounted(const struct runner *r) {
    const struct ends *u = &r->uncounted, *t = &r->tick;
    return u->completed + t->completed > 0 || u->failed + t->failed > 0 || u->cost + t->cost > 0;
}

int runner_count_ends(struct runner *r, int64_t now_at, struct err *e) {
    const struct ends *u = &r->uncounted, *t = &r->tick;
    return queue_count_ends(r->db, now_at, u->completed + t->completed, u->failed + t->failed,
                            u->cost + t->cost, e);
}

bool runner_has_work(const struct runner *r, int64_t now_ms) {
    if (r->retry_at_ms > now_ms)
        return false;
    if (r->trouble_count > 0)
        return true;
    bool startable = !r->recovery.patient && (r->asked || (r->claimable && runner_free_slots(r) > 0));
    if (r->ended || r->changed || r->writes.pending.first || recovery_has_work(r) || startable)
        return true;
    if (r->live && now_ms >= r->next_beat_ms)
        return true;
    if (r->next_due_at && clock_wall_at() >= r->next_due_at)
        return true;
    if (now_ms >= r->next_overdue_ms || (runner_has_uncounted(r) && now_ms >= r->next_count_ms))
        return true;
    return now_ms >= r->next_look_ms || (r->sweeping && now_ms >= r->next_sweep_ms);
}

// ---- settling ----

// How it will be counted when this is committed.
static void name_outcome(struct attempt *a, const struct settlement *s, bool landed) {
    bool failure = a->outcome && a->outcome->failure.kind != FAILURE_NONE && !a->write_failures;
    enum verdict_action action = a->verdict.action;
    a->error_type = failure && a->verdict.error_type ? a->verdict.error_type : "";
    if (!landed)
        a->outcome_name = "lost";
    else if (a->end == END_LOST || a->end == END_CANCELLED)
        a->outcome_name = "cancelled";
    else if (strcmp(s->status, "completed") == 0)
        a->outcome_name = "completed";
    else if (strcmp(s->status, "failed") == 0)
        a->outcome_name = "failed";
    else if (a->end == END_STOPPED)
        a->outcome_name = "stopped";
    else if (action == VERDICT_WAIT)
        a->outcome_name = "waited";
    else
        a->outcome_name = action == VERDICT_PARK || a->parked ? "parked" : "retried";
    if (strcmp(s->status, "failed") == 0)
        a->error_type = s->error_type;
    else if (strcmp(a->outcome_name, "cancelled") == 0 || strcmp(a->outcome_name, "stopped") == 0)
        a->error_type = "";
}

static int settle_one(struct runner *r, struct attempt *a, int64_t now_at, struct err *e) {
    struct settlement s;
    struct settlement_texts texts;
    bool landed = true;
    attempt_settlement(a, &r->settings, now_at, share(), &s, &texts);
    // A row that is not ours any more keeps its state; what had come is kept as partial.
    int result = a->end == END_LOST ? queue_store_partial(r->db, &s, e) : queue_settle(r->db, &s, &landed, e);
    if (!result && r->settings.account_concurrency > 0 && a->claim.user_id)
        result = queue_release_lock(r->db, a->claim.user_id, a->claim.id, e);
    if (!result && landed && a->end != END_LOST) {
        r->tick.completed += strcmp(s.status, "completed") == 0;
        r->tick.failed += strcmp(s.status, "failed") == 0;
    }
    r->tick.cost += s.cost;
    if (!result)
        name_outcome(a, &s, landed);
    // An end of an item may have stopped its batch job, or brought it back into a cancelled one.
    if (a->claim.batch_seq && strcmp(s.status, "completed") != 0) {
        r->sweeping = true;
        r->next_sweep_ms = 0;
    }
    settlement_texts_free(&texts);
    return result;
}

static bool is_plain_success(const struct attempt *a) {
    return a->end == END_OUTCOME && a->outcome->failure.kind == FAILURE_NONE && a->write_failures == 0;
}

// The successes of a tick together: at full load that is most of the work.
static int settle_successes(struct runner *r, int64_t now_at, struct err *e) {
    size_t count = 0;
    int result = 0;
    struct attempt **list = mem_alloc(r->ended_count + 1, sizeof *list);
    for (struct attempt *a = r->ended; a; a = a->next) {
        a->settled = false;
        if (is_plain_success(a))
            list[count++] = a;
    }
    struct settlement *s = mem_alloc(count + 1, sizeof *s);
    struct settlement_texts *texts = mem_alloc(count + 1, sizeof *texts);
    bool *landed = mem_alloc(count + 1, sizeof *landed);
    for (size_t i = 0; i < count; i++)
        attempt_settlement(list[i], &r->settings, now_at, 0, &s[i], &texts[i]);
    if (count > 1)
        result = queue_settle_completed(r->db, s, count, landed, e);
    for (size_t i = 0; i < count; i++) {
        list[i]->settled = count > 1 && !result;
        if (list[i]->settled) {
            name_outcome(list[i], &s[i], landed[i]);
            r->tick.completed += landed[i];
            r->tick.cost += s[i].cost;
        }
        settlement_texts_free(&texts[i]);
    }
    free(list);
    free(s);
    free(texts);
    free(landed);
    // One that is refused must not hold up the others: then each by itself.
    return result && db_was_refused(r->db) ? 0 : result;
}

static int settle_all(struct runner *r, int64_t now_at, struct err *e) {
    r->tick = (struct ends){0};
    int refused = settle_successes(r, now_at, e);
    if (refused)
        return refused;
    for (struct attempt *a = r->ended; a; a = a->next) {
        int result = a->write_failures <= PLAIN_TRIES && !a->settled ? settle_one(r, a, now_at, e) : 0;
        if (a->settled && r->settings.account_concurrency > 0 && a->claim.user_id)
            result = queue_release_lock(r->db, a->claim.user_id, a->claim.id, e);
        if (!result)
            continue;
        // Counters that say too little refuse everything: they are repaired first.
        if (db_was_refused(r->db) && !chores_hurry(r->chores, clock_monotonic_ms())) {
            // The row itself refuses (no state of disk or locks): the next tick ends it plainly, so that it cannot hold up the others. Should
            // that be refused, too, it is left to the next runner.
            log_error("generation %s: its result was refused: %s", a->claim.id, e->message);
            a->write_failures++;
            free(a->end_reason);
            a->end_reason = mem_format("the database refused the result: %s", e->message);
        }
        return result;
    }
    return 0;
}

static void count_end(struct runner *r, const struct attempt *a) {
    struct gate *gate = a->gate;
    if (!a->outcome_name)
        return; // left to the next runner
    if (!gate->counts)
        gate->counts = metrics_model(r->metrics, gate->model_id);
    metrics_end(gate->counts, a->outcome_name, a->error_type, a->ended_us - a->started_ms * 1000);
}

// Only those settled in this tick: others may have ended while changes were looked at.
static void forget_settled(struct runner *r, size_t count) {
    r->completed += r->tick.completed;
    r->failed += r->tick.failed;
    r->uncounted.completed += r->tick.completed;
    r->uncounted.failed += r->tick.failed;
    r->uncounted.cost += r->tick.cost;
    r->tick = (struct ends){0};
    for (; count > 0; count--) {
        struct attempt *a = r->ended;
        r->ended = a->next;
        r->ended_count--;
        count_end(r, a);
        attempt_free(a);
    }
}

// ---- what others did ----

static int check_owned(struct runner *r, struct err *e) {
    struct attempt *a = r->live;
    while (a) {
        struct attempt *next = a->next;
        bool owns, cancelled;
        char *reason = NULL;
        int result = queue_still_owns(r->db, a->claim.seq, a->claim.token, a->claim.batch_seq, &owns,
                                      &cancelled, &reason, e);
        if (result)
            return result;
        if (!owns || cancelled) {
            // The end is written by the next tick; the call ends now.
            attempt_stop(a, owns ? END_CANCELLED : END_LOST, reason);
            a->on_end(a->payload, a);
        }
        free(reason);
        a = next;
    }
    return 0;
}

static int see_changes(struct runner *r, int64_t now_ms, struct err *e) {
    if (r->foreign)
        ready_forget(r->ready);
    int result = gate_list_refresh(&r->gates, r->db, false, now_ms, e);
    if (!result)
        result = check_owned(r, e);
    r->claimable = r->asked = true;
    r->sweeping = true;
    return result;
}

// What the host wrote in this transaction may be claimed in it. What runs is looked at by the next one: nothing may be
// ended for what is not committed yet.
static int write_for_host(struct runner *r, int64_t now_ms, struct err *e) {
    r->wrote = r->writes.pending.first && write_run(r);
    if (!r->wrote)
        return 0;
    r->claimable = r->asked = true;
    r->sweeping = true;
    return gate_list_refresh(&r->gates, r->db, false, now_ms, e);
}

static int beat(struct runner *r, int64_t now_ms, int64_t now_at, struct err *e) {
    struct beat *beats = mem_alloc(r->live_count ? r->live_count : 1, sizeof *beats);
    size_t count = 0;
    for (struct attempt *a = r->live; a; a = a->next)
        beats[count++] = (struct beat){
            .seq = a->claim.seq,
            .token = a->claim.token,
            // By the clock that judges: a stop, a suspend or a set clock is no lack of progress.
            .progress_at = now_at - (now_ms - a->last_progress_ms),
            .progress_limit_ms = attempt_progress_limit_ms(a),
            .last_step = provider_step_name(a->step),
            .output_bytes = a->output_bytes};
    int result = queue_heartbeat(r->db, r->me.seq, now_at, r->options.jobs->lock_expiry_ms, beats, count, e);
    free(beats);
    return result;
}

// Between two looks: what came a moment after the gate closed is judged by the next one.
static int64_t overdue_every_ms(const struct runner *r) {
    return r->settings.max_wait_ms < OVERDUE_EVERY_MS ? r->settings.max_wait_ms : OVERDUE_EVERY_MS;
}

// When the first of what waits for a closed gate may have waited too long, if not judged already.
static void plan_overdue(struct runner *r, int64_t now_ms, int64_t now_at) {
    int64_t since_at = r->settings.max_wait_ms > 0 ? r->gates.since_at : INT64_MAX;
    int64_t first = since_at == INT64_MAX ? INT64_MAX : now_ms + since_at + r->settings.max_wait_ms - now_at;
    if (first != INT64_MAX && first < r->judged_overdue_ms + overdue_every_ms(r) && r->judged_overdue_ms > 0)
        first = r->judged_overdue_ms + overdue_every_ms(r);
    r->next_overdue_ms = first;
}

// Fails what waits longer than max_wait, in slices.
static int fail_overdue(struct runner *r, int64_t now_ms, int64_t now_at, struct err *e) {
    bool more = false;
    for (size_t i = 0; i < r->gates.closed_count; i++) {
        struct gate *g = r->gates.closed[i];
        // While one tries whether the model is back, nobody is judged.
        bool trying = g->running > 0 && g->until_ms <= now_ms;
        if (strcmp(g->state.state, "ok") == 0 || !g->state.since || trying)
            continue;
        int64_t before = r->tick.failed;
        char *reason = mem_format("it waited longer than max_wait for its model: %s", g->state.reason);
        int result = queue_fail_overdue(r->db, g->model_id, g->state.since, now_at, r->settings.max_wait_ms,
                                        reason, SWEEP_ROWS, &r->tick.failed, e);
        free(reason);
        if (result)
            return result;
        more |= r->tick.failed - before >= SWEEP_ROWS;
        r->sweeping |= r->tick.failed > before;
    }
    r->judged_overdue_ms = more ? now_ms - overdue_every_ms(r) + QUEUE_SLICE_MS : now_ms;
    return 0;
}

static int sweep(struct runner *r, int64_t now_ms, int64_t now_at, struct err *e) {
    bool unopened = false;
    int result = queue_sweep(r->db, now_at, SWEEP_ROWS, &r->sweeping, e);
    if (!result)
        result = queue_has_unopened(r->db, &unopened, e);
    r->next_look_ms = unopened ? now_ms + LOOK_EVERY_MS : INT64_MAX;
    return result;
}

static void start_claimed(struct runner *r);

static void drop_claims(struct runner *r) {
    for (size_t i = 0; i < r->claim_count; i++)
        claim_clear(&r->claims[i]);
    r->claim_count = 0;
}

// ---- the transaction ----

static int in_transaction(struct runner *r, int64_t now_ms, int64_t now_at, bool beating, bool counting,
                          struct err *e) {
    int64_t promoted = 0;
    int result = 0;
    // Settled first: what these ends free is claimed in the same pass.
    if ((result = settle_all(r, now_at, e)))
        return result;
    if ((result = recovery_write(r, now_at, e)))
        return result;
    if (r->changed && (result = see_changes(r, now_ms, e)))
        return result;
    if ((result = write_for_host(r, now_ms, e)))
        return result;
    if (beating && (result = beat(r, now_ms, now_at, e)))
        return result;
    if (((r->next_due_at && now_at >= r->next_due_at) || r->changed || r->wrote || r->ended) &&
        (result = queue_promote_due(r->db, now_at, &r->next_due_at, &promoted, e)))
        return result;
    if (now_ms >= r->next_overdue_ms && (result = fail_overdue(r, now_ms, now_at, e)))
        return result;
    if (((r->sweeping && now_ms >= r->next_sweep_ms) || now_ms >= r->next_look_ms) &&
        (result = sweep(r, now_ms, now_at, e)))
        return result;
    if (promoted > 0 || r->ended)
        r->claimable = true;
    r->asked |= r->asked_later && r->ended;
    bool claiming = !r->recovery.patient && (r->claimable || r->asked);
    if (claiming && (result = runner_claim(r, now_ms, now_at, e)))
        return result;
    if (counting && runner_has_uncounted(r) && (result = runner_count_ends(r, now_at, e)))
        return result;
    return gate_list_store(&r->gates, r->db, e);
}

static void tell_trouble(struct runner *r, const struct err *e, int64_t now_ms) {
    if (r->trouble_count++ == 0)
        r->trouble_since_ms = now_ms;
    int64_t wait = WRITER_WAIT_MS * (int64_t)r->trouble_count;
    r->trouble = *e;
    r->trouble_is_lock = db_was_busy(r->db);
    r->retry_at_ms = now_ms + (wait < TROUBLE_MAX_MS ? wait : TROUBLE_MAX_MS);
    // A moment without the lock is normal; a heartbeat's length is not.
    bool grave = !db_was_busy(r->db) || now_ms - r->trouble_since_ms >= r->settings.heartbeat_interval_ms;
    if (!grave || r->trouble_told)
        return;
    r->trouble_told = true;
    log_error("%s; nothing is claimed meanwhile, %zu results are kept in memory and tried again", e->message,
              r->ended_count);
}

static void end_trouble(struct runner *r, int64_t now_ms) {
    if (r->trouble_told)
        log_warn("the database can be written again, after %lld ms",
                 (long long)(now_ms - r->trouble_since_ms));
    r->retry_at_ms = 0;
    r->trouble_count = 0;
    r->trouble_told = false;
}

static void after_commit(struct runner *r, int64_t now_ms, bool beating) {
    gate_list_note_stored(&r->gates);
    r->metrics->claims += (int64_t)r->claim_count;
    r->metrics->heartbeats += beating;
    if (beating)
        r->next_beat_ms = now_ms + r->settings.heartbeat_interval_ms;
    if (now_ms >= r->next_sweep_ms)
        r->next_sweep_ms = now_ms + QUEUE_SLICE_MS;
    r->changed = r->wrote && r->live_count > 0;
    r->wrote = r->foreign = false;
    recovery_note_written(r);
    end_trouble(r, now_ms);
    // Answered before anything is started, which may take a while.
    write_done(r);
    start_claimed(r);
    // After the starts, which count against the rates.
    runner_note_gates(r, now_ms);
    runner_keep_claim(r, now_ms);
    plan_overdue(r, now_ms, clock_wall_at());
}

// The transaction failed, and nothing of it is stored.
static void give_up(struct runner *r, const struct err *e, int64_t now_ms, bool begun) {
    bool refused = db_was_refused(r->db), waits = !begun && db_was_busy(r->db);
    r->claimable = r->asked = true;
    r->changed |= r->wrote;
    r->wrote = false;
    r->metrics->failed_transactions += begun;
    tell_trouble(r, e, now_ms);
    if (refused)
        chores_hurry(r->chores, now_ms);
    // Another process's lock may soon be gone, and a refused row is ended plainly in the next tick; a full disk stays.
    write_failed(r, !waits && !refused, e->message);
}

static void end_attempt(void *payload, struct attempt *a) {
    struct runner *r = payload;
    for (struct attempt **p = &r->live; *p; p = &(*p)->next)
        if (*p == a) {
            *p = a->next;
            r->live_count--;
            break;
        }
    int64_t now_ms = clock_monotonic_ms(), now_at = clock_wall_at();
    a->ended_us = clock_monotonic_us();
    a->gate->running--;
    if (a->end == END_OUTCOME && a->outcome->failure.kind == FAILURE_NONE) {
        int64_t tokens = (a->outcome->input_tokens > 0 ? a->outcome->input_tokens : 0) +
                         (a->outcome->output_tokens > 0 ? a->outcome->output_tokens : 0);
        gate_succeeded(a->gate, tokens, now_ms);
    } else if (a->end == END_OUTCOME || a->end == END_TIMEOUT) {
        classify(&a->outcome->failure, a->gate->model, now_at, &a->verdict);
        if (a->outcome->stream_refused && !a->gate->state.unstreamed)
            gate_unstreamed(a->gate);
        else
            gate_failed(a->gate, &a->verdict, &r->settings, now_ms, now_at, &a->parked);
    }
    // In the order of their ends.
    struct attempt **last = &r->ended;
    while (*last)
        last = &(*last)->next;
    a->next = NULL;
    *last = a;
    r->ended_count++;
}

static void start_claimed(struct runner *r) {
    for (size_t i = 0; i < r->claim_count; i++) {
        struct gate *gate = gate_list_find(&r->gates, r->claims[i].model_id);
        struct attempt *a = attempt_new(&r->claims[i], gate);
        a->on_end = end_attempt;
        a->payload = r;
        a->next = r->live;
        r->live = a;
        r->live_count++;
        if (r->live_count == 1)
            r->next_beat_ms = clock_monotonic_ms() + r->settings.heartbeat_interval_ms;
        gate_started(gate);
        attempt_start(a, r->loop, r->me.id, r->options.max_output);
    }
    r->claim_count = 0;
}

// Should the log be copied now? How long one may wait for that is said in *wait_ms.
static bool is_long(const struct runner *r, bool foreign, int64_t *wait_ms) {
    *wait_ms = WRITER_WAIT_MS;
    if (db_wal_pages(r->db) >= CHECKPOINT_PAGES)
        return true;
    // What others write at length is copied in their gaps, a piece at a time, and not all of it at the next own commit.
    *wait_ms = 0;
    return foreign && db_log_pages(r->db) >= CHECKPOINT_PAGES;
}

static void checkpoint(struct runner *r, bool foreign, int64_t now_ms) {
    struct err e;
    int left = 0;
    int64_t wait_ms;
    if (now_ms < r->next_checkpoint_ms || !is_long(r, foreign, &wait_ms))
        return;
    if (db_checkpoint(r->db, wait_ms, &left, &e) != 0) {
        r->metrics->checkpoints_put_off++;
        log_debug("checkpoint put off: %s", e.message);
    } else {
        r->metrics->checkpoints++;
    }
    // While a reader holds its snapshot the next ones would be in vain, too.
    if (left > 0)
        r->next_checkpoint_ms = now_ms + CHECKPOINT_AGAIN_MS;
}

static int commit(struct runner *r, int64_t changes, struct err *e) {
    int64_t from_us = clock_monotonic_us();
    bool wrote = db_total_changes(r->db) != changes;
    int result = db_commit(r->db, e);
    if (!result && wrote)
        metrics_note(&r->metrics->commits, clock_monotonic_us() - from_us);
    return result;
}

void runner_tick(struct runner *r, int64_t now_ms) {
    struct err e = {0};
    int64_t now_at = clock_wall_at();
    // After trouble something is written, lest a tick that has nothing to write takes the disk for well.
    bool beating = (r->live && now_ms >= r->next_beat_ms) || (r->trouble_count > 0 && !r->trouble_is_lock);
    bool counting = now_ms >= r->next_count_ms;
    bool exclusive = r->exclusive, foreign = r->foreign;
    size_t settled = r->ended_count;
    struct claim_turn turn = r->turn;
    // A suspect that ended gives the quiet up in the same pass.
    if (r->exclusive && r->live_count == 0)
        r->exclusive = false;
    int64_t changes = db_total_changes(r->db);
    int result = db_begin(r->db, WRITER_WAIT_MS, &e);
    bool begun = result == 0;
    if (begun) {
        result = in_transaction(r, now_ms, now_at, beating, counting, &e);
        if (result)
            db_rollback(r->db);
        else
            result = commit(r, changes, &e);
    }
    r->seen_changes = db_total_changes(r->db);
    if (result) {
        drop_claims(r);
        runner_undo_claim(r);
        r->turn = turn;
        r->exclusive = exclusive;
        give_up(r, &e, now_ms, begun);
        return;
    }
    forget_settled(r, settled);
    if (counting && runner_has_uncounted(r)) {
        r->uncounted = (struct ends){0};
        r->next_count_ms = now_ms + COUNT_EVERY_MS;
    }
    after_commit(r, now_ms, beating);
    checkpoint(r, foreign, now_ms);
}
