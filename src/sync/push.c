// SPDX-License-Identifier: MIT
#include "sync/push.h"
#include "base/digest.h"
#include "base/mem.h"
#include "queue/sync.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATEMENT_KEYS 500
#define STATEMENT_BYTES (4u << 20)

// What rows are asked for by: numbers, or the texts of a small table.
struct keys {
    int64_t *numbers;
    char **texts;
    size_t count, room;
};

static void keys_add(struct keys *k, int64_t number, const char *text) {
    if (k->count == k->room) {
        k->room = k->room ? k->room * 2 : 256;
        k->numbers = mem_resize(k->numbers, k->room, sizeof *k->numbers);
        k->texts = mem_resize(k->texts, k->room, sizeof *k->texts);
    }
    k->numbers[k->count] = number;
    k->texts[k->count++] = mem_copy(text);
}

static void keys_free(struct keys *k) {
    for (size_t i = 0; i < k->count; i++)
        free(k->texts[i]);
    free(k->numbers);
    free(k->texts);
    *k = (struct keys){0};
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// Numbers in order, each once: a row may stand only once in a statement.
static void keys_unique(struct keys *k) {
    size_t n = 0;
    if (k->count)
        qsort(k->numbers, k->count, sizeof *k->numbers, compare);
    for (size_t i = 0; i < k->count; i++)
        if (n == 0 || k->numbers[i] != k->numbers[n - 1])
            k->numbers[n++] = k->numbers[i];
    k->count = n; // the texts are NULL
}

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

// Reads the rows of so many keys from `from` on as fit into a statement; *to is the first that does not. All in one
// snapshot, at which the log stood at *version; it is given up before anything is sent, since it holds back the log file.
static int read_rows(struct push *p, size_t table, const struct keys *k, size_t from, size_t *to,
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

static int tell_refused(struct push *p, size_t table, const struct keys *k, size_t i, const struct err *why,
                        struct err *e) {
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)k->numbers[i]);
    p->refused++;
    return p->sink.on_refused(p->sink.payload, table_list[table].name,
                              table_list[table].text_key ? k->texts[i] : number, why->message, e);
}

// These went through: what had been refused of them is not any more.
static int tell_taken(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                      struct err *e) {
    const char *name = table_list[table].name;
    int result = 0;
    for (size_t i = from; i < to && !result; i++) {
        char number[24];
        int64_t was = 0;
        snprintf(number, sizeof number, "%lld", (long long)k->numbers[i]);
        const char *key = table_list[table].text_key ? k->texts[i] : number;
        result =
            db_integer(p->db, e, &was, 0, "SELECT 1 FROM sync_refused WHERE table_name = ?1 AND row_key = ?2",
                       "tt", name, key);
        if (!result && was)
            result = p->sink.on_refused(p->sink.payload, name, key, NULL, e);
    }
    return result;
}

static int push_range(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                      struct err *e);

// The statement was refused: its rows one half at a time, until it is known which one it is.
static int push_halves(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                       struct err *e) {
    struct err why = *e;
    int result = pg_script(p->pg, "ROLLBACK TO SAVEPOINT statement", e);
    if (result)
        return result;
    if (to - from == 1)
        return tell_refused(p, table, k, from, &why, e);
    size_t middle = from + (to - from) / 2;
    result = push_range(p, table, k, from, middle, e);
    return result ? result : push_range(p, table, k, middle, to, e);
}

static int push_range(struct push *p, size_t table, const struct keys *k, size_t from, size_t to,
                      struct err *e) {
    int result = 0;
    while (!result && from < to) {
        struct rowset rows;
        size_t end = to;
        int64_t version = 0;
        rowset_begin(&rows, &table_list[table]);
        result = read_rows(p, table, k, from, &end, &rows, &version, e);
        if (!result && rows.count) {
            if (p->careful)
                result = pg_script(p->pg, "SAVEPOINT statement", e);
            if (!result)
                result = send(p, table, &rows, version, e);
            if (result == ERR_INVALID && p->careful)
                result = push_halves(p, table, k, from, end, e);
            else if (!result && p->any_refused)
                result = tell_taken(p, table, k, from, end, e);
        }
        rowset_free(&rows);
        from = end;
    }
    return result;
}

static int push_keys(struct push *p, size_t table, const struct keys *k, struct err *e) {
    return push_range(p, table, k, 0, k->count, e);
}

// ---- what is fresh there ----

static struct push_fresh *fresh_place(struct push *p, int64_t seq) {
    return &p->fresh[(uint64_t)seq % PUSH_FRESH_ROWS];
}

static void set_fresh(struct push *p, int64_t seq, int64_t version) {
    if (!p->fresh)
        p->fresh = mem_alloc(PUSH_FRESH_ROWS, sizeof *p->fresh);
    *fresh_place(p, seq) = (struct push_fresh){seq, version};
}

static bool is_fresh(struct push *p, int64_t seq, int64_t event_id) {
    return p->fresh && fresh_place(p, seq)->seq == seq && event_id <= fresh_place(p, seq)->version;
}

static bool is_whole(const struct push *p, int64_t batch_seq, int64_t event_id) {
    for (size_t i = 0; i < PUSH_FRESH_BATCHES; i++)
        if (p->whole[i].seq == batch_seq && event_id <= p->whole[i].version)
            return true;
    return false;
}

// ---- a page of the log ----

struct page {
    struct keys generations, outputs, retried, batches, logs;
    struct push_position next;
    int64_t version; // the log had come so far, or further, when its rows were read
    bool full;
};

static void page_is_there(struct push *p, const struct page *page) {
    for (size_t i = 0; i < page->generations.count; i++)
        set_fresh(p, page->generations.numbers[i], page->version);
    for (size_t i = 0; i < page->batches.count; i++)
        set_fresh(p, -page->batches.numbers[i], page->version);
    if (page->next.batch_seq && page->next.item_index < 0)
        p->whole_version = page->version;
    if (p->at.batch_seq && !page->next.batch_seq) {
        p->whole[p->whole_next++ % PUSH_FRESH_BATCHES] =
            (struct push_fresh){p->at.batch_seq, p->whole_version};
        p->whole_version = 0;
    }
}

static void page_free(struct page *page) {
    keys_free(&page->generations);
    keys_free(&page->outputs);
    keys_free(&page->retried);
    keys_free(&page->batches);
    keys_free(&page->logs);
}

static int find_outputs(struct push *p, int64_t seq, struct keys *outputs, struct err *e) {
    sqlite3_stmt *s =
        db_ask(p->db, e, "SELECT key FROM output WHERE key BETWEEN ?1 AND ?1 + 1023", "i", seq * 1024);
    int step = s ? 1 : -1;
    while (s && (step = db_next(p->db, s, e)) > 0)
        keys_add(outputs, db_int(s, 0), NULL);
    db_done(p->db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

// Outputs go one by one: one may be large. Later starts may have given fewer of them than earlier ones.
static int follow(struct push *p, struct page *page, struct err *e) {
    int result = 0;
    for (size_t i = 0; i < page->generations.count && !result; i++) {
        int64_t starts = 0, seq = page->generations.numbers[i];
        result = db_integer(p->db, e, &starts, 0, "SELECT starts FROM generation WHERE seq = ?1", "i", seq);
        if (!result && starts > 1)
            keys_add(&page->retried, seq, NULL);
        if (!result && starts > 0)
            result = find_outputs(p, seq, &page->outputs, e);
    }
    return result;
}

static int read_events(struct push *p, struct page *page, struct err *e) {
    sqlite3_stmt *s =
        db_ask(p->db, e,
               "SELECT e.id, e.generation_seq, coalesce(e.batch_seq, g.batch_seq), e.event='batch.created' "
               "FROM event e LEFT JOIN generation g ON g.seq = e.generation_seq "
               "WHERE e.id > ?1 ORDER BY e.id LIMIT ?2",
               "ii", p->at.log_id, (int64_t)p->page);
    if (!s)
        return ERR_DATABASE;
    int step;
    while ((step = db_next(p->db, s, e)) > 0) {
        page->next.log_id = db_int(s, 0);
        keys_add(&page->logs, db_int(s, 0), NULL);
        int64_t id = db_int(s, 0), generation = db_int(s, 1), batch = db_int(s, 2);
        if (generation && !is_fresh(p, generation, id) && !(batch && is_whole(p, batch, id)))
            keys_add(&page->generations, generation, NULL);
        if (batch && !is_fresh(p, -batch, id))
            keys_add(&page->batches, batch, NULL);
        page->full = page->logs.count == (size_t)p->page;
        if (db_int(s, 3)) { // its items are the next pages
            page->next.batch_seq = db_int(s, 2);
            page->next.item_index = -1;
            page->full = true;
            break;
        }
    }
    db_done(p->db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

static int read_items(struct push *p, struct page *page, struct err *e) {
    sqlite3_stmt *s =
        db_ask(p->db, e,
               "SELECT seq, item_index FROM generation WHERE batch_seq = ?1 AND item_index > ?2 "
               "ORDER BY item_index LIMIT ?3",
               "iii", p->at.batch_seq, p->at.item_index, (int64_t)p->page);
    if (!s)
        return ERR_DATABASE;
    int step;
    while ((step = db_next(p->db, s, e)) > 0) {
        keys_add(&page->generations, db_int(s, 0), NULL);
        page->next.item_index = db_int(s, 1);
    }
    db_done(p->db, s);
    page->full = true; // what came behind the batch job's creation
    if (page->generations.count < (size_t)p->page)
        page->next.batch_seq = page->next.item_index = 0;
    return step < 0 ? ERR_DATABASE : 0;
}

static int read_page(struct push *p, struct page *page, struct err *e) {
    page->next = p->at;
    int result = db_integer(p->db, e, &page->version, 0, QUEUE_SYNC_NEWEST, "");
    if (!result)
        result = db_integer(p->db, e, &p->any_refused, 0, "SELECT 1 FROM sync_refused LIMIT 1", "");
    if (!result)
        result = p->at.batch_seq ? read_items(p, page, e) : read_events(p, page, e);
    keys_unique(&page->generations);
    keys_unique(&page->batches);
    return result ? result : follow(p, page, e);
}

static void write_numbers(struct buf *out, const int64_t *numbers, size_t count) {
    buf_char(out, '{');
    for (size_t i = 0; i < count; i++)
        buf_format(out, "%s%lld", i ? "," : "", (long long)numbers[i]);
    buf_char(out, '}');
}

// Outputs that are there and not here any more.
static int drop_outputs(struct push *p, const struct keys *generations, struct err *e) {
    struct keys outputs = {0};
    struct buf seqs, ids;
    int result = 0;
    if (generations->count == 0)
        return 0;
    for (size_t i = 0; i < generations->count && !result; i++)
        result = find_outputs(p, generations->numbers[i], &outputs, e);
    buf_init(&seqs, BUF_UNLIMITED);
    buf_init(&ids, BUF_UNLIMITED);
    write_numbers(&seqs, generations->numbers, generations->count);
    write_numbers(&ids, outputs.numbers, outputs.count);
    const char *values[] = {p->node, buf_borrow(&seqs), buf_borrow(&ids)};
    if (!result)
        result = pg_run(p->pg, NULL, e,
                        "DELETE FROM outputs o USING unnest($2::bigint[]) s WHERE o.node = $1 "
                        "AND o.id BETWEEN s * 1024 AND s * 1024 + 1023 AND o.id <> ALL ($3::bigint[])",
                        3, values);
    buf_free(&seqs);
    buf_free(&ids);
    keys_free(&outputs);
    return result;
}

static int write_page(struct push *p, const struct page *page, struct err *e) {
    int result = pg_begin(p->pg, e);
    if (!result)
        result = push_keys(p, TABLE_GENERATIONS, &page->generations, e);
    if (!result)
        result = drop_outputs(p, &page->retried, e);
    if (!result)
        result = push_keys(p, TABLE_OUTPUTS, &page->outputs, e);
    if (!result)
        result = push_keys(p, TABLE_BATCH_JOBS, &page->batches, e);
    if (!result)
        result = push_keys(p, TABLE_LOGS, &page->logs, e);
    return result ? result : pg_commit(p->pg, e);
}

// Without savepoints first: they cost a way to the server each, and are needed once in a lifetime.
static int write_patiently(struct push *p, const struct page *page, struct err *e) {
    int result = write_page(p, page, e);
    if (result)
        pg_rollback(p->pg);
    if (result != ERR_INVALID)
        return result;
    p->careful = true;
    result = write_page(p, page, e);
    p->careful = false;
    if (result)
        pg_rollback(p->pg);
    return result;
}

int push_page(struct push *p, bool *more, struct err *e) {
    struct page page = {0};
    *more = false;
    int result = read_page(p, &page, e);
    bool any = page.generations.count || page.logs.count || memcmp(&page.next, &p->at, sizeof p->at) != 0;
    if (!result && any)
        result = write_patiently(p, &page, e);
    if (!result && any)
        result = p->sink.on_page(p->sink.payload, &page.next, e);
    if (!result) {
        page_is_there(p, &page);
        p->at = page.next;
        *more = page.full;
    }
    page_free(&page);
    return result;
}

int push_batch(struct push *p, int64_t batch_seq, struct err *e) {
    struct page page = {0};
    keys_add(&page.batches, batch_seq, NULL);
    int result = follow(p, &page, e);
    if (!result)
        result = write_patiently(p, &page, e);
    page_free(&page);
    return result;
}

int push_live(struct push *p, struct err *e) {
    struct page page = {0};
    sqlite3_stmt *s =
        db_ask(p->db, e, "SELECT seq FROM generation WHERE status='processing' ORDER BY seq", "");
    int step = s ? 1 : -1;
    while (s && (step = db_next(p->db, s, e)) > 0)
        keys_add(&page.generations, db_int(s, 0), NULL);
    db_done(p->db, s);
    int result = step < 0 ? ERR_DATABASE : follow(p, &page, e);
    if (!result && page.generations.count)
        result = write_patiently(p, &page, e);
    page_free(&page);
    return result;
}

// ---- small tables ----

static int list_keys(struct push *p, const char *sql, struct keys *k, struct err *e) {
    sqlite3_stmt *s = db_ask(p->db, e, sql, "");
    int step = s ? 1 : -1;
    while (s && (step = db_next(p->db, s, e)) > 0)
        keys_add(k, 0, db_text(s, 0));
    db_done(p->db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

// The content of the table in one digest.
static int digest_of(struct push *p, size_t table, const struct keys *k, char out[DIGEST_HEX_SIZE],
                     struct err *e) {
    struct buf all;
    int result = 0;
    buf_init(&all, BUF_UNLIMITED);
    for (size_t from = 0, to; from < k->count && !result; from = to) {
        struct rowset rows;
        const char *values[ROWSET_COLUMNS];
        int64_t version;
        to = k->count;
        rowset_begin(&rows, &table_list[table]);
        result = read_rows(p, table, k, from, &to, &rows, &version, e);
        rowset_values(&rows, values);
        for (size_t i = 0; i < table_width(&table_list[table]); i++)
            buf_text(&all, values[i]);
        rowset_free(&rows);
    }
    digest_text(out, buf_borrow(&all));
    buf_free(&all);
    return result;
}

static int drop_locks(struct push *p, const struct keys *k, struct err *e) {
    struct buf names;
    buf_init(&names, BUF_UNLIMITED);
    buf_char(&names, '{');
    for (size_t i = 0; i < k->count; i++) {
        buf_text(&names, i ? ",\"" : "\"");
        for (const char *c = k->texts[i]; *c; c++) {
            if (*c == '"' || *c == '\\')
                buf_char(&names, '\\');
            buf_char(&names, *c);
        }
        buf_char(&names, '"');
    }
    buf_char(&names, '}');
    const char *values[] = {p->node, buf_borrow(&names)};
    int result =
        pg_run(p->pg, NULL, e, "DELETE FROM locks WHERE node = $1 AND name <> ALL ($2::text[])", 2, values);
    buf_free(&names);
    return result;
}

static int write_small(struct push *p, size_t table, const struct keys *k, struct err *e) {
    int result = pg_begin(p->pg, e);
    if (!result)
        result = push_keys(p, table, k, e);
    if (!result && table == TABLE_LOCKS)
        result = drop_locks(p, k, e);
    return result ? result : pg_commit(p->pg, e);
}

static int push_table(struct push *p, size_t table, const char *sql, struct err *e) {
    struct keys k = {0};
    char digest[DIGEST_HEX_SIZE];
    int result = list_keys(p, sql, &k, e);
    if (!result)
        result = digest_of(p, table, &k, digest, e);
    if (!result && (!p->digests[table] || strcmp(p->digests[table], digest) != 0)) {
        result = write_small(p, table, &k, e);
        if (result)
            pg_rollback(p->pg);
        if (result == ERR_INVALID) {
            p->careful = true;
            result = write_small(p, table, &k, e);
            p->careful = false;
            if (result)
                pg_rollback(p->pg);
        }
        if (!result) {
            free(p->digests[table]);
            p->digests[table] = mem_copy(digest);
        }
    }
    keys_free(&k);
    return result;
}

int push_small(struct push *p, struct err *e) {
    int result = push_table(p, TABLE_PROFILES, "SELECT id FROM profiles ORDER BY id", e);
    if (!result)
        result = push_table(p, TABLE_SESSIONS, "SELECT id FROM sessions ORDER BY id", e);
    if (!result)
        result = push_table(p, TABLE_PROJECTS, "SELECT id FROM projects ORDER BY id", e);
    return result ? result : push_table(p, TABLE_LOCKS, "SELECT name FROM locks ORDER BY name", e);
}

void push_forget(struct push *p) {
    free(p->fresh);
    p->fresh = NULL;
    memset(p->whole, 0, sizeof p->whole);
    p->whole_version = 0;
    p->dropped = 0;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        free(p->digests[i]);
        p->digests[i] = NULL;
    }
}

void push_clear(struct push *p) {
    push_forget(p);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        free(p->selects[i]);
        free(p->upserts[i]);
    }
}
