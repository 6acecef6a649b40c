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

// The failed ones since a time; ?1 to ?4 are user, session, model and error type, ?5 the time.
static void write_window(struct buf *sql, const struct filter *f) {
    buf_text(sql, " FROM generation g INDEXED BY generation_failed WHERE g.status='failed'"
                  " AND g.completed_at>=?5");
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
                                const struct queue_failed_key *before, struct err *e) {
    return db_ask_text(db, e, sql->data, "ttttiiii", f->user_id, f->session_id, f->model_id, f->error_type,
                       f->since, limit, before->at, before->seq);
}

// The newest first before a key. Very many may have ended in the same moment: these are sought by their numbers.
static void write_page(struct buf *sql, const struct filter *f) {
    buf_text(sql, "(SELECT seq, completed_at FROM (SELECT * FROM (SELECT g.seq, g.completed_at");
    write_window(sql, f);
    buf_text(sql, " AND g.completed_at=?7 AND g.seq<?8 ORDER BY g.seq DESC LIMIT ?6)"
                  " UNION ALL SELECT * FROM (SELECT g.seq, g.completed_at");
    write_window(sql, f);
    buf_text(sql, " AND g.completed_at<?7 ORDER BY g.completed_at DESC, g.seq DESC LIMIT ?6))"
                  " ORDER BY completed_at DESC, seq DESC LIMIT ?6)");
}

static void write_failed(struct buf *sql, const struct filter *f) {
    buf_text(sql,
             "SELECT v.id, v.status, v.prompt, v.model_id, v.user_id, p.display_name AS user_display_name,"
             " p.username, p.email, v.session_id, s.name AS session_name, j.name AS project_name,"
             " v.batch_job_id, v.custom_id, v.attempts, v.starts, v.error_type, v.error_message,"
             " v.created_at, v.started_at, v.completed_at, v.dismissed_at, w.seq AS _seq FROM ");
    write_page(sql, f);
    buf_text(sql, " w CROSS JOIN generations v ON v.seq=w.seq LEFT JOIN profiles p ON p.id=v.user_id"
                  " LEFT JOIN sessions s ON s.id=v.session_id");
    buf_text(sql, f->own ? " AND (s.user_id IS NULL OR s.user_id=v.user_id)" : "");
    buf_text(sql, " LEFT JOIN projects j ON j.id=s.project_id");
    buf_text(sql, f->own ? " AND (j.user_id IS NULL OR j.user_id=v.user_id)" : "");
    buf_text(sql, " ORDER BY w.completed_at DESC, w.seq DESC");
}

// Gives up to `most` of the rows; *key is then that of the last one given. *go_on false: the receiver ended it.
static size_t give_some(struct rows *rows, size_t most, queue_each each, void *payload,
                        struct queue_failed_key *key, bool *go_on) {
    size_t given = 0;
    while (*go_on && given < rows->count && given < most) {
        struct row *row = rows->list[given];
        rows->list[given++] = NULL;
        *key = (struct queue_failed_key){row_integer(row, "completed_at", 0), row_integer(row, "_seq", 0)};
        *go_on = each(payload, row) == 0;
    }
    return given;
}

int queue_failures(struct db *db, const struct filter *filter, const struct queue_failed_key *after,
                   queue_each each, void *payload, struct queue_failed_key *next, struct err *e) {
    struct buf sql;
    int64_t left = filter->limit > 0 ? filter->limit : INT64_MAX;
    struct queue_failed_key key = {filter->until ? filter->until : INT64_MAX, 0};
    int result = 0;
    bool more = true, go_on = true;
    if (after && after->seq && after->at < key.at)
        key = *after;
    buf_init(&sql, BUF_UNLIMITED);
    write_failed(&sql, filter);
    // Page by page, so that a long list stays flat in memory; one more row tells whether more follow.
    while (!result && more && go_on && left > 0) {
        struct rows rows;
        int64_t want = left < PAGE_ROWS ? left : PAGE_ROWS;
        sqlite3_stmt *s = ask_window(db, &sql, filter, want + 1, &key, e);
        result = rows_take(db, s, &rows, e);
        db_drop(db, s);
        more = give_some(&rows, (size_t)want, each, payload, &key, &go_on) < rows.count;
        left -= want;
        rows_free(&rows);
    }
    buf_free(&sql);
    *next = !result && more ? key : (struct queue_failed_key){0, 0};
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
    buf_format(&sql, " AND g.completed_at<?7 GROUP BY 1) w%s ORDER BY %s LIMIT ?6", by->people, by->order);
    const struct queue_failed_key until = {f->until ? f->until : INT64_MAX, 0};
    sqlite3_stmt *s = ask_window(db, &sql, f, f->limit > 0 ? f->limit : -1, &until, e);
    int result = rows_take(db, s, &rows, e);
    db_drop(db, s);
    buf_free(&sql);
    if (!result)
        rows_give(&rows, each, payload);
    rows_free(&rows);
    return result;
}

int queue_failures_by(struct db *db, const struct filter *filter, const char *by, queue_each each,
                      void *payload, struct err *e) {
    for (size_t i = 0; i < sizeof groupings / sizeof *groupings; i++)
        if (strcmp(by, groupings[i].name) == 0)
            return give_groups(db, filter, &groupings[i], each, payload, e);
    return err_set(e, ERR_INVALID, "failures cannot be grouped by %s: use model, user, type or hour", by);
}
