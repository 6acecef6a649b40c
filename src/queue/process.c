// SPDX-License-Identifier: MIT
// Which process is which: a process id alone is used again after a while.
#include "queue/queue.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNSEEN_MS 3600000 // a writer that cannot be looked at and was silent for so long is gone

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

// Which process ids are the same: the inode of the namespace; 0 where it cannot be told.
static unsigned long long pid_namespace(void) {
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (unsigned long long)st.st_ino : 0;
}

void process_identity(char *out, size_t size) {
    char boot[64];
    process_boot(boot, sizeof boot);
    snprintf(out, size, "%s:%llu:%ld:%llu", boot, pid_namespace(), (long)getpid(), start_time(getpid()));
}

bool process_may_live(const char *identity, int64_t silent_ms) {
    char boot[64];
    long pid = 0;
    unsigned long long space = 0, started = 0;
    process_boot(boot, sizeof boot);
    size_t n = strlen(boot);
    if (strncmp(identity, boot, n) != 0 ||
        sscanf(identity + n, ":%llu:%ld:%llu", &space, &pid, &started) != 3)
        return false;
    // Not to be seen from here (another container, no /proc): as long as it gives signs of life.
    if (space == 0 || space != pid_namespace() || started == 0)
        return silent_ms < UNSEEN_MS;
    return pid > 0 && start_time(pid) == started;
}
