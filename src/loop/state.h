// SPDX-License-Identifier: MIT
// What the files of this folder share: the loop's state, and the phases of a pass.
#ifndef GENRUN_LOOP_STATE_H
#define GENRUN_LOOP_STATE_H

#include "loop/loop.h"
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

struct loop_watch {
    int fd;
    short events;
    bool removed; // freed by the sweep at the end of the pass
    loop_ready on_ready;
    void *payload;
};

struct loop_transfer;

struct loop {
    bool in_pass;
    int64_t woke_us; // when the last wait ended

    // watch.c
    struct loop_watch **watches; // in the order they were added
    size_t watch_count, watch_capacity;
    bool watches_dirty;         // some are marked removed
    struct pollfd *polls;       // what the wait asks of poll(2), an entry a watch
    struct curl_waitfd *waits;  // the same for libcurl
    struct loop_watch **polled; // the watch of each entry
    size_t polled_count, poll_capacity;

    // timer.c: a binary heap, the earliest on top
    struct loop_timer **timers;
    size_t timer_count, timer_capacity;
    uint64_t timer_order;
    int64_t timers_now_ms; // while due timers are run: the time they are judged by; else -1

    // task.c
    struct loop_task *tasks, **tasks_end;

    // signal.c
    struct loop_watch *signal_watch;
    void (*on_signal)(void *payload, int number);
    void *signal_payload;
    sigset_t old_mask;
    struct sigaction old_sigpipe;

    // transfer.c
    CURLM *multi;
    struct loop_transfer *transfers;
    size_t transfer_count;
    CURL **spare_easies;
    size_t spare_count;

    // child.c
    struct child *children;
    bool adopting; // this process takes in descendants that lost their parent
    struct loop_timer reaper;
    rlim_t files_before; // the limit on open files before it was raised; 0: it was not

    int wake_fd; // eventfd
    struct loop_watch *wake_watch;
};

// The phases of a pass, in their order.
int loop_watches_poll(struct loop *loop, int timeout_ms, struct err *e) must_check; // the one wait
int loop_transfers_run(struct loop *loop, struct err *e) must_check;
void loop_watches_run(struct loop *loop);
void loop_timers_run(struct loop *loop);
void loop_tasks_run(struct loop *loop);

int64_t loop_timers_next_ms(const struct loop *loop); // when the earliest is due; -1: none
int loop_transfers_open(struct loop *loop, struct err *e) must_check;
void loop_transfers_close(struct loop *loop);
void loop_watches_sweep(struct loop *loop); // frees what was removed during the pass
void loop_watches_close(struct loop *loop);

#endif
