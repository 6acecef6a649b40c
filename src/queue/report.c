// SPDX-License-Identifier: MIT
// Counts and reports: stats, models, what is left to do, results of a batch.
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/queue.h"
#include "queue/rows.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RESULT_PAGE 64

static int64_t local_midnight(int64_t now_at) {
    time_t seconds = (time_t)(now_at / 1000);
    struct tm day;
    localtime_r(&seconds, &day);
    day.tm_hour = day.tm_min = day.tm_sec = 0;
    day.tm_isdst = -1;
    return (int64_t)mktime(&day) * 1000;
}

int queue_stats(struct db *db, bool runner_is_up, struct row **out, struct err *e) {
    int64_t now_at = clock_wall_at();
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT t.queued, t.processing, t.completed, t.failed, t.cancelled,"
        " (SELECT count(*) FROM stuck_generations) AS stuck,"
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
        "iii", now_at, local_midnight(now_at), (int64_t)runner_is_up);
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
        "SELECT m.model_id AS name, coalesce(s.state,'ok') AS state, s.reason, s.until,"
        " (SELECT count(*) FROM generation g INDEXED BY generation_processing WHERE g.status='processing'"
        "   AND g.model_id=m.model_id) AS running,"
        " (SELECT count(*) FROM lane l JOIN generation g INDEXED BY generation_ready ON g.lane=l.id"
        "   AND g.status='queued' AND g.run_after IS NULL AND g.suspect=0"
        "   WHERE l.model_id=m.model_id AND l.ready=1)"
        "  + (SELECT count(*) FROM generation g INDEXED BY generation_suspect WHERE g.status='queued'"
        "   AND g.suspect=1 AND g.run_after IS NULL AND g.model_id=m.model_id) AS queued"
        " FROM (SELECT DISTINCT model_id FROM lane UNION SELECT model_id FROM model_state) m"
        " LEFT JOIN model_state s ON s.model_id=m.model_id ORDER BY 1",
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

// ---- results ----

// The result's texts stay the row's.
static struct result result_from_row(const struct row *r) {
    size_t length;
    struct result out = {
        .id = row_text(r, "id"),
        .custom_id = row_text(r, "custom_id"),
        .item_index = row_integer(r, "item_index", 0),
        .status = row_text(r, "status"),
        .model_id = row_text(r, "model_id"),
        .prompt = row_text(r, "prompt"),
        .parameters = row_text(r, "parameters"),
        .endpoint = row_text(r, "endpoint"),
        .http_status = (int)row_integer(r, "http_status", 0),
        .request_id = row_text(r, "request_id"),
        .body = row_bytes(r, "body", &length),
        .error_type = row_text(r, "error_type"),
        .error_message = row_text(r, "error_message"),
        .input_tokens = row_integer(r, "input_tokens", -1),
        .output_tokens = row_integer(r, "output_tokens", -1),
        .cost = row_number(r, "cost", -1),
        .finish_reason = row_text(r, "finish_reason"),
        .completed_at = row_integer(r, "completed_at", 0),
    };
    out.body_length = length;
    out.text = row_bytes(r, "content", &length);
    out.text_length = length;
    out.text_mime = row_text(r, "mime");
    return out;
}

#define RESULTS                                                                                              \
    "SELECT g.id, g.seq, i.custom_id, g.item_index, g.status, g.model_id, i.prompt, i.parameters, "          \
    "i.endpoint,"                                                                                            \
    " r.http_status, r.request_id, r.body, CASE WHEN r.seq IS NULL AND g.status='completed' THEN 'stop'"     \
    " ELSE r.finish_reason END AS finish_reason, g.error_type,"                                              \
    " coalesce(g.error_message, g.cancel_reason) AS error_message, g.input_tokens, g.output_tokens, g.cost," \
    " g.completed_at, o.mime, o.content FROM generation g"
#define RESULT_TEXTS                                                                                         \
    " JOIN generation_input i ON i.seq=g.seq LEFT JOIN response r ON r.seq=g.seq LEFT JOIN output o ON "     \
    "o.key=g.seq*1024"
#define RESULT_FITS                                                                                          \
    " AND CASE WHEN ?2 THEN g.status='failed' OR g.status='cancelled' ELSE g.status='completed' END"

// A page from a place in the batch on (?1 the batch, ?3 the place), or one result (?1; ?3 and ?4 are not used).
static const char from_place[] =
    RESULTS " INDEXED BY generation_batch" RESULT_TEXTS " WHERE g.batch_seq=?1" RESULT_FITS
            " AND g.item_index>?3 ORDER BY g.item_index LIMIT ?4";
static const char by_number[] =
    RESULTS RESULT_TEXTS " WHERE g.seq=?1" RESULT_FITS " AND ?3 IS ?3 AND ?4 IS ?4";

static int give_page(struct db *db, const char *sql, int64_t key, bool errors, int64_t place,
                     struct rows *rows, queue_result_each each, void *payload, struct err *e) {
    sqlite3_stmt *s = db_ask(db, e, sql, "iiii", key, (int64_t)errors, place, (int64_t)RESULT_PAGE);
    int result = rows_take(db, s, rows, e);
    db_done(db, s);
    for (size_t i = 0; !result && i < rows->count; i++) {
        struct result r = result_from_row(rows->list[i]);
        result = each(payload, &r, e);
    }
    return result;
}

static int give_by_place(struct db *db, int64_t batch_seq, bool errors, queue_result_each each, void *payload,
                         struct err *e) {
    int64_t place = -1;
    for (bool last = false; !last;) {
        struct rows rows;
        int result = give_page(db, from_place, batch_seq, errors, place, &rows, each, payload, e);
        last = rows.count < RESULT_PAGE;
        if (!last)
            place = row_integer(rows.list[rows.count - 1], "item_index", 0);
        rows_free(&rows);
        if (result)
            return result;
    }
    return 0;
}

// No index has this order (it would cost every item a page), so it is asked for once, as numbers only.
static int give_by_end(struct db *db, int64_t batch_seq, bool errors, queue_result_each each, void *payload,
                       struct err *e) {
    int64_t *order = NULL;
    size_t count = 0, room = 0;
    int code = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT g.seq FROM generation g INDEXED BY generation_batch WHERE g.batch_seq=?1" RESULT_FITS
               " ORDER BY g.completed_at, g.seq",
               "ii", batch_seq, (int64_t)errors);
    while (s && (code = db_next(db, s, e)) == 1) {
        if (count == room)
            order = mem_resize(order, room = room ? room * 2 : 1024, sizeof *order);
        order[count++] = db_int(s, 0);
    }
    db_done(db, s);
    int result = !s || code < 0 ? ERR_DATABASE : 0;
    for (size_t i = 0; !result && i < count; i++) {
        struct rows rows;
        // One that was retried meanwhile is left out.
        result = give_page(db, by_number, order[i], errors, 0, &rows, each, payload, e);
        rows_free(&rows);
    }
    free(order);
    return result;
}

int queue_results(struct db *db, int64_t batch_seq, bool errors, bool by_end, queue_result_each each,
                  void *payload, struct err *e) {
    return (by_end ? give_by_end : give_by_place)(db, batch_seq, errors, each, payload, e);
}
