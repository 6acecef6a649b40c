// SPDX-License-Identifier: MIT
// Files of OpenAI's API as rows: uploaded ones, and the result files of batches, of
// which nothing is stored but that a name was deleted.
#include "base/clock.h"
#include "queue/openai.h"
#include "queue/rows.h"
#include <stdio.h>
#include <string.h>

#define PREFIX_LENGTH 5 // of "file-"
#define DIGITS 32
#define RESULT_PURPOSE "batch_output"

#define UPLOADED                                                                                             \
    "SELECT id, filename, purpose, bytes, created_at, expires_at, NULL AS _batch_id, NULL AS "               \
    "_batch_job_id,"                                                                                         \
    " 0 AS _errors, NULL AS _activity, 0 AS _ended FROM file "

// Columns of a result file; `kind` is output or error, `count` the column of the number of its lines.
#define RESULT_ID(kind) "'file-'||substr(id, 7)||'-" kind "'"
#define RESULT(kind, errors, count)                                                                          \
    "SELECT " RESULT_ID(kind) " AS id, id||'_" kind ".jsonl' AS filename, '" RESULT_PURPOSE                  \
                              "' AS purpose, " kind                                                          \
                              "_bytes AS bytes, coalesce(ended_at, in_progress_at) AS created_at,"           \
                              " ended_at + output_expires_after * 1000 AS expires_at, id AS _batch_id, "     \
                              "batch_job_id AS _batch_job_id, " errors                                       \
                              " AS _errors, last_activity_at AS _activity, ended_at IS NOT NULL AS _ended "  \
                              "FROM openai_batches WHERE " count " > 0 AND " kind "_deleted_at IS NULL"      \
                              " AND coalesce(ended_at + output_expires_after * 1000 > ?4, 1) "
#define OUTPUT RESULT("output", "0", "completed")
#define ERRORS RESULT("error", "1", "failed")

int queue_file_add(struct db *db, const struct file_row *row, struct err *e) {
    return db_run(db, e,
                  "INSERT INTO file (id, user_id, filename, purpose, bytes, created_at, expires_at)"
                  " VALUES (?,?,?,?,?,?,nullif(?,0))",
                  "ttttiii", row->id, row->user_id, row->filename, row->purpose, row->bytes, row->created_at,
                  row->expires_at);
}

// The batch whose result file this is, "" and false when it cannot be one.
static bool batch_of(const char *id, bool errors, char out[OPENAI_ID_SIZE]) {
    const char *ending = errors ? "-error" : "-output";
    size_t length = strlen(id);
    out[0] = 0;
    if (length == PREFIX_LENGTH + DIGITS + strlen(ending) && strncmp(id, "file-", PREFIX_LENGTH) == 0 &&
        strcmp(id + PREFIX_LENGTH + DIGITS, ending) == 0)
        snprintf(out, OPENAI_ID_SIZE, "batch_%.*s", DIGITS, id + PREFIX_LENGTH);
    return out[0] != 0;
}

// The statement that finds it, and the id to find it by.
static const char *statement_of(const char *id, char key[OPENAI_ID_SIZE]) {
    if (batch_of(id, false, key))
        return OUTPUT "AND id=?1 AND (?2 IS NULL OR user_id=?2) AND ?3 IS ?3";
    if (batch_of(id, true, key))
        return ERRORS "AND id=?1 AND (?2 IS NULL OR user_id=?2) AND ?3 IS ?3";
    snprintf(key, OPENAI_ID_SIZE, "%s", id);
    return UPLOADED "WHERE id=?1 AND (?2 IS NULL OR user_id=?2) AND coalesce(expires_at > ?4, 1) AND ?3 IS "
                    "?3";
}

static int not_found(const char *id, struct err *e) {
    return err_set(e, ERR_NOT_FOUND, "No such File object: %s", id);
}

int queue_file_get(struct db *db, const char *user, const char *id, struct row **out, struct err *e) {
    char key[OPENAI_ID_SIZE];
    const char *sql = statement_of(id, key);
    *out = NULL;
    // What does not fit into a key is cut, and no id is so long.
    sqlite3_stmt *s = db_ask(db, e, sql, "ttti", key, user, (const char *)NULL, clock_wall_at());
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        *out = row_copy(s);
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : code == 0 ? not_found(id, e) : 0;
}

// ---- lists ----

// An arm of the list: each goes by an index and ends with its limit, so that a page costs by its rows.
static void write_arm(struct buf *sql, const struct file_filter *f, const char *select, const char *id,
                      bool is_result) {
    const char *order = f->ascending ? "ASC" : "DESC";
    const char *beyond = f->ascending ? ">" : "<";
    buf_format(sql, "%sSELECT * FROM (%s %s", sql->length ? " UNION ALL " : "", select,
               is_result ? "AND ended_at IS NOT NULL" : "WHERE coalesce(expires_at > ?4, 1)");
    if (is_result)
        buf_format(sql, " AND openai_batches.id %s= ?5 AND %s %s ?1", beyond, id, beyond);
    else
        buf_format(sql, " AND file.id %s ?1 AND ?5 IS ?5", beyond);
    if (f->user_id)
        buf_text(sql, " AND user_id = ?2");
    if (f->purpose && !is_result)
        buf_text(sql, " AND purpose = ?3");
    buf_format(sql, " AND ?2 IS ?2 AND ?3 IS ?3 ORDER BY %s.id %s LIMIT ?6)",
               is_result ? "openai_batches" : "file", order);
}

int queue_file_list(struct db *db, const struct file_filter *f, queue_each each, void *payload, bool *more,
                    struct err *e) {
    struct buf sql;
    struct rows rows = {0};
    char bound[OPENAI_ID_SIZE];
    const char *after = f->after ? f->after : f->ascending ? "" : "g";
    bool results = !f->purpose || strcmp(f->purpose, RESULT_PURPOSE) == 0;
    // Behind "batch_" ids of results have the digits of their batch.
    if (f->after && strlen(f->after) >= PREFIX_LENGTH)
        snprintf(bound, sizeof bound, "batch_%.*s", DIGITS, f->after + PREFIX_LENGTH);
    else
        snprintf(bound, sizeof bound, "%s", f->ascending ? "" : "c");
    buf_init(&sql, BUF_UNLIMITED);
    if (!f->purpose || !results)
        write_arm(&sql, f, UPLOADED, "id", false);
    if (results) {
        write_arm(&sql, f, OUTPUT, RESULT_ID("output"), true);
        write_arm(&sql, f, ERRORS, RESULT_ID("error"), true);
    }
    buf_format(&sql, " ORDER BY id %s LIMIT ?6", f->ascending ? "ASC" : "DESC");
    // One more than wanted tells whether there are further ones.
    sqlite3_stmt *s = db_ask_text(db, e, buf_borrow(&sql), "tttiti", after, f->user_id, f->purpose,
                                  clock_wall_at(), bound, f->limit + 1);
    int result = rows_take(db, s, &rows, e);
    db_drop(db, s);
    buf_free(&sql);
    *more = !result && rows.count > (size_t)f->limit;
    if (*more)
        row_free(rows.list[--rows.count]);
    if (!result)
        rows_give(&rows, each, payload);
    rows_free(&rows);
    return result;
}

// ---- deleting ----

static int delete_row(struct db *db, const char *user, const char *id, struct err *e) {
    int64_t now_at = clock_wall_at();
    char key[OPENAI_ID_SIZE];
    if (batch_of(id, false, key))
        return db_run(
            db, e,
            "UPDATE openai_batch SET output_deleted_at=?1 WHERE id=?2 AND (?3 IS NULL OR user_id=?3)"
            " AND output_deleted_at IS NULL",
            "itt", now_at, key, user);
    if (batch_of(id, true, key))
        return db_run(db, e,
                      "UPDATE openai_batch SET error_deleted_at=?1 WHERE id=?2 AND (?3 IS NULL OR user_id=?3)"
                      " AND error_deleted_at IS NULL",
                      "itt", now_at, key, user);
    return db_run(db, e, "DELETE FROM file WHERE id=?1 AND (?2 IS NULL OR user_id=?2)", "tt", id, user);
}

int queue_file_delete(struct db *db, const char *user, const char *id, struct err *e) {
    struct row *row = NULL;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = queue_file_get(db, user, id, &row, e);
    row_free(row);
    if (!result)
        result = delete_row(db, user, id, e);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

int queue_file_exists(struct db *db, const char *id, bool *exists, struct err *e) {
    int64_t one = 0;
    int result = db_integer(db, e, &one, 0, "SELECT 1 FROM file WHERE id=?", "t", id);
    *exists = one != 0;
    return result;
}

int queue_file_expired(struct db *db, int64_t now_at, const char *after, char id[OPENAI_ID_SIZE],
                       struct err *e) {
    id[0] = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT id FROM file INDEXED BY file_expiry WHERE expires_at<=?1 AND id>?2"
               " AND NOT EXISTS (SELECT 1 FROM openai_batch INDEXED BY openai_batch_validating WHERE"
               " input_file_id=file.id AND batch_seq IS NULL AND failed_at IS NULL AND cancelled_at IS NULL"
               " AND expired_at IS NULL) ORDER BY id LIMIT 1",
               "it", now_at, after);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        snprintf(id, OPENAI_ID_SIZE, "%s", db_text(s, 0));
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_file_remove(struct db *db, const char *id, struct err *e) {
    return db_run(db, e, "DELETE FROM file WHERE id=?", "t", id);
}

int queue_file_size(struct db *db, const char *batch_id, bool errors, int64_t bytes, int64_t activity,
                    struct err *e) {
    // A size that was counted at another time than the other file's is worth nothing any more.
    return db_run(db, e,
                  "UPDATE openai_batch SET"
                  " output_bytes=CASE WHEN ?2 THEN CASE WHEN sized_at=?4 THEN output_bytes END ELSE ?3 END,"
                  " error_bytes=CASE WHEN ?2 THEN ?3 ELSE CASE WHEN sized_at=?4 THEN error_bytes END END,"
                  " sized_at=?4 WHERE id=?1",
                  "tiii", batch_id, (int64_t)errors, bytes, activity);
}
