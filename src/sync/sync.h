// SPDX-License-Identifier: MIT
// A session of the sync: its own reading connection here, its own connection to Postgres, and who writes for it here. A
// pass brings there what is new here, fetches the orders typed there, and has them carried out. Blocking: it belongs to a
// thread of its own, or to a command.
#ifndef GENRUN_SYNC_SYNC_H
#define GENRUN_SYNC_SYNC_H

#include "base/err.h"
#include "db/db.h"
#include "sync/dial.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// Who writes to the database for a session: with a connection of its own, or on the runner's loop.
struct sync_host {
    // Runs `change` in a transaction, and returns when that has ended. Each is short.
    int (*write)(void *payload, int (*change)(void *what, struct db *db, struct err *e), void *what,
                 struct err *e);
    // A batch job was cancelled by an order, in this state of `what`: its items are the runner's, or the host's, to
    // sweep. May be NULL.
    void (*on_batch_cancelled)(void *payload, const char *id);
    // Another session of this database has been waited for a second. May be NULL.
    void (*on_waiting)(void *payload);
    void *payload;
};

struct sync_options {
    const char *database; // path
    const char *url, *schema;
    const char *node;   // what this box is called
    bool node_is_given; // by a person: then it must be the one that was settled
    int page;           // log rows in a transaction
    bool deletes;       // what is deleted here is deleted there, from now on
    const char *version;
    int64_t timeout_ms;  // of a statement there; 0: 60 s
    int64_t every_ms;    // between two passes of a runner; 0: they are by hand
    bool gives_way;      // a pass ends early for another session that waits, and the next one is after it
    int64_t patience_ms; // with another session; 0: without end
    const atomic_bool *ended; // set by another thread: whatever waits ends. NULL: never
    struct dial_pulse *pulse; // may be NULL
};

struct sync_result {
    int64_t rows, refused;    // written there, and not taken
    int64_t applied, denied;  // orders carried out, and refused
    int64_t position, newest; // how far the log was read, and its end
};

struct sync;
// Opens the database for reading; Postgres is connected to by the first pass. The options' texts are copied.
int sync_open(struct sync **out, const struct sync_options *options, const struct sync_host *host,
              struct err *e) must_check;
void sync_close(struct sync *s); // NULL is fine
// One pass: all that is new. Sessions of one database, also of several processes, go one by one. *result counts, also
// after a failure. ERR_REMOTE: Postgres cannot be reached, or does not do it now; ERR_CONFIG: there is no mirror, or one of
// another version, or without the rights; ERR_CONFLICT: another box has this node's name, or another session goes on.
int sync_pass(struct sync *s, struct sync_result *result, struct err *e) must_check;
// Has the log grown since the last pass?
bool sync_has_news(struct sync *s);
// What this box is called there; NULL before the first pass.
const char *sync_node(const struct sync *s);

#endif
