// SPDX-License-Identifier: MIT
// The small tables, which have no part in the log: people, places and locks, each sent whole when it has changed.
#ifndef GENRUN_SYNC_SMALL_H
#define GENRUN_SYNC_SMALL_H

#include "sync/push.h"

int small_push(struct push *p, struct err *e) must_check;
// These rows of one of them as they are now.
int small_rows(struct push *p, size_t table, const struct keys *keys, struct err *e) must_check;

#endif
