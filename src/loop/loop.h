// SPDX-License-Identifier: MIT
// The one loop of the process: file descriptors, timers, signals, deferred
// tasks and HTTP transfers of libcurl's multi interface, on one thread. A pass of
// loop_wait() waits once and then calls back whatever happened; nothing else blocks.
//
// Callbacks of the loop may add and remove watches, timers, tasks and transfers at
// will. The callbacks that libcurl makes for a transfer (write, header, progress)
// run inside libcurl and may not add or remove transfers: they defer a task, which
// runs in the same pass.
#ifndef GENRUN_LOOP_LOOP_H
#define GENRUN_LOOP_LOOP_H

#include "base/err.h"
#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

// Sets libcurl up for the process on the first call. ERR_REMOTE when the system gives no
// descriptors or libcurl does not start.
int loop_open(struct loop **out, struct err *e) must_check;
// Frees the loop; transfers and watches must have been removed. NULL is fine.
void loop_close(struct loop *loop);
// Waits at most timeout_ms (0: only looks; negative: no limit) for anything to happen, then runs
// the callbacks of finished transfers, ready descriptors, due timers and deferred tasks, in this order.
// It does not sleep while a task is deferred. Not to be called from a callback.
int loop_wait(struct loop *loop, int64_t timeout_ms, struct err *e) must_check;
// When the last wait ended: clock_monotonic_us(). What came since then was work.
int64_t loop_woke_us(const struct loop *loop);
// Ends a wait that is under way (or the next one); callable from any thread and from a signal handler.
void loop_wake(struct loop *loop);

// ---- descriptors: `events` and `ready` are poll(2) bits ----
typedef void (*loop_ready)(void *payload, int fd, short ready);
struct loop_watch; // owned by the loop; removing one inside any callback is safe
struct loop_watch *loop_watch_add(struct loop *loop, int fd, short events, loop_ready on_ready,
                                  void *payload);
void loop_watch_change(struct loop *loop, struct loop_watch *watch, short events);
void loop_watch_remove(struct loop *loop, struct loop_watch *watch); // does not close the fd; NULL is fine

// ---- timers: embedded in their owner's struct, zeroed before first use ----
struct loop_timer {
    int64_t at_ms; // clock_monotonic_ms() when due
    void (*on_due)(void *payload);
    void *payload;
    size_t slot;    // position in the heap + 1; 0: not set
    uint64_t order; // of being set: timers due at the same time run in it
};
// Arms (or moves) the timer; on_due runs once in the pass after it is due. Armed for now or the past
// from another timer's on_due it runs a millisecond later: use a task for what is to run at once.
void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ms);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer); // not set: fine

// ---- tasks: callbacks put off to the end of this pass (from a task: to the next pass, which then does
// not sleep); embedded in their owner's struct like timers, zeroed before first use ----
struct loop_task {
    void (*on_run)(void *payload);
    void *payload;
    struct loop_task *next, **back; // back NULL: not deferred
};
void loop_defer(struct loop *loop, struct loop_task *task); // runs once; already deferred: keeps its place
void loop_defer_cancel(struct loop *loop, struct loop_task *task); // not deferred: fine

// ---- signals ----
// Blocks SIGINT, SIGTERM and SIGHUP in the calling thread (and those it starts later: call it before
// any is started) and delivers them here. SIGPIPE is ignored. One receiver a loop. The first process of a container
// reaps orphans, too.
int loop_signals(struct loop *loop, void (*on_signal)(void *payload, int number), void *payload,
                 struct err *e) must_check;
// Gives the signals back to what they were.
void loop_signals_end(struct loop *loop);

// ---- transfers ----
typedef void (*loop_transfer_end)(void *payload, CURL *easy, CURLcode result);
// A fresh easy handle with libcurl's defaults, and its return for reuse (any transfer ended or removed).
// The connections belong to the loop, so they outlive handles. NULL when libcurl gives none.
CURL *loop_easy_take(struct loop *loop);
void loop_easy_give(struct loop *loop, CURL *easy); // NULL is fine
// Adds an easy handle (its CURLOPT_PRIVATE is taken); on_end is called once from loop_wait()
// after it was removed from the loop, and the owner then frees or reuses it.
int loop_transfer_add(struct loop *loop, CURL *easy, loop_transfer_end on_end, void *payload,
                      struct err *e) must_check;
// Takes a running transfer out, closing its connection; on_end is not called.
void loop_transfer_remove(struct loop *loop, CURL *easy);
size_t loop_transfer_count(const struct loop *loop);

#endif
