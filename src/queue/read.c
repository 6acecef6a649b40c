// SPDX-License-Identifier: MIT
// Looking at one generation or batch job, and at outputs. Rows are copied out and the
// statement is reset before they are handed on: no cursor stays open over a callback.
#include "base/mem.h"
#include "queue/queue.h"
#include "queue/rows.h"
#include <stdio.h>
#include <stdlib.h>

#define PAGE_ROWS 256

int rows_take(struct db *db, sqlite3_stmt *s, struct rows *out, struct err *e) {
    int code;
    *out = (struct rows){0};
    if (!s)
        return ERR_DATABASE;
    while ((code = db_next(db, s, e)) == 1) {
        if (out->count % PAGE_ROWS == 0)
            out->list = mem_resize(out->list, out->count + PAGE_ROWS, sizeof *out->list);
        out->list[out->count++] = row_copy(s);
    }
    if (code < 0) {
        rows_free(out);
        return ERR_DATABASE;
    }
    return 0;
}

void rows_free(struct rows *rows) {
    for (size_t i = 0; i < rows->count; i++)
        row_free(rows->list[i]);
    free(rows->list);
    *rows = (struct rows){0};
}

bool rows_give(struct rows *rows, queue_each each, void *payload) {
    bool go_on = true;
    size_t i = 0;
    for (; i < rows->count && go_on; i++) {
        struct row *row = rows->list[i];
        rows->list[i] = NULL;
        go_on = each(payload, row) == 0;
    }
    return go_on;
}

int rows_give_all(struct db *db, sqlite3_stmt *s, queue_each each, void *payload, struct err *e) {
    struct rows rows;
    int result = rows_take(db, s, &rows, e);
    db_done(db, s);
    if (result)
        return result;
    rows_give(&rows, each, payload);
    rows_free(&rows);
    return 0;
}

static int one_row(struct db *db, sqlite3_stmt *s, struct row **out, const char *gone, struct err *e) {
    *out = NULL;
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1)
        *out = row_copy(s);
    db_done(db, s);
    if (code == 0)
        return err_set(e, ERR_NOT_FOUND, "%s", gone);
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_get(struct db *db, int64_t seq, struct row **out, struct err *e) {
    return one_row(
        db,
        db_ask(db, e,
               "SELECT " ROWS_GENERATION ", " ROWS_STATE
               ", (SELECT count(*) FROM output WHERE key BETWEEN ?1*1024 AND ?1*1024+1023) AS output_count"
               " FROM generations WHERE seq=?1",
               "i", seq),
        out, "the generation is gone: it was deleted meanwhile", e);
}

int queue_name(struct db *db, int64_t seq, char id[ID_SIZE], char status[16], struct err *e) {
    sqlite3_stmt *s = db_ask(db, e, "SELECT id, status FROM generation WHERE seq=?", "i", seq);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1) {
        snprintf(id, ID_SIZE, "%s", db_text(s, 0));
        snprintf(status, 16, "%s", db_text(s, 1));
    }
    db_done(db, s);
    if (code == 0)
        return err_set(e, ERR_NOT_FOUND, "the generation is gone: it was deleted meanwhile");
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_ended(struct db *db, bool is_batch, int64_t seq, bool *ended, char status[16], struct err *e) {
    sqlite3_stmt *s =
        is_batch
            ? db_ask(db, e,
                     "SELECT status, queued_items+processing_items=0 FROM batch_job JOIN batch_count"
                     " ON batch_seq=seq WHERE seq=?",
                     "i", seq)
            : db_ask(db, e, "SELECT status, completed_at IS NOT NULL FROM generation WHERE seq=?", "i", seq);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1) {
        snprintf(status, 16, "%s", db_text(s, 0));
        *ended = db_int(s, 1) != 0;
    }
    db_done(db, s);
    if (code == 0)
        return err_set(e, ERR_NOT_FOUND, "what was waited for is gone: it was deleted meanwhile");
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_batch_get(struct db *db, int64_t seq, struct row **out, struct err *e) {
    return one_row(db, db_ask(db, e, "SELECT " ROWS_BATCH " FROM batch_jobs WHERE seq=?", "i", seq), out,
                   "the batch job is gone: it was deleted meanwhile", e);
}

// The first one from a key on; *out NULL: there is none.
static int next_output(struct db *db, int64_t seq, int64_t key, struct row **out, struct err *e) {
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT o.key AS id, g.id AS generation_id, o.key - ?1*1024 AS idx, o.mime, o.content, o.file,"
        " o.bytes, o.sha256, o.partial AS \"partial?\", o.created_at FROM output o JOIN generation g ON "
        "g.seq=?1"
        " WHERE o.key BETWEEN ?2 AND ?1*1024+1023 ORDER BY o.key LIMIT 1",
        "ii", seq, key);
    int code = s ? db_next(db, s, e) : -1;
    *out = code == 1 ? row_copy(s) : NULL;
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_outputs(struct db *db, int64_t seq, queue_each each, void *payload, struct err *e) {
    // One at a time: an output may be large.
    for (int64_t key = seq * 1024;;) {
        struct row *row = NULL;
        int result = next_output(db, seq, key, &row, e);
        if (result || !row)
            return result;
        key = row_integer(row, "id", 0) + 1;
        if (each(payload, row) != 0)
            return 0;
    }
}

int queue_output(struct db *db, int64_t seq, int64_t index, struct row **out, struct err *e) {
    *out = NULL;
    if (index < 0 || index >= QUEUE_OUTPUTS_MAXIMUM)
        return err_set(e, ERR_NOT_FOUND, "there is no output %lld: they are counted from 0",
                       (long long)index);
    int result = next_output(db, seq, seq * 1024 + index, out, e);
    if (!result && *out && row_integer(*out, "idx", -1) != index) {
        row_free(*out);
        *out = NULL;
    }
    return result || *out ? result
                          : err_set(e, ERR_NOT_FOUND, "there is no output %lld of the generation (yet)",
                                    (long long)index);
}
