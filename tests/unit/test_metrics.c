// SPDX-License-Identifier: MIT
// Counting: bounds of histograms, and models without number.
#include "run/metrics.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
// cmocka needs the above
#include <cmocka.h>

static void test_histogram(void **state) {
    (void)state;
    struct metrics *m = metrics_new();
    struct metrics_histogram *h = &metrics_model(m, "a")->durations;
    metrics_note(h, -5);    // clocks that moved
    metrics_note(h, 50000); // a bound belongs to what is below it
    metrics_note(h, 50001);
    metrics_note(h, INT64_C(3600000000));
    metrics_note(h, INT64_C(3600000001));
    assert_int_equal(h->counts[0], 2);
    assert_int_equal(h->counts[1], 1);
    int64_t all = 0;
    size_t bounds = 0;
    while (h->bounds[bounds] > 0) {
        assert_true(bounds == 0 || h->bounds[bounds] > h->bounds[bounds - 1]);
        all += h->counts[bounds++];
    }
    assert_true(bounds <= METRICS_BOUNDS_MOST);
    assert_int_equal(all, 4);
    assert_int_equal(h->counts[bounds], 1);
    assert_int_equal(h->count, 5);
    assert_true(h->sum > 7200.1 && h->sum < 7200.2);
    metrics_free(m);
    metrics_free(NULL);
}

static void test_ends(void **state) {
    (void)state;
    struct metrics *m = metrics_new();
    struct metrics_model *a = metrics_model(m, "a");
    metrics_end(a, "completed", "", 1000);
    metrics_end(a, "failed", "NetworkError", 1000);
    metrics_end(a, "failed", "TimeoutError", 1000);
    metrics_end(a, "failed", "NetworkError", 1000);
    metrics_end(a, "retried", "NetworkError", 1000);
    assert_ptr_equal(metrics_model(m, "a"), a);
    assert_int_equal(a->end_count, 4);
    assert_int_equal(a->ends[1].count, 2);
    assert_string_equal(a->ends[1].error_type, "NetworkError");
    assert_int_equal(a->durations.count, 5);
    metrics_free(m);
}

static void test_models_without_number(void **state) {
    (void)state;
    struct metrics *m = metrics_new();
    char name[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "m%d", i);
        metrics_end(metrics_model(m, name), "completed", "", 1);
    }
    assert_int_equal(m->model_count, 1001);
    assert_string_equal(m->models[1000]->name, "other");
    assert_int_equal(m->models[1000]->durations.count, 4000);
    assert_int_equal(metrics_model(m, "m7")->durations.count, 1);
    metrics_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_models_without_number),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
