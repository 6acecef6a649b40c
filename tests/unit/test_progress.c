// SPDX-License-Identifier: MIT
// The arithmetic of progress: rate over a window, time left, and the line itself.
#include "base/text.h"
#include "cli/progress.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int rounded(double rate) {
    return (int)(rate * 10 + 0.5);
}

static void test_rate(void **state) {
    (void)state;
    struct progress_rate r = {0};
    assert_int_equal(rounded(progress_rate_get(&r)), 0);
    progress_rate_add(&r, 1000, 500); // what was done before does not count
    assert_int_equal(rounded(progress_rate_get(&r)), 0);
    progress_rate_add(&r, 1000, 510); // no time has passed
    assert_int_equal(rounded(progress_rate_get(&r)), 0);
    progress_rate_add(&r, 2000, 520);
    assert_int_equal(rounded(progress_rate_get(&r)), 200);
    progress_rate_add(&r, 5000, 520);
    assert_int_equal(rounded(progress_rate_get(&r)), 50);
}

static void test_rate_follows(void **state) {
    (void)state;
    struct progress_rate r = {0};
    int64_t at = 0, done = 0;
    for (; at <= 100000; at += 250) // 40 a second, read four times a second
        progress_rate_add(&r, at, done += 10);
    assert_in_range(rounded(progress_rate_get(&r)), 395, 405);
    for (int64_t end = at + 2 * PROGRESS_WINDOW_MS; at <= end; at += 250)
        progress_rate_add(&r, at, done += 1);
    assert_in_range(rounded(progress_rate_get(&r)), 39, 41); // the fast past is forgotten
    for (int64_t end = at + 2 * PROGRESS_WINDOW_MS; at <= end; at += 250)
        progress_rate_add(&r, at, done);
    assert_int_equal(rounded(progress_rate_get(&r)), 0); // stalled
    progress_rate_add(&r, at, done - 5);                 // a retry took some back: it starts anew
    assert_int_equal(rounded(progress_rate_get(&r)), 0);
    progress_rate_add(&r, at + 1000, done);
    assert_int_equal(rounded(progress_rate_get(&r)), 50);
}

static void test_rate_seldom(void **state) {
    (void)state;
    struct progress_rate r = {0};
    for (int64_t i = 0; i < 100; i++) // one in two minutes: longer than the window
        progress_rate_add(&r, i * 120000, i);
    assert_int_equal((int)(progress_rate_get(&r) * 60000 + 0.5), 500);
}

static void test_eta(void **state) {
    (void)state;
    assert_int_equal(progress_eta_ms(100, 10), 10000);
    assert_int_equal(progress_eta_ms(0, 0), 0);
    assert_int_equal(progress_eta_ms(-3, 1), 0);
    assert_int_equal(progress_eta_ms(1, 0), -1);
    assert_int_equal(progress_eta_ms(1000000000, 0.001), -1);
    assert_int_equal(progress_eta_ms(INT64_MAX, 1e-300), -1);
}

static void test_lines(void **state) {
    (void)state;
    static const struct {
        const char *label;
        struct progress_state s;
        double rate;
        size_t width;
        const char *line;
    } cases[] = {
        {"b", {.total = 100, .done = 50}, 5, 0, "b: 50/100  5.0 items/s  ETA 10s"},
        {"", {.total = 100, .done = 50}, 0, 0, "50/100"},
        {NULL, {.done = 7}, 0.01, 0, "7 items  0.6 items/min"},
        {NULL,
         {.total = 10, .done = 10, .failed = 2, .cancelled = 1},
         3,
         0,
         "10/10  2 failed  1 cancelled  3.0 items/s"},
        {NULL, {.total = 9, .done = 1, .tokens = 12345, .cost = 0.0123}, 0, 0, "1/9  12.3k tokens  $0.0123"},
        {NULL, {.total = 9, .done = 1, .cost = 12.345}, 0, 0, "1/9  $12.35"},
        {NULL, {.total = 9, .done = 1, .note = "paused: a\nb"}, 3, 0, "1/9  paused: a\\nb"},
        {NULL, {.total = 7300, .done = 0}, 1, 0, "0/7300  1.0 items/s  ETA 2h01m"},
        {NULL, {.total = 320, .done = 0}, 1, 0, "0/320  1.0 items/s  ETA 5m20s"},
        {NULL, {.total = 100, .done = 50}, 0, 20, "[#####.....]  50/100"},
        {NULL, {.total = 100, .done = 100}, 0, 20, "[#########]  100/100"},
        {NULL, {.total = 100, .done = 500}, 0, 20, "[#########]  500/100"},
        {NULL, {.total = 100, .done = 50}, 0, 12, "50/100"},
        {NULL, {.total = 100, .done = 50}, 0, 4, "50/…"},
        {NULL, {.total = 100, .done = 50}, 0, 100, "[###############...............]  50/100"},
        {"a-very-long-name", {.total = 10, .done = 5}, 0, 32, "a-very-…  [#######.......]  5/10"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        progress_write(&out, cases[i].label, &cases[i].s, cases[i].rate, "items", cases[i].width);
        assert_string_equal(buf_borrow(&out), cases[i].line);
        if (cases[i].width > 0)
            assert_true(text_width(buf_borrow(&out)) <= cases[i].width);
        buf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate), cmocka_unit_test(test_rate_follows), cmocka_unit_test(test_rate_seldom),
        cmocka_unit_test(test_eta),  cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
