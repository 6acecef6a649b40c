// SPDX-License-Identifier: MIT
// Requests: generations that a person asked to be run next, beside the limits of
// concurrency and also while their batch job is paused. A request stands in the
// database, so whoever owns it now or later serves it, once: claiming ends it.
#include "base/clock.h"
#include "queue/queue.h"
#include <string.h>

#define SUSPECT_RUNS_ALONE                                                                                   \
    "what waits was in flight when runners crashed, and runs alone: 'genrun run' runs it when nothing else " \
    "does"

// The batch job can start something: ERR_CONFLICT when not.
static int check_batch(struct db *db, int64_t batch_seq, struct err *e) {
    int result = 0;
    sqlite3_stmt *s =
        db_ask(db, e, "SELECT id, status, stop_reason FROM batch_job WHERE seq=? AND opened_at IS NOT NULL",
               "i", batch_seq);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 0)
        result = err_set(e, ERR_NOT_FOUND, "the batch job is gone: it was deleted meanwhile");
    else if (code == 1 && strcmp(db_text(s, 1), "cancelled") == 0)
        result =
            err_set(e, ERR_CONFLICT, "batch job %s is cancelled: nothing of it runs any more", db_text(s, 0));
    else if (code == 1 && !db_is_null(s, 2))
        result = err_set(e, ERR_CONFLICT, "batch job %s is %s: 'genrun batch retry %s' goes on with it",
                         db_text(s, 0), db_text(s, 2), db_text(s, 0));
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : result;
}

// The first item that waits and was not asked for yet, of models that are open, or of those that are not: one that is
// due, else one that waits for its time. Lanes lead to it, so that a million ended items are not walked past.
static int find_item(struct db *db, int64_t batch_seq, bool open, int64_t *seq, struct err *e) {
    int result = db_integer(
        db, e, seq, 0,
        "SELECT min((SELECT g.seq FROM generation g INDEXED BY generation_ready WHERE g.lane=l.id"
        " AND g.status='queued' AND g.run_after IS NULL AND g.suspect=0"
        " AND NOT EXISTS (SELECT 1 FROM run_request r WHERE r.generation_seq=g.seq) ORDER BY g.seq LIMIT 1))"
        " FROM lane l INDEXED BY lane_batch WHERE l.batch_seq=?1 AND l.batch_seq<>0 AND ?2="
        " NOT EXISTS (SELECT 1 FROM model_state m WHERE m.model_id=l.model_id AND m.state<>'ok')",
        "ii", batch_seq, (int64_t)open);
    if (result || *seq)
        return result;
    return db_integer(
        db, e, seq, 0,
        "SELECT g.seq FROM generation g INDEXED BY generation_delayed"
        " WHERE g.status='queued' AND g.run_after IS NOT NULL AND g.batch_seq=?1 AND g.suspect=0"
        " AND NOT EXISTS (SELECT 1 FROM run_request r WHERE r.generation_seq=g.seq) AND ?2="
        " NOT EXISTS (SELECT 1 FROM model_state m WHERE m.model_id=g.model_id AND m.state<>'ok')"
        " ORDER BY g.run_after LIMIT 1",
        "ii", batch_seq, (int64_t)open);
}

// What was in flight in two crashes is run by nobody beside others: ERR_CONFLICT where only such items wait.
static int check_suspects(struct db *db, int64_t batch_seq, struct err *e) {
    int64_t any = 0;
    int result = db_integer(db, e, &any, 0,
                            "SELECT EXISTS (SELECT 1 FROM generation g INDEXED BY generation_suspect"
                            " WHERE g.suspect=1 AND g.status='queued' AND g.batch_seq=?)",
                            "i", batch_seq);
    return result || !any ? result : err_set(e, ERR_CONFLICT, SUSPECT_RUNS_ALONE);
}

// Nothing is sent to a parked model: ERR_CONFLICT.
static int check_model(struct db *db, int64_t seq, struct err *e) {
    int result = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT m.model_id, m.reason FROM generation g JOIN model_state m USING (model_id)"
               " WHERE g.seq=? AND m.state='parked' AND m.until IS NULL",
               "i", seq);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1)
        result =
            err_set(e, ERR_CONFLICT, "model %s is parked (%s): 'genrun models resume %s' sends to it again",
                    db_text(s, 0), db_text(s, 1), db_text(s, 0));
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : result;
}

static int request(struct db *db, int64_t batch_seq, int64_t *seq, struct err *e) {
    int result = check_batch(db, batch_seq, e);
    if (!result)
        result = find_item(db, batch_seq, true, seq, e);
    if (!result && !*seq)
        result = find_item(db, batch_seq, false, seq, e);
    if (!result)
        result = *seq ? check_model(db, *seq, e) : check_suspects(db, batch_seq, e);
    if (!result && *seq)
        result = db_run(db, e, "INSERT INTO run_request (generation_seq, requested_at) VALUES (?,?)", "ii",
                        *seq, clock_wall_at());
    return result;
}

int queue_request_next(struct db *db, int64_t batch_seq, int64_t *seq, struct err *e) {
    *seq = 0;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    if ((result = request(db, batch_seq, seq, e)) || !*seq) {
        db_rollback(db);
        return result;
    }
    return db_commit(db, e);
}

static int request_one(struct db *db, int64_t seq, bool *asked, struct err *e) {
    int64_t batch_seq = 0;
    bool queued = false, suspect = false;
    sqlite3_stmt *s =
        db_ask(db, e, "SELECT status='queued', suspect, coalesce(batch_seq, 0) FROM generation WHERE seq=?",
               "i", seq);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1) {
        queued = db_int(s, 0) != 0;
        suspect = db_int(s, 1) != 0;
        batch_seq = db_int(s, 2);
    }
    db_done(db, s);
    if (code < 0)
        return ERR_DATABASE;
    if (!queued)
        return 0;
    int result = batch_seq ? check_batch(db, batch_seq, e) : 0;
    if (!result && suspect)
        result = err_set(e, ERR_CONFLICT, SUSPECT_RUNS_ALONE);
    if (!result)
        result = check_model(db, seq, e);
    if (!result)
        result =
            db_run(db, e, "INSERT OR IGNORE INTO run_request (generation_seq, requested_at) VALUES (?,?)",
                   "ii", seq, clock_wall_at());
    *asked = !result;
    return result;
}

int queue_request_one(struct db *db, int64_t seq, bool *asked, struct err *e) {
    *asked = false;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    if ((result = request_one(db, seq, asked, e)) || !*asked) {
        db_rollback(db);
        return result;
    }
    return db_commit(db, e);
}

int queue_request_is_open(struct db *db, int64_t seq, bool *open, struct err *e) {
    int64_t found = 0;
    int result = db_integer(db, e, &found, 0, "SELECT 1 FROM run_request WHERE generation_seq=?", "i", seq);
    *open = found != 0;
    return result;
}

int queue_request_withdraw(struct db *db, int64_t seq, struct err *e) {
    return db_run(db, e, "DELETE FROM run_request WHERE generation_seq=?", "i", seq);
}

int queue_requests(struct db *db, const struct claim_scope *scope, const struct request *after,
                   struct request list[REQUEST_SLICE], size_t *count, struct err *e) {
    int code;
    *count = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT r.generation_seq, r.requested_at, g.status='queued' FROM run_request r"
               " LEFT JOIN generation g ON g.seq=r.generation_seq WHERE (?1=0 OR r.generation_seq=?1)"
               " AND (?2=0 OR g.batch_seq=?2) AND (r.requested_at, r.generation_seq)>(?3, ?4)"
               " ORDER BY r.requested_at, r.generation_seq LIMIT ?5",
               "iiiii", scope->only_generation, scope->only_batch, after->requested_at, after->seq,
               (int64_t)REQUEST_SLICE);
    if (!s)
        return ERR_DATABASE;
    while ((code = db_next(db, s, e)) == 1)
        list[(*count)++] = (struct request){
            .seq = db_int(s, 0), .requested_at = db_int(s, 1), .is_queued = db_int(s, 2) != 0};
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}
