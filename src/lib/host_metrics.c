// SPDX-License-Identifier: MIT
// Everything that is counted, as metrics with names by the conventions of Prometheus.
#include "base/clock.h"
#include "lib/handle.h"
#include "lib/host.h"
#include "queue/delivery.h"
#include "run/metrics.h"
#include "run/webhook.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MODELS_MOST 1000 // in each of the families by model
#define WEBHOOKS_MOST 100
#define WEBHOOKS_LIMIT_MS 50 // counting takes no longer

struct telling {
    genrun *g;
    void (*each)(void *payload, const struct host_metric *metric);
    void *payload;
    struct host_metric metric; // the family under way
    size_t models;
};

static void family(struct telling *t, enum host_metric_type type, const char *name, const char *help) {
    t->metric = (struct host_metric){.name = name, .help = help, .type = type};
}

static void label(struct telling *t, size_t index, const char *name, const char *value) {
    t->metric.labels[index].name = name;
    t->metric.labels[index].value = value;
}

static void value(struct telling *t, double number) {
    t->metric.value = number;
    t->each(t->payload, &t->metric);
}

// A family of one line.
static void one(struct telling *t, enum host_metric_type type, const char *name, const char *help,
                double number) {
    family(t, type, name, help);
    value(t, number);
}

// The lines of a histogram, with `labels` labels set already.
static void histogram(struct telling *t, const struct metrics_histogram *h, size_t labels) {
    char bound[32];
    int64_t below = 0;
    size_t i = 0;
    t->metric.type = HOST_BUCKET;
    for (; h->bounds[i] > 0; i++) {
        below += h->counts[i];
        snprintf(bound, sizeof bound, "%g", h->bounds[i]);
        label(t, labels, "le", bound);
        value(t, (double)below);
    }
    label(t, labels, "le", "+Inf");
    value(t, (double)h->count);
    label(t, labels, NULL, NULL);
    t->metric.type = HOST_SUM;
    value(t, h->sum);
    t->metric.type = HOST_COUNT;
    value(t, (double)h->count);
}

static void tell_attempts(struct telling *t, const struct metrics *m) {
    family(
        t, HOST_COUNTER, "genrun_attempts_total",
        "Ended attempts by model, outcome (completed, failed, retried, waited, parked, cancelled, stopped, "
        "lost) and type of the error.");
    for (size_t i = 0; i < m->model_count; i++)
        for (size_t k = 0; k < m->models[i]->end_count; k++) {
            label(t, 0, "model", m->models[i]->name);
            label(t, 1, "outcome", m->models[i]->ends[k].outcome);
            label(t, 2, "error_type", m->models[i]->ends[k].error_type);
            value(t, (double)m->models[i]->ends[k].count);
        }
    family(t, HOST_BUCKET, "genrun_attempt_duration_seconds",
           "Time from the start of an attempt to its end.");
    for (size_t i = 0; i < m->model_count; i++) {
        label(t, 0, "model", m->models[i]->name);
        histogram(t, &m->models[i]->durations, 1);
    }
}

static void tell_counters(struct telling *t, const struct metrics *m) {
    family(t, HOST_BUCKET, "genrun_commit_duration_seconds", "Time that a commit of the loop took.");
    histogram(t, &m->commits, 0);
    family(t, HOST_BUCKET, "genrun_turn_duration_seconds",
           "Time that the loop worked between two waits: how long it could not answer.");
    histogram(t, &m->turns, 0);
    one(t, HOST_COUNTER, "genrun_claims_total", "Generations that were claimed.", (double)m->claims);
    one(t, HOST_COUNTER, "genrun_heartbeats_total", "Heartbeats written for all that ran.",
        (double)m->heartbeats);
    one(t, HOST_COUNTER, "genrun_checkpoints_total", "Checkpoints of the write-ahead log.",
        (double)m->checkpoints);
    one(t, HOST_COUNTER, "genrun_checkpoints_put_off_total", "Checkpoints that could not be made then.",
        (double)m->checkpoints_put_off);
    one(t, HOST_COUNTER, "genrun_transactions_failed_total",
        "Transactions of the loop that failed and were rolled back.", (double)m->failed_transactions);
    family(
        t, HOST_COUNTER, "genrun_writes_total",
        "Writing requests by result: stored, refused (by what is stored), failed (nothing could be stored).");
    label(t, 0, "result", "stored");
    value(t, (double)m->writes_stored);
    label(t, 0, "result", "refused");
    value(t, (double)m->writes_refused);
    label(t, 0, "result", "failed");
    value(t, (double)m->writes_failed);
}

static void tell_model_state(void *payload, const char *model, const char *state, int running) {
    struct telling *t = payload;
    (void)running;
    if (strcmp(state, "ok") == 0 || t->models++ >= MODELS_MOST)
        return;
    label(t, 0, "model", model);
    label(t, 1, "state", state);
    value(t, 1);
}

static void tell_model_live(void *payload, const char *model, const char *state, int running) {
    struct telling *t = payload;
    (void)state;
    if (t->models++ >= MODELS_MOST)
        return;
    label(t, 0, "model", model);
    value(t, running);
}

static void tell_runner(struct telling *t) {
    struct runner_view view;
    runner_look(t->g->runner, &view);
    one(t, HOST_GAUGE, "genrun_runner_start_time_seconds", "When the runner came up, in Unix time.",
        (double)view.started_at / 1000);
    one(t, HOST_GAUGE, "genrun_concurrency_limit", "Attempts that may run at a time.",
        t->g->config->scheduler.concurrency);
    one(t, HOST_GAUGE, "genrun_results_kept", "Results in memory that the database has not taken yet.",
        (double)view.kept);
    one(t, HOST_GAUGE, "genrun_database_trouble_seconds",
        "For so long the database could not be written; 0: it can.", (double)view.trouble_ms / 1000);
    family(t, HOST_GAUGE, "genrun_live_attempts", "Attempts in flight by model.");
    t->models = 0;
    runner_models(t->g->runner, tell_model_live, t);
    family(t, HOST_GAUGE, "genrun_model_closed", "Models that are parked or cooling down: 1 each.");
    t->models = 0;
    runner_models(t->g->runner, tell_model_state, t);
}

static void tell_queue(struct telling *t) {
    static const char *const states[] = {"queued", "processing", "completed", "failed", "cancelled"};
    const struct row *stats = handle_stats(t->g);
    if (!stats)
        return;
    family(t, HOST_GAUGE, "genrun_generations", "Generations by state.");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        label(t, 0, "status", states[i]);
        value(t, (double)row_integer(stats, states[i], 0));
    }
    one(t, HOST_GAUGE, "genrun_stuck_generations", "Generations that are processing and stuck.",
        (double)row_integer(stats, "stuck", 0));
    one(t, HOST_GAUGE, "genrun_violations",
        "Generations that will not come to an end by themselves: must be 0.",
        (double)row_integer(stats, "violations", 0));
    int64_t oldest_at = row_integer(stats, "oldest_queued_at", 0);
    int64_t age_ms = oldest_at ? clock_wall_at() - oldest_at : 0;
    one(t, HOST_GAUGE, "genrun_oldest_queued_age_seconds",
        "Age of the oldest generation that could start; 0: there is none.",
        (double)(age_ms > 0 ? age_ms : 0) / 1000);
}

// ---- webhooks ----

static void tell_webhook_attempt(void *payload, const char *endpoint, const char *result, int64_t count) {
    struct telling *t = payload;
    label(t, 0, "endpoint", endpoint);
    label(t, 1, "result", result);
    value(t, (double)count);
}

static void tell_deliveries(struct telling *t, struct row *const *rows, size_t count) {
    static const char *const states[] = {"pending", "failed", "dropped"};
    family(t, HOST_GAUGE, "genrun_webhook_deliveries",
           "Deliveries by endpoint and state: pending, failed (after all attempts), dropped (unsent).");
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof states / sizeof *states; k++) {
            label(t, 0, "endpoint", row_text(rows[i], "name"));
            label(t, 1, "status", states[k]);
            value(t, (double)row_integer(rows[i], states[k], 0));
        }
    int64_t now_at = clock_wall_at();
    family(t, HOST_GAUGE, "genrun_webhook_oldest_pending_age_seconds",
           "Age of the oldest pending delivery of an endpoint; 0: there is none.");
    for (size_t i = 0; i < count; i++) {
        int64_t oldest_at = row_integer(rows[i], "oldest_at", 0);
        label(t, 0, "endpoint", row_text(rows[i], "name"));
        value(t, oldest_at && oldest_at < now_at ? (double)(now_at - oldest_at) / 1000 : 0);
    }
}

// `state`: 1 where the endpoint is in it.
static void tell_endpoints_in(struct telling *t, struct row *const *rows, size_t count, const char *name,
                              const char *help, const char *state) {
    family(t, HOST_GAUGE, name, help);
    for (size_t i = 0; i < count; i++) {
        label(t, 0, "endpoint", row_text(rows[i], "name"));
        value(t, strcmp(row_text(rows[i], "state"), state) == 0);
    }
}

static void tell_webhooks(struct telling *t) {
    const struct config *config = t->g->config;
    struct row *rows[WEBHOOKS_MOST];
    size_t count = 0;
    struct err e;
    db_limit(t->g->db, WEBHOOKS_LIMIT_MS);
    for (size_t i = 0; i < config->webhook_count && count < WEBHOOKS_MOST; i++)
        if (delivery_endpoint_row(t->g->db, config->webhooks[i].name, clock_wall_at(), &rows[count], &e) == 0)
            count += rows[count] != NULL;
    db_limit(t->g->db, 0);
    if (count > 0) {
        tell_deliveries(t, rows, count);
        tell_endpoints_in(t, rows, count, "genrun_webhook_disabled",
                          "1: the endpoint answered 410, and is sent nothing.", "disabled");
        tell_endpoints_in(t, rows, count, "genrun_webhook_away", "1: the endpoint cannot be reached.",
                          "away");
        family(t, HOST_GAUGE, "genrun_webhook_unread_events",
               "Rows of the log that are not looked at for the endpoint yet.");
        for (size_t i = 0; i < count; i++) {
            label(t, 0, "endpoint", row_text(rows[i], "name"));
            value(t, (double)row_integer(rows[i], "behind", 0));
        }
    }
    for (size_t i = 0; i < count; i++)
        row_free(rows[i]);
    if (!t->g->runner || config->webhook_count == 0)
        return;
    family(t, HOST_COUNTER, "genrun_webhook_attempts_total",
           "Ended attempts by endpoint and result: taken, failed, held_off (429, 502 to 504), gone (410), "
           "unreachable, blocked (no public address).");
    webhooks_counts(runner_webhooks(t->g->runner), tell_webhook_attempt, t);
}

static void tell_file(struct telling *t, const char *name, const char *help, const char *path) {
    struct stat st;
    one(t, HOST_GAUGE, name, help, stat(path, &st) == 0 ? (double)st.st_size : 0);
}

void host_metrics(genrun *g, void (*each)(void *payload, const struct host_metric *metric), void *payload) {
    struct telling t = {.g = g, .each = each, .payload = payload};
    family(&t, HOST_GAUGE, "genrun_build_info", "The version of the program: 1.");
    label(&t, 0, "version", GENRUN_VERSION);
    value(&t, 1);
    if (g->db) {
        tell_queue(&t);
        tell_webhooks(&t);
        tell_file(&t, "genrun_database_bytes", "Size of the database file.", db_path(g->db));
        tell_file(&t, "genrun_wal_bytes", "Size of the write-ahead log.", db_log_path(g->db));
    }
    if (!g->runner)
        return;
    tell_runner(&t);
    tell_attempts(&t, runner_metrics(g->runner));
    tell_counters(&t, runner_metrics(g->runner));
}
