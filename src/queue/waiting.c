// SPDX-License-Identifier: MIT
#include "queue/waiting.h"
#include "base/buf.h"
#include "base/mem.h"
#include <stdlib.h>

enum kind { KIND_LANE, KIND_DELAYED, KIND_SUSPECT, KINDS };

struct stream {
    enum kind kind;
    int64_t lane;
    int64_t next; // its next row
};

struct waiting {
    struct db *db;
    const struct filter *filter;
    int64_t lowest, highest;
    bool down;
    sqlite3_stmt *first[KINDS];              // the first row of a stream from ?1 to ?2
    struct stream streams[WAITING_ROWS + 2]; // of more lanes none gives a row that is wanted
    size_t count;
};

// Conditions on a row %1$s of `generation`.
#define IN_RANGE "%1$s.status='queued' AND %1$s.seq BETWEEN ?1 AND ?2"
#define READY IN_RANGE " AND %1$s.run_after IS NULL AND %1$s.suspect=0"

// ?3 is the lane, ?4 the user, ?5 the model.
static void write_owner(struct buf *sql, const struct filter *f, const char *of) {
    if (f->user_id)
        buf_format(sql, " AND %s.user_id=?4", of);
    if (f->model_id)
        buf_format(sql, " AND %s.model_id=?5", of);
    if (f->batch_seq)
        buf_format(sql, " AND %s.batch_seq=%lld", of, (long long)f->batch_seq);
}

static void write_first(struct buf *sql, const struct waiting *w, enum kind kind) {
    buf_format(sql, "SELECT %s(g.seq) FROM generation g INDEXED BY ", w->down ? "max" : "min");
    switch (kind) {
    case KIND_LANE:
        buf_format(sql, "generation_ready WHERE g.lane=?3 AND " READY, "g");
        return;
    case KIND_DELAYED:
        buf_format(sql,
                   "generation_delayed_seq WHERE %1$s.run_after IS NOT NULL AND " IN_RANGE
                   " AND (g.batch_seq IS NULL OR EXISTS (SELECT 1 FROM batch_job b WHERE b.seq=g.batch_seq"
                   " AND b.opened_at IS NOT NULL))",
                   "g");
        break;
    default:
        buf_format(sql, "generation_suspect WHERE %1$s.suspect=1 AND %1$s.run_after IS NULL AND " IN_RANGE,
                   "g");
    }
    write_owner(sql, w->filter, "g");
}

static sqlite3_stmt *ask(const struct waiting *w, const struct buf *sql, struct err *e) {
    return db_ask_text(w->db, e, sql->data, "iiitt", w->lowest, w->highest, (int64_t)0, w->filter->user_id,
                       w->filter->model_id);
}

// Puts the stream's first row of what is left into its `next`; 0: it is at its end.
static int advance(struct waiting *w, struct stream *stream, int64_t lowest, int64_t highest, struct err *e) {
    sqlite3_stmt *s = w->first[stream->kind];
    sqlite3_bind_int64(s, 1, lowest);
    sqlite3_bind_int64(s, 2, highest);
    if (stream->kind == KIND_LANE)
        sqlite3_bind_int64(s, 3, stream->lane);
    int code = db_next(w->db, s, e);
    stream->next = code == 1 ? db_int(s, 0) : 0;
    sqlite3_reset(s);
    return code < 0 ? ERR_DATABASE : 0;
}

// The lanes whose first row comes first.
static int find_lanes(struct waiting *w, struct err *e) {
    struct buf sql;
    int code = -1;
    buf_init(&sql, BUF_UNLIMITED);
    buf_format(
        &sql,
        "SELECT l.id, (SELECT %s(g.seq) FROM generation g INDEXED BY generation_ready WHERE g.lane=l.id"
        " AND ",
        w->down ? "max" : "min");
    buf_format(&sql, READY, "g");
    buf_text(&sql, ") AS first FROM lane l WHERE l.ready=1 AND l.blocked & 8=0");
    write_owner(&sql, w->filter, "l");
    buf_format(&sql, " ORDER BY first %s NULLS LAST LIMIT %d", w->down ? "DESC" : "ASC", WAITING_ROWS);
    sqlite3_stmt *s = ask(w, &sql, e);
    while (s && (code = db_next(w->db, s, e)) == 1 && !db_is_null(s, 1))
        w->streams[w->count++] = (struct stream){KIND_LANE, db_int(s, 0), db_int(s, 1)};
    db_drop(w->db, s);
    buf_free(&sql);
    return code < 0 ? ERR_DATABASE : 0;
}

static int begin_streams(struct waiting *w, struct err *e) {
    struct buf sql;
    int result = 0;
    for (int kind = 0; !result && kind < KINDS; kind++) {
        buf_init(&sql, BUF_UNLIMITED);
        write_first(&sql, w, (enum kind)kind);
        w->first[kind] = ask(w, &sql, e);
        buf_free(&sql);
        if (!w->first[kind])
            return ERR_DATABASE;
        if (kind == KIND_LANE)
            continue;
        struct stream *stream = &w->streams[w->count++];
        *stream = (struct stream){.kind = (enum kind)kind};
        result = advance(w, stream, w->lowest, w->highest, e);
    }
    return result ? result : find_lanes(w, e);
}

bool waiting_tells_all(const struct filter *f) {
    return !f->session_id && !f->error_type && !f->since && !f->until && !f->dismissed;
}

int waiting_open(struct waiting **out, struct db *db, const struct filter *filter, int64_t lowest,
                 int64_t highest, bool down, struct err *e) {
    struct waiting *w = mem_alloc(1, sizeof *w);
    *w = (struct waiting){.db = db, .filter = filter, .lowest = lowest, .highest = highest, .down = down};
    int result = begin_streams(w, e);
    if (result) {
        waiting_close(w);
        w = NULL;
    }
    *out = w;
    return result;
}

int waiting_next(struct waiting *waiting, int64_t *seq, struct err *e) {
    struct waiting *w = waiting;
    struct stream *best = NULL;
    *seq = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct stream *s = &w->streams[i];
        if (s->next && (!best || (w->down ? s->next > best->next : s->next < best->next)))
            best = s;
    }
    if (!best)
        return 0;
    *seq = best->next;
    return advance(w, best, w->down ? w->lowest : *seq + 1, w->down ? *seq - 1 : w->highest, e);
}

void waiting_close(struct waiting *waiting) {
    if (!waiting)
        return;
    for (int kind = 0; kind < KINDS; kind++)
        db_drop(waiting->db, waiting->first[kind]);
    free(waiting);
}
