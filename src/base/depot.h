// SPDX-License-Identifier: MIT
// A folder of files that are kept under names of our own: each comes in whole and
// durable, or not at all. Beside each stands a row somewhere; the file comes before
// its row and goes after it, so a crash leaves at most a file without a row, which
// depot_sweep removes.
#ifndef GENRUN_BASE_DEPOT_H
#define GENRUN_BASE_DEPOT_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

// Makes the folder, mode 0700, where it is missing (its own folder must be there). ERR_CONFIG.
int depot_make(const char *folder, struct err *e) must_check;
// Marks the folder as that of the file at `owner`, by a link with its path; made when `take`. *is_ours: it is marked so.
// Marked for another file that is still there: ERR_CONFIG. Two owners would sweep each other's files away.
int depot_own(const char *folder, const char *owner, bool take, bool *is_ours, struct err *e) must_check;
// An empty file without a name in the folder, for reading and writing; the caller closes *fd.
int depot_temporary(const char *folder, int *fd, struct err *e) must_check;
// Keeps the content of *fd, a regular file, under `name`, mode 0600, synced to the disk; *bytes is its size. Made by
// depot_temporary of that folder it gets its name, else it is copied, and *fd is then the copy. As long as *fd is
// open depot_sweep leaves the file alone: close it when its row is stored. ERR_DATABASE when it cannot be written.
int depot_keep(const char *folder, const char *name, int *fd, int64_t *bytes, struct err *e) must_check;
// For reading; the caller closes *fd. ERR_NOT_FOUND.
int depot_open(const char *folder, const char *name, int *fd, struct err *e) must_check;
// None there is fine.
int depot_remove(const char *folder, const char *name, struct err *e) must_check;
// Removes the files whose names begin with `prefix`, that `is_known` does not know, and that nobody is just adding;
// *removed counts them. No folder is fine. A result below 0 from is_known ends it with that failure's code, in e.
int depot_sweep(const char *folder, const char *prefix,
                int (*is_known)(void *payload, const char *name, struct err *e), void *payload,
                int64_t *removed, struct err *e) must_check;

#endif
