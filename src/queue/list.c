// SPDX-License-Identifier: MIT
// Lists of generations, of batch jobs and of their items, page by page.
#include "base/buf.h"
#include "queue/queue.h"
#include "queue/rows.h"
#include "queue/walk.h"
#include <string.h>

static const char by_number[] = "SELECT " ROWS_GENERATION ", " ROWS_STATE " FROM generations WHERE seq=?1";
static const char item_by_number[] =
    "SELECT id, batch_job_id, item_index, custom_id, status, topic, tier, parameters, conversation_id,"
    " error_message, started_at, completed_at FROM batch_items WHERE id=?";

#define PAGE_BYTES ((size_t)4 << 20) // prompts may be large: so much is held at a time, and one row more

struct taken { // a page with its rows
    struct walk_page page;
    struct row *rows[WALK_ROWS];
    size_t count;
    bool cut; // it has fewer rows than were found
};

// The rows of a page, each by its number.
static int take_rows(struct db *db, const char *sql, struct taken *t, struct err *e) {
    int code = 1;
    size_t bytes = 0;
    for (size_t i = 0; code >= 0 && i < t->page.count; i++) {
        sqlite3_stmt *s = db_ask(db, e, sql, "i", t->page.seqs[i]);
        code = s ? db_next(db, s, e) : -1;
        if (code == 1) {
            struct row *row = t->rows[t->count] = row_copy(s);
            t->page.seqs[t->count++] = t->page.seqs[i];
            bytes += row_size(row);
        }
        db_done(db, s);
        if (bytes > PAGE_BYTES && i + 1 < t->page.count) {
            t->page.next = t->page.seqs[t->count - 1];
            t->cut = true;
            break;
        }
    }
    return code < 0 ? ERR_DATABASE : 0;
}

// One page as of one moment.
static int take_page(struct db *db, const char *sql, const struct filter *f, size_t want, struct taken *t,
                     struct err *e) {
    struct err late;
    t->page = (struct walk_page){0};
    t->count = 0;
    t->cut = false;
    int result = db_run(db, e, "SAVEPOINT page", "");
    if (result)
        return result;
    result = walk_page(db, f, want, &t->page, e);
    if (!result)
        result = take_rows(db, sql, t, e);
    int released = db_run(db, &late, "RELEASE page", "");
    return result ? result : released ? err_set(e, late.code, "%s", late.message) : 0;
}

// Gives up to f->limit rows (0: all), or fewer where a page ended early.
static int give_walk(struct db *db, const char *sql, const struct filter *filter, queue_each each,
                     void *payload, int64_t *next, struct err *e) {
    struct filter f = *filter;
    int64_t left = filter->limit > 0 ? filter->limit : INT64_MAX;
    bool go_on = true;
    *next = 0;
    int result = walk_check_status(f.status, e);
    while (!result && go_on && left > 0) {
        struct taken taken;
        size_t want = left < WALK_ROWS ? (size_t)left : WALK_ROWS, i = 0;
        result = take_page(db, sql, &f, want, &taken, e);
        for (; !result && go_on && i < taken.count; i++)
            go_on = each(payload, taken.rows[i]) == 0;
        *next = i > 0 && i < taken.count ? taken.page.seqs[i - 1] : taken.page.next;
        for (; i < taken.count; i++)
            row_free(taken.rows[i]);
        f.after = *next;
        left -= (int64_t)taken.count;
        if (*next == 0 || (filter->limit > 0 && taken.count < want && !taken.cut))
            break;
    }
    return result;
}

int queue_list(struct db *db, const struct filter *filter, queue_each each, void *payload, int64_t *next,
               struct err *e) {
    return give_walk(db, by_number, filter, each, payload, next, e);
}

int queue_batch_items(struct db *db, const struct filter *filter, queue_each each, void *payload,
                      int64_t *next, struct err *e) {
    return give_walk(db, item_by_number, filter, each, payload, next, e);
}

// ---- batch jobs ----

static int write_batches(struct buf *sql, const struct filter *f, struct err *e) {
    static const char *const states[] = {"queued",    "processing", "paused",
                                         "completed", "failed",     "cancelled"};
    const char *state = NULL;
    for (size_t i = 0; f->status && i < sizeof states / sizeof *states; i++)
        if (strcmp(f->status, states[i]) == 0)
            state = states[i];
    if (f->status && !state)
        return err_set(e, ERR_INVALID,
                       "%s is not a state of a batch job: use queued, processing, paused, completed, failed "
                       "or cancelled",
                       f->status);
    buf_text(sql, "SELECT " ROWS_BATCH ", seq AS _keyset FROM batch_jobs WHERE seq<?1");
    if (f->user_id)
        buf_text(sql, " AND user_id=?3");
    if (f->model_id)
        buf_text(sql, " AND model_id=?4");
    if (f->since)
        buf_format(sql, " AND created_at>=%lld", (long long)f->since);
    if (f->until)
        buf_format(sql, " AND created_at<%lld", (long long)f->until);
    if (state)
        buf_format(sql, " AND status='%s'", state);
    buf_text(sql, " ORDER BY seq DESC LIMIT ?2");
    return 0;
}

int queue_batch_list(struct db *db, const struct filter *filter, queue_each each, void *payload,
                     int64_t *next, struct err *e) {
    struct buf sql;
    struct rows rows = {0};
    bool go_on = true;
    int64_t after = filter->after ? filter->after : INT64_MAX;
    int64_t left = filter->limit > 0 ? filter->limit : INT64_MAX;
    *next = 0;
    buf_init(&sql, BUF_UNLIMITED);
    int result = write_batches(&sql, filter, e);
    while (!result && go_on && left > 0) {
        size_t want = left < WALK_ROWS ? (size_t)left : WALK_ROWS;
        // One row more than wanted tells whether there is a next page.
        sqlite3_stmt *s = db_ask_text(db, e, buf_borrow(&sql), "iitt", after, (int64_t)want + 1,
                                      filter->user_id, filter->model_id);
        result = rows_take(db, s, &rows, e);
        db_drop(db, s);
        bool more = !result && rows.count > want;
        if (more)
            row_free(rows.list[--rows.count]);
        left -= (int64_t)rows.count;
        go_on = more;
        for (size_t i = 0; !result && i < rows.count; i++) {
            struct row *row = rows.list[i];
            rows.list[i] = NULL;
            after = row_integer(row, "_keyset", 0);
            if (each(payload, row) == 0)
                continue;
            go_on = false;
            more |= i + 1 < rows.count;
            break;
        }
        rows_free(&rows);
        *next = more ? after : 0;
    }
    buf_free(&sql);
    return result;
}
