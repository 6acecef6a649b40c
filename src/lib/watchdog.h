// SPDX-License-Identifier: MIT
// The watchdog of the runner's own loop: a timer signal that ends the process
// when the loop has not turned for heartbeat_timeout. The work in flight is then
// taken back by the next runner, and its owner is known to have hung: the process
// ends by running itself anew just to write that down.
#ifndef GENRUN_LIB_WATCHDOG_H
#define GENRUN_LIB_WATCHDOG_H

#include "base/err.h"
#include <stdint.h>

// One a process. `database` is copied.
int watchdog_start(int64_t timeout_ms, const char *database, int64_t runner_seq, struct err *e) must_check;
// The loop lives; cheap enough for every turn.
void watchdog_beat(void *payload);
void watchdog_end(void);

#endif
