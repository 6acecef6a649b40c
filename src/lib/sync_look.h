// SPDX-License-Identifier: MIT
// Inside of src/lib/: a look at the mirror in Postgres, as `sync status` and `doctor` tell of it.
#ifndef GENRUN_LIB_SYNC_LOOK_H
#define GENRUN_LIB_SYNC_LOOK_H

#include "lib/config.h"

struct sync_look {
    bool connected;
    bool pooled;       // through a pooler
    int version;       // of the mirror; 0: there is none
    int64_t orders;    // that are still to be carried out here
    int64_t synced_at; // the last contact of this node; 0: none
};

// Asks the Postgres of [sync], whose connection string is `url`. What is known is in *out, also after a failure, which
// says what to do.
int sync_look(const struct config *config, const char *url, const char *node, struct sync_look *out,
              struct err *e) must_check;

#endif
