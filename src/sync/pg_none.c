// SPDX-License-Identifier: MIT
// What stands for pg.c in a build without libpq.
#ifndef HAVE_PG
#include "base/mem.h"
#include "sync/pg.h"

static int none(struct err *e) {
    return err_set(e, ERR_CONFIG, "this build has no Postgres: install libpq-dev and build again");
}

int pg_open(struct pg **out, const struct pg_options *options, struct err *e) {
    (void)options;
    *out = NULL;
    return none(e);
}

void pg_close(struct pg *pg) {
    (void)pg;
}

bool pg_is_up(const struct pg *pg) {
    (void)pg;
    return false;
}

const char *pg_state(const struct pg *pg) {
    (void)pg;
    return "";
}

const char *pg_advice(const struct pg *pg) {
    (void)pg;
    return NULL;
}

int pg_is_pooled(struct pg *pg, bool *pooled, struct err *e) {
    (void)pg;
    *pooled = false;
    return none(e);
}

int pg_run(struct pg *pg, struct pg_result **out, struct err *e, const char *sql, int count,
           const char *const *values) {
    (void)pg;
    (void)sql;
    (void)count;
    (void)values;
    if (out)
        *out = NULL;
    return none(e);
}

int pg_script(struct pg *pg, const char *sql, struct err *e) {
    (void)pg;
    (void)sql;
    return none(e);
}

int pg_begin(struct pg *pg, struct err *e) {
    (void)pg;
    return none(e);
}

int pg_commit(struct pg *pg, struct err *e) {
    (void)pg;
    return none(e);
}

void pg_rollback(struct pg *pg) {
    (void)pg;
}

int pg_rows(const struct pg_result *r) {
    (void)r;
    return 0;
}

const char *pg_text(const struct pg_result *r, int row, int column) {
    (void)r;
    (void)row;
    (void)column;
    return NULL;
}

int64_t pg_integer(const struct pg_result *r, int row, int column, int64_t fallback) {
    (void)r;
    (void)row;
    (void)column;
    return fallback;
}

int64_t pg_changed(const struct pg_result *r) {
    (void)r;
    return 0;
}

void pg_result_free(struct pg_result *r) {
    (void)r;
}

char *dial_place(const char *url) {
    (void)url;
    return mem_copy("Postgres");
}

void dial_free(struct dial *dial) {
    (void)dial;
}
#endif
