// SPDX-License-Identifier: MIT
// Datagrams to the service manager that started this process, as sd_notify(3)
// describes them: lines "NAME=value" to the socket in $NOTIFY_SOCKET.
#ifndef GENRUN_LOOP_NOTIFY_H
#define GENRUN_LOOP_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify;

// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and takes them out of the environment, so that no child speaks
// for this process. NULL when nobody listens.
struct notify *notify_open(void);
void notify_close(struct notify *notify); // NULL is fine
// In how many ms the manager wants to hear again each time; 0: never.
int64_t notify_watchdog_ms(const struct notify *notify);
// Sends lines; waits a second at most. The first failure goes to the log.
bool notify_send(struct notify *notify, const char *lines);

#endif
