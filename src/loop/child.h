// SPDX-License-Identifier: MIT
// Children: local programs that run on the loop. Each one leads a session and a
// process group of its own, gets exactly the environment it is given, no open file
// but its three pipes, and signals as a fresh program has them. Its exit is seen
// by a pidfd; what it leaves behind is ended: what stayed in its group, and what
// fled from there with the marks of its environment on it.
#ifndef GENRUN_LOOP_CHILD_H
#define GENRUN_LOOP_CHILD_H

#include "loop/leftover.h"
#include "loop/loop.h"

struct child; // owned by the loop

enum child_stream { CHILD_STDOUT, CHILD_STDERR };

struct child_request {
    const char *program;      // a path, or a name to be found in PATH
    char *const *words;       // its arguments, words[0] is its own name
    char *const *environment; // all of it
    const char *folder;       // where it runs; NULL: here
    const char *input;        // for its stdin; borrowed until the end or child_stop()
    size_t input_length;
    struct leftover_mark
        mark;           // what the environment says, of it and nothing else: its descendants carry it, too
    const void *family; // for child_dying(); only compared
};

struct child_end {
    bool signalled;
    int status; // the exit status, or the number of the signal that killed it
};

struct child_listener {
    // May stop the child.
    void (*on_bytes)(void *payload, enum child_stream stream, const char *bytes, size_t length);
    // It has exited and what it wrote was told. Called once from the loop, never after child_stop(). Output of
    // descendants that go on after it is waited for a moment only; then they are ended.
    void (*on_end)(void *payload, const struct child_end *end);
    void *payload;
};

// Starts a program. Returns 0, or the errno that says why it cannot be started (of the program, its folder, or
// pipes and processes that the system refuses); then nothing is called.
int child_start(struct child **out, struct loop *loop, const struct child_request *request,
                const struct child_listener *listener) must_check;
// The errno was about this system's limits (files, processes, memory), not about the program.
bool child_was_short(int error);
// Ends it: SIGTERM to the group now, SIGKILL after a grace of 2 s. Returns at once; nobody is told of it any more.
void child_stop(struct child *child);
// Cuts the grace of stopped children that ran for the generation. False when nothing of them is left; else the
// task is deferred when one more of them is gone, to ask again.
bool child_hurry(struct loop *loop, const char *generation_id, struct loop_task *task);
void child_hurry_cancel(struct loop *loop, const struct loop_task *task); // nobody waits: fine
// The number of stopped children, and strays of theirs, that are not yet gone; `family` NULL: of all. One that the
// kernel holds for seconds after SIGKILL counts no more.
size_t child_dying(const struct loop *loop, const void *family);
// Kills all children and what they left, and waits until they are gone (seconds at most, where the kernel holds
// one). Nobody is told. loop_close() does it, too.
void child_end_all(struct loop *loop);
// For a program whose children are all started here: descendants that lose their parent become its own
// (PR_SET_CHILD_SUBREAPER), so that none can flee, and the limit on open files is raised (children get the former
// one).
void child_adopt(struct loop *loop);

#endif
