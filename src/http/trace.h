// SPDX-License-Identifier: MIT
// What callers leave in the database: a row of the log for who was refused, within limits, and when a key was used
// last, to about a minute. Both are written by the ticks to come; nobody waits for it.
#ifndef GENRUN_HTTP_TRACE_H
#define GENRUN_HTTP_TRACE_H

#include "genrun.h"
#include <stdbool.h>
#include <stdint.h>

struct trace;

// `failures` as throttle_new() takes them.
struct trace *trace_open(genrun *g, int failures);
void trace_close(struct trace *t); // NULL is fine

struct trace_refusal {
    int status;
    const char *code, *message;
    const char *remote, *method, *path; // the path without its query
    const char *key;                    // stable name of who asked; NULL: unknown
};
// How many seconds a refused caller is to wait before the next try, 0: none. is_wrong: with a wrong credential.
int trace_throttle(struct trace *t, const char *remote, bool is_wrong);
// The event http.denied.
void trace_denied(struct trace *t, const struct trace_refusal *refusal);
// A key was used; last_used_at as it stands in its row.
void trace_used(struct trace *t, const char *key_id, int64_t last_used_at);

#endif
