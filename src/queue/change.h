// SPDX-License-Identifier: MIT
// Inside of src/queue/: a filter as SQL.
#ifndef GENRUN_QUEUE_CHANGE_H
#define GENRUN_QUEUE_CHANGE_H

#include "base/buf.h"
#include "queue/queue.h"

// Appends the conditions of a filter on `generation g` (but its status): parameters ?2 user, ?3 session, ?4 model,
// ?5 error type.
void change_where(struct buf *where, const struct filter *filter);

#endif
