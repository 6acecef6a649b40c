// SPDX-License-Identifier: MIT
// Webhooks of the public API: what is known of endpoints, a test, and sending again.
#include "run/webhook.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/config_webhook.h"
#include "lib/handle.h"
#include <stdlib.h>
#include <string.h>

#define TEST_MS 30000 // a test waits no longer, whatever the endpoint's timeout is

static int find(genrun *g, const char *name, const struct webhook_endpoint **out) {
    const struct config *config = g->config;
    const char **names = mem_alloc(config->webhook_count + 1, sizeof *names);
    *out = NULL;
    for (size_t i = 0; i < config->webhook_count; i++) {
        names[i] = config->webhooks[i].name;
        if (strcmp(names[i], name) == 0)
            *out = &config->webhooks[i];
    }
    const char *near = *out ? NULL : text_nearest(name, names, config->webhook_count);
    struct buf shown;
    buf_init(&shown, BUF_UNLIMITED);
    text_escape(&shown, name, strlen(name), 60);
    int result = *out ? 0
                 : near
                     ? err_set(&g->err, ERR_NOT_FOUND, "there is no webhook '%s': did you mean '%s'?",
                               buf_borrow(&shown), near)
                     : err_set(&g->err, ERR_NOT_FOUND, "there is no webhook '%s': add a section [webhook %s]",
                               buf_borrow(&shown), buf_borrow(&shown));
    buf_free(&shown);
    free(names);
    return result;
}

// ---- looking ----

static void keep_problem(void *payload, bool is_mistake, const char *option, const char *line) {
    char **problem = payload;
    (void)is_mistake;
    if (!*problem && strcmp(option, "format") != 0) // unsigned is no problem here
        *problem = mem_copy(line);
}

static const char *const formats[] = {"standard", "openai", "slack"};

// Without a database there is nothing on its way.
static int describe(genrun *g, const struct webhook_endpoint *w, struct row **out) {
    static const char *const counts[] = {"pending", "failed", "dropped", "behind"};
    static const char *const times[] = {"since_at", "last_at", "not_before_at", "oldest_at"};
    struct row *known = NULL, *row = row_new();
    char *problem = NULL;
    int result = g->db ? delivery_endpoint_row(g->db, w->name, clock_wall_at(), &known, &g->err) : 0;
    config_webhook_judge(w, keep_problem, &problem);
    row_add_text(row, "name", w->name);
    row_add_text(row, "format", formats[w->format]);
    row_add_text(row, "state", problem ? "unusable" : known ? row_text(known, "state") : "new");
    row_add_text(row, "reason", problem ? problem : known ? row_text(known, "reason") : NULL);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        row_add_integer(row, counts[i], known ? row_integer(known, counts[i], 0) : 0);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t at = known ? row_integer(known, times[i], 0) : 0;
        if (at)
            row_add_integer(row, times[i], at);
        else
            row_add_text(row, times[i], NULL);
    }
    row_free(known);
    free(problem);
    *out = row;
    return result;
}

// Opens the database where there is one.
static int look_at_database(genrun *g) {
    int result = handle_database(g);
    return result == ERR_NOT_FOUND ? 0 : result;
}

int genrun_webhooks(genrun *g, genrun_each each, void *payload) {
    struct each e = {each, payload};
    int result = handle_whole(g);
    if (!result)
        result = look_at_database(g);
    bool ended = false;
    for (size_t i = 0; !result && !ended && i < g->config->webhook_count; i++) {
        struct row *row = NULL;
        result = describe(g, &g->config->webhooks[i], &row);
        if (result)
            row_free(row);
        else
            ended = handle_each_row(&e, row) != 0;
    }
    return handle_result(g, result);
}

// ERR_NOT_FOUND for a name that is neither configured nor was.
static int look_for(genrun *g, const char *name) {
    const struct webhook_endpoint *w = NULL;
    bool known = false;
    int result = delivery_knows(g->db, name, &known, &g->err);
    return result || known ? result : find(g, name, &w);
}

static int list(genrun *g, const char *name, enum delivery_look look, const struct filter *f,
                genrun_each each, void *payload) {
    struct each e = {each, payload};
    int64_t next = 0;
    int result = look_for(g, name);
    if (!result)
        result = delivery_list(g->db, name, look, f->after, f->limit > 0 ? f->limit : HANDLE_LIST_ROWS,
                               handle_each_row, &e, &next, &g->err);
    handle_cursor(g, next);
    return result;
}

int genrun_webhook_deliveries(genrun *g, const char *name, int limit, genrun_each each, void *payload) {
    const struct filter f = {.limit = limit};
    int result = handle_database(g);
    return handle_result(g, result ? result : list(g, name, DELIVERY_OPEN, &f, each, payload));
}

static int look_of(genrun *g, const char *status, enum delivery_look *look) {
    static const char *const states[] = {[DELIVERY_PENDING] = "pending",
                                         [DELIVERY_DELIVERED] = "delivered",
                                         [DELIVERY_FAILED] = "failed",
                                         [DELIVERY_DROPPED] = "dropped"};
    *look = DELIVERY_ALL;
    for (size_t i = 0; status && i < sizeof states / sizeof *states; i++)
        if (states[i] && strcmp(states[i], status) == 0)
            *look = (enum delivery_look)i;
    return status && *look == DELIVERY_ALL
               ? err_set(&g->err, ERR_INVALID,
                         "'%s' is no state of a delivery: use pending, delivered, failed or dropped", status)
               : 0;
}

int genrun_webhook_history(genrun *g, const char *name, const genrun_filter *filter, genrun_each each,
                           void *payload) {
    struct filter f;
    enum delivery_look look = DELIVERY_ALL;
    int result = handle_database(g);
    if (!result)
        result = handle_filter(g, filter, &f);
    if (!result)
        result = look_of(g, f.status, &look);
    return handle_result(g, result ? result : list(g, name, look, &f, each, payload));
}

// ---- doing ----

struct test {
    bool ended;
};

static void on_end(void *payload, struct webhook_send *send) {
    (void)send;
    ((struct test *)payload)->ended = true;
}

static int send_test(genrun *g, const struct webhook_endpoint *w, struct row **out) {
    struct test test = {false};
    struct webhook_endpoint patient = *w;
    patient.timeout_ms = w->timeout_ms < TEST_MS ? w->timeout_ms : TEST_MS;
    struct webhook_send *send = NULL;
    struct buf body;
    char id[DELIVERY_ID_SIZE] = "msg_";
    id_random_hex(id + 4, 16);
    buf_init(&body, BUF_UNLIMITED);
    webhook_write_test(w, clock_wall_at(), &body);
    const struct webhook_message message = {id, buf_borrow(&body)};
    int result = webhook_send_start(&send, g->loop, &patient, &message, on_end, &test, &g->err);
    while (!result && !test.ended)
        result = loop_wait(g->loop, -1, &g->err);
    buf_free(&body);
    if (!result) {
        const struct webhook_result *r = webhook_send_result(send);
        struct row *row = row_new();
        row_add_text(row, "name", w->name);
        row_add_text(row, "message_id", id);
        row_add_integer(row, "took_ms", r->took_ms);
        row_add_integer(row, "status", r->status);
        row_add_text(row, "error", *r->error ? r->error : NULL);
        *out = row;
        if (*r->error)
            result = err_set(&g->err, ERR_REMOTE, "webhook %s did not take the test: %s", w->name, r->error);
    }
    webhook_send_free(send);
    return result;
}

int genrun_webhook_test(genrun *g, const char *name, genrun_row **answer) {
    const struct webhook_endpoint *w = NULL;
    struct row *row = NULL;
    int result = handle_whole(g);
    if (!result && g->runner)
        result = err_set(&g->err, ERR_CONFLICT, "this handle runs the queue: test webhooks with another one");
    if (!result)
        result = find(g, name, &w);
    if (!result)
        result = handle_loop(g);
    if (!result)
        result = send_test(g, w, &row);
    if (answer)
        *answer = (genrun_row *)row;
    else
        row_free(row);
    return handle_result(g, result);
}

// One whose endpoint is no longer configured would wait for ever.
static int redeliver_one(genrun *g, const char *id, const char *name) {
    const struct webhook_endpoint *w = NULL;
    char *owner = NULL;
    int result = name ? 0 : delivery_owner(g->db, id, &owner, &g->err);
    if (!result && owner)
        result = find(g, owner, &w);
    if (!result)
        result = delivery_redeliver(g->db, id, name ? name : owner, &g->err);
    free(owner);
    return result;
}

int genrun_webhook_redeliver(genrun *g, const char *id, const char *name, int64_t *count) {
    int64_t again = 0;
    const struct webhook_endpoint *w = NULL;
    int result = handle_whole(g);
    if (!result)
        result =
            handle_outside(g, "sending again works in slices: do it outside of the runner's transaction");
    if (!result && name)
        result = find(g, name, &w);
    if (!result)
        result = handle_database(g);
    if (!result && id)
        result = redeliver_one(g, id, name);
    else if (!result)
        result = delivery_redeliver_failed(g->db, name, &again, &g->err);
    if (count)
        *count = id && !result ? 1 : again;
    return handle_result(g, result);
}

int genrun_webhook_enable(genrun *g, const char *name) {
    const struct webhook_endpoint *w = NULL;
    bool was_disabled = false;
    int result = handle_whole(g);
    if (!result)
        result = find(g, name, &w);
    if (!result)
        result = handle_database(g);
    if (!result)
        result = delivery_enable(g->db, name, &was_disabled, &g->err);
    return handle_result(g, result);
}
