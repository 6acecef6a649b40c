// SPDX-License-Identifier: MIT
// The sync with Postgres of the public API: the mirror made, one push, and how it stands.
#include "sync/sync.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/config_sync.h"
#include "lib/handle.h"
#include "lib/sync_look.h"
#include "queue/sync.h"
#include "queue/upkeep.h"
#include "sync/init.h"
#include "sync/pg.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INIT_MS 60000 // of a statement of `sync init` at least: making an index may take its time
#define OUTSIDE "the runner's own transaction is no place to speak to Postgres: call it outside"

// The connection string; wipe it in any case.
static int take_url(genrun *g, struct buf *url) {
    buf_init(url, BUF_UNLIMITED);
    int result = g->config ? handle_whole(g) : err_set(&g->err, ERR_CONFIG, HANDLE_NOT_OPEN);
    if (!result)
        result = handle_outside(g, OUTSIDE);
    return result ? result : config_sync_url(g->config, url, &g->err);
}

static struct row *row_of_place(genrun *g, const struct buf *url) {
    struct row *row = row_new();
    char *place = dial_place(buf_borrow(url));
    row_add_text(row, "place", place);
    row_add_text(row, "schema", g->config->sync.schema);
    free(place);
    return row;
}

static int give(genrun *g, genrun_row **out, struct row *row, int result) {
    if (out)
        *out = (genrun_row *)row;
    else
        row_free(row);
    return handle_result(g, result);
}

// ---- init ----

static void tell_waiting(void *payload) {
    (void)payload;
    log_warn("waiting for others that use the tables of the mirror: a push, another 'sync init', or a "
             "transaction that somebody left open there");
}

static int init(genrun *g, const struct buf *url, bool adopt, struct init_report *report) {
    struct pg *pg = NULL;
    const struct sync_settings *settings = &g->config->sync;
    const struct pg_options options = {.url = buf_borrow(url),
                                       .schema = settings->schema,
                                       .timeout_ms =
                                           settings->timeout_ms > INIT_MS ? settings->timeout_ms : INIT_MS};
    int result = pg_open(&pg, &options, &g->err);
    if (!result)
        result =
            init_mirror(pg, settings->schema,
                        &(struct init_options){
                            .adopt = adopt, .patience_ms = settings->timeout_ms, .on_waiting = tell_waiting},
                        report, &g->err);
    pg_close(pg);
    return result;
}

int genrun_sync_init(genrun *g, genrun_row **out, int adopt) {
    struct buf url;
    struct init_report report = {0};
    struct row *row = NULL;
    int result = take_url(g, &url);
    if (!result)
        result = init(g, &url, adopt != 0, &report);
    if (!result) {
        row = row_of_place(g, &url);
        row_add_integer(row, "before", report.before);
        row_add_integer(row, "after", report.after);
        row_add_integer(row, "adopted", report.adopted);
        row_add_integer(row, "added", report.added);
        row_add_integer(row, "mended", report.mended);
    }
    config_wipe(&url);
    return give(g, out, row, result);
}

// ---- push ----

struct pushing {
    genrun *g;
    char **cancelled; // batch jobs
    size_t count;
};

static int write_here(void *payload, int (*change)(void *what, struct db *db, struct err *e), void *what,
                      struct err *e) {
    struct db *db = ((struct pushing *)payload)->g->db;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = change(what, db, e);
    if (!result)
        return db_commit(db, e);
    db_rollback(db);
    return result;
}

static void on_batch_cancelled(void *payload, const char *id) {
    struct pushing *p = payload;
    p->cancelled = mem_resize(p->cancelled, p->count + 1, sizeof *p->cancelled);
    p->cancelled[p->count++] = mem_copy(id);
}

static void on_waiting(void *payload) {
    (void)payload;
    log_warn("waiting for another process, such as a runner, that is syncing this database");
}

// What waits in a cancelled batch job ends with it, as it does by command. (A runner's sweep would do it, too.)
static void sweep(struct pushing *p) {
    for (size_t i = 0; i < p->count; i++) {
        struct err ignored;
        int64_t seq = 0;
        if (handle_batch(p->g, p->cancelled[i], &seq) == 0)
            (void)!queue_batch_cancel(p->g->db, seq, NULL, &ignored);
        free(p->cancelled[i]);
    }
    free(p->cancelled);
}

static int push(genrun *g, const struct buf *url, struct sync_result *r, char **node) {
    struct pushing p = {.g = g};
    const struct sync_host host = {write_here, on_batch_cancelled, on_waiting, &p};
    char *own = config_sync_node(g->config);
    const struct sync_options options = {.database = g->config->database,
                                         .url = buf_borrow(url),
                                         .schema = g->config->sync.schema,
                                         .node = own,
                                         .node_is_given = g->config->sync.node != NULL,
                                         .page = g->config->sync.batch,
                                         .deletes = g->config->sync.deletes,
                                         .timeout_ms = g->config->sync.timeout_ms,
                                         .patience_ms = g->config->sync.timeout_ms,
                                         .version = GENRUN_VERSION};
    struct sync *s = NULL;
    int result = sync_open(&s, &options, &host, &g->err);
    if (!result)
        result = sync_pass(s, r, &g->err);
    if (!result && p.count > 0) {
        struct sync_result more = {0};
        sweep(&p);
        p = (struct pushing){.g = g};
        result = sync_pass(s, &more, &g->err);
        r->rows += more.rows;
        r->refused += more.refused;
        r->applied += more.applied;
        r->denied += more.denied;
        r->position = more.position;
        r->newest = more.newest;
    }
    sweep(&p);
    *node = mem_copy(s && sync_node(s) ? sync_node(s) : own);
    sync_close(s);
    free(own);
    return result;
}

static int run_push(genrun *g, struct row **out) {
    struct buf url;
    struct sync_result r = {0};
    char *node = NULL;
    int64_t start_ms = clock_monotonic_ms();
    *out = NULL;
    int result = take_url(g, &url);
    if (!result)
        result = handle_database(g);
    if (!result) {
        result = push(g, &url, &r, &node);
        *out = row_of_place(g, &url);
        row_add_text(*out, "node", node);
        row_add_integer(*out, "rows", r.rows);
        row_add_integer(*out, "refused", r.refused);
        row_add_integer(*out, "orders_applied", r.applied);
        row_add_integer(*out, "orders_refused", r.denied);
        row_add_integer(*out, "position", r.position);
        row_add_integer(*out, "behind", r.newest > r.position ? r.newest - r.position : 0);
        row_add_number(*out, "seconds", (double)(clock_monotonic_ms() - start_ms) / 1000);
    }
    free(node);
    config_wipe(&url);
    return result;
}

int genrun_sync_push(genrun *g, genrun_row **out) {
    struct row *row = NULL;
    int result = run_push(g, &row);
    return give(g, out, row, result);
}

int handle_sync_job(void *handle, struct upkeep *upkeep, struct err *e) {
    genrun *g = handle;
    struct row *row = NULL;
    int result = run_push(g, &row);
    if (result && e != &g->err)
        *e = g->err;
    if (!result)
        snprintf(upkeep->note, sizeof upkeep->note,
                 "rows brought to Postgres: %lld; orders carried out: %lld",
                 (long long)row_integer(row, "rows", 0), (long long)row_integer(row, "orders_applied", 0));
    row_free(row);
    return result;
}

// ---- status ----

static void add_time(struct row *row, const char *name, int64_t at) {
    if (at)
        row_add_integer(row, name, at);
    else
        row_add_text(row, name, NULL);
}

static struct row *describe(genrun *g, const struct buf *url, const struct sync_state *state,
                            const char *node, const struct sync_look *r, int result) {
    struct row *row = row_of_place(g, url);
    row_add_text(row, "node", node);
    row_add_integer(row, "position", state->at.log_id);
    row_add_integer(row, "behind", state->behind);
    add_time(row, "moved_at", state->at.log_id ? state->moved_at : 0);
    row_add_integer(row, "refused", state->refused);
    add_time(row, "offline_since", state->offline_since);
    add_time(row, "failed_since", state->failed_since);
    row_add_integer(row, "reachable?", r->connected);
    row_add_text(row, "connection", !r->connected ? NULL : r->pooled ? "pooler" : "direct");
    row_add_text(row, "reason", result ? g->err.message : NULL);
    row_add_text(row, "last_error", state->last_error);
    add_time(row, "last_error_at", state->last_error_at);
    row_add_integer(row, "mirror", r->version);
    row_add_integer(row, "orders_open", r->orders);
    add_time(row, "synced_at", r->synced_at ? r->synced_at : state->contact_at);
    return row;
}

int genrun_sync_status(genrun *g, genrun_row **out, genrun_each refused, void *payload) {
    struct each e = {refused, payload};
    struct sync_state state = {0};
    struct sync_look look = {0};
    struct row *row = NULL;
    struct buf url;
    int result = take_url(g, &url);
    if (!result)
        result = handle_database(g);
    if (!result)
        result = queue_sync_state(g->db, &state, &g->err);
    if (!result && refused)
        result = queue_sync_refusals(g->db, handle_each_row, &e, &g->err);
    if (!result) {
        char *own = state.node ? mem_copy(state.node) : config_sync_node(g->config);
        result = sync_look(g->config, buf_borrow(&url), own, &look, &g->err);
        row = describe(g, &url, &state, own, &look, result);
        free(own);
    }
    queue_sync_state_clear(&state);
    config_wipe(&url);
    return give(g, out, row, result);
}
