// SPDX-License-Identifier: MIT
#include "lib/event_name.h"
#include "base/text.h"
#include <string.h>

// Of all that is written into the log (tests/house/events.py compares), and batch.expired, which only OpenAI's format has.
// What begins with webhook. is left out: it is never sent.
static const char *const names[] = {
    "alert.failure_rate",   "alert.failure_rate_over",
    "alert.reader_behind",  "alert.reader_behind_over",
    "alert.stuck",          "alert.stuck_over",
    "batch.cancelled",      "batch.completed",
    "batch.created",        "batch.expired",
    "batch.failed",         "batch.paused",
    "batch.processing",     "batch.queued",
    "batch.refused",        "batch.reopened",
    "batch.repaired",       "batch.resumed",
    "batch.stopped",        "generation.cancelled",
    "generation.changed",   "generation.completed",
    "generation.dismissed", "generation.dropped",
    "generation.due",       "generation.failed",
    "generation.parked",    "generation.processing",
    "generation.queued",    "generation.recovered",
    "generation.retrying",  "generation.undismissed",
    "http.denied",          "job.completed",
    "job.failed",           "key.added",
    "key.revoked",          "lane.repaired",
    "lock.acquired",        "lock.expired",
    "lock.released",        "model.cooling",
    "model.parked",         "model.resumed",
    "order.applied",        "order.refused",
    "process.killed",       "process.survived",
    "runner.clock_jumped",  "runner.started",
    "runner.stopped",       "sync.failed",
    "sync.offline",         "sync.online",
    "sync.refused",         "sync.restored",
    "sync.resumed",         "totals.repaired",
};
#define COUNT (sizeof names / sizeof *names)

static bool is_open(const char *pattern) {
    size_t length = strlen(pattern);
    return length > 0 && strchr("*.", pattern[length - 1]) != NULL;
}

bool event_name_is_known(const char *pattern) {
    size_t fixed = strcspn(pattern, "*");
    for (size_t i = 0; i < COUNT; i++)
        if (is_open(pattern) ? strncmp(pattern, names[i], fixed) == 0 : strcmp(pattern, names[i]) == 0)
            return true;
    return false;
}

const char *event_name_nearest(const char *pattern) {
    return is_open(pattern) ? NULL : text_nearest(pattern, names, COUNT);
}
