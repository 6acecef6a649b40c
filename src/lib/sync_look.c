// SPDX-License-Identifier: MIT
#include "lib/sync_look.h"
#include "base/mem.h"
#include "sync/init.h"
#include "sync/pg.h"
#include <stdlib.h>

static int ask_node(struct pg *pg, const char *node, struct sync_look *out, struct err *e) {
    struct pg_result *rows = NULL;
    const char *values[] = {node};
    int result =
        pg_run(pg, &rows, e,
               "SELECT (SELECT count(*) FROM genrun_orders WHERE node = $1 AND state = 'open'), "
               "(SELECT (extract(epoch FROM synced_at) * 1000)::bigint FROM genrun_nodes WHERE node = $1)",
               1, values);
    if (!result) {
        out->orders = pg_integer(rows, 0, 0, 0);
        out->synced_at = pg_integer(rows, 0, 1, 0);
    }
    pg_result_free(rows);
    return result;
}

int sync_look(const struct config *config, const char *url, const char *node, struct sync_look *out,
              struct err *e) {
    struct pg *pg = NULL;
    const struct sync_settings *settings = &config->sync;
    const struct pg_options options = {
        .url = url, .schema = settings->schema, .timeout_ms = settings->timeout_ms};
    *out = (struct sync_look){0};
    int result = pg_open(&pg, &options, e);
    if (!result)
        result = pg_is_pooled(pg, &out->pooled, e);
    out->connected = !result;
    if (!result)
        result = init_check(pg, settings->schema, &out->version, e);
    if (!result)
        result = ask_node(pg, node, out, e);
    const char *advice = result && pg ? pg_advice(pg) : NULL;
    if (advice) {
        char *message = mem_copy(e->message);
        result = err_set(e, e->code, "%s: %s", message, advice);
        free(message);
    }
    pg_close(pg);
    return result;
}
