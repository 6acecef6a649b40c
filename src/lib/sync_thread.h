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
// Of the loop, all. In each turn; after commits.
void sync_thread_turn(struct sync_thread *t);
void sync_thread_commit(struct sync_thread *t);
// The loop takes no writes any more: from now on the thread does them by itself.
void sync_thread_leave(struct sync_thread *t);
// After that, and after the runner's end: waits until what is left is in Postgres as well; not beyond until_ms
// (monotonic), nor for a Postgres that is away or silent, nor when the run is stopped a second time.
void sync_thread_last(struct sync_thread *t, int64_t until_ms);
// Ends it at once and frees it.
void sync_thread_end(struct sync_thread *t);

#endif
