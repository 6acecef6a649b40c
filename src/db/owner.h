// SPDX-License-Identifier: MIT
// The owner's lock: an flock on the database's own inode. The descriptor is
// opened before SQLite's and closed after them, and once a process: closing any
// descriptor of a file drops all of the process's POSIX locks on it, SQLite's
// too, so handles on the same file share one.
#ifndef GENRUN_DB_OWNER_H
#define GENRUN_DB_OWNER_H

#include "base/err.h"
#include <stdbool.h>

struct owner;

// Opens (with `create`: makes, mode 0600) the file; shared by all handles of the process on its inode.
int owner_open(struct owner **out, const char *path, bool create, struct err *e) must_check;
void owner_close(struct owner *owner);                             // NULL is fine
int owner_descriptor(const struct owner *owner);                   // for reading; not to be closed
bool owner_has_moved(const struct owner *owner, const char *path); // the path names another file now, or none
// Takes the lock for `holder`; ERR_CONFLICT when another process or another holder has it.
int owner_lock(struct owner *owner, const void *holder, struct err *e) must_check;
void owner_unlock(struct owner *owner, const void *holder);

// Rights beside that lock, each had by one holder of one process, and gone with it.
enum owner_right {
    OWNER_SERVE, // to serve the whole queue: one runner, also while it waits for a command that owns the database
    OWNER_SYNC,     // to sync with Postgres
    OWNER_SYNC_NEXT // to be the next one that does: whoever has the one before gives it up
};
#define OWNER_RIGHTS 3
bool owner_take(struct owner *owner, enum owner_right right, const void *holder);     // false: another has it
void owner_give(struct owner *owner, enum owner_right right, const void *holder);     // not had: fine
bool owner_is_taken(struct owner *owner, enum owner_right right, const void *holder); // by another

#endif
