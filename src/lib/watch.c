// SPDX-License-Identifier: MIT
// Descriptors of a host's own on the loop of a handle.
#include "base/mem.h"
#include "lib/handle.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct watched {
    struct watched *next;
    int fd;
    struct loop_watch *watch;
    genrun_ready ready;
    void *payload;
};

static struct watched **find(genrun *g, int fd) {
    struct watched **at = &g->watched;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    return at;
}

// The entry may be gone, or be another one, when the callback returns.
static void on_ready(void *payload, int fd, short ready) {
    const struct watched *w = payload;
    w->ready(w->payload, fd, ready);
}

static void drop(genrun *g, struct watched **at) {
    struct watched *w = *at;
    *at = w->next;
    loop_watch_remove(g->loop, w->watch);
    free(w);
}

void handle_watch_none(genrun *g) {
    while (g->watched)
        drop(g, &g->watched);
}

int genrun_watch(genrun *g, int fd, short events, genrun_ready ready, void *payload) {
    struct watched **at = find(g, fd);
    if (events == 0) {
        if (*at)
            drop(g, at);
        return 0;
    }
    if (!ready)
        return err_set(&g->err, ERR_INVALID, "there is no function to call for descriptor %d: give one", fd);
    if (fcntl(fd, F_GETFD) < 0)
        return err_set(&g->err, ERR_INVALID, "descriptor %d cannot be watched (%s): give an open one", fd,
                       strerror(errno));
    int result = handle_loop(g);
    if (result)
        return handle_result(g, result);
    if (!*at) {
        *at = mem_alloc(1, sizeof **at);
        **at = (struct watched){.fd = fd};
        (*at)->watch = loop_watch_add(g->loop, fd, events, on_ready, *at);
    }
    (*at)->ready = ready;
    (*at)->payload = payload;
    loop_watch_change(g->loop, (*at)->watch, events);
    return 0;
}
