// SPDX-License-Identifier: MIT
// Writes, timers and further handles for the faces.
#include "lib/host.h"
#include "base/clock.h"
#include "base/mem.h"
#include "lib/handle.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NO_RUNNER "no runner is up here: try again when one is"

int host_fail(genrun *g, int code, const char *format, ...) {
    char message[sizeof g->err.message];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    return err_set(&g->err, (enum err_code)code, "%s", message);
}

const char *host_field(const genrun *g) {
    return g->err.field;
}

// ---- writes ----

void host_write(genrun *g, struct host_write *w) {
    if (g->runner)
        runner_write(g->runner, w);
    else
        w->on_done(w->payload, GENRUN_DATABASE, NO_RUNNER);
}

void host_write_cancel(genrun *g, struct host_write *w) {
    if (g->runner)
        runner_write_cancel(g->runner, w);
}

// ---- time ----

struct host_timer {
    struct loop *loop;
    struct loop_timer timer;
};

struct host_timer *host_timer_new(genrun *g, void (*on_due)(void *payload), void *payload) {
    if (handle_result(g, handle_loop(g)))
        return NULL;
    struct host_timer *t = mem_alloc(1, sizeof *t);
    t->loop = g->loop;
    t->timer.on_due = on_due;
    t->timer.payload = payload;
    return t;
}

void host_timer_set(struct host_timer *timer, int64_t in_ms) {
    loop_timer_set(timer->loop, &timer->timer, clock_monotonic_ms() + (in_ms > 0 ? in_ms : 0));
}

void host_timer_clear(struct host_timer *timer) {
    loop_timer_clear(timer->loop, &timer->timer);
}

void host_timer_free(struct host_timer *timer) {
    if (!timer)
        return;
    host_timer_clear(timer);
    free(timer);
}

// ---- other threads ----

int host_beside(genrun *g, genrun **out) {
    genrun *beside = mem_alloc(1, sizeof *beside);
    buf_init(&beside->notes, BUF_UNLIMITED);
    // Nothing changes a configuration that was read.
    beside->config = g->config;
    beside->borrowed = true;
    beside->create = g->create;
    *out = beside;
    if (!g->config)
        return handle_result(beside, err_set(&beside->err, ERR_CONFIG, HANDLE_NOT_OPEN));
    return handle_result(beside, handle_database(beside));
}

void host_wake(genrun *g) {
    struct loop *loop = g->loop;
    if (loop)
        loop_wake(loop);
}
