// SPDX-License-Identifier: MIT
// Deliveries on their way: which are due, what came of an attempt, how long they are kept.
#include "base/clock.h"
#include "base/mem.h"
#include "queue/delivery.h"
#include "queue/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MS (INT64_C(30) * 24 * 3600 * 1000)
#define LATELY_MS (INT64_C(24) * 3600 * 1000)
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

// Those that are held have no index by time: they are looked through only when there is a sign of it.
int delivery_unwind(struct db *db, const char *endpoint, int64_t now_at, int64_t *changed, struct err *e) {
    int64_t ahead = 0, latest_at = now_at + DELIVERY_PAUSE_MAXIMUM_MS;
    *changed = 0;
    int result = db_integer(
        db, e, &ahead, 0,
        "SELECT coalesce((SELECT next_at FROM delivery INDEXED BY delivery_due WHERE endpoint=?1 AND"
        " status='pending' AND held=0 ORDER BY next_at DESC LIMIT 1)>?2, 0) OR coalesce((SELECT created_at "
        "FROM"
        " delivery INDEXED BY delivery_pending WHERE endpoint=?1 AND status='pending' ORDER BY id DESC LIMIT "
        "1)"
        ">?2, 0) OR EXISTS (SELECT 1 FROM endpoint WHERE name=?1 AND not_before>?2)",
        "ti", endpoint, latest_at);
    if (result || !ahead || (result = db_begin(db, 50, e)))
        return result;
    result = db_run(
        db, e,
        "UPDATE delivery SET next_at=?2 WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_pending"
        " WHERE endpoint=?1 AND status='pending' AND next_at>?3 ORDER BY id LIMIT ?4)",
        "tiii", endpoint, now_at, latest_at, (int64_t)SLICE);
    *changed = result ? 0 : db_changes(db);
    if (!result)
        result = db_run(db, e, "UPDATE endpoint SET not_before=NULL WHERE name=?1 AND not_before>?2", "ti",
                        endpoint, latest_at);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
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

// Of an endpoint that could not be reached for so long, and was tried lately: after a time without power, or with a
// clock that was wrong, it gets its try first. The oldest come first: one look tells whether there is any.
static int expire_pending(struct db *db, const char *endpoint, int64_t now_at, int64_t before,
                          struct err *e) {
    return db_run(
        db, e,
        "UPDATE delivery SET status='failed', ended_at=?1, last_error='nobody took it for 30 days'"
        " WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_pending WHERE endpoint=?2 AND"
        " status='pending' ORDER BY id LIMIT CASE WHEN (SELECT created_at FROM delivery INDEXED BY"
        " delivery_pending WHERE endpoint=?2 AND status='pending' ORDER BY id LIMIT 1)<?3 AND EXISTS (SELECT "
        "1"
        " FROM endpoint WHERE name=?2 AND away_since<?3 AND updated_at BETWEEN ?5 AND ?1) THEN ?4 ELSE 0 END)"
        " AND created_at<?3",
        "itiii", now_at, endpoint, before, (int64_t)SLICE, now_at - LATELY_MS);
}

// Of each state by itself: many that were taken must not push out the few that were not.
#define BEYOND(state)                                                                                        \
    "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_" state                   \
    " WHERE endpoint=?1 AND status='" state "' AND id<=(SELECT id FROM delivery INDEXED BY delivery_" state  \
    " WHERE endpoint=?1 AND status='" state "' ORDER BY id DESC LIMIT 1 OFFSET ?2) ORDER BY id LIMIT ?3)"

static int remove_beyond(struct db *db, const char *endpoint, int64_t *changed, struct err *e) {
    static const char *const states[] = {BEYOND("delivered"), BEYOND("failed"), BEYOND("dropped")};
    int result = 0;
    for (size_t i = 0; !result && i < sizeof states / sizeof *states; i++) {
        result = db_run(db, e, states[i], "tii", endpoint, (int64_t)DELIVERY_KEPT_ROWS, (int64_t)SLICE);
        *changed += result ? 0 : db_changes(db);
    }
    return result;
}

static int expire(struct db *db, int64_t now_at, int64_t *changed, struct err *e) {
    int64_t before = now_at - KEPT_MS;
    struct rows rows = {0};
    sqlite3_stmt *s = db_ask(db, e, "SELECT name FROM endpoint ORDER BY name", "");
    int result = rows_take(db, s, &rows, e);
    db_done(db, s);
    for (size_t i = 0; !result && i < rows.count; i++) {
        const char *endpoint = row_text(rows.list[i], "name");
        result = expire_pending(db, endpoint, now_at, before, e);
        *changed += result ? 0 : db_changes(db);
        if (!result)
            result = remove_beyond(db, endpoint, changed, e);
    }
    rows_free(&rows);
    if (!result)
        result = db_run(db, e,
                        "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery INDEXED BY delivery_ended"
                        " WHERE ended_at IS NOT NULL AND ended_at<?1 ORDER BY ended_at LIMIT ?2)",
                        "ii", before, (int64_t)SLICE);
    *changed += result ? 0 : db_changes(db);
    return result;
}

int delivery_expire(struct db *db, int64_t now_at, int64_t *changed, struct err *e) {
    *changed = 0;
    int result = db_begin(db, 50, e);
    if (result)
        return result;
    result = expire(db, now_at, changed, e);
    if (result || *changed == 0)
        db_rollback(db);
    return result || *changed == 0 ? result : db_commit(db, e);
}
