// SPDX-License-Identifier: MIT
// One connection to Postgres, perhaps through a pooler that lends another of its own connections to each transaction. So
// nothing is left behind in a session and nothing is expected to be there: each transaction says all that it needs, with
// its BEGIN. With an end to every wait: connecting, a statement, a silent network. Blocking: it belongs to a thread of its
// own, or to a command.
#ifndef GENRUN_SYNC_PG_H
#define GENRUN_SYNC_PG_H

#include "base/err.h"
#include "sync/dial.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;
struct pg_result;

struct pg_options {
    const char
        *url; // connection string or URL of libpq; without an sslmode of its own it is verify-full, unless
              // every host is this machine
    const char *schema; // the search_path
    const char *
        node; // the box whose rows are written: its transactions go one by one, whoever sends them. NULL: only
              // looks
    int64_t
        timeout_ms; // of a statement; a little longer without an answer, and the connection is given up. 0: 60 s
    const atomic_bool
        *ended;         // set by another thread: whatever waits ends, and every later call fails. NULL: never
    struct dial **dial; // of the caller's, from try to try; dial.h. May be NULL
    struct dial_pulse *pulse; // may be NULL
};

// Connects. The options' texts are copied, what they point to lives as long as the connection. ERR_REMOTE when it cannot
// be reached, with the server's reason and never with the password; ERR_CONFIG when the string cannot be read.
int pg_open(struct pg **out, const struct pg_options *options, struct err *e) must_check;
void pg_close(struct pg *pg); // NULL is fine
// Does the connection stand, as far as is known? After a failure that says whether Postgres has answered.
bool pg_is_up(const struct pg *pg);

// Runs one statement with text values (NULL is NULL), outside of pg_begin() in a transaction of its own. *out (may be
// NULL) is for pg_result_free. ERR_INVALID: Postgres refuses the statement or its values; ERR_CONFIG: what it needs is
// not there, or not allowed; ERR_REMOTE: the network, or the server's state.
int pg_run(struct pg *pg, struct pg_result **out, struct err *e, const char *sql, int count,
           const char *const *values) must_check;
// Several statements without values, such as a migration; inside of pg_begin() only.
int pg_script(struct pg *pg, const char *sql, struct err *e) must_check;
int pg_begin(struct pg *pg, struct err *e) must_check;
int pg_commit(struct pg *pg, struct err *e) must_check;
void pg_rollback(struct pg *pg);
// What Postgres said of the last failure: five characters, "" when it said nothing; and what a person can do about it.
const char *pg_state(const struct pg *pg);
const char *pg_advice(const struct pg *pg); // NULL: not known

// Is there a pooler between? Whoever pools shows its clients other numbers than those of the server's processes.
int pg_is_pooled(struct pg *pg, bool *pooled, struct err *e) must_check;

int pg_rows(const struct pg_result *r);
const char *pg_text(const struct pg_result *r, int row, int column); // NULL for NULL
int64_t pg_integer(const struct pg_result *r, int row, int column, int64_t fallback);
int64_t pg_changed(const struct pg_result *r); // rows inserted, updated or deleted
void pg_result_free(struct pg_result *r);      // NULL is fine

#endif
