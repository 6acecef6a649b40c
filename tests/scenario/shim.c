// SPDX-License-Identifier: MIT
// Preloaded into genrun by tests: sets the wall clock off and makes the disk full,
// as a control file of three numbers says: wall clock offset in ms; 1: no file can
// grow; for how many ms the machine was suspended. What $GENRUN_SHIM_LACKS names is missing for those who ask, and names
// of hosts are looked up in the file $GENRUN_SHIM_HOSTS (see the end). Only this process sees it, so no machine is changed and no root is needed.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/timex.h>
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

// ---- what is missing: words of $GENRUN_SHIM_LACKS ----

static int lacks(const char *word) {
    const char *words = getenv("GENRUN_SHIM_LACKS");
    return words && strstr(words, word) != NULL;
}

// "space", "inodes": none; "much-space", "many-inodes": only few are left.
int statvfs(const char *restrict path, struct statvfs *restrict out) {
    static int (*real)(const char *, struct statvfs *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "statvfs");
    int result = real(path, out);
    if (result == 0) {
        unsigned long mib = (1ul << 20) / (out->f_frsize ? out->f_frsize : 1) + 1;
        out->f_bavail = lacks("much-space") ? 100 * mib : lacks("space") ? mib : 10000 * mib;
        out->f_files = 1000000;
        out->f_favail = lacks("many-inodes") ? 500 : lacks("inodes") ? 5 : 500000;
    }
    return result;
}

// "local": the disk is a network's.
int statfs(const char *path, struct statfs *out) {
    static int (*real)(const char *, struct statfs *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "statfs");
    int result = real(path, out);
    if (result == 0 && lacks("local"))
        out->f_type = 0x6969; // NFS
    return result;
}

// "sync": nothing keeps the clock.
int adjtimex(struct timex *out) {
    memset(out, 0, sizeof *out);
    out->status = lacks("sync") ? STA_UNSYNC : 0;
    return lacks("sync") ? TIME_ERROR : TIME_OK;
}

// "instances", "watches": of inotify.
int inotify_init1(int flags) {
    static int (*real)(int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "inotify_init1");
    errno = EMFILE;
    return lacks("instances") ? -1 : real(flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
    static int (*real)(int, const char *, uint32_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "inotify_add_watch");
    errno = ENOSPC;
    return lacks("watches") ? -1 : real(fd, path, mask);
}

// "owner": the index beside the database belongs to another. "self": everything does.
int stat(const char *restrict path, struct stat *restrict out) {
    static int (*real)(const char *, struct stat *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "stat");
    int result = real(path, out);
    size_t length = strlen(path);
    if (result == 0 &&
        (lacks("self") || (lacks("owner") && length > 4 && strcmp(path + length - 4, "-shm") == 0)))
        out->st_uid += 1;
    return result;
}

// ---- names of hosts ----

// A line of the file is a name and its addresses, which may change from one look to the next; without an address there is no
// such name. What the file does not name is looked up as ever. What lacks "names" gets no answer, ever; that it has asked
// stands beside the control file.
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out) {
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (lacks("names") && !(hints && hints->ai_flags & AI_NUMERICHOST)) {
        char asked[4096];
        snprintf(asked, sizeof asked, "%s.asked", getenv("GENRUN_SHIM"));
        close(open(asked, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        for (;;)
            pause();
    }
    const char *path = getenv("GENRUN_SHIM_HOSTS");
    FILE *file = path && name ? fopen(path, "re") : NULL;
    char line[512], *rest = NULL;
    char *found = NULL;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *word = strtok_r(line, " \n", &rest);
        found = word && strcmp(word, name) == 0 ? word : NULL;
    }
    if (file)
        fclose(file);
    if (!found)
        return real(name, service, hints, out);
    struct addrinfo **last = out;
    *out = NULL;
    for (char *word; (word = strtok_r(NULL, " \n", &rest));) {
        if (real(word, service, hints, last) == 0)
            while (*last)
                last = &(*last)->ai_next;
    }
    return *out ? 0 : EAI_NONAME;
}

// 203.0.113.*, which nobody has, is this machine: so that a public address can be reached.
int connect(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in v4;
    if (!getenv("GENRUN_SHIM_HOSTS") || length != sizeof v4 || address->sa_family != AF_INET)
        return real(fd, address, length);
    memcpy(&v4, address, sizeof v4);
    if (ntohl(v4.sin_addr.s_addr) >> 8 == 0xcb0071)
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(fd, (const struct sockaddr *)&v4, sizeof v4);
}
