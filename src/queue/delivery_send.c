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
