// SPDX-License-Identifier: MIT
// Webhooks as rows: the reader of the log, and what is known of endpoints.
#include "queue/delivery.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_ROWS 512
#define WAIT_MS 50    // of the loop, for the writer lock
#define DROP_ROWS 200 // in one transaction: the loop waits for it
#define DISABLED "the endpoint is disabled"

void delivery_event_clear(struct delivery_event *event) {
    free(event->level);
    free(event->event);
    free(event->message);
    free(event->data);
    memset(event, 0, sizeof *event);
}

// ---- the log ----

int delivery_scan(struct db *db, int64_t *position, bool (*wants)(void *payload, const char *event),
                  void *payload, struct delivery_event list[DELIVERY_PAGE], size_t *count, bool *more,
                  struct err *e) {
    int code = 0, seen = 0;
    *count = 0;
    *more = false;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT id, event, created_at, level, generation_seq, batch_seq, attempt, message, data"
               " FROM event WHERE id>? ORDER BY id LIMIT ?",
               "ii", *position, (int64_t)SCAN_ROWS);
    if (!s)
        return (int)e->code;
    while (*count < DELIVERY_PAGE && (code = db_next(db, s, e)) == 1) {
        seen++;
        *position = db_int(s, 0);
        if (!wants(payload, db_text(s, 1)))
            continue;
        list[(*count)++] = (struct delivery_event){.id = db_int(s, 0),
                                                   .event = mem_copy(db_text(s, 1)),
                                                   .created_at = db_int(s, 2),
                                                   .level = mem_copy(db_text(s, 3)),
                                                   .generation_seq = db_int(s, 4),
                                                   .batch_seq = db_int(s, 5),
                                                   .attempt = db_int(s, 6),
                                                   .message = mem_copy(db_text(s, 7)),
                                                   .data = mem_copy(db_text(s, 8))};
    }
    db_done(db, s);
    *more = seen == SCAN_ROWS || *count == DELIVERY_PAGE;
    for (size_t i = 0; code < 0 && i < *count; i++)
        delivery_event_clear(&list[i]);
    return code < 0 ? (int)e->code : 0;
}

static int one_row(struct db *db, sqlite3_stmt *s, struct row **out, struct err *e) {
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        *out = row_copy(s);
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

// The batch of OpenAI's API that an event of no batch job names: it ended before it became one. Freed by the caller;
// NULL: none.
static char *named_batch(const struct delivery_event *event) {
    cJSON *data = NULL;
    struct err ignored;
    if (event->batch_seq || !event->data || strncmp(event->event, "batch.", 6) != 0 ||
        json_parse(event->data, strlen(event->data), &data, &ignored) != 0)
        return NULL;
    char *id = mem_copy(json_text(data, "openaiBatchId", NULL));
    cJSON_Delete(data);
    return id;
}

static int named_subject(struct db *db, const struct delivery_event *event, struct row **out, struct err *e) {
    char *id = named_batch(event);
    int result = id ? one_row(db,
                              db_ask(db, e,
                                     "SELECT id, status, user_id, endpoint, completion_window, created_at"
                                     " FROM openai_batches WHERE id=?",
                                     "t", id),
                              out, e)
                    : 0;
    free(id);
    return result;
}

int delivery_subject(struct db *db, const struct delivery_event *event, struct row **out, struct err *e) {
    *out = NULL;
    if (event->generation_seq)
        return one_row(
            db,
            db_ask(
                db, e,
                "SELECT id, status, CASE WHEN length(CAST(prompt AS BLOB))<=4000 THEN prompt END AS prompt,"
                " model_id, CASE WHEN length(CAST(parameters AS BLOB))<=8000 THEN parameters END AS "
                "parameters,"
                " user_id, session_id, batch_job_id, custom_id, topic, tier, type, template_id, client_id, "
                "priority,"
                " attempts, starts, error_type, substr(error_message, 1, 2000) AS error_message, last_step,"
                " created_at, started_at, completed_at, dismissed_at, input_tokens, output_tokens, cost,"
                " (SELECT count(*) FROM output o WHERE o.key BETWEEN seq*1024 AND seq*1024+1023) AS "
                "output_count"
                " FROM generations WHERE seq=?",
                "i", event->generation_seq),
            out, e);
    if (event->batch_seq)
        return one_row(
            db, db_ask(db, e, "SELECT " ROWS_BATCH " FROM batch_jobs WHERE seq=?", "i", event->batch_seq),
            out, e);
    return named_subject(db, event, out, e);
}

int delivery_has_model(struct db *db, int64_t batch_seq, char *const *models, bool *has, struct err *e) {
    int64_t found = 0;
    int result = 0;
    for (size_t i = 0; !result && !found && models[i]; i++)
        result = db_integer(db, e, &found, 0,
                            "SELECT 1 FROM lane INDEXED BY lane_batch WHERE batch_seq=? AND batch_seq<>0 AND "
                            "model_id=? LIMIT 1",
                            "it", batch_seq, models[i]);
    *has = found != 0;
    return result;
}

int delivery_openai(struct db *db, const struct delivery_event *event, char id[48], char status[16],
                    struct err *e) {
    char *named = named_batch(event);
    id[0] = status[0] = '\0';
    if (!event->batch_seq && !named)
        return 0;
    sqlite3_stmt *s = named ? db_ask(db, e, "SELECT id, status FROM openai_batches WHERE id=?", "t", named)
                            : db_ask(db, e, "SELECT id, status FROM openai_batches WHERE batch_seq=?", "i",
                                     event->batch_seq);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1) {
        snprintf(id, 48, "%s", db_text(s, 0));
        snprintf(status, 16, "%s", db_text(s, 1));
    }
    db_done(db, s);
    free(named);
    return code < 0 ? (int)e->code : 0;
}

static int write_cursor(struct db *db, const char *endpoint, int64_t position, int64_t now_at,
                        struct err *e) {
    return db_run(
        db, e,
        "INSERT INTO cursors (name, log_id, updated_at) VALUES ('webhook:' || ?1, ?2, ?3) ON CONFLICT (name)"
        " DO UPDATE SET log_id=max(log_id, excluded.log_id), updated_at=excluded.updated_at",
        "tii", endpoint, position, now_at);
}

// Held while an earlier one of the same story is pending.
static int insert(struct db *db, const char *endpoint, const struct delivery_new *d, int64_t next_at,
                  int64_t now_at, struct err *e) {
    char id[DELIVERY_ID_SIZE] = "msg_";
    id_random_hex(id + 4, 16);
    return db_run(
        db, e,
        "INSERT INTO delivery (endpoint, event_id, event, generation_seq, batch_seq, message_id, body,"
        " next_at, created_at, held) VALUES (?1,?2,?3,nullif(?4,0),nullif(?5,0),?6,?7,?8,?9,"
        " CASE WHEN ?4<>0 THEN EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_generation WHERE "
        "endpoint=?1"
        "  AND generation_seq=?4 AND generation_seq IS NOT NULL AND status='pending')"
        " WHEN ?5<>0 THEN EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_batch WHERE endpoint=?1"
        "  AND batch_seq=?5 AND batch_seq IS NOT NULL AND generation_seq IS NULL AND status='pending')"
        " ELSE 0 END) ON CONFLICT (endpoint, event_id) DO NOTHING",
        "titiittii", endpoint, d->event_id, d->type, d->generation_seq, d->batch_seq, id, d->body, next_at,
        now_at);
}

int delivery_store(struct db *db, const char *endpoint, const struct delivery_new *list, size_t count,
                   int64_t position, int64_t next_at, int64_t now_at, struct err *e) {
    int result = db_begin(db, WAIT_MS, e);
    if (result)
        return result;
    for (size_t i = 0; !result && i < count; i++)
        result = insert(db, endpoint, &list[i], next_at, now_at, e);
    if (!result)
        result = write_cursor(db, endpoint, position, now_at, e);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

// ---- endpoints ----

int delivery_look(struct db *db, const char *endpoint, struct delivery_endpoint *out, struct err *e) {
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT disabled_at, away_since, not_before, coalesce((SELECT log_id FROM cursors"
               " WHERE name='webhook:' || ?1), -1), (SELECT count(*) FROM (SELECT 1 FROM delivery"
               " INDEXED BY delivery_pending WHERE endpoint=?1 AND status='pending' LIMIT ?2))"
               " FROM endpoint WHERE name=?1",
               "ti", endpoint, (int64_t)DELIVERY_MANY + 1);
    int code = s ? db_next(db, s, e) : -1;
    *out = (struct delivery_endpoint){.position = -1};
    if (code == 1)
        *out = (struct delivery_endpoint){.disabled_at = db_int(s, 0),
                                          .away_since = db_int(s, 1),
                                          .not_before = db_int(s, 2),
                                          .position = db_int(s, 3),
                                          .pending = db_int(s, 4)};
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

int delivery_count(struct db *db, const char *endpoint, int64_t *pending, struct err *e) {
    return db_integer(db, e, pending, 0,
                      "SELECT count(*) FROM (SELECT 1 FROM delivery INDEXED BY delivery_pending WHERE "
                      "endpoint=?1 AND status='pending' LIMIT ?2)",
                      "ti", endpoint, (int64_t)DELIVERY_PENDING_MAXIMUM + 1);
}

static int begin_endpoint(struct db *db, const char *endpoint, const char *digest, int64_t now_at,
                          struct err *e) {
    int64_t newest = 0;
    int result =
        db_run(db, e,
               "INSERT INTO endpoint (name, url_digest, updated_at) VALUES (?1,?2,?3) ON CONFLICT (name) DO"
               " UPDATE SET url_digest=excluded.url_digest, disabled_at=NULL, reason=NULL, away_since=NULL,"
               " not_before=NULL, updated_at=excluded.updated_at WHERE url_digest<>excluded.url_digest",
               "tti", endpoint, digest, now_at);
    if (!result)
        result = db_integer(db, e, &newest, 0, "SELECT max(id) FROM event", "");
    return result ? result
                  : db_run(db, e,
                           "INSERT INTO cursors (name, log_id, updated_at) VALUES ('webhook:' || ?1, ?2, ?3)"
                           " ON CONFLICT (name) DO NOTHING",
                           "tii", endpoint, newest, now_at);
}

int delivery_open(struct db *db, const char *endpoint, const char *url_digest, int64_t now_at,
                  struct delivery_endpoint *out, struct err *e) {
    int64_t same = 0;
    int result = db_integer(db, e, &same, 0, "SELECT 1 FROM endpoint WHERE name=? AND url_digest=?", "tt",
                            endpoint, url_digest);
    if (!result)
        result = delivery_look(db, endpoint, out, e);
    if (result || (same && out->position >= 0))
        return result;
    if ((result = db_begin(db, WAIT_MS, e)))
        return result;
    result = begin_endpoint(db, endpoint, url_digest, now_at, e);
    if (result)
        db_rollback(db);
    if (result || (result = db_commit(db, e)))
        return result;
    return delivery_look(db, endpoint, out, e);
}

// The oldest.
static int drop_pending(struct db *db, const char *endpoint, const char *why, int64_t now_at, struct err *e) {
    return db_run(db, e,
                  "UPDATE delivery SET status='dropped', ended_at=?2, last_error=coalesce(last_error, ?3)"
                  " WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_pending WHERE endpoint=?1"
                  " AND status='pending' ORDER BY id LIMIT ?4)",
                  "titi", endpoint, now_at, why, (int64_t)DROP_ROWS);
}

int delivery_drop(struct db *db, const char *endpoint, int64_t now_at, int64_t *dropped, struct err *e) {
    *dropped = 0;
    int result = db_begin(db, WAIT_MS, e);
    if (result)
        return result;
    result = drop_pending(db, endpoint, DISABLED, now_at, e);
    if (result) {
        db_rollback(db);
        return result;
    }
    *dropped = db_changes(db);
    return db_commit(db, e);
}

// Those that wait are dropped first, the endpoint goes with the last.
static int forget(struct db *db, const char *endpoint, int64_t now_at, bool *more, struct err *e) {
    struct buf message;
    int result = db_begin(db, WAIT_MS, e);
    if (result)
        return result;
    buf_init(&message, BUF_UNLIMITED);
    buf_format(&message, "webhook %s is no longer configured: what waited for it is dropped", endpoint);
    result = db_run(db, e, "DELETE FROM cursors WHERE name='webhook:' || ?", "t", endpoint);
    if (!result)
        result = drop_pending(db, endpoint, "the endpoint is no longer configured", now_at, e);
    *more = !result && db_changes(db) == DROP_ROWS;
    if (!result && !*more)
        result = db_run(db, e, "DELETE FROM endpoint WHERE name=?", "t", endpoint);
    if (!result && !*more)
        result = queue_log(db, "warn", "webhook.removed", 0, 0, buf_borrow(&message), NULL, e);
    buf_free(&message);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

int delivery_forget_others(struct db *db, const char *const *names, size_t count, int64_t now_at, bool *more,
                           struct err *e) {
    struct rows rows = {0};
    *more = false;
    sqlite3_stmt *s = db_ask(db, e, "SELECT name FROM endpoint ORDER BY name", "");
    int result = rows_take(db, s, &rows, e);
    db_done(db, s);
    for (size_t i = 0; !result && i < rows.count; i++) {
        const char *name = row_text(rows.list[i], "name");
        bool known = false, rest = false;
        for (size_t k = 0; k < count; k++)
            known = known || strcmp(names[k], name) == 0;
        if (!known)
            result = forget(db, name, now_at, &rest, e);
        *more = *more || rest;
    }
    rows_free(&rows);
    return result;
}

// Disabled it stays, whatever comes of those that were on their way.
int delivery_endpoint_set(struct db *db, const char *endpoint, const struct delivery_state *state,
                          int64_t now_at, struct err *e) {
    int result = db_run(
        db, e,
        "UPDATE endpoint SET disabled_at=coalesce(nullif(?2,0), disabled_at), away_since=nullif(?3,0),"
        " not_before=nullif(?4,0), reason=CASE WHEN ?2=0 AND disabled_at IS NOT NULL THEN reason ELSE ?5 END,"
        " last_at=CASE WHEN ?6 THEN ?7 ELSE last_at END, updated_at=?7 WHERE name=?1",
        "tiiitii", endpoint, state->disabled_at, state->away_since, state->not_before, state->reason,
        (int64_t)state->took, now_at);
    return result || !state->disabled_at ? result : drop_pending(db, endpoint, DISABLED, now_at, e);
}

int delivery_enable(struct db *db, const char *endpoint, bool *was_disabled, struct err *e) {
    int64_t found = 0;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = db_integer(db, e, &found, 0, "SELECT 1 FROM endpoint WHERE name=? AND disabled_at IS NOT NULL",
                        "t", endpoint);
    *was_disabled = found != 0;
    if (!result)
        result = db_run(db, e,
                        "UPDATE endpoint SET disabled_at=NULL, reason=NULL, away_since=NULL, not_before=NULL,"
                        " updated_at=?2 WHERE name=?1",
                        "ti", endpoint, clock_wall_at());
    if (!result && found)
        result = queue_log(db, "info", "webhook.enabled", 0, 0, endpoint, NULL, e);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}
