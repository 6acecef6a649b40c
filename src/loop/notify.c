// SPDX-License-Identifier: MIT
#include "loop/notify.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_MS 1000

struct notify {
    struct sockaddr_un address;
    socklen_t address_length;
    int fd;
    int64_t watchdog_ms;
    bool failed; // which was told
};

// The whole text as a positive number; else 0.
static int64_t read_number(const char *text) {
    char *end = NULL;
    errno = 0;
    long long number = text != NULL ? strtoll(text, &end, 10) : 0;
    return number > 0 && errno == 0 && *end == '\0' ? number : 0;
}

static int64_t read_watchdog(void) {
    const char *pid = getenv("WATCHDOG_PID");
    return pid == NULL || read_number(pid) == getpid() ? read_number(getenv("WATCHDOG_USEC")) / 1000 : 0;
}

// A path, or behind '@' a name of the abstract namespace; false: neither, or too long.
static bool read_address(struct notify *n, const char *text) {
    size_t length = strlen(text);
    if ((text[0] != '/' && text[0] != '@') || text[1] == '\0' || length >= sizeof n->address.sun_path)
        return false;
    n->address.sun_family = AF_UNIX;
    memcpy(n->address.sun_path, text, length);
    if (text[0] == '@')
        n->address.sun_path[0] = '\0';
    n->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return true;
}

static struct notify *open_socket(const char *text) {
    const struct timeval patience = {SEND_MS / 1000, 0};
    struct notify *n = mem_alloc(1, sizeof *n);
    n->fd = -1;
    if (!read_address(n, text)) {
        log_warn("NOTIFY_SOCKET is neither a path nor '@' and a name: the service manager is told nothing");
    } else if ((n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0) {
        log_warn("the service manager is told nothing: no socket (%s)", strerror(errno));
    } else {
        setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        n->watchdog_ms = read_watchdog();
        return n;
    }
    free(n);
    return NULL;
}

struct notify *notify_open(void) {
    const char *text = getenv("NOTIFY_SOCKET");
    struct notify *n = text != NULL && text[0] != '\0' ? open_socket(text) : NULL;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return n;
}

void notify_close(struct notify *notify) {
    if (notify == NULL)
        return;
    close(notify->fd);
    free(notify);
}

int64_t notify_watchdog_ms(const struct notify *notify) {
    return notify->watchdog_ms;
}

bool notify_send(struct notify *notify, const char *lines) {
    ssize_t sent;
    do {
        sent = sendto(notify->fd, lines, strlen(lines), MSG_NOSIGNAL,
                      (const struct sockaddr *)&notify->address, notify->address_length);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && !notify->failed) {
        log_warn("cannot tell the service manager (%s): it may take this runner for hung", strerror(errno));
        notify->failed = true;
    }
    return sent >= 0;
}
