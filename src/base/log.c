// SPDX-License-Identifier: MIT
// The program's messages. Each is built whole and handed to one write(2), so
// lines of several processes on one stderr never mix. The settings are the only
// state; they are set once, before anything else runs.
#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_RAW_SIZE 4096 // of one message; what is longer is cut
#define ELLIPSIS "\xE2\x80\xA6"

static struct {
    enum log_level level;
    bool as_json;
    bool to_journal;
} settings = {.level = LOG_LEVEL_WARN};

static const struct {
    const char *name;
    const char *journal; // sd-daemon(3): the priority in front of a line
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "<3>"},
    [LOG_LEVEL_WARN] = {"warn", "<4>"},
    [LOG_LEVEL_INFO] = {"info", "<6>"},
    [LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

// systemd.exec(5): JOURNAL_STREAM holds device and inode of the stream that is the journal.
static bool stderr_is_journal(void) {
    const char *text = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    int end = 0;
    struct stat st;
    return text && sscanf(text, "%" SCNuMAX ":%" SCNuMAX "%n", &device, &inode, &end) == 2 &&
           text[end] == 0 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_setup(enum log_level level, bool as_json) {
    settings.level = level;
    settings.as_json = as_json;
    settings.to_journal = stderr_is_journal();
}

bool log_is_on(enum log_level level) {
    return level <= settings.level;
}

static void log_write(const char *line, size_t length) {
    ssize_t n;
    do {
        n = write(STDERR_FILENO, line, length);
    } while (n < 0 && errno == EINTR);
    // a stderr that is closed or full must not stop the work: the message is lost
}

// Ends a message that filled the array in "…", after a whole character; returns its length.
static size_t cut(char raw[LOG_RAW_SIZE]) {
    size_t length = LOG_RAW_SIZE - sizeof ELLIPSIS;
    while (length && (raw[length] & 0xC0) == 0x80) { // in the middle of one
        length--;
    }
    memcpy(raw + length, ELLIPSIS, sizeof ELLIPSIS);
    return length + sizeof ELLIPSIS - 1;
}

static void log_line(enum log_level level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void log_line(enum log_level level, const char *format, va_list args) {
    int saved_errno = errno; // so that logging a failure does not change it
    char raw[LOG_RAW_SIZE], at[CLOCK_ISO_SIZE];
    int n = vsnprintf(raw, sizeof raw, format, args);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof raw ? (size_t)n : cut(raw);
    struct buf line;
    buf_init(&line, BUF_UNLIMITED);
    clock_format_iso(clock_wall_at(), at);
    if (settings.to_journal) {
        buf_text(&line, levels[level].journal);
    }
    if (settings.as_json) {
        buf_char(&line, '{');
        json_write_member_text(&line, "time", at);
        json_write_member_text(&line, "level", levels[level].name);
        json_write_key(&line, "message");
        json_write_bytes(&line, raw, length);
        buf_char(&line, '}');
    } else {
        if (!settings.to_journal) { // the journal keeps the time itself
            buf_format(&line, "%s ", at);
        }
        buf_format(&line, "%s: ", levels[level].name);
        text_escape(&line, raw, length, 0);
    }
    buf_char(&line, '\n');
    log_write(line.data, line.length);
    buf_free(&line);
    errno = saved_errno;
}

#define LOG_AT(level, format)                                                                                \
    do {                                                                                                     \
        if (log_is_on(level)) {                                                                              \
            va_list args;                                                                                    \
            va_start(args, format);                                                                          \
            log_line(level, format, args);                                                                   \
            va_end(args);                                                                                    \
        }                                                                                                    \
    } while (0)

void log_error(const char *format, ...) {
    LOG_AT(LOG_LEVEL_ERROR, format);
}

void log_warn(const char *format, ...) {
    LOG_AT(LOG_LEVEL_WARN, format);
}

void log_info(const char *format, ...) {
    LOG_AT(LOG_LEVEL_INFO, format);
}

void log_debug(const char *format, ...) {
    LOG_AT(LOG_LEVEL_DEBUG, format);
}
