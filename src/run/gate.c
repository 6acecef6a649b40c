// SPDX-License-Identifier: MIT
// Opening, narrowing and closing the way to each model.
#include "run/gate.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "queue/transition.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOWN_AFTER 3      // unreachable so many times in a row: the server is down
#define PROBE_MIN_MS 5000 // then one generation tries again, later and later
#define PROBE_MAX_MS 300000
#define MINUTE_MS 60000.0

static double jitter(void) {
    return (double)(id_random_u64() >> 11) / 9007199254740992.0; // 2^53
}

static void touch(struct gate *gate) {
    if (gate->home)
        gate_list_touch(gate->home, gate);
}

static bool is(const struct gate *gate, const char *state) {
    return strcmp(gate->state.state, state) == 0;
}

static void set_state(struct gate *gate, const char *state, const char *reason, const char *type,
                      int64_t now_at, int64_t until_at) {
    struct model_state *s = &gate->state;
    if (!is(gate, state) || s->since == 0)
        s->since = now_at;
    snprintf(s->state, sizeof s->state, "%s", state);
    text_escape_array(s->reason, sizeof s->reason, reason ? reason : "", reason ? strlen(reason) : 0);
    snprintf(s->error_type, sizeof s->error_type, "%s", type ? type : "");
    s->until = until_at;
    if (strcmp(state, "ok") == 0)
        s->since = 0;
    gate->dirty = true;
    touch(gate);
}

// Says what became of the model: once when it is parked, and once when it is open again.
static void tell(struct gate *gate) {
    bool parked = is(gate, "parked");
    if (parked == gate->told)
        return;
    gate->told = parked;
    if (!parked)
        log_warn("model %s is sent to again", gate->model_id);
    else
        log_warn("model %s is parked, its work waits: %s", gate->model_id, gate->state.reason);
}

void gate_note_stored(struct gate *gate) {
    tell(gate);
    memcpy(gate->stored, gate->state.state, sizeof gate->stored);
    gate->dirty = false;
}

// From what the database says to a monotonic closing time.
static void close_as_stored(struct gate *gate, bool restart, int64_t now_ms) {
    int64_t now_at = clock_wall_at();
    gate->until_ms = 0;
    if (is(gate, "ok")) {
        gate->window = gate->waits = 0;
        return;
    }
    gate->window = 1;
    if (gate->state.until > 0)
        gate->until_ms = gate->state.until > now_at ? now_ms + (gate->state.until - now_at) : 0;
    else if (is(gate, "parked") && !restart)
        gate->until_ms = INT64_MAX;
}

void gate_take_stored(struct gate *gate, bool restart, int64_t now_ms) {
    gate_note_stored(gate);
    close_as_stored(gate, restart, now_ms);
    touch(gate);
}

void gate_close_unserved(struct gate *gate) {
    char reason[256];
    snprintf(reason, sizeof reason,
             "no section of the configuration serves model %.64s: add [model %.64s] and restart",
             gate->model_id, gate->model_id);
    gate->until_ms = INT64_MAX;
    set_state(gate, "parked", reason, "ConfigurationError", clock_wall_at(), 0);
}

static void refill(struct gate *gate, int64_t now_ms) {
    double minutes = (double)(now_ms - gate->refilled_ms) / MINUTE_MS;
    gate->refilled_ms = now_ms;
    if (!gate->model || minutes <= 0)
        return;
    // A second's worth may gather, so that the pace is even and no minute is exceeded by a burst.
    double starts = gate->model->requests_per_minute, tokens = (double)gate->model->tokens_per_minute;
    gate->starts_left += starts * minutes;
    gate->tokens_left += tokens * minutes;
    if (gate->starts_left > (starts / 60 > 1 ? starts / 60 : 1))
        gate->starts_left = starts / 60 > 1 ? starts / 60 : 1;
    if (gate->tokens_left > tokens)
        gate->tokens_left = tokens;
}

int gate_free(struct gate *gate, int most, int64_t now_ms) {
    if (!gate->model || gate->until_ms > now_ms)
        return 0;
    refill(gate, now_ms);
    int left = most;
    if (gate->model->concurrency > 0 && gate->model->concurrency - gate->running < left)
        left = gate->model->concurrency - gate->running;
    if (gate->window > 0 && gate->window - gate->running < left)
        left = gate->window - gate->running;
    if (gate->model->requests_per_minute > 0 && gate->starts_left < (double)left)
        left = (int)gate->starts_left;
    if (gate->model->tokens_per_minute > 0 && gate->tokens_left <= 0)
        left = 0;
    return left > 0 ? left : 0;
}

bool gate_is_new(struct gate *gate, int64_t now_ms) {
    refill(gate, now_ms);
    bool rested = !gate->model || ((gate->model->requests_per_minute <= 0 || gate->starts_left >= 1) &&
                                   (gate->model->tokens_per_minute <= 0 || gate->tokens_left >= 1));
    return rested && is(gate, "ok") && gate->until_ms <= now_ms && gate->running == 0 && gate->window == 0 &&
           gate->waits == 0 && gate->state.failures == 0;
}

void gate_slept(struct gate *gate, int64_t gap_ms, int64_t now_ms) {
    touch(gate);
    gate->refilled_ms -= gap_ms;
    if (gate->until_ms > now_ms && gate->until_ms != INT64_MAX)
        gate->until_ms = gate->until_ms - gap_ms > now_ms ? gate->until_ms - gap_ms : now_ms;
}

void gate_jumped(struct gate *gate, int64_t jump_ms) {
    struct model_state *s = &gate->state;
    if (s->since == 0)
        return;
    s->since += jump_ms;
    s->until += s->until > 0 ? jump_ms : 0;
    gate->dirty = true;
    touch(gate);
}

int64_t gate_opens_ms(struct gate *gate, int64_t now_ms) {
    if (!gate->model)
        return INT64_MAX;
    if (gate->until_ms > now_ms)
        return gate->until_ms;
    refill(gate, now_ms);
    int64_t opens = INT64_MAX;
    if (gate->model->requests_per_minute > 0 && gate->starts_left < 1)
        opens =
            now_ms + 1 + (int64_t)((1 - gate->starts_left) * MINUTE_MS / gate->model->requests_per_minute);
    if (gate->model->tokens_per_minute > 0 && gate->tokens_left <= 0) {
        int64_t at =
            now_ms + 1 + (int64_t)(-gate->tokens_left * MINUTE_MS / (double)gate->model->tokens_per_minute);
        opens = opens == INT64_MAX || at > opens ? at : opens;
    }
    return opens;
}

void gate_started(struct gate *gate) {
    gate->running++;
    if (!gate->model || gate->model->requests_per_minute <= 0)
        return;
    gate->starts_left -= 1;
    touch(gate);
}

void gate_unstreamed(struct gate *gate) {
    gate->state.unstreamed = true;
    gate->dirty = true;
    touch(gate);
}

void gate_succeeded(struct gate *gate, int64_t tokens, int64_t now_ms) {
    gate->tokens_left -= (double)tokens;
    touch(gate);
    // It was under way when the gate closed: that stands all the same.
    if (gate->until_ms > now_ms)
        return;
    gate->waits = 0;
    if (gate->state.failures > 0) {
        gate->state.failures = 0;
        gate->dirty = true;
    }
    if (!is(gate, "ok")) {
        gate->until_ms = 0;
        set_state(gate, "ok", NULL, NULL, clock_wall_at(), 0);
    }
    // Additive increase until the window no longer holds anything back.
    if (gate->window > 0 && ++gate->window > 256)
        gate->window = 0;
}

static void cool_down(struct gate *gate, const struct verdict *verdict, const struct run_settings *settings,
                      int64_t now_ms, int64_t now_at) {
    // A burst of refusals is one refusal: only the first one lengthens the next wait.
    bool first = gate->until_ms <= now_ms;
    int64_t wait = verdict->wait_ms;
    if (wait < 0)
        wait = transition_backoff_ms(first || gate->waits == 0 ? gate->waits : gate->waits - 1, 1.0,
                                     settings->backoff_min_ms, settings->backoff_max_ms);
    else if (gate->waits > 0 && wait < settings->backoff_min_ms)
        wait =
            settings
                ->backoff_min_ms; // "at once", and then refused again: without end, at the speed of the wire
    wait += (int64_t)((double)wait * 0.1 * jitter());
    if (first)
        gate->waits++;
    // After the wait one generation tries; successes then widen the window.
    gate->window = 1;
    if (now_ms + wait > gate->until_ms)
        gate->until_ms = now_ms + wait;
    else if (is(gate, "parked"))
        return; // it is closed for longer, and says why
    set_state(gate, "cooling", verdict->message, verdict->error_type, now_at,
              now_at + (gate->until_ms - now_ms));
}

static void park(struct gate *gate, const char *reason, const char *type, int64_t wait_ms, int64_t now_ms,
                 int64_t now_at) {
    gate->window = 1;
    gate->until_ms = wait_ms >= 0 ? now_ms + wait_ms : INT64_MAX;
    set_state(gate, "parked", reason, type, now_at, wait_ms >= 0 ? now_at + wait_ms : 0);
}

void gate_failed(struct gate *gate, const struct verdict *verdict, const struct run_settings *settings,
                 int64_t now_ms, int64_t now_at, bool *parked) {
    *parked = false;
    touch(gate);
    if (verdict->server_down && verdict->action == VERDICT_RETRY) {
        gate->state.failures++;
        gate->dirty = true;
        if (gate->state.failures >= DOWN_AFTER) {
            char *reason = mem_format("the server cannot be reached: %s", verdict->message);
            int64_t wait = transition_backoff_ms(gate->state.failures - DOWN_AFTER, jitter(), PROBE_MIN_MS,
                                                 PROBE_MAX_MS);
            if (gate->until_ms <= now_ms)
                park(gate, reason, verdict->error_type, wait, now_ms, now_at);
            free(reason);
            *parked = true;
        }
        return;
    }
    // Any other answer proves that the server is there, and one that asks for no wait ends the caution.
    if (gate->state.failures > 0) {
        gate->state.failures = 0;
        gate->dirty = true;
    }
    if (!is(gate, "ok") && gate->until_ms <= now_ms &&
        (verdict->action == VERDICT_FAIL || verdict->action == VERDICT_RETRY))
        set_state(gate, "ok", NULL, NULL, now_at, 0);
    if (verdict->action == VERDICT_WAIT)
        cool_down(gate, verdict, settings, now_ms, now_at);
    else if (verdict->action == VERDICT_PARK)
        park(gate, verdict->message, verdict->error_type,
             verdict->wait_ms >= 0 && verdict->wait_ms < PROBE_MIN_MS ? PROBE_MIN_MS : verdict->wait_ms,
             now_ms, now_at);
}
