// SPDX-License-Identifier: MIT
// A watch on the write-ahead log, and when to look again.
#include "run/wake.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

// A writer's last write to the log comes before its fsync, and the commit shows after it without a further
// notice: 1, 4, 16, 64 and 250 ms later it has shown on any disk that is not in trouble.
static const int64_t ask_after_ms[] = {0, 1, 4, 16, 64, 250};
#define ASKS (sizeof ask_after_ms / sizeof *ask_after_ms)

struct wake {
    struct db *db;
    struct loop *loop;
    struct loop_watch *watch;
    int fd;
    int64_t noticed_ms;
    size_t asked; // how many of ask_after_ms are done
    int64_t version;
};

static void on_notice(void *payload, int fd, short ready) {
    struct wake *wake = payload;
    char events[4096];
    (void)ready;
    while (read(fd, events, sizeof events) > 0)
        ;
    wake->noticed_ms = clock_monotonic_ms();
    wake->asked = 0;
}

struct wake *wake_open(struct db *db, struct loop *loop) {
    struct wake *wake = mem_alloc(1, sizeof *wake);
    const char *log = db_log_path(db);
    *wake = (struct wake){.db = db, .loop = loop, .asked = ASKS, .version = db_data_version(db)};
    wake->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (wake->fd >= 0 && inotify_add_watch(wake->fd, log, IN_MODIFY | IN_CLOSE_WRITE) >= 0)
        wake->watch = loop_watch_add(loop, wake->fd, POLLIN, on_notice, wake);
    else
        log_warn("%s cannot be watched (%s): what other processes write is seen at the next poll", log,
                 strerror(errno));
    // A move or a deletion ends the wait; the turn sees it.
    if (wake->watch)
        (void)inotify_add_watch(wake->fd, db_path(db), IN_MOVE_SELF | IN_ATTRIB);
    return wake;
}

void wake_close(struct wake *wake) {
    if (!wake)
        return;
    loop_watch_remove(wake->loop, wake->watch);
    if (wake->fd >= 0)
        close(wake->fd);
    free(wake);
}

int64_t wake_due_ms(const struct wake *wake) {
    return wake->asked < ASKS ? wake->noticed_ms + ask_after_ms[wake->asked] : INT64_MAX;
}

bool wake_has_changed(struct wake *wake, int64_t now_ms) {
    while (wake->asked < ASKS && wake->noticed_ms + ask_after_ms[wake->asked] <= now_ms)
        wake->asked++;
    int64_t version = db_data_version(wake->db);
    if (version < 0 || version == wake->version)
        return false;
    wake->version = version;
    return true;
}
