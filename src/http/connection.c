// SPDX-License-Identifier: MIT
// Connections and their clocks. The library's own timeout begins anew with every
// byte, so one byte a second would hold a connection for ever: here each phase of a
// connection has an end of its own, and bodies have a least speed.
#include "base/mem.h"
#include "http/state.h"
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define HEAD_MS 10000        // for the head of the first request
#define GRACE_MS 30000       // of a body and of an answer, beside the least speed, at most
#define LEAST_BYTES_A_S 1024 // mobile lines are faster
#define STOP_MS 1000         // a stream may stand still for so long during a stop
#define IDLE_CUT 8           // connections that have been served, cut at once when the limit is reached
#define LEFT_AT_ONCE 64      // of those that left, in one look
#define UNUSED_MS 500        // then, those that have sent no request for so long are cut, too

struct connection *connection_add(struct server *s, struct MHD_Connection *mhd) {
    struct connection *c = mem_alloc(1, sizeof *c);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    c->server = s;
    c->mhd = mhd;
    c->fd = info ? info->connect_fd : -1;
    c->next = s->connections;
    c->back = &s->connections;
    if (c->next)
        c->next->back = &c->next;
    s->connections = c;
    s->connection_count++;
    // Without it a client that leaves is noticed by the next ping, or at the end of its wait.
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = c};
    (void)epoll_ctl(s->left_fd, EPOLL_CTL_ADD, c->fd, &event);
    return c;
}

void connection_remove(struct connection *c) {
    (void)epoll_ctl(c->server->left_fd, EPOLL_CTL_DEL, c->fd, NULL);
    *c->back = c->next;
    if (c->next)
        c->next->back = c->back;
    c->server->connection_count--;
    free(c);
}

void connection_phase(struct connection *c, enum phase phase, int64_t now_ms) {
    c->served |= c->phase == PHASE_SEND && phase == PHASE_HEAD;
    c->phase = phase;
    c->since_ms = now_ms;
    c->bytes = 0;
}

static int64_t deadline_ms(const struct connection *c) {
    switch (c->phase) {
    case PHASE_HEAD:
        return c->since_ms + (c->served || c->server->idle_ms < HEAD_MS ? c->server->idle_ms : HEAD_MS);
    case PHASE_BODY:
    case PHASE_SEND:
        return c->since_ms + (c->server->idle_ms < GRACE_MS ? c->server->idle_ms : GRACE_MS) +
               c->bytes * 1000 / LEAST_BYTES_A_S;
    case PHASE_WORK:
        break;
    }
    return INT64_MAX;
}

// The library hears of a client's end only with bytes that come behind what it has read.
static bool has_left(const struct connection *c) {
    char byte;
    return c->phase == PHASE_BODY && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void connection_take_left(struct server *s) {
    struct epoll_event events[LEFT_AT_ONCE];
    int count = epoll_wait(s->left_fd, events, LEFT_AT_ONCE, 0);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        c->left = true;
        if (c->exchange)
            dispatch_left(c->exchange);
    }
}

static void cut(struct connection *c) {
    c->cut = true;
    c->server->cut_count++;
    shutdown(c->fd, SHUT_RDWR);
}

// Whoever keeps connections without using them must not keep others out.
static void cut_idle(struct server *s, int64_t now_ms) {
    bool any = false;
    for (struct connection *c = s->connections; c; c = c->next)
        if (c->phase == PHASE_HEAD && !c->served && !c->cut && now_ms - c->since_ms >= UNUSED_MS) {
            cut(c);
            any = true;
        }
    for (int i = 0; i < IDLE_CUT && !any; i++) {
        struct connection *oldest = NULL;
        for (struct connection *c = s->connections; c; c = c->next)
            if (c->phase == PHASE_HEAD && !c->cut && (!oldest || c->since_ms < oldest->since_ms))
                oldest = c;
        if (!oldest)
            return;
        cut(oldest);
    }
}

// A stop sends what is committed first; but it does not wait for clients that take nothing.
static void cut_streams(struct server *s, int64_t now_ms) {
    for (struct exchange *x = s->exchanges; x; x = x->next)
        if (x->streaming && !x->suspended && !x->connection->cut && now_ms - s->stopping_ms >= STOP_MS &&
            now_ms - x->sent_ms >= STOP_MS)
            cut(x->connection);
}

void connection_drop_halves(struct server *s) {
    for (struct connection *c = s->connections; c; c = c->next) {
        struct exchange *x = c->exchange;
        if (c->phase != PHASE_BODY || c->cut || !x || x->stage != STAGE_BODY)
            continue;
        exchange_forget_answer(x);
        exchange_error(x, 503, NULL, "stopping", NULL, "the server stops: send it again in a moment");
        send_now(x);
        cut(c);
    }
}

void connection_cut_slow(struct server *s, int64_t now_ms) {
    for (struct connection *c = s->connections; c; c = c->next)
        if (!c->cut && (now_ms >= deadline_ms(c) || has_left(c)))
            cut(c);
    if (s->stopping) {
        connection_drop_halves(s);
        cut_streams(s, now_ms);
    }
    if (s->connection_count >= s->connection_limit)
        cut_idle(s, now_ms);
}
