// SPDX-License-Identifier: MIT
// Inside of src/queue/: what claim.c needs of the memory of open lanes.
#ifndef GENRUN_QUEUE_READY_H
#define GENRUN_QUEUE_READY_H

#include "queue/turn.h"

// In the order of the slots that ready_look() gave.
struct turn_offer *ready_offers(struct ready *ready);
// Something was claimed from the lane of slot `model`: what has changed by that is unknown again. Without a memory
// (NULL) that is everything.
int ready_note(struct ready *ready, struct turn_pool *pool, int64_t lane, size_t model,
               struct err *e) must_check;

#endif
