// SPDX-License-Identifier: MIT
// The job retention: what has had its time goes, oldest first, in short
// transactions. An item goes only with its whole batch job, and no row or log goes
// before every reader of the log has passed it. A run removes at most a tenth of what
// there is, so that a clock that was set wrong does not empty the database. Pages that
// become free are used again; the file does not shrink.
#include "base/clock.h"
#include "base/mem.h"
#include "queue/upkeep.h"
#include <stdio.h>
#include <stdlib.h>

#define WINDOW 4000    // rows looked at by one statement
#define SLICE_ROWS 250 // and removed by one transaction: half of its time
#define SLICE_EVENTS 500
#define CAP_LEAST 10000                  // rows that a run may remove, however few there are
#define THROUGHPUT_MINUTES (2 * 24 * 60) // that the statistics need

enum stage {
    STAGE_SINGLES,
    STAGE_BATCHES,
    STAGE_REFUSED,
    STAGE_LOGS,
    STAGE_TOMBSTONES,
    STAGE_THROUGHPUT,
    STAGE_END
};

struct retention {
    struct upkeep *run;
    enum stage stage;
    bool begun;                                           // the stage's place is set
    int64_t completed_before, failed_before, logs_before; // 0: never
    int64_t passed;                                       // log id that every reader has passed
    int64_t cap;                                          // that may still go in this run
    int64_t after, last;                                  // place of the stage, and its end
    int64_t removed;                                      // by the stage
    int64_t held;                                         // for readers of the log
    // A batch job under way.
    int64_t batch_seq, batch_place, batch_items;
    bool batch_checked;
    char batch_id[ID_SIZE];
    char *batch_user;
    int64_t batch_ended_at;
};

static int64_t before(int64_t now_at, int64_t after_ms) {
    return after_ms > 0 && now_at > after_ms ? now_at - after_ms : 0;
}

struct retention *retention_new(struct upkeep *run, const struct retention_rules *rules) {
    struct retention *r = mem_alloc(1, sizeof *r);
    int64_t now_at = clock_wall_at();
    r->run = run;
    r->completed_before = before(now_at, rules->completed_after_ms);
    r->failed_before = before(now_at, rules->failed_after_ms);
    r->logs_before = before(now_at, rules->logs_after_ms);
    return r;
}

void retention_free(struct retention *r) {
    if (!r)
        return;
    free(r->batch_user);
    free(r);
}

// Ends the transaction of a slice whose one change gave `result`; *changed counts its rows.
static int finish(struct retention *r, int result, int64_t *changed, struct err *e) {
    if (result) {
        db_rollback(r->run->db);
        return result;
    }
    *changed = db_changes(r->run->db);
    return upkeep_commit(r->run, e);
}

static void set_cap(struct retention *r, int64_t rows) {
    r->cap = rows / 10 > CAP_LEAST ? rows / 10 : CAP_LEAST;
}

static int64_t within_cap(const struct retention *r, int64_t rows) {
    return r->cap < rows ? r->cap : rows;
}

// Tells at the end of a stage what it removed. (Committed long since.)
static void tell_removed(struct retention *r, const char *kind, const char *what) {
    if (r->removed > 0) {
        upkeep_tell(r->run, &(struct finding){
                                .kind = kind, .what = what, .count = r->removed, .fixed = !r->run->dry_run});
        r->run->sure_count = r->run->told_count;
    }
    r->removed = 0;
}

// ---- single generations ----

#define OLD_SINGLES                                                                                          \
    "SELECT g.seq FROM generation g NOT INDEXED WHERE g.seq BETWEEN ?1 AND ?1+3999 AND g.batch_seq IS NULL"  \
    " AND ((g.status='completed' AND g.completed_at<?2)"                                                     \
    "  OR ((g.status='failed' OR g.status='cancelled') AND g.completed_at<?3))"
#define PASSED " AND coalesce((SELECT max(id) FROM event WHERE generation_seq=g.seq), 0)<=?4"

// Removes from one window; *full: there may be more in it.
static int remove_singles(struct retention *r, bool *full, struct err *e) {
    struct db *db = r->run->db;
    int64_t old = 0, ready = 0, gone = 0;
    *full = false;
    int result = db_integer(db, e, &old, 0, "SELECT count(*) FROM (" OLD_SINGLES ")", "iii", r->after,
                            r->completed_before, r->failed_before);
    if (!result && old > 0)
        result = db_integer(db, e, &ready, 0, "SELECT count(*) FROM (" OLD_SINGLES PASSED ")", "iiii",
                            r->after, r->completed_before, r->failed_before, r->passed);
    if (result)
        return result;
    if (r->run->dry_run)
        gone = ready < r->cap ? ready : r->cap;
    else if (ready > 0 && !(result = upkeep_transaction(r->run, e)))
        result = finish(r,
                        db_run(db, e, "DELETE FROM generation WHERE seq IN (" OLD_SINGLES PASSED " LIMIT ?5)",
                               "iiiii", r->after, r->completed_before, r->failed_before, r->passed,
                               within_cap(r, SLICE_ROWS)),
                        &gone, e);
    r->removed += gone;
    r->cap -= gone;
    *full = !r->run->dry_run && ready > gone;
    if (!*full)
        r->held += old - ready;
    return result;
}

static int step_singles(struct retention *r, bool *end, struct err *e) {
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS / 2;
    int64_t rows = 0;
    int result = 0;
    if (!r->begun) {
        result = db_integer(r->run->db, e, &r->after, 0, "SELECT min(seq) FROM generation", "");
        if (!result)
            result = db_integer(r->run->db, e, &r->last, -1, "SELECT max(seq) FROM generation", "");
        if (!result)
            result = db_integer(r->run->db, e, &rows, 0,
                                "SELECT queued+processing+completed+failed+cancelled FROM totals", "");
        set_cap(r, rows);
        r->begun = !result;
    }
    bool off = r->completed_before == 0 && r->failed_before == 0;
    while (!result && !off && r->cap > 0 && r->after <= r->last && clock_monotonic_ms() < end_ms) {
        bool full;
        result = remove_singles(r, &full, e);
        if (!full)
            r->after += WINDOW;
    }
    *end = off || r->cap <= 0 || r->after > r->last;
    if (*end || result)
        tell_removed(r, "generation", "single generations that have had their time");
    return result;
}

// ---- batch jobs ----

// Of its items every kind must have had its time.
static int next_batch(struct retention *r, struct err *e) {
    int64_t lesser = r->completed_before < r->failed_before ? r->completed_before : r->failed_before;
    int64_t greater = r->completed_before > r->failed_before ? r->completed_before : r->failed_before;
    sqlite3_stmt *s =
        db_ask(r->run->db, e,
               "SELECT b.seq, b.id, b.user_id, b.completed_at, "
               "c.successful_items+c.failed_items+c.cancelled_items FROM batch_job b"
               " JOIN batch_count c ON c.batch_seq=b.seq WHERE b.seq BETWEEN ?1 AND ?1+3999 AND b.opened_at "
               "IS NOT NULL"
               " AND (b.status='completed' OR b.status='failed' OR b.status='cancelled')"
               " AND c.queued_items+c.processing_items=0 AND (c.successful_items=0 OR b.completed_at<?2)"
               " AND (c.failed_items+c.cancelled_items=0 OR b.completed_at<?3)"
               " AND b.completed_at<CASE WHEN c.successful_items+c.failed_items+c.cancelled_items=0 AND ?4>0 "
               "THEN ?4 ELSE ?5 END"
               " ORDER BY b.seq LIMIT 1",
               "iiiii", r->after, r->completed_before, r->failed_before, lesser, greater);
    int code = s ? db_next(r->run->db, s, e) : -1;
    if (code == 1) {
        r->batch_seq = db_int(s, 0);
        snprintf(r->batch_id, sizeof r->batch_id, "%s", db_text(s, 1));
        r->batch_user = mem_copy(db_text(s, 2));
        r->batch_ended_at = db_int(s, 3);
        r->batch_items = db_int(s, 4);
        r->batch_place = -1;
        r->batch_checked = false;
    }
    db_done(r->run->db, s);
    return code < 0 ? (int)e->code : 0;
}

static void leave_batch(struct retention *r) {
    r->after = r->batch_seq + 1;
    r->batch_seq = 0;
    free(r->batch_user);
    r->batch_user = NULL;
}

// Has every reader of the log passed all that happened to it and its items? A page of items at a time.
static int check_batch(struct retention *r, struct err *e) {
    int64_t newest = 0, count = 0;
    if (r->passed == INT64_MAX) {
        r->batch_checked = true;
        return 0;
    }
    int result = db_integer(r->run->db, e, &newest, 0,
                            "SELECT max(id) FROM event WHERE batch_seq=? AND generation_seq IS NULL", "i",
                            r->batch_seq);
    sqlite3_stmt *s =
        result ? NULL
               : db_ask(r->run->db, e,
                        "SELECT max(item_index), count(*), max((SELECT max(id) FROM event WHERE"
                        " generation_seq=g.seq)) FROM (SELECT seq, item_index FROM generation INDEXED BY"
                        " generation_batch WHERE batch_seq=? AND item_index>? ORDER BY item_index LIMIT ?) g",
                        "iii", r->batch_seq, r->batch_place, (int64_t)WINDOW);
    int code = s ? db_next(r->run->db, s, e) : -1;
    if (code == 1) {
        count = db_int(s, 1);
        r->batch_place = db_int(s, 0);
        newest = db_int(s, 2) > newest ? db_int(s, 2) : newest;
    }
    db_done(r->run->db, s);
    if (code < 0)
        return result ? result : (int)e->code;
    r->batch_checked = count < WINDOW;
    if (newest > r->passed) {
        r->held += r->batch_items;
        leave_batch(r);
    }
    return 0;
}

// A retried item opens it again: then it stays.
static int remove_items(struct retention *r, int64_t *gone, struct err *e) {
    int result = upkeep_transaction(r->run, e);
    return result
               ? result
               : finish(r,
                        db_run(r->run->db, e,
                               "DELETE FROM generation WHERE seq IN (SELECT seq FROM generation INDEXED BY"
                               " generation_batch WHERE batch_seq=?1 AND EXISTS (SELECT 1 FROM batch_count c"
                               " WHERE c.batch_seq=?1 AND c.queued_items+c.processing_items=0) LIMIT ?2)",
                               "ii", r->batch_seq, (int64_t)SLICE_ROWS),
                        gone, e);
}

static int remove_empty(struct retention *r, int64_t *gone, struct err *e) {
    int result = upkeep_transaction(r->run, e);
    return result ? result
                  : finish(r,
                           db_run(r->run->db, e,
                                  "DELETE FROM batch_job WHERE seq=?1 AND NOT EXISTS (SELECT 1 FROM "
                                  "generation INDEXED BY"
                                  " generation_batch WHERE batch_seq=?1)",
                                  "i", r->batch_seq),
                           gone, e);
}

static int remove_batch(struct retention *r, struct err *e) {
    int64_t gone = 0;
    int result = r->run->dry_run ? 0 : remove_items(r, &gone, e);
    if (result || gone > 0)
        return result;
    if (!r->run->dry_run && (result = remove_empty(r, &gone, e)))
        return result;
    if (gone > 0 || r->run->dry_run) {
        upkeep_tell(r->run, &(struct finding){.kind = "batch",
                                              .id = r->batch_id,
                                              .user_id = r->batch_user,
                                              .what = "it has had its time, with all its items",
                                              .since = r->batch_ended_at,
                                              .count = r->batch_items,
                                              .fixed = gone > 0});
        r->run->sure_count = r->run->told_count;
    }
    r->cap -= r->batch_items > 0 ? r->batch_items : 1;
    r->removed += r->batch_items;
    leave_batch(r);
    return 0;
}

static int step_batches(struct retention *r, bool *end, struct err *e) {
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS / 2;
    int result = 0;
    if (!r->begun) {
        r->after = 0;
        result = db_integer(r->run->db, e, &r->last, -1, "SELECT max(seq) FROM batch_job", "");
        r->begun = !result;
    }
    bool off = r->completed_before == 0 && r->failed_before == 0;
    while (!result && !off && r->cap > 0 && r->after <= r->last && clock_monotonic_ms() < end_ms) {
        if (r->batch_seq && r->batch_checked)
            result = remove_batch(r, e);
        else if (r->batch_seq)
            result = check_batch(r, e);
        else if (!(result = next_batch(r, e)) && r->batch_seq == 0)
            r->after += WINDOW;
        // One that is too large for what is left goes first the next time.
        else if (!result && r->removed > 0 && r->batch_items > r->cap)
            r->cap = 0;
    }
    *end = off || r->cap <= 0 || r->after > r->last;
    if (*end)
        r->removed = 0; // told one by one
    return result;
}

// ---- batches of OpenAI's API that never became a batch job ----

#define OLD_REFUSED                                                                                          \
    "SELECT id FROM openai_batch INDEXED BY openai_batch_refused WHERE batch_seq IS NULL"                    \
    " AND coalesce(failed_at, cancelled_at, expired_at)<?1 LIMIT ?2"

static int step_refused(struct retention *r, bool *end, struct err *e) {
    int64_t old = 0, gone = 0;
    int result = 0;
    *end = true;
    if (r->failed_before > 0)
        result = db_integer(r->run->db, e, &old, 0, "SELECT count(*) FROM (" OLD_REFUSED ")", "ii",
                            r->failed_before, within_cap(r, SLICE_ROWS));
    if (result || old == 0) {
        tell_removed(r, "batch", "batches that ended before their file was read");
        return result;
    }
    *end = r->run->dry_run;
    if (r->run->dry_run)
        gone = old;
    else if (!(result = upkeep_transaction(r->run, e)))
        result = finish(r,
                        db_run(r->run->db, e, "DELETE FROM openai_batch WHERE id IN (" OLD_REFUSED ")", "ii",
                               r->failed_before, within_cap(r, SLICE_ROWS)),
                        &gone, e);
    r->removed += gone;
    r->cap -= gone;
    if (*end)
        tell_removed(r, "batch", "batches that ended before their file was read");
    return result;
}

// ---- the log ----

// The newest row stays, and the story of what is not at an end.
#define OLD_EVENTS                                                                                           \
    "SELECT e.id FROM event e WHERE e.id BETWEEN ?1 AND ?1+3999 AND e.id<=?3 AND e.id<?4 AND "               \
    "e.created_at<?2"                                                                                        \
    " AND NOT EXISTS (SELECT 1 FROM generation g WHERE g.seq=e.generation_seq"                               \
    "  AND (g.status='queued' OR g.status='processing'))"                                                    \
    " AND NOT EXISTS (SELECT 1 FROM batch_count c WHERE c.batch_seq=e.batch_seq"                             \
    "  AND c.queued_items+c.processing_items>0)"

static int remove_events(struct retention *r, bool *full, bool *young, struct err *e) {
    struct db *db = r->run->db;
    int64_t old = 0, ready = 0, gone = 0;
    *full = false;
    int result = db_integer(db, e, &old, 0,
                            "SELECT count(*) FROM event WHERE id BETWEEN ?1 AND ?1+3999 AND created_at<?2",
                            "ii", r->after, r->logs_before);
    *young = old == 0;
    if (!result && old > 0)
        result = db_integer(db, e, &ready, 0, "SELECT count(*) FROM (" OLD_EVENTS ")", "iiii", r->after,
                            r->logs_before, r->passed, r->last);
    if (result)
        return result;
    if (r->run->dry_run)
        gone = ready < r->cap ? ready : r->cap;
    else if (ready > 0 && !(result = upkeep_transaction(r->run, e)))
        result = finish(r,
                        db_run(db, e, "DELETE FROM event WHERE id IN (" OLD_EVENTS " LIMIT ?5)", "iiiii",
                               r->after, r->logs_before, r->passed, r->last, within_cap(r, SLICE_EVENTS)),
                        &gone, e);
    r->removed += gone;
    r->cap -= gone;
    *full = !r->run->dry_run && ready > gone;
    return result;
}

static int step_logs(struct retention *r, bool *end, struct err *e) {
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS / 2;
    int result = 0;
    bool young = false;
    if (!r->begun) {
        result = db_integer(r->run->db, e, &r->after, 0, "SELECT min(id) FROM event", "");
        if (!result)
            result = db_integer(r->run->db, e, &r->last, -1, "SELECT max(id) FROM event", "");
        set_cap(r, r->last - r->after);
        r->begun = !result;
    }
    // Rows stand in the order of their times, but for a clock that was set: where a whole window is young, the end is.
    bool off = r->logs_before == 0;
    while (!result && !off && !young && r->cap > 0 && r->after <= r->last && clock_monotonic_ms() < end_ms) {
        bool full;
        result = remove_events(r, &full, &young, e);
        if (!full)
            r->after += WINDOW;
    }
    *end = off || young || r->cap <= 0 || r->after > r->last;
    if (*end || result)
        tell_removed(r, "event", "log rows that have had their time");
    return result;
}

// The names of deleted generations are kept for their log rows: those without any go.
static int step_tombstones(struct retention *r, bool *end, struct err *e) {
    int64_t last = 0, empty = 0, gone = 0;
    *end = true;
    if (r->logs_before == 0)
        return 0;
    int result = db_integer(
        r->run->db, e, &last, 0,
        "SELECT max(seq) FROM (SELECT seq FROM generation_tombstone WHERE seq>=? ORDER BY seq LIMIT 1000)",
        "i", r->after);
    if (result || last == 0)
        return result;
#define EMPTY_STONES                                                                                         \
    "SELECT t.seq FROM generation_tombstone t WHERE t.seq BETWEEN ?1 AND ?2"                                 \
    " AND NOT EXISTS (SELECT 1 FROM event WHERE generation_seq=t.seq)"
    result =
        db_integer(r->run->db, e, &empty, 0, "SELECT count(*) FROM (" EMPTY_STONES ")", "ii", r->after, last);
    if (!result && empty > 0 && !r->run->dry_run && !(result = upkeep_transaction(r->run, e)))
        result =
            finish(r,
                   db_run(r->run->db, e, "DELETE FROM generation_tombstone WHERE seq IN (" EMPTY_STONES ")",
                          "ii", r->after, last),
                   &gone, e);
    r->after = last + 1;
    *end = false;
    return result;
}

static int step_throughput(struct retention *r, bool *end, struct err *e) {
    int64_t now_at = clock_wall_at(), old = 0, gone = 0;
    int64_t minute = now_at / 60000 - THROUGHPUT_MINUTES;
    *end = true;
    if (r->logs_before == 0)
        return 0;
    minute = r->logs_before / 60000 < minute ? r->logs_before / 60000 : minute;
    int result =
        db_integer(r->run->db, e, &old, 0, "SELECT 1 FROM throughput WHERE minute<? LIMIT 1", "i", minute);
    if (!result && old && !r->run->dry_run && !(result = upkeep_transaction(r->run, e)))
        result = finish(r,
                        db_run(r->run->db, e,
                               "DELETE FROM throughput WHERE minute IN (SELECT minute FROM throughput WHERE "
                               "minute<? LIMIT ?)",
                               "ii", minute, (int64_t)SLICE_ROWS),
                        &gone, e);
    *end = gone < SLICE_ROWS;
    return result;
}

static void tell_held(struct retention *r) {
    if (r->held > 0)
        snprintf(r->run->note, sizeof r->run->note,
                 "%lld generation%s for a reader of the log that has not come so far (table cursors)",
                 (long long)r->held, r->held == 1 ? " waits" : "s wait");
}

int retention_step(struct retention *r, bool *more, struct err *e) {
    static int (*const stages[])(struct retention *, bool *, struct err *) = {
        [STAGE_SINGLES] = step_singles,       [STAGE_BATCHES] = step_batches,
        [STAGE_REFUSED] = step_refused,       [STAGE_LOGS] = step_logs,
        [STAGE_TOMBSTONES] = step_tombstones, [STAGE_THROUGHPUT] = step_throughput};
    bool end = false;
    int result = r->stage == STAGE_SINGLES && !r->begun
                     ? db_integer(r->run->db, e, &r->passed, INT64_MAX, "SELECT min(log_id) FROM cursors", "")
                     : 0;
    if (!result)
        result = stages[r->stage](r, &end, e);
    if (!result && end) {
        r->stage++;
        r->begun = false;
        r->after = 0;
    }
    *more = r->stage != STAGE_END && !r->run->ended;
    if (!*more)
        tell_held(r);
    return result;
}
