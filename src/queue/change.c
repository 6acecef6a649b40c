// SPDX-License-Identifier: MIT
// Changes that people ask for: cancel and retry, one or all that a filter selects.
#include "queue/change.h"
#include "base/clock.h"
#include "queue/queue.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SLICE_ROWS 500

#define CANCEL                                                                                               \
    "UPDATE generation SET status='cancelled', claim_token=NULL, completed_at=?1, run_after=NULL, "          \
    "note=NULL,"                                                                                             \
    " waiting_since=NULL, error_message=NULL, cancel_reason=coalesce(?2,'cancelled') WHERE "
#define RETRY                                                                                                \
    "UPDATE generation SET status='queued', completed_at=NULL, run_after=NULL, note=NULL, "                  \
    "waiting_since=NULL, attempts=0,"                                                                        \
    " suspect=0, crashes=0, crashes_alone=0, error_type=NULL, error_message=NULL, error_detail=NULL, "       \
    "cancel_reason=NULL,"                                                                                    \
    " dismissed_at=NULL WHERE "
#define CANCELLABLE "(status='queued' OR status='processing')"
#define RETRYABLE "(status='failed' OR status='cancelled')"

int queue_log(struct db *db, const char *level, const char *event, int64_t generation_seq, int64_t batch_seq,
              const char *message, const char *data, struct err *e) {
    return db_run(db, e,
                  "INSERT INTO event (created_at, level, event, generation_seq, batch_seq, message, data)"
                  " VALUES (?,?,?,nullif(?,0),nullif(?,0),nullif(?,''),?)",
                  "ittiitt", clock_wall_at(), level, event, generation_seq, batch_seq, message, data);
}

// One row: done, or already so, or the state forbids it.
static int change_one(struct db *db, const char *sql, int64_t seq, const char *reason, const char *verb,
                      const char *as_is, struct err *e) {
    char status[16] = "";
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = db_run(db, e, sql, "iti", clock_wall_at(), reason, seq);
    if (result || db_changes(db) == 1) {
        if (result)
            db_rollback(db);
        return result ? result : db_commit(db, e);
    }
    sqlite3_stmt *s = db_ask(db, e, "SELECT status, id FROM generation WHERE seq=?", "i", seq);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1) {
        snprintf(status, sizeof status, "%s", db_text(s, 0));
        if (strstr(as_is, status) == NULL)
            result =
                err_set(e, ERR_CONFLICT, "generation %s is %s and cannot be %s: genrun show %s tells more",
                        db_text(s, 1), status, verb, db_text(s, 1));
    } else {
        result = code == 0 ? err_set(e, ERR_NOT_FOUND, "the generation is gone: it was deleted meanwhile")
                           : ERR_DATABASE;
    }
    db_done(db, s);
    db_rollback(db);
    return result;
}

int queue_cancel(struct db *db, int64_t seq, const char *reason, struct err *e) {
    return change_one(db, CANCEL "seq=?3 AND " CANCELLABLE, seq, reason, "cancelled", "cancelled", e);
}

int queue_retry(struct db *db, int64_t seq, struct err *e) {
    // ?1 and ?2 are not used by a retry; one shape of parameters serves both.
    return change_one(db, RETRY "seq=?3 AND " RETRYABLE " AND ?1 AND ?2 IS NULL", seq, NULL, "retried",
                      "queued processing", e);
}

void change_where(struct buf *where, const struct filter *f) {
    buf_text(where, "1");
    if (f->batch_seq)
        buf_format(where, " AND g.batch_seq=%lld", (long long)f->batch_seq);
    if (f->user_id)
        buf_text(where, " AND g.user_id=?2");
    if (f->session_id)
        buf_text(where, " AND g.session_id=?3");
    if (f->model_id)
        buf_text(where, " AND g.model_id=?4");
    if (f->error_type)
        buf_text(where, " AND g.error_type=?5");
    if (f->since)
        buf_format(where, " AND g.created_at>=%lld", (long long)f->since);
    if (f->until)
        buf_format(where, " AND g.created_at<%lld", (long long)f->until);
}

// The states as literals, so that the partial indexes serve; the caller checked the name.
static const char *status_literal(const char *status, enum change change) {
    if (!status)
        return change == CHANGE_CANCEL ? "(g.status='queued' OR g.status='processing')"
                                       : "(g.status='failed' OR g.status='cancelled')";
    if (strcmp(status, "queued") == 0)
        return "g.status='queued'";
    if (strcmp(status, "processing") == 0)
        return "g.status='processing'";
    if (strcmp(status, "failed") == 0)
        return "g.status='failed'";
    if (strcmp(status, "cancelled") == 0)
        return "g.status='cancelled'";
    return "0";
}

static bool fits(const char *status, enum change change) {
    if (!status)
        return true;
    return change == CHANGE_CANCEL ? strcmp(status, "queued") == 0 || strcmp(status, "processing") == 0
                                   : strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
}

// Others get in between two slices.
static void gap(void) {
    const struct timespec pause = {0, QUEUE_GAP_MS * 1000000L};
    nanosleep(&pause, NULL);
}

static int change_rows(struct db *db, enum change change, const int64_t *rows, size_t count,
                       const char *reason, int64_t *changed, struct err *e) {
    int64_t now_at = clock_wall_at();
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
    size_t i = 0;
    for (; !result && i < count; i++) {
        result = change == CHANGE_CANCEL
                     ? db_run(db, e, CANCEL "seq=?3 AND " CANCELLABLE, "iti", now_at, reason, rows[i])
                     // An item of a cancelled batch job stays as it is.
                     : db_run(db, e,
                              RETRY "seq=?1 AND " RETRYABLE " AND NOT EXISTS (SELECT 1 FROM batch_job b"
                                    " WHERE b.seq=generation.batch_seq AND b.status='cancelled')",
                              "i", rows[i]);
        if (!result)
            *changed += db_changes(db);
        if (i % 32 == 31 && clock_monotonic_ms() > end_ms && i + 1 < count) {
            // The slice is over: give way and go on in a new transaction.
            if ((result = db_commit(db, e)))
                return result;
            gap();
            if ((result = db_begin(db, 5000, e)))
                return result;
            end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
        }
    }
    if (result) {
        db_rollback(db);
        return result;
    }
    return db_commit(db, e);
}

int queue_change_all(struct db *db, enum change change, const struct filter *filter, const char *reason,
                     bool dry_run, int64_t *changed, struct err *e) {
    struct buf sql;
    int64_t rows[SLICE_ROWS];
    int64_t after = -1;
    int result = 0;
    // A batch job is walked by its own index: no page sorts it or passes over the pages before.
    const char *place = filter->batch_seq ? "g.item_index" : "g.seq";
    *changed = 0;
    if (!fits(filter->status, change))
        return 0;
    buf_init(&sql, 4096);
    buf_format(&sql,
               "SELECT g.seq, %s FROM generation g %s LEFT JOIN batch_job b ON b.seq=g.batch_seq"
               " WHERE %s>?1 AND ?2 IS ?2 AND ?3 IS ?3 AND ?4 IS ?4 AND ?5 IS ?5 AND %s"
               " AND (g.batch_seq IS NULL OR b.opened_at IS NOT NULL) AND ",
               place, filter->batch_seq ? "INDEXED BY generation_batch" : "", place,
               status_literal(filter->status, change));
    change_where(&sql, filter);
    buf_format(&sql, " ORDER BY %s LIMIT ?6", place);
    for (;;) {
        size_t count = 0;
        int more;
        int64_t want = SLICE_ROWS;
        if (filter->limit > 0 && filter->limit - *changed < want)
            want = filter->limit - *changed;
        if (want <= 0)
            break;
        sqlite3_stmt *s = db_ask_text(db, e, buf_borrow(&sql), "itttti", after, filter->user_id,
                                      filter->session_id, filter->model_id, filter->error_type, want);
        if (!s) {
            result = ERR_DATABASE;
            break;
        }
        while ((more = db_next(db, s, e)) == 1) {
            rows[count++] = db_int(s, 0);
            after = db_int(s, 1);
        }
        db_drop(db, s);
        if (more < 0)
            result = ERR_DATABASE;
        if (result || count == 0)
            break;
        if (dry_run)
            *changed += (int64_t)count;
        else if ((result = change_rows(db, change, rows, count, reason, changed, e)))
            break;
        else
            gap();
    }
    buf_free(&sql);
    return result;
}
