// SPDX-License-Identifier: MIT
// A process that lost its parent falls to this one when it adopts (child_adopt), so
// it is found among our own children. Else it may be anywhere, and /proc is searched.
#include "loop/stray.h"

#include "base/mem.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 16 // searches of /proc, as long as each finds some: they may be starting others meanwhile
#define INIT 1    // what falls to it may be anybody's

static bool is_known(const struct loop *loop, pid_t pid) {
    for (const struct child *child = loop->children; child; child = child->next)
        if (child->pid == pid)
            return true;
    return false;
}

static bool none_runs(const struct loop *loop) {
    for (const struct child *child = loop->children; child; child = child->next)
        if (!child->stray && child->pid > 0)
            return false;
    return true;
}

// The children of all threads of a process, for the caller to free.
static pid_t *list_children(pid_t parent, size_t *count) {
    char path[320];
    struct dirent *task;
    pid_t *list = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", (long)parent);
    DIR *tasks = opendir(path);
    *count = 0;
    while (tasks && (task = readdir(tasks))) {
        int pid;
        snprintf(path, sizeof path, "/proc/%ld/task/%s/children", (long)parent, task->d_name);
        FILE *children = isdigit((unsigned char)task->d_name[0]) ? fopen(path, "re") : NULL;
        while (children && fscanf(children, "%d", &pid) == 1) {
            if (*count == room)
                list = mem_resize(list, room = room ? room * 2 : 16, sizeof *list);
            list[(*count)++] = pid;
        }
        if (children)
            fclose(children);
    }
    if (tasks)
        closedir(tasks);
    return list;
}

// Its children may have a clean environment: they are known by it, as long as it is there. Stopped it starts no others.
static void end_stray(struct loop *loop, pid_t pid, const struct child *of) {
    size_t count;
    if (is_known(loop, pid) || kill(pid, SIGSTOP) != 0)
        return; // or it became another user: out of our reach
    pid_t *children = list_children(pid, &count);
    for (size_t i = 0; i < count; i++)
        end_stray(loop, children[i], of);
    free(children);
    struct child *stray = child_add(loop, pid, &of->mark, of->family);
    stray->stray = true;
    child_kill(stray);
    if (stray->pidfd < 0)
        child_remove(stray);
}

// `of` NULL: whatever ended is reaped, and nothing else done.
static void look_at(struct loop *loop, pid_t pid, const struct child *of) {
    if (is_known(loop, pid))
        return;
    if (of && leftover_carries(pid, &of->mark))
        end_stray(loop, pid, of);
    else if (waitpid(pid, NULL, WNOHANG) == 0 && of && none_runs(loop) && getpid() != INIT)
        end_stray(loop, pid, of); // it hid its mark, but there is nobody else whose it could be
}

static void look_at_adopted(struct loop *loop, const struct child *of) {
    size_t count;
    pid_t *adopted = list_children(getpid(), &count);
    for (size_t i = 0; i < count; i++)
        look_at(loop, adopted[i], of);
    free(adopted);
}

void stray_end(struct loop *loop, const struct child *child) {
    if (loop->adopting)
        look_at_adopted(loop, child);
    else
        for (int i = 0; i < ROUNDS && leftover_kill(&child->mark, 1) > 0; i++) {
        }
}

void stray_reap(struct loop *loop) {
    look_at_adopted(loop, NULL);
}

bool stray_falls_here(void) {
    return getpid() == INIT;
}
