// SPDX-License-Identifier: MIT
// Terminals: what they can do, and what may be put on them.
#include "cli/terminal.h"
#include "base/mem.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NARROWEST 30 // columns that text is wrapped to; a narrower terminal breaks the lines itself

static size_t number_of_environment(const char *name) {
    const char *text = getenv(name);
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    unsigned long n = strtoul(text, NULL, 10);
    return n <= 100000 ? n : 0;
}

void terminal_look(struct terminal *t, int fd) {
    *t = (struct terminal){0};
    if (!isatty(fd))
        return;
    t->present = true;
    struct winsize size = {0};
    if (ioctl(fd, TIOCGWINSZ, &size) == 0) {
        t->width = size.ws_col;
        t->height = size.ws_row;
    }
    if (t->width == 0)
        t->width = number_of_environment("COLUMNS");
    if (t->height == 0)
        t->height = number_of_environment("LINES");
    if (t->width == 0)
        t->width = 80;
    if (t->height == 0)
        t->height = 24;
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
    // NO_COLOR counts when present and not empty (no-color.org).
    t->colour = (none == NULL || none[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

const char *terminal_style(const struct terminal *t, enum style style) {
    static const char *const sequences[] = {
        [STYLE_PLAIN] = "",        [STYLE_BOLD] = "\x1b[1m", [STYLE_DIM] = "\x1b[2m",
        [STYLE_GOOD] = "\x1b[32m", [STYLE_BAD] = "\x1b[31m", [STYLE_WARN] = "\x1b[33m",
        [STYLE_BUSY] = "\x1b[36m",
    };
    return t->colour ? sequences[style] : "";
}

const char *terminal_reset(const struct terminal *t, enum style style) {
    return t->colour && style != STYLE_PLAIN ? "\x1b[0m" : "";
}

enum style terminal_status_style(const char *status) {
    static const struct {
        const char *status;
        enum style style;
    } styles[] = {
        {"completed", STYLE_GOOD}, {"ok", STYLE_GOOD},         {"failed", STYLE_BAD},  {"stuck", STYLE_BAD},
        {"violations", STYLE_BAD}, {"processing", STYLE_BUSY}, {"parked", STYLE_WARN}, {"paused", STYLE_WARN},
        {"cooling", STYLE_WARN},   {"cancelled", STYLE_DIM},
    };
    for (size_t i = 0; status != NULL && i < sizeof styles / sizeof styles[0]; i++)
        if (strcmp(styles[i].status, status) == 0)
            return styles[i].style;
    return STYLE_PLAIN;
}

void terminal_write_lines(struct buf *out, const char *text, size_t length, const char *indent,
                          size_t lines) {
    size_t shown = 0;
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t n = end != NULL ? (size_t)(end - text) : length;
        size_t taken = end != NULL ? n + 1 : n;
        if (lines != 0 && shown == lines) {
            size_t more = 0;
            for (size_t i = 0; i < length; i++)
                more += text[i] == '\n';
            more += text[length - 1] != '\n';
            buf_format(out, "%s… %zu more line%s\n", indent, more, more == 1 ? "" : "s");
            return;
        }
        if (n > 0 && text[n - 1] == '\r')
            n--;
        buf_text(out, indent);
        text_escape(out, text, n, 0);
        buf_char(out, '\n');
        shown++;
        text += taken;
        length -= taken;
    }
}

void terminal_write_cut(struct buf *out, const char *text, size_t width) {
    struct buf escaped;
    buf_init(&escaped, BUF_UNLIMITED);
    // No more characters than columns can show, so that a huge prompt is not escaped whole.
    text_escape(&escaped, text, strlen(text), width == 0 ? 0 : 2 * width + 2);
    const char *s = buf_borrow(&escaped);
    if (width == 0 || text_width(s) <= width) {
        buf_text(out, s);
    } else {
        size_t used = 0, taken = 0;
        for (;;) {
            char character[5] = {0};
            size_t n = 0;
            do
                character[n] = s[taken + n];
            while (++n < 4 && ((unsigned char)s[taken + n] & 0xC0) == 0x80);
            size_t columns = text_width(character);
            if (used + columns > width - 1)
                break;
            used += columns;
            taken += n;
        }
        buf_append(out, s, taken);
        buf_text(out, "…");
    }
    buf_free(&escaped);
}

void terminal_write_wrapped(struct buf *out, const char *text, size_t indent, size_t width) {
    size_t used = 0, room = width > indent + NARROWEST ? width - indent : SIZE_MAX / 2;
    while (*text != '\0') {
        size_t length = strcspn(text, " \n");
        char *word = mem_copy_bytes(text, length);
        size_t columns = text_width(word);
        free(word);
        if (used > 0 && used + 1 + columns > room) {
            buf_format(out, "\n%*s", (int)indent, "");
            used = 0;
        } else if (used > 0) {
            buf_char(out, ' ');
            used++;
        }
        buf_append(out, text, length);
        used += columns;
        text += length + strspn(text + length, " \n");
    }
    buf_char(out, '\n');
}

void terminal_format_age(int64_t at, int64_t now, char *out, size_t size) {
    static const struct {
        int64_t seconds;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    if (at <= 0) {
        snprintf(out, size, "-");
        return;
    }
    int64_t seconds = (now - at) / 1000;
    if (seconds < 1) {
        snprintf(out, size, "now");
        return;
    }
    size_t i = 0;
    // Two of a unit before it is used: 90s tells more than 1m.
    while (units[i].seconds > 1 && seconds < 2 * units[i].seconds)
        i++;
    snprintf(out, size, "%lld%c", (long long)(seconds / units[i].seconds), units[i].unit);
}

void terminal_format_time(int64_t at, char *out, size_t size) {
    struct tm tm;
    time_t seconds = (time_t)(at / 1000);
    if (at <= 0 || localtime_r(&seconds, &tm) == NULL || strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, size, "-");
}

void terminal_format_count(int64_t count, char *out, size_t size) {
    static const char units[] = "kMGTPE";
    if (count > -1000 && count < 1000) {
        snprintf(out, size, "%lld", (long long)count);
        return;
    }
    double n = (double)count;
    size_t i = 0;
    // 999.95 would be printed as 1000.0.
    for (n /= 1000; (n >= 999.95 || n <= -999.95) && i + 2 < sizeof units; i++)
        n /= 1000;
    snprintf(out, size, "%.1f%c", n, units[i]);
}
