// SPDX-License-Identifier: MIT
// Counts and reports: stats, models, what is left to do.
#include "base/clock.h"
#include "queue/queue.h"
#include "queue/rows.h"
#include "queue/upkeep.h"
#include <time.h>

static int64_t local_midnight(int64_t now_at) {
    time_t seconds = (time_t)(now_at / 1000);
    struct tm day;
    localtime_r(&seconds, &day);
    day.tm_hour = day.tm_min = day.tm_sec = 0;
    day.tm_isdst = -1;
    return (int64_t)mktime(&day) * 1000;
}

int queue_stats(struct db *db, bool runner_is_up, struct row **out, struct err *e) {
    int64_t now_at = clock_wall_at(), violations = 0;
    int result = queue_violations(db, runner_is_up, now_at, &violations, e);
    if (result)
        return result;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT t.queued, t.processing, t.completed, t.failed, t.cancelled,"
        " (SELECT count(*) FROM stuck_generations) AS stuck, ?4 AS violations,"
        " (SELECT min(created_at) FROM (SELECT (SELECT g.created_at FROM generation g INDEXED BY "
        "generation_ready WHERE g.lane=l.id"
        "   AND g.status='queued' AND g.run_after IS NULL AND g.suspect=0 ORDER BY g.seq LIMIT 1) AS "
        "created_at"
        "   FROM lane l WHERE l.ready=1)) AS oldest_queued_at,"
        " (SELECT coalesce(sum(completed),0) FROM throughput WHERE minute>=?1/60000-1) AS "
        "completed_last_minute,"
        " (SELECT coalesce(sum(completed),0) FROM throughput WHERE minute>=?1/60000-60) AS "
        "completed_last_hour,"
        " (SELECT coalesce(sum(failed),0) FROM throughput WHERE minute>=?1/60000-60) AS failed_last_hour,"
        " (SELECT coalesce(sum(cost),0.0) FROM throughput WHERE minute>=?2/60000) AS cost_today,"
        " (SELECT pid FROM runners WHERE ?3 AND stopped_at IS NULL ORDER BY seq DESC LIMIT 1) AS runner_pid,"
        " (SELECT started_at FROM runners WHERE ?3 AND stopped_at IS NULL ORDER BY seq DESC LIMIT 1) AS "
        "runner_started_at,"
        " (SELECT json_group_array(json_object('name',model_id,'state',state,'reason',reason,'until',until))"
        "   FROM model_state WHERE state<>'ok') AS parked_models"
        " FROM totals t",
        "iiii", now_at, local_midnight(now_at), (int64_t)runner_is_up, violations);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    *out = code == 1 ? row_copy(s) : NULL;
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_count_ends(struct db *db, int64_t now_at, int64_t completed, int64_t failed, double cost,
                     struct err *e) {
    return db_run(db, e,
                  "INSERT INTO throughput (minute, completed, failed, cost) VALUES (?1,?2,?3,?4) ON CONFLICT "
                  "(minute) DO UPDATE"
                  " SET completed=completed+?2, failed=failed+?3, cost=cost+?4",
                  "iiin", now_at / 60000, completed, failed, cost);
}

int queue_models(struct db *db, queue_each each, void *payload, struct err *e) {
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT m.model_id AS name, coalesce(s.state,'ok') AS state, s.reason, s.since, s.until,"
        " (SELECT count(*) FROM generation g INDEXED BY generation_processing WHERE g.status='processing'"
        "   AND g.model_id=m.model_id) AS running,"
        " (SELECT count(*) FROM lane l JOIN generation g INDEXED BY generation_ready ON g.lane=l.id"
        "   AND g.status='queued' AND g.run_after IS NULL AND g.suspect=0"
        "   WHERE l.model_id=m.model_id AND l.ready=1 AND l.blocked & 8 = 0)"
        "  + (SELECT count(*) FROM generation g INDEXED BY generation_suspect WHERE g.status='queued'"
        "   AND g.suspect=1 AND g.run_after IS NULL AND g.model_id=m.model_id) + coalesce(d.count, 0) AS "
        "queued"
        " FROM (SELECT DISTINCT model_id FROM lane UNION SELECT model_id FROM model_state) m"
        " LEFT JOIN model_state s ON s.model_id=m.model_id"
        " LEFT JOIN (SELECT model_id, count(*) AS count FROM generation INDEXED BY generation_delayed"
        "  WHERE status='queued' AND run_after IS NOT NULL GROUP BY 1) d ON d.model_id=m.model_id ORDER BY 1",
        "");
    return rows_give_all(db, s, each, payload, e);
}

int queue_left(struct db *db, queue_each each, void *payload, struct err *e) {
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT reason, model_id, sum(count) AS count FROM ("
        "SELECT CASE WHEN l.blocked & 1 THEN 'its batch job is ' || (SELECT b.status FROM batch_job b WHERE "
        "b.seq=l.batch_seq)"
        "   || coalesce(': ' || (SELECT b.paused_reason FROM batch_job b WHERE b.seq=l.batch_seq), '')"
        "  WHEN m.state='parked' OR m.state='cooling' THEN 'its model is ' || m.state || ': ' || "
        "coalesce(m.reason,'')"
        "  ELSE 'ready' END AS reason, l.model_id,"
        " sum((SELECT count(*) FROM generation g INDEXED BY generation_ready WHERE g.lane=l.id AND "
        "g.status='queued'"
        "   AND g.run_after IS NULL AND g.suspect=0)) AS count"
        " FROM lane l LEFT JOIN model_state m ON m.model_id=l.model_id WHERE l.ready=1 AND l.blocked & 8 = 0"
        " GROUP BY 1, 2 HAVING count > 0"
        " UNION ALL SELECT 'delayed, the next until ' || strftime('%Y-%m-%dT%H:%M:%SZ', min(run_after)/1000, "
        "'unixepoch'),"
        "  model_id, count(*) FROM generation INDEXED BY generation_delayed WHERE status='queued' AND "
        "run_after IS NOT NULL"
        "  GROUP BY model_id"
        " UNION ALL SELECT CASE WHEN l.blocked & 1 THEN 'its batch job is '"
        "   || (SELECT b.status || coalesce(': ' || b.paused_reason, '') FROM batch_job b WHERE "
        "b.seq=l.batch_seq)"
        "  WHEN m.state='parked' OR m.state='cooling' THEN 'its model is ' || m.state || ': ' || "
        "coalesce(m.reason,'')"
        "  ELSE 'it was in flight in crashes of the runner and waits to run alone' END, g.model_id, count(*)"
        "  FROM generation g INDEXED BY generation_suspect JOIN lane l ON l.id=g.lane"
        "  LEFT JOIN model_state m ON m.model_id=g.model_id"
        "  WHERE g.status='queued' AND g.suspect=1 AND g.run_after IS NULL GROUP BY 1, 2"
        ") GROUP BY 1, 2",
        "");
    return rows_give_all(db, s, each, payload, e);
}

int queue_count_left(struct db *db, int64_t *count, struct err *e) {
    return db_integer(db, e, count, 0, "SELECT queued FROM totals", "");
}

int queue_count_open(struct db *db, int64_t *queued, int64_t *processing, struct err *e) {
    int result = queue_count_left(db, queued, e);
    return result ? result : db_integer(db, e, processing, 0, "SELECT processing FROM totals", "");
}
