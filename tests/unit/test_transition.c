// SPDX-License-Identifier: MIT
// The next state after an attempt, and the time between two attempts, as tables.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "queue/transition.h"
#include <stdbool.h>
#include <stdint.h>

#define NOW 1700000000000
#define DAY 86400000
#define RANDOM 0.5 // half of the spread: the times below are exact

struct transition_case {
    const char *name;
    enum cause cause;
    int attempts;
    int64_t wait_ms;
    int64_t waiting_since;
    int max_attempts;
    int64_t max_wait_ms;
    // what is expected
    const char *status;
    int spent;
    int64_t delay_ms;
    int64_t since;
    const char *event;
    int deadline;
};

static const struct transition_case cases[] = {
    {"a result", CAUSE_DONE, 0, -1, 0, 3, DAY, "completed", 1, 0, 0, "completed", 0},
    {"a result on the last attempt", CAUSE_DONE, 2, -1, 0, 3, DAY, "completed", 1, 0, 0, "completed", 0},
    {"a result after waiting", CAUSE_DONE, 0, -1, NOW - 2 * DAY, 3, DAY, "completed", 1, 0, 0, "completed",
     0},
    {"deterministic, with attempts left", CAUSE_FAIL, 0, -1, 0, 3, DAY, "failed", 1, 0, 0, "failed", 0},
    {"deterministic, with a wait stated", CAUSE_FAIL, 0, 5000, 0, 3, DAY, "failed", 1, 0, 0, "failed", 0},
    {"transient, first attempt", CAUSE_RETRY, 0, -1, 0, 3, DAY, "queued", 1, 1500, 0, "retrying", 0},
    {"transient, second attempt", CAUSE_RETRY, 1, -1, 0, 3, DAY, "queued", 1, 3000, 0, "retrying", 0},
    {"transient, last attempt", CAUSE_RETRY, 2, -1, 0, 3, DAY, "failed", 1, 0, 0, "failed", 0},
    {"transient, beyond the last", CAUSE_RETRY, 7, -1, 0, 3, DAY, "failed", 1, 0, 0, "failed", 0},
    {"transient, one attempt only", CAUSE_RETRY, 0, -1, 0, 1, DAY, "failed", 1, 0, 0, "failed", 0},
    {"transient, a longer wait is stated", CAUSE_RETRY, 0, 60000, 0, 3, DAY, "queued", 1, 60000, 0,
     "retrying", 0},
    {"transient, a year is stated", CAUSE_RETRY, 0, 365LL * DAY, 0, 3, DAY, "queued", 1, DAY, 0, "retrying",
     0},
    {"transient, a year is stated and allowed", CAUSE_RETRY, 0, 365LL * DAY, 0, 3, 0, "queued", 1,
     365LL * DAY, 0, "retrying", 0},
    {"transient, a shorter wait is stated", CAUSE_RETRY, 0, 10, 0, 3, DAY, "queued", 1, 1500, 0, "retrying",
     0},
    {"transient, no wait is stated as 0", CAUSE_RETRY, 0, 0, 0, 3, DAY, "queued", 1, 1500, 0, "retrying", 0},
    {"transient ends a waiting", CAUSE_RETRY, 0, -1, NOW - 2 * DAY, 3, DAY, "queued", 1, 1500, 0, "retrying",
     0},
    {"wait, first time", CAUSE_WAIT, 0, 30000, 0, 3, DAY, "queued", 0, 0, NOW, "retrying", 0},
    {"wait, on the last attempt", CAUSE_WAIT, 2, -1, 0, 3, DAY, "queued", 0, 0, NOW, "retrying", 0},
    {"wait, one attempt only", CAUSE_WAIT, 0, -1, 0, 1, DAY, "queued", 0, 0, NOW, "retrying", 0},
    {"wait, again", CAUSE_WAIT, 0, -1, NOW - 1000, 3, DAY, "queued", 0, 0, NOW - 1000, "retrying", 0},
    {"wait, a moment before the end", CAUSE_WAIT, 0, -1, NOW - DAY + 1, 3, DAY, "queued", 0, 0, NOW - DAY + 1,
     "retrying", 0},
    {"wait, too long", CAUSE_WAIT, 0, -1, NOW - DAY, 3, DAY, "failed", 0, 0, 0, "failed", 1},
    {"wait for ever", CAUSE_WAIT, 0, -1, 1, 3, 0, "queued", 0, 0, 1, "retrying", 0},
    {"wait, the clock was set back", CAUSE_WAIT, 0, -1, NOW + DAY, 3, DAY, "queued", 0, 0, NOW + DAY,
     "retrying", 0},
    {"park, first time", CAUSE_PARK, 0, -1, 0, 3, DAY, "queued", 0, 0, NOW, "parked", 0},
    {"park, on the last attempt", CAUSE_PARK, 2, -1, 0, 3, DAY, "queued", 0, 0, NOW, "parked", 0},
    {"park, too long", CAUSE_PARK, 0, -1, NOW - 2 * DAY, 3, DAY, "failed", 0, 0, 0, "failed", 1},
    {"park for ever", CAUSE_PARK, 2, -1, 1, 3, 0, "queued", 0, 0, 1, "parked", 0},
    {"again at once", CAUSE_AGAIN, 0, -1, 0, 3, DAY, "queued", 0, 0, 0, "queued", 0},
    {"again at once, on the last attempt", CAUSE_AGAIN, 2, -1, 0, 3, DAY, "queued", 0, 0, 0, "queued", 0},
    {"again at once keeps the waiting", CAUSE_AGAIN, 0, -1, NOW - 5, 3, DAY, "queued", 0, 0, NOW - 5,
     "queued", 0},
};

static void test_transitions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct transition_case *c = &cases[i];
        const struct transition_rules rules = {.max_attempts = c->max_attempts,
                                               .backoff_min_ms = 2000,
                                               .backoff_max_ms = 300000,
                                               .max_wait_ms = c->max_wait_ms};
        struct transition t =
            transition_next(c->cause, c->attempts, c->wait_ms, c->waiting_since, NOW, RANDOM, &rules);
        print_message("# %s\n", c->name);
        assert_string_equal(t.status, c->status);
        assert_string_equal(t.event, c->event);
        assert_int_equal(t.spent, c->spent);
        assert_int_equal(t.delay_ms, c->delay_ms);
        assert_int_equal(t.waiting_since, c->since);
        assert_int_equal(t.deadline, c->deadline);
    }
}

// An attempt is spent by what ran and by nothing else; what ended does not wait; what waits has no end.
static void test_transitions_agree(void **state) {
    (void)state;
    const struct transition_rules rules = {
        .max_attempts = 3, .backoff_min_ms = 2000, .backoff_max_ms = 300000, .max_wait_ms = DAY};
    for (int cause = CAUSE_DONE; cause <= CAUSE_AGAIN; cause++)
        for (int attempts = 0; attempts < 5; attempts++)
            for (int64_t since = 0; since <= NOW; since += NOW / 2) {
                struct transition t =
                    transition_next((enum cause)cause, attempts, -1, since, NOW, 0.9, &rules);
                bool ended = t.status[0] != 'q';
                bool waits = cause == CAUSE_WAIT || cause == CAUSE_PARK || cause == CAUSE_AGAIN;
                assert_int_equal(t.spent, waits ? 0 : 1);
                assert_true(!ended || (t.delay_ms == 0 && t.waiting_since == 0));
                assert_true(!t.deadline || ended);
                assert_true(ended || t.delay_ms >= 0);
            }
}

struct backoff_case {
    int attempts;
    double random;
    int64_t min_ms, max_ms, expected;
};

static const struct backoff_case backoffs[] = {
    {0, 0.0, 2000, 300000, 1000},
    {0, 0.5, 2000, 300000, 1500},
    {1, 0.0, 2000, 300000, 2000},
    {2, 0.0, 2000, 300000, 4000},
    {7, 0.0, 2000, 300000, 128000},
    {8, 0.0, 2000, 300000, 150000}, // cut at the maximum
    {63, 0.0, 2000, 300000, 150000},
    {1000000, 0.5, 2000, 300000, 225000},
    {0, 0.0, 0, 0, 0}, // no wait at all
    {9, 0.9, 0, 300000, 0},
    {3, 0.0, 5000, 1000, 500}, // a minimum above the maximum
    {0, 0.5, 1, 1, 0},
    {70, 0.0, 1, INT64_MAX, INT64_MAX / 2}, // no overflow
};

static void test_backoff(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof backoffs / sizeof *backoffs; i++) {
        const struct backoff_case *b = &backoffs[i];
        assert_int_equal(transition_backoff_ms(b->attempts, b->random, b->min_ms, b->max_ms), b->expected);
    }
}

// Between half and the whole of the span, longer with each attempt, never beyond the maximum.
static void test_backoff_spread(void **state) {
    (void)state;
    int64_t span = 2000;
    for (int attempts = 0; attempts < 40; attempts++) {
        int64_t low = transition_backoff_ms(attempts, 0.0, 2000, 300000);
        int64_t high = transition_backoff_ms(attempts, 0.999999999, 2000, 300000);
        assert_int_equal(low, span / 2);
        assert_true(high < span && high >= span - 2);
        span = span * 2 < 300000 ? span * 2 : 300000;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_transitions_agree),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_backoff_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
