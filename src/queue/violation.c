// SPDX-License-Identifier: MIT
// The promise as a number: rows that are not at an end and that nothing will bring there.
#include "queue/upkeep.h"

// Only with a runner that is up does work have a live owner, whose heartbeat is younger than its timeout; and only then
// was a start that is long overdue forgotten.
#define WITHOUT_OWNER                                                                                        \
    "(SELECT count(*) FROM generation g INDEXED BY generation_processing WHERE g.status='processing'"        \
    " AND (g.runner_seq IS NOT (SELECT seq FROM runners WHERE ?1 AND stopped_at IS NULL ORDER BY seq DESC "  \
    "LIMIT 1)"                                                                                               \
    " OR coalesce((SELECT heartbeat_at FROM generation_live l WHERE l.seq=g.seq), g.started_at)"             \
    " + (SELECT heartbeat_timeout_ms FROM runners WHERE seq=g.runner_seq) < ?2))"
#define OVERDUE                                                                                              \
    "(SELECT count(*) FROM generation INDEXED BY generation_delayed WHERE ?1 AND status='queued'"            \
    " AND run_after IS NOT NULL AND run_after < ?2 - 60000)"
// Rows that could be claimed, in lanes that the claim does not see, or that are blocked without a reason. Walks the
// lanes with such rows by index, whatever their number of rows.
#define HIDDEN                                                                                               \
    "(SELECT coalesce(sum((SELECT count(*) FROM generation g INDEXED BY generation_ready WHERE "             \
    "g.lane=w.lane"                                                                                          \
    "  AND g.status='queued' AND g.run_after IS NULL AND g.suspect=0)), 0)"                                  \
    " FROM walk w LEFT JOIN lane l ON l.id=w.lane LEFT JOIN batch_job b ON b.seq=l.batch_seq"                \
    " WHERE w.lane IS NOT NULL AND (l.id IS NULL OR l.ready=0 OR l.blocked<>coalesce(b.blocked, 0)"          \
    "  OR (l.batch_seq<>0 AND b.seq IS NULL)))"
#define LOST_SUSPECTS                                                                                        \
    "(SELECT count(*) FROM generation g INDEXED BY generation_suspect LEFT JOIN lane l ON l.id=g.lane"       \
    " WHERE g.status='queued' AND g.suspect=1 AND l.id IS NULL)"

int queue_violations(struct db *db, bool runner_is_up, int64_t now_at, int64_t *count, struct err *e) {
    return db_integer(
        db, e, count, 0,
        "WITH RECURSIVE walk(lane) AS (SELECT min(lane) FROM generation INDEXED BY generation_ready"
        " WHERE status='queued' AND run_after IS NULL AND suspect=0 UNION ALL"
        " SELECT (SELECT min(lane) FROM generation INDEXED BY generation_ready WHERE status='queued'"
        "  AND run_after IS NULL AND suspect=0 AND lane>walk.lane) FROM walk WHERE walk.lane IS NOT NULL)"
        " SELECT " WITHOUT_OWNER "+" OVERDUE "+" HIDDEN "+" LOST_SUSPECTS,
        "ii", (int64_t)runner_is_up, now_at);
}
