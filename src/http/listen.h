// SPDX-License-Identifier: MIT
// The address that the server listens on.
#ifndef GENRUN_HTTP_LISTEN_H
#define GENRUN_HTTP_LISTEN_H

#include "base/address.h"
#include "base/err.h"

struct listen_address {
    struct address name;
    char host[80]; // as in an URL: 127.0.0.1 or [::1]
    uint16_t port; // 0: any free one, until it is bound
    bool is_loopback;
};

// Reads ADDR:PORT, [V6]:PORT or localhost:PORT. ERR_CONFIG when it is none.
int listen_parse(const char *text, struct listen_address *out, struct err *e) must_check;
// A listening socket, close-on-exec and non-blocking; -1 with ERR_CONFIG in `e` (the port is in use, not allowed, not here).
// Puts the port that was chosen into the address.
int listen_open(struct listen_address *address, struct err *e) must_check;

#endif
