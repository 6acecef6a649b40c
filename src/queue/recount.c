// SPDX-License-Identifier: MIT
// Counters counted again from the rows: of each batch job, its state with them,
// and of everything. The count is made in slices inside one read transaction of a
// connection of its own, so it is one moment, and blocks nobody. What it finds is
// a difference, and stays the same difference whatever is done meanwhile, since
// the triggers add to a wrong counter as to a right one: it is added in a short
// transaction later.
#include "queue/recount.h"
#include "base/clock.h"
#include "base/mem.h"
#include "db/moved.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_ROWS 256 // between two looks at the clock

enum phase { PHASE_ROWS, PHASE_BATCHES, PHASE_REPAIR };

struct recount {
    struct upkeep *run;
    enum phase phase;
    struct db *reader;
    sqlite3_stmt *open; // of the phase under way
    // A hash of the batch jobs by their number, without one under 0.
    struct tally *slots;
    size_t slot_count, used, last;
    struct tally all; // of everything that is listed
    struct drift *drifts;
    size_t drift_count, next;
};

struct recount *recount_new(struct upkeep *run) {
    struct recount *r = mem_alloc(1, sizeof *r);
    r->run = run;
    r->slot_count = 64;
    r->slots = mem_alloc(r->slot_count, sizeof *r->slots);
    return r;
}

static void close_reader(struct recount *r) {
    db_done(r->reader, r->open);
    r->open = NULL;
    db_close(r->reader); // ends its transaction
    r->reader = NULL;
}

void recount_free(struct recount *r) {
    if (!r)
        return;
    close_reader(r);
    for (size_t i = 0; i < r->drift_count; i++)
        drift_clear(&r->drifts[i]);
    free(r->drifts);
    free(r->slots);
    free(r);
}

// ---- counting ----

static struct tally *slot_of(struct tally *slots, size_t count, int64_t batch_seq) {
    size_t i = (size_t)((uint64_t)batch_seq * 0x9E3779B97F4A7C15u >> 20) & (count - 1);
    while (slots[i].rows > 0 && slots[i].batch_seq != batch_seq)
        i = (i + 1) & (count - 1);
    return &slots[i];
}

static void grow(struct recount *r) {
    size_t count = r->slot_count * 2;
    struct tally *slots = mem_alloc(count, sizeof *slots);
    for (size_t i = 0; i < r->slot_count; i++)
        if (r->slots[i].rows > 0)
            *slot_of(slots, count, r->slots[i].batch_seq) = r->slots[i];
    free(r->slots);
    r->slots = slots;
    r->slot_count = count;
}

static struct tally *tally_of(struct recount *r, int64_t batch_seq) {
    // The rows of a batch job stand side by side.
    if (r->slots[r->last].rows > 0 && r->slots[r->last].batch_seq == batch_seq)
        return &r->slots[r->last];
    struct tally *t = slot_of(r->slots, r->slot_count, batch_seq);
    if (t->rows == 0 && r->used * 2 >= r->slot_count) {
        grow(r);
        t = slot_of(r->slots, r->slot_count, batch_seq);
    }
    r->used += t->rows == 0;
    t->batch_seq = batch_seq;
    r->last = (size_t)(t - r->slots);
    return t;
}

static void count_row(struct recount *r, sqlite3_stmt *s) {
    const char *status = db_text(s, 0);
    struct tally *t = tally_of(r, db_int(s, 1));
    int state = strcmp(status, "queued") == 0       ? 0
                : strcmp(status, "processing") == 0 ? 1
                : strcmp(status, "completed") == 0  ? 2
                : strcmp(status, "failed") == 0     ? 3
                                                    : 4;
    t->items[state]++;
    t->rows++;
    t->input_tokens += db_int(s, 2);
    t->output_tokens += db_int(s, 3);
    t->cost += sqlite3_column_double(s, 4);
    if (!db_is_null(s, 5) && (t->started_at == 0 || db_int(s, 5) < t->started_at))
        t->started_at = db_int(s, 5);
    if (!db_is_null(s, 6) && db_int(s, 6) + 1 > t->places)
        t->places = db_int(s, 6) + 1;
}

static int begin_rows(struct recount *r, struct err *e) {
    int result = db_open(&r->reader, db_path(r->run->db), DB_EXISTING, e);
    // The other connection would count another file's rows.
    if (!result)
        result = db_check_place(r->run->db, e);
    if (!result)
        result = db_run(r->reader, e, "BEGIN", "");
    if (result)
        return result;
    r->open = db_ask(
        r->reader, e,
        "SELECT status, coalesce(batch_seq, 0), input_tokens, output_tokens, cost, started_at, item_index"
        " FROM generation NOT INDEXED",
        "");
    return r->open ? 0 : (int)e->code;
}

static int begin_batches(struct recount *r, struct err *e) {
    db_done(r->reader, r->open);
    r->open = db_ask(r->reader, e, DRIFT_BATCHES, "");
    r->phase = PHASE_BATCHES;
    return r->open ? 0 : (int)e->code;
}

static void add_tally(struct tally *sum, const struct tally *t) {
    for (size_t i = 0; i < 5; i++)
        sum->items[i] += t->items[i];
    sum->rows += t->rows;
}

// A batch job that is still being filled is its writer's business, and listed nowhere.
static void judge_batch(struct recount *r, sqlite3_stmt *s) {
    struct drift d;
    struct tally none = {0};
    struct tally *t = slot_of(r->slots, r->slot_count, db_int(s, 0));
    if (db_is_null(s, DRIFT_OPENED_AT))
        return;
    add_tally(&r->all, t->rows > 0 ? t : &none);
    if (!drift_of_batch(s, t->rows > 0 ? t : &none, &d))
        return;
    r->drifts = mem_resize(r->drifts, r->drift_count + 1, sizeof *r->drifts);
    r->drifts[r->drift_count++] = d;
}

static int judge_all(struct recount *r, struct err *e) {
    struct drift d;
    bool differs = false;
    struct tally *singles = slot_of(r->slots, r->slot_count, 0);
    add_tally(&r->all, singles);
    int result = drift_of_all(r->reader, &r->all, &d, &differs, e);
    if (!result && differs) {
        r->drifts = mem_resize(r->drifts, r->drift_count + 1, sizeof *r->drifts);
        r->drifts[r->drift_count++] = d;
    }
    return result;
}

// Steps the open statement until the slice is over; *end: it has no more.
static int step_rows(struct recount *r, bool *end, struct err *e) {
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
    int code = 0;
    for (int i = 1; (code = db_next(r->reader, r->open, e)) == 1; i++) {
        if (r->phase == PHASE_ROWS)
            count_row(r, r->open);
        else
            judge_batch(r, r->open);
        if (i % LOOK_ROWS == 0 && clock_monotonic_ms() >= end_ms)
            return 0;
    }
    *end = code == 0;
    return code < 0 ? (int)e->code : 0;
}

// ---- repairing ----

static int repair_one(struct recount *r, struct drift *d, struct err *e) {
    struct upkeep *run = r->run;
    bool fixed = false;
    if (!run->dry_run) {
        int result = upkeep_transaction(run, e);
        if (result)
            return result;
        if ((result = drift_repair(run->db, d, e))) {
            bool refused = db_was_refused(run->db);
            db_rollback(run->db);
            if (!refused)
                return result;
        }
        fixed = result == 0;
    }
    drift_tell(run, d, fixed);
    return fixed ? upkeep_commit(run, e) : 0;
}

static int repair(struct recount *r, bool *more, struct err *e) {
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
    int result = 0;
    while (!result && r->next < r->drift_count && clock_monotonic_ms() < end_ms)
        if ((result = repair_one(r, &r->drifts[r->next], e)) == 0)
            r->next++;
    *more = r->next < r->drift_count;
    return result;
}

int recount_step(struct recount *r, bool *more, struct err *e) {
    bool end = false;
    int result = 0;
    *more = true;
    if (r->phase == PHASE_REPAIR)
        return repair(r, more, e);
    if (!r->open)
        result = begin_rows(r, e);
    if (!result)
        result = step_rows(r, &end, e);
    if (!result && end && r->phase == PHASE_ROWS)
        return begin_batches(r, e);
    if (!result && end) {
        result = judge_all(r, e);
        close_reader(r);
        r->phase = PHASE_REPAIR;
        *more = r->drift_count > 0;
    }
    return result;
}
