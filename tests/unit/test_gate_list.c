// SPDX-License-Identifier: MIT
// The gates of many models: turns look at those that something happened to and at closed ones, and names that come and
// go leave nothing behind.
#include "base/log.h"
#include "queue_ground.h"

#include "run/gate.h"

#define NAMES 3000
#define SECOND 1000

static const struct run_settings settings = {
    .backoff_min_ms = 2 * SECOND, .backoff_max_ms = 60 * SECOND, .max_attempts = 3};
static struct model model;
static struct gate_list gates;

static int set_up(void **state) {
    model = (struct model){.name = (char *)"*", .provider = (char *)"echo"};
    gates = (struct gate_list){.models = &model, .model_count = 1};
    return ground_open(state);
}

static int tear_down(void **state) {
    gate_list_free(&gates);
    return ground_close(state);
}

static struct gate *get(const char *name) {
    struct gate *gate = NULL;
    OK(gate_list_get(&gates, db, name, 0, &gate, &error));
    assert_ptr_equal(gate_list_find(&gates, name), gate);
    return gate;
}

static struct gate *numbered(int i) {
    char name[16];
    snprintf(name, sizeof name, "m%04d", i);
    return get(name);
}

static void store(void) {
    OK(gate_list_store(&gates, db, &error));
    gate_list_note_stored(&gates);
}

static void fail_with(struct gate *gate, enum verdict_action action, int64_t wait_ms, int64_t now_ms) {
    struct verdict verdict = {.action = action, .error_type = "RateLimitError", .wait_ms = wait_ms};
    bool parked;
    snprintf(verdict.message, sizeof verdict.message, "no");
    gate_failed(gate, &verdict, &settings, now_ms, 1700000000000 + now_ms, &parked);
}

// In whatever order names come.
static void test_found_by_name(void **state) {
    (void)state;
    for (int i = 0; i < NAMES; i++)
        numbered(i * 7 % NAMES);
    assert_int_equal(gates.count, NAMES);
    for (int i = 0; i < NAMES; i++)
        numbered(i);
    assert_int_equal(gates.count, NAMES);
    assert_null(gate_list_find(&gates, "m"));
    assert_null(gate_list_find(&gates, "z"));
}

static void test_closed_ones(void **state) {
    (void)state;
    for (int i = 0; i < 10; i++)
        numbered(i);
    gate_list_sort(&gates, 0);
    assert_int_equal(gates.closed_count, 0);
    assert_int_equal(gates.touched_count, 0);
    assert_int_equal(gates.opens_ms, INT64_MAX);
    assert_int_equal(gates.since_at, INT64_MAX);
    fail_with(numbered(3), VERDICT_WAIT, 10 * SECOND, 100);
    fail_with(numbered(5), VERDICT_PARK, -1, 200);
    fail_with(numbered(7), VERDICT_WAIT, 5 * SECOND, 300);
    gate_list_sort(&gates, 300);
    assert_int_equal(gates.closed_count, 3);
    assert_int_equal(gates.opens_ms, gate_opens_ms(numbered(7), 300));
    assert_int_equal(gates.since_at, 1700000000100);
    // What is to be written stays noted until it is.
    assert_int_equal(gates.touched_count, 3);
    store();
    gate_list_sort(&gates, 300);
    assert_int_equal(gates.touched_count, 0);
    assert_int_equal(number("SELECT count(*) FROM model_state WHERE state<>'ok'"), 3);
    // One that opens by its time is closed no more, but cools until it has succeeded.
    int64_t first = gates.opens_ms, second = gate_opens_ms(numbered(3), 300);
    gate_list_sort(&gates, first);
    assert_int_equal(gates.opens_ms, second);
    gate_succeeded(numbered(7), 0, first);
    gate_succeeded(numbered(3), 0, second);
    gate_list_sort(&gates, second);
    assert_int_equal(gates.closed_count, 1);
    assert_int_equal(gates.opens_ms, INT64_MAX);
    assert_int_equal(gates.since_at, 1700000000200);
}

static void test_held_back_by_a_rate(void **state) {
    (void)state;
    model.requests_per_minute = 60;
    gate_started(numbered(1));
    gate_started(numbered(2));
    gate_list_sort(&gates, 0);
    assert_int_equal(gates.closed_count, 2);
    assert_in_range(gates.opens_ms, 1000, 1001);
    assert_int_equal(gates.since_at, INT64_MAX);
    gate_list_sort(&gates, 500);
    assert_in_range(gates.opens_ms, 1000, 1001);
    gate_list_sort(&gates, 1001);
    assert_int_equal(gates.closed_count, 0);
    assert_int_equal(gates.opens_ms, INT64_MAX);
}

static void test_clocks(void **state) {
    (void)state;
    fail_with(numbered(1), VERDICT_WAIT, 100 * SECOND, 0);
    gate_list_sort(&gates, 0);
    int64_t opens = gates.opens_ms, since = gates.since_at;
    gate_slept(numbered(1), 40 * SECOND, SECOND);
    gate_jumped(numbered(1), 5000);
    gate_jumped(numbered(2), 5000);
    gate_list_sort(&gates, SECOND);
    assert_int_equal(gates.opens_ms, opens - 40 * SECOND);
    assert_int_equal(gates.since_at, since + 5000);
    assert_false(numbered(2)->dirty);
}

// Another process closes and opens models that nothing here has asked for yet.
static void test_closed_by_others(void **state) {
    (void)state;
    type("INSERT INTO model_state (model_id, state, reason, since, until) VALUES ('a','parked','r',5,NULL),"
         " ('b','ok','r',5,NULL), ('c','cooling','r',5,9000000000000)");
    OK(gate_list_refresh(&gates, db, false, 0, &error));
    assert_int_equal(gates.count, 2);
    gate_list_sort(&gates, 0);
    assert_int_equal(gates.closed_count, 2);
    OK(queue_model_resume(db, "a", &error));
    OK(gate_list_refresh(&gates, db, false, 0, &error));
    gate_list_sort(&gates, 0);
    assert_int_equal(gates.closed_count, 1);
    assert_int_equal(gate_free(get("a"), 8, 0), 8);
    assert_int_equal(gate_free(get("c"), 8, 0), 0);
}

// Parked in an earlier run: one try. Parked in this one, while its name was forgotten: closed.
static void test_parked_earlier(void **state) {
    (void)state;
    gates.started_at = 1000;
    type("INSERT INTO model_state (model_id, state, reason, since) VALUES ('a','parked','r',999),"
         " ('b','parked','r',1000)");
    assert_int_equal(gate_free(get("a"), 8, 0), 1);
    assert_int_equal(gate_free(get("b"), 8, 0), 0);
}

static void test_names_that_come_and_go(void **state) {
    (void)state;
    size_t most = 0;
    struct gate *closed = numbered(1), *known = numbered(2), *wanted = numbered(3), *failing = numbered(4);
    fail_with(closed, VERDICT_PARK, -1, 0);
    known->attempts = 1;
    failing->state.failures = 1;
    for (int i = 5; i < NAMES; i++) {
        numbered(i);
        store();
        gate_list_sort(&gates, 0);
        wanted->wanted = gate_list_is_long(&gates);
        if (wanted->wanted)
            gate_list_trim(&gates, 0);
        most = gates.count > most ? gates.count : most;
    }
    assert_int_equal(most, 1000);
    assert_ptr_equal(gate_list_find(&gates, "m0001"), closed);
    assert_ptr_equal(gate_list_find(&gates, "m0002"), known);
    assert_ptr_equal(gate_list_find(&gates, "m0003"), wanted);
    assert_ptr_equal(gate_list_find(&gates, "m0004"), failing);
    // A rate that is used up is not forgotten before it is full again.
    model.requests_per_minute = 1;
    wanted->wanted = false;
    gate_started(wanted);
    wanted->running = 0; // it ended at once
    gate_list_sort(&gates, 0);
    gate_list_trim(&gates, 0);
    assert_ptr_equal(gate_list_find(&gates, "m0003"), wanted);
    gate_list_sort(&gates, 61 * SECOND);
    gate_list_trim(&gates, 61 * SECOND);
    assert_null(gate_list_find(&gates, "m0003"));
    assert_int_equal(gates.count, 3);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    log_setup(LOG_LEVEL_ERROR, false);
    const struct CMUnitTest tests[] = {
        T(test_found_by_name),    T(test_closed_ones),    T(test_held_back_by_a_rate),    T(test_clocks),
        T(test_closed_by_others), T(test_parked_earlier), T(test_names_that_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
