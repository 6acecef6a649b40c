// SPDX-License-Identifier: MIT
// Orders: what a person typed into the mirror for this box is fetched in the order typed, carried out, and its outcome
// written back.
#ifndef GENRUN_SYNC_ORDER_H
#define GENRUN_SYNC_ORDER_H

#include "sync/pg.h"
#include "sync/sync.h"

// One page of the open orders of the node. *count: how many there were. *applied and *denied are added to.
int order_page(struct pg *pg, const char *node, const struct sync_host *host, int *count, int64_t *applied,
               int64_t *denied, struct err *e) must_check;

#endif
