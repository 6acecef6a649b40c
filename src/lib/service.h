// SPDX-License-Identifier: MIT
// A runner as a service of systemd (Type=notify): tells the manager that it is
// ready, what it does, that its loop turns, and that it stops. Every function
// takes NULL, which is a runner that nobody asked to tell anything.
#ifndef GENRUN_LIB_SERVICE_H
#define GENRUN_LIB_SERVICE_H

#include "lib/handle.h"
#include <stdint.h>

struct service;

// NULL where no manager listens. Its variables are taken out of the environment.
struct service *service_open(void);
void service_close(struct service *service);
// It cannot start yet, as another process has the database: asks for more time.
void service_waits(struct service *service);
// The database is open and what a dead runner left is taken back.
void service_ready(struct service *service);
// The loop turned: tells that now and then, and what the runner does when that changed.
void service_turned(struct service *service, genrun *g);
// The longest wait until service_turned() has something to tell; `longest_ms` when it has not.
int64_t service_wait_ms(const struct service *service, genrun *g, int64_t longest_ms);
// No more is started; the end may take grace_ms.
void service_stops(struct service *service, int64_t grace_ms);

#endif
