// SPDX-License-Identifier: MIT
// Tables of what a route takes, in its query, its JSON body or its form: by them everything is checked before a
// handler sees it. Nothing unknown passes silently.
#ifndef GENRUN_HTTP_FIELD_H
#define GENRUN_HTTP_FIELD_H

#include "base/buf.h"
#include "http/query.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_TEXT,     // a string; least and most: its bytes
    FIELD_INTEGER,  // a whole number
    FIELD_NUMBER,   // any number
    FIELD_FLAG,     // true or false
    FIELD_OBJECT,   // an object, or in a query nothing; least and most: its members
    FIELD_LIST,     // an array, the same; least and most: its entries
    FIELD_CHOICE,   // one of choices
    FIELD_DURATION, // a string such as 90s, 5m, 3h, 7d; least and most: milliseconds
    FIELD_TEXTS     // an object of strings; least and most: its members
};

struct field {
    const char *name; // NULL ends a table
    enum field_kind kind;
    int64_t least, most;        // both 0: not limited; most 0 otherwise: only least counts
    const char *const *choices; // of a FIELD_CHOICE, NULL-terminated
    bool required;
    const char *help;
};

// Why a request is refused, as its answer says it.
struct field_error {
    char *message; // one line
    char *param;   // the parameter, "metadata.tags" for a member of one; NULL when it is none
    const char
        *code; // invalid_json, invalid_type, invalid_value, unknown_parameter, missing_required_parameter
};

void field_error_free(struct field_error *error);

// The most values that a body may have, at all depths: each takes memory of its own.
#define FIELD_VALUES 1000000

// Checks a JSON body; no bytes at all are as {}. `text` must have a NUL behind its `length` bytes. On true *out is
// the object, for cJSON_Delete; an optional member that was null is taken out of it, as if not given. On false
// *error is filled, for field_error_free, and *out is NULL. `fields` NULL: none is taken.
bool field_check_body(const struct field *fields, const char *text, size_t length, cJSON **out,
                      struct field_error *error);
// The raw text of a top-level member of a checked body, byte for byte: numbers beyond 2^53 survive only there.
// The caller frees it; NULL when it is absent or null.
char *field_raw(const char *text, const char *name);

// The same for a query or for the fields of a form. A value that is empty is refused: it would rather be
// an unset variable of a script than meant.
bool field_check_query(const struct field *fields, const struct query *query, struct field_error *error);
// What a checked query says: an integer as it is, a duration in ms, a flag as 0 or 1; the fallback when absent.
int64_t field_integer(const struct field *fields, const struct query *query, const char *name,
                      int64_t fallback);

// The same for a member of a checked body (also a duration in ms; whole numbers below 2^53 are exact).
int64_t field_body_integer(const struct field *fields, const cJSON *body, const char *name, int64_t fallback);

// Appends the table as a JSON array of {name, type, required, …}, for GET /api. NULL: [].
void field_describe(struct buf *out, const struct field *fields);

#endif
