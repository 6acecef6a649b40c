// SPDX-License-Identifier: MIT
#include "http/trace.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/throttle.h"
#include "lib/host.h"
#include <stdlib.h>
#include <string.h>

#define ROWS_MAXIMUM 64 // that wait for a tick
#define USES_MAXIMUM 64
#define USE_PAUSE_MS 60000
#define SUMMARY_MS 60000 // after which those that no row tells of are summed up
#define SHOWN_COLUMNS 200
#define DENIED "http.denied"

struct trace_row {
    char *message, *data;
};

struct trace_use {
    char key_id[GENRUN_ID_SIZE];
    int64_t at;
};

struct trace {
    genrun *g;
    struct throttle *throttle;
    struct host_write write;
    bool writing; // `write` is queued
    struct host_timer *timer;
    bool timing;
    struct trace_row rows[ROWS_MAXIMUM];
    size_t row_count, rows_written; // the first of them, by the write under way
    struct trace_use uses[USES_MAXIMUM];
    size_t use_count, uses_written;
};

// ---- writing ----

static int on_write(void *payload, genrun *g) {
    struct trace *t = payload;
    int result = 0;
    t->rows_written = t->row_count;
    t->uses_written = t->use_count;
    for (size_t i = 0; !result && i < t->row_count; i++)
        result = host_log(g, "warn", DENIED, t->rows[i].message, t->rows[i].data);
    for (size_t i = 0; !result && i < t->use_count; i++)
        result = host_key_used(g, t->uses[i].key_id, t->uses[i].at, USE_PAUSE_MS);
    return result;
}

static void start_write(struct trace *t);

// What could not be written with its tick is given up: the health of the runner tells why.
static void on_done(void *payload, int result, const char *message) {
    struct trace *t = payload;
    (void)result;
    (void)message;
    t->writing = false;
    for (size_t i = 0; i < t->rows_written; i++) {
        free(t->rows[i].message);
        free(t->rows[i].data);
    }
    t->row_count -= t->rows_written;
    t->use_count -= t->uses_written;
    memmove(t->rows, t->rows + t->rows_written, t->row_count * sizeof *t->rows);
    memmove(t->uses, t->uses + t->uses_written, t->use_count * sizeof *t->uses);
    t->rows_written = t->uses_written = 0;
    if (result == 0 && t->row_count + t->use_count > 0)
        start_write(t);
}

static void start_write(struct trace *t) {
    if (t->writing)
        return;
    t->writing = true;
    t->write = (struct host_write){.on_write = on_write, .on_done = on_done, .payload = t};
    host_write(t->g, &t->write);
}

// Takes both texts.
static void add_row(struct trace *t, char *message, char *data) {
    if (t->row_count ==
        ROWS_MAXIMUM) { // nothing gets written now: the newest are not worth more than the oldest
        free(message);
        free(data);
        return;
    }
    t->rows[t->row_count++] = (struct trace_row){message, data};
    start_write(t);
}

static void on_summary(void *payload) {
    struct trace *t = payload;
    int64_t count = throttle_take_left_out(t->throttle);
    t->timing = false;
    if (count > 0)
        add_row(t, mem_format("%lld more requests were refused than the log tells of", (long long)count),
                mem_format("{\"leftOut\":%lld}", (long long)count));
}

// ---- the door ----

struct trace *trace_open(genrun *g, int failures) {
    struct trace *t = mem_alloc(1, sizeof *t);
    t->g = g;
    t->throttle = throttle_new(failures);
    t->timer = host_timer_new(g, on_summary, t);
    return t;
}

void trace_close(struct trace *t) {
    if (!t)
        return;
    if (t->writing)
        host_write_cancel(t->g, &t->write);
    host_timer_free(t->timer);
    for (size_t i = 0; i < t->row_count; i++) {
        free(t->rows[i].message);
        free(t->rows[i].data);
    }
    throttle_free(t->throttle);
    free(t);
}

int trace_throttle(struct trace *t, const char *remote, bool is_wrong) {
    return throttle_failure(t->throttle, address_network_of(remote), is_wrong, clock_monotonic_ms());
}

static void begin_summary(struct trace *t) {
    if (t->timing || !t->timer)
        return;
    t->timing = true;
    host_timer_set(t->timer, SUMMARY_MS);
}

void trace_denied(struct trace *t, const struct trace_refusal *r) {
    int64_t left_out = 0;
    struct buf path, message, data;
    if (!throttle_log(t->throttle, address_network_of(r->remote), clock_monotonic_ms(), &left_out)) {
        begin_summary(t);
        return;
    }
    buf_init(&path, BUF_UNLIMITED);
    buf_init(&message, BUF_UNLIMITED);
    buf_init(&data, BUF_UNLIMITED);
    text_escape(&path, r->path, strlen(r->path), SHOWN_COLUMNS);
    buf_format(&message, "%s %s from %s was refused (%d %s): %s", r->method, buf_borrow(&path), r->remote,
               r->status, r->code, r->message);
    if (left_out > 0)
        buf_format(&message, "; and %lld more before it", (long long)left_out);
    buf_char(&data, '{');
    json_write_member_integer(&data, "status", r->status);
    json_write_member_text(&data, "code", r->code);
    json_write_member_text(&data, "remote", r->remote);
    json_write_member_text(&data, "method", r->method);
    json_write_member_text(&data, "path", buf_borrow(&path));
    if (r->key)
        json_write_member_text(&data, "key", r->key);
    if (left_out > 0)
        json_write_member_integer(&data, "leftOut", left_out);
    buf_char(&data, '}');
    buf_free(&path);
    add_row(t, buf_take(&message), buf_take(&data));
}

void trace_used(struct trace *t, const char *key_id, int64_t last_used_at) {
    int64_t now_at = clock_wall_at();
    // (A clock that was set back makes it later than now.)
    if (last_used_at <= now_at && now_at - last_used_at < USE_PAUSE_MS)
        return;
    for (size_t i = 0; i < t->use_count; i++)
        if (strcmp(t->uses[i].key_id, key_id) == 0)
            return;
    if (t->use_count == USES_MAXIMUM)
        return;
    struct trace_use *use = &t->uses[t->use_count++];
    memcpy(use->key_id, key_id, sizeof use->key_id);
    use->at = now_at;
    start_write(t);
}
