// SPDX-License-Identifier: MIT
// A route is one const row: method, path, who may, how it runs, what it takes. routes.c
// lists them all; dispatch, the check of what is taken and GET /api read the rows.
// To add one: its handler in a file of its family, declared in handlers.h, and a row.
#ifndef GENRUN_HTTP_ROUTE_H
#define GENRUN_HTTP_ROUTE_H

#include "http/exchange.h"
#include "http/field.h"

enum route_kind {
    ROUTE_READ,  // at once on the loop: short, bounded reads only
    ROUTE_WRITE, // inside the next tick's transaction; answered after its commit
    ROUTE_SLOW,  // on a worker thread with a handle of its own: reports, exports, imports, changes in bulk
    ROUTE_STREAM // takes the connection over: exchange_stream()
};

struct route {
    const char *method, *path; // "POST", "/api/generations/{id}/cancel"
    enum exchange_role role;
    enum route_kind kind;
    void (*handle)(struct exchange *x, genrun *g);
    const struct field *query; // NULL: none is taken; ends with a NULL name
    const struct field *body;  // NULL: none is taken (an empty one, and {}, are fine)
    bool upload;               // a body that is not JSON is spooled to disk: multipart/form-data, or raw
    const char *summary;       // for GET /api
};

extern const struct route route_list[];
extern const size_t route_count;
// Called, with "", on the thread for what goes on after an answer, when the server comes up; ends with NULL.
extern void (*const route_starters[])(genrun *g, const char *text);

#endif
