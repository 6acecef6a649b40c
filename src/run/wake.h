// SPDX-License-Identifier: MIT
// Inside of src/run/: noticing that another process has written. The kernel
// tells of writes to the write-ahead log, but before the commit can be seen, so
// the database is asked again a few times after each notice.
#ifndef GENRUN_RUN_WAKE_H
#define GENRUN_RUN_WAKE_H

#include "db/db.h"
#include "loop/loop.h"
#include <stdbool.h>
#include <stdint.h>

struct wake;

// Never fails: without inotify, polling is left. The database must have been read before (so that its log exists).
struct wake *wake_open(struct db *db, struct loop *loop);
void wake_close(struct wake *wake);
// When the database should be asked next: monotonic; INT64_MAX: no notice came.
int64_t wake_due_ms(const struct wake *wake);
// Asks the database; true when another connection has committed since the last call.
bool wake_has_changed(struct wake *wake, int64_t now_ms);

#endif
