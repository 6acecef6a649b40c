// SPDX-License-Identifier: MIT
// Files: whole reads with a cap, lines of any length, and where a file lives.
#ifndef GENRUN_BASE_FILE_H
#define GENRUN_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stdio.h>

// Reads a whole regular file of at most `maximum` bytes into `out`.
int file_read(const char *path, size_t maximum, struct buf *out, struct err *e) must_check;
// Reads one line, without its LF or CRLF, into `line` (cleared first); *ending (may be NULL) is that "\n",
// "\r\n", or "" for a last line without. Returns 1 with a line, 0 at the end, -1 on a read error (errno is
// set) or a line over the buffer's maximum (line->overflow; where the stream stands then is not told).
int file_read_line(FILE *stream, struct buf *line, const char **ending);
// `path` itself when absolute, else joined to the folder of `base_file` (or the current one for NULL).
// The caller frees it.
char *file_resolve(const char *path, const char *base_file);
// True when the path (or its folder, where the file does not exist yet) is on a network or
// pass-through file system (NFS, CIFS, 9p, virtiofs, FUSE-sshfs …); `name` receives its name.
bool file_is_on_network(const char *path, const char **name);

#endif
