// SPDX-License-Identifier: MIT
#include "queue/health.h"
#include "base/process.h"

int queue_health(struct db *db, struct health *out, struct err *e) {
    char boot[64];
    *out = (struct health){0};
    process_boot(boot, sizeof boot);
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT t.queued, t.processing, (SELECT count(*) FROM stuck_generations),"
        " max(coalesce((SELECT created_at FROM event ORDER BY id DESC LIMIT 1), 0),"
        "  coalesce((SELECT created_at FROM generation ORDER BY seq DESC LIMIT 1), 0)),"
        " r.pid, r.stopped_at IS NULL, r.boot_id=?1, r.started_at, r.heartbeat_at, r.heartbeat_timeout_ms"
        " FROM totals t LEFT JOIN runners r ON r.seq=(SELECT max(seq) FROM runners)",
        "t", boot);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1) {
        out->queued = db_int(s, 0);
        out->processing = db_int(s, 1);
        out->stuck = db_int(s, 2);
        out->newest_at = db_int(s, 3);
        out->runner_pid = db_int(s, 4);
        out->runner_open = out->runner_pid != 0 && db_int(s, 5) != 0;
        out->runner_is_here = db_int(s, 6) != 0;
        out->started_at = db_int(s, 7);
        out->heartbeat_at = db_int(s, 8);
        out->heartbeat_timeout_ms = db_int(s, 9);
    }
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}
