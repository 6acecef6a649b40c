// SPDX-License-Identifier: MIT
#include "run/recovery.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/leftover.h"
#include "run/state.h"
#include <stdlib.h>
#include <string.h>

struct recovery_event {
    bool survives;
    struct leftover_process process;
};

static void add_event(struct runner *r, const struct leftover_process *process, bool survives) {
    struct recovery *c = &r->recovery;
    c->events = mem_resize(c->events, c->event_count + 1, sizeof *c->events);
    c->events[c->event_count++] = (struct recovery_event){.survives = survives, .process = *process};
}

static void on_kill(void *payload, const struct leftover_process *process) {
    add_event(payload, process, false);
}

// It waits in the kernel: the work of others must not wait for it, too.
static void on_survive(void *payload, const struct leftover_process *process) {
    struct runner *r = payload;
    add_event(r, process, true);
    r->recovery.patient = false;
    log_error("process %ld, which a dead runner left, does not end after SIGKILL: what it was started for is "
              "not started again before it is gone",
              (long)process->pid);
}

static void on_gone(void *payload) {
    struct runner *r = payload;
    r->recovery.leftover = NULL;
    r->recovery.patient = false;
    r->recovery.due = true;
}

int recovery_begin(struct runner *r, struct err *e) {
    char(*ids)[ID_SIZE] = NULL;
    size_t count = 0;
    int result = queue_runner_dead(r->db, &ids, &count, e);
    r->recovery.due = true;
    if (!result && count > 0 && !leftover_can_look()) {
        log_warn("/proc does not show this process: whether programs that a dead runner started still run "
                 "cannot be seen, and is not waited for");
    } else if (!result && count > 0) {
        const struct leftover_listener listener = {.on_kill = on_kill,
                                                   .on_survive = on_survive,
                                                   .on_gone = on_gone,
                                                   .payload = r,
                                                   .patience_ms = r->settings.heartbeat_interval_ms};
        struct leftover_mark *marks = mem_alloc(count, sizeof *marks);
        for (size_t i = 0; i < count; i++)
            memcpy(marks[i].runner, ids[i], sizeof marks[i].runner);
        r->recovery.leftover = leftover_open(r->loop, marks, count, &listener);
        r->recovery.patient = r->recovery.leftover != NULL;
        r->recovery.due = !r->recovery.leftover;
        free(marks);
    }
    free(ids);
    return result;
}

bool recovery_has_work(const struct runner *r) {
    return r->recovery.due || r->recovery.event_count > 0;
}

bool recovery_goes_on(const struct runner *r) {
    return r->recovery.leftover || recovery_has_work(r);
}

static int write_event(struct runner *r, const struct recovery_event *event, struct err *e) {
    const struct leftover_process *p = &event->process;
    struct buf data;
    int64_t generation = 0;
    int result = 0;
    if (id_is_valid(p->mark.generation)) {
        result = queue_find_generation(r->db, p->mark.generation, &generation, e);
        result = result == ERR_NOT_FOUND ? 0 : result;
    }
    buf_init(&data, BUF_UNLIMITED);
    buf_char(&data, '{');
    json_write_member_integer(&data, "pid", p->pid);
    json_write_member_text(&data, "program", p->name);
    json_write_member_text(&data, "runner", p->mark.runner);
    json_write_member_integer(&data, "attempt", p->mark.attempt);
    buf_char(&data, '}');
    if (!result)
        result = queue_log(
            r->db, event->survives ? "error" : "warn",
            event->survives ? "process.survived" : "process.killed", generation, 0,
            event->survives ? "left by a dead runner, it does not end after SIGKILL: not started again before"
                            : "left by a dead runner, it still ran: ended by SIGKILL",
            buf_borrow(&data), e);
    buf_free(&data);
    return result;
}

int recovery_write(struct runner *r, int64_t now_at, struct err *e) {
    struct recovery *c = &r->recovery;
    int result = 0;
    c->recovered = c->failed = 0;
    for (size_t i = 0; !result && i < c->event_count; i++)
        result = write_event(r, &c->events[i], e);
    if (!result && c->due)
        result = queue_runner_recover(r->db, &r->me, r->settings.max_crashes, r->settings.max_attempts,
                                      now_at, &c->recovered, &c->failed, e);
    r->claimable |= c->due;
    return result;
}

void recovery_note_written(struct runner *r) {
    struct recovery *c = &r->recovery;
    if (c->recovered > 0)
        log_warn("%lld generations were in flight when the last runner ended: queued again or judged",
                 (long long)c->recovered);
    r->failed += c->failed;
    c->recovered = c->failed = 0;
    c->event_count = 0;
    c->due = false;
}

void recovery_end(struct runner *r) {
    leftover_close(r->recovery.leftover);
    free(r->recovery.events);
    r->recovery = (struct recovery){0};
}
