// SPDX-License-Identifier: MIT
// What a file says of itself before SQLite opens it: opening the database of
// another program could leave files beside it, recover it or wait for its locks.
#ifndef GENRUN_DB_HEADER_H
#define GENRUN_DB_HEADER_H

#include "base/err.h"
#include <stdbool.h>

// Looks at the first bytes of the file behind `fd`, without any lock. ERR_DATABASE for what is no database, one
// of another program, or one with a schema newer than `newest`. *fresh: it is empty, or has no table and no owner.
int header_examine(int fd, const char *path, int newest, bool *fresh, struct err *e) must_check;
// True when the file can be read, is not empty and is not genrun's. Not for a file that this process has open: closing
// it here would end SQLite's locks.
bool header_is_foreign(const char *path);
// True when the write-ahead log beside `path` holds something, or cannot be looked at.
bool header_log_has_content(const char *path);

#endif
