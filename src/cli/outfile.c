// SPDX-License-Identifier: MIT
// O_TMPFILE where the file system has it, so that not even a killed process
// leaves a part behind; else a hidden name beside the place.
#include "cli/outfile.h"
#include "base/id.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return mem_copy(".");
    return slash == path ? mem_copy("/") : mem_copy_bytes(path, (size_t)(slash - path));
}

static char *name_beside(const char *path) {
    char random[17];
    id_random_hex(random, 8);
    char *folder = folder_of(path);
    char *name = mem_format("%s/.genrun-%s", folder, random);
    free(folder);
    return name;
}

// Opens a file that does not carry its name yet; -1 with errno.
static int open_nameless(struct outfile *f) {
    char *folder = folder_of(f->path);
    int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    free(folder);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT))
        return fd;
    f->temporary = name_beside(f->path);
    fd = open(f->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0) {
        int reason = errno;
        free(f->temporary);
        f->temporary = NULL;
        errno = reason;
    }
    return fd;
}

int outfile_open(struct outfile *f, const char *path, struct err *e) {
    *f = (struct outfile){0};
    struct stat st;
    bool there = stat(path, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        return err_set(e, ERR_INVALID, "%s is a directory: name a file", path);
    int fd;
    struct stat out;
    if (there && fstat(STDOUT_FILENO, &out) == 0 && out.st_dev == st.st_dev && out.st_ino == st.st_ino) {
        // /dev/stdout into a file: to replace that one would lose what else goes there.
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    } else if (there && !S_ISREG(st.st_mode)) {
        fd = open(path, O_WRONLY | O_CLOEXEC);
    } else {
        char *resolved = there ? realpath(path, NULL) : NULL;
        f->path = resolved != NULL ? resolved : mem_copy(path);
        // What cannot be written must not be replaced either, though its folder would allow it.
        fd = there && access(f->path, W_OK) != 0 ? -1 : open_nameless(f);
    }
    f->stream = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f->stream == NULL) {
        int reason = errno;
        if (fd >= 0)
            close(fd);
        outfile_drop(f);
        return err_set(e, ERR_INVALID, "cannot write %s (%s): name a file that can be written", path,
                       strerror(reason));
    }
    if (there && f->path != NULL)
        (void)!fchmod(fd, st.st_mode & 0777); // else it has the rights of a new file
    return ERR_OK;
}

// Gives a file without a name one beside its place, from where it can be renamed over it.
static int name_nameless(struct outfile *f) {
    char proc[40];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fileno(f->stream));
    char *name = name_beside(f->path);
    if (linkat(AT_FDCWD, proc, AT_FDCWD, name, AT_SYMLINK_FOLLOW) != 0) {
        int reason = errno;
        free(name);
        errno = reason;
        return -1;
    }
    f->temporary = name;
    return 0;
}

// Writes out what is pending; errno of the failure, 0 for success. The stream only remembers that a
// write failed, not why, so then one more byte asks: nothing of the file is kept in any case.
static int flush_reason(FILE *stream) {
    errno = 0;
    if (fflush(stream) != 0)
        return errno != 0 ? errno : EIO;
    if (!ferror(stream))
        return 0;
    return write(fileno(stream), "", 1) < 0 ? errno : EIO;
}

int outfile_commit(struct outfile *f, struct err *e) {
    int reason = flush_reason(f->stream);
    if (reason == 0 && f->path != NULL) {
        bool named = fsync(fileno(f->stream)) == 0 && (f->temporary != NULL || name_nameless(f) == 0);
        reason = named ? 0 : errno;
    }
    if (fclose(f->stream) != 0 && reason == 0)
        reason = errno;
    f->stream = NULL;
    if (reason == 0 && f->path != NULL && rename(f->temporary, f->path) != 0)
        reason = errno;
    int code = ERR_OK;
    if (reason != 0) {
        code = err_set(e, ERR_WORK, "cannot write %s (%s): nothing was kept, free space or write elsewhere",
                       f->path != NULL ? f->path : "the output", strerror(reason));
    } else {
        free(f->temporary); // it has its own name now
        f->temporary = NULL;
    }
    outfile_drop(f);
    return code;
}

void outfile_drop(struct outfile *f) {
    if (f->stream != NULL)
        fclose(f->stream);
    if (f->temporary != NULL)
        unlink(f->temporary);
    free(f->temporary);
    free(f->path);
    *f = (struct outfile){0};
}
