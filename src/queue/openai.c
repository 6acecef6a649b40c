// SPDX-License-Identifier: MIT
// Batches of OpenAI's API as rows: made, refused, cancelled, and what the end of
// their window brings. Once its file was read a batch is a batch job, and what
// happens to that happens to it (schema/0003_http.sql).
#include "queue/openai.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DASH(i) ((i) == 8 || (i) == 13 || (i) == 18 || (i) == 23)
#define BATCH_PREFIX "batch_"
#define CANCELLED_REASON "This request was not completed before its batch was cancelled."

void openai_id_make(const char *prefix, char out[OPENAI_ID_SIZE]) {
    char id[ID_SIZE];
    id_make(id);
    size_t at = (size_t)snprintf(out, OPENAI_ID_SIZE, "%s", prefix);
    for (const char *c = id; *c && at < OPENAI_ID_SIZE - 1; c++)
        if (*c != '-')
            out[at++] = *c;
    out[at] = 0;
}

void openai_job_id(const char *batch_id, char out[ID_SIZE]) {
    const char *digit = batch_id + strlen(BATCH_PREFIX);
    for (size_t i = 0; i < ID_SIZE - 1; i++)
        out[i] = DASH(i) ? '-' : *digit ? *digit++ : '0';
    out[ID_SIZE - 1] = 0;
}

// ---- making one ----

#define SAME                                                                                                 \
    "input_file_id=?2 AND endpoint=?3 AND completion_window=?4 AND metadata IS ?5"                           \
    " AND output_expires_after IS nullif(?6, 0)"

// The batch that was made with this key; ERR_CONFLICT when it was for something else.
static int find_by_key(struct db *db, const struct openai_spec *spec, char id[OPENAI_ID_SIZE],
                       struct err *e) {
    if (!spec->idempotency_key)
        return 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT id, " SAME " FROM openai_batch INDEXED BY openai_batch_key"
               " WHERE coalesce(user_id,'')=coalesce(?1,'') AND idempotency_key=?7",
               "tttttit", spec->user_id, spec->input_file_id, spec->endpoint, spec->completion_window,
               spec->metadata, spec->output_expires_after, spec->idempotency_key);
    int code = s ? db_next(db, s, e) : -1;
    int result = code < 0 ? ERR_DATABASE : 0;
    if (code == 1 && db_int(s, 1))
        snprintf(id, OPENAI_ID_SIZE, "%s", db_text(s, 0));
    else if (code == 1)
        result = err_set(e, ERR_CONFLICT,
                         "The idempotency key was used for batch %s with other parameters: use another key",
                         db_text(s, 0));
    db_done(db, s);
    return result;
}

// The batch that a client which sends its request again has had already, without having heard of it.
static int find_again(struct db *db, const struct openai_spec *spec, int64_t now_at, char id[OPENAI_ID_SIZE],
                      struct err *e) {
    if (id[0] || spec->idempotency_key || spec->again_within_ms <= 0)
        return 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT id FROM openai_batch INDEXED BY openai_batch_file WHERE " SAME
               " AND user_id IS ?1 AND asked_by=?7 AND created_at>=?8 AND idempotency_key IS NULL"
               " ORDER BY id DESC LIMIT 1",
               "tttttiti", spec->user_id, spec->input_file_id, spec->endpoint, spec->completion_window,
               spec->metadata, spec->output_expires_after, spec->asked_by, now_at - spec->again_within_ms);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        snprintf(id, OPENAI_ID_SIZE, "%s", db_text(s, 0));
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

static void write_problem(struct buf *out, const char *code, const char *message, const char *param) {
    buf_text(out, "[{");
    json_write_member_text(out, "code", code);
    json_write_member_text(out, "message", message);
    json_write_member_text(out, "param", param);
    json_write_member_raw(out, "line", NULL);
    buf_text(out, "}]");
}

// Why its file cannot be had: a mem-allocated JSON array, and the reason; NULL when it can.
static int check_file(struct db *db, const struct openai_spec *spec, char **errors, char **reason,
                      struct err *e) {
    struct row *row = NULL;
    struct buf out;
    const char *code = NULL;
    *errors = *reason = NULL;
    int result = queue_file_get(db, spec->user_id, spec->input_file_id, &row, e);
    if (result == ERR_NOT_FOUND || (!result && row_text(row, "_batch_id"))) {
        code = "invalid_request";
        *reason = mem_format("Cannot find file %s, or organization %s does not have access to it.",
                             spec->input_file_id, spec->user_id ? spec->user_id : "genrun");
    } else if (!result && strcmp(row_text(row, "purpose"), "batch") != 0) {
        code = "invalid_file_purpose";
        *reason = mem_format("File %s has the purpose '%s': a batch needs one with the purpose 'batch'.",
                             spec->input_file_id, row_text(row, "purpose"));
    }
    row_free(row);
    if (!code)
        return result;
    buf_init(&out, BUF_UNLIMITED);
    write_problem(&out, code, *reason, "file_id");
    *errors = buf_take(&out);
    return 0;
}

// Of one that has no batch job, which tells of its ends by itself.
static int log_end(struct db *db, const char *level, const char *event, const char *id, const char *message,
                   struct err *e) {
    struct buf data;
    buf_init(&data, BUF_UNLIMITED);
    buf_char(&data, '{');
    json_write_member_text(&data, "openaiBatchId", id);
    buf_char(&data, '}');
    int result = queue_log(db, level, event, 0, 0, message, buf_borrow(&data), e);
    buf_free(&data);
    return result;
}

static int insert(struct db *db, const struct openai_spec *spec, int64_t now_at, const char *id,
                  struct err *e) {
    char *errors, *reason;
    int result = check_file(db, spec, &errors, &reason, e);
    if (!result)
        result =
            db_run(db, e,
                   "INSERT INTO openai_batch (id, user_id, asked_by, input_file_id, endpoint,"
                   " completion_window, metadata, output_expires_after, idempotency_key, created_at,"
                   " expires_at, errors, failed_at)"
                   " VALUES (?1,?2,?3,?4,?5,?6,?7,nullif(?8,0),?9,?10,nullif(?11,0),?12,"
                   "CASE WHEN ?12 IS NOT NULL THEN ?10 END)",
                   "tttttttitiit", id, spec->user_id, spec->asked_by, spec->input_file_id, spec->endpoint,
                   spec->completion_window, spec->metadata, spec->output_expires_after, spec->idempotency_key,
                   now_at, spec->window_ms > 0 ? now_at + spec->window_ms : 0, errors);
    if (!result && reason)
        result = log_end(db, "error", "batch.refused", id, reason, e);
    free(errors);
    free(reason);
    return result;
}

int queue_openai_create(struct db *db, const struct openai_spec *spec, char id[OPENAI_ID_SIZE], bool *created,
                        struct err *e) {
    int64_t now_at = clock_wall_at();
    id[0] = 0;
    *created = false;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = find_by_key(db, spec, id, e);
    if (!result)
        result = find_again(db, spec, now_at, id, e);
    if (!result && !id[0]) {
        *created = true;
        openai_id_make(BATCH_PREFIX, id);
        result = insert(db, spec, now_at, id, e);
    }
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

// ---- looking ----

int queue_openai_get(struct db *db, const char *user, const char *id, struct row **out, struct err *e) {
    *out = NULL;
    sqlite3_stmt *s = db_ask(db, e, "SELECT * FROM openai_batches WHERE id=?1 AND (?2 IS NULL OR user_id=?2)",
                             "tt", id, user);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        *out = row_copy(s);
    db_done(db, s);
    return code < 0    ? ERR_DATABASE
           : code == 0 ? err_set(e, ERR_NOT_FOUND, "No batch found with id '%s'.", id)
                       : 0;
}

int queue_openai_list(struct db *db, const char *user, const char *after, int64_t limit, queue_each each,
                      void *payload, bool *more, struct err *e) {
    struct rows rows = {0};
    const char *from = after ? after : "c"; // behind "batch_…"
    sqlite3_stmt *s =
        user ? db_ask(db, e,
                      "SELECT * FROM openai_batches WHERE user_id=?1 AND id<?2 ORDER BY id DESC LIMIT ?3",
                      "tti", user, from, limit + 1)
             : db_ask(db, e, "SELECT * FROM openai_batches WHERE id<?1 ORDER BY id DESC LIMIT ?2", "ti", from,
                      limit + 1);
    int result = rows_take(db, s, &rows, e);
    db_done(db, s);
    *more = !result && rows.count > (size_t)limit;
    if (*more)
        row_free(rows.list[--rows.count]);
    if (!result)
        rows_give(&rows, each, payload);
    rows_free(&rows);
    return result;
}

int queue_openai_is_validating(struct db *db, const char *id, bool *is, struct err *e) {
    int64_t one = 0;
    int result = db_integer(db, e, &one, 0,
                            "SELECT batch_seq IS NULL AND failed_at IS NULL AND cancelled_at IS NULL"
                            " AND expired_at IS NULL FROM openai_batch WHERE id=?",
                            "t", id);
    *is = one != 0;
    return result;
}

int queue_openai_next(struct db *db, const char *after, char id[OPENAI_ID_SIZE], struct err *e) {
    id[0] = 0;
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT id FROM openai_batch INDEXED BY openai_batch_validating WHERE id>?"
                             " AND batch_seq IS NULL AND failed_at IS NULL AND cancelled_at IS NULL"
                             " AND expired_at IS NULL ORDER BY id LIMIT 1",
                             "t", after);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        snprintf(id, OPENAI_ID_SIZE, "%s", db_text(s, 0));
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

// ---- ends ----

// The runner ends what runs and sweeps what waits, with this reason.
static int cancel_job(struct db *db, int64_t batch_seq, const char *reason, struct err *e) {
    return db_run(db, e, "UPDATE batch_jobs SET status='cancelled', paused_reason=? WHERE seq=?", "ti",
                  reason, batch_seq);
}

static int cancel_row(struct db *db, const struct row *row, struct err *e) {
    const char *status = row_text(row, "status");
    if (strcmp(status, "cancelled") == 0 || strcmp(status, "cancelling") == 0)
        return 0;
    if (strcmp(status, "validating") == 0) {
        const char *id = row_text(row, "id");
        int result =
            db_run(db, e, "UPDATE openai_batch SET cancelled_at=? WHERE id=?", "it", clock_wall_at(), id);
        return result ? result
                      : log_end(db, "info", "batch.cancelled", id, "cancelled before its file was read", e);
    }
    if (strcmp(status, "in_progress") == 0)
        return cancel_job(db, row_integer(row, "batch_seq", 0), CANCELLED_REASON, e);
    return err_set(e, ERR_CONFLICT, "Cannot cancel a batch with status '%s'.", status);
}

int queue_openai_cancel(struct db *db, const char *user, const char *id, struct err *e) {
    struct row *row = NULL;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = queue_openai_get(db, user, id, &row, e);
    if (!result)
        result = cancel_row(db, row, e);
    row_free(row);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

int queue_openai_refuse(struct db *db, const char *id, const char *errors, const char *message,
                        struct err *e) {
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = db_run(db, e,
                    "UPDATE openai_batch SET failed_at=?1, errors=?2 WHERE id=?3 AND batch_seq IS NULL"
                    " AND failed_at IS NULL AND cancelled_at IS NULL AND expired_at IS NULL",
                    "itt", clock_wall_at(), errors, id);
    if (!result && db_changes(db) == 1)
        result = log_end(db, "error", "batch.refused", id, message, e);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

int queue_openai_is_due(struct db *db, int64_t now_at, bool *due, struct err *e) {
    char id[OPENAI_ID_SIZE] = "";
    int64_t one = 0;
    int result = db_integer(db, e, &one, 0,
                            "SELECT 1 FROM openai_batch INDEXED BY openai_batch_window"
                            " WHERE window_open=1 AND expires_at IS NOT NULL AND expires_at<=? LIMIT 1",
                            "i", now_at);
    if (!result && !one)
        result = queue_file_expired(db, now_at, "", id, e);
    *due = one != 0 || (!result && !one && id[0]);
    return result;
}

int queue_openai_due(struct db *db, int64_t now_at, int64_t *count, struct err *e) {
    return db_integer(
        db, e, count, 0,
        "SELECT count(*) FROM openai_batch d INDEXED BY openai_batch_window JOIN openai_batches v"
        " ON v.id=d.id WHERE d.window_open=1 AND d.expires_at IS NOT NULL AND d.expires_at<=?"
        " AND (v.status='in_progress' OR v.status='validating')",
        "i", now_at);
}

int queue_openai_expire(struct db *db, int64_t now_at, char id[OPENAI_ID_SIZE], bool *ended, struct err *e) {
    id[0] = 0;
    *ended = false;
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT id, status, batch_seq FROM openai_batches WHERE id=(SELECT id FROM"
                             " openai_batch INDEXED BY openai_batch_window WHERE window_open=1"
                             " AND expires_at IS NOT NULL AND expires_at<=? LIMIT 1)",
                             "i", now_at);
    int code = s ? db_next(db, s, e) : -1;
    bool in_progress = false;
    int64_t batch_seq = 0;
    if (code == 1) {
        snprintf(id, OPENAI_ID_SIZE, "%s", db_text(s, 0));
        in_progress = strcmp(db_text(s, 1), "in_progress") == 0;
        *ended = in_progress || strcmp(db_text(s, 1), "validating") == 0;
        batch_seq = db_int(s, 2);
    }
    db_done(db, s);
    if (code <= 0)
        return code < 0 ? ERR_DATABASE : 0;
    int result = db_run(
        db, e, "UPDATE openai_batch SET window_open=0, expired_at=CASE WHEN ?2 THEN ?1 END WHERE id=?3",
        "iit", now_at, (int64_t)*ended, id);
    if (!result && in_progress)
        result = cancel_job(db, batch_seq, RESULT_EXPIRED, e);
    else if (!result && *ended)
        result = log_end(db, "error", "batch.refused", id, "its window was over before its file was read", e);
    return result;
}
