// SPDX-License-Identifier: MIT
// The four answers to a failure, as states.
#include "queue/transition.h"
#include <stddef.h>

int64_t transition_backoff_ms(int attempts, double random, int64_t min_ms, int64_t max_ms) {
    int64_t span = min_ms;
    for (int i = 0; i < attempts && span < max_ms; i++)
        span = span > max_ms / 2 ? max_ms : span * 2;
    if (span > max_ms)
        span = max_ms;
    return span / 2 + (int64_t)(random * (double)(span - span / 2));
}

static struct transition wait_on(enum cause cause, int64_t waiting_since, int64_t now_at,
                                 const struct transition_rules *rules) {
    int64_t since = waiting_since > 0 ? waiting_since : now_at;
    if (rules->max_wait_ms > 0 && now_at - since >= rules->max_wait_ms)
        return (struct transition){.status = "failed", .event = "failed", .deadline = 1};
    // No delay of its own: the model is closed meanwhile, and its place in the queue is kept.
    return (struct transition){
        .status = "queued", .waiting_since = since, .event = cause == CAUSE_PARK ? "parked" : "retrying"};
}

struct transition transition_next(enum cause cause, int attempts, int64_t wait_ms, int64_t waiting_since,
                                  int64_t now_at, double random, const struct transition_rules *rules) {
    switch (cause) {
    case CAUSE_DONE:
        return (struct transition){.status = "completed", .spent = 1, .event = "completed"};
    case CAUSE_FAIL:
        return (struct transition){.status = "failed", .spent = 1, .event = "failed"};
    case CAUSE_WAIT:
    case CAUSE_PARK:
        return wait_on(cause, waiting_since, now_at, rules);
    case CAUSE_AGAIN:
        return (struct transition){.status = "queued", .waiting_since = waiting_since, .event = "queued"};
    case CAUSE_RETRY:
        break;
    }
    if (attempts + 1 >= rules->max_attempts)
        return (struct transition){.status = "failed", .spent = 1, .event = "failed"};
    // A server may name any time; beyond max_wait nothing waits.
    if (rules->max_wait_ms > 0 && wait_ms > rules->max_wait_ms)
        wait_ms = rules->max_wait_ms;
    int64_t delay = transition_backoff_ms(attempts, random, rules->backoff_min_ms, rules->backoff_max_ms);
    return (struct transition){
        .status = "queued", .spent = 1, .delay_ms = wait_ms > delay ? wait_ms : delay, .event = "retrying"};
}
