// SPDX-License-Identifier: MIT
// The next state of a generation whose attempt ended: a pure function of what
// the judge said and of how often and how long it was tried. (Which transitions
// are legal at all, for everyone, is the trigger generation_transition in
// schema/0001_initial.sql.)
#ifndef GENRUN_QUEUE_TRANSITION_H
#define GENRUN_QUEUE_TRANSITION_H

#include <stdint.h>

enum cause {
    CAUSE_DONE,  // a result
    CAUSE_FAIL,  // deterministic
    CAUSE_RETRY, // transient
    CAUSE_WAIT,  // rate limit, overload
    CAUSE_PARK,  // money, key, server down
    CAUSE_AGAIN  // start over at once, nothing spent (the server refused to stream; a graceful stop)
};

struct transition_rules {
    int max_attempts; // the first try counted
    int64_t backoff_min_ms, backoff_max_ms;
    int64_t max_wait_ms; // 0: wait for ever
};

struct transition {
    const char *status;    // completed, failed, queued
    int spent;             // attempts to add
    int64_t delay_ms;      // before the next start
    int64_t waiting_since; // 0: not waiting
    const char *event;     // completed, failed, retrying, parked, queued
    int deadline;          // waited longer than max_wait_ms: a DeadlineError
};

// `attempts` spent before; `wait_ms` that the server stated (-1: none); `random` in [0,1) spreads retries;
// `waiting_since` 0 when it did not wait before.
struct transition transition_next(enum cause cause, int attempts, int64_t wait_ms, int64_t waiting_since,
                                  int64_t now_at, double random, const struct transition_rules *rules);
// Exponential backoff with equal jitter (AWS architecture blog, "Exponential Backoff And Jitter"): half of
// min(max, min * 2^attempts) and a random share of the other half.
int64_t transition_backoff_ms(int attempts, double random, int64_t min_ms, int64_t max_ms);

#endif
