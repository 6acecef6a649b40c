// SPDX-License-Identifier: MIT
// Connecting to Postgres: what the connection string says and what it leaves out, and the wait for the connection. libpq
// asks name servers (and LDAP, and files) without a limit and without an end, so it connects in a thread of its own,
// which whoever waits for it can leave behind.
#ifndef GENRUN_SYNC_DIAL_H
#define GENRUN_SYNC_DIAL_H

#include "base/err.h"
#include <stdatomic.h>
#include <stdbool.h>

struct pg_conn; // libpq's

// Since when nothing was heard of what is waited for, and whether that is a name server; for other threads.
struct dial_pulse {
    atomic_llong since_ms; // monotonic; 0: nothing is waited for
    atomic_bool naming;
};

// Where it is, for messages: host and database, without user and password. The caller frees it.
char *dial_place(const char *url);

// What libpq said as one line, in place: each run of white space becomes one blank.
void dial_one_line(char *text);

struct dial;
// Connects, within limit_ms or until *ended (NULL: never). *kept (`kept` may be NULL): an earlier try that still hangs in
// libpq and is waited for once more, or NULL; after a failure the one that hangs now, for dial_free() or the next call, so
// that however long a name server is silent, there is one thread at most. ERR_REMOTE when it cannot be reached, with the
// server's reason and never with the password; ERR_CONFIG when the string cannot be read. *out is for PQfinish().
int dial_connect(struct pg_conn **out, struct dial **kept, const char *url, int limit_ms,
                 const atomic_bool *ended, struct dial_pulse *pulse, struct err *e) must_check;
void dial_free(struct dial *dial); // NULL is fine

#endif
