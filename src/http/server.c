// SPDX-License-Identifier: MIT
// The library under the server is driven from outside: its epoll descriptor is watched
// by the runner's loop, and it is run when that is ready, when an exchange that was
// suspended goes on (which wakes nothing by itself), and once a second while there are
// connections.
#include "http/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/live.h"
#include "http/state.h"
#include "http/worker.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HEAD_BYTES 32768 // for request line, headers and buffers of a connection; a larger head: 431
#define TICK_MS 1000
#define FULL_TICK_MS 200                  // when there are as many connections as may be
#define DISCARD_BEYOND (INT64_C(1) << 20) // of a body that is too large, until the connection is closed
#define LOOK_MS 20 // between two times that streams and those that wait are told of commits
#define PUMPS 64   // passes in a row while there is more to do

static void pump(struct server *s);

// ---- timer ----

static void arm(struct server *s) {
    if (s->timing || (s->connection_count == 0 && !s->stopping))
        return;
    s->timing = true;
    host_timer_set(s->timer, s->connection_count < s->connection_limit ? TICK_MS : FULL_TICK_MS);
}

static void on_tick(void *payload) {
    struct server *s = payload;
    s->timing = false;
    connection_cut_slow(s, clock_monotonic_ms());
    dispatch_committed(s);
    pump(s);
    arm(s);
}

// ---- the library's calls ----

static void on_connection(void *payload, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
    struct server *s = payload;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct connection *c = connection_add(s, mhd);
        connection_phase(c, PHASE_HEAD, clock_monotonic_ms());
        *socket_context = c;
        arm(s);
    } else if (*socket_context) {
        // At the limit the library listens no more, and only its next run listens again.
        s->pump_again |= s->connection_count == s->connection_limit;
        connection_remove(*socket_context);
        *socket_context = NULL;
    }
}

static struct connection *connection_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static char *remote_of(struct MHD_Connection *mhd) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    address_write(&text, info ? info->client_addr : NULL, false);
    return buf_take(&text);
}

// The request line as it came, before the library decodes it.
static void *on_target(void *payload, const char *target, struct MHD_Connection *mhd) {
    struct connection *c = connection_of(mhd);
    return c ? exchange_new(payload, c, target) : NULL;
}

static enum MHD_Result go_on(struct exchange *x) {
    switch (x->stage) {
    case STAGE_ANSWER:
        return x->streaming ? send_stream(x) : send_answer(x);
    case STAGE_WORK:
        connection_phase(x->connection, PHASE_WORK, clock_monotonic_ms());
        x->suspended = true;
        MHD_suspend_connection(x->connection->mhd);
        return MHD_YES;
    case STAGE_NEW:
    case STAGE_BODY:
    case STAGE_SENT:
        break;
    }
    return MHD_YES;
}

static enum MHD_Result on_request(void *payload, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *bytes, size_t *length,
                                  void **context) {
    struct exchange *x = *context;
    (void)payload;
    (void)mhd;
    (void)url;
    if (!x)
        return MHD_NO;
    if (x->stage == STAGE_NEW) {
        x->remote = remote_of(mhd);
        exchange_set_method(x, method);
        x->is_old = strcmp(version, "HTTP/1.0") == 0;
        connection_phase(x->connection, PHASE_BODY, clock_monotonic_ms());
        dispatch_head(x);
        return go_on(x);
    }
    if (*length > 0) {
        if (x->stage == STAGE_BODY) {
            x->connection->bytes += (int64_t)*length;
            dispatch_bytes(x, bytes, *length);
        }
        *length = 0;
        // Too much even to be thrown away.
        return x->received > dispatch_readable(x) + DISCARD_BEYOND ? MHD_NO : MHD_YES;
    }
    if (x->stage == STAGE_BODY)
        dispatch_end(x);
    return go_on(x);
}

static void on_completed(void *payload, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code) {
    struct exchange *x = *context;
    (void)payload;
    (void)mhd;
    (void)code;
    if (!x)
        return;
    *context = NULL;
    connection_phase(x->connection, PHASE_HEAD, clock_monotonic_ms());
    x->connection->served = true;
    exchange_free(x);
}

static void on_message(void *payload, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void on_message(void *payload, const char *format, va_list args) {
    char message[256];
    (void)payload;
    vsnprintf(message, sizeof message, format, args);
    log_debug("libmicrohttpd: %s", text_trim(message));
}

// ---- running it ----

static void pump(struct server *s) {
    MHD_UNSIGNED_LONG_LONG wait_ms;
    if (!s->daemon)
        return;
    for (int i = 0; i < PUMPS; i++) {
        s->pump_again = false;
        MHD_run(s->daemon);
        bool pending = MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES && wait_ms == 0;
        if (!pending && !s->pump_again)
            return;
    }
    s->pump_again = true; // the rest in the next turn, so that the loop goes on meanwhile
    host_timer_set(s->again, 0);
}

static void on_again(void *payload) {
    pump(payload);
}

static void on_ready(void *payload, int fd, short events) {
    (void)fd;
    (void)events;
    pump(payload);
}

static void on_left(void *payload, int fd, short events) {
    (void)fd;
    (void)events;
    connection_take_left(payload);
}

void server_resume(struct exchange *x) {
    if (!x->suspended)
        return;
    x->suspended = false;
    x->server->pump_again = true;
    MHD_resume_connection(x->connection->mhd);
}

// ---- the runner's turns ----

static void wake_streams(void *payload) {
    struct server *s = payload;
    for (struct exchange *x = s->exchanges; x; x = x->next)
        if (x->streaming && x->suspended)
            server_resume(x);
}

// A stream may go on for days: it ends with its key.
static void end_revoked(struct server *s) {
    if (s->stream_count == 0 || !auth_has_revoked(s->auth, s->g))
        return;
    for (struct exchange *x = s->exchanges; x; x = x->next)
        if (x->streaming && !auth_is_good(s->g, &x->who)) {
            x->stream_ended = true;
            server_resume(x);
        }
}

static void on_look(void *payload) {
    struct server *s = payload;
    end_revoked(s);
    s->looked_ms = clock_monotonic_ms();
    s->look_set = false;
    dispatch_committed(s);
}

// At full load commits come by the thousand a second: those that wait are told together, and so are streams.
static void on_commit(void *payload) {
    struct server *s = payload;
    int64_t left_ms = s->looked_ms + LOOK_MS - clock_monotonic_ms();
    live_commit(s->live);
    if (left_ms <= 0)
        on_look(s);
    else if (!s->look_set)
        host_timer_set(s->look, left_ms);
    s->look_set |= left_ms > 0;
}

static void on_turn(void *payload) {
    struct server *s = payload;
    if (s->pump_again)
        pump(s);
}

static void on_stopping(void *payload) {
    struct server *s = payload;
    if (!s->daemon || s->stopping)
        return;
    s->stopping = true;
    s->stopping_ms = clock_monotonic_ms();
    int fd = MHD_quiesce_daemon(s->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    dispatch_committed(s);
    live_stop(s->live);
    pump(s); // what has come as a whole is answered
    connection_drop_halves(s);
    pump(s);
    arm(s);
}

static bool is_done(void *payload) {
    const struct server *s = payload;
    if (!s->stopping)
        return true;
    for (const struct connection *c = s->connections; c; c = c->next)
        if (c->phase != PHASE_HEAD && !c->cut)
            return false;
    return true;
}

// The library ends the process when it is stopped with a suspended connection.
static void resume_all(struct server *s) {
    for (struct exchange *x = s->exchanges; x; x = x->next) {
        host_write_cancel(s->g, &x->write);
        if (!x->suspended)
            continue;
        if (!x->streaming && !x->answer.status) {
            exchange_error(x, 503, NULL, "stopping", NULL, "the server stops: ask again when it is back");
            x->check = NULL;
        }
        x->stage = x->stage == STAGE_WORK ? STAGE_ANSWER : x->stage;
        x->stream_ended = true;
        server_resume(x);
    }
}

static void on_down(void *payload) {
    struct server *s = payload;
    // First the threads: what they are at uses its exchange.
    worker_close(s->worker);
    s->worker = NULL;
    if (s->daemon) {
        s->stopping = true;
        resume_all(s);
        pump(s);
        genrun_watch(s->g, s->epoll_fd, 0, NULL, NULL);
        genrun_watch(s->g, s->left_fd, 0, NULL, NULL);
        MHD_stop_daemon(s->daemon);
        s->daemon = NULL;
    }
    live_free(s->live);
    s->live = NULL;
    host_timer_clear(s->timer);
    host_timer_clear(s->again);
    host_timer_clear(s->look);
}

static int on_up(void *payload) {
    struct server *s = payload;
    struct err e;
    if (worker_open(&s->worker, s->g, dispatch_done, &e))
        return host_fail(s->g, (int)e.code, "%s", e.message);
    s->live = live_new(s->g, wake_streams, s);
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s,
        MHD_OPTION_EXTERNAL_LOGGER, on_message, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_BYTES,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->connection_limit, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(s->idle_ms / 1000 + 1), MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        s->daemon ? MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info || genrun_watch(s->g, info->epoll_fd, POLLIN, on_ready, s) ||
        genrun_watch(s->g, s->left_fd, POLLIN, on_left, s)) {
        on_down(s);
        return host_fail(s->g, GENRUN_CONFIG,
                         "the HTTP server does not start: raise the limit on open files");
    }
    s->epoll_fd = info->epoll_fd;
    s->listen_fd = -1; // the daemon's
    auth_begin(s->auth, s->g, &s->address);
    log_info("HTTP on http://%s:%u", s->address.host, (unsigned)s->address.port);
    dispatch_up(s);
    return GENRUN_OK;
}

// ---- opening ----

int server_open(struct server **out, genrun *g, const struct config *config, const char *listen,
                struct err *e) {
    struct server *s = mem_alloc(1, sizeof *s);
    *out = s;
    s->g = g;
    s->listen_fd = -1;
    s->left_fd = epoll_create1(EPOLL_CLOEXEC);
    s->data_dir = mem_copy(config->data_dir);
    s->base_url = mem_copy(config->http.base_url);
    s->cors_origins = config->http.cors_origins;
    s->max_body = (int64_t)config->http.max_body;
    s->idle_ms = config->http.idle_timeout_ms;
    s->connection_limit = config->http.max_connections;
    s->stream_limit = config->http.max_streams;
    s->timer = host_timer_new(g, on_tick, s);
    s->again = host_timer_new(g, on_again, s);
    s->look = host_timer_new(g, on_look, s);
    s->hooks = (struct host_hooks){.on_up = on_up,
                                   .on_commit = on_commit,
                                   .on_turn = on_turn,
                                   .on_stopping = on_stopping,
                                   .is_done = is_done,
                                   .on_down = on_down,
                                   .payload = s};
    int result = listen_parse(listen ? listen : config->http.listen, &s->address, e);
    if (!result)
        result = auth_open(&s->auth, g, config, &s->address, e);
    if (!result) {
        s->listen_fd = listen_open(&s->address, e);
        result = s->listen_fd < 0 ? ERR_CONFIG : 0;
    }
    if (result) {
        server_close(s);
        *out = NULL;
    }
    return result;
}

const struct host_hooks *server_hooks(struct server *s) {
    return &s->hooks;
}

void server_close(struct server *s) {
    if (!s)
        return;
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->left_fd >= 0)
        close(s->left_fd);
    host_timer_free(s->timer);
    host_timer_free(s->again);
    host_timer_free(s->look);
    auth_close(s->auth);
    free(s->data_dir);
    free(s->base_url);
    free(s);
}

const char *server_library(void) {
    return MHD_get_version();
}

// ---- numbers ----

void server_numbers(const struct exchange *x, struct server_numbers *out) {
    const struct server *s = x->server;
    *out = (struct server_numbers){.connections = s->connection_count,
                                   .streams = s->stream_count,
                                   .waiting = s->waiting_count,
                                   .busy = worker_busy(s->worker),
                                   .cut = s->cut_count};
}

const struct server_use *server_use(const struct exchange *x, size_t index) {
    return &x->server->use[index < ROUTES_MAXIMUM ? index : ROUTES_MAXIMUM - 1];
}
