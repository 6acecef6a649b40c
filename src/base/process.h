// SPDX-License-Identifier: MIT
// Which process is which, by what /proc tells: a process id alone is used again after a while.
#ifndef GENRUN_BASE_PROCESS_H
#define GENRUN_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// The kernel's id of this boot, "unknown" where there is none.
void process_boot(char *out, size_t size);
// The process that fills a batch: "boot:namespace:pid:start". False when it surely is gone; one that cannot be
// seen from here (in another container) may live unless it was silent for an hour.
void process_identity(char *out, size_t size);
bool process_may_live(const char *identity, int64_t silent_ms);

struct process_stat {
    char name[16]; // of its program, cut to 15 bytes by the kernel; may hold anything
    char state;    // R, S, D, …; Z and X: it has ended
    pid_t parent, group, session;
    unsigned long long started; // clock ticks since boot: with the pid it names one process
    bool in_exec;               // it is becoming another program: its environment is not there yet
};
// False when there is no such process or it cannot be seen.
bool process_read(pid_t pid, struct process_stat *out);

#endif
