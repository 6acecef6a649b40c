// SPDX-License-Identifier: MIT
// Watched descriptors, and the one wait of a pass. Without transfers it is plain
// poll(2). With transfers it is curl_multi_poll with the watches as extra_fds;
// libcurl hands back only IN, OUT and PRI, never HUP or ERR (a closed pipe would
// wake it for ever and tell nobody), so what is ready is asked once more of poll(2).
#include "loop/state.h"

#include "base/mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct loop_watch *loop_watch_add(struct loop *loop, int fd, short events, loop_ready on_ready,
                                  void *payload) {
    struct loop_watch *watch = mem_alloc(1, sizeof *watch);
    watch->fd = fd;
    watch->events = events;
    watch->on_ready = on_ready;
    watch->payload = payload;
    if (loop->watch_count == loop->watch_capacity) {
        loop->watch_capacity = loop->watch_capacity ? loop->watch_capacity * 2 : 8;
        loop->watches = mem_resize(loop->watches, loop->watch_capacity, sizeof *loop->watches);
    }
    loop->watches[loop->watch_count++] = watch;
    return watch;
}

void loop_watch_change(struct loop *loop, struct loop_watch *watch, short events) {
    (void)loop;
    watch->events = events;
}

void loop_watch_remove(struct loop *loop, struct loop_watch *watch) {
    if (!watch)
        return;
    // Only marked here: the pass under way may still hold it.
    watch->removed = true;
    loop->watches_dirty = true;
    if (!loop->in_pass)
        loop_watches_sweep(loop);
}

void loop_watches_sweep(struct loop *loop) {
    if (!loop->watches_dirty)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < loop->watch_count; i++) {
        if (loop->watches[i]->removed)
            free(loop->watches[i]);
        else
            loop->watches[kept++] = loop->watches[i];
    }
    loop->watch_count = kept;
    loop->watches_dirty = false;
    loop->polled_count = 0;
}

void loop_watches_close(struct loop *loop) {
    for (size_t i = 0; i < loop->watch_count; i++)
        free(loop->watches[i]);
    free(loop->watches);
    free(loop->polls);
    free(loop->waits);
    free(loop->polled);
}

static void prepare(struct loop *loop) {
    if (loop->poll_capacity < loop->watch_count) {
        loop->poll_capacity = loop->watch_capacity;
        loop->polls = mem_resize(loop->polls, loop->poll_capacity, sizeof *loop->polls);
        loop->waits = mem_resize(loop->waits, loop->poll_capacity, sizeof *loop->waits);
        loop->polled = mem_resize(loop->polled, loop->poll_capacity, sizeof *loop->polled);
    }
    loop->polled_count = loop->watch_count;
    for (size_t i = 0; i < loop->watch_count; i++) {
        struct loop_watch *watch = loop->watches[i];
        short events = 0;
        if (watch->events & POLLIN)
            events |= CURL_WAIT_POLLIN;
        if (watch->events & POLLPRI)
            events |= CURL_WAIT_POLLPRI;
        if (watch->events & POLLOUT)
            events |= CURL_WAIT_POLLOUT;
        loop->polled[i] = watch;
        loop->polls[i] = (struct pollfd){.fd = watch->fd, .events = watch->events};
        loop->waits[i] = (struct curl_waitfd){.fd = watch->fd, .events = events};
    }
}

int loop_watches_poll(struct loop *loop, int timeout_ms, struct err *e) {
    prepare(loop);
    if (loop_transfer_count(loop)) {
        int ready = 0;
        CURLMcode code =
            curl_multi_poll(loop->multi, loop->waits, (unsigned)loop->polled_count, timeout_ms, &ready);
        if (code)
            return err_set(e, ERR_REMOTE, "cannot wait for transfers: %s", curl_multi_strerror(code));
        if (ready == 0) {
            loop->polled_count = 0;
            return 0;
        }
        timeout_ms = 0;
    }
    int count = poll(loop->polls, loop->polled_count, timeout_ms);
    if (count < 0 && errno != EINTR && errno != EAGAIN)
        return err_set(e, ERR_REMOTE, "cannot wait for descriptors (%s): raise the limit on open files",
                       strerror(errno));
    if (count <= 0)
        loop->polled_count = 0;
    return 0;
}

void loop_watches_run(struct loop *loop) {
    for (size_t i = 0; i < loop->polled_count; i++) {
        struct loop_watch *watch = loop->polled[i];
        short ready = loop->polls[i].revents;
        // What an earlier callback no longer wants to hear is left out.
        ready &= (short)(watch->events | POLLHUP | POLLERR | POLLNVAL);
        if (ready && !watch->removed)
            watch->on_ready(watch->payload, watch->fd, ready);
    }
    loop->polled_count = 0;
}
