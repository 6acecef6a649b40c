// SPDX-License-Identifier: MIT
// The end of an attempt, its signs of life, and whether it is still its row's.
// Every write is fenced: WHERE seq AND claim_token AND status='processing'.
#include "base/clock.h"
#include "base/mem.h"
#include "queue/queue.h"
#include <string.h>

static int store_outputs(struct db *db, const struct settlement *s, struct err *e) {
    int64_t first = s->seq * QUEUE_OUTPUTS_MAXIMUM;
    int result = 0;
    // What an earlier attempt left gives way to more of the same, and to an end without any output.
    if (!s->first && (s->output_count > 0 || strcmp(s->status, "completed") == 0))
        result = db_run(db, e, "DELETE FROM output WHERE key BETWEEN ? AND ?", "ii", first,
                        first + QUEUE_OUTPUTS_MAXIMUM - 1);
    // What completed without a word has an empty output: lists of completed ones go by the outputs.
    static const struct settle_output nothing = {.mime = "text/plain"};
    bool silent = s->output_count == 0 && strcmp(s->status, "completed") == 0;
    size_t count = silent ? 1 : s->output_count;
    for (size_t i = 0; !result && i < count && i < QUEUE_OUTPUTS_MAXIMUM; i++) {
        const struct settle_output *o = silent ? &nothing : &s->outputs[i];
        result = db_run(
            db, e, "INSERT INTO output (key, mime, content, bytes, partial, created_at) VALUES (?,?,?,?,?,?)",
            "itxiii", first + (int64_t)i, o->mime, o->content ? o->content : "", o->length,
            (int64_t)o->length, (int64_t)o->partial, s->now_at);
    }
    // What ended as usual without HTTP has nothing more to tell.
    bool unusual = s->finish_reason && strcmp(s->finish_reason, "stop") != 0;
    if (!result && (s->http_status || s->body || s->request_id || unusual))
        result = db_run(db, e,
                        "INSERT INTO response (seq, http_status, request_id, finish_reason, body)"
                        " VALUES (?1,nullif(?2,0),?3,?4,?5) ON CONFLICT (seq) DO UPDATE SET"
                        " http_status=nullif(?2,0), request_id=?3, finish_reason=?4, body=?5",
                        "iittx", s->seq, (int64_t)s->http_status, s->request_id, s->finish_reason, s->body,
                        s->body_length);
    return result;
}

static int dropped(struct db *db, const struct settlement *s, struct err *e) {
    int64_t batch_seq = 0;
    int result =
        db_integer(db, e, &batch_seq, 0, "SELECT batch_seq FROM generation WHERE seq=?", "i", s->seq);
    return result ? result
                  : queue_log(db, "warn", "generation.dropped", s->seq, batch_seq,
                              "a result came after the attempt had lost its row; it is not kept", NULL, e);
}

static int complete(struct db *db, const struct settlement *s, struct err *e) {
    sqlite3_stmt *u = db_ask(
        db, e,
        "UPDATE generation SET status='completed', claim_token=NULL, completed_at=?, attempts=attempts+1,"
        " last_step='outputs:store', waiting_since=NULL, input_tokens=nullif(?,-1),"
        " output_tokens=nullif(?,-1), cost=nullif(coalesce(cost,0)+?,0)"
        " WHERE seq=? AND claim_token=? AND status='processing'",
        "iiinit", s->now_at, s->input_tokens, s->output_tokens, s->cost, s->seq, s->token);
    if (!u)
        return ERR_DATABASE;
    int code = db_next(db, u, e);
    db_done(db, u);
    return code < 0 ? (int)e->code : 0;
}

// A statement costs by the size of its triggers' programs, whatever the number of its rows: so many at once.
#define GROUP 16
#define ROW "(?,?,?,?,?)"
#define ROWS4 ROW "," ROW "," ROW "," ROW

static void bind_row(sqlite3_stmt *u, int first, const struct settlement *s) {
    if (!s) {
        sqlite3_bind_null(u, first);
        return;
    }
    sqlite3_bind_int64(u, first, s->seq);
    sqlite3_bind_text(u, first + 1, s->token, -1, SQLITE_STATIC);
    sqlite3_bind_int64(u, first + 2, s->input_tokens);
    sqlite3_bind_int64(u, first + 3, s->output_tokens);
    sqlite3_bind_double(u, first + 4, s->cost);
}

// Completes up to GROUP rows in one statement, each behind its fence; which of them it was, RETURNING tells.
static int complete_group(struct db *db, const struct settlement *list, size_t count, bool *landed,
                          struct err *e) {
    int code;
    sqlite3_stmt *u =
        db_ask(db, e,
               "WITH v (seq, token, input, output, cost) AS (VALUES " ROWS4 "," ROWS4 "," ROWS4 "," ROWS4 ")"
               " UPDATE generation SET status='completed', claim_token=NULL, completed_at=?81,"
               " attempts=attempts+1, last_step='outputs:store', waiting_since=NULL, "
               "input_tokens=nullif(v.input,-1),"
               " output_tokens=nullif(v.output,-1), cost=nullif(coalesce(generation.cost,0)+v.cost,0) FROM v"
               " WHERE generation.seq=v.seq AND claim_token=v.token AND status='processing' RETURNING seq",
               "");
    if (!u)
        return ERR_DATABASE;
    for (size_t i = 0; i < GROUP; i++)
        bind_row(u, (int)(1 + 5 * i), i < count ? &list[i] : NULL);
    sqlite3_bind_int64(u, 81, list[0].now_at);
    for (size_t i = 0; i < count; i++)
        landed[i] = false;
    while ((code = db_next(db, u, e)) == 1)
        for (size_t i = 0; i < count; i++)
            landed[i] |= list[i].seq == db_int(u, 0);
    db_done(db, u);
    return code < 0 ? (int)e->code : 0;
}

static int complete_all(struct db *db, const struct settlement *list, size_t count, bool *landed,
                        struct err *e) {
    int result = 0;
    for (size_t i = 0; !result && i < count; i += GROUP)
        result = complete_group(db, &list[i], count - i < GROUP ? count - i : GROUP, &landed[i], e);
    for (size_t i = 0; !result && i < count; i++)
        result = landed[i] ? store_outputs(db, &list[i], e) : dropped(db, &list[i], e);
    return result;
}

int queue_settle_completed(struct db *db, const struct settlement *list, size_t count, bool *landed,
                           struct err *e) {
    int result = db_run(db, e, "SAVEPOINT settle", "");
    if (result)
        return result;
    if ((result = complete_all(db, list, count, landed, e))) {
        struct err ignored;
        // The transaction may be gone altogether; then there is nothing to go back to.
        if (!db_was_refused(db) || db_run(db, &ignored, "ROLLBACK TO settle", "") != 0)
            return result;
    }
    struct err late;
    int released = db_run(db, &late, "RELEASE settle", "");
    return result ? result : released ? err_set(e, late.code, "%s", late.message) : 0;
}

static int end_otherwise(struct db *db, const struct settlement *s, struct err *e) {
    bool ended = strcmp(s->status, "queued") != 0;
    return db_run(
        db, e,
        "UPDATE generation SET status=?1, claim_token=NULL, completed_at=nullif(?2,0), "
        "run_after=nullif(?3,0),"
        " attempts=attempts+?4, waiting_since=nullif(?5,0), last_step=coalesce(?6,last_step), error_type=?7,"
        " error_message=?8, error_detail=?9, cancel_reason=?10, note=?11,"
        " input_tokens=coalesce(nullif(?12,-1),input_tokens), "
        "output_tokens=coalesce(nullif(?13,-1),output_tokens),"
        " cost=nullif(coalesce(cost,0)+?14,0)"
        " WHERE seq=?15 AND claim_token=?16 AND status='processing'",
        "tiiiittttttiinit", s->status, ended ? s->now_at : (int64_t)0, s->run_after_at, (int64_t)s->spent,
        s->waiting_since, s->last_step, s->error_type, s->error_message, s->error_detail, s->cancel_reason,
        s->note, s->input_tokens, s->output_tokens, s->cost, s->seq, s->token);
}

int queue_settle(struct db *db, const struct settlement *s, bool *landed, struct err *e) {
    int result = strcmp(s->status, "completed") == 0 ? complete(db, s, e) : end_otherwise(db, s, e);
    if (result)
        return result;
    *landed = db_changes(db) == 1;
    return *landed ? store_outputs(db, s, e) : dropped(db, s, e);
}

int queue_store_partial(struct db *db, const struct settlement *s, struct err *e) {
    int64_t open = 0;
    int result = db_integer(
        db, e, &open, 0,
        "SELECT 1 FROM generation WHERE seq=? AND (status='cancelled' OR status='failed' OR status='queued')",
        "i", s->seq);
    return result || !open ? result : store_outputs(db, s, e);
}

int queue_release_lock(struct db *db, const char *user_id, const char *generation_id, struct err *e) {
    // What was taken back and started anew meanwhile holds it for its new attempt.
#define HELD_FOR                                                                                             \
    " FROM locks WHERE name BETWEEN 'account:'||?1||':' AND 'account:'||?1||':~' AND reason=?2 AND NOT"      \
    " EXISTS (SELECT 1 FROM generation h WHERE h.id=?2 AND h.status='processing')"
    int result =
        db_run(db, e,
               "INSERT INTO event (created_at, level, event, generation_seq, batch_seq, attempt, data)"
               " SELECT ?3, 'debug', 'lock.released', g.seq, g.batch_seq, g.starts, json_object('name', name,"
               " 'userId', k.user_id) FROM (SELECT name, user_id" HELD_FOR ") k JOIN generation g ON g.id=?2",
               "tti", user_id, generation_id, clock_wall_at());
    return result ? result : db_run(db, e, "DELETE" HELD_FOR, "tt", user_id, generation_id);
}

int queue_heartbeat(struct db *db, int64_t runner_seq, int64_t now_at, int64_t lock_ms,
                    const struct beat *beats, size_t count, struct err *e) {
    int result = db_run(db, e, "UPDATE runners SET heartbeat_at=? WHERE seq=?", "ii", now_at, runner_seq);
    for (size_t i = 0; !result && i < count; i++) {
        const struct beat *b = &beats[i];
        result = db_run(db, e,
                        "INSERT INTO generation_live (seq, heartbeat_at, progress_at, progress_limit_ms, "
                        "last_step, output_bytes)"
                        " SELECT ?1, ?2, ?3, nullif(?4,0), ?5, ?6 FROM generation"
                        " WHERE seq=?1 AND claim_token=?7 AND status='processing'"
                        " ON CONFLICT (seq) DO UPDATE SET heartbeat_at=excluded.heartbeat_at, "
                        "progress_at=excluded.progress_at,"
                        " progress_limit_ms=excluded.progress_limit_ms, last_step=excluded.last_step,"
                        " output_bytes=excluded.output_bytes",
                        "iiiitit", b->seq, now_at, b->progress_at, b->progress_limit_ms, b->last_step,
                        b->output_bytes, b->token);
    }
    if (!result)
        result = db_run(db, e,
                        "UPDATE locks SET expires_at=? WHERE name GLOB 'account:*'"
                        " AND owner=(SELECT id FROM runners WHERE seq=?)",
                        "ii", now_at + lock_ms, runner_seq);
    return result;
}

int queue_still_owns(struct db *db, int64_t seq, const char *token, int64_t batch_seq, bool *owns,
                     bool *batch_cancelled, char **reason, struct err *e) {
    *reason = NULL;
    *owns = *batch_cancelled = false;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT g.claim_token IS ?2 AND g.status='processing', b.status='cancelled',"
               " CASE WHEN b.status='cancelled' THEN b.cancel_reason ELSE coalesce(g.cancel_reason,"
               " g.error_message, 'it is ' || g.status) END"
               " FROM generation g LEFT JOIN batch_job b ON b.seq=nullif(?3,0) WHERE g.seq=?1",
               "iti", seq, token, batch_seq);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1) {
        *owns = db_int(s, 0) != 0;
        *batch_cancelled = *owns && db_int(s, 1) != 0;
        *reason = mem_copy(db_text(s, 2));
    }
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}
