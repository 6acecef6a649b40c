// SPDX-License-Identifier: MIT
// Leftovers: processes that still run though what they were started for is over, such as those of a dead
// runner. They are found by their environment, in which every process that is started for a generation carries
// the marks below: whatever descends from it inherits them, also behind setsid and a double fork, where
// neither parent, group nor session leads back. A stored process id would name only the first of them, and
// could be stored only after it runs: a runner that dies in between would leave it unknown.
#ifndef GENRUN_LOOP_LEFTOVER_H
#define GENRUN_LOOP_LEFTOVER_H

#include "base/id.h"
#include "loop/loop.h"
#include <sys/types.h>

// Environment variables: the runner's id, the generation's id, the number of its start.
#define LEFTOVER_RUNNER "GENRUN_RUNNER"
#define LEFTOVER_GENERATION "GENRUN_GENERATION_ID"
#define LEFTOVER_ATTEMPT "GENRUN_ATTEMPT"

// Who is meant: the processes that carry all of it.
struct leftover_mark {
    char runner[ID_SIZE];
    char generation[ID_SIZE]; // "": of any
    int attempt;              // 0: of any
};

// False also for a process that is gone, that has ended, or whose environment may not be read.
bool leftover_carries(pid_t pid, const struct leftover_mark *mark);

struct leftover_process {
    pid_t pid;
    char name[16];             // of its program
    struct leftover_mark mark; // what it carries; empty when it was found by its kin (see leftover.c)
};

struct leftover_listener {
    // A process was sent SIGKILL. May be called from leftover_open() itself.
    void (*on_kill)(void *payload, const struct leftover_process *process);
    // It still lives after patience_ms: it waits in the kernel, or may not be ended by us. It is waited for all
    // the same.
    void (*on_survive)(void *payload, const struct leftover_process *process);
    // No such process is left. Called once, from the loop; the leftover is freed then.
    void (*on_gone)(void *payload);
    void *payload;
    int64_t patience_ms;
};

struct leftover;

// Whether processes can be looked for: /proc is there and shows this process under its own id. Where it hides
// those of other users nothing is missing: they are none of ours.
bool leftover_can_look(void);
// Ends all processes that carry one of the marks, and those that are of their kin; looks again until there is
// none. NULL, without on_gone, when there is none now. Never ends this process. It never waits; a look takes some
// milliseconds for some hundred processes.
struct leftover *leftover_open(struct loop *loop, const struct leftover_mark *marks, size_t count,
                               const struct leftover_listener *listener);
// Looks no more; what was sent SIGKILL is not waited for. NULL is fine.
void leftover_close(struct leftover *leftover);
// One look without a loop, for an end that cannot wait; how many were sent SIGKILL.
size_t leftover_kill(const struct leftover_mark *marks, size_t count);

#endif
