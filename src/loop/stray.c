// SPDX-License-Identifier: MIT
// A process that lost its parent falls to this one when it adopts (child_adopt), so
// it is found among our own children. Else it may be anywhere, and /proc is searched.
#include "loop/stray.h"

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

static void end_stray(struct loop *loop, pid_t pid, const struct child *of) {
    if (kill(pid, 0) != 0)
        return; // it became another user: out of our reach
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
    char path[320];
    struct dirent *task;
    DIR *tasks = opendir("/proc/self/task");
    while (tasks && (task = readdir(tasks))) {
        int pid;
        snprintf(path, sizeof path, "/proc/self/task/%s/children", task->d_name);
        FILE *children = isdigit((unsigned char)task->d_name[0]) ? fopen(path, "re") : NULL;
        while (children && fscanf(children, "%d", &pid) == 1)
            look_at(loop, pid, of);
        if (children)
            fclose(children);
    }
    if (tasks)
        closedir(tasks);
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
