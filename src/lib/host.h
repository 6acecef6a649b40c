// SPDX-License-Identifier: MIT
// The inner door for the program's own faces: what they need beyond genrun.h.
#ifndef GENRUN_LIB_HOST_H
#define GENRUN_LIB_HOST_H

struct genrun;

// The handle belongs to a program whose children are all genrun's own: processes of commands that lose their
// parent become this one's, so that none can flee, and the limit on open files is raised. To be called before
// anything runs.
void host_own_process(struct genrun *g);

// From now on the handle finds, lists and changes only what belongs to the user, and what it submits is that user's;
// another's is GENRUN_NOT_FOUND as if it never was, another user named is GENRUN_INVALID, and what is nobody's own
// (stats, locks, jobs, people, care of the file) GENRUN_NOT_FOUND. Models and templates can be read. NULL: all.
void host_scope(struct genrun *g, const char *user);

// `genrun --mark-hung DATABASE RUNNER`, run by the watchdog of a hung runner in its own place: writes
// down that it hung. Returns an exit code.
int host_mark_hung(const char *database, const char *runner);

#endif
