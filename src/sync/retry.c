// SPDX-License-Identifier: MIT
#include "sync/retry.h"
#include "base/clock.h"
#include "base/mem.h"
#include "sync/small.h"
#include <stdlib.h>
#include <string.h>

#define EVERY_MS (3600 * 1000LL)
#define PATIENCE 1000
#define PAGE 128 // less than half of the patience, whatever of it is refused

static void go_to(struct retry *r, size_t table, const char *key) {
    char *copy = mem_copy(key);
    free(r->key);
    r->key = copy;
    r->table = table;
}

// A refused delete stands there, too, of a row that is not here: it is drop.c's, as long as it is in sync_deleted.
static int is_of_a_delete(struct push *p, size_t table, int64_t number, bool *is, struct err *e) {
    int64_t waits = 0, there = 0;
    int result = db_integer(p->db, e, &waits, 0, "SELECT 1 FROM sync_deleted LIMIT 1", "");
    if (!result && waits)
        result = db_integer(p->db, e, &there, 0,
                            table == TABLE_BATCH_JOBS ? "SELECT 1 FROM batch_job WHERE seq = ?1"
                                                      : "SELECT 1 FROM generation WHERE seq = ?1",
                            "i", number);
    *is = waits && !there;
    return result;
}

static int read_keys(struct push *p, struct keys *keys, bool *full, struct err *e) {
    const struct table *t = &table_list[p->retry.table];
    size_t count = 0;
    sqlite3_stmt *s = db_ask(p->db, e,
                             "SELECT row_key FROM sync_refused WHERE table_name = ?1 AND row_key > ?2 "
                             "ORDER BY row_key LIMIT ?3",
                             "tti", t->name, p->retry.key ? p->retry.key : "", (int64_t)PAGE);
    int step = s ? 1 : -1, result = 0;
    while (s && !result && (step = db_next(p->db, s, e)) > 0) {
        const char *key = db_text(s, 0);
        int64_t number = t->text_key ? 0 : strtoll(key, NULL, 10);
        bool of_a_delete = false;
        count++;
        go_to(&p->retry, p->retry.table, key);
        if (t == &table_list[TABLE_GENERATIONS] || t == &table_list[TABLE_BATCH_JOBS])
            result = is_of_a_delete(p, p->retry.table, number, &of_a_delete, e);
        if (!of_a_delete)
            keys_add(keys, number, t->text_key ? key : NULL);
    }
    db_done(p->db, s);
    *full = count == PAGE;
    return step < 0 ? ERR_DATABASE : result;
}

static int try_keys(struct push *p, const struct keys *keys, struct err *e) {
    p->retry.on = true;
    p->any_refused = 1;
    int result = table_list[p->retry.table].text_key ? small_rows(p, p->retry.table, keys, e)
                                                     : push_rows(p, p->retry.table, keys, e);
    p->retry.on = false;
    return result;
}

static void begin(struct push *p) {
    p->retry.under_way = true;
    p->retry.patience = PATIENCE;
    p->dropped = 0; // deletes that were refused, too
}

// The end of the list, or of the patience.
static void end(struct push *p) {
    p->retry.under_way = false;
    p->retry.due_ms = clock_boottime_ms() + EVERY_MS;
}

// Behind a page that was tried. With the patience at its end that page was not tried whole: the next round begins with it.
static void go_on(struct push *p, const char *from, bool full) {
    struct retry *r = &p->retry;
    if (!r->thorough && r->patience <= 0) {
        go_to(r, r->table, from);
        end(p);
    } else if (!full && r->table + 1 < TABLE_COUNT) {
        go_to(r, r->table + 1, NULL);
    } else if (!full) {
        go_to(r, 0, NULL);
        end(p);
    }
}

static int try_page(struct push *p, bool *tried, struct err *e) {
    struct keys keys = {0};
    bool full = false;
    char *from = mem_copy(p->retry.key);
    int result = read_keys(p, &keys, &full, e);
    *tried = keys.count > 0;
    if (!result && *tried)
        result = try_keys(p, &keys, e);
    if (result)
        go_to(&p->retry, p->retry.table, from);
    else
        go_on(p, from, full);
    keys_free(&keys);
    free(from);
    return result;
}

int retry_page(struct push *p, bool *more, struct err *e) {
    bool tried = false;
    int result = 0;
    *more = false;
    if (!p->retry.under_way && clock_boottime_ms() < p->retry.due_ms)
        return 0;
    if (!p->retry.under_way)
        begin(p);
    while (!result && !tried && p->retry.under_way)
        result = try_page(p, &tried, e);
    *more = !result && p->retry.under_way;
    return result;
}
