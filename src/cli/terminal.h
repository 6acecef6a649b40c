// SPDX-License-Identifier: MIT
// What is known of the thing that a stream writes to: a terminal or not, how wide,
// colours or not; and text put on it safely.
#ifndef GENRUN_CLI_TERMINAL_H
#define GENRUN_CLI_TERMINAL_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct terminal {
    bool present;  // the stream is a terminal
    size_t width;  // its columns; 0: not a terminal, never cut
    size_t height; // its lines; 0: not a terminal
    bool colour;   // a terminal, and neither NO_COLOR nor TERM=dumb
};

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_BAD, STYLE_WARN, STYLE_BUSY };

// Asks the kernel (TIOCGWINSZ), then $COLUMNS and $LINES, then takes 80 by 24.
void terminal_look(struct terminal *t, int fd);
// The escape sequences that begin and end a style; "" without colour.
const char *terminal_style(const struct terminal *t, enum style style);
const char *terminal_reset(const struct terminal *t, enum style style);
// The style in which the state of a generation, batch job or model is shown.
enum style terminal_status_style(const char *status);

// Appends text in which control characters are escaped, but line ends stay line ends; each line
// is put behind `indent`. At most `lines` lines (0: all), and then a line that tells how many more there are.
void terminal_write_lines(struct buf *out, const char *text, size_t length, const char *indent, size_t lines);
// Appends text with controls escaped, cut to `width` columns with "…" (0: not cut). Wide characters count 2.
void terminal_write_cut(struct buf *out, const char *text, size_t width);

// Appends text word by word, and a line end. The lines end within `width` columns and stand behind `indent` blanks; in
// front of the first one the caller has written as much. width 0, or too little for that: one line.
void terminal_write_wrapped(struct buf *out, const char *text, size_t indent, size_t width);

// "now", "12s", "5m", "3h", "7d": how long ago `at` is at `now`; "-" for at 0 or less.
void terminal_format_age(int64_t at, int64_t now, char *out, size_t size);
// A local time to the second, "2026-01-02 03:04:05"; "-" for at 0 or less.
void terminal_format_time(int64_t at, char *out, size_t size);
// A count for people: 999, 12.3k, 4.5M.
void terminal_format_count(int64_t count, char *out, size_t size);

#endif
