// SPDX-License-Identifier: MIT
// base/clock: the calendar against the C library's over all years, RFC 3339 in and out, durations.
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define DAY INT64_C(86400000)

static void test_clocks_run(void **state) {
    (void)state;
    int64_t wall = clock_wall_at(), monotonic = clock_monotonic_ms(), boot = clock_boottime_ms();
    assert_true(llabs(wall / 1000 - (int64_t)time(NULL)) <= 2);
    assert_true(monotonic > 0 && boot >= monotonic - 1);
    assert_true(clock_monotonic_ms() >= monotonic);
}

static void test_calendar(void **state) {
    (void)state;
    for (int64_t at = -62167219200000 + 12345; at < INT64_C(253402300800000); at += 97 * DAY + 7654321) {
        char ours[CLOCK_ISO_SIZE], theirs[64];
        time_t seconds = (time_t)((at - (at < 0 ? 999 : 0)) / 1000);
        int ms = (int)(at - (int64_t)seconds * 1000);
        struct tm tm;
        gmtime_r(&seconds, &tm);
        snprintf(theirs, sizeof theirs, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms);
        clock_format_iso(at, ours);
        assert_string_equal(ours, theirs);
        int64_t back = 0;
        assert_int_equal(clock_parse_iso(ours, &back), ERR_OK);
        assert_true(back == at);
    }
}

static void test_format_edges(void **state) {
    (void)state;
    static const struct {
        int64_t at;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {1709164800000, "2024-02-29T00:00:00.000Z"},
        {1709251199999, "2024-02-29T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"}, // 2100 is no leap year
        {2147483648000, "2038-01-19T03:14:08.000Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_C(253402300800000), "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[CLOCK_ISO_SIZE];
        clock_format_iso(cases[i].at, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_parse_iso(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t at;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01 00:00:00Z", 0},
        {"1970-01-01T00:00:00.5Z", 500},
        {"1970-01-01T00:00:00.25Z", 250},
        {"1970-01-01T00:00:00.123456789123456789Z", 123},
        {"1970-01-01T00:00:00.9999Z", 999},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T23:30:00-00:30", 0},
        {"1970-01-01T05:45:00.001+05:45", 1},
        {"1970-01-01T00:00:00-00:00", 0},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"2024-02-29T12:34:56.789Z", 1709210096789},
        {"0000-01-01T00:00:00Z", -62167219200000},
        {"9999-12-31T23:59:59.999-23:59", INT64_C(253402387139999)},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t at = -1;
        if (clock_parse_iso(good[i].text, &at) || at != good[i].at) {
            fail_msg("%s: %lld", good[i].text, (long long)at);
        }
    }
    static const char *const bad[] = {
        "",
        "now",
        "1970",
        "1970-01-01",
        "1970-01-01T00:00Z",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00Zx",
        "1970-01-01T00:00:00Z ",
        " 1970-01-01T00:00:00Z",
        "1970-1-01T00:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "1970-01-32T00:00:00Z",
        "1970-04-31T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:00+0100",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+01:60",
        "1970-01-01T00:00:00+01",
        "1970-01-01T00:00:00+",
        "1970/01/01T00:00:00Z",
        "+1970-01-01T00:00:00Z",
        "-1970-01-01T00:00:00Z",
        "19700-01-01T00:00:00Z",
        "1970-01-01T00:00:00,5Z",
        "1970-01-01T0\xd9\xa0:00:00Z",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t at = -1;
        if (clock_parse_iso(bad[i], &at) != ERR_INVALID || at != -1) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    int64_t at;
    assert_int_equal(clock_parse_iso(NULL, &at), ERR_INVALID);
}

static void test_parse_duration(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"0", 0},
        {"0s", 0},
        {"500ms", 500},
        {"90s", 90000},
        {"5m", 300000},
        {"3h", 10800000},
        {"7d", 7 * DAY},
        {"2w", 14 * DAY},
        {"1h30m", 5400000},
        {"1m500ms", 60500},
        {"1w1d1h1m1s1ms", 8 * DAY + 3661001},
        {"0001s", 1000},
        {"36500d", 36500 * DAY},
        {"5214w", 5214 * 7 * DAY},
        {"00000000000000000000000000000001s", 1000},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t ms = -1;
        struct err e = {0};
        if (clock_parse_duration(good[i].text, &ms, &e) || ms != good[i].ms) {
            fail_msg("%s: %lld %s", good[i].text, (long long)ms, e.message);
        }
    }
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "a duration is empty: write it like 500ms, 90s, 5m, 3h or 7d"},
        {"90", "\"90\" is not a duration: write it like 500ms, 90s, 5m, 1h30m or 7d"},
        {"s", "\"s\" is not a duration: "},
        {"5 m", "\"5 m\" is not a duration: "},
        {" 5m", "\" 5m\" is not a duration: "},
        {"5m ", "\"5m \" is not a duration: "},
        {"-5m", "\"-5m\" is not a duration: "},
        {"+5m", "\"+5m\" is not a duration: "},
        {"1.5s", "\"1.5s\" is not a duration: "},
        {"5M", "\"5M\" is not a duration: "},
        {"5min", "\"5min\" is not a duration: "},
        {"5mss", "\"5mss\" is not a duration: "},
        {"30m1h", "\"30m1h\" is not a duration: "},
        {"1h1h", "\"1h1h\" is not a duration: "},
        {"1h30", "\"1h30\" is not a duration: "},
        {"00", "\"00\" is not a duration: "},
        {"1y", "\"1y\" is not a duration: "},
        {"5m\n", "\"5m\\n\" is not a duration: "},
        {"36501d", "the duration \"36501d\" is too long: at most 36500d"},
        {"36500d1ms", "the duration \"36500d1ms\" is too long: at most 36500d"},
        {"99999999999999999999999w", "the duration \"99999999999999999999999w\" is too long: "},
        {"9223372036854775807ms", "the duration \"9223372036854775807ms\" is too long: "},
        {"18446744073709551617s", "the duration \"18446744073709551617s\" is too long: "},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t ms = -1;
        struct err e = {0};
        assert_int_equal(clock_parse_duration(bad[i].text, &ms, &e), ERR_INVALID);
        assert_true(ms == -1);
        if (strncmp(e.message, bad[i].message, strlen(bad[i].message)) != 0) {
            fail_msg("%s: %s", bad[i].text, e.message);
        }
    }
    int64_t ms;
    assert_int_equal(clock_parse_duration(NULL, &ms, NULL), ERR_INVALID);
}

static void test_format_duration(void **state) {
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "1ms"},
        {250, "250ms"},
        {1000, "1s"},
        {1500, "1s500ms"},
        {1050, "1s50ms"},
        {90000, "90s"},
        {60000, "1m"},
        {120000, "2m"},
        {125000, "2m5s"},
        {99000, "99s"},
        {100000, "1m40s"},
        {5400000, "90m"},
        {8000000, "2h13m20s"},
        {10800000, "3h"},
        {129600000, "36h"},
        {DAY, "1d"},
        {7 * DAY, "7d"},
        {365 * DAY, "365d"},
        {93784001, "1d2h3m4s1ms"},
        {-90000, "-90s"},
        {-3600001, "-1h1ms"},
        {INT64_MIN, "-106751991167d7h12m55s808ms"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[32];
        clock_format_duration(cases[i].ms, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
    char small[4];
    clock_format_duration(8000000, small, sizeof small);
    assert_string_equal(small, "2h1");
}

static void test_durations_read_back(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        static const int64_t grains[] = {1, 1000, 60000, 3600000, DAY};
        int64_t ms = (int64_t)(seed >> 20) % (36500 * DAY) >> (seed & 31);
        ms -= ms % grains[i % 5];
        char text[32];
        int64_t back = -1;
        clock_format_duration(ms, text, sizeof text);
        assert_int_equal(clock_parse_duration(text, &back, NULL), ERR_OK);
        assert_true(back == ms);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks_run),          cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_format_edges),        cmocka_unit_test(test_parse_iso),
        cmocka_unit_test(test_parse_duration),      cmocka_unit_test(test_format_duration),
        cmocka_unit_test(test_durations_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
