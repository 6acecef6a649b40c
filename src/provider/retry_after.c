// SPDX-License-Identifier: MIT
// How long a server asks to be left alone: Retry-After and the reset headers of
// rate limits, in every form seen in the wild. What is not understood is "not
// stated", never an error. Rounded up: to come early is to be refused again.
#include "provider/classify.h"

#include "base/clock.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define SECOND_MS 1000
#define DAY_MS (INT64_C(86400) * SECOND_MS)
#define YEAR_MS (365 * DAY_MS)
#define SECOND_NS INT64_C(1000000000)
#define YEAR_NS (YEAR_MS * 1000000)
#define LONGEST_TEXT 128

// Seconds that are moments: from 1e9 unix seconds, from 1e10 unix milliseconds.
#define UNIX_SECONDS_NS_FROM (INT64_C(1000000000))
#define UNIX_MS_FROM (INT64_C(10000000000))

static int64_t until(int64_t at, int64_t now_at) {
    if (at <= now_at)
        return 0;
    // now_at may be anything: the difference must not overflow
    return now_at < 0 && at > INT64_MAX + now_at ? YEAR_MS : at - now_at > YEAR_MS ? YEAR_MS : at - now_at;
}

static int64_t ns_to_ms(int64_t ns) {
    return (ns + 999999) / 1000000;
}

// Reads digits with an optional fraction: `whole` (saturating) and `nano`, the first nine digits of the
// fraction rounded up. Moves *text behind them; false when there is no digit in front.
static bool read_number(const char **text, int64_t *whole, int64_t *nano) {
    const char *p = *text;
    if (!isdigit((unsigned char)*p))
        return false;
    *whole = 0;
    *nano = 0;
    for (; isdigit((unsigned char)*p); p++)
        *whole = *whole > INT64_MAX / 100 ? *whole : *whole * 10 + (*p - '0');
    if (*p == '.') {
        int64_t unit = SECOND_NS / 10;
        bool rest = false;
        for (p++; isdigit((unsigned char)*p); p++, unit /= 10) {
            *nano += unit * (*p - '0');
            rest = rest || (unit == 0 && *p != '0');
        }
        *nano += rest;
    }
    *text = p;
    return true;
}

// whole.nano units of `unit_ns` each, at most a year; a saturated `whole` stays one.
static int64_t scale(int64_t whole, int64_t nano, int64_t unit_ns) {
    if (whole >= YEAR_NS / unit_ns)
        return YEAR_NS;
    // nano * unit_ns would overflow for the long units, which are whole seconds
    int64_t part =
        unit_ns >= SECOND_NS ? nano * (unit_ns / SECOND_NS) : (nano * unit_ns + SECOND_NS - 1) / SECOND_NS;
    return whole * unit_ns + part;
}

static int64_t parse_number(const char *text, int64_t now_at) {
    int64_t whole, nano;
    if (!read_number(&text, &whole, &nano) || *text != '\0')
        return -1;
    if (whole < UNIX_SECONDS_NS_FROM)
        return ns_to_ms(scale(whole, nano, SECOND_NS));
    if (whole < UNIX_MS_FROM)
        return until(whole * SECOND_MS + ns_to_ms(nano), now_at);
    return until(whole + (nano > 0), now_at);
}

// Go's and protobuf's durations: parts in falling order of unit, such as 1h2m3.5s or 45.837906927s.
static int64_t parse_duration(const char *text) {
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {
        {"d", 86400 * SECOND_NS}, {"h", 3600 * SECOND_NS}, {"m", 60 * SECOND_NS},
        {"s", SECOND_NS},         {"ms", 1000000},         {"us", 1000},
        {"\xc2\xb5s", 1000},      {"\xce\xbcs", 1000},     {"ns", 1},
    };
    int64_t total = 0;
    size_t next = 0;
    do {
        int64_t whole, nano;
        if (!read_number(&text, &whole, &nano))
            return -1;
        size_t length = strcspn(text, "0123456789"), i = next;
        while (i < sizeof units / sizeof units[0] &&
               (strlen(units[i].name) != length || memcmp(units[i].name, text, length) != 0))
            i++;
        if (i == sizeof units / sizeof units[0])
            return -1;
        next = i + 1;
        text += length;
        total += scale(whole, nano, units[i].ns); // at most nine parts of a year: no overflow
    } while (*text != '\0');
    return total > YEAR_NS ? YEAR_MS : ns_to_ms(total);
}

static bool is_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

// Days from 1970-01-01 in the proleptic Gregorian calendar (year 1 and later, month from 1).
static int64_t days_from_civil(int year, int month, int day) {
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t y = year - 1;
    int64_t days = y * 365 + y / 4 - y / 100 + y / 400 - 719162;
    return days + before[month - 1] + (month > 2 && is_leap(year)) + day - 1;
}

static int year_of(int64_t days) {
    if (days < 0 || days > INT64_C(2932896)) // the end of 9999: the clock is wrong anyway
        return days < 0 ? 1970 : 9999;
    int year = (int)(1970 + days / 366); // never too late
    while (days_from_civil(year + 1, 1, 1) <= days)
        year++;
    return year;
}

// A cursor over a date: each step consumes what it names or returns false.
static bool take_digits(const char **p, int least, int most, int *value) {
    int n = 0;
    *value = 0;
    for (; n < most && isdigit((unsigned char)**p); n++, (*p)++)
        *value = *value * 10 + (**p - '0');
    return n >= least;
}

static bool take_char(const char **p, char c) {
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool take_name(const char **p, const char *const *list, int count, int *index) {
    for (*index = 0; *index < count; (*index)++) {
        size_t n = strlen(list[*index]);
        if (strncasecmp(*p, list[*index], n) == 0 && !isalpha((unsigned char)(*p)[n])) {
            *p += n;
            return true;
        }
    }
    return false;
}

static bool take_blanks(const char **p) {
    const char *start = *p;
    while (**p == ' ')
        (*p)++;
    return *p > start;
}

static bool take_clock(const char **p, int *seconds) {
    int h, m, s;
    if (!take_digits(p, 2, 2, &h) || !take_char(p, ':') || !take_digits(p, 2, 2, &m) || !take_char(p, ':') ||
        !take_digits(p, 2, 2, &s))
        return false;
    *seconds = h * 3600 + m * 60 + s;
    return h < 24 && m < 60 && s <= 60; // 60: a leap second
}

static bool take_zone(const char **p) {
    static const char *const zones[] = {"GMT", "UTC", "+0000", "-0000"};
    int index;
    return take_blanks(p) && take_name(p, zones, 4, &index);
}

static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// The three date forms of RFC 9110, section 5.6.7; zones other than GMT do not exist there.
static int64_t parse_http_date(const char *p, int64_t now_at) {
    static const char *const day_names[] = {"Mon",      "Tue",    "Wed",      "Thu",     "Fri",
                                            "Sat",      "Sun",    "Monday",   "Tuesday", "Wednesday",
                                            "Thursday", "Friday", "Saturday", "Sunday"};
    int weekday, day, month, year, seconds;
    bool two_digits = false;
    if (!take_name(&p, day_names, 14, &weekday))
        return -1;
    if (take_char(&p, ',')) {
        if (!take_blanks(&p) || !take_digits(&p, 1, 2, &day))
            return -1;
        char separator = *p == '-' ? '-' : ' ';
        if (!take_char(&p, separator) || !take_name(&p, month_names, 12, &month) || !take_char(&p, separator))
            return -1;
        const char *start = p;
        if (!take_digits(&p, 2, 4, &year) || p - start == 3)
            return -1;
        two_digits = p - start == 2;
        if (!take_blanks(&p) || !take_clock(&p, &seconds) || !take_zone(&p))
            return -1;
    } else if (!take_blanks(&p) || !take_name(&p, month_names, 12, &month) || !take_blanks(&p) ||
               !take_digits(&p, 1, 2, &day) || !take_blanks(&p) || !take_clock(&p, &seconds) ||
               !take_blanks(&p) || !take_digits(&p, 4, 4, &year)) {
        return -1;
    }
    if (two_digits) { // more than 50 years ahead means the century before
        int now_year = year_of(now_at / DAY_MS);
        year += now_year / 100 * 100;
        if (year > now_year + 50)
            year -= 100;
    }
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (*p != '\0' || year < 1 || day < 1 || day > month_days[month] + (month == 1 && is_leap(year)))
        return -1;
    return until((days_from_civil(year, month + 1, day) * 86400 + seconds) * SECOND_MS, now_at);
}

// Copies without blanks at the ends; false when nothing or too much is left.
static bool copy_trimmed(const char *text, char out[LONGEST_TEXT]) {
    text += strspn(text, " \t\r\n");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    if (length == 0 || length >= LONGEST_TEXT)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

int64_t retry_after_parse(const char *text, int64_t now_at) {
    char value[LONGEST_TEXT];
    if (text == NULL || !copy_trimmed(text, value))
        return -1;
    if (isalpha((unsigned char)value[0]))
        return parse_http_date(value, now_at);
    int64_t wait_ms = parse_number(value, now_at);
    if (wait_ms < 0)
        wait_ms = parse_duration(value);
    int64_t at;
    if (wait_ms < 0 && clock_parse_iso(value, &at) == ERR_OK)
        wait_ms = until(at, now_at);
    return wait_ms;
}

// retry-after-ms is a plain number of milliseconds.
static int64_t parse_milliseconds(const char *text) {
    char value[LONGEST_TEXT];
    int64_t whole, nano;
    if (text == NULL || !copy_trimmed(text, value))
        return -1;
    const char *p = value;
    if (!read_number(&p, &whole, &nano) || *p != '\0')
        return -1;
    return ns_to_ms(scale(whole, nano, 1000000));
}

static bool is_zero(const char *text) {
    char value[LONGEST_TEXT];
    int64_t whole, nano;
    if (text == NULL || !copy_trimmed(text, value))
        return false;
    const char *p = value;
    return read_number(&p, &whole, &nano) && *p == '\0' && whole == 0 && nano == 0;
}

int64_t retry_after_headers(const char *(*get)(void *payload, const char *name), void *payload,
                            int64_t now_at) {
    static const char *const dimensions[][2] = {
        {"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
        {"x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
        {"anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"},
        {"anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"},
        {"anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"},
        {"anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"},
        {"x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"}, // Cerebras
        {"x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"},
        {"ratelimit-remaining", "ratelimit-reset"},
        {"x-ratelimit-remaining", "x-ratelimit-reset"},
    };
    int64_t wait_ms = parse_milliseconds(get(payload, "retry-after-ms"));
    if (wait_ms < 0)
        wait_ms = retry_after_parse(get(payload, "retry-after"), now_at);
    if (wait_ms >= 0)
        return wait_ms;
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++) {
        if (!is_zero(get(payload, dimensions[i][0])))
            continue;
        // a reset of 0 beside nothing remaining tells nothing (Azure sends it for "unknown")
        int64_t reset_ms = retry_after_parse(get(payload, dimensions[i][1]), now_at);
        if (reset_ms > 0 && reset_ms > wait_ms)
            wait_ms = reset_ms;
    }
    return wait_ms;
}

// Daylight saving of the United States since 2007: from the second Sunday of March, 2:00 standard time, to
// the first Sunday of November, 2:00 daylight time (Energy Policy Act of 2005, section 110).
static bool is_pacific_daylight(int64_t at) {
    int64_t days = at / DAY_MS - (at % DAY_MS < 0);
    int year = year_of(days);
    int64_t march = days_from_civil(year, 3, 8), november = days_from_civil(year, 11, 1);
    march += (10 - march % 7) % 7; // 1970-01-04 (day 3) was a Sunday
    november += (10 - november % 7) % 7;
    return at >= march * DAY_MS + 10 * 3600 * SECOND_MS && at < november * DAY_MS + 9 * 3600 * SECOND_MS;
}

int64_t pacific_midnight_at(int64_t now_at) {
    int64_t winter_ms = 8 * 3600 * SECOND_MS, summer_ms = 7 * 3600 * SECOND_MS;
    int64_t local = now_at - (is_pacific_daylight(now_at) ? summer_ms : winter_ms);
    int64_t days = local / DAY_MS - (local % DAY_MS < 0);
    int64_t midnight = (days + 1) * DAY_MS; // never in the hour that is skipped or doubled
    return midnight + (is_pacific_daylight(midnight + summer_ms) ? summer_ms : winter_ms);
}
