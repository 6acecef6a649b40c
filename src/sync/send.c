// SPDX-License-Identifier: MIT
#include "sync/send.h"
#include "base/json.h"
#include "sync/mark.h"
#include <stdio.h>

#define STATEMENT_KEYS 500
#define STATEMENT_BYTES (4u << 20)
#define TOLD_AT_ONCE 500

// ---- reading ----

static const char *select_of(struct push *p, size_t table) {
    if (!p->selects[table]) {
        struct buf sql;
        buf_init(&sql, BUF_UNLIMITED);
        table_select(&table_list[table], &sql);
        p->selects[table] = buf_take(&sql);
    }
    return p->selects[table];
}

static const char *upsert_of(struct push *p, size_t table) {
    if (!p->upserts[table]) {
        struct buf sql;
        buf_init(&sql, BUF_UNLIMITED);
        table_upsert(&table_list[table], &sql);
        p->upserts[table] = buf_take(&sql);
    }
    return p->upserts[table];
}

static int read_key(struct push *p, size_t table, const struct keys *k, size_t i, struct rowset *rows,
                    struct err *e) {
    const char *sql = select_of(p, table);
    sqlite3_stmt *statement = table_list[table].text_key ? db_ask(p->db, e, sql, "t", k->texts[i])
                                                         : db_ask(p->db, e, sql, "i", k->numbers[i]);
    if (!statement)
        return ERR_DATABASE;
    int step;
    while ((step = db_next(p->db, statement, e)) > 0)
        rowset_add(rows, statement);
    db_done(p->db, statement);
    return step < 0 ? ERR_DATABASE : 0;
}

int send_read(struct push *p, size_t table, const struct keys *k, size_t from, size_t *to,
              struct rowset *rows, int64_t *version, struct err *e) {
    size_t i = from, end = *to;
    int result = db_run(p->db, e, "BEGIN", "");
    if (result)
        return result;
    result = db_integer(p->db, e, version, 0, QUEUE_SYNC_NEWEST, "");
    for (; !result && i < end && i - from < STATEMENT_KEYS && rows->bytes < STATEMENT_BYTES; i++)
        result = read_key(p, table, k, i, rows, e);
    *to = i;
    struct err ended;
    int closed = db_run(p->db, &ended, "COMMIT", "");
    if (!result && closed)
        *e = ended;
    return result ? result : closed;
}

// ---- what is refused, and what is not any more ----

// A key as sync_refused has it.
static const char *key_of(size_t table, const struct keys *k, size_t i, char number[24]) {
    snprintf(number, 24, "%lld", (long long)k->numbers[i]);
    return table_list[table].text_key ? k->texts[i] : number;
}

int send_refused(struct push *p, size_t table, const struct keys *k, size_t i, const char *reason,
                 struct err *e) {
    char number[24];
    int64_t known = 0;
    const char *name = table_list[table].name, *key = key_of(table, k, i, number);
    p->refused++;
    int result =
        db_integer(p->db, e, &known, 0,
                   "SELECT 1 FROM sync_refused WHERE table_name = ?1 AND row_key = ?2 AND reason = ?3", "ttt",
                   name, key, reason);
    return result || known ? result : p->sink.on_refused(p->sink.payload, name, key, reason, e);
}

static int note_taken(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                      struct err *e) {
    int result = 0;
    for (size_t i = from; i < to && !result; i++) {
        char number[24];
        int64_t was = 0;
        const char *key = key_of(table, k, i, number);
        result =
            db_integer(p->db, e, &was, 0, "SELECT 1 FROM sync_refused WHERE table_name = ?1 AND row_key = ?2",
                       "tt", table_list[table].name, key);
        if (!result && was)
            keys_add(&p->taken[table], 0, key);
    }
    return result;
}

static void forget_taken(struct push *p) {
    for (size_t table = 0; table < TABLE_COUNT; table++)
        keys_free(&p->taken[table]);
}

static int tell_taken(struct push *p, struct err *e) {
    int result = 0;
    for (size_t table = 0; table < TABLE_COUNT; table++) {
        const struct keys *k = &p->taken[table];
        for (size_t from = 0; from < k->count && !result; from += TOLD_AT_ONCE) {
            struct buf list;
            buf_init(&list, BUF_UNLIMITED);
            for (size_t i = from; i < k->count && i < from + TOLD_AT_ONCE; i++) {
                buf_char(&list, i > from ? ',' : '[');
                json_write_text(&list, k->texts[i]);
            }
            buf_char(&list, ']');
            result = p->sink.on_taken(p->sink.payload, table_list[table].name, buf_borrow(&list), e);
            buf_free(&list);
        }
    }
    forget_taken(p);
    return result;
}

// ---- writing ----

// ERR_INVALID: the rows are refused, for what is in them.
static int send(struct push *p, size_t table, struct rowset *rows, int64_t version, struct err *e) {
    const struct table *t = &table_list[table];
    if (rows->wrong)
        return err_set(e, ERR_INVALID, "%s holds a NUL, which no text of Postgres can", rows->wrong);
    const char *values[ROWSET_COLUMNS + 2];
    char number[24];
    struct pg_result *answer = NULL;
    int n = 0;
    snprintf(number, sizeof number, "%lld", (long long)version);
    values[n++] = p->node;
    if (t->versioned)
        values[n++] = number;
    rowset_values(rows, values + n);
    int result = pg_run(p->pg, &answer, e, upsert_of(p, table), n + (int)table_width(t), values);
    if (!result)
        p->rows += pg_changed(answer);
    pg_result_free(answer);
    return result;
}

// A refusal costs some of what a round of second tries may cost; false: that is used up.
static bool may_refuse(struct push *p) {
    return !p->retry.on || p->retry.thorough || p->retry.patience-- > 0;
}

static int send_range(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                      struct err *e);

// The statement was refused: its rows one half at a time, until it is known which one it is.
static int send_halves(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                       struct err *e) {
    struct err why = *e;
    int result = pg_script(p->pg, "ROLLBACK TO SAVEPOINT statement", e);
    if (result || !may_refuse(p))
        return result;
    if (to - from == 1)
        return send_refused(p, table, k, from, why.message, e);
    size_t middle = from + (to - from) / 2;
    result = send_range(p, table, k, from, middle, e);
    return result ? result : send_range(p, table, k, middle, to, e);
}

static int send_range(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                      struct err *e) {
    int result = 0;
    while (!result && from < to) {
        struct rowset rows;
        size_t end = to;
        int64_t version = 0;
        rowset_begin(&rows, &table_list[table]);
        result = send_read(p, table, k, from, &end, &rows, &version, e);
        if (!result && rows.count && p->careful)
            result = pg_script(p->pg, "SAVEPOINT statement", e);
        if (!result && rows.count)
            result = send(p, table, &rows, version, e);
        if (result == ERR_INVALID && p->careful)
            result = send_halves(p, table, k, from, end, e);
        else if (!result && p->any_refused)
            result = note_taken(p, table, k, from, end, e);
        rowset_free(&rows);
        from = end;
    }
    return result;
}

int send_keys(struct push *p, size_t table, const struct keys *k, struct err *e) {
    return send_range(p, table, k, 0, k->count, e);
}

int send_commit(struct push *p, bool versioned, struct err *e) {
    int64_t mark = p->mark;
    int result = versioned ? mark_write(p, &mark, e) : 0;
    if (!result)
        result = pg_commit(p->pg, e);
    if (result)
        return result;
    p->mark = mark;
    return tell_taken(p, e);
}

void send_rollback(struct push *p) {
    pg_rollback(p->pg);
    forget_taken(p);
}

static int send_alone(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                      struct err *e) {
    int result = pg_begin(p->pg, e);
    p->careful = true;
    if (!result)
        result = send_range(p, table, k, from, to, e);
    p->careful = false;
    if (!result)
        result = send_commit(p, table_list[table].versioned, e);
    if (result)
        send_rollback(p);
    return result;
}

static int apart(struct push *p, size_t table, const struct keys *k, size_t from, size_t to, struct err *e) {
    if (from == to)
        return 0;
    int result = send_alone(p, table, k, from, to, e);
    if (result != ERR_INVALID || !may_refuse(p))
        return result == ERR_INVALID ? 0 : result;
    if (to - from == 1) {
        const struct err why = *e;
        return send_refused(p, table, k, from, why.message, e);
    }
    size_t middle = from + (to - from) / 2;
    result = apart(p, table, k, from, middle, e);
    return result ? result : apart(p, table, k, middle, to, e);
}

int send_apart(struct push *p, size_t table, const struct keys *k, struct err *e) {
    return apart(p, table, k, 0, k->count, e);
}
