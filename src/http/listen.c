// SPDX-License-Identifier: MIT
#include "http/listen.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 1024

static const struct sockaddr *socket_of(const struct listen_address *a) {
    return (const struct sockaddr *)(const void *)&a->name.socket;
}

// Takes host and port out of the address.
static void name_it(struct listen_address *a) {
    struct buf text;
    buf_init(&text, sizeof a->host);
    address_write(&text, socket_of(a), true);
    const char *colon = strrchr(buf_borrow(&text), ':');
    a->port = (uint16_t)(colon ? strtoul(colon + 1, NULL, 10) : 0);
    snprintf(a->host, sizeof a->host, "%.*s", (int)(colon ? colon - text.data : 0), buf_borrow(&text));
    buf_free(&text);
    a->is_loopback = address_is_loopback(socket_of(a));
}

int listen_parse(const char *text, struct listen_address *out, struct err *e) {
    memset(out, 0, sizeof *out);
    if (!address_parse(&out->name, text))
        return err_set(e, ERR_CONFIG,
                       "'%s' is no address to listen on: write it as 127.0.0.1:8787 or [::1]:8787", text);
    name_it(out);
    return 0;
}

static int refuse(struct listen_address *a, int fd, struct err *e) {
    int number = errno;
    if (fd >= 0)
        close(fd);
    const char *advice = number == EADDRINUSE ? "end the program that has it, or choose another"
                         : number == EACCES
                             ? "ports below 1024 need a right of their own; choose a higher one"
                         : number == EADDRNOTAVAIL ? "this machine does not have that address"
                                                   : "choose another";
    err_set(e, ERR_CONFIG, "cannot listen on %s:%u (%s): %s", a->host, (unsigned)a->port, strerror(number),
            advice);
    return -1;
}

int listen_open(struct listen_address *address, struct err *e) {
    const int yes = 1;
    struct address *name = &address->name;
    int fd = socket(name->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return refuse(address, fd, e);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (name->socket.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    if (bind(fd, socket_of(address), name->length) || listen(fd, BACKLOG) ||
        getsockname(fd, (struct sockaddr *)(void *)&name->socket, &name->length))
        return refuse(address, fd, e);
    name_it(address);
    return fd;
}
