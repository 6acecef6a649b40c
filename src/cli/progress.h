// SPDX-License-Identifier: MIT
// Progress of long work: what is done, failed and left, how fast, how long still.
// The arithmetic knows no clock and no stream; progress_show puts it on stderr: a
// bar that is redrawn on a terminal, elsewhere a plain line now and then.
#ifndef GENRUN_CLI_PROGRESS_H
#define GENRUN_CLI_PROGRESS_H

#include "base/buf.h"
#include "cli/terminal.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress_state {
    int64_t total; // 0: unknown
    int64_t done;  // at an end, whichever
    int64_t failed;
    int64_t cancelled;
    int64_t tokens;   // 0: unknown
    double cost;      // USD, 0: unknown or none
    const char *note; // "paused: …" in place of the rate, NULL: none; borrowed during the call
};

// Recent readings, from which the rate comes: the last PROGRESS_WINDOW_MS count, so that it follows
// a model that slows down, and a resumed batch does not count what was done before.
#define PROGRESS_SAMPLES 32
#define PROGRESS_WINDOW_MS 30000
struct progress_rate {
    int64_t at_ms[PROGRESS_SAMPLES]; // a ring, oldest at `first`
    int64_t done[PROGRESS_SAMPLES];
    size_t first;
    size_t count;
};
// Takes a reading; at_ms is monotonic and must not fall. A `done` that falls (a retry) starts anew.
void progress_rate_add(struct progress_rate *r, int64_t at_ms, int64_t done);
// Items a second, 0 when not known yet.
double progress_rate_get(const struct progress_rate *r);
// Milliseconds until `left` more are done at `rate`; -1: not known.
int64_t progress_eta_ms(int64_t left, double rate);

// Appends the line, without a line end: with a bar that fills up `width` columns, or, for width 0,
// without one. What does not fit is left out from the end.
void progress_write(struct buf *out, const char *label, const struct progress_state *s, double rate,
                    const char *unit, size_t width);

struct progress {
    FILE *out;
    struct terminal terminal;
    bool quiet;
    char *label;
    const char *unit;
    struct progress_rate rate;
    int64_t started_ms;
    int64_t first_done; // done when it was first seen, -1: not seen yet
    int64_t shown_ms;   // when the last plain line was printed, 0: none yet
    bool open;          // a bar stands on the terminal's line
};

// `label` is copied, `unit` borrowed.
void progress_start(struct progress *p, FILE *out, bool quiet, const char *label, const char *unit);
void progress_show(struct progress *p, const struct progress_state *s);
// On a terminal, shows a line of text in place of the bar.
void progress_show_text(struct progress *p, const char *text);
// Takes the bar away, so that another line can be printed.
void progress_clear(struct progress *p);
// Prints the last line, which stays, with the mean rate and the time that all took; frees what p holds.
// s NULL: no last line.
void progress_end(struct progress *p, const struct progress_state *s);

#endif
