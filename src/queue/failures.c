// SPDX-License-Identifier: MIT
// What failed and what is stuck, for people.
#include "base/clock.h"
#include "queue/queue.h"
#include "queue/rows.h"
#include <string.h>

#define PAGE_ROWS 256

// ---- stuck ----

#define STUCK_COLUMNS                                                                                        \
    "id, status, prompt_preview, model_id, user_id, session_id, batch_job_id, created_at, started_at,"       \
    " age_minutes, error_message, output_count, last_step, last_heartbeat, last_progress, why"
#define STUCK_FITS                                                                                           \
    " (?1 IS NULL OR user_id=?1) AND (?2 IS NULL OR session_id=?2) AND (?3 IS NULL OR model_id=?3)"          \
    " AND (?4=0 OR batch_job_id=(SELECT b.id FROM batch_job b WHERE b.seq=?4))"

int queue_stuck(struct db *db, const struct filter *filter, int64_t slow_after_ms, queue_each each,
                void *payload, struct err *e) {
    int64_t now_at = clock_wall_at();
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT " STUCK_COLUMNS ", 0 AS \"slow?\" FROM stuck_generations WHERE" STUCK_FITS
        " UNION ALL SELECT id, status, substr(prompt,1,50), model_id, user_id, session_id, batch_job_id,"
        " created_at, started_at, (?5-created_at)/60000, error_message,"
        " (SELECT count(*) FROM output o WHERE o.key BETWEEN g.seq*1024 AND g.seq*1024+1023), last_step,"
        " last_heartbeat, last_progress, 'slow: running for '||((?5-started_at)/1000)||' s', 1"
        " FROM generations g WHERE status='processing' AND dismissed_at IS NULL AND started_at<?6"
        " AND id NOT IN (SELECT id FROM stuck_generations) AND" STUCK_FITS
        " ORDER BY 17, started_at, id LIMIT ?7",
        "tttiiii", filter->user_id, filter->session_id, filter->model_id, filter->batch_seq, now_at,
        slow_after_ms >= 0 ? now_at - slow_after_ms : INT64_MIN,
        filter->limit > 0 ? (int64_t)filter->limit : (int64_t)-1);
    return rows_give_all(db, s, each, payload, e);
}

// ---- failures ----

// The failed ones of a time, newest first; ?1 to ?4 are user, session, model and error type, ?5 and ?6 the time.
static void write_window(struct buf *sql, const struct filter *f) {
    buf_text(sql, " FROM generation g INDEXED BY generation_failed WHERE g.status='failed'"
                  " AND g.completed_at>=?5 AND g.completed_at<?6");
    if (f->dismissed < 0)
        buf_text(sql, " AND g.dismissed_at IS NULL");
    if (f->user_id)
        buf_text(sql, " AND g.user_id=?1");
    if (f->session_id)
        buf_text(sql, " AND g.session_id=?2");
    if (f->model_id)
        buf_text(sql, " AND g.model_id=?3");
    if (f->error_type)
        buf_text(sql, " AND g.error_type=?4");
    if (f->batch_seq)
        buf_format(sql, " AND g.batch_seq=%lld", (long long)f->batch_seq);
}

static sqlite3_stmt *ask_window(struct db *db, const struct buf *sql, const struct filter *f, int64_t limit,
                                int64_t before_at, int64_t before_seq, struct err *e) {
    return db_ask_text(db, e, sql->data, "ttttiiiii", f->user_id, f->session_id, f->model_id, f->error_type,
                       f->since, f->until ? f->until : INT64_MAX, limit, before_at, before_seq);
}

// Page by page, so that a long list stays flat in memory.
static int give_failed(struct db *db, const struct filter *f, queue_each each, void *payload, struct err *e) {
    struct buf sql;
    int64_t left = f->limit > 0 ? f->limit : INT64_MAX, at = INT64_MAX, seq = INT64_MAX;
    int result = 0;
    bool go_on = true;
    buf_init(&sql, BUF_UNLIMITED);
    buf_text(&sql,
             "SELECT v.id, v.status, v.prompt, v.model_id, v.user_id, p.display_name AS user_display_name,"
             " p.username, p.email, v.session_id, s.name AS session_name, j.name AS project_name,"
             " v.batch_job_id, v.custom_id, v.attempts, v.starts, v.error_type, v.error_message,"
             " v.created_at, v.started_at, v.completed_at, v.dismissed_at, w.seq AS _seq"
             " FROM (SELECT g.seq, g.completed_at");
    write_window(&sql, f);
    buf_text(&sql,
             " AND (g.completed_at, g.seq) < (?8, ?9) ORDER BY g.completed_at DESC, g.seq DESC LIMIT ?7) w"
             " CROSS JOIN generations v ON v.seq=w.seq LEFT JOIN profiles p ON p.id=v.user_id"
             " LEFT JOIN sessions s ON s.id=v.session_id");
    buf_text(&sql, f->own ? " AND (s.user_id IS NULL OR s.user_id=v.user_id)" : "");
    buf_text(&sql, " LEFT JOIN projects j ON j.id=s.project_id");
    buf_text(&sql, f->own ? " AND (j.user_id IS NULL OR j.user_id=v.user_id)" : "");
    buf_text(&sql, " ORDER BY w.completed_at DESC, w.seq DESC");
    while (!result && go_on && left > 0) {
        struct rows rows;
        int64_t want = left < PAGE_ROWS ? left : PAGE_ROWS;
        sqlite3_stmt *s = ask_window(db, &sql, f, want, at, seq, e);
        result = rows_take(db, s, &rows, e);
        db_drop(db, s);
        go_on = (int64_t)rows.count == want;
        if (rows.count > 0) {
            at = row_integer(rows.list[rows.count - 1], "completed_at", 0);
            seq = row_integer(rows.list[rows.count - 1], "_seq", 0);
        }
        left -= (int64_t)rows.count;
        go_on = rows_give(&rows, each, payload) && go_on;
        rows_free(&rows);
    }
    buf_free(&sql);
    return result;
}

static const struct grouping {
    const char *name;
    const char *columns; // of the groups
    const char *people;  // joined to them
    const char *key;
    const char *order;
} groupings[] = {
    {"model", "w.key AS model_id, failure_count, affected_users", "", "g.model_id",
     "failure_count DESC, w.key"},
    {"user",
     "w.key AS user_id, p.display_name AS user_display_name, p.username, p.email, failure_count,"
     " affected_models",
     " LEFT JOIN profiles p ON p.id=w.key", "g.user_id", "failure_count DESC, w.key"},
    {"type", "w.key AS error_type, failure_count, affected_users, affected_models", "", "g.error_type",
     "failure_count DESC, w.key"},
    {"hour", "w.key*3600000 AS hour_at, failure_count, affected_users, affected_models", "",
     "g.completed_at/3600000", "w.key DESC"},
};

static int give_groups(struct db *db, const struct filter *f, const struct grouping *by, queue_each each,
                       void *payload, struct err *e) {
    struct buf sql;
    struct rows rows;
    buf_init(&sql, BUF_UNLIMITED);
    buf_format(&sql,
               "SELECT %s, latest_failure FROM (SELECT %s AS key, count(*) AS failure_count,"
               " count(DISTINCT g.user_id) AS affected_users, count(DISTINCT g.model_id) AS affected_models,"
               " max(g.completed_at) AS latest_failure",
               by->columns, by->key);
    write_window(&sql, f);
    buf_format(&sql, " GROUP BY 1) w%s ORDER BY %s LIMIT ?7", by->people, by->order);
    sqlite3_stmt *s = ask_window(db, &sql, f, f->limit > 0 ? f->limit : -1, 0, 0, e);
    int result = rows_take(db, s, &rows, e);
    db_drop(db, s);
    buf_free(&sql);
    if (!result)
        rows_give(&rows, each, payload);
    rows_free(&rows);
    return result;
}

int queue_failures(struct db *db, const struct filter *filter, const char *by, queue_each each, void *payload,
                   struct err *e) {
    if (!by)
        return give_failed(db, filter, each, payload, e);
    for (size_t i = 0; i < sizeof groupings / sizeof *groupings; i++)
        if (strcmp(by, groupings[i].name) == 0)
            return give_groups(db, filter, &groupings[i], each, payload, e);
    return err_set(e, ERR_INVALID, "failures cannot be grouped by %s: use model, user, type or hour", by);
}
