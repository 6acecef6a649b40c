// SPDX-License-Identifier: MIT
// Probes under way on a loop, and what genrun_models_check() tells of them.
#include "lib/models_check.h"
#include "base/mem.h"
#include "lib/handle.h"
#include <stdlib.h>
#include <string.h>

// ---- probes in parallel ----

struct slot {
    struct probe *probe; // NULL: ended
    struct probe_result result;
};

static void on_end(void *payload, const struct probe_result *result) {
    struct slot *slot = payload;
    slot->probe = NULL;
    slot->result = *result;
    slot->result.message = mem_copy(result->message);
    slot->result.advice = mem_copy(result->advice);
}

int models_check_run(struct loop *loop, const struct models_check_target *targets, size_t count,
                     models_check_each each, void *payload, struct err *e) {
    struct slot *slots = mem_alloc(count, sizeof *slots);
    int result = 0, ended = 0;
    for (size_t i = 0; i < count; i++)
        slots[i].probe = probe_start(loop, targets[i].model, targets[i].model_id, on_end, &slots[i]);
    for (size_t i = 0; i < count && !result && !ended; i++) {
        while (!result && slots[i].probe) // each ends by its own limit
            result = loop_wait(loop, -1, e);
        if (!result)
            ended = each(payload, &targets[i], &slots[i].result);
    }
    for (size_t i = 0; i < count; i++) {
        probe_stop(slots[i].probe);
        probe_result_clear(&slots[i].result);
    }
    free(slots);
    return result;
}

struct models_check_target *models_check_targets(const struct config *config) {
    struct models_check_target *targets = mem_alloc(config->model_count, sizeof *targets);
    for (size_t i = 0; i < config->model_count; i++) {
        const struct model *model = &config->models[i];
        targets[i] = (struct models_check_target){model, strcmp(model->name, "*") == 0 ? NULL : model->name};
    }
    return targets;
}

// ---- models check ----

struct checker {
    genrun *g;
    struct each each;
    int64_t failed;
    enum err_code worst;
};

// What the queue knows of the model, if there is a queue.
static bool is_parked(genrun *g, const char *model_id) {
    struct model_state state;
    struct err e;
    return g->db && model_id && queue_model_state(g->db, model_id, &state, &e) == 0 &&
           strcmp(state.state, "parked") == 0;
}

static int give(void *payload, const struct models_check_target *target, const struct probe_result *r) {
    struct checker *c = payload;
    const char *name = target->model_id ? target->model_id : target->model->name;
    struct row *row = row_new();
    row_add_text(row, "name", name);
    row_add_text(row, "provider", target->model->provider);
    row_add_integer(row, "ok?", r->ok);
    row_add_text(row, "reachable", probe_answer_name(r->reachable));
    row_add_text(row, "key", probe_answer_name(r->key));
    row_add_text(row, "model", probe_answer_name(r->model));
    if (r->http_status)
        row_add_integer(row, "http_status", r->http_status);
    else
        row_add_text(row, "http_status", NULL);
    if (r->latency_ms >= 0)
        row_add_integer(row, "latency_ms", r->latency_ms);
    else
        row_add_text(row, "latency_ms", NULL);
    row_add_text(row, "message", r->message);
    if (r->ok && is_parked(c->g, target->model_id)) {
        char *advice = mem_format("it is parked: 'genrun models resume %s' sends to it again", name);
        row_add_text(row, "advice", advice);
        free(advice);
    } else {
        row_add_text(row, "advice", r->advice);
    }
    if (!r->ok) {
        enum err_code code = r->unconfigured ? ERR_CONFIG : ERR_REMOTE;
        c->worst = code > c->worst ? code : c->worst;
        c->failed++;
    }
    return handle_each_row(&c->each, row);
}

int genrun_models_check(genrun *g, const char *name, genrun_each each, void *payload) {
    struct checker c = {.g = g, .each = {each, payload}};
    struct models_check_target one = {0};
    struct err e;
    int result = handle_whole(g);
    if (!result)
        result = g->config ? handle_loop(g) : err_set(&g->err, ERR_CONFIG, HANDLE_NOT_OPEN);
    if (!result && name) {
        result = config_model(g->config, name, &one.model_id, &one.model, &g->err);
        if (result == ERR_INVALID)
            result = g->err.code = ERR_NOT_FOUND;
    }
    if (result)
        return handle_result(g, result);
    // Without a database, or with one that cannot be opened, nothing is known to be parked.
    if (!g->db && db_open(&g->db, g->config->database, DB_EXISTING, &e) != 0)
        g->db = NULL;
    struct models_check_target *all = models_check_targets(g->config);
    result =
        models_check_run(g->loop, name ? &one : all, name ? 1 : g->config->model_count, give, &c, &g->err);
    free(all);
    if (!result && c.failed > 0)
        result = err_set(&g->err, c.worst, "%lld model%s failed the check: do what its row says",
                         (long long)c.failed, c.failed == 1 ? "" : "s");
    return handle_result(g, result);
}
