// SPDX-License-Identifier: MIT
// Deliveries on their way: which are due, what came of an attempt, what is shown and sent again.
#include "base/clock.h"
#include "base/mem.h"
#include "queue/delivery.h"
#include "queue/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MS (INT64_C(30) * 24 * 3600 * 1000)
#define KEPT_ROWS 20000
#define SLICE 500

void delivery_clear(struct delivery *delivery) {
    free(delivery->body);
    memset(delivery, 0, sizeof *delivery);
}

int delivery_due(struct db *db, const char *endpoint, int64_t now_at, size_t limit, struct delivery *list,
                 size_t *count, struct err *e) {
    int code = 0;
    *count = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT id, created_at, attempts, message_id, body FROM delivery INDEXED BY delivery_due"
               " WHERE endpoint=? AND status='pending' AND held=0 AND next_at<=? ORDER BY next_at, id"
               " LIMIT ?",
               "tii", endpoint, now_at, (int64_t)limit);
    if (!s)
        return (int)e->code;
    while (*count < limit && (code = db_next(db, s, e)) == 1) {
        struct delivery *d = &list[(*count)++];
        *d = (struct delivery){.id = db_int(s, 0),
                               .created_at = db_int(s, 1),
                               .attempts = (int)db_int(s, 2),
                               .body = mem_copy(db_text(s, 4))};
        snprintf(d->message_id, sizeof d->message_id, "%s", db_text(s, 3));
    }
    db_done(db, s);
    for (size_t i = 0; code < 0 && i < *count; i++)
        delivery_clear(&list[i]);
    return code < 0 ? (int)e->code : 0;
}

int delivery_next_at(struct db *db, const char *endpoint, int64_t *at, struct err *e) {
    return db_integer(
        db, e, at, 0,
        "SELECT min(next_at) FROM delivery INDEXED BY delivery_due WHERE endpoint=? AND status='pending'"
        " AND held=0",
        "t", endpoint);
}

int delivery_settle(struct db *db, const int64_t *ids, size_t count, const struct delivery_outcome *outcome,
                    int64_t now_at, struct err *e) {
    int result = 0;
    bool pending = strcmp(outcome->status, "pending") == 0;
    for (size_t i = 0; !result && i < count; i++)
        result = db_run(
            db, e,
            "UPDATE delivery SET status=?2, attempts=attempts+?3, next_at=CASE WHEN ?4 THEN ?5 ELSE next_at"
            " END, last_status=nullif(?6,0), last_error=?7, ended_at=CASE WHEN ?4 THEN NULL ELSE ?8 END"
            " WHERE id=?1 AND status='pending'",
            "itiiiiti", ids[i], outcome->status, (int64_t)outcome->counts, (int64_t)pending, outcome->next_at,
            (int64_t)outcome->http_status, outcome->error, now_at);
    return result;
}

int delivery_expire(struct db *db, int64_t now_at, int64_t *changed, struct err *e) {
    int64_t failed = 0, before = now_at - KEPT_MS;
    int result = db_begin(db, 50, e);
    *changed = 0;
    if (result)
        return result;
    result =
        db_run(db, e,
               "UPDATE delivery SET status='failed', ended_at=?1, last_error='nobody took it for 30 days'"
               " WHERE id IN (SELECT id FROM delivery WHERE status='pending' AND created_at<?2 LIMIT ?3)",
               "iii", now_at, before, (int64_t)SLICE);
    failed = result ? 0 : db_changes(db);
    if (!result)
        result = db_run(
            db, e,
            "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_ended WHERE"
            " ended_at IS NOT NULL AND ended_at<max(?1, coalesce((SELECT ended_at FROM delivery INDEXED BY"
            " delivery_ended WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1 OFFSET ?2), 0))"
            " ORDER BY ended_at LIMIT ?3)",
            "iii", before, (int64_t)KEPT_ROWS, (int64_t)SLICE);
    *changed = result ? 0 : failed + db_changes(db);
    if (result || *changed == 0)
        db_rollback(db);
    return result || *changed == 0 ? result : db_commit(db, e);
}

// ---- for people ----

int delivery_endpoint_row(struct db *db, const char *endpoint, int64_t now_at, struct row **out,
                          struct err *e) {
    *out = NULL;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT n.name, CASE WHEN e.name IS NULL THEN 'new' WHEN e.disabled_at IS NOT NULL THEN 'disabled'"
        " WHEN e.away_since IS NOT NULL THEN 'away' WHEN e.not_before>?2 THEN 'paused' ELSE 'ok' END AS "
        "state,"
        " coalesce(e.disabled_at, e.away_since) AS since_at, e.reason, e.last_at, CASE WHEN e.not_before>?2 "
        "THEN"
        " e.not_before END AS not_before_at,"
        " (SELECT count(*) FROM delivery INDEXED BY delivery_pending WHERE endpoint=?1 AND status='pending') "
        "AS pending,"
        " (SELECT count(*) FROM delivery INDEXED BY delivery_failed WHERE endpoint=?1 AND status='failed') "
        "AS failed,"
        " (SELECT count(*) FROM delivery INDEXED BY delivery_dropped WHERE endpoint=?1 AND status='dropped') "
        "AS dropped,"
        " (SELECT created_at FROM delivery INDEXED BY delivery_pending WHERE endpoint=?1 AND status='pending'"
        "  ORDER BY id LIMIT 1) AS oldest_at,"
        " max(0, coalesce((SELECT max(id) FROM event), 0) - (SELECT log_id FROM cursors WHERE "
        "name='webhook:' || ?1))"
        "  AS behind"
        " FROM (SELECT ?1 AS name) n LEFT JOIN endpoint e ON e.name=n.name",
        "ti", endpoint, now_at);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        *out = row_copy(s);
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

int delivery_list(struct db *db, const char *endpoint, int limit, queue_each each, void *payload,
                  struct err *e) {
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT id, endpoint, event, status, attempts, next_at, last_status, "
                             "last_error, created_at, ended_at,"
                             " message_id FROM (SELECT * FROM (SELECT * FROM delivery INDEXED BY "
                             "delivery_pending WHERE endpoint=?1 AND"
                             " status='pending' ORDER BY id DESC LIMIT ?2) UNION ALL SELECT * FROM (SELECT * "
                             "FROM delivery INDEXED BY"
                             " delivery_failed WHERE endpoint=?1 AND status='failed' ORDER BY id DESC LIMIT "
                             "?2)) ORDER BY id DESC LIMIT ?2",
                             "ti", endpoint, (int64_t)limit);
    return rows_give_all(db, s, each, payload, e);
}

// Behind those of its story that are on their way.
#define AGAIN                                                                                                \
    "UPDATE delivery SET status='pending', attempts=0, next_at=?2, ended_at=NULL, last_error=NULL,"          \
    " last_status=NULL, held=(CASE WHEN generation_seq IS NOT NULL THEN EXISTS (SELECT 1 FROM delivery d"    \
    "  WHERE d.endpoint=delivery.endpoint AND d.generation_seq=delivery.generation_seq AND"                  \
    "  d.generation_seq IS NOT NULL AND d.status='pending')"                                                 \
    " WHEN batch_seq IS NOT NULL THEN EXISTS (SELECT 1 FROM delivery d WHERE d.endpoint=delivery.endpoint"   \
    "  AND d.batch_seq=delivery.batch_seq AND d.batch_seq IS NOT NULL AND d.generation_seq IS NULL AND"      \
    "  d.status='pending') ELSE 0 END) WHERE "

int delivery_redeliver(struct db *db, const char *id, struct err *e) {
    int64_t number = 0;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result =
        strncmp(id, "msg_", 4) == 0
            ? db_integer(db, e, &number, 0, "SELECT id FROM delivery WHERE message_id=?", "t", id)
            : db_integer(db, e, &number, 0, "SELECT id FROM delivery WHERE id=?", "i", strtoll(id, NULL, 10));
    if (!result && !number)
        result = err_set(e, ERR_NOT_FOUND,
                         "there is no delivery %.60s: 'genrun webhook list NAME' shows them", id);
    // One that is on its way goes out now.
    if (!result)
        result = db_run(db, e, "UPDATE delivery SET next_at=?2 WHERE id=?1 AND status='pending'", "ii",
                        number, clock_wall_at());
    if (!result)
        result = db_run(db, e, AGAIN "id=?1 AND status<>'pending'", "ii", number, clock_wall_at());
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

// One after the other, in their order, so that each stands behind those of its story.
static int again_one(struct db *db, const char *endpoint, int64_t *after, bool *found, struct err *e) {
    int64_t id = 0;
    int result =
        db_integer(db, e, &id, 0,
                   "SELECT min(id) FROM (SELECT * FROM (SELECT id FROM delivery INDEXED BY delivery_failed"
                   " WHERE endpoint=?1 AND status='failed' AND id>?2 ORDER BY id LIMIT 1) UNION ALL"
                   " SELECT * FROM (SELECT id FROM delivery INDEXED BY delivery_dropped WHERE endpoint=?1 AND"
                   " status='dropped' AND id>?2 ORDER BY id LIMIT 1))",
                   "ti", endpoint, *after);
    *found = !result && id > 0;
    *after = id;
    return !*found ? result : db_run(db, e, AGAIN "id=?1", "ii", id, clock_wall_at());
}

static int again_slice(struct db *db, const char *endpoint, int64_t *after, int64_t *count, bool *more,
                       struct err *e) {
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    *more = true;
    for (int i = 0; !result && *more && i < SLICE; i++) {
        result = again_one(db, endpoint, after, more, e);
        *count += !result && *more;
    }
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

int delivery_redeliver_failed(struct db *db, const char *endpoint, int64_t *count, struct err *e) {
    struct rows rows = {0};
    *count = 0;
    sqlite3_stmt *s =
        db_ask(db, e, "SELECT name FROM endpoint WHERE ?1 IS NULL OR name=?1 ORDER BY name", "t", endpoint);
    int result = rows_take(db, s, &rows, e);
    db_done(db, s);
    for (size_t i = 0; !result && i < rows.count; i++) {
        int64_t after = 0;
        bool more = true;
        while (!result && more)
            result = again_slice(db, row_text(rows.list[i], "name"), &after, count, &more, e);
    }
    rows_free(&rows);
    return result;
}
