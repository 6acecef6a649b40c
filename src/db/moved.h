// SPDX-License-Identifier: MIT
// A database whose file was moved, deleted or replaced while it is open. Its connections still have the old file, but
// its log lies where the next one to open the path takes it for the log of what is there then.
#ifndef GENRUN_DB_MOVED_H
#define GENRUN_DB_MOVED_H

#include "db/db.h"

// Asks the file system, which takes a microsecond.
bool db_has_moved(const struct db *db);
// ERR_DATABASE when it has: another connection to the path would have another file.
int db_check_place(const struct db *db, struct err *e) must_check;
// Copies the log into the file, wherever that is now, and empties it; what was deleted is saved beside the path.
// Nothing may be written after that. Always returns ERR_DATABASE, whose message tells where everything is.
int db_rescue(struct db *db, struct err *e) must_check;

#endif
