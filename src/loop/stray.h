// SPDX-License-Identifier: MIT
// Inside of src/loop/: strays, the descendants of a child that left its process
// group and outlive it.
#ifndef GENRUN_LOOP_STRAY_H
#define GENRUN_LOOP_STRAY_H

#include "loop/child.h"
#include "loop/state.h"
#include <sys/types.h>

struct child_pipe {
    int fd; // -1: closed
    struct loop_watch *watch;
};

struct child {
    struct loop *loop;
    struct child *next, **back;
    pid_t pid; // 0: reaped
    int pidfd;
    struct loop_watch *exit_watch;
    struct child_pipe in, out[2];
    const char *input;
    size_t input_left;
    struct child_listener listener; // empty: it was stopped, or is a stray
    bool exited, stray, killed, given_up;
    struct loop_timer timer; // to SIGKILL, then to giving up; after the exit: to the end of its streams
    struct leftover_mark mark;
    const void *family;
    struct loop_task *awaiting; // child_hurry(): to be told when it is gone
};

// Puts a process under the loop's eye. Without a pidfd (none is left) its exit is not seen: errno says why.
struct child *child_add(struct loop *loop, pid_t pid, const struct leftover_mark *mark, const void *family);
void child_remove(struct child *child);
// Sends SIGKILL, to a child's whole group.
void child_kill(struct child *child);

// Ends what carries the mark of the child, which has just been reaped, and reaps what this process adopted. Strays
// that die later are seen by the loop, and theirs are ended in turn.
void stray_end(struct loop *loop, const struct child *child);
// Reaps strays that ended by themselves while the child that left them runs on.
void stray_reap(struct loop *loop);
// True for the first process of a container, to which everybody's orphans fall.
bool stray_falls_here(void);

#endif
