// SPDX-License-Identifier: MIT
// A look at /proc has two parts. First everybody is looked at once: whose environment has a mark, then their kin,
// which may have a clean or overwritten environment. Then what was started meanwhile, until nothing was:
// a chain of processes that each start the next and end is never seen by one look.
#include "loop/leftover.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/process.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define ENVIRONMENT_MAX (8u << 20) // more than the kernel lets a program have
#define ROUNDS 50                  // of looking for what was started meanwhile
#define AGAIN_MS 100               // between two looks while some do not end
#define AGAIN_LATE_MS 5000         // and when that lasts

struct kin {
    struct process_stat stat;
    bool marked, ours, unsure;
    struct leftover_process found;
};

// Process ids in rising order, as /proc gives them.
struct pids {
    pid_t *list;
    size_t count, capacity;
};

struct victim { // sent SIGKILL
    struct leftover *leftover;
    struct leftover_process process;
    int fd;
    struct loop_watch *watch;
    struct victim *next;
};

struct leftover {
    struct loop *loop; // NULL: one look, nobody is waited for
    struct leftover_mark *marks;
    size_t mark_count;
    struct leftover_listener listener;
    struct buf environment; // of the process that is looked at
    struct victim *victims;
    size_t killed;
    bool missed; // one could not be taken: look again
    bool unsure; // of one that is in the middle of an exec: look again, for a while
    bool told;   // of those that survive
    int64_t began_ms;
    struct loop_timer timer;
    struct loop_task task;
};

// ---- who is who ----

static void list_pids(struct pids *pids) {
    DIR *proc = opendir("/proc");
    pids->count = 0;
    for (struct dirent *entry; proc && (entry = readdir(proc)) != NULL;) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        if (pids->count == pids->capacity) {
            pids->capacity = pids->capacity ? pids->capacity * 2 : 512;
            pids->list = mem_resize(pids->list, pids->capacity, sizeof *pids->list);
        }
        pids->list[pids->count++] = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    if (proc)
        closedir(proc);
}

static const char *value_of(const char *entry, const char *name) {
    size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1 : NULL;
}

static void read_mark(const struct buf *environment, struct leftover_mark *mark) {
    const char *p = buf_borrow(environment), *end = p + environment->length;
    const char *value;
    *mark = (struct leftover_mark){0};
    for (; p < end; p += strlen(p) + 1) {
        if ((value = value_of(p, LEFTOVER_RUNNER)))
            snprintf(mark->runner, sizeof mark->runner, "%s", value);
        else if ((value = value_of(p, LEFTOVER_GENERATION)))
            snprintf(mark->generation, sizeof mark->generation, "%s", value);
        else if ((value = value_of(p, LEFTOVER_ATTEMPT)))
            mark->attempt = (int)strtol(value, NULL, 10);
    }
}

// An empty mark, as from a damaged database, would mean every process without one.
static bool is_meant(const struct leftover_mark *mark, const struct leftover_mark *carried) {
    return *mark->runner && strcmp(mark->runner, carried->runner) == 0 &&
           (!*mark->generation || strcmp(mark->generation, carried->generation) == 0) &&
           (mark->attempt == 0 || mark->attempt == carried->attempt);
}

// What the process carries; false for one whose environment may not be read: it is nobody's we know.
static bool read_process(pid_t pid, struct buf *environment, struct leftover_mark *carried) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/environ", (long)pid);
    if (pid == getpid() || file_read(path, ENVIRONMENT_MAX, environment, NULL) != 0)
        return false;
    read_mark(environment, carried);
    return true;
}

static bool has_ended(const struct process_stat *stat) {
    return stat->state == 'Z' || stat->state == 'X' || stat->state == 0;
}

// In the middle of an exec the new environment is not there yet, and the old one no more.
static bool is_in_exec(const struct leftover *l, pid_t pid) {
    struct process_stat stat;
    return l->environment.length == 0 && process_read(pid, &stat) && stat.in_exec && !has_ended(&stat);
}

// *unsure: it cannot be told now.
static bool is_marked(struct leftover *l, pid_t pid, struct leftover_mark *carried, bool *unsure) {
    bool marked = false;
    *unsure = false;
    if (!read_process(pid, &l->environment, carried))
        return false;
    for (size_t i = 0; i < l->mark_count && !marked; i++)
        marked = is_meant(&l->marks[i], carried);
    *unsure = is_in_exec(l, pid);
    return marked;
}

bool leftover_carries(pid_t pid, const struct leftover_mark *mark) {
    struct buf environment;
    struct leftover_mark carried;
    buf_init(&environment, ENVIRONMENT_MAX);
    bool carries = read_process(pid, &environment, &carried) && is_meant(mark, &carried);
    buf_free(&environment);
    return carries;
}

static bool is_ours(const struct pids *pids, const struct kin *kin, pid_t pid) {
    for (size_t low = 0, high = pids->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (pids->list[middle] == pid)
            return kin[middle].ours;
        if (pids->list[middle] < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

// Children of ours are ours, and so is who belongs to a group or session that one of ours leads.
static void find_kin(const struct pids *pids, struct kin *kin) {
    bool more = true;
    for (size_t i = 0; i < pids->count; i++) {
        if (!process_read(pids->list[i], &kin[i].stat))
            kin[i].stat = (struct process_stat){0};
        kin[i].ours = kin[i].marked;
    }
    while (more) {
        more = false;
        for (size_t i = 0; i < pids->count; i++) {
            const struct process_stat *s = &kin[i].stat;
            if (kin[i].ours || pids->list[i] == getpid() || pids->list[i] == 1 || has_ended(s))
                continue;
            kin[i].ours = is_ours(pids, kin, s->parent) || is_ours(pids, kin, s->group) ||
                          is_ours(pids, kin, s->session);
            more |= kin[i].ours;
        }
    }
}

// ---- ending them ----

static void on_victim_gone(void *payload, int fd, short ready);

static bool is_held(const struct leftover *l, pid_t pid) {
    for (const struct victim *v = l->victims; v; v = v->next)
        if (v->process.pid == pid)
            return true;
    return false;
}

// The descriptor is of the process that was found, though its id could have been used again. Its environment cannot
// tell: it may have become another program meanwhile. That an id comes round takes seconds, a look milliseconds.
static bool is_same(pid_t pid, const struct kin *kin) {
    struct process_stat now;
    return process_read(pid, &now) && now.started == kin->stat.started;
}

// Sends SIGKILL to one, and to its whole group where `with_group`.
static void take(struct leftover *l, pid_t pid, const struct kin *kin, bool with_group) {
    if (is_held(l, pid))
        return;
    int fd = pidfd_open(pid, 0);
    if (fd < 0 || !is_same(pid, kin)) {
        l->missed |= fd < 0 && errno != ESRCH;
        if (fd >= 0)
            close(fd);
        return;
    }
    // To a group it goes in one step: none of them can start another in between.
    if (with_group)
        kill(-kin->stat.group, SIGKILL);
    // One that may not be ended by us is waited for all the same.
    pidfd_send_signal(fd, SIGKILL, NULL, 0);
    l->killed++;
    struct leftover_process found = {.pid = pid, .mark = kin->found.mark};
    snprintf(found.name, sizeof found.name, "%s", kin->stat.name);
    if (l->listener.on_kill)
        l->listener.on_kill(l->listener.payload, &found);
    if (!l->loop) {
        close(fd);
        return;
    }
    struct victim *v = mem_alloc(1, sizeof *v);
    *v = (struct victim){.leftover = l, .process = found, .fd = fd, .next = l->victims};
    v->watch = loop_watch_add(l->loop, fd, POLLIN, on_victim_gone, v);
    l->victims = v;
}

// Nobody else is in the group, and it is not the one of this process.
static bool owns_group(const struct pids *pids, const struct kin *kin, pid_t group) {
    if (group <= 1 || group == getpgrp())
        return false;
    for (size_t i = 0; i < pids->count; i++)
        if (kin[i].stat.group == group && !kin[i].ours && !has_ended(&kin[i].stat))
            return false;
    return true;
}

// As if it had not been there: the next round sees it as a new one.
static void forget(struct pids *pids, size_t index) {
    memmove(pids->list + index, pids->list + index + 1, (--pids->count - index) * sizeof *pids->list);
}

static void look_at_all(struct leftover *l, struct pids *pids) {
    struct kin *kin = mem_alloc(pids->count + 1, sizeof *kin);
    bool any = false;
    // The newest first: what does not live long is among them.
    for (size_t i = pids->count; i-- > 0;) {
        kin[i].marked = is_marked(l, pids->list[i], &kin[i].found.mark, &kin[i].unsure);
        any |= kin[i].marked;
    }
    if (any)
        find_kin(pids, kin);
    for (size_t i = pids->count; any && i-- > 0;)
        if (kin[i].ours && !has_ended(&kin[i].stat))
            take(l, pids->list[i], &kin[i], owns_group(pids, kin, kin[i].stat.group));
    for (size_t i = pids->count; i-- > 0;)
        if (kin[i].unsure)
            forget(pids, i);
    free(kin);
}

// Those that `before` does not have. Returns how many there were.
static size_t look_at_new(struct leftover *l, const struct pids *before, struct pids *now) {
    size_t found = 0, b = before->count;
    for (size_t i = now->count; i-- > 0;) {
        struct kin kin = {0};
        while (b > 0 && before->list[b - 1] > now->list[i])
            b--;
        if (b > 0 && before->list[b - 1] == now->list[i])
            continue;
        found++;
        kin.marked = is_marked(l, now->list[i], &kin.found.mark, &kin.unsure);
        if (kin.marked && process_read(now->list[i], &kin.stat) && !has_ended(&kin.stat))
            take(l, now->list[i], &kin, false);
        l->unsure |= kin.unsure;
        if (kin.unsure)
            forget(now, i);
    }
    return found;
}

static void look(struct leftover *l) {
    struct pids before = {0}, now = {0};
    size_t found = 1;
    l->missed = false;
    list_pids(&before);
    look_at_all(l, &before);
    for (int round = 0; found > 0 && round < ROUNDS; round++) {
        l->unsure = false;
        list_pids(&now);
        found = look_at_new(l, &before, &now);
        struct pids spare = before;
        before = now;
        now = spare;
    }
    free(before.list);
    free(now.list);
}

// ---- until they are gone ----

static void drop(struct victim *v) {
    struct leftover *l = v->leftover;
    for (struct victim **p = &l->victims; *p; p = &(*p)->next)
        if (*p == v) {
            *p = v->next;
            break;
        }
    loop_watch_remove(l->loop, v->watch);
    close(v->fd);
    free(v);
}

static void free_leftover(struct leftover *l) {
    while (l->victims)
        drop(l->victims);
    if (l->loop) {
        loop_timer_clear(l->loop, &l->timer);
        loop_defer_cancel(l->loop, &l->task);
    }
    buf_free(&l->environment);
    free(l->marks);
    free(l);
}

static bool is_over(const struct leftover *l) {
    bool waits = l->unsure && clock_monotonic_ms() - l->began_ms < l->listener.patience_ms;
    return !l->victims && !l->missed && !waits;
}

static void tell_survivors(struct leftover *l) {
    l->told = true;
    for (struct victim *v = l->victims; v; v = v->next)
        if (l->listener.on_survive)
            l->listener.on_survive(l->listener.payload, &v->process);
}

static void look_again(void *payload) {
    struct leftover *l = payload;
    int64_t now_ms = clock_monotonic_ms();
    look(l);
    if (is_over(l)) {
        struct leftover_listener listener = l->listener;
        free_leftover(l);
        listener.on_gone(listener.payload);
        return;
    }
    if (!l->told && now_ms - l->began_ms >= l->listener.patience_ms)
        tell_survivors(l);
    loop_timer_set(l->loop, &l->timer, now_ms + (l->told ? AGAIN_LATE_MS : AGAIN_MS));
}

static void on_victim_gone(void *payload, int fd, short ready) {
    (void)fd, (void)ready;
    struct victim *v = payload;
    struct leftover *l = v->leftover;
    drop(v);
    if (!l->victims)
        loop_defer(l->loop, &l->task);
}

static struct leftover *start(struct loop *loop, const struct leftover_mark *marks, size_t count,
                              const struct leftover_listener *listener) {
    struct leftover *l = mem_alloc(1, sizeof *l);
    l->loop = loop;
    l->marks = mem_alloc(count, sizeof *marks);
    memcpy(l->marks, marks, count * sizeof *marks);
    l->mark_count = count;
    l->listener = *listener;
    buf_init(&l->environment, ENVIRONMENT_MAX);
    l->began_ms = clock_monotonic_ms();
    l->timer.on_due = l->task.on_run = look_again;
    l->timer.payload = l->task.payload = l;
    look(l);
    return l;
}

bool leftover_can_look(void) {
    char id[32] = "";
    return readlink("/proc/self", id, sizeof id - 1) > 0 && strtol(id, NULL, 10) == (long)getpid();
}

struct leftover *leftover_open(struct loop *loop, const struct leftover_mark *marks, size_t count,
                               const struct leftover_listener *listener) {
    struct leftover *l = start(loop, marks, count, listener);
    if (is_over(l)) {
        free_leftover(l);
        return NULL;
    }
    loop_timer_set(loop, &l->timer, l->began_ms + AGAIN_MS);
    return l;
}

void leftover_close(struct leftover *leftover) {
    if (leftover)
        free_leftover(leftover);
}

size_t leftover_kill(const struct leftover_mark *marks, size_t count) {
    static const struct leftover_listener nobody;
    struct leftover *l = start(NULL, marks, count, &nobody);
    size_t killed = l->killed;
    free_leftover(l);
    return killed;
}
