// SPDX-License-Identifier: MIT
// The judge of failures: one pure function from what happened to one of four
// answers. WAIT (rate limit, overload: no attempt spent), RETRY (transient: an
// attempt spent), PARK (money, key, server down: stop sending to that model),
// FAIL (deterministic).
#ifndef GENRUN_PROVIDER_CLASSIFY_H
#define GENRUN_PROVIDER_CLASSIFY_H

#include "provider/provider.h"

struct verdict {
    enum verdict_action action;
    const char *error_type; // a literal of the contract's list
    int64_t wait_ms;        // stated by the server or known; -1: none (back off)
    bool server_down;       // counts towards parking the model as unreachable
    bool reduce;            // lower the model's concurrency for a while
    char code[64];          // the server's error.code, "" when none
    char type[64];          // the server's error.type
    char message[2048];     // what to show and store, never empty
};

// `rules` of the model (may be NULL) override the table by HTTP status. `now_at`: wall time, for
// Retry-After dates and resets at midnight. The message is one line of at most 2 KB, without credentials.
void classify(const struct failure *failure, const struct model *model, int64_t now_at, struct verdict *out);
// True for an error type of the contract's list; *nearest (may be NULL), when it is none: the one that was probably
// meant, NULL when none is near.
bool classify_knows(const char *error_type, const char **nearest);
const char *verdict_action_name(enum verdict_action action); // wait, retry, park, fail
bool verdict_action_parse(const char *name, enum verdict_action *out);

// Retry-After in all its forms (seconds, fractions, HTTP-date), retry-after-ms, and durations such as
// 6m0s, 7.66s, 12ms, 1h2m3s, "45.837906927s", RFC 3339. Milliseconds from now_at, 0 for "now" and times
// past, -1 for what is none of them (never an error). At most a year.
int64_t retry_after_parse(const char *text, int64_t now_at);
// The wait that a set of response headers asks for, in the order of precedence retry-after-ms, retry-after,
// reset of the dimension whose remaining is 0; -1: none. `get` returns a header's value or NULL.
int64_t retry_after_headers(const char *(*get)(void *payload, const char *name), void *payload,
                            int64_t now_at);
// The first midnight in Los Angeles after `now_at`, when Google's daily quotas begin anew. US rules of
// daylight saving in the program itself, so that no zone files are needed.
int64_t pacific_midnight_at(int64_t now_at);

#endif
