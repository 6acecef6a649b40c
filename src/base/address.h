// SPDX-License-Identifier: MIT
// Socket addresses as people write them: 127.0.0.1:8787, [::1]:8787. Nothing here asks a name server.
#ifndef GENRUN_BASE_ADDRESS_H
#define GENRUN_BASE_ADDRESS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
    struct sockaddr_storage socket;
    socklen_t length;
};

// From ADDR:PORT, with ADDR an IPv4 address, an IPv6 address in brackets, or localhost (127.0.0.1), and PORT 0 to
// 65535. False for anything else.
bool address_parse(struct address *out, const char *text);
// Reached from this machine only. NULL or another family: false.
bool address_is_loopback(const struct sockaddr *socket);
// What kind of place it is. PRIVATE is all that is not of the open internet, with what is reserved; an IPv4 address inside
// of an IPv6 one (mapped, NAT64, 6to4) counts as itself. NULL or another family: private.
enum address_kind { ADDRESS_PUBLIC, ADDRESS_PRIVATE, ADDRESS_LOOPBACK, ADDRESS_LINK_LOCAL };
enum address_kind address_kind(const struct sockaddr *socket);
// Is the host part of a URL an address, or localhost, and no name that is looked up?
bool address_is_literal(const char *host);
// Appends the address, "[::1]:8787" with its port or "::1" without; an IPv4 one that came over IPv6 as IPv4. NULL or
// another family: "unknown".
void address_write(struct buf *out, const struct sockaddr *socket, bool with_port);
// What counts as one caller: the IPv4 address, or the /64 of an IPv6 one, as a number pair that differs between
// them. {0, 0} for NULL or another family.
struct address_network {
    uint64_t high, low;
};
struct address_network address_network(const struct sockaddr *socket);
// The same of an address as text, without a port.
struct address_network address_network_of(const char *host);

#endif
