// SPDX-License-Identifier: MIT
// Preloaded into genrun by tests: sets the wall clock off and makes the disk full,
// as a control file of three numbers says: wall clock offset in ms; 1: no file can
// grow; for how many ms the machine was suspended. Only this process sees it, so no machine is changed and no root is needed.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile struct control {
    int64_t offset_ms;
    int64_t full;
    int64_t slept_ms;
} * control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("GENRUN_SHIM");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, fd, 0);
    control = map == MAP_FAILED ? NULL : map;
    close(fd);
}

// By how much the clock is to be ahead: the monotonic one stands still in a sleep, these two do not.
static int64_t offset(clockid_t which) {
    if (!control)
        return 0;
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)
        return control->offset_ms + control->slept_ms;
    return which == CLOCK_BOOTTIME ? control->slept_ms : 0;
}

// ---- the wall clock ----

int clock_gettime(clockid_t which, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, out);
    int64_t ahead = offset(which);
    if (result == 0 && ahead != 0) {
        int64_t ns = out->tv_nsec + ahead % 1000 * 1000000;
        out->tv_sec += ahead / 1000 + (ns < 0 ? -1 : ns / 1000000000);
        out->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

// ---- the disk ----

// SQLite writes by pwrite alone; what is allocated already can be written on a full disk, too.
static int refuses(int fd, off_t end) {
    struct stat st;
    if (!control || !control->full || fstat(fd, &st) != 0 || end <= st.st_size)
        return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite");
    return refuses(fd, at + (off_t)length) ? -1 : real(fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    return refuses(fd, at + (off_t)length) ? -1 : real(fd, bytes, length, at);
}
