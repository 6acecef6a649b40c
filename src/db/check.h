// SPDX-License-Identifier: MIT
// Whether a file is what it should be: SQLite's own checks, and the schema against
// the migrations that made it. Nothing is written. What the rows must satisfy is
// the domain's to say (queue/audit.h).
#ifndef GENRUN_DB_CHECK_H
#define GENRUN_DB_CHECK_H

#include "db/db.h"
#include "db/row.h"

// Takes (and frees) a row of check, problem, advice; non-zero ends the check.
typedef int (*check_each)(void *payload, struct row *row);

// Tells one problem; returns what the receiver did.
int check_tell(check_each each, void *payload, const char *check, const char *problem, const char *advice);
// The pages, the indexes (not with `quick`), the CHECKs and the references.
int check_file(struct db *db, bool quick, check_each each, void *payload, struct err *e) must_check;
// Each object of the schema as the migrations make it, and no trigger or index of others on genrun's tables.
// *current is false when migrations are pending: then that is told, and nothing else.
int check_schema(struct db *db, bool *current, check_each each, void *payload, struct err *e) must_check;

#endif
