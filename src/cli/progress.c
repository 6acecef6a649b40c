// SPDX-License-Identifier: MIT
// The progress bar and its arithmetic.
#include "cli/progress.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLAIN_EVERY_MS 5000
#define SAMPLE_EVERY_MS (PROGRESS_WINDOW_MS / PROGRESS_SAMPLES)
#define BAR_WIDEST 30
#define BAR_NARROWEST 5

// ---- arithmetic ----

static size_t ring_at(const struct progress_rate *r, size_t i) {
    return (r->first + i) % PROGRESS_SAMPLES;
}

void progress_rate_add(struct progress_rate *r, int64_t at_ms, int64_t done) {
    if (r->count > 0 && done < r->done[ring_at(r, r->count - 1)])
        r->count = 0;
    // Readings that come faster than the window has places replace the newest, so that the ring spans it;
    // the last but one stays, so that a first rate is known soon.
    if (r->count > 2 && at_ms - r->at_ms[ring_at(r, r->count - 2)] < SAMPLE_EVERY_MS) {
        r->at_ms[ring_at(r, r->count - 1)] = at_ms;
        r->done[ring_at(r, r->count - 1)] = done;
        return;
    }
    if (r->count == PROGRESS_SAMPLES) {
        r->first = ring_at(r, 1);
        r->count--;
    }
    r->at_ms[ring_at(r, r->count)] = at_ms;
    r->done[ring_at(r, r->count)] = done;
    r->count++;
    while (r->count > 2 && at_ms - r->at_ms[ring_at(r, 1)] >= PROGRESS_WINDOW_MS) {
        r->first = ring_at(r, 1);
        r->count--;
    }
}

double progress_rate_get(const struct progress_rate *r) {
    if (r->count < 2)
        return 0;
    size_t last = ring_at(r, r->count - 1);
    int64_t ms = r->at_ms[last] - r->at_ms[r->first];
    int64_t done = r->done[last] - r->done[r->first];
    return ms > 0 && done > 0 ? (double)done * 1000.0 / (double)ms : 0;
}

int64_t progress_eta_ms(int64_t left, double rate) {
    if (left <= 0)
        return 0;
    if (!(rate > 0))
        return -1;
    double ms = (double)left * 1000.0 / rate;
    // Beyond a year nothing is known.
    return ms < 365.0 * 86400e3 ? (int64_t)ms : -1;
}

// ---- the line ----

// A duration to at most two units: "45s", "3m20s", "2h05m", "3d04h".
static void write_duration(struct buf *out, int64_t ms) {
    long long s = (ms + 999) / 1000;
    if (s < 60)
        buf_format(out, "%llds", s);
    else if (s < 3600)
        buf_format(out, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400)
        buf_format(out, "%lldh%02lldm", s / 3600, s % 3600 / 60);
    else
        buf_format(out, "%lldd%02lldh", s / 86400, s % 86400 / 3600);
}

static void write_count(struct buf *out, int64_t n, const char *format) {
    char text[24];
    terminal_format_count(n, text, sizeof text);
    buf_format(out, "  %s %s", text, format);
}

static void write_rate(struct buf *out, double rate, const char *unit) {
    if (rate >= 10)
        buf_format(out, "  %.0f %s/s", rate, unit);
    else if (rate >= 0.1)
        buf_format(out, "  %.1f %s/s", rate, unit);
    else if (rate > 0)
        buf_format(out, "  %.1f %s/min", rate * 60, unit);
}

// All but the label and the bar.
static void write_figures(struct buf *out, const struct progress_state *s, double rate, const char *unit) {
    if (s->total > 0)
        buf_format(out, "%lld/%lld", (long long)s->done, (long long)s->total);
    else
        buf_format(out, "%lld %s", (long long)s->done, unit);
    if (s->failed > 0)
        buf_format(out, "  %lld failed", (long long)s->failed);
    if (s->cancelled > 0)
        buf_format(out, "  %lld cancelled", (long long)s->cancelled);
    if (s->note != NULL) {
        buf_text(out, "  ");
        text_escape(out, s->note, strlen(s->note), 0);
    } else {
        write_rate(out, rate, unit);
        int64_t eta = s->total > 0 ? progress_eta_ms(s->total - s->done, rate) : -1;
        if (eta > 0) {
            buf_text(out, "  ETA ");
            write_duration(out, eta);
        }
    }
    if (s->tokens > 0)
        write_count(out, s->tokens, "tokens");
    if (s->cost > 0)
        buf_format(out, s->cost < 0.1 ? "  $%.4f" : "  $%.2f", s->cost);
}

void progress_write(struct buf *out, const char *label, const struct progress_state *s, double rate,
                    const char *unit, size_t width) {
    struct buf line, figures;
    buf_init(&line, BUF_UNLIMITED);
    buf_init(&figures, BUF_UNLIMITED);
    write_figures(&figures, s, rate, unit);
    if (label != NULL && label[0] != '\0') {
        // A long name must not push the figures off a narrow line.
        terminal_write_cut(&line, label, width == 0 ? 0 : width / 4 < 8 ? 8 : width / 4);
        buf_text(&line, width == 0 ? ": " : "  ");
    }
    if (width > 0 && s->total > 0) {
        size_t used = text_width(buf_borrow(&line)) + text_width(buf_borrow(&figures));
        size_t room = width > used + 4 ? width - used - 4 : 0; // brackets and two blanks
        size_t bar = room < BAR_WIDEST ? room : BAR_WIDEST;
        if (bar >= BAR_NARROWEST) {
            int64_t done = s->done < 0 ? 0 : s->done > s->total ? s->total : s->done;
            size_t full = (size_t)((double)done / (double)s->total * (double)bar);
            buf_char(&line, '[');
            for (size_t i = 0; i < bar; i++)
                buf_char(&line, i < full ? '#' : '.');
            buf_text(&line, "]  ");
        }
    }
    buf_text(&line, buf_borrow(&figures));
    terminal_write_cut(out, buf_borrow(&line), width);
    buf_free(&figures);
    buf_free(&line);
}

// ---- on stderr ----

void progress_start(struct progress *p, FILE *out, bool quiet, const char *label, const char *unit) {
    *p = (struct progress){.out = out, .quiet = quiet, .unit = unit, .first_done = -1};
    p->label = mem_copy(label != NULL ? label : "");
    p->started_ms = clock_monotonic_ms();
    terminal_look(&p->terminal, fileno(out));
    const char *term = getenv("TERM");
    if (term == NULL || strcmp(term, "dumb") == 0) // no way to redraw a line
        p->terminal.present = false;
}

// Columns of a line that is redrawn. The last one stays free: some terminals would begin the next line.
static size_t bar_width(struct progress *p) {
    terminal_look(&p->terminal, fileno(p->out)); // it may have been resized
    return p->terminal.width > 1 ? p->terminal.width - 1 : 1;
}

static void print_bar(struct progress *p, const struct buf *line) {
    fprintf(p->out, "\r%s\x1b[K", buf_borrow(line));
    fflush(p->out);
    p->open = true;
}

static void print_plain(struct progress *p, const struct progress_state *s, double rate, const char *end) {
    struct buf line;
    buf_init(&line, BUF_UNLIMITED);
    progress_write(&line, p->label, s, rate, p->unit, 0);
    fprintf(p->out, "%s%s\n", buf_borrow(&line), end);
    fflush(p->out);
    buf_free(&line);
}

void progress_show(struct progress *p, const struct progress_state *s) {
    if (p->quiet)
        return;
    int64_t now = clock_monotonic_ms();
    if (p->first_done < 0)
        p->first_done = s->done;
    progress_rate_add(&p->rate, now, s->done);
    if (p->terminal.present) {
        struct buf line;
        buf_init(&line, BUF_UNLIMITED);
        progress_write(&line, p->label, s, progress_rate_get(&p->rate), p->unit, bar_width(p));
        print_bar(p, &line);
        buf_free(&line);
    } else if (now - (p->shown_ms != 0 ? p->shown_ms : p->started_ms) >= PLAIN_EVERY_MS) {
        print_plain(p, s, progress_rate_get(&p->rate), "");
        p->shown_ms = now;
    }
}

void progress_show_text(struct progress *p, const char *text) {
    if (p->quiet || !p->terminal.present)
        return;
    struct buf line;
    buf_init(&line, BUF_UNLIMITED);
    terminal_write_cut(&line, text, bar_width(p));
    print_bar(p, &line);
    buf_free(&line);
}

void progress_clear(struct progress *p) {
    if (!p->open)
        return;
    fputs("\r\x1b[K", p->out);
    fflush(p->out);
    p->open = false;
}

void progress_end(struct progress *p, const struct progress_state *s) {
    progress_clear(p);
    if (s != NULL && !p->quiet) {
        int64_t ms = clock_monotonic_ms() - p->started_ms;
        int64_t done = p->first_done >= 0 ? s->done - p->first_done : 0;
        struct buf took;
        buf_init(&took, BUF_UNLIMITED);
        buf_text(&took, "  in ");
        if (ms < 10000)
            buf_format(&took, "%.1fs", (double)ms / 1000.0);
        else
            write_duration(&took, ms);
        print_plain(p, s, ms > 0 && done > 0 ? (double)done * 1000.0 / (double)ms : 0, buf_borrow(&took));
        buf_free(&took);
    }
    free(p->label);
    p->label = NULL;
}
