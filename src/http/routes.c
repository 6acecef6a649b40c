// SPDX-License-Identifier: MIT
// Every route, in the order of GET /api.
#include "http/handlers.h"
#include "http/route.h"

// clang-format off
// method, path, who may, how it runs, handler, query, body, upload, summary
const struct route route_list[] = {
    {"GET", "/api", ROLE_USER, ROUTE_READ, api_list, NULL, NULL, false, "what there is"},
    {"GET", "/healthz", ROLE_ANYONE, ROUTE_READ, metrics_health, NULL, NULL, false, "200 when genrun is well, else 503; an admin is told why"},
    {"GET", "/metrics", ROLE_ADMIN, ROUTE_READ, metrics_get, NULL, NULL, false, "counters and gauges for Prometheus"},
    {"GET", "/", ROLE_ANYONE, ROUTE_READ, dashboard_page, NULL, NULL, false, "the dashboard"},
    {"GET", "/assets/{name}", ROLE_ANYONE, ROUTE_READ, dashboard_asset, NULL, NULL, false, "its files"},
    {"GET", "/session", ROLE_ANYONE, ROUTE_READ, api_session_show, NULL, NULL, false, "who is logged in"},
    {"POST", "/session", ROLE_ANYONE, ROUTE_READ, api_session_log_in, NULL, api_session_log_in_body, false,
     "log a browser in with a key: sets a cookie"},
    {"DELETE", "/session", ROLE_ANYONE, ROUTE_READ, api_session_log_out, NULL, NULL, false, "log it out"},
    {"GET", "/session/{code}", ROLE_ANYONE, ROUTE_READ, api_session_link, NULL, NULL, false,
     "the link that a server without keys tells at its start"},
};
// clang-format on
const size_t route_count = sizeof route_list / sizeof *route_list;

void (*const route_starters[])(genrun *g, const char *text) = {NULL};
