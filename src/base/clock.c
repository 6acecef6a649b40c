// SPDX-License-Identifier: MIT
// Clocks and the text forms of times. The calendar is computed here and not by
// the C library: its functions take a lock and read the time zone. Days are
// counted in eras of 400 years that begin on the 1st of March, so the leap day is
// the last of its year and needs no special case.
#include "base/clock.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MS_SECOND INT64_C(1000)
#define MS_MINUTE (60 * MS_SECOND)
#define MS_HOUR (60 * MS_MINUTE)
#define MS_DAY (24 * MS_HOUR)
#define MS_WEEK (7 * MS_DAY)

#define DAYS_ERA 146097                // days of 400 years
#define DAYS_TO_1970 719468            // days from 0000-03-01 to 1970-01-01
#define AT_FIRST (-62167219200000)     // 0000-01-01T00:00:00.000Z
#define AT_LAST (253402300799999)      // 9999-12-31T23:59:59.999Z
#define DURATION_LAST (36500 * MS_DAY) // so that a time plus a duration never overflows

static int64_t clock_read(clockid_t which) {
    struct timespec t = {0};
    clock_gettime(which, &t); // cannot fail for these clocks and this address
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_wall_at(void) {
    return clock_read(CLOCK_REALTIME);
}

int64_t clock_monotonic_us(void) {
    struct timespec t = {0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_monotonic_ms(void) {
    return clock_read(CLOCK_MONOTONIC);
}

int64_t clock_boottime_ms(void) {
    return clock_read(CLOCK_BOOTTIME);
}

// Writes `value` as `width` decimal digits.
static void put_digits(char *out, int width, int64_t value) {
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void clock_format_iso(int64_t at, char out[CLOCK_ISO_SIZE]) {
    at = at < AT_FIRST ? AT_FIRST : at > AT_LAST ? AT_LAST : at;
    int64_t from_zero = at + DAYS_TO_1970 * MS_DAY + DAYS_ERA * MS_DAY; // positive, one era too many
    int64_t days = from_zero / MS_DAY, ms = from_zero % MS_DAY;
    int64_t era = days / DAYS_ERA, day = days % DAYS_ERA;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100; // day of the year that began in March
    int64_t month = (5 * day + 2) / 153;       // 0 is March
    int64_t day_of_month = day - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    year += (era - 1) * 400 + (month <= 2);

    memcpy(out, "0000-00-00T00:00:00.000Z", CLOCK_ISO_SIZE);
    put_digits(out, 4, year);
    put_digits(out + 5, 2, month);
    put_digits(out + 8, 2, day_of_month);
    put_digits(out + 11, 2, ms / MS_HOUR);
    put_digits(out + 14, 2, ms / MS_MINUTE % 60);
    put_digits(out + 17, 2, ms / MS_SECOND % 60);
    put_digits(out + 20, 3, ms % 1000);
}

// Reads `width` digits at *p and moves on; -1 when there are not that many.
static int take_digits(const char **p, int width) {
    int value = 0;
    for (int i = 0; i < width; i++, (*p)++) {
        if (**p < '0' || **p > '9') {
            return -1;
        }
        value = value * 10 + (**p - '0');
    }
    return value;
}

static bool take_char(const char **p, const char *any_of) {
    if (**p == 0 || !strchr(any_of, **p)) {
        return false;
    }
    (*p)++;
    return true;
}

static int days_in_month(int year, int month) {
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

// Days since 1970-01-01.
static int64_t days_from_date(int year, int month, int day) {
    int64_t y = year - (month <= 2) + 400; // positive, one era too many
    int64_t era = y / 400, year_of_era = y % 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (era - 1) * DAYS_ERA + day_of_era - DAYS_TO_1970;
}

// The zone at *p in milliseconds east of UTC.
static bool take_offset(const char **p, int64_t *offset_ms) {
    if (take_char(p, "Zz")) {
        *offset_ms = 0;
        return true;
    }
    int sign = **p == '-' ? -1 : 1;
    if (!take_char(p, "+-")) {
        return false;
    }
    int hours = take_digits(p, 2);
    if (hours < 0 || hours > 23 || !take_char(p, ":")) {
        return false;
    }
    int minutes = take_digits(p, 2);
    if (minutes < 0 || minutes > 59) {
        return false;
    }
    *offset_ms = sign * (hours * MS_HOUR + minutes * MS_MINUTE);
    return true;
}

int clock_parse_iso(const char *text, int64_t *at) {
    if (!text) {
        return ERR_INVALID;
    }
    const char *p = text;
    int year = take_digits(&p, 4);
    if (year < 0 || !take_char(&p, "-")) {
        return ERR_INVALID;
    }
    int month = take_digits(&p, 2);
    if (month < 1 || month > 12 || !take_char(&p, "-")) {
        return ERR_INVALID;
    }
    int day = take_digits(&p, 2);
    if (day < 1 || day > days_in_month(year, month) || !take_char(&p, "Tt ")) {
        return ERR_INVALID;
    }
    int hour = take_digits(&p, 2);
    if (hour < 0 || hour > 23 || !take_char(&p, ":")) {
        return ERR_INVALID;
    }
    int minute = take_digits(&p, 2);
    if (minute < 0 || minute > 59 || !take_char(&p, ":")) {
        return ERR_INVALID;
    }
    int second = take_digits(&p, 2);
    if (second < 0 || second > 60) { // 60: a leap second, counted as the next one
        return ERR_INVALID;
    }
    int64_t fraction_ms = 0;
    if (take_char(&p, ".")) {
        const char *first = p;
        for (int64_t unit = 100; *p >= '0' && *p <= '9'; p++, unit /= 10) {
            fraction_ms += (*p - '0') * unit;
        }
        if (p == first) {
            return ERR_INVALID;
        }
    }
    int64_t offset_ms;
    if (!take_offset(&p, &offset_ms) || *p != 0) {
        return ERR_INVALID;
    }
    *at = days_from_date(year, month, day) * MS_DAY + hour * MS_HOUR + minute * MS_MINUTE +
          second * MS_SECOND + fraction_ms - offset_ms;
    return ERR_OK;
}

// Longest first, and "ms" before "m" where the text is matched.
static const struct unit {
    const char *name;
    int64_t ms;
} units[] = {{"w", MS_WEEK}, {"d", MS_DAY}, {"h", MS_HOUR}, {"m", MS_MINUTE}, {"s", MS_SECOND}, {"ms", 1}};
#define UNIT_COUNT (sizeof units / sizeof units[0])
#define UNIT_DAY 1 // index: weeks are read, never written

// The index of the unit named by the letters at *p, UNIT_COUNT when it is none.
static size_t take_unit(const char **p) {
    size_t length = strspn(*p, "abcdefghijklmnopqrstuvwxyz");
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        if (strlen(units[i].name) == length && memcmp(units[i].name, *p, length) == 0) {
            *p += length;
            return i;
        }
    }
    return UNIT_COUNT;
}

int clock_parse_duration(const char *text, int64_t *ms, struct err *e) {
    if (!text || !*text) {
        return err_set(e, ERR_INVALID, "a duration is empty: write it like 500ms, 90s, 5m, 3h or 7d");
    }
    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return ERR_OK;
    }
    int64_t total = 0;
    size_t next_unit = 0; // units must come from long to short, each once
    for (const char *p = text; *p;) {
        const char *first = p;
        int64_t value = 0;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (value <= DURATION_LAST) { // beyond it the exact number does not matter
                value = value * 10 + (*p - '0');
            }
        }
        bool no_digits = p == first;
        size_t unit = no_digits ? UNIT_COUNT : take_unit(&p);
        if (unit == UNIT_COUNT || unit < next_unit) {
            return err_set(e, ERR_INVALID,
                           "\"%.60s\" is not a duration: write it like 500ms, 90s, 5m, 1h30m or 7d", text);
        }
        next_unit = unit + 1;
        if (value > DURATION_LAST / units[unit].ms || total + value * units[unit].ms > DURATION_LAST) {
            return err_set(e, ERR_INVALID, "the duration \"%.60s\" is too long: at most 36500d", text);
        }
        total += value * units[unit].ms;
    }
    *ms = total;
    return ERR_OK;
}

void clock_format_duration(int64_t ms, char *out, size_t size) {
    char text[64] = "0";
    size_t used = 0;
    uint64_t rest = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (ms < 0) {
        text[used++] = '-';
    }
    for (size_t i = UNIT_DAY; i < UNIT_COUNT && rest; i++) {
        uint64_t unit = (uint64_t)units[i].ms;
        uint64_t smaller = i + 1 < UNIT_COUNT ? (uint64_t)units[i + 1].ms : 1;
        // 90s reads better than 1m30s: skip a unit when the next one alone says all in two digits
        bool one_part = used <= (ms < 0) && rest % unit != 0 && rest % smaller == 0 && rest / smaller < 100;
        if (rest / unit && !one_part) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%llu%s",
                                     (unsigned long long)(rest / unit), units[i].name);
            rest %= unit;
        }
    }
    snprintf(out, size, "%s", text);
}
