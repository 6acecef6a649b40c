// SPDX-License-Identifier: MIT
// Every route, in the order of GET /api.
#include "http/handlers.h"
#include "http/route.h"

// clang-format off
// method, path, who may, how it runs, handler, query, body, upload, summary
const struct route route_list[] = {
    {"GET", "/api", ROLE_USER, ROUTE_READ, api_list, NULL, NULL, false, "what there is"},
};
// clang-format on
const size_t route_count = sizeof route_list / sizeof *route_list;

void (*const route_starters[])(genrun *g, const char *text) = {NULL};
