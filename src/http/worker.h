// SPDX-License-Identifier: MIT
// Threads for what takes long: each has a handle of its own on the database. Two serve
// exchanges of ROUTE_SLOW, one does what goes on after an answer, in order.
#ifndef GENRUN_HTTP_WORKER_H
#define GENRUN_HTTP_WORKER_H

#include "base/err.h"
#include "genrun.h"
#include <stdbool.h>

struct worker;
struct exchange;

// `on_done` is called on the loop of `g` for each exchange whose handler has returned.
int worker_open(struct worker **out, genrun *g, void (*on_done)(struct exchange *x),
                struct err *e) must_check;
// Waits for the handlers that run (their waits are ended), and calls on_done for none any more. NULL is fine.
void worker_close(struct worker *w);
// Runs the handler of x on a thread; false when too many wait already.
bool worker_add(struct worker *w, struct exchange *x) must_check;
// Runs `run` on the thread for such work, once where the same waits already. `text` is copied.
void worker_after(struct worker *w, void (*run)(genrun *g, const char *text), const char *text);
// Exchanges that a thread has or that wait for one.
int worker_busy(const struct worker *w);

#endif
