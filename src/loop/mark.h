// SPDX-License-Identifier: MIT
// Marks: entries of a process's environment by which it is known whose descendant
// it is, wherever it went.
#ifndef GENRUN_LOOP_MARK_H
#define GENRUN_LOOP_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// True when the process was started with each of these entries ("NAME=value", NULL-terminated). False for one that
// is gone, a zombie, or another user's.
bool mark_is_on(pid_t pid, const char *const *marks);
// Sends SIGKILL to every process of the system that carries the marks, but to this one. Returns their number; they
// may be gone a moment later only, and what they were starting just then is found by the next call.
size_t mark_kill(const char *const *marks);

#endif
