// SPDX-License-Identifier: MIT
#include "sync/small.h"
#include "base/digest.h"
#include "base/mem.h"
#include "sync/send.h"
#include <stdlib.h>
#include <string.h>

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
        result = send_read(p, table, k, from, &to, &rows, &version, e);
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
    keys_write_texts(k, &names);
    const char *values[] = {p->node, buf_borrow(&names)};
    int result =
        pg_run(p->pg, NULL, e, "DELETE FROM locks WHERE node = $1 AND name <> ALL ($2::text[])", 2, values);
    buf_free(&names);
    return result;
}

static int write_table(struct push *p, size_t table, const struct keys *k, bool whole, bool careful,
                       struct err *e) {
    int result = pg_begin(p->pg, e);
    p->careful = careful;
    if (!result)
        result = send_keys(p, table, k, e);
    if (!result && whole && table == TABLE_LOCKS)
        result = drop_locks(p, k, e);
    if (!result)
        result = send_commit(p, false, e);
    p->careful = false;
    if (result)
        send_rollback(p);
    return result;
}

static int drop_locks_apart(struct push *p, const struct keys *k, struct err *e) {
    int result = pg_begin(p->pg, e);
    if (!result)
        result = drop_locks(p, k, e);
    if (!result)
        result = send_commit(p, false, e);
    if (result)
        send_rollback(p);
    return result == ERR_INVALID
               ? 0
               : result; // somebody's own table holds on to one: they are tried again when they change
}

// `whole`: these are all that there are.
static int write_patiently(struct push *p, size_t table, const struct keys *k, bool whole, struct err *e) {
    int result = write_table(p, table, k, whole, false, e);
    if (result == ERR_INVALID)
        result = write_table(p, table, k, whole, true, e);
    if (result != ERR_INVALID)
        return result;
    result = send_apart(p, table, k, e);
    return result || !whole || table != TABLE_LOCKS ? result : drop_locks_apart(p, k, e);
}

int small_rows(struct push *p, size_t table, const struct keys *keys, struct err *e) {
    return write_patiently(p, table, keys, false, e);
}

static int push_table(struct push *p, size_t table, const char *sql, struct err *e) {
    struct keys k = {0};
    char digest[DIGEST_HEX_SIZE];
    int result = list_keys(p, sql, &k, e);
    if (!result)
        result = digest_of(p, table, &k, digest, e);
    if (!result && (!p->digests[table] || strcmp(p->digests[table], digest) != 0)) {
        result = write_patiently(p, table, &k, true, e);
        if (!result) {
            free(p->digests[table]);
            p->digests[table] = mem_copy(digest);
        }
    }
    keys_free(&k);
    return result;
}

int small_push(struct push *p, struct err *e) {
    int result = push_table(p, TABLE_PROFILES, "SELECT id FROM profiles ORDER BY id", e);
    if (!result)
        result = push_table(p, TABLE_SESSIONS, "SELECT id FROM sessions ORDER BY id", e);
    if (!result)
        result = push_table(p, TABLE_PROJECTS, "SELECT id FROM projects ORDER BY id", e);
    return result ? result : push_table(p, TABLE_LOCKS, "SELECT name FROM locks ORDER BY name", e);
}
