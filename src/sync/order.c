// SPDX-License-Identifier: MIT
#include "sync/order.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/sync.h"
#include "sync/keys.h"
#include <stdlib.h>
#include <string.h>

#define PAGE "128"
#define GROUP 8 // carried out in one transaction

struct group {
    const struct pg_result *rows;
    int from, to;
    struct sync_outcome *outcomes;
};

static struct sync_order read_order(const struct pg_result *r, int row) {
    return (struct sync_order){.id = pg_integer(r, row, 0, 0),
                               .typed_at = pg_integer(r, row, 1, 0),
                               .by = pg_text(r, row, 2),
                               .is_batch = strcmp(pg_text(r, row, 3), "batch_job") == 0,
                               .target = pg_text(r, row, 4),
                               .change = pg_text(r, row, 5)};
}

static int carry_out(void *what, struct db *db, struct err *e) {
    struct group *group = what;
    int result = 0;
    for (int i = group->from; i < group->to && !result; i++) {
        const struct sync_order order = read_order(group->rows, i);
        free(group->outcomes[i].reason); // of a transaction that failed
        result = queue_sync_order(db, &order, &group->outcomes[i], e);
    }
    return result;
}

static void write_outcomes(struct buf *out, const struct pg_result *rows,
                           const struct sync_outcome *outcomes) {
    buf_char(out, '[');
    for (int i = 0; i < pg_rows(rows); i++) {
        buf_text(out, i ? ",{" : "{");
        json_write_member_integer(out, "id", pg_integer(rows, i, 0, 0));
        json_write_member_text(out, "state", outcomes[i].applied ? "applied" : "refused");
        json_write_member_text(out, "reason", outcomes[i].reason);
        json_write_member_bool(out, "gone", outcomes[i].gone);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static int set_back(struct pg *pg, const char *node, const struct pg_result *rows,
                    const struct sync_outcome *outcomes, struct err *e) {
    struct keys gone = {0};
    struct buf targets;
    int result = 0;
    for (int i = 0; i < pg_rows(rows); i++)
        if (outcomes[i].gone)
            keys_add(&gone, 0, pg_text(rows, i, 4));
    buf_init(&targets, BUF_UNLIMITED);
    keys_write_texts(&gone, &targets);
    const char *values[] = {node, buf_borrow(&targets)};
    if (gone.count)
        result = pg_run(pg, NULL, e, "SELECT genrun_set_back($1, $2::uuid[])", 2, values);
    buf_free(&targets);
    keys_free(&gone);
    return result;
}

// What came of them, where they were typed. A row that is here comes there again by the log; one that is not, not.
static int tell_outcomes(struct pg *pg, const char *node, const struct pg_result *rows,
                         const struct sync_outcome *outcomes, struct err *e) {
    struct buf list;
    buf_init(&list, BUF_UNLIMITED);
    write_outcomes(&list, rows, outcomes);
    const char *values[] = {node, buf_borrow(&list)};
    int result = pg_begin(pg, e);
    if (!result)
        result = pg_run(pg, NULL, e,
                        "UPDATE genrun_orders o SET state = u.state, reason = u.reason, gone = u.gone, "
                        "ended_at = now() FROM json_to_recordset($2::json) AS u (id bigint, state text, "
                        "reason text, gone boolean) WHERE o.id = u.id AND o.node = $1 AND o.state = 'open'",
                        2, values);
    if (!result)
        result = set_back(pg, node, rows, outcomes, e);
    if (!result)
        result = pg_commit(pg, e);
    if (result)
        pg_rollback(pg);
    buf_free(&list);
    return result;
}

static bool cancels(const struct sync_order *order) {
    return order->is_batch && strstr(order->change, "\"cancelled\"") != NULL;
}

static int do_page(struct pg *pg, const char *node, const struct pg_result *rows,
                   struct sync_outcome *outcomes, const struct sync_host *host, struct err *e) {
    int count = pg_rows(rows), result = 0;
    for (int from = 0; from < count && !result; from += GROUP) {
        struct group group = {rows, from, from + GROUP < count ? from + GROUP : count, outcomes};
        result = host->write(host->payload, carry_out, &group, e);
    }
    for (int i = 0; i < count && !result; i++) {
        const struct sync_order order = read_order(rows, i);
        if (outcomes[i].applied && host->on_batch_cancelled && cancels(&order))
            host->on_batch_cancelled(host->payload, order.target);
    }
    return result ? result : tell_outcomes(pg, node, rows, outcomes, e);
}

int order_page(struct pg *pg, const char *node, const struct sync_host *host, int *count, int64_t *applied,
               int64_t *denied, struct err *e) {
    struct pg_result *rows = NULL;
    const char *values[] = {node};
    *count = 0;
    int result =
        pg_run(pg, &rows, e,
               "SELECT id, (extract(epoch FROM typed_at) * 1000000)::bigint, typed_by, kind, target, "
               "change FROM genrun_orders WHERE node = $1 AND state = 'open' ORDER BY id LIMIT " PAGE,
               1, values);
    if (result)
        return result;
    *count = pg_rows(rows);
    struct sync_outcome *outcomes = mem_alloc((size_t)*count + 1, sizeof *outcomes);
    if (*count > 0)
        result = do_page(pg, node, rows, outcomes, host, e);
    for (int i = 0; i < *count; i++) {
        if (!result)
            *(outcomes[i].applied ? applied : denied) += 1;
        free(outcomes[i].reason);
    }
    free(outcomes);
    pg_result_free(rows);
    return result;
}
