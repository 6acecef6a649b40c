// SPDX-License-Identifier: MIT
// The sync beside the runner: one thread with its own connections, woken by commits and by the clock. What it writes to
// the database is done by the loop, in the runner's own ticks, a little at a time. All but sync_thread_start may be given
// NULL, which is a runner that does not sync.
#ifndef GENRUN_LIB_SYNC_THREAD_H
#define GENRUN_LIB_SYNC_THREAD_H

#include "lib/handle.h"

struct sync_thread;

// The runner of the handle is up. *out NULL: no sync is configured. ERR_CONFIG when what is configured cannot be used.
int sync_thread_start(struct sync_thread **out, genrun *g) must_check;
// Of the loop, all: in each turn; after commits; when a stop begins, which ends the sync at once; and before the runner
// ends, which waits for its thread and frees it.
void sync_thread_turn(struct sync_thread *t);
void sync_thread_commit(struct sync_thread *t);
void sync_thread_stop(struct sync_thread *t);
void sync_thread_end(struct sync_thread *t);

#endif
