// SPDX-License-Identifier: MIT
// The mirror's tables in Postgres: made, migrated, and told from tables that are not ours. The files of
// schema/postgres/ are embedded in name order and applied forward only.
#ifndef GENRUN_SYNC_INIT_H
#define GENRUN_SYNC_INIT_H

#include "base/err.h"
#include "sync/pg.h"
#include <stdbool.h>

struct init_migration {
    const char *name; // "0001_mirror.sql"
    const char *sql;
};
extern const struct init_migration init_migrations[]; // ends with a NULL name

struct init_report {
    int before, after; // versions; 0: there was no mirror
    bool schema_made;
    int adopted; // tables of these names that were there without being ours
    int added;   // columns that were added to them
    int mended;  // tables of our own that were gone, and are made anew
};

struct init_options {
    bool adopt;
    int64_t patience_ms; // with others that use the tables; 0: 60 s
    // Others have been waited for a second. May be NULL.
    void (*on_waiting)(void *payload);
    void *payload;
};

int init_newest(void); // the version that this program makes

// Makes or migrates the mirror in `schema` in one transaction, alone. Tables, views and functions of its names that are
// not its own are left alone (ERR_CONFLICT), unless `adopt`: then their columns are checked first, and what is missing
// is added where no row can be harmed. A table of its own that is gone is made anew, and every box brings its rows there
// again. ERR_CONFLICT also for columns that differ, for a mirror newer than this program, and when others use the tables
// for too long; nothing is changed then. `report` may be NULL.
int init_mirror(struct pg *pg, const char *schema, const struct init_options *options,
                struct init_report *report, struct err *e) must_check;
// The version of the mirror in `schema`; 0: there is none.
int init_version(struct pg *pg, const char *schema, int *version, struct err *e) must_check;
// The same; ERR_CONFIG, with what to do, unless it is the one that this program works with.
int init_check(struct pg *pg, const char *schema, int *version, struct err *e) must_check;

#endif
