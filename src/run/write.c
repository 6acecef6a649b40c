// SPDX-License-Identifier: MIT
#include "run/write.h"
#include "base/clock.h"
#include "base/mem.h"
#include "run/state.h"
#include <stdlib.h>

#define PATIENCE_MS 5000 // with a database that another process holds

// ---- lists through the owners' structs ----

static void empty(struct write_list *list) {
    list->first = NULL;
    list->end = &list->first;
}

static void append(struct write_list *list, struct host_write *w) {
    w->next = NULL;
    w->back = list->end;
    *list->end = w;
    list->end = &w->next;
}

static void take_out(struct write_list *list, struct host_write *w) {
    *w->back = w->next;
    if (w->next)
        w->next->back = w->back;
    if (list->end == &w->next)
        list->end = w->back;
    w->next = NULL;
    w->back = NULL;
}

static void forget_result(struct host_write *w) {
    free(w->message);
    w->message = NULL;
    w->result = 0;
}

void write_open(struct writes *writes) {
    empty(&writes->pending);
    empty(&writes->written);
    writes->current = NULL;
}

void write_queue(struct writes *writes, struct host_write *w) {
    w->result = 0;
    w->message = NULL;
    w->since_ms = clock_monotonic_ms();
    append(&writes->pending, w);
}

void write_cancel(struct writes *writes, struct host_write *w) {
    if (!w->back)
        return;
    // Which list it is in shows only where it is the last one, and only there it matters.
    take_out(writes->written.end == &w->next ? &writes->written : &writes->pending, w);
    if (writes->current == w)
        writes->current = NULL;
    forget_result(w);
}

int64_t write_due_ms(const struct writes *writes) {
    return writes->pending.first ? writes->pending.first->since_ms + PATIENCE_MS : INT64_MAX;
}

// ---- in the tick ----

// In a savepoint, so that what fails leaves nothing behind.
static int run_inside(struct runner *r, struct host_write *w, struct err *e) {
    int result = db_begin(r->db, 0, e);
    if (result)
        return result;
    result = w->on_write(w->payload, r->options.handle);
    if (result)
        err_set(e, (enum err_code)result, "%s", r->options.message(r->options.handle));
    if (!result && r->writes.current)
        return db_commit(r->db, e);
    db_rollback(r->db);
    return result;
}

static void run_one(struct runner *r, struct host_write *w) {
    struct writes *writes = &r->writes;
    struct err e = {0};
    take_out(&writes->pending, w);
    append(&writes->written, w);
    writes->current = w;
    int result = run_inside(r, w, &e);
    // Whoever cancelled it meanwhile may have freed it.
    if (writes->current) {
        w->result = result;
        w->message = result ? mem_copy(e.message) : NULL;
    }
    writes->current = NULL;
}

bool write_run(struct runner *r) {
    int64_t before = db_total_changes(r->db);
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
    while (r->writes.pending.first) {
        run_one(r, r->writes.pending.first);
        if (clock_monotonic_ms() >= end_ms)
            break;
    }
    return db_total_changes(r->db) != before;
}

// ---- after it ----

static void tell(struct runner *r, struct write_list *list, struct host_write *w, int result,
                 const char *message) {
    struct metrics *m = r->metrics;
    *(result == 0 ? &m->writes_stored : result == ERR_DATABASE ? &m->writes_failed : &m->writes_refused) += 1;
    char *own = w->message;
    take_out(list, w);
    w->message = NULL;
    w->on_done(w->payload, result, message);
    free(own);
}

void write_done(struct runner *r) {
    struct host_write *w;
    // A callback may cancel others, and queue new ones for the next tick.
    while ((w = r->writes.written.first))
        tell(r, &r->writes.written, w, w->result, w->message ? w->message : "");
}

static void move_all(struct write_list *from, struct write_list *to) {
    if (!from->first)
        return;
    from->first->back = to->end;
    *to->end = from->first;
    to->end = from->end;
    empty(from);
}

void write_failed(struct runner *r, bool all, const char *message) {
    struct host_write *w;
    if (all)
        move_all(&r->writes.pending, &r->writes.written);
    while ((w = r->writes.written.first))
        tell(r, &r->writes.written, w, ERR_DATABASE, message);
}

void write_expire(struct runner *r, int64_t now_ms) {
    struct host_write *w;
    while ((w = r->writes.pending.first) && now_ms >= w->since_ms + PATIENCE_MS)
        tell(r, &r->writes.pending, w, ERR_DATABASE, r->trouble.message);
}
