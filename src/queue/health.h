// SPDX-License-Identifier: MIT
// Whether the queue does well: who runs it, what waits, what is stuck. Only looks.
#ifndef GENRUN_QUEUE_HEALTH_H
#define GENRUN_QUEUE_HEALTH_H

#include "queue/queue.h"

struct health {
    int64_t queued, processing, stuck;
    int64_t newest_at; // of the log and the generations; 0: there is none
    // The runner registered last; pid 0: there never was one.
    int64_t runner_pid;
    bool runner_open;    // it has not said that it ended
    bool runner_is_here; // of this boot
    int64_t started_at, heartbeat_at, heartbeat_timeout_ms;
};

int queue_health(struct db *db, struct health *out, struct err *e) must_check;

#endif
