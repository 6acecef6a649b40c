// SPDX-License-Identifier: MIT
// The HTTP server, on the runner's loop: the door of src/http. It is opened before the
// runner starts (so that a port in use is told at once), answers while the runner is
// up, and stops with it: what was begun is answered, streams end.
#ifndef GENRUN_HTTP_SERVER_H
#define GENRUN_HTTP_SERVER_H

#include "base/err.h"
#include "genrun.h"
#include "lib/config.h"
#include "lib/host.h"

struct server;

// Takes the address (NULL: that of the configuration, which must have one). ERR_CONFIG when it cannot be listened on, or when it
// is not loopback and no key is there. The handle is borrowed.
int server_open(struct server **out, genrun *g, const struct config *config, const char *listen,
                struct err *e) must_check;
void server_close(struct server *s); // NULL is fine
const char *server_library(void);    // the version of the library beneath
// For host_run(): the server lives by them.
const struct host_hooks *server_hooks(struct server *s);

// What GET /metrics and GET /healthz tell of the server itself; on the loop's thread, of any exchange's server.
struct exchange;
struct server_numbers {
    int connections, streams, waiting, busy;
    uint64_t cut;
};
void server_numbers(const struct exchange *x, struct server_numbers *out);
#define SERVER_BUCKETS 12 // up to 1, 2, 5, 10, 25, 50, 100, 250 ms, 1, 5, 30 s, and more
// Of the route at `index` of route_list: answers by class of status (1xx to 5xx at 1 to 5), how long they took.
struct server_use {
    uint64_t by_class[6];
    uint64_t bucket[SERVER_BUCKETS];
    double seconds;
};
const struct server_use *server_use(const struct exchange *x, size_t index);

#endif
