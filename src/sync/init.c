// SPDX-License-Identifier: MIT
#include "sync/init.h"
#include "base/buf.h"
#include "base/clock.h"
#include "sync/table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLDEST_SERVER 140000 // CREATE OR REPLACE TRIGGER
#define LOCK_MS 1000         // the first wait for a table; then longer ones
#define PATIENCE_MS 60000
#define TABLES "generations,outputs,batch_jobs,logs,locks,profiles,sessions,projects"
#define VIEWS                                                                                                \
    "batch_items,batch_job_logs,failed_generations_view,failure_stats,recent_generations,stuck_generations"
// Everything of the mirror that people may have under the same name.
#define NAMES "'{" TABLES "," VIEWS "}'::text[]"

int init_newest(void) {
    int n = 0;
    while (init_migrations[n].name)
        n++;
    return n;
}

// One text of one row; NULL when there is none. The caller frees the result.
static int ask(struct pg *pg, struct pg_result **out, const char **text, struct err *e, const char *sql,
               const char *a, const char *b) {
    const char *values[] = {a, b};
    *text = NULL;
    int result = pg_run(pg, out, e, sql, b ? 2 : a ? 1 : 0, values);
    if (!result && pg_rows(*out) > 0)
        *text = pg_text(*out, 0, 0);
    return result;
}

static int ask_number(struct pg *pg, int *out, struct err *e, const char *sql, const char *a, const char *b) {
    struct pg_result *answer = NULL;
    const char *text;
    int result = ask(pg, &answer, &text, e, sql, a, b);
    *out = text ? atoi(text) : 0;
    pg_result_free(answer);
    return result;
}

// Runs the statement that the server writes: it knows how names are quoted.
static int run_made(struct pg *pg, struct err *e, const char *make, const char *a, const char *b) {
    struct pg_result *answer = NULL;
    const char *text;
    int result = ask(pg, &answer, &text, e, make, a, b);
    if (!result && text)
        result = pg_script(pg, text, e);
    pg_result_free(answer);
    return result;
}

int init_version(struct pg *pg, const char *schema, int *version, struct err *e) {
    int there;
    *version = 0;
    int result = ask_number(pg, &there, e,
                            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                            "WHERE n.nspname = $1 AND c.relname = 'genrun_migrations'",
                            schema, NULL);
    if (!result && there)
        result =
            ask_number(pg, version, e, "SELECT coalesce(max(version), 0) FROM genrun_migrations", NULL, NULL);
    return result;
}

int init_check(struct pg *pg, const char *schema, int *version, struct err *e) {
    int result = init_version(pg, schema, version, e);
    if (result || *version == init_newest())
        return result;
    return *version > init_newest()
               ? err_set(e, ERR_CONFIG,
                         "the mirror in schema %s is of a newer genrun (version %d, not %d): update this one",
                         schema, *version, init_newest())
               : err_set(e, ERR_CONFIG, "the mirror in schema %s is %s: run 'genrun sync init'", schema,
                         *version ? "of an older genrun" : "not there yet");
}

static int make_schema(struct pg *pg, const char *schema, bool *made, struct err *e) {
    int there;
    int result =
        ask_number(pg, &there, e, "SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema, NULL);
    if (result || there)
        return result;
    *made = true;
    return run_made(pg, e, "SELECT format('CREATE SCHEMA %I', $1::text)", schema, NULL);
}

// ---- what is there already ----

// A mirror of ours, or nothing of its names.
static int refuse_foreign(struct pg *pg, const char *schema, bool adopt, struct init_report *report,
                          struct err *e) {
    struct pg_result *answer = NULL;
    const char *names;
    int result = ask(
        pg, &answer, &names, e,
        "SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = ANY (" NAMES ")",
        schema, NULL);
    if (!result && names && !adopt)
        result = err_set(e, ERR_CONFLICT,
                         "schema %s has tables that genrun did not make (%s): name another [sync] schema, or "
                         "give --adopt to have them checked and used",
                         schema, names);
    for (const char *p = names; !result && p; p = strchr(p + 1, ','))
        report->adopted++;
    pg_result_free(answer);
    return result;
}

static const char *type_of(enum column_kind kind) {
    static const char *const types[] = {[COLUMN_TEXT] = "text",
                                        [COLUMN_UUID] = "uuid",
                                        [COLUMN_INTEGER] = "bigint",
                                        [COLUMN_NUMBER] = "double precision",
                                        [COLUMN_TIME] = "timestamp with time zone",
                                        [COLUMN_JSON] = "jsonb",
                                        [COLUMN_FLAG] = "boolean",
                                        [COLUMN_BYTES] = "bytea"};
    return types[kind];
}

// May the type take every value of the kind (or refuse it by the row, as an integer does that is too large)?
static bool takes(const char *type, enum column_kind kind) {
    if (strcmp(type, type_of(kind)) == 0)
        return true;
    switch (kind) {
    case COLUMN_TEXT:
        return strncmp(type, "character varying", 17) == 0;
    case COLUMN_INTEGER:
        return strcmp(type, "integer") == 0 || strcmp(type, "numeric") == 0;
    case COLUMN_NUMBER:
        return strcmp(type, "numeric") == 0;
    default:
        return false;
    }
}

struct check {
    struct pg *pg;
    const char *schema;
    bool adopt;
    struct init_report *report;
    struct buf wrong; // ", " between
    int count;
};

static void differs(struct check *c, const char *format, const char *table, const char *column,
                    const char *type, const char *ours) {
    if (++c->count > 4)
        return;
    buf_text(&c->wrong, c->count > 1 ? ", " : "");
    // format has %1..%4 in this order
    for (const char *p = format; *p; p++)
        if (*p == '%') {
            p++;
            buf_text(&c->wrong, *p == '1' ? table : *p == '2' ? column : *p == '3' ? type : ours);
        } else {
            buf_char(&c->wrong, *p);
        }
}

// Rows that were there belong to no box: their node is ''.
static int add_column(struct check *c, const char *table, const char *column, const char *type,
                      const char *filling, struct err *e) {
    char sql[400];
    if (filling)
        snprintf(sql, sizeof sql,
                 "ALTER TABLE %s ADD COLUMN %s %s NOT NULL DEFAULT %s; ALTER TABLE %s ALTER COLUMN %s DROP "
                 "DEFAULT",
                 table, column, type, filling, table, column);
    else
        snprintf(sql, sizeof sql, "ALTER TABLE %s ADD COLUMN %s %s", table, column, type);
    c->report->added++;
    return pg_script(c->pg, sql, e);
}

static int find(const struct pg_result *columns, const char *name) {
    for (int i = 0; i < pg_rows(columns); i++)
        if (strcmp(pg_text(columns, i, 0), name) == 0)
            return i;
    return -1;
}

static int check_column(struct check *c, const struct table *t, const struct pg_result *there,
                        const char *name, enum column_kind kind, const char *filling, struct err *e) {
    int i = find(there, name);
    if (i < 0 && c->adopt)
        return add_column(c, t->name, name, type_of(kind), filling, e);
    if (i < 0)
        differs(c, "%1.%2 is missing", t->name, name, NULL, NULL);
    else if (!takes(pg_text(there, i, 1), kind))
        differs(c, "%1.%2 is %3 and not %4", t->name, name, pg_text(there, i, 1), type_of(kind));
    return 0;
}

// Columns of theirs must be able to stay empty.
static void check_others(struct check *c, const struct table *t, const struct pg_result *there) {
    for (int i = 0; i < pg_rows(there); i++) {
        const char *name = pg_text(there, i, 0);
        bool ours = strcmp(name, "node") == 0 || (t->versioned && strcmp(name, "sync_version") == 0);
        for (const struct column *k = t->columns; k->name; k++)
            ours |= strcmp(k->name, name) == 0;
        if (!ours && strcmp(pg_text(there, i, 2), "t") == 0)
            differs(c, "%1.%2 must have a value, and genrun has none for it", t->name, name, NULL, NULL);
    }
}

// Rows are found again by their key: a unique index on exactly these columns.
static int check_key(struct check *c, const struct table *t, struct err *e) {
    char sql[300];
    int unique;
    int result = ask_number(c->pg, &unique, e,
                            "SELECT count(*) FROM pg_index i WHERE i.indrelid = $1::regclass AND "
                            "i.indisunique AND i.indpred IS NULL "
                            "AND i.indexprs IS NULL AND (SELECT array_agg(a.attname::text ORDER BY "
                            "a.attname) FROM pg_attribute a "
                            "WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) = "
                            "(SELECT array_agg(k ORDER BY k) FROM regexp_split_to_table($2, ', ') k)",
                            t->name, t->key);
    if (result || unique)
        return result;
    if (!c->adopt) {
        differs(c, "%1 has no unique index on (%2)", t->name, t->key, NULL, NULL);
        return 0;
    }
    snprintf(sql, sizeof sql, "CREATE UNIQUE INDEX ON %s (%s)", t->name, t->key);
    return pg_script(c->pg, sql, e);
}

// A unique index of theirs on less than the key: under it rows of one box would keep out those of another.
static int check_narrow(struct check *c, const struct table *t, struct err *e) {
    struct pg_result *there = NULL;
    const char *values[] = {t->name, t->key};
    int result = pg_run(
        c->pg, &there, e,
        "SELECT i.indexrelid::regclass, string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_index i "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) "
        "WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL "
        "GROUP BY 1 HAVING array_agg(a.attname::text) <@ regexp_split_to_array($2, ', ') "
        "AND count(*) < cardinality(regexp_split_to_array($2, ', ')) ORDER BY 1",
        2, values);
    for (int i = 0; !result && i < pg_rows(there); i++)
        differs(c, "%1 may have the same %2 on two boxes, which its unique index %3 forbids (the key is %4)",
                t->name, pg_text(there, i, 1), pg_text(there, i, 0), t->key);
    pg_result_free(there);
    return result;
}

static int check_table(struct check *c, const struct table *t, struct err *e) {
    struct pg_result *there = NULL;
    const char *values[] = {c->schema, t->name};
    int result =
        pg_run(c->pg, &there, e,
               "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef "
               "AND a.attidentity = '' AND a.attgenerated = '', r.relkind IN ('r', 'p') "
               "FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace JOIN pg_attribute a ON "
               "a.attrelid = r.oid WHERE n.nspname = $1 AND r.relname = $2 AND a.attnum > 0 AND NOT "
               "a.attisdropped",
               2, values);
    if (result || pg_rows(there) == 0) {
        pg_result_free(there);
        return result;
    }
    if (strcmp(pg_text(there, 0, 3), "t") != 0) {
        differs(c, "%1 is no table", t->name, NULL, NULL, NULL);
        pg_result_free(there);
        return 0;
    }
    check_others(c, t, there);
    result = check_column(c, t, there, "node", COLUMN_TEXT, "''", e);
    if (!result && t->versioned)
        result = check_column(c, t, there, "sync_version", COLUMN_INTEGER, "0", e);
    for (const struct column *k = t->columns; k->name && !result; k++)
        result = check_column(c, t, there, k->name, k->kind, strcmp(k->name, "seq") == 0 ? "0" : NULL, e);
    pg_result_free(there);
    if (!result)
        result = check_narrow(c, t, e);
    return result || c->count ? result : check_key(c, t, e);
}

// What should be a view and is something else.
static int check_views(struct check *c, struct err *e) {
    struct pg_result *there = NULL;
    const char *values[] = {c->schema};
    int result =
        pg_run(c->pg, &there, e,
               "SELECT r.relname FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace "
               "WHERE n.nspname = $1 AND r.relkind <> 'v' AND r.relname = ANY ('{" VIEWS "}'::text[])",
               1, values);
    for (int i = 0; !result && i < pg_rows(there); i++)
        differs(c, "%1 is no view", pg_text(there, i, 0), NULL, NULL, NULL);
    pg_result_free(there);
    return result;
}

static int check_all(struct pg *pg, const char *schema, bool adopt, struct init_report *report,
                     struct err *e) {
    struct check c = {.pg = pg, .schema = schema, .adopt = adopt, .report = report};
    buf_init(&c.wrong, BUF_UNLIMITED);
    int result = check_views(&c, e);
    for (size_t i = 0; i < TABLE_COUNT && !result; i++)
        result = check_table(&c, &table_list[i], e);
    if (!result && c.count) {
        if (c.count > 4)
            buf_format(&c.wrong, " and %d more", c.count - 4);
        result = err_set(e, ERR_CONFLICT, "the tables of schema %s are not those of genrun (%s): %s", schema,
                         buf_borrow(&c.wrong),
                         adopt ? "mend them, or name another [sync] schema"
                               : "mend them, or give --adopt to add what is missing");
    }
    buf_free(&c.wrong);
    return result;
}

// ---- migrations ----

static int apply(struct pg *pg, int version, struct err *e) {
    char sql[200];
    const struct init_migration *m = &init_migrations[version - 1];
    int result = pg_script(pg, m->sql, e);
    if (result)
        return err_prefix(e, "%s", m->name);
    snprintf(sql, sizeof sql,
             "INSERT INTO genrun_migrations (version, name) VALUES (%d, '%s') ON CONFLICT (version) DO "
             "NOTHING",
             version, m->name);
    return pg_script(pg, sql, e);
}

// Somebody dropped a table, or a column that was just added again, empty. Each file may be run again: what is there stays.
// A box that the mirror does not know brings everything there anew.
static int mend(struct pg *pg, const char *schema, struct init_report *report, struct err *e) {
    int result = ask_number(
        pg, &report->mended, e,
        "SELECT count(*) FROM unnest('{" TABLES ",genrun_nodes,genrun_told,genrun_orders}'::text[]) AS name "
        "WHERE NOT EXISTS "
        "(SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname = name)",
        schema, NULL);
    for (int version = 1; !result && report->mended > 0 && version <= report->before; version++)
        result = apply(pg, version, e);
    return result || report->mended + report->added == 0 ? result
                                                         : pg_script(pg, "DELETE FROM genrun_nodes", e);
}

static int in_transaction(struct pg *pg, const char *schema, bool adopt, struct init_report *report,
                          struct err *e) {
    struct pg_result *lock = NULL;
    const char *none;
    int server;
    int result = ask_number(pg, &server, e, "SHOW server_version_num", NULL, NULL);
    if (!result && server < OLDEST_SERVER)
        return err_set(e, ERR_CONFIG, "this Postgres is version %d: use 14 or newer", server / 10000);
    // Two boxes at once: one waits for the other.
    if (!result)
        result =
            ask(pg, &lock, &none, e,
                "SELECT pg_advisory_xact_lock(hashtext('genrun sync init'), hashtext($1))", schema, NULL);
    pg_result_free(lock);
    if (!result)
        result = make_schema(pg, schema, &report->schema_made, e);
    if (!result)
        result = init_version(pg, schema, &report->before, e);
    report->after = report->before;
    if (!result && report->before > init_newest())
        return err_set(e, ERR_CONFLICT,
                       "the mirror in schema %s has version %d and this genrun knows %d: use a newer genrun",
                       schema, report->before, init_newest());
    if (!result && report->before == 0)
        result = refuse_foreign(pg, schema, adopt, report, e);
    if (!result)
        result = check_all(pg, schema, adopt, report, e);
    if (!result && report->before > 0)
        result = mend(pg, schema, report, e);
    while (!result && report->after < init_newest())
        result = apply(pg, ++report->after, e);
    return result;
}

// Who waits for a table keeps others from it: so for a moment only, and again, each time a little longer.
static int try_once(struct pg *pg, const char *schema, bool adopt, int64_t lock_ms,
                    struct init_report *report, struct err *e) {
    char sql[80];
    *report = (struct init_report){0};
    snprintf(sql, sizeof sql, "SET LOCAL lock_timeout TO %lld", (long long)lock_ms);
    int result = pg_begin(pg, e);
    if (!result)
        result = pg_script(pg, sql, e);
    if (!result)
        result = in_transaction(pg, schema, adopt, report, e);
    if (!result)
        result = pg_commit(pg, e);
    if (result)
        pg_rollback(pg);
    return result;
}

static int give_up(struct pg *pg, const char *schema, int64_t waited_ms, struct err *e) {
    struct pg_result *answer = NULL;
    struct err ignored;
    const char *who = NULL;
    (void)!ask(
        pg, &answer, &who, &ignored,
        "SELECT format(', such as process %s there (%s)', a.pid, concat_ws(', ', "
        "nullif(a.application_name, ''), a.state)) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
        "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_stat_activity a ON a.pid = l.pid "
        "WHERE n.nspname = $1 AND l.granted AND a.pid <> pg_backend_pid() "
        "ORDER BY a.xact_start LIMIT 1",
        schema, NULL);
    int result = err_set(e, ERR_CONFLICT,
                         "others have used the tables in schema %s for %lld s%s: end that, and try again",
                         schema, (long long)waited_ms / 1000, who ? who : "");
    pg_result_free(answer);
    return result;
}

int init_mirror(struct pg *pg, const char *schema, const struct init_options *options,
                struct init_report *report, struct err *e) {
    struct init_report own = {0};
    report = report ? report : &own;
    int64_t since_ms = clock_monotonic_ms(), lock_ms = LOCK_MS,
            patience_ms = options->patience_ms ? options->patience_ms : PATIENCE_MS;
    for (bool told = false;; told = true) {
        int result = try_once(pg, schema, options->adopt, lock_ms, report, e);
        // 55P03: it waited for as long as it was to.
        if (!result || strcmp(pg_state(pg), "55P03") != 0)
            return result;
        int64_t waited_ms = clock_monotonic_ms() - since_ms;
        if (!told && options->on_waiting)
            options->on_waiting(options->payload);
        if (waited_ms >= patience_ms)
            return give_up(pg, schema, waited_ms, e);
        lock_ms = lock_ms * 2 < patience_ms - waited_ms ? lock_ms * 2 : patience_ms - waited_ms;
    }
}
