// SPDX-License-Identifier: MIT
// Starting an attempt, watching its clocks, ending it.
#include "run/attempt.h"
#include "base/clock.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

struct attempt *attempt_new(struct claim *claim, struct gate *gate) {
    struct attempt *a = mem_alloc(1, sizeof *a);
    a->claim = *claim;
    *claim = (struct claim){0};
    a->gate = gate;
    gate->attempts++;
    return a;
}

void attempt_free(struct attempt *attempt) {
    if (!attempt)
        return;
    attempt->gate->attempts--;
    claim_clear(&attempt->claim);
    outcome_free(attempt->outcome);
    free(attempt->end_reason);
    free(attempt);
}

static void on_progress(void *payload, enum provider_step step, size_t content_bytes) {
    struct attempt *a = payload;
    bool moved = step != a->step || content_bytes > 0;
    a->step = step;
    a->output_bytes += (int64_t)content_bytes;
    // Bytes without content prove the connection, not progress.
    if (!moved)
        return;
    a->last_progress_ms = clock_monotonic_ms();
}

// What cannot be kept whole is no success; the outputs that can be are kept as partial ones.
static void check_count(struct outcome *outcome) {
    if (outcome->failure.kind != FAILURE_NONE || outcome->output_count <= QUEUE_OUTPUTS_MAXIMUM)
        return;
    outcome->failure.kind = FAILURE_TOO_LARGE;
    outcome->failure.message =
        mem_format("the answer has %zu outputs, and a generation keeps at most %d: ask for fewer",
                   outcome->output_count, QUEUE_OUTPUTS_MAXIMUM);
}

static void on_end(void *payload, struct outcome *outcome) {
    struct attempt *a = payload;
    check_count(outcome);
    a->call = NULL;
    a->outcome = outcome;
    a->end = END_OUTCOME;
    a->on_end(a->payload, a);
}

void attempt_start(struct attempt *attempt, struct loop *loop, const char *runner_id, size_t max_output) {
    struct attempt *a = attempt;
    const struct provider_listener listener = {.on_progress = on_progress, .on_end = on_end, .payload = a};
    struct provider_request request = {
        .model = a->gate->model,
        .model_id = a->claim.model_id,
        .generation_id = a->claim.id,
        .runner_id = runner_id,
        .start = a->claim.starts,
        .prompt = a->claim.prompt,
        .parameters = a->claim.parameters,
        .endpoint = a->claim.endpoint,
        .unstreamed = a->gate->state.unstreamed,
        .max_output = max_output,
    };
    a->started_ms = a->last_progress_ms = clock_monotonic_ms();
    a->step = STEP_CONNECT;
    a->provider = provider_find(a->gate->model->provider);
    if (a->provider)
        a->call = a->provider->start(loop, &request, &listener);
    if (a->call)
        return;
    a->outcome = outcome_new();
    a->outcome->failure.kind = FAILURE_CONFIGURATION;
    a->outcome->failure.message =
        mem_format("the call to provider %s could not be started: the system gives no more handles",
                   a->gate->model->provider);
    a->end = END_OUTCOME;
    a->on_end(a->payload, a);
}

void attempt_stop(struct attempt *attempt, enum attempt_end end, const char *reason) {
    if (attempt->call)
        attempt->outcome = attempt->provider->stop(attempt->call);
    attempt->call = NULL;
    attempt->end = end;
    attempt->end_reason = mem_copy(reason);
}

int64_t attempt_progress_limit_ms(const struct attempt *attempt) {
    if (attempt->step != STEP_STREAM || !attempt->call || attempt->provider->is_opaque(attempt->call))
        return 0;
    return attempt->gate->model->progress_timeout_ms;
}

int64_t attempt_deadline_ms(const struct attempt *attempt, const char **which) {
    const struct model *m = attempt->gate->model;
    int64_t deadline = INT64_MAX;
    if (m->max_runtime_ms > 0) {
        deadline = attempt->started_ms + m->max_runtime_ms;
        *which = "max_runtime";
    }
    int64_t first = attempt->started_ms + m->first_byte_timeout_ms;
    if (attempt->step != STEP_STREAM && m->first_byte_timeout_ms > 0 && first < deadline) {
        deadline = first;
        *which = "first_byte_timeout";
    }
    int64_t limit = attempt_progress_limit_ms(attempt);
    if (limit > 0 && attempt->last_progress_ms + limit < deadline) {
        deadline = attempt->last_progress_ms + limit;
        *which = "progress_timeout";
    }
    return deadline;
}

static const char *what_ran_out(const char *which) {
    if (strcmp(which, "first_byte_timeout") == 0)
        return "no first byte came for %s (first_byte_timeout): the model accepted the request and is "
               "silent";
    if (strcmp(which, "progress_timeout") == 0)
        return "no progress for %s (progress_timeout): the answer stopped in the middle; what had come is "
               "kept";
    return "it ran for %s (max_runtime): ended";
}

bool attempt_expire(struct attempt *attempt, int64_t now_ms) {
    const char *which = "";
    if (!attempt->call || now_ms < attempt_deadline_ms(attempt, &which))
        return false;
    const struct model *m = attempt->gate->model;
    char limit[32];
    int64_t limit_ms = strcmp(which, "first_byte_timeout") == 0 ? m->first_byte_timeout_ms
                       : strcmp(which, "progress_timeout") == 0 ? m->progress_timeout_ms
                                                                : m->max_runtime_ms;
    clock_format_duration(limit_ms, limit, sizeof limit);
    attempt_stop(attempt, END_TIMEOUT, NULL);
    struct failure *f = &attempt->outcome->failure;
    f->kind = FAILURE_TIMEOUT;
    free(f->message);
    const char *format = what_ran_out(which);
    const char *hole = strstr(format, "%s");
    f->message = mem_format("%.*s%s%s", (int)(hole - format), format, limit, hole + 2);
    return true;
}

void attempt_shift(struct attempt *attempt, int64_t gap_ms) {
    attempt->started_ms += gap_ms;
    attempt->last_progress_ms += gap_ms;
}
