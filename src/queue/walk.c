// SPDX-License-Identifier: MIT
// A filter may be served by several indexes, and none tells beforehand how many rows it would have to pass over.
// So each is tried for a few rows, then each for more; the first that fills the page, or comes to the end, wins.
#include "queue/walk.h"
#include "base/buf.h"
#include "queue/waiting.h"
#include <string.h>

#define FEW_ROWS 200    // passed over, beside those that are wanted, in the first trial of each index
#define MOST_ROWS 20000 // in the last one: some 20 ms

#define HIGHEST_SEQ (INT64_MAX / 1024) // the key of an output is seq * 1024 + idx

// ---- the ways to rows: what stands behind FROM; ?1 and ?2 are the lowest and the highest seq ----

struct way {
    const char *from;
    const char *key; // in the order of seq
};

static const struct way by_seq = {"generation g WHERE 1", "g.seq"};
static const struct way by_user = {"generation g INDEXED BY generation_user WHERE g.user_id=?4", "g.seq"};
static const struct way by_session = {"generation g INDEXED BY generation_session WHERE g.session_id=?5",
                                      "g.seq"};
static const struct way by_model = {"generation g INDEXED BY generation_model WHERE g.model_id=?6", "g.seq"};
static const struct way by_failed = {"generation g INDEXED BY generation_failed_seq WHERE g.status='failed'",
                                     "g.seq"};
static const struct way by_cancelled = {
    "generation g INDEXED BY generation_cancelled_seq WHERE g.status='cancelled'", "g.seq"};
// Each completed one has an output, and what waits has none: an index by state would cost every item a page.
static const struct way by_output = {"output o CROSS JOIN generation g ON g.seq=o.key/1024"
                                     " WHERE o.key BETWEEN ?1*1024 AND ?2*1024+1023 AND o.key%1024=0",
                                     "o.key"};
// What runs is few: sorted.
static const struct way by_processing = {
    "generation g INDEXED BY generation_processing WHERE g.status='processing'", "g.seq"};

// All conditions of a filter on `g`.
static void write_fits(struct buf *sql, const struct filter *f) {
    buf_text(sql, "1");
    if (f->status && strcmp(f->status, "stuck") != 0)
        buf_format(sql, " AND g.status='%s'", f->status);
    if (f->user_id)
        buf_text(sql, " AND g.user_id=?4");
    if (f->model_id)
        buf_text(sql, " AND g.model_id=?6");
    if (f->batch_seq)
        buf_format(sql, " AND g.batch_seq=%lld", (long long)f->batch_seq);
    if (f->session_id)
        buf_text(sql, " AND g.session_id=?5");
    if (f->error_type)
        buf_text(sql, " AND g.error_type=?7");
    if (f->since)
        buf_format(sql, " AND g.created_at>=%lld", (long long)f->since);
    if (f->until)
        buf_format(sql, " AND g.created_at<%lld", (long long)f->until);
    if (f->dismissed)
        buf_text(sql, f->dismissed > 0 ? " AND g.dismissed_at IS NOT NULL" : " AND g.dismissed_at IS NULL");
}

// The ways that serve a filter; NULL stands for what waits.
static size_t choose_ways(const struct filter *f, const struct way **ways) {
    size_t count = 0;
    const char *status = f->status ? f->status : "";
    if (strcmp(status, "processing") == 0 || strcmp(status, "stuck") == 0) {
        ways[count++] = &by_processing;
        return count;
    }
    bool waiting = strcmp(status, "queued") == 0, narrow = f->user_id || f->model_id || f->batch_seq;
    if (strcmp(status, "failed") == 0)
        ways[count++] = &by_failed;
    if (strcmp(status, "cancelled") == 0)
        ways[count++] = &by_cancelled;
    if (strcmp(status, "completed") == 0)
        ways[count++] = &by_output;
    if (f->session_id && !f->batch_seq)
        ways[count++] = &by_session;
    // Of a user or a model that waits the lanes tell; a batch job's rows lie together.
    if (f->user_id && !f->batch_seq && !waiting)
        ways[count++] = &by_user;
    if (f->model_id && !f->batch_seq && !waiting)
        ways[count++] = &by_model;
    // The rows as they stand: where nothing else serves, and where lanes may be many while the newest rows are
    // likely to wait.
    if (waiting ? !narrow : count == 0 || f->batch_seq)
        ways[count++] = &by_seq;
    if (waiting)
        ways[count++] = NULL;
    return count;
}

// ---- trying one ----

struct trial {
    int64_t seqs[WALK_ROWS + 1]; // one more than wanted tells whether there is a next page
    size_t count;
    int64_t last; // the last row that was looked at; 0: none
    bool done;
};

struct range {
    int64_t lowest, highest;
    bool down;
};

static void write_trial(struct buf *sql, const struct way *way, const struct filter *f, bool down) {
    buf_text(sql, "SELECT g.seq, ");
    write_fits(sql, f);
    buf_format(sql,
               " FROM %s AND g.seq BETWEEN ?1 AND ?2 AND (g.batch_seq IS NULL OR EXISTS (SELECT 1 FROM"
               " batch_job b WHERE b.seq=g.batch_seq AND b.opened_at IS NOT NULL))",
               way->from);
    if (f->status && strcmp(f->status, "stuck") == 0)
        buf_text(sql, " AND g.id IN (SELECT id FROM stuck_generations)");
    buf_format(sql, " ORDER BY %s %s LIMIT ?3", way->key, down ? "DESC" : "ASC");
}

static sqlite3_stmt *ask(struct db *db, const struct buf *sql, const struct filter *f, int64_t lowest,
                         int64_t highest, int64_t rows, struct err *e) {
    return db_ask_text(db, e, sql->data, "iiitttt", lowest, highest, rows, f->user_id, f->session_id,
                       f->model_id, f->error_type);
}

static int try_way(struct db *db, const struct way *way, const struct filter *f, const struct range *range,
                   size_t want, int64_t rows, struct trial *out, struct err *e) {
    struct buf sql;
    int64_t passed = 0;
    int more = 1;
    *out = (struct trial){0};
    buf_init(&sql, BUF_UNLIMITED);
    write_trial(&sql, way, f, range->down);
    sqlite3_stmt *s = ask(db, &sql, f, range->lowest, range->highest, rows, e);
    buf_free(&sql);
    if (!s)
        return ERR_DATABASE;
    while (out->count <= want && (more = db_next(db, s, e)) == 1) {
        passed++;
        out->last = db_int(s, 0);
        if (db_int(s, 1))
            out->seqs[out->count++] = out->last;
    }
    db_drop(db, s);
    out->done = out->count > want || passed < rows;
    return more < 0 ? ERR_DATABASE : 0;
}

// Whether one that waits fits the rest of the filter, too: 1 or 0, -1 on failure.
static int fits(struct db *db, sqlite3_stmt *s, int64_t seq, struct err *e) {
    sqlite3_bind_int64(s, 1, seq);
    int code = db_next(db, s, e);
    bool yes = code == 1 && db_int(s, 1);
    sqlite3_reset(s);
    return code < 0 ? -1 : yes;
}

static int try_waiting(struct db *db, const struct filter *f, const struct range *range, size_t want,
                       struct trial *out, struct err *e) {
    struct waiting *waiting = NULL;
    struct buf sql;
    int64_t seq = 1;
    int fit = 1;
    *out = (struct trial){0};
    buf_init(&sql, BUF_UNLIMITED);
    buf_text(&sql, "SELECT g.seq, ");
    write_fits(&sql, f);
    buf_text(&sql, " FROM generation g WHERE g.seq=?1");
    sqlite3_stmt *s = ask(db, &sql, f, 0, 0, 0, e);
    int result =
        s ? waiting_open(&waiting, db, f, range->lowest, range->highest, range->down, e) : ERR_DATABASE;
    for (int passed = 0; !result && out->count <= want && passed < WAITING_ROWS; passed++) {
        result = waiting_next(waiting, &seq, e);
        if (result || seq == 0)
            break;
        fit = waiting_tells_all(f) ? 1 : fits(db, s, seq, e);
        if (fit < 0)
            result = ERR_DATABASE;
        out->last = seq;
        if (fit == 1)
            out->seqs[out->count++] = seq;
    }
    out->done = out->count > want || seq == 0;
    waiting_close(waiting);
    db_drop(db, s);
    buf_free(&sql);
    return result;
}

// Where the rows lie: those of a batch job stand together, but for what others submitted meanwhile.
static int find_range(struct db *db, const struct filter *f, struct range *out, struct err *e) {
    *out = (struct range){.lowest = 1, .highest = f->after ? f->after - 1 : HIGHEST_SEQ, .down = true};
    if (!f->batch_seq)
        return 0;
    *out = (struct range){.highest = 0};
    int result = db_integer(db, e, &out->lowest, 1,
                            "SELECT seq FROM generation INDEXED BY generation_batch WHERE batch_seq=?"
                            " ORDER BY item_index LIMIT 1",
                            "i", f->batch_seq);
    if (!result)
        result = db_integer(db, e, &out->highest, 0,
                            "SELECT seq FROM generation INDEXED BY generation_batch WHERE batch_seq=?"
                            " ORDER BY item_index DESC LIMIT 1",
                            "i", f->batch_seq);
    if (f->after >= out->lowest)
        out->lowest = f->after + 1;
    return result;
}

static bool is_further(const struct trial *a, const struct trial *b, const struct range *range) {
    return range->down ? a->last < b->last : a->last > b->last;
}

int walk_page(struct db *db, const struct filter *filter, size_t want, struct walk_page *out, struct err *e) {
    const struct way *ways[8];
    struct trial best = {0}, trial;
    struct range range;
    size_t count = choose_ways(filter, ways);
    int result = find_range(db, filter, &range, e);
    for (int64_t rows = count > 1 ? FEW_ROWS + (int64_t)want : MOST_ROWS; !result && !best.done;
         rows = MOST_ROWS) {
        for (size_t i = 0; !result && !best.done && i < count; i++) {
            result = ways[i] ? try_way(db, ways[i], filter, &range, want, rows, &trial, e)
                             : try_waiting(db, filter, &range, want, &trial, e);
            // Where none is done, the one that came furthest has all that fits on its way.
            if (trial.done || best.last == 0 || is_further(&trial, &best, &range))
                best = trial;
        }
        if (rows == MOST_ROWS)
            break;
    }
    bool more = best.count > want;
    out->count = more ? want : best.count;
    memcpy(out->seqs, best.seqs, out->count * sizeof *out->seqs);
    out->next = more ? out->seqs[want - 1] : best.done ? 0 : best.last;
    return result;
}

int walk_check_status(const char *status, struct err *e) {
    static const char *const known[] = {"queued", "processing", "completed", "failed", "cancelled", "stuck"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!status || strcmp(status, known[i]) == 0)
            return 0;
    return err_set(e, ERR_INVALID,
                   "%s is not a state: use queued, processing, completed, failed, cancelled or stuck",
                   status);
}
