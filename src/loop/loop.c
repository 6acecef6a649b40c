// SPDX-License-Identifier: MIT
// The loop's life, one pass of it, and waking it.
#include "loop/state.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/child.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void drain_wake(void *payload, int fd, short ready) {
    (void)payload, (void)ready;
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

int loop_open(struct loop **out, struct err *e) {
    struct loop *loop = mem_alloc(1, sizeof *loop);
    loop->tasks_end = &loop->tasks;
    loop->timers_now_ms = -1;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc;
    if (loop->wake_fd < 0) {
        rc = err_set(e, ERR_REMOTE, "cannot make an eventfd (%s): raise the limit on open files",
                     strerror(errno));
        goto out;
    }
    loop->wake_watch = loop_watch_add(loop, loop->wake_fd, POLLIN, drain_wake, NULL);
    rc = loop_transfers_open(loop, e);
out:
    if (rc) {
        loop_close(loop);
        loop = NULL;
    }
    *out = loop;
    return rc;
}

void loop_close(struct loop *loop) {
    if (!loop)
        return;
    child_end_all(loop);
    loop_signals_end(loop);
    loop_transfers_close(loop);
    loop_watches_close(loop);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    free(loop->timers);
    free(loop);
}

// The time to wait: the caller's limit, cut by the next timer and by waiting tasks.
static int wait_time(const struct loop *loop, int64_t timeout_ms) {
    if (loop->tasks)
        return 0;
    int64_t due_ms = loop_timers_next_ms(loop);
    if (due_ms >= 0) {
        int64_t now_ms = clock_monotonic_ms();
        int64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
        if (timeout_ms < 0 || left_ms < timeout_ms)
            timeout_ms = left_ms;
    }
    return timeout_ms < 0 || timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms;
}

int loop_wait(struct loop *loop, int64_t timeout_ms, struct err *e) {
    if (loop->in_pass)
        return err_set(e, ERR_CONFLICT,
                       "the loop was asked to wait inside one of its callbacks: return first");
    loop->in_pass = true;
    int rc = loop_watches_poll(loop, wait_time(loop, timeout_ms), e);
    loop->woke_us = clock_monotonic_us();
    if (!rc)
        rc = loop_transfers_run(loop, e);
    if (!rc) {
        loop_watches_run(loop);
        loop_timers_run(loop);
        loop_tasks_run(loop);
    }
    loop->in_pass = false;
    loop_watches_sweep(loop);
    return rc;
}

int64_t loop_woke_us(const struct loop *loop) {
    return loop->woke_us;
}

void loop_wake(struct loop *loop) {
    int saved = errno;
    uint64_t one = 1;
    // A full counter (EAGAIN) wakes just as well.
    while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    errno = saved;
}
