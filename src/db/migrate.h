// SPDX-License-Identifier: MIT
// Migrations: the files of schema/ are embedded in name order (0001_name.sql)
// and applied forward only, each in one transaction, with a checksum kept so
// that an edited file is noticed. To change the schema add the next file.
#ifndef GENRUN_DB_MIGRATE_H
#define GENRUN_DB_MIGRATE_H

#include "base/err.h"
#include <sqlite3.h>

struct migration {
    const char *name; // "0001_initial.sql"
    const char *sql;
};
extern const struct migration migration_list[]; // ends with a NULL name

#define MIGRATE_APPLICATION_ID 0x67656e72 // "genr"

int migrate_newest(void); // the version that this program makes
// Makes a fresh database genrun's own: the application id, alone on its first page, before there is a log.
int migrate_mark(sqlite3 *handle, const char *path, struct err *e) must_check;
// Looks without writing: ERR_DATABASE for a file of another program, a newer or a damaged one.
// *pending counts the migrations to apply.
int migrate_examine(sqlite3 *handle, const char *path, int *pending, struct err *e) must_check;
// Applies what is pending; safe when two processes do so at once.
int migrate_apply(sqlite3 *handle, const char *path, struct err *e) must_check;

#endif
