// SPDX-License-Identifier: MIT
#include "queue/sync.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define ORDERS_KEPT_MS (30LL * 24 * 3600 * 1000)

// ---- how far it is ----

// Of a walk about: numbers, of which some may be free.
static int count_behind(struct db *db, struct sync_state *out, struct err *e) {
    const struct sync_position *at = &out->at;
    int64_t items = 0;
    int result = 0;
    if (at->walk == SYNC_WALK_BATCH_JOBS || at->walk == SYNC_WALK_GENERATIONS)
        result = db_integer(db, e, &items, 0,
                            "SELECT max(0, min((SELECT max(seq) FROM generation)+1, ?)"
                            "-(SELECT min(seq) FROM generation))",
                            "i", at->walk == SYNC_WALK_GENERATIONS ? at->walk_before : INT64_MAX);
    else if (at->batch_seq)
        result =
            db_integer(db, e, &items, 0, "SELECT count(*) FROM generation WHERE batch_seq=? AND item_index>?",
                       "ii", at->batch_seq, at->item_index);
    out->behind = out->newest - at->log_id + items;
    return result;
}

int queue_sync_state(struct db *db, struct sync_state *out, struct err *e) {
    *out = (struct sync_state){0};
    int result = db_integer(db, e, &out->newest, 0, QUEUE_SYNC_NEWEST, "");
    if (!result)
        result = db_integer(db, e, &out->refused, 0, "SELECT count(*) FROM sync_refused", "");
    if (result)
        return result;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT log_id, updated_at, json_extract(data,'$.node'), json_extract(data,'$.databaseId'),"
        " json_extract(data,'$.batchSeq'), json_extract(data,'$.itemIndex'),"
        " json_extract(data,'$.offlineSince'), json_extract(data,'$.reason'),"
        " json_extract(data,'$.deletes'),"
        " json_extract(data,'$.walk'), json_extract(data,'$.walkBefore'), json_extract(data,'$.walked'),"
        " json_extract(data,'$.session'), json_extract(data,'$.failedSince'),"
        " json_extract(data,'$.contactAt'), json_extract(data,'$.lastError'),"
        " json_extract(data,'$.lastErrorAt')"
        " FROM cursors WHERE name='sync'",
        "");
    int step = s ? db_next(db, s, e) : -1;
    if (step > 0 && !db_is_null(s, 2) && !db_is_null(s, 3)) {
        out->begun = true;
        out->at.log_id = db_int(s, 0);
        out->moved_at = db_int(s, 1);
        out->node = mem_copy(db_text(s, 2));
        strncpy(out->database_id, db_text(s, 3), ID_SIZE - 1);
        out->at.batch_seq = db_int(s, 4);
        out->at.item_index = db_int(s, 5);
        out->offline_since = db_int(s, 6);
        out->reason = mem_copy(db_text(s, 7));
        out->deletes = db_int(s, 8) != 0;
        out->at.walk = db_int(s, 9);
        out->at.walk_before = db_int(s, 10);
        out->at.walked = db_int(s, 11);
        strncpy(out->session, db_is_null(s, 12) ? "" : db_text(s, 12), ID_SIZE - 1);
        out->failed_since = db_int(s, 13);
        out->contact_at = db_int(s, 14);
        out->last_error = mem_copy(db_text(s, 15));
        out->last_error_at = db_int(s, 16);
    }
    db_done(db, s);
    return step < 0 ? ERR_DATABASE : count_behind(db, out, e);
}

void queue_sync_state_clear(struct sync_state *state) {
    free(state->node);
    free(state->reason);
    free(state->last_error);
    *state = (struct sync_state){0};
}

bool queue_sync_is_settled(const struct sync_state *state) {
    return state->begun && (state->at.log_id > 0 || state->at.walk != SYNC_WALK_NONE);
}

int queue_sync_runner(struct db *db, int64_t *seq, int64_t *timeout_ms, struct err *e) {
    *seq = *timeout_ms = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT CASE WHEN stopped_at IS NULL THEN seq ELSE 0 END, heartbeat_timeout_ms FROM runners"
               " ORDER BY seq DESC LIMIT 1",
               "");
    int step = s ? db_next(db, s, e) : -1;
    if (step > 0) {
        *seq = db_int(s, 0);
        *timeout_ms = db_int(s, 1);
    }
    db_done(db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

int queue_sync_begin(struct db *db, const char *node, struct err *e) {
    char id[ID_SIZE];
    id_make(id);
    return db_run(db, e,
                  "INSERT INTO cursors (name, log_id, updated_at, data) VALUES ('sync', 0, ?1,"
                  " json_object('node',?2,'databaseId',?3,'batchSeq',0,'itemIndex',0))"
                  " ON CONFLICT (name) DO UPDATE SET data=json_set(coalesce(data,'{}'),'$.node',?2,"
                  "'$.databaseId',coalesce(json_extract(data,'$.databaseId'),?3)) WHERE log_id=0"
                  " AND coalesce(json_extract(data,'$.walk'),0)=0",
                  "itt", clock_wall_at(), node, id);
}

int queue_sync_move(struct db *db, const struct sync_position *to, struct err *e) {
    return db_run(db, e,
                  "UPDATE cursors SET log_id=?1, updated_at=?2,"
                  " data=json_set(data,'$.batchSeq',?3,'$.itemIndex',?4,'$.walk',?5,'$.walkBefore',?6,"
                  "'$.walked',?7) WHERE name='sync'",
                  "iiiiiii", to->log_id, clock_wall_at(), to->batch_seq, to->item_index, to->walk,
                  to->walk_before, to->walked);
}

int queue_sync_set_session(struct db *db, const char *session, struct err *e) {
    return db_run(db, e, "UPDATE cursors SET data=json_set(data,'$.session',?) WHERE name='sync'", "t",
                  session);
}

int queue_sync_restored(struct db *db, int64_t newest_there, struct err *e) {
    int result =
        db_run(db, e, "UPDATE sqlite_sequence SET seq=max(seq,?1) WHERE name='event'", "i", newest_there);
    if (!result)
        result = queue_sync_move(db, &(struct sync_position){0}, e);
    return result ? result
                  : queue_log(db, "warn", "sync.restored", 0, 0,
                              "this database is older than what it brought to Postgres, as one from a "
                              "backup is: all of it is brought there anew",
                              NULL, e);
}

int queue_sync_mirror_restored(struct db *db, struct err *e) {
    int result = queue_sync_move(db, &(struct sync_position){0}, e);
    return result
               ? result
               : queue_log(
                     db, "warn", "sync.restored", 0, 0,
                     "the mirror is older than what was brought there, as one from a backup is: all of it is "
                     "brought there anew",
                     NULL, e);
}

// ---- what is deleted ----

int queue_sync_set_deletes(struct db *db, bool deletes, struct err *e) {
    return db_run(db, e, "UPDATE cursors SET data=json_set(data,'$.deletes',?) WHERE name='sync'", "i",
                  (int64_t)deletes);
}

int queue_sync_dropped(struct db *db, int64_t first, int64_t last, struct err *e) {
    int result =
        db_run(db, e,
               "DELETE FROM sync_refused WHERE (table_name || row_key) IN (SELECT CASE is_batch WHEN 1 THEN"
               " 'batch_jobs' ELSE 'generations' END || seq FROM (SELECT is_batch, seq FROM sync_deleted"
               " WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT 10000))"
               " OR (table_name='outputs' AND CAST(row_key AS INTEGER)/1024 IN (SELECT seq FROM (SELECT"
               " is_batch, seq FROM sync_deleted WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT 10000)"
               " WHERE is_batch=0))",
               "ii", first, last);
    return result ? result
                  : db_run(db, e,
                           "DELETE FROM sync_deleted WHERE place IN (SELECT place FROM sync_deleted"
                           " WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT 10000)",
                           "ii", first, last);
}

// ---- what is refused there ----

int queue_sync_refusals(struct db *db, queue_each each, void *payload, struct err *e) {
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT table_name, row_key, reason, since FROM sync_refused"
                             " ORDER BY table_name, row_key LIMIT 1000",
                             "");
    int step = s ? 1 : -1;
    while (s && (step = db_next(db, s, e)) > 0)
        if (each(payload, row_copy(s)) != 0) {
            step = 0;
            break;
        }
    db_done(db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

static int log_refused(struct db *db, const char *table, const char *key, const char *reason, struct err *e) {
    struct buf data;
    buf_init(&data, 8192);
    buf_char(&data, '{');
    json_write_member_text(&data, "table", table);
    json_write_member_text(&data, "key", key);
    buf_char(&data, '}');
    char *message = mem_format("Postgres does not take a row of %s: %s", table, reason);
    int result = queue_log(db, "error", "sync.refused", 0, 0, message, buf_borrow(&data), e);
    buf_free(&data);
    free(message);
    return result;
}

int queue_sync_refuse(struct db *db, const char *table, const char *key, const char *reason, struct err *e) {
    int result = db_run(db, e,
                        "INSERT INTO sync_refused (table_name, row_key, reason, since) VALUES (?1,?2,?3,?4)"
                        " ON CONFLICT (table_name, row_key) DO UPDATE SET reason=excluded.reason"
                        " WHERE reason<>excluded.reason",
                        "ttti", table, key, reason, clock_wall_at());
    return result || db_changes(db) == 0 ? result : log_refused(db, table, key, reason, e);
}

int queue_sync_taken(struct db *db, const char *table, const char *keys, struct err *e) {
    return db_run(
        db, e,
        "DELETE FROM sync_refused WHERE table_name=?1 AND row_key IN (SELECT value FROM json_each(?2))", "tt",
        table, keys);
}

// ---- away, and back ----

// How it was told last, and whether for the same reason.
static int last_health(struct db *db, const char *reason, enum sync_health *was, bool *same, struct err *e) {
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT CASE WHEN json_extract(data,'$.offlineSince') THEN 1"
                             " WHEN json_extract(data,'$.failedSince') THEN 2 ELSE 0 END,"
                             " json_extract(data,'$.reason') IS ? FROM cursors WHERE name='sync'",
                             "t", reason);
    int step = s ? db_next(db, s, e) : -1;
    *was = step > 0 ? (enum sync_health)db_int(s, 0) : SYNC_WELL;
    *same = step > 0 && db_int(s, 1) != 0;
    db_done(db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

static int log_health(struct db *db, enum sync_health health, enum sync_health was, const char *reason,
                      struct err *e) {
    static const char *const follows = ": what was done meanwhile follows";
    char *message = health != SYNC_WELL   ? mem_copy(reason)
                    : was == SYNC_OFFLINE ? mem_format("Postgres is back%s", follows)
                                          : mem_format("Postgres takes the sync again%s", follows);
    int result = queue_log(db,
                           health == SYNC_WELL      ? "info"
                           : health == SYNC_OFFLINE ? "warn"
                                                    : "error",
                           health == SYNC_OFFLINE   ? "sync.offline"
                           : health == SYNC_FAILING ? "sync.failed"
                           : was == SYNC_OFFLINE    ? "sync.online"
                                                    : "sync.resumed",
                           0, 0, message, NULL, e);
    free(message);
    return result;
}

int queue_sync_health(struct db *db, enum sync_health health, const char *reason, int64_t contact_at,
                      struct err *e) {
    enum sync_health was = SYNC_WELL;
    bool same = false;
    int64_t now_at = clock_wall_at();
    int result = last_health(db, reason, &was, &same, e);
    // Of one that is away the first reason stays: what each try says may vary.
    if (result || (health == was && (same || health != SYNC_FAILING)))
        return result;
    if (health == SYNC_WELL)
        result = db_run(db, e,
                        "UPDATE cursors SET data=json_remove(data,'$.offlineSince','$.failedSince',"
                        "'$.reason','$.contactAt') WHERE name='sync'",
                        "");
    else
        result =
            db_run(db, e,
                   "UPDATE cursors SET data=json_set(json_remove(data,?1),?2,"
                   "coalesce(json_extract(data,?2),?3),'$.reason',?4,'$.contactAt',"
                   "coalesce(nullif(?5,0),json_extract(data,'$.contactAt')),'$.lastError',?4,"
                   "'$.lastErrorAt',?3) WHERE name='sync'",
                   "ttiti", health == SYNC_OFFLINE ? "$.failedSince" : "$.offlineSince",
                   health == SYNC_OFFLINE ? "$.offlineSince" : "$.failedSince", now_at, reason, contact_at);
    return result || db_changes(db) == 0 ? result : log_health(db, health, was, reason, e);
}

// ---- orders ----

// A column that was not typed keeps its value; in the law of the views, as if it were typed here.
#define TYPED(column, value)                                                                                 \
    column "=CASE WHEN json_type(?2,'$." column "') IS NULL THEN " column " ELSE " value " END"
// clang-format off
#define CHANGE_GENERATION                                                                                    \
    "UPDATE generations SET " TYPED("status", "json_extract(?2,'$.status')") ","                             \
    TYPED("error_message", "json_extract(?2,'$.error_message')") ","                                         \
    TYPED("parameters", "json_extract(?2,'$.parameters')") ","                                               \
    TYPED("priority", "json_extract(?2,'$.priority')") ","                                                   \
    TYPED("dismissed_at", "CASE WHEN json_extract(?2,'$.dismissed_at') IS NULL THEN NULL"                    \
        " ELSE coalesce(dismissed_at,?3) END") " WHERE seq=?1"
// clang-format on
#define CHANGE_BATCH                                                                                         \
    "UPDATE batch_jobs SET " TYPED("status", "json_extract(?2,'$.status')") "," TYPED(                       \
        "paused_reason", "json_extract(?2,'$.paused_reason')") " WHERE seq=?1"

static int is_done(struct db *db, const struct sync_order *o, bool *done, struct sync_outcome *out,
                   struct err *e) {
    sqlite3_stmt *s = db_ask(db, e, "SELECT outcome, reason FROM sync_order WHERE order_id=? AND typed_at=?",
                             "ii", o->id, o->typed_at);
    int step = s ? db_next(db, s, e) : -1;
    *done = step > 0;
    if (*done) {
        out->applied = strcmp(db_text(s, 0), "applied") == 0;
        out->reason = mem_copy(db_text(s, 1));
    }
    db_done(db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

// seq 0: it is not there.
static int find_target(struct db *db, const struct sync_order *o, int64_t *seq, struct err *e) {
    struct err why = {0};
    int result = o->is_batch ? queue_find_batch(db, o->target, seq, &why)
                             : queue_find_generation(db, o->target, seq, &why);
    if (result == ERR_NOT_FOUND)
        *seq = result = 0;
    return result ? err_set(e, why.code, "%s", why.message) : 0;
}

static int carry_out(struct db *db, const struct sync_order *o, int64_t seq, struct err *e) {
    int64_t begun = 0;
    int result = db_integer(db, e, &begun, 0,
                            o->is_batch ? "SELECT 1 FROM batch_jobs WHERE seq=?"
                                        : "SELECT 1 FROM generations WHERE seq=?",
                            "i", seq);
    if (!result && !begun)
        return err_set(e, ERR_NOT_FOUND, "it is not there any more");
    if (!result && o->is_batch)
        result = db_run(db, e, CHANGE_BATCH, "it", seq, o->change);
    else if (!result)
        result = db_run(db, e, CHANGE_GENERATION, "iti", seq, o->change, clock_wall_at());
    return result;
}

static int log_order(struct db *db, const struct sync_order *o, int64_t seq, const struct sync_outcome *out,
                     struct err *e) {
    struct buf data;
    buf_init(&data, BUF_UNLIMITED);
    buf_char(&data, '{');
    json_write_member_integer(&data, "order", o->id);
    json_write_member_text(&data, "by", o->by);
    if (!seq)
        json_write_member_text(&data, "target", o->target);
    buf_char(&data, '}');
    char *message = out->applied ? mem_format("typed in Postgres by %s", o->by)
                                 : mem_format("typed in Postgres by %s, and refused: %s", o->by, out->reason);
    int result =
        queue_log(db, out->applied ? "info" : "warn", out->applied ? "order.applied" : "order.refused",
                  o->is_batch ? 0 : seq, o->is_batch ? seq : 0, message, buf_borrow(&data), e);
    free(message);
    buf_free(&data);
    return result;
}

static int note(struct db *db, const struct sync_order *o, const struct sync_outcome *out, struct err *e) {
    int64_t now_at = clock_wall_at();
    int result = db_run(
        db, e, "INSERT INTO sync_order (order_id, typed_at, outcome, reason, ended_at) VALUES (?,?,?,?,?)",
        "iitti", o->id, o->typed_at, out->applied ? "applied" : "refused", out->reason, now_at);
    return result ? result
                  : db_run(db, e, "DELETE FROM sync_order WHERE ended_at<?", "i", now_at - ORDERS_KEPT_MS);
}

// Tries it in a part of the transaction. A failure of the database is one of the whole; all else is a refusal.
static int try_order(struct db *db, const struct sync_order *o, int64_t seq, struct sync_outcome *out,
                     struct err *e) {
    struct err why = {0};
    int result = db_begin(db, 0, e);
    if (result)
        return result;
    result = carry_out(db, o, seq, &why);
    bool refused = result && (result != ERR_DATABASE || db_was_refused(db));
    if (!result)
        return (result = db_commit(db, e)) ? result : (out->applied = true, 0);
    db_rollback(db);
    if (!refused)
        return err_set(e, why.code, "%s", why.message);
    out->reason = mem_copy(why.message);
    return 0;
}

int queue_sync_order(struct db *db, const struct sync_order *o, struct sync_outcome *out, struct err *e) {
    bool done = false;
    int64_t seq = 0;
    *out = (struct sync_outcome){0};
    int result = is_done(db, o, &done, out, e);
    if (!result)
        result = find_target(db, o, &seq, e);
    if (result)
        return result;
    out->gone = !seq && !out->applied;
    if (done)
        return 0;
    if (out->gone)
        out->reason = mem_copy("it is not there any more: it was removed from the box");
    else
        result = try_order(db, o, seq, out, e);
    if (!result)
        result = note(db, o, out, e);
    return result ? result : log_order(db, o, seq, out, e);
}
