// SPDX-License-Identifier: MIT
// The way to a model: how it narrows, closes and opens. Time is handed in, so every case is exact but for the
// tenth of jitter that a cool-down has.
#include "base/log.h"
#include "queue_ground.h"

#include "run/gate.h"

#define AT 1700000000000 // wall time at now_ms 0
#define SECOND 1000
#define MINUTE 60000
#define DAY_MS 86400000

static const struct run_settings settings = {
    .backoff_min_ms = 2 * SECOND, .backoff_max_ms = 5 * MINUTE, .max_attempts = 3};
static struct model model;
static struct gate gate;

static int set_up(void **state) {
    (void)state;
    model = (struct model){.name = (char *)"m", .provider = (char *)"echo"};
    gate = (struct gate){.model_id = (char *)"m",
                         .model = &model,
                         .state = {.state = "ok"},
                         .starts_left = 1,
                         .tokens_left = 1};
    return 0;
}

static bool fail_with(enum verdict_action action, int64_t wait_ms, bool down, int64_t now_ms) {
    struct verdict verdict = {
        .action = action, .error_type = "RateLimitError", .wait_ms = wait_ms, .server_down = down};
    bool parked = true;
    snprintf(verdict.message, sizeof verdict.message, "reason");
    gate_failed(&gate, &verdict, &settings, now_ms, AT + now_ms, &parked);
    return parked;
}

static void wait_for(int64_t wait_ms, int64_t now_ms) {
    assert_false(fail_with(VERDICT_WAIT, wait_ms, false, now_ms));
}

// The gate is closed now and opens within the tenth after `at_ms`.
static void closed_until(int64_t at_ms, int64_t now_ms) {
    int64_t opens = gate_opens_ms(&gate, now_ms);
    assert_int_equal(gate_free(&gate, 8, now_ms), 0);
    assert_in_range(opens, at_ms, at_ms + (at_ms - now_ms) / 10 + 1);
    assert_int_equal(gate_free(&gate, 8, opens - 1), 0);
}

// ---- slots ----

static void test_open(void **state) {
    (void)state;
    assert_int_equal(gate_free(&gate, 8, 0), 8);
    assert_int_equal(gate_free(&gate, 0, 0), 0);
    assert_int_equal(gate_opens_ms(&gate, 0), INT64_MAX);
    gate_started(&gate);
    assert_int_equal(gate_free(&gate, 8, 0), 8);
}

static void test_concurrency(void **state) {
    (void)state;
    model.concurrency = 3;
    for (int running = 0; running < 5; running++) {
        assert_int_equal(gate_free(&gate, 8, 0), running < 3 ? 3 - running : 0);
        gate_started(&gate);
    }
    gate.running = 2;
    assert_int_equal(gate_free(&gate, 8, 0), 1);
}

static void test_no_section(void **state) {
    (void)state;
    gate.model = NULL;
    assert_int_equal(gate_free(&gate, 8, 0), 0);
    assert_int_equal(gate_opens_ms(&gate, 0), INT64_MAX);
}

// ---- cool-downs ----

static void test_a_stated_wait(void **state) {
    (void)state;
    wait_for(30 * SECOND, 100);
    assert_string_equal(gate.state.state, "cooling");
    assert_string_equal(gate.state.reason, "reason");
    assert_int_equal(gate.state.since, AT + 100);
    assert_int_equal(gate.state.until, AT + gate.until_ms);
    assert_true(gate.dirty);
    closed_until(100 + 30 * SECOND, 100);
    // Then one tries.
    assert_int_equal(gate_free(&gate, 8, gate.until_ms), 1);
}

static void test_a_wait_of_nothing(void **state) {
    (void)state;
    wait_for(0, 100);
    assert_int_equal(gate_free(&gate, 8, 100), 1);
    // Refused again: no longer at the speed of the wire. A longer wait is honoured as it is.
    wait_for(0, 100);
    closed_until(100 + settings.backoff_min_ms, 100);
    wait_for(0, 10 * SECOND);
    closed_until(10 * SECOND + settings.backoff_min_ms, 10 * SECOND);
    wait_for(3 * SECOND, 20 * SECOND);
    closed_until(23 * SECOND, 20 * SECOND);
    gate_succeeded(&gate, 0, 30 * SECOND);
    wait_for(0, 31 * SECOND);
    assert_int_equal(gate_free(&gate, 8, 31 * SECOND), 1);
}

// A machine that slept over the end of a wait does not wait for the rest of it.
static void test_slept(void **state) {
    (void)state;
    model.requests_per_minute = 1;
    wait_for(100 * SECOND, 0);
    int64_t until = gate.until_ms;
    gate_slept(&gate, 40 * SECOND, SECOND);
    assert_int_equal(gate_opens_ms(&gate, SECOND), until - 40 * SECOND);
    gate_slept(&gate, DAY_MS, 2 * SECOND);
    assert_int_equal(gate_free(&gate, 8, 2 * SECOND), 1);
    assert_false(fail_with(VERDICT_PARK, -1, false, 3 * SECOND));
    gate_slept(&gate, DAY_MS, 4 * SECOND);
    assert_int_equal(gate_opens_ms(&gate, 4 * SECOND), INT64_MAX); // a person opens it
}

// Access that is to come back at a time that has passed already is tried now and then.
static void test_parked_for_nothing(void **state) {
    (void)state;
    for (int64_t now = 0; now < 3 * MINUTE; now += MINUTE) {
        assert_false(fail_with(VERDICT_PARK, 0, false, now));
        assert_int_equal(gate_free(&gate, 8, now), 0);
        assert_int_equal(gate_opens_ms(&gate, now), now + 5 * SECOND);
    }
}

static void test_waits_grow(void **state) {
    (void)state;
    int64_t now = 0, expected = 2 * SECOND;
    for (int i = 0; i < 10; i++) {
        wait_for(-1, now);
        int64_t length = gate.until_ms - now;
        // Half of it at least: the time is spread by the backoff's and the gate's own jitter.
        assert_in_range(length, expected / 2, expected + expected / 10);
        now = gate.until_ms;
        expected = expected * 2 < settings.backoff_max_ms ? expected * 2 : settings.backoff_max_ms;
    }
    // A success ends the growth.
    gate_succeeded(&gate, 0, now);
    wait_for(-1, now);
    assert_in_range(gate.until_ms - now, SECOND, 2 * SECOND + SECOND / 5);
}

// Sixteen in flight are refused at once: that is one refusal.
static void test_a_burst(void **state) {
    (void)state;
    for (int i = 0; i < 16; i++)
        gate_started(&gate);
    for (int i = 0; i < 16; i++) {
        gate.running--;
        wait_for(-1, i);
    }
    assert_int_equal(gate.waits, 1);
    assert_in_range(gate.until_ms, SECOND, 2 * SECOND + SECOND / 5 + 16);
    // The longest stated wait of a burst holds.
    wait_for(40 * SECOND, 20);
    wait_for(10 * SECOND, 21);
    assert_in_range(gate.until_ms, 40 * SECOND, 44 * SECOND + 20);
    assert_int_equal(gate.waits, 1);
}

// What was under way when the gate closed opens nothing: Retry-After is honoured.
static void test_a_success_under_way(void **state) {
    (void)state;
    wait_for(30 * SECOND, 0);
    int64_t until = gate.until_ms;
    gate_succeeded(&gate, 0, SECOND);
    assert_int_equal(gate.until_ms, until);
    assert_string_equal(gate.state.state, "cooling");
    assert_int_equal(gate.window, 1);
    gate_succeeded(&gate, 0, until);
    assert_string_equal(gate.state.state, "ok");
    assert_int_equal(gate.state.until, 0);
    assert_int_equal(gate.state.since, 0);
}

static void test_the_window_grows(void **state) {
    (void)state;
    wait_for(SECOND, 0);
    int64_t now = gate.until_ms;
    for (int i = 1; i < 200; i++) {
        assert_int_equal(gate_free(&gate, 1000, now), i);
        gate_succeeded(&gate, 0, now);
    }
    for (int i = 0; i < 100; i++)
        gate_succeeded(&gate, 0, now);
    assert_int_equal(gate_free(&gate, 1000, now), 1000); // it holds nothing back any more
    // Those in flight count against it.
    wait_for(SECOND, now);
    now = gate.until_ms;
    gate_started(&gate);
    assert_int_equal(gate_free(&gate, 1000, now), 0);
    gate_succeeded(&gate, 0, now);
    assert_int_equal(gate_free(&gate, 1000, now), 1);
}

// A failure that asks for no wait proves that the server answers.
static void test_another_failure_ends_the_caution(void **state) {
    (void)state;
    static const enum verdict_action actions[] = {VERDICT_FAIL, VERDICT_RETRY};
    for (size_t i = 0; i < 2; i++) {
        set_up(NULL);
        wait_for(SECOND, 0);
        assert_false(fail_with(actions[i], -1, false, 10));
        assert_string_equal(gate.state.state, "cooling"); // under way when it closed
        assert_false(fail_with(actions[i], -1, false, gate.until_ms));
        assert_string_equal(gate.state.state, "ok");
        assert_int_equal(gate_free(&gate, 8, gate.until_ms), 1);
    }
}

// ---- parking ----

static void test_parked_for_a_person(void **state) {
    (void)state;
    assert_false(fail_with(VERDICT_PARK, -1, false, 50));
    assert_string_equal(gate.state.state, "parked");
    assert_int_equal(gate.state.until, 0);
    assert_int_equal(gate_opens_ms(&gate, 60), INT64_MAX);
    assert_int_equal(gate_free(&gate, 8, INT64_MAX - 1), 0);
    // Whatever else was under way changes nothing of it.
    gate_succeeded(&gate, 5, 70);
    wait_for(30 * SECOND, 80);
    wait_for(-1, 80);
    assert_false(fail_with(VERDICT_FAIL, -1, false, 90));
    assert_false(fail_with(VERDICT_RETRY, -1, false, 90));
    assert_string_equal(gate.state.state, "parked");
    assert_int_equal(gate.until_ms, INT64_MAX);
    assert_int_equal(gate.state.until, 0);
    assert_int_equal(gate.state.since, AT + 50);
}

static void test_parked_for_a_time(void **state) {
    (void)state;
    assert_false(fail_with(VERDICT_PARK, 60 * MINUTE, false, 0));
    assert_int_equal(gate.state.until, AT + 60 * MINUTE);
    assert_int_equal(gate_opens_ms(&gate, 1), 60 * MINUTE);
    assert_int_equal(gate_free(&gate, 8, 60 * MINUTE - 1), 0);
    assert_int_equal(gate_free(&gate, 8, 60 * MINUTE), 1); // a probe
    gate_started(&gate);
    assert_int_equal(gate_free(&gate, 8, 60 * MINUTE), 0);
    // It fails: parked again, and known to be so since the first time.
    gate.running--;
    assert_false(fail_with(VERDICT_PARK, 60 * MINUTE, false, 61 * MINUTE));
    assert_int_equal(gate.until_ms, 121 * MINUTE);
    assert_int_equal(gate.state.since, AT);
    // One that was under way and is asked to wait for less keeps the reason.
    wait_for(SECOND, 62 * MINUTE);
    assert_string_equal(gate.state.state, "parked");
    assert_int_equal(gate.until_ms, 121 * MINUTE);
}

static void test_a_dead_server(void **state) {
    (void)state;
    // Twice it may be a hiccup: attempts are spent.
    assert_false(fail_with(VERDICT_RETRY, -1, true, 0));
    assert_false(fail_with(VERDICT_RETRY, -1, true, 10));
    assert_string_equal(gate.state.state, "ok");
    assert_int_equal(gate_free(&gate, 8, 10), 8);
    // The third time the server is down: none is.
    assert_true(fail_with(VERDICT_RETRY, -1, true, 20));
    assert_string_equal(gate.state.state, "parked");
    assert_string_equal(gate.state.reason, "the server cannot be reached: reason");
    assert_int_equal(gate.state.failures, 3);
    int64_t until = gate.until_ms;
    assert_in_range(until, 20 + 2500, 20 + 5000);
    // Others in flight find the same: they wait, too, and make it no longer.
    assert_true(fail_with(VERDICT_RETRY, -1, true, 30));
    assert_true(fail_with(VERDICT_RETRY, -1, true, 40));
    assert_int_equal(gate.until_ms, until);
    // Probes come later and later, at most five minutes apart.
    int64_t longest = 0;
    for (int i = 0; i < 12; i++) {
        int64_t now = gate.until_ms;
        assert_int_equal(gate_free(&gate, 8, now), 1);
        assert_true(fail_with(VERDICT_RETRY, -1, true, now));
        int64_t length = gate.until_ms - now;
        assert_in_range(length, 2500, 5 * MINUTE);
        longest = length > longest ? length : longest;
    }
    assert_true(longest > MINUTE);
    // It is back.
    gate_succeeded(&gate, 0, gate.until_ms);
    assert_string_equal(gate.state.state, "ok");
    assert_int_equal(gate.state.failures, 0);
    assert_false(fail_with(VERDICT_RETRY, -1, true, 10 * MINUTE * 100));
}

static void test_an_answer_resets_the_count(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_false(fail_with(VERDICT_RETRY, -1, true, 0));
        assert_false(fail_with(VERDICT_RETRY, -1, true, 0));
        if (i == 0)
            gate_succeeded(&gate, 0, 0);
        else
            assert_false(fail_with(i == 1 ? VERDICT_FAIL : VERDICT_RETRY, -1, false, 0));
        assert_int_equal(gate.state.failures, 0);
    }
    assert_string_equal(gate.state.state, "ok");
}

static void test_a_long_reason(void **state) {
    (void)state;
    struct verdict verdict = {.action = VERDICT_PARK, .error_type = "QuotaError", .wait_ms = -1};
    bool parked;
    for (size_t i = 0; i + 3 < sizeof verdict.message; i += 3)
        memcpy(verdict.message + i, "\xe2\x82\xac", 4); // never cut inside a character
    gate_failed(&gate, &verdict, &settings, 0, AT, &parked);
    assert_true(strlen(gate.state.reason) > 400);
    assert_true(strlen(gate.state.reason) % 3 == 0);
}

// ---- rates ----

// Starts in `ms`, asking each millisecond as a busy runner might, or when the gate says.
static int starts_in(int64_t from_ms, int64_t ms, bool by_gate) {
    int n = 0;
    for (int64_t now = from_ms; now < from_ms + ms;) {
        for (int left = gate_free(&gate, 100, now); left > 0; left--, n++) {
            gate_started(&gate);
            gate.running--;
        }
        int64_t opens = gate_opens_ms(&gate, now);
        assert_true(opens > now);
        now = by_gate ? opens : now + 1;
    }
    return n;
}

static void test_requests_per_minute(void **state) {
    (void)state;
    static const int rates[] = {1, 7, 60, 600, 6000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        for (int by_gate = 0; by_gate < 2; by_gate++) {
            set_up(NULL);
            model.requests_per_minute = rates[i];
            int first = starts_in(0, MINUTE, by_gate);
            // The first minute has the gathered start (or second's worth) more.
            assert_in_range(first, rates[i] - rates[i] / 50, rates[i] + 1);
            int second = starts_in(MINUTE, MINUTE, by_gate);
            assert_in_range(second, rates[i] - rates[i] / 50, rates[i]);
        }
}

static void test_no_burst_after_a_rest(void **state) {
    (void)state;
    model.requests_per_minute = 600;
    assert_int_equal(gate_free(&gate, 100, 60 * MINUTE), 10); // a second's worth
    model.requests_per_minute = 6;
    set_up(NULL);
    model.requests_per_minute = 6;
    assert_int_equal(gate_free(&gate, 100, 60 * MINUTE), 1);
    gate_started(&gate);
    assert_int_equal(gate_free(&gate, 100, 60 * MINUTE), 0);
    assert_in_range(gate_opens_ms(&gate, 60 * MINUTE), 60 * MINUTE + 10000, 60 * MINUTE + 10001);
    assert_int_equal(gate_free(&gate, 100, 60 * MINUTE + 10001), 1);
}

static void test_tokens_per_minute(void **state) {
    (void)state;
    model.tokens_per_minute = 6000;
    assert_int_equal(gate_free(&gate, 8, 0), 8);
    gate_succeeded(&gate, 601, 0); // six seconds' worth too many
    assert_int_equal(gate_free(&gate, 8, 0), 0);
    int64_t opens = gate_opens_ms(&gate, 0);
    assert_in_range(opens, 6000, 6001);
    assert_int_equal(gate_free(&gate, 8, 5000), 0);
    assert_int_equal(gate_free(&gate, 8, opens), 8);
    // A minute's worth gathers at most.
    assert_int_equal(gate_free(&gate, 8, 60 * MINUTE), 8);
    gate_succeeded(&gate, 6000, 60 * MINUTE);
    assert_int_equal(gate_free(&gate, 8, 60 * MINUTE), 0);
    // Also those that ended while the gate was closed are counted.
    wait_for(SECOND, 60 * MINUTE);
    gate_succeeded(&gate, 6000, 60 * MINUTE);
    assert_in_range(gate_opens_ms(&gate, gate.until_ms), 61 * MINUTE, 61 * MINUTE + 2);
}

static void test_both_rates(void **state) {
    (void)state;
    model.requests_per_minute = 60;
    model.tokens_per_minute = 60;
    gate_started(&gate);
    gate_succeeded(&gate, 11, 0);
    // The later of the two.
    assert_in_range(gate_opens_ms(&gate, 0), 10000, 10001);
    assert_int_equal(gate_free(&gate, 8, 1500), 0);
}

// ---- what is stored ----

static struct gate_list gates;

static int set_up_stored(void **state) {
    if (ground_open(state) || set_up(state))
        return -1;
    gates = (struct gate_list){.models = &model, .model_count = 1};
    return 0;
}

static int tear_down_stored(void **state) {
    gate_list_free(&gates);
    return ground_close(state);
}

static void refresh(bool restart, int64_t now_ms) {
    OK(gate_list_refresh(&gates, db, restart, now_ms, &error));
}

static void store(const char *as, const char *until) {
    type("INSERT OR REPLACE INTO model_state (model_id, state, reason, since, until, failures, unstreamed)"
         " VALUES ('m', '%s', 'r', 1, %s, 4, 1)",
         as, until);
}

static void test_gates_of_lanes(void **state) {
    (void)state;
    refresh(true, 0);
    assert_int_equal(gates.count, 0);
    submit("m", NULL, 0);
    submit("n", NULL, 0);
    for (int i = 0; i < 3; i++)
        refresh(i == 0, 0);
    assert_int_equal(gates.count, 2);
    assert_int_equal(gate_free(gate_list_find(&gates, "m"), 8, 0), 8);
    struct gate *n = gate_list_find(&gates, "n");
    assert_int_equal(gate_free(n, 8, 0), 0);
    assert_string_equal(n->state.error_type, "ConfigurationError");
    assert_string_equal(n->state.reason,
                        "no section of the configuration serves model n: add [model n] and restart");
    assert_true(n->dirty);
    assert_null(gate_list_find(&gates, "x"));
}

struct stored_case {
    const char *state;
    int64_t until_ms; // from now; 0: NULL
    bool restart;
    int free_now;
    bool by_itself;
};

static const struct stored_case stored[] = {
    {"ok", 0, true, 8, true},       {"cooling", 60000, true, 0, true}, {"cooling", -5, true, 1, true},
    {"cooling", 0, true, 1, true},  {"parked", 60000, true, 0, true},  {"parked", -5, false, 1, true},
    {"parked", 0, true, 1, true},   // a restart gives one try
    {"parked", 0, false, 0, false}, // else a person does
};

static void test_states_of_earlier_runs(void **state) {
    (void)state;
    submit("m", NULL, 0);
    for (size_t i = 0; i < sizeof stored / sizeof *stored; i++) {
        const struct stored_case *c = &stored[i];
        char until[32] = "NULL";
        if (c->until_ms)
            snprintf(until, sizeof until, "%lld", (long long)(clock_wall_at() + c->until_ms));
        store(c->state, until);
        gate_list_free(&gates);
        refresh(c->restart, 1000);
        struct gate *g = gate_list_find(&gates, "m");
        assert_int_equal(gate_free(g, 8, 1000), c->free_now);
        assert_int_equal(gate_opens_ms(g, 1000) == INT64_MAX, !c->by_itself || c->free_now > 0);
        if (c->by_itself && c->free_now == 0)
            assert_in_range(gate_opens_ms(g, 1000), 1000 + 59000, 1000 + 60000);
        assert_true(g->state.unstreamed);
        assert_false(g->dirty);
    }
}

static void test_resumed_by_a_person(void **state) {
    (void)state;
    submit("m", NULL, 0);
    store("parked", "NULL");
    refresh(false, 0);
    struct gate *g = gate_list_find(&gates, "m");
    assert_int_equal(gate_free(g, 8, 0), 0);
    g->waits = 5;
    // Even while something of ours is still to be written.
    g->dirty = true;
    OK(queue_model_resume(db, "m", &error));
    refresh(false, 0);
    assert_int_equal(gate_free(g, 8, 0), 8);
    assert_false(g->dirty);
    assert_int_equal(g->waits, 0);
    // And parked.
    store("parked", "NULL");
    refresh(false, 0);
    assert_int_equal(gate_free(g, 8, 0), 0);
}

// A state that is not written yet is not taken back by the older one in the database.
static void test_an_unwritten_state(void **state) {
    (void)state;
    struct verdict verdict = {
        .action = VERDICT_PARK, .error_type = "QuotaError", .wait_ms = -1, .message = "x"};
    bool parked;
    submit("m", NULL, 0);
    refresh(true, 0);
    struct gate *g = gate_list_find(&gates, "m");
    gate_failed(g, &verdict, &settings, 0, AT, &parked);
    refresh(false, 0);
    assert_string_equal(g->state.state, "parked");
    assert_true(g->dirty);
    OK(queue_model_set(db, "m", &g->state, &error));
    gate_note_stored(g);
    refresh(false, 0);
    assert_string_equal(g->state.state, "parked");
    OK(queue_model_resume(db, "m", &error));
    refresh(false, 0);
    assert_string_equal(g->state.state, "ok");
}

#define T(test) cmocka_unit_test_setup(test, set_up)
#define S(test) cmocka_unit_test_setup_teardown(test, set_up_stored, tear_down_stored)

int main(void) {
    log_setup(LOG_LEVEL_ERROR, false);
    const struct CMUnitTest tests[] = {
        T(test_open),
        T(test_concurrency),
        T(test_no_section),
        T(test_a_stated_wait),
        T(test_a_wait_of_nothing),
        T(test_waits_grow),
        T(test_a_burst),
        T(test_a_success_under_way),
        T(test_the_window_grows),
        T(test_another_failure_ends_the_caution),
        T(test_parked_for_a_person),
        T(test_parked_for_a_time),
        T(test_parked_for_nothing),
        T(test_slept),
        T(test_a_dead_server),
        T(test_an_answer_resets_the_count),
        T(test_a_long_reason),
        T(test_requests_per_minute),
        T(test_no_burst_after_a_rest),
        T(test_tokens_per_minute),
        T(test_both_rates),
        S(test_gates_of_lanes),
        S(test_states_of_earlier_runs),
        S(test_resumed_by_a_person),
        S(test_an_unwritten_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
