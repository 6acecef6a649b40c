// SPDX-License-Identifier: MIT
// One connection to Postgres, with an end to every wait: connecting, a statement, a silent network. Blocking: it belongs
// to a thread of its own, or to a command.
#ifndef GENRUN_SYNC_PG_H
#define GENRUN_SYNC_PG_H

#include "base/err.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;
struct pg_result;

// Connects. `url` is a connection string or URL of libpq; without an sslmode of its own it is verify-full, unless
// every host is this machine. `schema` becomes the search_path. ERR_REMOTE when it cannot be reached, with the
// server's reason and never with the password; ERR_CONFIG when the string cannot be read.
int pg_open(struct pg **out, const char *url, const char *schema, struct err *e) must_check;
// The same, until another thread sets *ended (NULL: none does): then whatever waits ends, and every later call fails.
int pg_open_until(struct pg **out, const char *url, const char *schema, const atomic_bool *ended,
                  struct err *e) must_check;
void pg_close(struct pg *pg); // NULL is fine

// Runs one statement with text values (NULL is NULL). *out (may be NULL) is for pg_result_free. ERR_INVALID: Postgres
// refuses the statement or its values; ERR_REMOTE: the network, or the server's state.
int pg_run(struct pg *pg, struct pg_result **out, struct err *e, const char *sql, int count,
           const char *const *values) must_check;
// Several statements without values, such as a migration.
int pg_script(struct pg *pg, const char *sql, struct err *e) must_check;
int pg_begin(struct pg *pg, struct err *e) must_check;
int pg_commit(struct pg *pg, struct err *e) must_check;
void pg_rollback(struct pg *pg);

int pg_rows(const struct pg_result *r);
const char *pg_text(const struct pg_result *r, int row, int column); // NULL for NULL
int64_t pg_integer(const struct pg_result *r, int row, int column, int64_t fallback);
int64_t pg_changed(const struct pg_result *r); // rows inserted, updated or deleted
void pg_result_free(struct pg_result *r);      // NULL is fine

// Where it is, for messages: host and database, without user and password. The caller frees it.
char *pg_place(const char *url);

#endif
