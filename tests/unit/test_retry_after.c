// SPDX-License-Identifier: MIT
// Every form in which a server states a wait, and what is none.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "provider/classify.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)

#define NOW INT64_C(1767225600000) // Thursday, 2026-01-01T00:00:00Z

static const struct {
    const char *text;
    int64_t wait_ms;
} parse_cases[] = {
    // delta seconds and fractions
    {"0", 0},
    {"1", SECOND},
    {"37", 37 * SECOND},
    {"120", 120 * SECOND},
    {" 5 ", 5 * SECOND},
    {"\t5\r\n", 5 * SECOND},
    {"007", 7 * SECOND},
    {"0.5", 500},
    {"1.25", 1250},
    {"2.", 2 * SECOND},
    {"0.0001", 1},
    {"0.0000000001", 1},
    {"0.0000000000", 0},
    {"7.660", 7660},
    {"1.0000000001", 1001},
    {"0.99999999999", 1000},
    // no numbers of this grammar
    {"", -1},
    {"   ", -1},
    {"-1", -1},
    {"-0.5", -1},
    {"+5", -1},
    {".5", -1},
    {"1e3", -1},
    {"0x10", -1},
    {"1,5", -1},
    {"5 5", -1},
    {"NaN", -1},
    {"nan", -1},
    {"inf", -1},
    {"Infinity", -1},
    {"-inf", -1},
    {"soon", -1},
    {"null", -1},
    {"1.2.3", -1},
    {"..", -1},
    {"\"5\"", -1},
    {"5;5", -1},
    // Unix time: seconds from 1e9, milliseconds from 1e10
    {"999999999", YEAR},
    {"31536000", YEAR},
    {"31535999", YEAR - SECOND},
    {"1000000000", 0},
    {"1767225600", 0},
    {"1767225599", 0},
    {"1767225660", MINUTE},
    {"1767225660.5", MINUTE + 500},
    {"9999999999", YEAR},
    {"1767225660000", MINUTE},
    {"1767225600001", 1},
    {"1767225600000.5", 1},
    {"1767225599999", 0},
    {"10000000000", 0},
    {"99999999999999999999999999999999", YEAR},
    {"9223372036854775807", YEAR},
    {"9223372036854775808", YEAR},
    // Go's durations
    {"1s", SECOND},
    {"0s", 0},
    {"6m0s", 6 * MINUTE},
    {"12ms", 12},
    {"1h2m3s", HOUR + 2 * MINUTE + 3 * SECOND},
    {"7.66s", 7660},
    {"1m30.5s", 90500},
    {"24h0m0s", DAY},
    {"1h", HOUR},
    {"2m", 2 * MINUTE},
    {"1h500ms", HOUR + 500},
    {"1.5h", HOUR + 30 * MINUTE},
    {"0.5d", 12 * HOUR},
    {"1d12h", 36 * HOUR},
    {"1.5ms", 2},
    {"100us", 1},
    {"100\xc2\xb5s", 1},
    {"100\xce\xbcs", 1},
    {"1ns", 1},
    {"1000000ns", 1},
    {"1000001ns", 2},
    {"8760h", YEAR},
    {"8759h", YEAR - HOUR},
    {"9999h", YEAR},
    {"366d", YEAR},
    {"99999999999999999999h", YEAR},
    {"364d99999999999h", YEAR},
    // protobuf's
    {"45.837906927s", 45838},
    {"36s", 36 * SECOND},
    {"0.000000001s", 1},
    // no durations
    {"-6m0s", -1},
    {"6m-1s", -1},
    {"s", -1},
    {"m5", -1},
    {"5x", -1},
    {"5 s", -1},
    {"5sec", -1},
    {"1s2m", -1},
    {"1s1s", -1},
    {"1h2", -1},
    {"1.s.s", -1},
    {"1S", -1},
    {"P1D", -1},
    // HTTP-date: IMF-fixdate
    {"Thu, 01 Jan 2026 00:00:30 GMT", 30 * SECOND},
    {"Thu, 01 Jan 2026 00:00:00 GMT", 0},
    {"Wed, 31 Dec 2025 23:59:59 GMT", 0},
    {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
    {"Fri, 02 Jan 2026 00:00:00 GMT", DAY},
    {"Sun, 01 Mar 2026 00:00:00 GMT", 59 * DAY},
    {"thu, 01 jan 2026 00:01:00 gmt", MINUTE},
    {"Thu, 1 Jan 2026 00:01:00 GMT", MINUTE},
    {"Thu, 01 Jan 2026 00:01:00 UTC", MINUTE},
    {"Thu, 01 Jan 2026 00:01:00 +0000", MINUTE},
    {"Thu, 01 Jan 2026 23:59:60 GMT", DAY},
    {"Fri, 01 Jan 2027 00:00:00 GMT", YEAR},
    {"Fri, 31 Dec 9999 23:59:59 GMT", YEAR},
    // RFC 850
    {"Thursday, 01-Jan-26 00:00:30 GMT", 30 * SECOND},
    {"Sunday, 06-Nov-94 08:49:37 GMT", 0},       // 1994: 2094 would be more than 50 years ahead
    {"Wednesday, 01-Jan-76 00:00:00 GMT", YEAR}, // 2076
    {"Friday, 01-Jan-77 00:00:00 GMT", 0},       // 1977
    {"Thu, 01-Jan-2026 00:00:30 GMT", 30 * SECOND},
    // asctime
    {"Thu Jan  1 00:00:30 2026", 30 * SECOND},
    {"Thu Jan 01 00:00:30 2026", 30 * SECOND},
    {"Sun Nov  6 08:49:37 1994", 0},
    {"Sun Feb 29 00:00:00 2032", YEAR},
    // no dates
    {"Thu, 01 Jan 2026 00:00:30", -1},
    {"Thu, 01 Jan 2026 00:00:30 PST", -1},
    {"Thu, 01 Jan 2026 00:00:30 GMT+1", -1},
    {"Thu, 01 Jan 2026 00:00:30 GMT x", -1},
    {"Thu, 32 Jan 2026 00:00:30 GMT", -1},
    {"Thu, 00 Jan 2026 00:00:30 GMT", -1},
    {"Sun, 29 Feb 2026 00:00:00 GMT", -1},
    {"Thu, 31 Apr 2026 00:00:00 GMT", -1},
    {"Thu, 01 Foo 2026 00:00:30 GMT", -1},
    {"Foo, 01 Jan 2026 00:00:30 GMT", -1},
    {"Thu, 01 Jan 2026 24:00:00 GMT", -1},
    {"Thu, 01 Jan 2026 00:60:00 GMT", -1},
    {"Thu, 01 Jan 2026 00:00:61 GMT", -1},
    {"Thu, 01 Jan 2026 0:00:30 GMT", -1},
    {"Thu, 01 Jan 20266 00:00:30 GMT", -1},
    {"Thu, 01 Jan 202 00:00:30 GMT", -1},
    {"Thu, 01 Jan 0000 00:00:30 GMT", -1},
    {"Thu, 01-Jan 2026 00:00:30 GMT", -1},
    {"Thu,01 Jan 2026 00:00:30 GMT", -1},
    {"Thursday Jan", -1},
    {"Thu", -1},
    {"Thu,", -1},
    {"Thu Jan  1 00:00:30 26", -1},
    {"Thu Jan  1 00:00:30 2026 GMT", -1},
    // RFC 3339
    {"2026-01-01T00:00:30Z", 30 * SECOND},
    {"2026-01-01T00:00:30.250Z", 30250},
    {"2026-01-01T01:00:30+01:00", 30 * SECOND},
    {"2025-12-31T16:01:00-08:00", MINUTE},
    {"2025-12-31T23:59:59Z", 0},
    {"1970-01-01T00:00:00Z", 0},
    {"2027-01-02T00:00:00Z", YEAR},
    {"2026-13-01T00:00:00Z", -1},
    {"2026-01-01T", -1},
    {"2026-01-01 soon", -1},
};

static void test_parse(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof parse_cases / sizeof parse_cases[0]; i++) {
        int64_t got = retry_after_parse(parse_cases[i].text, NOW);
        if (got != parse_cases[i].wait_ms)
            fail_msg("'%s': %lld, expected %lld", parse_cases[i].text, (long long)got,
                     (long long)parse_cases[i].wait_ms);
    }
    assert_int_equal(retry_after_parse(NULL, NOW), -1);
}

static void test_parse_long_and_strange_clock(void **state) {
    (void)state;
    char *digits = mem_alloc(100001, 1);
    memset(digits, '9', 100000);
    assert_int_equal(retry_after_parse(digits, NOW), -1); // no header of sense is that long
    memset(digits, ' ', 100000);
    digits[0] = '5';
    assert_int_equal(retry_after_parse(digits, NOW), 5 * SECOND);
    free(digits);
    // a clock that was never set, or was set to nonsense, must not overflow
    static const int64_t clocks[] = {0, -1, INT64_MIN, INT64_MAX, -YEAR, 1};
    static const char *const texts[] = {"1767225660", "9223372036854775807", "Thu, 01 Jan 2026 00:00:30 GMT",
                                        "Thursday, 01-Jan-26 00:00:30 GMT", "2026-01-01T00:00:30Z"};
    for (size_t c = 0; c < sizeof clocks / sizeof clocks[0]; c++) {
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
            int64_t wait_ms = retry_after_parse(texts[t], clocks[c]);
            assert_true(wait_ms >= 0 && wait_ms <= YEAR);
        }
        assert_int_equal(retry_after_parse("5", clocks[c]), 5 * SECOND);
    }
}

// Headers as "name: value" lines; names are asked for in lower case.
static const char *find_header(void *payload, const char *name) {
    static char value[256];
    size_t length = strlen(name);
    for (const char *line = payload; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t size = end != NULL ? (size_t)(end - line) : strlen(line);
        if (size > length && strncmp(line, name, length) == 0 && line[length] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)(size - length - 1), line + length + 1);
            return value;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return NULL;
}

static const struct {
    const char *headers;
    int64_t wait_ms;
} header_cases[] = {
    {"", -1},
    {"content-type: application/json", -1},
    // precedence
    {"retry-after-ms: 1500\nretry-after: 60", 1500},
    {"retry-after: 60\nretry-after-ms: 1500", 1500},
    {"retry-after-ms: 0\nretry-after: 60", 0},
    {"retry-after-ms: 12.5", 13},
    {"retry-after-ms: -5\nretry-after: 60", 60 * SECOND},
    {"retry-after-ms: NaN\nretry-after: 60", 60 * SECOND},
    {"retry-after-ms: 5s\nretry-after: 60", 60 * SECOND},
    {"retry-after-ms: 99999999999999999999", YEAR},
    {"retry-after: Thu, 01 Jan 2026 00:00:30 GMT", 30 * SECOND},
    {"retry-after: 1\nx-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 6m0s", SECOND},
    {"retry-after: soon\nx-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 6m0s", 6 * MINUTE},
    {"retry-after: 0", 0},
    {"retry-after: -1", -1},
    // OpenAI: the dimension that is exhausted, not the first that is named
    {"x-ratelimit-remaining-requests: 9999\nx-ratelimit-reset-requests: 8.64s\n"
     "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0s",
     6 * MINUTE},
    {"x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 8.64s\n"
     "x-ratelimit-remaining-tokens: 100\nx-ratelimit-reset-tokens: 6m0s",
     8640},
    {"x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 8.64s\n"
     "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0s",
     6 * MINUTE},
    {"x-ratelimit-remaining-requests: 5\nx-ratelimit-reset-requests: 1s", -1},
    {"x-ratelimit-remaining-requests: 0", -1},
    {"x-ratelimit-reset-requests: 1s", -1},
    {"x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 12ms", 12},
    // Azure: unknown
    {"x-ratelimit-remaining-requests: -1\nx-ratelimit-reset-requests: 10", -1},
    {"x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 0", -1},
    {"x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: -1", -1},
    {"x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 10", 10 * SECOND},
    {"x-ratelimit-remaining-tokens: 00.0\nx-ratelimit-reset-tokens: 10", 10 * SECOND},
    {"x-ratelimit-remaining-tokens: none\nx-ratelimit-reset-tokens: 10", -1},
    // Anthropic
    {"anthropic-ratelimit-requests-remaining: 49\nanthropic-ratelimit-requests-reset: 2026-01-01T00:00:01Z\n"
     "anthropic-ratelimit-input-tokens-remaining: 0\nanthropic-ratelimit-input-tokens-reset: "
     "2026-01-01T00:00:42Z",
     42 * SECOND},
    {"anthropic-ratelimit-requests-remaining: 0\nanthropic-ratelimit-requests-reset: 2026-01-01T00:00:01Z",
     SECOND},
    {"anthropic-ratelimit-tokens-remaining: 0\nanthropic-ratelimit-tokens-reset: 2026-01-01T00:01:00Z",
     MINUTE},
    {"anthropic-ratelimit-output-tokens-remaining: 0\n"
     "anthropic-ratelimit-output-tokens-reset: 2026-01-01T00:00:09Z",
     9 * SECOND},
    {"anthropic-ratelimit-tokens-remaining: 0\nanthropic-ratelimit-tokens-reset: 2025-12-31T23:59:00Z", -1},
    // generic: relative seconds, Unix seconds, Unix milliseconds
    {"x-ratelimit-remaining: 0\nx-ratelimit-reset: 30", 30 * SECOND},
    {"x-ratelimit-remaining: 0\nx-ratelimit-reset: 1767225630", 30 * SECOND},
    {"x-ratelimit-remaining: 0\nx-ratelimit-reset: 1767225630000", 30 * SECOND},
    {"ratelimit-remaining: 0\nratelimit-reset: 7", 7 * SECOND},
    {"ratelimit-remaining: 3\nratelimit-reset: 7", -1},
    {"x-ratelimit-remaining-requests-day: 0\nx-ratelimit-reset-requests-day: 3600.5", HOUR + 500},
};

static void test_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof header_cases / sizeof header_cases[0]; i++) {
        char *headers = mem_copy(header_cases[i].headers);
        int64_t got = retry_after_headers(find_header, headers, NOW);
        free(headers);
        if (got != header_cases[i].wait_ms)
            fail_msg("%s: %lld, expected %lld", header_cases[i].headers, (long long)got,
                     (long long)header_cases[i].wait_ms);
    }
}

// Unix seconds; made with the zone files of America/Los_Angeles.
static const struct {
    int64_t now;
    int64_t midnight;
    const char *what;
} midnight_cases[] = {
    {1768478400, 1768550400, "winter"},
    {1783166400, 1783234800, "summer"},
    {1768463999, 1768464000, "winter, a second before"},
    {1768464000, 1768550400, "winter, midnight itself"},
    {1783148399, 1783148400, "summer, a second before"},
    {1783148400, 1783234800, "summer, midnight itself"},
    {1772955000, 1772956800, "the evening before spring"},
    {1772963999, 1773039600, "spring day, before the change"},
    {1772964000, 1773039600, "spring day, at the change"},
    {1773039599, 1773039600, "spring day, evening"},
    {1793516399, 1793516400, "the evening before autumn"},
    {1793523599, 1793606400, "autumn day, before the change"},
    {1793523600, 1793606400, "autumn day, at the change"},
    {1793606399, 1793606400, "autumn day, evening"},
    {1805025600, 1805094000, "March 14, 2027"},
    {1804420800, 1804492800, "March 7, 2027"},
    {1825054200, 1825138800, "November 1, 2027"},
    {1825572600, 1825660800, "November 7, 2027"},
    {1836648000, 1836716400, "March 14, 2028"},
    {1836043200, 1836115200, "March 7, 2028"},
    {1856676600, 1856761200, "November 1, 2028"},
    {1857195000, 1857196800, "November 7, 2028"},
    {1868184000, 1868252400, "March 14, 2029"},
    {1867579200, 1867651200, "March 7, 2029"},
    {1888212600, 1888297200, "November 1, 2029"},
    {1888731000, 1888732800, "November 7, 2029"},
    {1899720000, 1899788400, "March 14, 2030"},
    {1899115200, 1899187200, "March 7, 2030"},
    {1919748600, 1919833200, "November 1, 2030"},
    {1920267000, 1920268800, "November 7, 2030"},
    {1931256000, 1931324400, "March 14, 2031"},
    {1930651200, 1930723200, "March 7, 2031"},
    {1951284600, 1951369200, "November 1, 2031"},
    {1951803000, 1951804800, "November 7, 2031"},
    {1962878400, 1962946800, "March 14, 2032"},
    {1962273600, 1962345600, "March 7, 2032"},
    {1982907000, 1982991600, "November 1, 2032"},
    {1983425400, 1983513600, "November 7, 2032"},
    {2120644800, 2120713200, "March 14, 2037"},
    {2120040000, 2120112000, "March 7, 2037"},
    {2140673400, 2140761600, "November 1, 2037"},
    {2141191800, 2141193600, "November 7, 2037"},
    {1798758000, 1798790400, "new year"},
    {1835438400, 1835510400, "leap day"},
};

static void test_pacific_midnight(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof midnight_cases / sizeof midnight_cases[0]; i++) {
        int64_t got = pacific_midnight_at(midnight_cases[i].now * SECOND);
        if (got != midnight_cases[i].midnight * SECOND)
            fail_msg("%s: %lld, expected %lld", midnight_cases[i].what, (long long)(got / SECOND),
                     (long long)midnight_cases[i].midnight);
    }
    // within a millisecond of midnight
    int64_t midnight = INT64_C(1767254400) * SECOND; // 2026-01-01T00:00 in Los Angeles
    assert_int_equal(pacific_midnight_at(midnight - 1), midnight);
    assert_int_equal(pacific_midnight_at(midnight), midnight + DAY);
}

// Every hour of thirty years: midnights are 23, 24 or 25 hours apart, twice a year not 24.
static void test_pacific_midnight_walks(void **state) {
    (void)state;
    int64_t at = NOW, previous = pacific_midnight_at(NOW - DAY);
    int spring = 0, autumn = 0;
    for (int day = 0; day < 365 * 30; day++) {
        int64_t next = pacific_midnight_at(previous);
        int64_t hours = (next - previous) / HOUR;
        assert_int_equal((next - previous) % HOUR, 0);
        assert_true(hours >= 23 && hours <= 25);
        spring += hours == 23;
        autumn += hours == 25;
        assert_int_equal(pacific_midnight_at(next - 1), next);
        previous = next;
    }
    assert_int_equal(spring, 30);
    assert_int_equal(autumn, 30);
    for (int hour = 0; hour < 24 * 365; hour++, at += HOUR)
        assert_true(pacific_midnight_at(at) > at && pacific_midnight_at(at) <= at + 25 * HOUR);
    static const int64_t strange[] = {0, -1, -400 * DAY, INT64_C(253402300800000)};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++)
        assert_true(pacific_midnight_at(strange[i]) > strange[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_long_and_strange_clock),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_pacific_midnight),
        cmocka_unit_test(test_pacific_midnight_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
