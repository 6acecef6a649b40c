// SPDX-License-Identifier: MIT
// Reads /proc/PID/environ, of one process or of all.
#include "loop/mark.h"

#include "base/buf.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define ENVIRONMENT_MAXIMUM ((size_t)8 << 20) // the kernel's limit on arguments and environment is 6 MB

static bool read_environment(pid_t pid, struct buf *out) {
    char path[64], part[16384];
    snprintf(path, sizeof path, "/proc/%ld/environ", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length;
    while ((length = read(fd, part, sizeof part)) > 0 && buf_append(out, part, (size_t)length)) {
    }
    close(fd);
    return length == 0;
}

static bool has_entry(const struct buf *environment, const char *entry) {
    const char *at = buf_borrow(environment), *end = at + environment->length;
    for (; at < end; at += strlen(at) + 1) // the buffer ends in a NUL
        if (strcmp(at, entry) == 0)
            return true;
    return false;
}

bool mark_is_on(pid_t pid, const char *const *marks) {
    struct buf environment;
    buf_init(&environment, ENVIRONMENT_MAXIMUM);
    bool all = *marks && read_environment(pid, &environment);
    for (; all && *marks; marks++)
        all = has_entry(&environment, *marks);
    buf_free(&environment);
    return all;
}

// By a pidfd taken first: the number may be another process's by the time of the signal.
static bool kill_marked(pid_t pid, const char *const *marks) {
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return false;
    bool killed = mark_is_on(pid, marks) && pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0;
    close(pidfd);
    return killed;
}

size_t mark_kill(const char *const *marks) {
    size_t count = 0;
    struct dirent *entry;
    DIR *all = opendir("/proc");
    while (all && (entry = readdir(all))) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;
        if (pid > 0 && pid != getpid())
            count += kill_marked(pid, marks);
    }
    if (all)
        closedir(all);
    return count;
}
