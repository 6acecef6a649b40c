// SPDX-License-Identifier: MIT
// The three clocks, and text forms of times and durations. `_ms` is a duration
// or a monotonic reading in milliseconds, `_at` a wall time in Unix milliseconds.
#ifndef GENRUN_BASE_CLOCK_H
#define GENRUN_BASE_CLOCK_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

int64_t clock_wall_at(void);      // CLOCK_REALTIME: for rows and people; may jump
int64_t clock_monotonic_us(void); // the same in microseconds
int64_t clock_monotonic_ms(void); // CLOCK_MONOTONIC: deadlines of live work; stands still in suspend
int64_t clock_boottime_ms(void);  // CLOCK_BOOTTIME: like it, but counts suspend

#define CLOCK_ISO_SIZE 25
// Writes RFC 3339 UTC with milliseconds ("2026-01-02T03:04:05.678Z"); a time outside the years
// 0000 to 9999 becomes the nearest one inside.
void clock_format_iso(int64_t at, char out[CLOCK_ISO_SIZE]);
// Parses RFC 3339 with any offset and fraction (cut to milliseconds); ERR_INVALID when it is none.
int clock_parse_iso(const char *text, int64_t *at) must_check;
// Parses a duration such as 500ms, 90s, 5m, 3h, 7d, 2w, 1h30m, or 0; never negative, at most 36500d
// (so a time plus a duration cannot overflow). ERR_INVALID with a message that names the text.
int clock_parse_duration(const char *text, int64_t *ms, struct err *e) must_check;
// Writes a short exact form of a duration ("90s", "36h", "2h13m", "7d", "250ms"); for all that
// clock_parse_duration accepts it reads the same back. 32 bytes hold any.
void clock_format_duration(int64_t ms, char *out, size_t size);

#endif
