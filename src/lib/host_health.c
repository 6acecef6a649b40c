// SPDX-License-Identifier: MIT
// Why a runner is not well, and the counts of the database, which must not hold up the loop.
#include "base/clock.h"
#include "lib/handle.h"
#include "lib/host.h"
#include <stdio.h>
#include <unistd.h>

#define STATS_KEPT_MS 1000   // one look serves all who ask meanwhile
#define STATS_LIMIT_MS 50    // a look takes no longer
#define STATS_AGAIN_MS 30000 // after one that would have

struct row *handle_stats(genrun *g) {
    struct row *row = NULL;
    struct err e;
    int64_t now_ms = clock_monotonic_ms();
    if (!g->db || now_ms < g->stats_ms)
        return g->stats;
    g->stats_ms = now_ms + STATS_KEPT_MS;
    db_limit(g->db, STATS_LIMIT_MS);
    int result = queue_stats(g->db, handle_runner_is_up(g), &row, &e);
    if (result && db_was_cut(g->db))
        g->stats_ms = now_ms + STATS_AGAIN_MS;
    db_limit(g->db, 0);
    // What was known before is better than nothing.
    if (result || !row)
        return g->stats;
    row_free(g->stats);
    g->stats = row;
    return row;
}

struct health {
    void (*each)(void *payload, const char *reason);
    void *payload;
};

static void __attribute__((format(printf, 2, 3))) tell(const struct health *h, const char *format, ...) {
    char reason[1200];
    va_list values;
    va_start(values, format);
    vsnprintf(reason, sizeof reason, format, values);
    va_end(values);
    h->each(h->payload, reason);
}

static void tell_trouble(genrun *g, const struct runner_view *view, const struct health *h) {
    long long seconds = (long long)view->trouble_ms / 1000;
    if (!view->trouble_is_lock) {
        tell(h, "the database cannot be written for %lld s (%s); %lld results are kept in memory", seconds,
             view->trouble, (long long)view->kept);
        return;
    }
    // A moment without the lock is normal.
    if (view->trouble_ms < g->config->scheduler.heartbeat_interval_ms)
        return;
    int64_t pid = db_writer(g->db);
    if (pid == getpid())
        tell(h, "the database cannot be written for %lld s: a long request of this process has it locked",
             seconds);
    else if (pid > 0)
        tell(h, "the database cannot be written for %lld s: the process with id %lld has it locked", seconds,
             (long long)pid);
    else
        tell(h, "the database cannot be written for %lld s: another process had it locked", seconds);
}

void host_health(genrun *g, void (*each)(void *payload, const char *reason), void *payload) {
    const struct health h = {each, payload};
    struct runner_view view;
    if (!g->runner) {
        tell(&h, "no runner is up");
        return;
    }
    runner_look(g->runner, &view);
    if (view.stopping)
        tell(&h, "the runner stops");
    if (view.left) {
        tell(&h, "the database was moved, deleted or replaced");
        return;
    }
    if (view.trouble_ms > 0)
        tell_trouble(g, &view, &h);
    if (view.stall_ms > 0)
        tell(&h, "the loop stood still for %lld.%lld s", (long long)view.stall_ms / 1000,
             (long long)view.stall_ms % 1000 / 100);
    const struct row *stats = handle_stats(g);
    int64_t violations = stats ? row_integer(stats, "violations", 0) : 0;
    if (violations > 0)
        tell(&h,
             "%lld generations will not come to an end by themselves: 'genrun job cleanup_stuck_generation' "
             "puts that right",
             (long long)violations);
}
