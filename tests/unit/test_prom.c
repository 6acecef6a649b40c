// SPDX-License-Identifier: MIT
// http/prom: the text format of metrics, with values and labels of all kinds.
#include "http/prom.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(struct buf *out, const char *text) {
    assert_string_equal(buf_borrow(out), text);
    buf_free(out);
}

static void test_families(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    prom_family(&out, "genrun_up", "gauge", "Two\nlines, a \\ and \"quotes\".");
    prom_sample(&out, "genrun_up", "", NULL, 0, 1);
    expect(&out,
           "# HELP genrun_up Two\\nlines, a \\\\ and \"quotes\".\n# TYPE genrun_up gauge\ngenrun_up 1\n");
}

static void test_labels(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    struct prom_label labels[] = {{"model", "a\"b\\c\nd"}, {"state", ""}};
    prom_sample(&out, "x", "", labels, 2, 3);
    labels[0].value = "gr\xC3\xBC\xC3\x9F \xF0\x9F\x8E\xA8 \xC3( \xFF\t}";
    prom_sample(&out, "x", "", labels, 1, 4);
    expect(&out, "x{model=\"a\\\"b\\\\c\\nd\",state=\"\"} 3\n"
                 "x{model=\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x8E\xA8 \xEF\xBF\xBD( \xEF\xBF\xBD\t}\"} 4\n");
}

static void test_values(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-1, "-1"},
                 {0.25, "0.25"},
                 {0.1, "0.1"},
                 {1e15, "1e+15"},
                 {4294967296, "4294967296"},
                 {1e-9, "1e-09"},
                 {(double)NAN, "NaN"},
                 {(double)INFINITY, "+Inf"},
                 {-(double)INFINITY, "-Inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        prom_sample(&out, "v", "", NULL, 0, cases[i].value);
        assert_int_equal(strncmp(buf_borrow(&out), "v ", 2), 0);
        assert_int_equal(strncmp(out.data + 2, cases[i].text, strlen(cases[i].text)), 0);
        assert_string_equal(out.data + 2 + strlen(cases[i].text), "\n");
        buf_free(&out);
    }
}

static void test_histograms(void **state) {
    (void)state;
    static const double bounds[] = {0.005, 0.25, 10};
    static const uint64_t counts[] = {2, 0, 1, 4};
    static const struct prom_label label = {"route", "/a"};
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    prom_histogram(&out, "h", NULL, 0, bounds, counts, 3, 99.5);
    prom_histogram(&out, "h", &label, 1, bounds, counts, 1, 0);
    expect(
        &out,
        "h_bucket{le=\"0.005\"} 2\nh_bucket{le=\"0.25\"} 2\nh_bucket{le=\"10\"} 3\nh_bucket{le=\"+Inf\"} 7\n"
        "h_sum 99.5\nh_count 7\n"
        "h_bucket{route=\"/a\",le=\"0.005\"} 2\nh_bucket{route=\"/a\",le=\"+Inf\"} 2\n"
        "h_sum{route=\"/a\"} 0\nh_count{route=\"/a\"} 2\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_histograms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
