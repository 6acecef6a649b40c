// SPDX-License-Identifier: MIT
#include "base/process.h"
#include <errno.h>
#include <signal.h>
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

// A field of proc(5)'s stat by its number; `rest` is what follows field 2. 0 when it is not there.
static unsigned long long field(const char *rest, int number) {
    for (int n = 3; n < number && rest; n++)
        rest = strchr(rest + 1, ' ');
    return rest ? strtoull(rest, NULL, 10) : 0;
}

bool process_read(pid_t pid, struct process_stat *out) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = 0;
    // The name in field 2 may hold anything; it ends at the last parenthesis.
    char *name = strchr(line, '('), *rest = strrchr(line, ')');
    *out = (struct process_stat){0};
    if (!name || !rest || strlen(rest) < 3)
        return false;
    snprintf(out->name, sizeof out->name, "%.*s", (int)(rest - name - 1), name + 1);
    rest++;
    out->state = rest[1];
    out->parent = (pid_t)field(rest, 4);
    out->group = (pid_t)field(rest, 5);
    out->session = (pid_t)field(rest, 6);
    out->started = field(rest, 22);
    out->in_exec = field(rest, 23) > 0 && field(rest, 51) == 0; // it has memory, but no environment in it
    return true;
}

// 0 when there is no such process.
static unsigned long long started(pid_t pid) {
    struct process_stat stat;
    return process_read(pid, &stat) ? stat.started : 0;
}

// Which process ids are the same: the inode of the namespace; 0 where it cannot be told.
static unsigned long long pid_namespace(void) {
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (unsigned long long)st.st_ino : 0;
}

void process_identity(char *out, size_t size) {
    char boot[64];
    process_boot(boot, sizeof boot);
    snprintf(out, size, "%s:%llu:%ld:%llu", boot, pid_namespace(), (long)getpid(), started(getpid()));
}

bool process_may_live(const char *identity, int64_t silent_ms) {
    char boot[64];
    long pid = 0;
    unsigned long long space = 0, start = 0;
    process_boot(boot, sizeof boot);
    size_t n = strlen(boot);
    if (strncmp(identity, boot, n) != 0 || sscanf(identity + n, ":%llu:%ld:%llu", &space, &pid, &start) != 3)
        return false;
    // Not to be seen from here (another container, no /proc): as long as it gives signs of life.
    if (space == 0 || space != pid_namespace() || start == 0)
        return silent_ms < UNSEEN_MS;
    unsigned long long now = pid > 0 ? started((pid_t)pid) : 0;
    // /proc may hide what belongs to others (hidepid), kill(2) does not.
    if (now == 0 && pid > 0 && kill((pid_t)pid, 0) != 0 && errno == EPERM)
        return silent_ms < UNSEEN_MS;
    return pid > 0 && now == start;
}
