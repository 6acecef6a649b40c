// SPDX-License-Identifier: MIT
// Which process is which: a process id alone is used again after a while.
#include "queue/queue.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void process_boot(char *out, size_t size) {
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    snprintf(out, size, "unknown");
    if (!f)
        return;
    if (fgets(out, (int)size, f))
        out[strcspn(out, "\n")] = 0;
    fclose(f);
}

// Field 22 of /proc/PID/stat (proc(5)): when it started, in clock ticks since boot; 0 when there is no such process.
static unsigned long long start_time(long pid) {
    char path[64], line[1024];
    unsigned long long ticks = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = 0;
    // The name in field 2 may hold anything; it ends at the last parenthesis.
    char *p = strrchr(line, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p)
        ticks = strtoull(p, NULL, 10);
    return ticks;
}

void process_identity(char *out, size_t size) {
    char boot[64];
    process_boot(boot, sizeof boot);
    snprintf(out, size, "%s:%ld:%llu", boot, (long)getpid(), start_time(getpid()));
}

bool process_is_alive(const char *identity) {
    char boot[64];
    long pid = 0;
    unsigned long long started = 0;
    process_boot(boot, sizeof boot);
    size_t n = strlen(boot);
    if (strncmp(identity, boot, n) != 0 || sscanf(identity + n, ":%ld:%llu", &pid, &started) != 2)
        return false;
    return pid > 0 && start_time(pid) == started && started != 0;
}
