// SPDX-License-Identifier: MIT
// The push to Postgres, driven alone: by tests, and as a measure beside a plain upsert of the same rows by libpq.
//   push init SCHEMA [adopt]                      makes the mirror
//   push run SCHEMA DATABASE NODE PAGE CURSOR     pushes all that is behind the cursor kept in a file
//   push plain SCHEMA DATABASE NODE ROWS          multi-row VALUES, all rows read before the clock starts
// The connection string comes from GENRUN_SYNC_URL.
#ifdef HAVE_PG
#include "sync/push.h"
#include "base/clock.h"
#include "base/mem.h"
#include "sync/init.h"
#include "sync/small.h"
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const struct err *e) {
    fprintf(stderr, "push: %s\n", e->message);
    return e->code;
}

static int open_pg(struct pg **pg, const char *schema, const char *node, struct err *e) {
    const char *url = getenv("GENRUN_SYNC_URL");
    const struct pg_options options = {.url = url ? url : "", .schema = schema, .node = node};
    return pg_open(pg, &options, e);
}

static int run_init(char **argv, int argc) {
    struct err e;
    struct pg *pg;
    struct init_report report;
    const struct init_options options = {.adopt = argc > 1 && strcmp(argv[1], "adopt") == 0};
    int result = open_pg(&pg, argv[0], NULL, &e);
    if (!result)
        result = init_mirror(pg, argv[0], &options, &report, &e);
    if (!result)
        printf("from %d to %d, schema made %d, adopted %d, added %d\n", report.before, report.after,
               report.schema_made, report.adopted, report.added);
    pg_close(pg);
    return result ? fail(&e) : 0;
}

// ---- run ----

static int keep(void *payload, const struct sync_position *at, struct err *e) {
    char *next = mem_format("%s.next", (const char *)payload);
    FILE *f = fopen(next, "w");
    if (!f)
        return err_set(e, ERR_DATABASE, "cannot write the cursor: look at the folder");
    fwrite(at, sizeof *at, 1, f);
    fclose(f);
    rename(next, payload);
    free(next);
    return 0;
}

static int refused(void *payload, const char *table, const char *key, const char *reason, struct err *e) {
    (void)payload;
    (void)e;
    printf("refused %s %s: %s\n", table, key, reason);
    return 0;
}

static int taken(void *payload, const char *table, const char *keys, struct err *e) {
    (void)payload;
    (void)e;
    printf("taken %s %s\n", table, keys);
    return 0;
}

static void recall(const char *path, struct sync_position *at) {
    FILE *f = fopen(path, "r");
    if (f && fread(at, sizeof *at, 1, f) != 1)
        *at = (struct sync_position){0};
    if (f)
        fclose(f);
}

static int run_push(char **argv) {
    struct err e;
    struct push p = {.node = argv[2], .page = atoi(argv[3]), .sink = {keep, refused, taken, NULL, argv[4]}};
    bool more = true;
    recall(argv[4], &p.at);
    int result = open_pg(&p.pg, argv[0], argv[2], &e);
    if (!result)
        result = db_open(&p.db, argv[1], DB_LOOK, &e);
    int64_t from = clock_monotonic_ms();
    while (!result && more)
        result = push_page(&p, &more, &e);
    if (!result)
        result = small_push(&p, &e);
    if (!result)
        result = push_live(&p, &e);
    if (!result)
        printf("rows %" PRId64 " refused %" PRId64 " ms %" PRId64 "\n", p.rows, p.refused,
               clock_monotonic_ms() - from);
    push_clear(&p);
    pg_close(p.pg);
    db_close(p.db);
    return result ? fail(&e) : 0;
}

// ---- plain ----

struct plain {
    struct db *db;
    PGconn *conn;
    const char *node;
    int rows;
    int64_t written;
};

static char *cell(sqlite3_stmt *s, int i, enum column_kind kind) {
    char time[CLOCK_ISO_SIZE];
    if (db_is_null(s, i))
        return NULL;
    if (kind == COLUMN_TIME) {
        clock_format_iso(db_int(s, i), time);
        return mem_copy(time);
    }
    return mem_copy((const char *)sqlite3_column_text(s, i));
}

static char *plain_sql(const struct table *t, int rows) {
    struct buf sql;
    int n = 1;
    buf_init(&sql, BUF_UNLIMITED);
    buf_format(&sql, "INSERT INTO %s (node%s", t->name, t->versioned ? ", sync_version" : "");
    for (const struct column *c = t->columns; c->name; c++)
        buf_format(&sql, ", %s", c->name);
    buf_text(&sql, ") VALUES ");
    for (int r = 0; r < rows; r++) {
        buf_format(&sql, "%s($%d%s", r ? "," : "", n, t->versioned ? ",1" : "");
        n++;
        for (const struct column *c = t->columns; c->name; c++)
            buf_format(&sql, ",$%d", n++);
        buf_char(&sql, ')');
    }
    buf_format(&sql, " ON CONFLICT (%s) DO ", t->key);
    if (t == &table_list[TABLE_LOGS]) { // its rows never change
        buf_text(&sql, "NOTHING");
        return buf_take(&sql);
    }
    buf_text(&sql, "UPDATE SET node = excluded.node");
    for (const struct column *c = t->columns; c->name; c++)
        buf_format(&sql, ", %s = excluded.%s", c->name, c->name);
    return buf_take(&sql);
}

static int plain_table(struct plain *p, size_t table, int64_t *spent, struct err *e) {
    const struct table *t = &table_list[table];
    size_t width = table_width(t), count = 0, room = 0;
    char **cells = NULL;
    struct buf sql;
    buf_init(&sql, BUF_UNLIMITED);
    table_select(t, &sql);
    char *from = strstr(sql.data, " WHERE t.");
    *from = 0;
    sqlite3_stmt *s = db_ask_text(p->db, e, sql.data, "");
    while (s && db_next(p->db, s, e) > 0) {
        if (count == room)
            cells = mem_resize(cells, (room = room ? room * 2 : 4096) * width, sizeof *cells);
        for (size_t i = 0; i < width; i++)
            cells[count * width + i] = cell(s, (int)i, t->columns[i].kind);
        count++;
    }
    db_drop(p->db, s);
    buf_free(&sql);
    const char **values = mem_alloc((size_t)p->rows * (width + 1), sizeof *values);
    int64_t begun = clock_monotonic_ms();
    char *full = plain_sql(t, p->rows);
    int result = 0;
    for (size_t i = 0; i < count && !result; i += (size_t)p->rows) {
        size_t n = count - i < (size_t)p->rows ? count - i : (size_t)p->rows, v = 0;
        for (size_t r = 0; r < n; r++) {
            values[v++] = p->node;
            for (size_t c = 0; c < width; c++)
                values[v++] = cells[(i + r) * width + c];
        }
        char *less = n < (size_t)p->rows ? plain_sql(t, (int)n) : NULL;
        PGresult *r = PQexecParams(p->conn, less ? less : full, (int)v, NULL, values, NULL, NULL, 0);
        if (PQresultStatus(r) != PGRES_COMMAND_OK)
            result = err_set(e, ERR_REMOTE, "%s", PQerrorMessage(p->conn));
        PQclear(r);
        free(less);
    }
    *spent += clock_monotonic_ms() - begun;
    p->written += (int64_t)count;
    for (size_t i = 0; i < count * width; i++)
        free(cells[i]);
    free(cells);
    free(values);
    free(full);
    return result;
}

static int run_plain(char **argv) {
    struct err e;
    struct plain p = {.node = argv[2], .rows = atoi(argv[3])};
    int64_t spent = 0;
    char *path = mem_format("SET search_path TO %s", argv[0]);
    p.conn = PQconnectdb(getenv("GENRUN_SYNC_URL"));
    PQclear(PQexec(p.conn, path));
    free(path);
    static const size_t tables[] = {TABLE_GENERATIONS, TABLE_OUTPUTS, TABLE_BATCH_JOBS, TABLE_LOGS};
    int result = db_open(&p.db, argv[1], DB_LOOK, &e);
    for (size_t i = 0; i < 4 && !result; i++) {
        PQclear(PQexec(p.conn, "BEGIN"));
        result = plain_table(&p, tables[i], &spent, &e);
        PQclear(PQexec(p.conn, "COMMIT"));
    }
    if (!result)
        printf("rows %" PRId64 " ms %" PRId64 "\n", p.written, spent);
    PQfinish(p.conn);
    db_close(p.db);
    return result ? fail(&e) : 0;
}

int main(int argc, char **argv) {
    if (argc >= 3 && strcmp(argv[1], "init") == 0)
        return run_init(argv + 2, argc - 2);
    if (argc == 7 && strcmp(argv[1], "run") == 0)
        return run_push(argv + 2);
    if (argc == 6 && strcmp(argv[1], "plain") == 0)
        return run_plain(argv + 2);
    fprintf(stderr, "push: usage: see the head of tests/bench/push.c\n");
    return 2;
}
#else
int main(void) {
    return 3;
}
#endif
