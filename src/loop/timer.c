// SPDX-License-Identifier: MIT
// Timers: a binary heap ordered by the time due, then by the order of being set.
#include "loop/state.h"

#include "base/clock.h"
#include "base/mem.h"

static bool is_before(const struct loop_timer *a, const struct loop_timer *b) {
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void place(struct loop *loop, size_t index, struct loop_timer *timer) {
    loop->timers[index] = timer;
    timer->slot = index + 1;
}

static void sift_up(struct loop *loop, size_t index, struct loop_timer *timer) {
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!is_before(timer, loop->timers[parent]))
            break;
        place(loop, index, loop->timers[parent]);
        index = parent;
    }
    place(loop, index, timer);
}

static void sift_down(struct loop *loop, size_t index, struct loop_timer *timer) {
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= loop->timer_count)
            break;
        if (child + 1 < loop->timer_count && is_before(loop->timers[child + 1], loop->timers[child]))
            child++;
        if (!is_before(loop->timers[child], timer))
            break;
        place(loop, index, loop->timers[child]);
        index = child;
    }
    place(loop, index, timer);
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer) {
    if (!timer->slot)
        return;
    size_t index = timer->slot - 1;
    timer->slot = 0;
    struct loop_timer *last = loop->timers[--loop->timer_count];
    if (last == timer)
        return;
    if (index > 0 && is_before(last, loop->timers[(index - 1) / 2]))
        sift_up(loop, index, last);
    else
        sift_down(loop, index, last);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ms) {
    loop_timer_clear(loop, timer);
    // A timer that sets itself for "now" must not hold the pass for ever.
    if (at_ms <= loop->timers_now_ms)
        at_ms = loop->timers_now_ms + 1;
    timer->at_ms = at_ms;
    timer->order = ++loop->timer_order;
    if (loop->timer_count == loop->timer_capacity) {
        loop->timer_capacity = loop->timer_capacity ? loop->timer_capacity * 2 : 16;
        loop->timers = mem_resize(loop->timers, loop->timer_capacity, sizeof *loop->timers);
    }
    sift_up(loop, loop->timer_count++, timer);
}

int64_t loop_timers_next_ms(const struct loop *loop) {
    if (!loop->timer_count)
        return -1;
    int64_t at_ms = loop->timers[0]->at_ms;
    return at_ms > 0 ? at_ms : 0;
}

void loop_timers_run(struct loop *loop) {
    if (!loop->timer_count)
        return;
    loop->timers_now_ms = clock_monotonic_ms();
    while (loop->timer_count && loop->timers[0]->at_ms <= loop->timers_now_ms) {
        struct loop_timer *timer = loop->timers[0];
        loop_timer_clear(loop, timer);
        timer->on_due(timer->payload);
    }
    loop->timers_now_ms = -1;
}
