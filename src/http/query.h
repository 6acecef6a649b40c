// SPDX-License-Identifier: MIT
// Named texts of a request: the query of its target, decoded, or the plain fields of a form.
#ifndef GENRUN_HTTP_QUERY_H
#define GENRUN_HTTP_QUERY_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

#define QUERY_PAIRS 64 // the most a request may have

struct query_pair {
    char *name, *value; // valid UTF-8 without NULs; a value may be ""
};

struct query {
    struct query_pair *pairs; // in the order they came
    size_t count;
};

// Reads what stands behind the '?' of a request's target, still encoded; NULL and "" are none. A piece without
// '=' has the value "". ERR_INVALID, and an empty query, for a bad percent or UTF-8, a NUL or raw control
// byte, a nameless value, a name given twice, or too many. query_free the query in any case.
int query_parse(struct query *q, const char *raw, struct err *e) must_check;
// Adds a pair and takes both texts, also when it is refused: a name given twice, or too many.
int query_add(struct query *q, char *name, char *value, struct err *e) must_check;
// NULL: not given. Valid until query_free.
const char *query_get(const struct query *q, const char *name);
void query_free(struct query *q); // leaves an empty one

// Decodes %XX, and '+' to a blank where `plus` says so; the caller frees the text. NULL, with a reason of the
// form "what: what to do" in *why, for what is not valid UTF-8 then or holds a NUL.
char *query_decode(const char *raw, size_t length, bool plus, const char **why);

#endif
