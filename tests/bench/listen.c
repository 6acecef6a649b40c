// SPDX-License-Identifier: MIT
// Many clients of server-sent events in one process: each counts the events that it gets and adds their ids up.
//
//   listen PORT CLIENTS TARGET HEADER      such as: listen 8787 200 '/api/events?after=5' 'Authorization: Bearer …'
//
// Prints "ready" when every client has its first bytes. A line on stdin is the id that each must see before the end.
// Then it prints one JSON object: the least and the most of both among the clients, and how many got ids out of order
// or were cut off.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUIET_MS 20000 // without a byte for any: then what is missing will not come

struct client {
    int fd;
    bool begun, broken;
    char line[32]; // the start of the line that comes in
    size_t length;
    int64_t last, count, sum;
};

static void die(const char *what) {
    fprintf(stderr, "listen: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_one(int port, const char *target, const char *header) {
    char request[2048];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    // As HTTP/1.0, so that the stream is not chunked.
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n%s\r\n\r\n",
                          target, port, header);
    if (write(fd, request, (size_t)length) != length)
        die("write");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void end_line(struct client *c) {
    c->line[c->length] = 0;
    c->length = 0;
    if (strncmp(c->line, "HTTP/", 5) == 0 && !strstr(c->line, " 200 ")) {
        fprintf(stderr, "listen: %s\n", c->line);
        exit(1);
    }
    if (strcmp(c->line, "event: reset") == 0)
        c->broken = true;
    if (strncmp(c->line, "id: ", 4) != 0)
        return;
    int64_t id = atoll(c->line + 4);
    c->broken |= id <= c->last;
    c->last = id;
    c->count++;
    c->sum += id;
}

static bool take(struct client *c, char *buffer, size_t size) {
    ssize_t got = read(c->fd, buffer, size);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    c->begun = true;
    for (const char *at = buffer, *end = buffer + got; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t part = (size_t)((stop ? stop : end) - at), room = sizeof c->line - 1 - c->length;
        memcpy(c->line + c->length, at, part < room ? part : room);
        c->length += part < room ? part : room;
        at += part + (stop ? 1 : 0);
        if (stop)
            end_line(c);
    }
    return true;
}

static void report(const struct client *clients, int count) {
    struct client least = clients[0], most = clients[0];
    int broken = 0;
    for (int i = 0; i < count; i++) {
        const struct client *c = &clients[i];
        broken += c->broken;
        least.count = c->count < least.count ? c->count : least.count;
        most.count = c->count > most.count ? c->count : most.count;
        least.sum = c->sum < least.sum ? c->sum : least.sum;
        most.sum = c->sum > most.sum ? c->sum : most.sum;
    }
    printf("{\"least\": %lld, \"most\": %lld, \"least_sum\": %lld, \"most_sum\": %lld, \"broken\": %d}\n",
           (long long)least.count, (long long)most.count, (long long)least.sum, (long long)most.sum, broken);
}

static bool all(const struct client *clients, int count, int64_t last) {
    for (int i = 0; i < count; i++)
        if (last < 0 ? !clients[i].begun : clients[i].last < last && !clients[i].broken)
            return false;
    return true;
}

int main(int argc, char **argv) {
    static char buffer[65536];
    char word[32];
    if (argc != 5)
        return 2;
    int count = atoi(argv[2]), loop = epoll_create1(EPOLL_CLOEXEC);
    struct client *clients = calloc((size_t)count, sizeof *clients);
    struct epoll_event input = {.events = EPOLLIN};
    int64_t wanted = -1;
    bool ready = false;
    if (!clients || loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        die("epoll");
    for (int i = 0; i < count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
        clients[i].fd = connect_one(atoi(argv[1]), argv[3], argv[4]);
        epoll_ctl(loop, EPOLL_CTL_ADD, clients[i].fd, &e);
    }
    while (wanted < 0 || !all(clients, count, wanted)) {
        struct epoll_event events[64];
        int found = epoll_wait(loop, events, 64, wanted < 0 ? -1 : QUIET_MS);
        if (found == 0)
            break;
        for (int i = 0; i < found; i++) {
            struct client *c = events[i].data.ptr;
            if (!c && fgets(word, sizeof word, stdin))
                wanted = atoll(word);
            else if (!c)
                return 1;
            else if (!take(c, buffer, sizeof buffer)) {
                c->broken = true;
                epoll_ctl(loop, EPOLL_CTL_DEL, c->fd, NULL);
            }
        }
        if (!ready && (ready = all(clients, count, -1))) {
            puts("ready");
            fflush(stdout);
        }
    }
    report(clients, count);
    return 0;
}
