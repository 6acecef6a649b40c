// SPDX-License-Identifier: MIT
// Copies of the database, and its compaction.
#ifndef GENRUN_DB_BACKUP_H
#define GENRUN_DB_BACKUP_H

#include "db/db.h"

// Called now and then with the bytes written and about how many there will be; non-zero interrupts.
typedef int (*backup_progress)(void *payload, int64_t done, int64_t total);

// Writes what the database holds at this moment to the new file `path` (mode 0600), whole and checked or not at all:
// until then it has another name beside it, `path`.part-…. Works beside a runner. ERR_INVALID when `path` exists or
// cannot be made, ERR_WORK when it cannot be written, ERR_CONFLICT when it was interrupted.
int backup_write(struct db *db, const char *path, backup_progress progress, void *payload,
                 struct err *e) must_check;
// Owner only: gives the space of deleted rows back to the disk. *before and *after are the bytes of the file
// and its log. ERR_DATABASE, and nothing is changed, when the disk has no room for the copy that this takes.
int backup_vacuum(struct db *db, int64_t *before, int64_t *after, struct err *e) must_check;

#endif
