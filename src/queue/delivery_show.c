// SPDX-License-Identifier: MIT
// Deliveries for people: how endpoints fare, which messages there are, and sending them again.
#include "base/clock.h"
#include "base/mem.h"
#include "queue/delivery.h"
#include "queue/rows.h"
#include <stdlib.h>
#include <string.h>

#define SLICE 500

// ---- looking ----

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

int delivery_knows(struct db *db, const char *endpoint, bool *known, struct err *e) {
    int64_t found = 0;
    int result =
        db_integer(db, e, &found, 0,
                   "SELECT EXISTS (SELECT 1 FROM endpoint WHERE name=?1) OR EXISTS (SELECT 1 FROM delivery"
                   " INDEXED BY delivery_event WHERE endpoint=?1)",
                   "t", endpoint);
    *known = found != 0;
    return result;
}

// Each state by its own index, so that a page costs what it shows.
#define OF(state)                                                                                            \
    "SELECT * FROM (SELECT id FROM delivery INDEXED BY delivery_" state                                      \
    " WHERE endpoint=?1 AND status='" state "' AND id<?2 ORDER BY id DESC LIMIT ?3)"
#define AND_OF(state) " UNION ALL " OF(state)
#define LIST(states)                                                                                         \
    "SELECT d.id, d.endpoint, d.event, d.status, d.attempts, CASE WHEN d.status='pending' AND d.held=0"      \
    " THEN d.next_at END AS next_at, d.last_status, d.last_error, d.created_at, d.ended_at, d.message_id,"   \
    " d.event_id AS log_id, g.id AS generation_id, b.id AS batch_job_id, d.held AS \"held?\""                \
    " FROM (" states ") p CROSS JOIN delivery d ON d.id=p.id LEFT JOIN generation g ON"                      \
    " g.seq=d.generation_seq LEFT JOIN batch_job b ON b.seq=d.batch_seq ORDER BY p.id DESC LIMIT ?3"

int delivery_list(struct db *db, const char *endpoint, enum delivery_look look, int64_t after, int limit,
                  queue_each each, void *payload, int64_t *next, struct err *e) {
    static const char *const lists[] = {
        [DELIVERY_ALL] = LIST(OF("pending") AND_OF("delivered") AND_OF("failed") AND_OF("dropped")),
        [DELIVERY_OPEN] = LIST(OF("pending") AND_OF("failed")),
        [DELIVERY_PENDING] = LIST(OF("pending")),
        [DELIVERY_DELIVERED] = LIST(OF("delivered")),
        [DELIVERY_FAILED] = LIST(OF("failed")),
        [DELIVERY_DROPPED] = LIST(OF("dropped")),
    };
    struct rows rows = {0};
    *next = 0;
    // One more than asked for tells whether there is another page.
    sqlite3_stmt *s =
        db_ask(db, e, lists[look], "tii", endpoint, after > 0 ? after : INT64_MAX, (int64_t)limit + 1);
    int result = rows_take(db, s, &rows, e);
    db_done(db, s);
    if (!result && rows.count > (size_t)limit) {
        row_free(rows.list[--rows.count]);
        *next = row_integer(rows.list[rows.count - 1], "id", 0);
    }
    if (!result)
        (void)rows_give(&rows, each, payload);
    rows_free(&rows);
    return result;
}

// ---- sending again ----

// Behind those of its story that are on their way.
#define AGAIN                                                                                                \
    "UPDATE delivery SET status='pending', attempts=0, next_at=?2, ended_at=NULL, last_error=NULL,"          \
    " last_status=NULL, held=(CASE WHEN generation_seq IS NOT NULL THEN EXISTS (SELECT 1 FROM delivery d"    \
    "  WHERE d.endpoint=delivery.endpoint AND d.generation_seq=delivery.generation_seq AND"                  \
    "  d.generation_seq IS NOT NULL AND d.status='pending')"                                                 \
    " WHEN batch_seq IS NOT NULL THEN EXISTS (SELECT 1 FROM delivery d WHERE d.endpoint=delivery.endpoint"   \
    "  AND d.batch_seq=delivery.batch_seq AND d.batch_seq IS NOT NULL AND d.generation_seq IS NULL AND"      \
    "  d.status='pending') ELSE 0 END) WHERE "

static int find(struct db *db, const char *id, int64_t *number, char **endpoint, struct err *e) {
    *number = 0;
    *endpoint = NULL;
    sqlite3_stmt *s =
        strncmp(id, "msg_", 4) == 0
            ? db_ask(db, e, "SELECT id, endpoint FROM delivery WHERE message_id=?", "t", id)
            : db_ask(db, e, "SELECT id, endpoint FROM delivery WHERE id=?", "i", strtoll(id, NULL, 10));
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1) {
        *number = db_int(s, 0);
        *endpoint = mem_copy(db_text(s, 1));
    }
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

static int not_there(const char *id, struct err *e) {
    return err_set(e, ERR_NOT_FOUND,
                   "there is no delivery %.60s: 'genrun webhook deliveries NAME' shows them", id);
}

int delivery_owner(struct db *db, const char *id, char **endpoint, struct err *e) {
    int64_t number = 0;
    int result = find(db, id, &number, endpoint, e);
    return result || number ? result : not_there(id, e);
}

int delivery_redeliver(struct db *db, const char *id, const char *endpoint, struct err *e) {
    int64_t number = 0;
    char *owner = NULL;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = find(db, id, &number, &owner, e);
    if (!result && (!number || strcmp(owner, endpoint) != 0))
        result = not_there(id, e);
    free(owner);
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
