// SPDX-License-Identifier: MIT
// The inner door for the program's own faces: what they need beyond genrun.h.
#ifndef GENRUN_LIB_HOST_H
#define GENRUN_LIB_HOST_H

// `genrun --mark-hung DATABASE RUNNER`, run by the watchdog of a hung runner in its own place: writes
// down that it hung. Returns an exit code.
int host_mark_hung(const char *database, const char *runner);

#endif
