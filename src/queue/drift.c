// SPDX-License-Identifier: MIT
// A batch job whose counters or state are not what its rows give it, and how it is put right.
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/recount.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void drift_clear(struct drift *d) {
    free(d->user_id);
    *d = (struct drift){0};
}

static bool is_end(const char *status) {
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "cancelled") == 0;
}

// The state that its rows give a batch job (as the view batch_derived tells it from the counters; an end with fewer
// rows than there were stays what it was).
static const char *expected_state(const char *status, const struct tally *rows, bool stopped, bool started) {
    bool whole = rows->rows > 0 && rows->rows == rows->places;
    if (strcmp(status, "cancelled") == 0)
        return "cancelled";
    if (rows->items[0] + rows->items[1] == 0) {
        if (is_end(status) && !whole)
            return status;
        return stopped || rows->items[2] == 0 ? "failed" : "completed";
    }
    return strcmp(status, "paused") == 0 ? "paused" : started ? "processing" : "queued";
}

// Cost and tokens of deleted rows stay counted: then only too little is wrong.
static void compare_spent(const struct tally *rows, int64_t input, int64_t output, double cost,
                          struct drift *d) {
    bool whole = rows->rows > 0 && rows->rows == rows->places;
    double slack = 1e-6 * (1 + fabs(rows->cost));
    if (whole || rows->input_tokens > input)
        d->input_tokens = rows->input_tokens - input;
    if (whole || rows->output_tokens > output)
        d->output_tokens = rows->output_tokens - output;
    if (rows->cost > cost + slack || (whole && rows->cost < cost - slack))
        d->cost = rows->cost - cost;
}

static const char *name_of(const struct drift *d, const struct tally *rows, bool counters) {
    bool rows_are_done = rows->items[0] + rows->items[1] == 0, ended = is_end(d->status);
    bool kept_is_done = d->kept[0] + d->kept[1] == 0;
    if (rows_are_done && !ended)
        return kept_is_done ? "all its items are at an end, and it is not marked so"
                            : "nothing of it waits or runs, and its counters say that something does";
    if (counters)
        return "its counters do not add up";
    return strcmp(d->status, d->expected) != 0 ? "it is not in the state that its items give it"
                                               : "what it keeps beside its counters does not fit them";
}

bool drift_of_batch(sqlite3_stmt *s, const struct tally *rows, struct drift *d) {
    bool stopped = db_int(s, 5) != 0;
    int64_t limit = db_is_null(s, 8) ? INT64_MAX : db_int(s, 8);
    bool counters = db_is_null(s, 10);
    *d = (struct drift){.batch_seq = db_int(s, 0), .missing = counters, .since = db_int(s, 22)};
    for (int i = 0; i < 5; i++) {
        d->kept[i] = db_int(s, 11 + i);
        d->items[i] = rows->items[i];
        counters |= d->kept[i] != d->items[i];
    }
    compare_spent(rows, db_int(s, 16), db_int(s, 17), sqlite3_column_double(s, 18), d);
    counters |= d->input_tokens != 0 || d->output_tokens != 0 || d->cost < 0 || d->cost > 0;
    d->started_at = db_is_null(s, 21) ? rows->started_at : 0;
    bool started = d->started_at != 0 || !db_is_null(s, 21);
    snprintf(d->status, sizeof d->status, "%s", db_text(s, 4));
    snprintf(d->expected, sizeof d->expected, "%s", expected_state(d->status, rows, stopped, started));
    bool swept = db_int(s, 6) && rows->items[0] > 0;
    bool at_limit = (db_int(s, 7) != 0) != (rows->items[1] >= limit);
    bool end = db_is_null(s, 9) == is_end(d->expected);
    bool copies = db_int(s, 19) != db_int(s, 8) || db_int(s, 20) != 1;
    if (!counters && !swept && !at_limit && !end && !copies && d->started_at == 0 &&
        strcmp(d->status, d->expected) == 0)
        return false;
    snprintf(d->id, sizeof d->id, "%s", db_text(s, 2));
    d->user_id = mem_copy(db_text(s, 3));
    d->what = name_of(d, rows, counters);
    return true;
}

int drift_of_all(struct db *db, const struct tally *rows, struct drift *d, bool *differs, struct err *e) {
    *d = (struct drift){.what = "the counters of everything do not add up"};
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT queued_items, processing_items, successful_items, failed_items, cancelled_items"
               " FROM batch_count WHERE batch_seq=0",
               "");
    int code = s ? db_next(db, s, e) : -1;
    d->missing = code == 0;
    *differs = code == 0;
    for (int i = 0; i < 5; i++) {
        d->kept[i] = code == 1 ? db_int(s, i) : 0;
        d->items[i] = rows->items[i];
        *differs |= d->kept[i] != d->items[i];
    }
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

// ---- repair ----

static char *as_json(const char *status, const int64_t items[5]) {
    static const char *const names[] = {"queued", "processing", "successful", "failed", "cancelled"};
    struct buf out;
    buf_init(&out, 4096);
    buf_char(&out, '{');
    if (status[0])
        json_write_member_text(&out, "status", status);
    for (size_t i = 0; i < 5; i++)
        json_write_member_integer(&out, names[i], items[i]);
    buf_char(&out, '}');
    return buf_take(&out);
}

// More waiting items alone would be taken for a retry by a person: for a moment more run, too.
static int add_counters(struct db *db, const struct drift *d, int64_t now_at, struct err *e) {
    const int64_t *k = d->kept, *n = d->items;
    int64_t turns = strcmp(d->status, d->expected) != 0;
    int64_t more = n[0] <= k[0] ? 0 : k[1] == n[1] + 1 ? 2 : 1;
    int result = db_run(
        db, e,
        "UPDATE batch_count SET queued_items=queued_items+?1, processing_items=processing_items+?2,"
        " successful_items=successful_items+?3, failed_items=failed_items+?4, "
        "cancelled_items=cancelled_items+?5,"
        " input_tokens=input_tokens+?6, output_tokens=output_tokens+?7, actual_cost=actual_cost+?8,"
        " concurrency=(SELECT concurrency FROM batch_job WHERE seq=?9), opened=1,"
        " started_at=coalesce(started_at, nullif(?10,0)),"
        " last_activity_at=CASE WHEN ?11 OR last_activity_at IS NULL THEN ?12 ELSE last_activity_at END"
        " WHERE batch_seq=?9",
        "iiiiiiiniiii", n[0] - k[0], n[1] - k[1] + more, n[2] - k[2], n[3] - k[3], n[4] - k[4],
        d->input_tokens, d->output_tokens, d->cost, d->batch_seq, d->started_at, turns, now_at);
    return result || !more
               ? result
               : db_run(db, e, "UPDATE batch_count SET processing_items=processing_items-? WHERE batch_seq=?",
                        "ii", more, d->batch_seq);
}

// The law itself gives the state: the triggers of the counters derive it anew when a counter turns. Where none did, one
// item more waits and runs for a moment.
static int turn_state(struct db *db, const struct drift *d, struct err *e) {
    int64_t as_it_was = 0;
    int result =
        db_integer(db, e, &as_it_was, 0, "SELECT 1 FROM batch_job WHERE seq=? AND status=? AND status<>?",
                   "itt", d->batch_seq, d->status, d->expected);
    for (int64_t step = 1; !result && as_it_was && step >= -1; step -= 2)
        result =
            db_run(db, e,
                   "UPDATE batch_count SET queued_items=queued_items+?1, processing_items=processing_items+?1"
                   " WHERE batch_seq=?2",
                   "ii", step, d->batch_seq);
    return result;
}

// What a transition keeps beside the counters, where none happens.
static int settle_rest(struct db *db, const struct drift *d, int64_t now_at, struct err *e) {
    return db_run(db, e,
                  "UPDATE batch_job SET"
                  " completed_at=CASE WHEN status='completed' OR status='failed' OR status='cancelled'"
                  "   THEN coalesce(completed_at, ?2) END,"
                  " at_limit=(SELECT coalesce(c.processing_items>=c.concurrency, 0) FROM batch_count c WHERE "
                  "c.batch_seq=seq),"
                  " swept=CASE WHEN (SELECT c.queued_items>0 FROM batch_count c WHERE c.batch_seq=seq) THEN "
                  "0 ELSE swept END"
                  " WHERE seq=?1",
                  "ii", d->batch_seq, now_at);
}

static int repair_batch(struct db *db, const struct drift *d, int64_t now_at, struct err *e) {
    int result = 0;
    if (d->missing)
        result =
            db_run(db, e, "INSERT INTO batch_count (batch_seq, opened) VALUES (?, 1)", "i", d->batch_seq);
    if (!result)
        result = add_counters(db, d, now_at, e);
    if (!result)
        result = turn_state(db, d, e);
    return result ? result : settle_rest(db, d, now_at, e);
}

static int repair_all(struct db *db, const struct drift *d, struct err *e) {
    const int64_t *k = d->kept, *n = d->items;
    int result = 0;
    if (d->missing)
        result = db_run(db, e, "INSERT INTO batch_count (batch_seq, opened) VALUES (0, 1)", "");
    return result ? result
                  : db_run(db, e,
                           "UPDATE batch_count SET queued_items=queued_items+?1, "
                           "processing_items=processing_items+?2,"
                           " successful_items=successful_items+?3, failed_items=failed_items+?4,"
                           " cancelled_items=cancelled_items+?5 WHERE batch_seq=0",
                           "iiiii", n[0] - k[0], n[1] - k[1], n[2] - k[2], n[3] - k[3], n[4] - k[4]);
}

int drift_repair(struct db *db, struct drift *d, struct err *e) {
    int64_t now_at = clock_wall_at();
    int result = d->batch_seq ? repair_batch(db, d, now_at, e) : repair_all(db, d, e);
    if (result)
        return result;
    char *before = as_json(d->status, d->kept), *after = as_json(d->expected, d->items);
    char *data = mem_format("{\"before\":%s,\"after\":%s}", before, after);
    result = queue_log(db, "warn", d->batch_seq ? "batch.repaired" : "totals.repaired", 0, d->batch_seq,
                       d->what, data, e);
    free(before);
    free(after);
    free(data);
    return result;
}

void drift_tell(struct upkeep *run, const struct drift *d, bool fixed) {
    char *before = as_json(d->status, d->kept), *after = as_json(d->expected, d->items);
    upkeep_tell(run, &(struct finding){.kind = d->batch_seq ? "batch" : "totals",
                                       .id = d->batch_seq ? d->id : NULL,
                                       .user_id = d->user_id,
                                       .what = d->what,
                                       .before = before,
                                       .after = after,
                                       .since = d->since,
                                       .fixed = fixed});
    free(before);
    free(after);
}
