// SPDX-License-Identifier: MIT
// The inner door for the program's own faces: what they need beyond genrun.h.
#ifndef GENRUN_LIB_HOST_H
#define GENRUN_LIB_HOST_H

struct genrun;

// The handle belongs to a program whose children are all genrun's own: processes of commands that lose their
// parent become this one's, so that none can flee, and the limit on open files is raised. To be called before
// anything runs.
void host_own_process(struct genrun *g);

// `genrun --mark-hung DATABASE RUNNER`, run by the watchdog of a hung runner in its own place: writes
// down that it hung. Returns an exit code.
int host_mark_hung(const char *database, const char *runner);

#endif
