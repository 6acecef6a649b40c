// SPDX-License-Identifier: MIT
#include "base/depot.h"
#include "base/mem.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWNER ".database" // a link to whose folder it is
#define PART ".part-"     // a copy on its way in
#define COPY_CHUNK ((size_t)1 << 16)

static int failed(const char *folder, const char *what, struct err *e) {
    int error = errno;
    if (error == ENOSPC || error == EDQUOT)
        return err_set(e, ERR_DATABASE, "folder %s: %s, the disk is full: free some space", folder, what);
    return err_set(e, ERR_DATABASE, "folder %s: %s (%s): check the folder and its disk", folder, what,
                   strerror(error));
}

int depot_make(const char *folder, struct err *e) {
    struct stat st;
    if (mkdir(folder, 0700) == 0)
        return 0;
    int error = errno;
    if (error == EEXIST && stat(folder, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return err_set(e, ERR_CONFIG, "folder %s for files cannot be made (%s): make it, or set data_dir", folder,
                   strerror(error == EEXIST ? ENOTDIR : error));
}

static int refuse_owner(int in, const char *folder, struct err *e) {
    char whose[1024];
    ssize_t length = readlinkat(in, OWNER, whose, sizeof whose - 1);
    whose[length > 0 ? length : 0] = 0;
    return err_set(e, ERR_CONFIG,
                   "folder %s holds the files of database %s: set a data_dir of its own for this one", folder,
                   whose);
}

int depot_own(const char *folder, const char *owner, bool take, bool *is_ours, struct err *e) {
    struct stat its, ours;
    int result = 0;
    *is_ours = false;
    int in = open(folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return errno == ENOENT && !take ? 0 : failed(folder, "it cannot be read", e);
    // The link of one that is gone, or was moved, is in nobody's way.
    bool there = fstatat(in, OWNER, &its, 0) == 0;
    if (there && (stat(owner, &ours) || its.st_dev != ours.st_dev || its.st_ino != ours.st_ino)) {
        result = refuse_owner(in, folder, e);
    } else if (there) {
        *is_ours = true;
    } else if (take) {
        unlinkat(in, OWNER, 0);
        *is_ours = symlinkat(owner, in, OWNER) == 0;
        if (!*is_ours && errno == EEXIST) // another thread was quicker
            result = depot_own(folder, owner, false, is_ours, e);
        else if (!*is_ours && errno != EPERM) // not every file system has links; there it goes without
            result = failed(folder, "it cannot be written", e);
    }
    close(in);
    return result;
}

int depot_temporary(const char *folder, int *fd, struct err *e) {
    *fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    // Not every file system has such files.
    if (*fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        char *path = mem_format("%s/" PART "XXXXXX", folder);
        *fd = mkostemp(path, O_CLOEXEC);
        if (*fd >= 0)
            unlink(path);
        free(path);
    }
    return *fd >= 0 ? 0 : failed(folder, "a temporary file cannot be made", e);
}

static bool copy(int from, int to) {
    char *chunk = mem_alloc(COPY_CHUNK, 1);
    off_t at = 0;
    ssize_t got;
    while ((got = pread(from, chunk, COPY_CHUNK, at)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        for (ssize_t done = 0; got > 0 && done < got;) {
            ssize_t n = write(to, chunk + done, (size_t)(got - done));
            if (n < 0 && errno != EINTR)
                got = -1;
            done += n > 0 ? n : 0;
        }
        if (got < 0)
            break;
        at += got;
    }
    free(chunk);
    return got == 0;
}

// The content under its name, where the descriptor's own file cannot get it.
static bool keep_copy(int folder, const char *name, int *fd) {
    char *part = mem_format(PART "%s", name);
    int to = openat(folder, part, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    bool kept = to >= 0 && flock(to, LOCK_SH) == 0 && copy(*fd, to) && fsync(to) == 0 &&
                renameat(folder, part, folder, name) == 0;
    int error = errno;
    if (kept) {
        close(*fd);
        *fd = to;
    } else if (to >= 0) {
        unlinkat(folder, part, 0);
        close(to);
    }
    free(part);
    errno = error;
    return kept;
}

static bool keep(int folder, const char *name, int *fd) {
    char self[64];
    struct stat st;
    snprintf(self, sizeof self, "/proc/self/fd/%d", *fd);
    // A file that has a name already, and one of another folder's disk, is copied.
    bool linked = fstat(*fd, &st) == 0 && st.st_nlink == 0 && fchmod(*fd, 0600) == 0 &&
                  flock(*fd, LOCK_SH) == 0 && fsync(*fd) == 0 &&
                  linkat(AT_FDCWD, self, folder, name, AT_SYMLINK_FOLLOW) == 0;
    return linked || keep_copy(folder, name, fd);
}

int depot_keep(const char *folder, const char *name, int *fd, int64_t *bytes, struct err *e) {
    struct stat st;
    int result = depot_make(folder, e);
    if (result)
        return result;
    int in = open(folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return failed(folder, "it cannot be opened", e);
    if (!keep(in, name, fd) || fstat(*fd, &st) != 0 || fsync(in) != 0) {
        result = failed(folder, "a file cannot be written", e);
        unlinkat(in, name, 0);
    } else {
        *bytes = st.st_size;
    }
    close(in);
    return result;
}

int depot_open(const char *folder, const char *name, int *fd, struct err *e) {
    char *path = mem_format("%s/%s", folder, name);
    *fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int error = errno;
    free(path);
    errno = error;
    if (*fd >= 0)
        return 0;
    if (errno == ENOENT || errno == ELOOP)
        return err_set(e, ERR_NOT_FOUND, "the content of %s is gone from folder %s: upload it again", name,
                       folder);
    return failed(folder, "a file cannot be opened", e);
}

int depot_remove(const char *folder, const char *name, struct err *e) {
    char *path = mem_format("%s/%s", folder, name);
    int result = unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR
                     ? 0
                     : failed(folder, "a file cannot be removed", e);
    free(path);
    return result;
}

// One that is just being added is locked until its row is stored. Asked for in this order: locked first, then known.
static int sweep_one(int folder, const char *name, int (*is_known)(void *, const char *, struct err *),
                     void *payload, int64_t *removed, struct err *e) {
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return 0;
    int known = 1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        known = text_starts_with(name, PART) ? 0 : is_known(payload, name, e);
    if (known == 0 && unlinkat(folder, name, 0) == 0)
        ++*removed;
    close(fd);
    return known < 0 ? (int)e->code : 0;
}

int depot_sweep(const char *folder, const char *prefix,
                int (*is_known)(void *payload, const char *name, struct err *e), void *payload,
                int64_t *removed, struct err *e) {
    int result = 0;
    *removed = 0;
    DIR *in = opendir(folder);
    if (!in)
        return errno == ENOENT ? 0 : failed(folder, "it cannot be read", e);
    for (struct dirent *entry; !result && (entry = readdir(in));)
        if (text_starts_with(entry->d_name, prefix) || text_starts_with(entry->d_name, PART))
            result = sweep_one(dirfd(in), entry->d_name, is_known, payload, removed, e);
    closedir(in);
    return result;
}
