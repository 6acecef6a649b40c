// SPDX-License-Identifier: MIT
// The process-wide list of descriptors that the owner's lock hangs on.
#include "db/owner.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// From this byte on each right locks one: beyond SQLite's own (at 1 GiB) and beyond any database. OFD locks, which like
// the flock belong to the descriptor.
#define FIRST_BYTE (INT64_C(1) << 60)

struct owner {
    struct owner *next;
    dev_t device;
    ino_t inode;
    int fd;
    int users;
    const void *holder;
    const void *holders[OWNER_RIGHTS];
};

// POSIX locks belong to the process, so the list of descriptors must, too.
static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct owner *list;

static int open_error(const char *path, bool create, struct err *e) {
    switch (errno) {
    case ENOENT:
        if (!create)
            return err_set(e, ERR_NOT_FOUND,
                           "database %s does not exist: submit something, or name another with -d", path);
        return err_set(e, ERR_DATABASE,
                       "database %s cannot be made, it is a link into a folder that does not exist: "
                       "make that folder",
                       path);
    case ELOOP:
        return err_set(e, ERR_DATABASE, "database %s is a chain of links without end: name the file itself",
                       path);
    case ENOSPC:
    case EDQUOT:
        return err_set(e, ERR_DATABASE, "database %s cannot be made, the disk is full: free some space",
                       path);
    case EACCES:
    case EPERM:
    case EROFS:
        if (access(path, R_OK) == 0)
            return err_set(e, ERR_DATABASE,
                           "database %s is read-only: check the rights of the file and its folder", path);
        return err_set(e, ERR_DATABASE,
                       "database %s cannot be opened: check the rights of the file and its folders", path);
    default:
        return err_set(e, ERR_DATABASE, "database %s cannot be opened (%s): check the path", path,
                       strerror(errno));
    }
}

int owner_open(struct owner **out, const char *path, bool create, struct err *e) {
    *out = NULL;
    pthread_mutex_lock(&list_mutex);
    int result = 0;
    struct stat st;
    struct owner *o = NULL;
    // Known already: no second descriptor may be opened and closed on it.
    if (stat(path, &st) == 0) {
        for (o = list; o; o = o->next)
            if (o->device == st.st_dev && o->inode == st.st_ino)
                break;
        if (!o && !S_ISREG(st.st_mode)) {
            result = err_set(e, ERR_DATABASE, "database %s is not a regular file: name a file with -d", path);
            goto out;
        }
    }
    if (!o) {
        // Not blocking: what was a file a moment ago may be a FIFO now.
        int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (create ? O_CREAT : 0), 0600);
        if (fd < 0) {
            result = open_error(path, create, e);
            goto out;
        }
        if (fstat(fd, &st) != 0) {
            result = err_set(e, ERR_DATABASE, "database %s cannot be examined: %s", path, strerror(errno));
            close(fd);
            goto out;
        }
        o = mem_alloc(1, sizeof *o);
        *o = (struct owner){.next = list, .device = st.st_dev, .inode = st.st_ino, .fd = fd};
        list = o;
    }
    o->users++;
    *out = o;
out:
    pthread_mutex_unlock(&list_mutex);
    return result;
}

int owner_descriptor(const struct owner *owner) {
    return owner->fd;
}

bool owner_has_moved(const struct owner *owner, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR;
    return st.st_dev != owner->device || st.st_ino != owner->inode;
}

void owner_close(struct owner *owner) {
    if (!owner)
        return;
    pthread_mutex_lock(&list_mutex);
    if (--owner->users == 0) {
        for (struct owner **p = &list; *p; p = &(*p)->next)
            if (*p == owner) {
                *p = owner->next;
                break;
            }
        close(owner->fd);
        free(owner);
    }
    pthread_mutex_unlock(&list_mutex);
}

int owner_lock(struct owner *owner, const void *holder, struct err *e) {
    int result = 0;
    pthread_mutex_lock(&list_mutex);
    if (owner->holder == holder)
        goto out;
    if (owner->holder || flock(owner->fd, LOCK_EX | LOCK_NB) != 0)
        result = err_set(e, ERR_CONFLICT,
                         "another runner has this database: stop it first, or use another database");
    else
        owner->holder = holder;
out:
    pthread_mutex_unlock(&list_mutex);
    return result;
}

void owner_unlock(struct owner *owner, const void *holder) {
    pthread_mutex_lock(&list_mutex);
    if (owner->holder == holder) {
        flock(owner->fd, LOCK_UN);
        owner->holder = NULL;
    }
    pthread_mutex_unlock(&list_mutex);
}

static struct flock byte_lock(enum owner_right right, short type) {
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = FIRST_BYTE + (int64_t)right, .l_len = 1};
}

bool owner_take(struct owner *owner, enum owner_right right, const void *holder) {
    struct flock lock = byte_lock(right, F_WRLCK);
    pthread_mutex_lock(&list_mutex);
    const void **had = &owner->holders[right];
    if (!*had && fcntl(owner->fd, F_OFD_SETLK, &lock) == 0)
        *had = holder;
    bool taken = *had == holder;
    pthread_mutex_unlock(&list_mutex);
    return taken;
}

void owner_give(struct owner *owner, enum owner_right right, const void *holder) {
    struct flock lock = byte_lock(right, F_UNLCK);
    pthread_mutex_lock(&list_mutex);
    if (owner->holders[right] == holder) {
        fcntl(owner->fd, F_OFD_SETLK, &lock);
        owner->holders[right] = NULL;
    }
    pthread_mutex_unlock(&list_mutex);
}

bool owner_is_taken(struct owner *owner, enum owner_right right, const void *holder) {
    struct flock lock = byte_lock(right, F_WRLCK);
    pthread_mutex_lock(&list_mutex);
    const void *had = owner->holders[right];
    bool taken = had ? had != holder : fcntl(owner->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    pthread_mutex_unlock(&list_mutex);
    return taken;
}
