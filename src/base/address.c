// SPDX-License-Identifier: MIT
// Socket addresses to text and back. IPv4 addresses that arrive over an IPv6 socket count as what they are.
#include "base/address.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(const char *text, in_port_t *out) {
    size_t length = strlen(text);
    if (length == 0 || length > 5 || strspn(text, "0123456789") != length)
        return false;
    long port = strtol(text, NULL, 10);
    *out = htons((uint16_t)port);
    return port <= 65535;
}

bool address_parse(struct address *out, const char *text) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    char host[INET6_ADDRSTRLEN + 1];
    memset(out, 0, sizeof *out);
    bool bracketed = text[0] == '[';
    const char *start = text + bracketed, *end = strchr(text, bracketed ? ']' : ':');
    if (!end || (bracketed && end[1] != ':') || (size_t)(end - start) >= sizeof host)
        return false;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    const char *port = end + 1 + bracketed;
    if (bracketed) {
        if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1 || !parse_port(port, &v6.sin6_port))
            return false;
        memcpy(&out->socket, &v6, sizeof v6);
        out->length = sizeof v6;
        return true;
    }
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &v4.sin_addr) != 1 ||
        !parse_port(port, &v4.sin_port))
        return false;
    memcpy(&out->socket, &v4, sizeof v4);
    out->length = sizeof v4;
    return true;
}

// The IPv4 address in network order, also of one that is mapped into IPv6.
static bool take_v4(const struct sockaddr *socket, struct in_addr *out) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (socket && socket->sa_family == AF_INET) {
        memcpy(&v4, socket, sizeof v4);
        *out = v4.sin_addr;
        return true;
    }
    if (!socket || socket->sa_family != AF_INET6)
        return false;
    memcpy(&v6, socket, sizeof v6);
    if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return false;
    memcpy(out, v6.sin6_addr.s6_addr + 12, sizeof *out);
    return true;
}

bool address_is_loopback(const struct sockaddr *socket) {
    struct in_addr v4;
    struct sockaddr_in6 v6;
    if (take_v4(socket, &v4))
        return ntohl(v4.s_addr) >> 24 == 127;
    if (!socket || socket->sa_family != AF_INET6)
        return false;
    memcpy(&v6, socket, sizeof v6);
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

static enum address_kind kind_of_v4(uint32_t address) {
    static const struct {
        uint32_t network;
        int bits;
        enum address_kind kind;
    } table[] = {
        {0x7f000000, 8, ADDRESS_LOOPBACK}, {0xa9fe0000, 16, ADDRESS_LINK_LOCAL},
        {0x00000000, 8, ADDRESS_PRIVATE},  {0x0a000000, 8, ADDRESS_PRIVATE},
        {0x64400000, 10, ADDRESS_PRIVATE}, {0xac100000, 12, ADDRESS_PRIVATE},
        {0xc0000000, 24, ADDRESS_PRIVATE}, {0xc0a80000, 16, ADDRESS_PRIVATE},
        {0xc6120000, 15, ADDRESS_PRIVATE}, {0xe0000000, 3, ADDRESS_PRIVATE}, // multicast and beyond
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if ((address ^ table[i].network) >> (32 - table[i].bits) == 0)
            return table[i].kind;
    return ADDRESS_PUBLIC;
}

// The IPv4 address that stands in an IPv6 one from byte `at` on.
static enum address_kind kind_inside(const unsigned char *bytes, size_t at) {
    return kind_of_v4((uint32_t)bytes[at] << 24 | (uint32_t)bytes[at + 1] << 16 |
                      (uint32_t)bytes[at + 2] << 8 | bytes[at + 3]);
}

enum address_kind address_kind(const struct sockaddr *socket) {
    static const unsigned char nat64[12] = {0, 0x64, 0xff, 0x9b}, zeros[12] = {0};
    struct in_addr v4;
    struct sockaddr_in6 v6;
    if (take_v4(socket, &v4))
        return kind_of_v4(ntohl(v4.s_addr));
    if (!socket || socket->sa_family != AF_INET6)
        return ADDRESS_PRIVATE;
    memcpy(&v6, socket, sizeof v6);
    const unsigned char *b = v6.sin6_addr.s6_addr;
    if (IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr))
        return ADDRESS_LOOPBACK;
    if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
        return ADDRESS_LINK_LOCAL;
    if (memcmp(b, nat64, 12) == 0 || memcmp(b, zeros, 12) == 0)
        return kind_inside(b, 12);
    if (b[0] == 0x20 && b[1] == 0x02)
        return kind_inside(b, 2);
    return (b[0] & 0xe0) == 0x20 ? ADDRESS_PUBLIC : ADDRESS_PRIVATE; // 2000::/3 is what is given out
}

bool address_is_literal(const char *host) {
    struct in6_addr any;
    char bare[INET6_ADDRSTRLEN + 1];
    bool bracketed = host[0] == '[';
    size_t length = strlen(host);
    if (strcmp(host, "localhost") == 0)
        return true;
    if (length < 2 || length - 2 * bracketed >= sizeof bare)
        return false;
    memcpy(bare, host + bracketed, length - 2 * bracketed);
    bare[length - 2 * bracketed] = '\0';
    bare[strcspn(bare, "%")] = '\0'; // a zone
    return inet_pton(AF_INET, bare, &any) == 1 || inet_pton(AF_INET6, bare, &any) == 1;
}

void address_write(struct buf *out, const struct sockaddr *socket, bool with_port) {
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct sockaddr_in6 v6;
    in_port_t port = 0;
    if (socket &&
        (socket->sa_family == AF_INET || socket->sa_family == AF_INET6)) // the port stands at one place
        memcpy(&port, (const char *)socket + offsetof(struct sockaddr_in, sin_port), sizeof port);
    if (take_v4(socket, &v4)) {
        buf_text(out, inet_ntop(AF_INET, &v4, text, sizeof text));
    } else if (socket && socket->sa_family == AF_INET6) {
        memcpy(&v6, socket, sizeof v6);
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
        buf_format(out, with_port ? "[%s]" : "%s", text);
    } else {
        buf_text(out, "unknown");
        return;
    }
    if (with_port)
        buf_format(out, ":%u", (unsigned)ntohs(port));
}

struct address_network address_network(const struct sockaddr *socket) {
    struct address_network network = {0, 0};
    struct in_addr v4;
    if (take_v4(socket, &v4)) {
        network.low = (uint64_t)ntohl(v4.s_addr) | UINT64_C(1) << 32;
    } else if (socket && socket->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, socket, sizeof v6);
        for (int i = 0; i < 8; i++)
            network.high = network.high << 8 | v6.sin6_addr.s6_addr[i];
        network.low = UINT64_C(2) << 32;
    }
    return network;
}

struct address_network address_network_of(const char *host) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        return address_network((const struct sockaddr *)(const void *)&v4);
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
        return address_network((const struct sockaddr *)(const void *)&v6);
    return address_network(NULL);
}
