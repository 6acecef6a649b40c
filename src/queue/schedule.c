// SPDX-License-Identifier: MIT
// What becomes due, and what must be swept away, in slices inside the tick.
#include "base/mem.h"
#include "base/process.h"
#include "queue/queue.h"
#include <stdlib.h>
#include <string.h>

#define PROMOTE_ROWS 500
#define SWEEP_AFTER_MS 1000 // a person's next statement may still fail the rows with a text of its own

int queue_promote_due(struct db *db, int64_t now_at, int64_t *next_at, int64_t *promoted, struct err *e) {
    int result = db_run(
        db, e,
        "UPDATE generation SET run_after=NULL WHERE seq IN (SELECT seq FROM generation"
        " INDEXED BY generation_delayed WHERE status='queued' AND run_after IS NOT NULL AND run_after<=?"
        " ORDER BY run_after LIMIT ?)",
        "ii", now_at, (int64_t)PROMOTE_ROWS);
    *promoted = result ? 0 : db_changes(db);
    if (result)
        return result;
    return db_integer(db, e, next_at, 0,
                      "SELECT run_after FROM generation INDEXED BY generation_delayed WHERE status='queued'"
                      " AND run_after IS NOT NULL ORDER BY run_after LIMIT 1",
                      "");
}

int queue_shift_delays(struct db *db, int64_t delta_ms, struct err *e) {
    int result = db_run(
        db, e,
        "UPDATE generation SET run_after=max(1, run_after+?) WHERE status='queued' AND run_after IS NOT NULL",
        "i", delta_ms);
    // Without an index, but a clock is seldom set.
    if (!result)
        result = db_run(db, e,
                        "UPDATE generation SET waiting_since=max(1, waiting_since+?) WHERE status='queued'"
                        " AND waiting_since IS NOT NULL",
                        "i", delta_ms);
    if (!result)
        result = db_run(db, e, "UPDATE endpoint SET not_before=not_before+? WHERE not_before IS NOT NULL",
                        "i", delta_ms);
    return result ? result
                  : db_run(db, e, "UPDATE delivery SET next_at=max(1, next_at+?) WHERE status='pending'", "i",
                           delta_ms);
}

#define CANCEL_SET                                                                                           \
    "UPDATE generation SET status='cancelled', completed_at=?1, run_after=NULL, note=NULL, "                 \
    "waiting_since=NULL,"                                                                                    \
    " cancel_reason=?2 WHERE seq IN ("

// The queued items of one batch: first by its lanes, which hold only what waits, then the few delayed ones.
static int cancel_waiting(struct db *db, int64_t batch_seq, const char *reason, int64_t now_at, int limit,
                          int64_t *cancelled, struct err *e) {
    int result = db_run(
        db, e,
        CANCEL_SET "SELECT g.seq FROM lane l JOIN generation g INDEXED BY generation_ready ON g.lane=l.id"
                   " AND g.status='queued' AND g.run_after IS NULL AND g.suspect=0"
                   " WHERE l.batch_seq=?3 AND l.batch_seq<>0 LIMIT ?4)",
        "itii", now_at, reason, batch_seq, (int64_t)limit);
    *cancelled = result ? 0 : db_changes(db);
    if (result || *cancelled > 0)
        return result;
    result =
        db_run(db, e,
               CANCEL_SET
               "SELECT seq FROM generation INDEXED BY generation_batch WHERE batch_seq=?3 AND status='queued'"
               " LIMIT ?4)",
               "itii", now_at, reason, batch_seq, (int64_t)limit);
    *cancelled = result ? 0 : db_changes(db);
    return result;
}

static int sweep_ended_batch(struct db *db, int64_t now_at, int limit, bool *more, struct err *e) {
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT b.seq, coalesce(b.stop_reason, b.cancel_reason, 'its batch job was cancelled'),"
        " c.queued_items, b.status='cancelled' AND coalesce(b.completed_at,0) BETWEEN ?1 AND ?2 AS young"
        " FROM batch_job b INDEXED BY batch_job_sweep JOIN batch_count c ON c.batch_seq=b.seq"
        " WHERE b.swept=0 AND (b.status='cancelled' OR b.stop_reason IS NOT NULL)"
        " ORDER BY young, b.seq LIMIT 1",
        "ii", now_at - SWEEP_AFTER_MS + 1, now_at);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    int64_t seq = code == 1 ? db_int(s, 0) : 0;
    bool empty = code == 1 && db_int(s, 2) == 0;
    bool young = code == 1 && db_int(s, 3) != 0;
    char *reason = code == 1 ? mem_copy(db_text(s, 1)) : NULL;
    db_done(db, s);
    int result = code < 0 ? ERR_DATABASE : 0;
    if (seq)
        *more = true;
    if (empty) {
        result = db_run(db, e, "UPDATE batch_job SET swept=1 WHERE seq=?", "i", seq);
    } else if (seq && !young) {
        int64_t cancelled;
        result = cancel_waiting(db, seq, reason, now_at, limit, &cancelled, e);
    }
    free(reason);
    return result;
}

int queue_has_unopened(struct db *db, bool *has, struct err *e) {
    int64_t one = 0;
    int result = db_integer(
        db, e, &one, 0,
        "SELECT 1 FROM batch_job INDEXED BY batch_job_unopened WHERE opened_at IS NULL LIMIT 1", "");
    *has = one != 0;
    return result;
}

int queue_remove_unopened(struct db *db, int64_t now_at, int limit, bool *more, struct err *e) {
    int64_t dead = 0;
    int code;
    *more = false;
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT seq, writer, coalesce(last_activity_at, created_at)"
                             " FROM batch_job INDEXED BY batch_job_unopened JOIN batch_count ON "
                             "batch_seq=seq WHERE opened_at IS NULL",
                             "");
    if (!s)
        return ERR_DATABASE;
    while (!dead && (code = db_next(db, s, e)) == 1)
        if (db_is_null(s, 1) || !process_may_live(db_text(s, 1), now_at - db_int(s, 2)))
            dead = db_int(s, 0);
    db_done(db, s);
    if (!dead)
        return code < 0 ? ERR_DATABASE : 0;
    *more = true;
    int result =
        db_run(db, e,
               "DELETE FROM generation WHERE seq IN (SELECT seq FROM generation INDEXED BY generation_batch"
               " WHERE batch_seq=? LIMIT ?)",
               "ii", dead, (int64_t)limit);
    if (!result && db_changes(db) == 0)
        result = db_run(db, e, "DELETE FROM batch_job WHERE seq=? AND opened_at IS NULL", "i", dead);
    return result;
}

int queue_sweep(struct db *db, int64_t now_at, int limit, bool *more, struct err *e) {
    bool more_unopened = false;
    *more = false;
    int result = sweep_ended_batch(db, now_at, limit, more, e);
    if (!result)
        result = queue_remove_unopened(db, now_at, limit, &more_unopened, e);
    *more |= more_unopened;
    return result;
}

int queue_fail_overdue(struct db *db, const char *model_id, int64_t since_at, int64_t now_at,
                       int64_t max_wait_ms, const char *reason, int limit, int64_t *failed, struct err *e) {
    // One that was accepted after the model closed waits since then. What waits for something else (a paused
    // batch job, its own time) is not judged.
    int64_t latest = now_at - max_wait_ms;
    if (since_at > latest)
        return 0;
    int result = db_run(
        db, e,
        "UPDATE generation SET status='failed', completed_at=?1, note=NULL, waiting_since=NULL,"
        " error_type='DeadlineError', error_message=?2,"
        " error_detail=json_object('action','fail','model',model_id,'attempt',starts,"
        "'stack','waited for model '||model_id,'waitedFor',"
        "(SELECT m.error_type FROM model_state m WHERE m.model_id=generation.model_id))"
        " WHERE seq IN (SELECT g.seq FROM lane l JOIN generation g INDEXED BY generation_ready ON g.lane=l.id"
        " AND g.status='queued' AND g.run_after IS NULL AND g.suspect=0"
        " WHERE l.model_id=?3 AND l.ready=1 AND l.blocked & 27 = 0 AND coalesce(g.waiting_since, "
        "g.created_at)<=?4"
        " UNION ALL SELECT g.seq FROM generation g INDEXED BY generation_suspect WHERE g.status='queued' AND "
        "g.suspect=1"
        " AND g.run_after IS NULL AND g.model_id=?3 AND coalesce(g.waiting_since, g.created_at)<=?4 LIMIT "
        "?5)",
        "ittii", now_at, reason, model_id, latest, (int64_t)limit);
    *failed += result ? 0 : db_changes(db);
    return result;
}
