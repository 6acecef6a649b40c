// SPDX-License-Identifier: MIT
#include "sync/drop.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>

struct gone {
    int64_t place, seq, batch_seq;
    bool is_batch;
    char *id;
};

struct gone_list {
    struct gone *rows;
    size_t count, room;
};

static void list_free(struct gone_list *l) {
    for (size_t i = 0; i < l->count; i++)
        free(l->rows[i].id);
    free(l->rows);
    *l = (struct gone_list){0};
}

static int read_list(struct push *p, struct gone_list *l, struct err *e) {
    sqlite3_stmt *s = db_ask(p->db, e,
                             "SELECT place, is_batch, seq, batch_seq, id FROM sync_deleted WHERE place>?1 "
                             "ORDER BY place LIMIT ?2",
                             "ii", p->dropped, (int64_t)p->page);
    int step = s ? 1 : -1;
    while (s && (step = db_next(p->db, s, e)) > 0) {
        if (l->count == l->room) {
            l->room = l->room ? l->room * 2 : 256;
            l->rows = mem_resize(l->rows, l->room, sizeof *l->rows);
        }
        l->rows[l->count++] = (struct gone){.place = db_int(s, 0),
                                            .is_batch = db_int(s, 1) != 0,
                                            .seq = db_int(s, 2),
                                            .batch_seq = db_int(s, 3),
                                            .id = mem_copy(db_text(s, 4))};
    }
    db_done(p->db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

// Two arrays of Postgres: the ids and the numbers of one kind. Returns how many there are.
static size_t write_arrays(const struct gone *rows, size_t count, bool batches, struct buf *ids,
                           struct buf *seqs) {
    size_t n = 0;
    buf_char(ids, '{');
    buf_char(seqs, '{');
    for (size_t i = 0; i < count; i++) {
        if (rows[i].is_batch != batches)
            continue;
        buf_text(ids, n ? ",\"" : "\"");
        for (const char *c = rows[i].id; *c; c++) {
            if (*c == '"' || *c == '\\')
                buf_char(ids, '\\');
            buf_char(ids, *c);
        }
        buf_char(ids, '"');
        buf_format(seqs, "%s%lld", n++ ? "," : "", (long long)rows[i].seq);
    }
    buf_char(ids, '}');
    buf_char(seqs, '}');
    return n;
}

static int delete_one(struct push *p, const char *sql, int count, const char *const *values, struct err *e) {
    struct pg_result *answer = NULL;
    int result = pg_run(p->pg, &answer, e, sql, count, values);
    if (!result)
        p->rows += pg_changed(answer);
    pg_result_free(answer);
    return result;
}

// By id and number: a row typed anew under an id that was free again has another number.
static int delete_kind(struct push *p, const struct gone *rows, size_t count, bool batches, struct err *e) {
    struct buf ids, seqs;
    int result = 0;
    buf_init(&ids, BUF_UNLIMITED);
    buf_init(&seqs, BUF_UNLIMITED);
    size_t n = write_arrays(rows, count, batches, &ids, &seqs);
    const char *values[] = {p->node, buf_borrow(&ids), buf_borrow(&seqs)};
    if (n && batches)
        result =
            delete_one(p, "DELETE FROM batch_jobs WHERE node = $1 AND id = ANY ($2::uuid[])", 2, values, e);
    else if (n)
        result = delete_one(p,
                            "DELETE FROM outputs o USING unnest($2::uuid[], $3::bigint[]) AS d (id, seq) "
                            "WHERE o.node = $1 AND o.generation_id = d.id "
                            "AND o.id BETWEEN d.seq * 1024 AND d.seq * 1024 + 1023",
                            3, values, e);
    if (n && !batches && !result)
        result = delete_one(p,
                            "DELETE FROM generations g USING unnest($2::uuid[], $3::bigint[]) AS d (id, seq) "
                            "WHERE g.node = $1 AND g.id = d.id AND g.seq = d.seq",
                            3, values, e);
    buf_free(&ids);
    buf_free(&seqs);
    return result;
}

// The counts of batch jobs that have lost items, and stand. An item's neighbours are mostly of the same one.
static int push_batches(struct push *p, const struct gone *rows, size_t count, struct err *e) {
    int result = 0;
    int64_t last = 0;
    for (size_t i = 0; i < count && !result; i++)
        if (rows[i].batch_seq && rows[i].batch_seq != last)
            result = push_batch(p, last = rows[i].batch_seq, e);
    return result;
}

static int drop_rows(struct push *p, const struct gone *rows, size_t count, struct err *e) {
    int result = pg_begin(p->pg, e);
    if (!result)
        result = delete_kind(p, rows, count, false, e);
    if (!result)
        result = delete_kind(p, rows, count, true, e);
    if (!result)
        result = pg_commit(p->pg, e);
    if (result) {
        pg_rollback(p->pg);
        return result;
    }
    result = push_batches(p, rows, count, e);
    return result ? result : p->sink.on_dropped(p->sink.payload, rows[0].place, rows[count - 1].place, e);
}

// A page was refused: one at a time, until it is known which ones it is.
static int drop_singly(struct push *p, const struct gone *rows, size_t count, struct err *e) {
    int result = 0;
    for (size_t i = 0; i < count && !result; i++) {
        struct err why = {0};
        char number[24];
        result = drop_rows(p, rows + i, 1, &why);
        if (result == ERR_INVALID) {
            snprintf(number, sizeof number, "%lld", (long long)rows[i].seq);
            p->refused++;
            result = p->sink.on_refused(p->sink.payload, rows[i].is_batch ? "batch_jobs" : "generations",
                                        number, why.message, e);
        } else if (result) {
            *e = why;
        }
    }
    return result;
}

int drop_page(struct push *p, bool *more, struct err *e) {
    struct gone_list l = {0};
    *more = false;
    int result = read_list(p, &l, e);
    if (!result && l.count) {
        result = drop_rows(p, l.rows, l.count, e);
        if (result == ERR_INVALID)
            result = drop_singly(p, l.rows, l.count, e);
    }
    if (!result && l.count) {
        p->dropped = l.rows[l.count - 1].place;
        *more = l.count == (size_t)p->page;
    }
    list_free(&l);
    return result;
}

int drop_has_news(struct push *p, bool *news, struct err *e) {
    int64_t found = 0;
    int result =
        db_integer(p->db, e, &found, 0, "SELECT 1 FROM sync_deleted WHERE place>? LIMIT 1", "i", p->dropped);
    *news = found != 0;
    return result;
}
