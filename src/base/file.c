// SPDX-License-Identifier: MIT
// Files: whole reads, lines, paths, and the kind of file system below a path.
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define READ_CHUNK 65536
#define LINE_CHUNK 4096

static int refuse(struct err *e, const char *path, int error) {
    return err_set(e, ERR_INVALID, "cannot read %s (%s): check the path and its rights", path,
                   strerror(error));
}

// Reads to the end of `fd` into `out`.
static int read_all(int fd, const char *path, size_t maximum, struct buf *out, struct err *e) {
    char chunk[READ_CHUNK];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0) {
            return ERR_OK;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return refuse(e, path, errno);
        }
        if ((size_t)n > maximum - out->length || !buf_append(out, chunk, (size_t)n)) {
            size_t most = maximum < out->maximum ? maximum : out->maximum;
            return err_set(e, ERR_INVALID, "%s is too large: at most %zu bytes are read", path, most);
        }
    }
}

int file_read(const char *path, size_t maximum, struct buf *out, struct err *e) {
    int rc;
    struct stat st;
    buf_clear(out);
    // without O_NONBLOCK a pipe without a writer would hold us here
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = refuse(e, path, errno);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = err_set(e, ERR_INVALID, "%s is %s: give a regular file", path,
                     S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
        goto out;
    }
    rc = read_all(fd, path, maximum, out, e);
out:
    if (fd >= 0) {
        close(fd);
    }
    if (rc) {
        buf_clear(out);
    }
    return rc;
}

enum piece { PIECE_PART, PIECE_LINE, PIECE_LAST }; // more follows; an LF ended it; the file ended it

// Reads up to one line with fgets, which searches at memory speed but tells no length; lines may
// hold NULs. The chunk is filled with LF before: the first LF is the line's own only if a NUL follows.
static bool read_piece(FILE *stream, char chunk[LINE_CHUNK], size_t *length, enum piece *piece) {
    memset(chunk, '\n', LINE_CHUNK);
    if (!fgets(chunk, LINE_CHUNK, stream)) {
        return false;
    }
    const char *lf = memchr(chunk, '\n', LINE_CHUNK);
    if (!lf) {
        *length = LINE_CHUNK - 1;
        *piece = PIECE_PART;
    } else if (lf + 1 < chunk + LINE_CHUNK && lf[1] == 0) {
        *length = (size_t)(lf - chunk);
        *piece = PIECE_LINE;
    } else {
        *length = (size_t)(lf - chunk) - 1;
        *piece = PIECE_LAST;
    }
    return true;
}

int file_read_line(FILE *stream, struct buf *line, const char **ending) {
    char chunk[LINE_CHUNK];
    bool any = false;     // something was read
    bool held_cr = false; // a CR at the end of a chunk: the LF may follow
    const char *end = "";
    buf_clear(line);
    for (;;) {
        size_t length;
        enum piece piece;
        if (!read_piece(stream, chunk, &length, &piece)) {
            if (ferror(stream)) {
                return -1;
            }
            if (held_cr) {
                buf_char(line, '\r');
            }
            break;
        }
        any = true;
        bool ends_crlf = held_cr && piece == PIECE_LINE && length == 0;
        if (held_cr && !ends_crlf) {
            buf_char(line, '\r');
        }
        held_cr = piece != PIECE_LAST && length && chunk[length - 1] == '\r';
        if (!buf_append(line, chunk, length - held_cr)) {
            return -1; // the line may never end, as that of /dev/zero
        }
        if (piece == PIECE_LINE) {
            end = held_cr || ends_crlf ? "\r\n" : "\n";
            break;
        }
    }
    if (ending) {
        *ending = end;
    }
    return line->overflow ? -1 : any;
}

char *file_resolve(const char *path, const char *base_file) {
    const char *slash = base_file ? strrchr(base_file, '/') : NULL;
    if (*path == '/' || *path == 0 || !slash) {
        return mem_copy(path);
    }
    return mem_format("%.*s%s", (int)(slash - base_file + 1), base_file, path);
}

// statfs(2): f_type. What FUSE carries (sshfs, virtiofs, s3fs …) all has the one number.
static const struct {
    uint32_t type;
    const char *name;
} network_types[] = {
    {0x00006969, "NFS"},        {0xFF534D42, "CIFS"},   {0xFE534D42, "SMB2"},      {0x0000517B, "SMB"},
    {0x01021997, "9p"},         {0x65735546, "FUSE"},   {0x5346414F, "AFS"},       {0x6B414653, "AFS"},
    {0x73757245, "Coda"},       {0x00C36400, "CephFS"}, {0x0BD00BD0, "Lustre"},    {0x0000564C, "NCP"},
    {0x786F4256, "VirtualBox"}, {0xBACBACBC, "VMware"}, {0x7C7C6673, "Parallels"},
};

bool file_is_on_network(const char *path, const char **name) {
    struct statfs fs;
    char *probe = mem_copy(*path ? path : ".");
    int rc;
    while ((rc = statfs(probe, &fs)) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        // not there yet: ask about the nearest folder that is
        char *slash = strrchr(probe, '/');
        if (strcmp(probe, ".") == 0 || strcmp(probe, "/") == 0) {
            break;
        }
        if (!slash) {
            strcpy(probe, ".");
        } else {
            slash[slash == probe] = 0;
        }
    }
    free(probe);
    for (size_t i = 0; rc == 0 && i < sizeof network_types / sizeof network_types[0]; i++) {
        if ((uint32_t)fs.f_type == network_types[i].type) {
            if (name) {
                *name = network_types[i].name;
            }
            return true;
        }
    }
    return false;
}
