// SPDX-License-Identifier: MIT
// The one loop of the process: file descriptors, timers, signals and HTTP
// transfers of libcurl's multi interface, on one thread. A pass of loop_wait()
// waits once and then calls back whatever happened; nothing else blocks.
#ifndef GENRUN_LOOP_LOOP_H
#define GENRUN_LOOP_LOOP_H

#include "base/err.h"
#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

int loop_open(struct loop **out, struct err *e) must_check;
// Frees the loop; transfers and watches must have been removed. NULL is fine.
void loop_close(struct loop *loop);
// Waits at most timeout_ms (0: only looks) for anything to happen, then runs the callbacks
// of ready descriptors, finished transfers and due timers.
int loop_wait(struct loop *loop, int64_t timeout_ms, struct err *e) must_check;
// Ends a wait that is under way; callable from any thread and from a signal handler.
void loop_wake(struct loop *loop);

// ---- descriptors: `events` and `ready` are poll(2) bits ----
typedef void (*loop_ready)(void *payload, int fd, short ready);
struct loop_watch; // owned by the loop; removing one inside any callback is safe
struct loop_watch *loop_watch_add(struct loop *loop, int fd, short events, loop_ready on_ready, void *payload);
void loop_watch_change(struct loop *loop, struct loop_watch *watch, short events);
void loop_watch_remove(struct loop *loop, struct loop_watch *watch); // does not close the fd; NULL is fine

// ---- timers: embedded in their owner's struct, zeroed before first use ----
struct loop_timer {
    int64_t at_ms; // clock_monotonic_ms() when due
    void (*on_due)(void *payload);
    void *payload;
    size_t slot; // position in the heap + 1; 0: not set
};
// Arms (or moves) the timer; on_due runs once in the pass after it is due.
void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ms);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer); // not set: fine

// ---- signals ----
// Blocks SIGINT, SIGTERM and SIGHUP in the process and delivers them here. SIGPIPE is ignored.
int loop_signals(struct loop *loop, void (*on_signal)(void *payload, int number), void *payload,
                 struct err *e) must_check;
// Gives the signals back to what they were.
void loop_signals_end(struct loop *loop);

// ---- transfers ----
typedef void (*loop_transfer_end)(void *payload, CURL *easy, CURLcode result);
// Adds an easy handle (its CURLOPT_PRIVATE is taken); on_end is called once from loop_wait()
// after it was removed from the loop, and the owner then frees or reuses it.
int loop_transfer_add(struct loop *loop, CURL *easy, loop_transfer_end on_end, void *payload,
                      struct err *e) must_check;
// Takes a running transfer out, closing its connection; on_end is not called.
void loop_transfer_remove(struct loop *loop, CURL *easy);
size_t loop_transfer_count(const struct loop *loop);

#endif
