// SPDX-License-Identifier: MIT
// The loop: order of timers, watches removed in callbacks, hang-ups, tasks, waking, signals, transfers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "loop/loop.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct err reason;
static char trace[4096]; // what the callbacks wrote, in order

static int set_up(void **state) {
    (void)state;
    *trace = '\0';
    return loop_open(&loop, &reason);
}

static int tear_down(void **state) {
    (void)state;
    loop_close(loop);
    loop = NULL;
    return 0;
}

static void note(const char *word) {
    size_t used = strlen(trace);
    snprintf(trace + used, sizeof trace - used, "%s ", word);
}

static void pass(int64_t timeout_ms) {
    assert_int_equal(loop_wait(loop, timeout_ms, &reason), 0);
}

// ---- timers ----

struct named_timer {
    struct loop_timer timer;
    const char *name;
    struct named_timer *clears, *sets;
};

static void named_due(void *payload) {
    struct named_timer *t = payload;
    note(t->name);
    assert_int_equal(t->timer.slot, 0);
    if (t->clears)
        loop_timer_clear(loop, &t->clears->timer);
    if (t->sets)
        loop_timer_set(loop, &t->sets->timer, clock_monotonic_ms());
}

static struct named_timer named(const char *name) {
    return (struct named_timer){.timer.on_due = named_due, .name = name};
}

static void arm(struct named_timer *t, int64_t at_ms) {
    t->timer.payload = t;
    loop_timer_set(loop, &t->timer, at_ms);
}

static void timers_run_in_order_of_time_then_of_setting(void **state) {
    (void)state;
    int64_t now_ms = clock_monotonic_ms();
    struct named_timer a = named("a"), b = named("b"), c = named("c"), d = named("d"), far = named("far");
    arm(&far, now_ms + 3600000);
    arm(&c, now_ms - 1);
    arm(&a, now_ms - 5);
    arm(&d, now_ms - 1);
    arm(&b, now_ms - 4);
    pass(0);
    assert_string_equal(trace, "a b c d ");
    loop_timer_clear(loop, &far.timer);
    loop_timer_clear(loop, &far.timer);
    pass(0);
    assert_string_equal(trace, "a b c d ");
}

static void timer_is_never_early_and_moves(void **state) {
    (void)state;
    struct named_timer a = named("a");
    int64_t due_ms = clock_monotonic_ms() + 12;
    arm(&a, due_ms + 3600000);
    arm(&a, due_ms);
    while (!*trace) {
        pass(60000);
        assert_true(!*trace || clock_monotonic_ms() >= due_ms);
    }
    assert_string_equal(trace, "a ");
}

static void timer_callbacks_may_clear_and_set_others(void **state) {
    (void)state;
    int64_t now_ms = clock_monotonic_ms();
    struct named_timer a = named("a"), b = named("b"), c = named("c");
    a.clears = &b;
    a.sets = &a; // for now: must not hold the pass
    arm(&a, now_ms - 3);
    arm(&b, now_ms - 2);
    arm(&c, now_ms - 1);
    pass(0);
    assert_string_equal(trace, "a c ");
    pass(1000); // a again, a millisecond later
    assert_string_equal(trace, "a c a ");
    loop_timer_clear(loop, &a.timer);
}

static int64_t heap_last;
static size_t heap_ran;
static void heap_due(void *payload) {
    struct loop_timer *t = payload;
    assert_true(t->at_ms >= heap_last);
    heap_last = t->at_ms;
    heap_ran++;
}

static void heap_holds_under_random_sets_and_clears(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    static struct loop_timer timers[COUNT];
    memset(timers, 0, sizeof timers);
    unsigned seed = 12345;
    int64_t now_ms = clock_monotonic_ms();
    size_t set = 0;
    for (int round = 0; round < 3 * COUNT; round++) {
        struct loop_timer *t = &timers[(size_t)rand_r(&seed) % COUNT];
        t->on_due = heap_due;
        t->payload = t;
        if (rand_r(&seed) % 4 == 0)
            loop_timer_clear(loop, t);
        else
            loop_timer_set(loop, t, now_ms - 1 - rand_r(&seed) % 500);
    }
    for (size_t i = 0; i < COUNT; i++)
        set += timers[i].slot != 0;
    heap_last = INT64_MIN;
    heap_ran = 0;
    pass(0);
    assert_int_equal(heap_ran, set);
}

// ---- tasks ----

struct named_task {
    struct loop_task task;
    const char *name;
    struct named_task *cancels, *defers;
};

static void task_runs(void *payload) {
    struct named_task *t = payload;
    note(t->name);
    if (t->cancels)
        loop_defer_cancel(loop, &t->cancels->task);
    if (t->defers)
        loop_defer(loop, &t->defers->task);
}

static void put_off(struct named_task *t, const char *name) {
    t->name = name;
    t->task.on_run = task_runs;
    t->task.payload = t;
    loop_defer(loop, &t->task);
}

static void tasks_run_once_in_order_and_without_sleep(void **state) {
    (void)state;
    struct named_task a = {0}, b = {0}, c = {0}, d = {0};
    put_off(&a, "a");
    put_off(&b, "b");
    put_off(&c, "c");
    put_off(&d, "d");
    put_off(&a, "a"); // already there: keeps its place
    a.cancels = &c;
    d.defers = &d; // runs in the next pass, not in this one
    int64_t began_ms = clock_monotonic_ms();
    pass(60000);
    assert_string_equal(trace, "a b d ");
    d.defers = NULL;
    pass(60000);
    assert_string_equal(trace, "a b d d ");
    pass(0);
    assert_string_equal(trace, "a b d d ");
    assert_true(clock_monotonic_ms() - began_ms < 30000);
}

static void cancelled_task_never_runs(void **state) {
    (void)state;
    struct named_task a = {0}, b = {0}, c = {0};
    put_off(&a, "a");
    put_off(&b, "b");
    put_off(&c, "c");
    loop_defer_cancel(loop, &c.task); // the last: the end of the list moves back
    loop_defer_cancel(loop, &c.task);
    loop_defer_cancel(loop, &a.task);
    put_off(&a, "a");
    pass(0);
    assert_string_equal(trace, "b a ");
}

// ---- descriptors ----

struct pipe_watch {
    int fds[2];
    struct loop_watch *watch;
    struct loop_watch **removes; // on being called
    const char *name;
    short ready;
    bool keep; // do not read
};

static void pipe_ready(void *payload, int fd, short ready) {
    struct pipe_watch *p = payload;
    char c;
    note(p->name);
    p->ready = ready;
    assert_int_equal(fd, p->fds[0]);
    if (!p->keep && ready & POLLIN)
        assert_int_equal(read(fd, &c, 1), 1);
    if (p->removes) {
        loop_watch_remove(loop, *p->removes);
        *p->removes = NULL;
    }
}

static void open_pipe(struct pipe_watch *p, const char *name) {
    *p = (struct pipe_watch){.name = name};
    assert_int_equal(pipe2(p->fds, O_CLOEXEC), 0);
    p->watch = loop_watch_add(loop, p->fds[0], POLLIN, pipe_ready, p);
}

static void close_pipe(struct pipe_watch *p) {
    loop_watch_remove(loop, p->watch);
    close(p->fds[0]);
    if (p->fds[1] >= 0)
        close(p->fds[1]);
}

static void watch_removed_by_a_callback_is_not_called(void **state) {
    (void)state;
    struct pipe_watch a, b, c;
    open_pipe(&a, "a");
    open_pipe(&b, "b");
    open_pipe(&c, "c");
    a.removes = &b.watch; // another, ready in the same pass
    c.removes = &c.watch; // itself
    assert_int_equal(write(a.fds[1], "x", 1) + write(b.fds[1], "x", 1) + write(c.fds[1], "xx", 2), 4);
    pass(60000);
    assert_string_equal(trace, "a c ");
    pass(0);
    assert_string_equal(trace, "a c ");
    close_pipe(&a);
    close_pipe(&b);
    close_pipe(&c);
}

static void adds_another(void *payload, int fd, short ready) {
    (void)fd, (void)ready;
    struct pipe_watch *other = payload;
    for (int i = 0; i < 40; i++) // the lists grow under the pass
        loop_watch_remove(loop, loop_watch_add(loop, other->fds[0], POLLIN, pipe_ready, other));
    other->watch = loop_watch_add(loop, other->fds[0], POLLIN, pipe_ready, other);
}

static void watch_added_by_a_callback_is_called_in_the_next_pass(void **state) {
    (void)state;
    struct pipe_watch a, b;
    open_pipe(&a, "a");
    open_pipe(&b, "b");
    loop_watch_remove(loop, b.watch);
    b.watch = NULL;
    struct loop_watch *adder = loop_watch_add(loop, a.fds[0], POLLIN, adds_another, &b);
    assert_int_equal(write(a.fds[1], "x", 1) + write(b.fds[1], "x", 1), 2);
    pass(60000);
    assert_string_equal(trace, "a ");
    pass(60000);
    assert_string_equal(trace, "a b ");
    loop_watch_remove(loop, adder);
    close_pipe(&a);
    close_pipe(&b);
}

static void watch_change_is_obeyed(void **state) {
    (void)state;
    struct pipe_watch a;
    open_pipe(&a, "a");
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    loop_watch_change(loop, a.watch, 0);
    pass(0);
    assert_string_equal(trace, "");
    loop_watch_change(loop, a.watch, POLLIN);
    pass(0);
    assert_string_equal(trace, "a ");
    close_pipe(&a);
}

static void hang_up_is_told(void) {
    struct pipe_watch a;
    open_pipe(&a, "a");
    close(a.fds[1]);
    a.fds[1] = -1;
    *trace = '\0';
    while (!*trace)
        pass(60000);
    assert_true(a.ready & POLLHUP);
    assert_false(a.ready & POLLIN);
    close_pipe(&a);
}

static void hang_up_without_data_is_told(void **state) {
    (void)state;
    hang_up_is_told();
}

// ---- waking ----

static void *wake_thread(void *payload) {
    (void)payload;
    loop_wake(loop);
    return NULL;
}

static void wake_ends_a_wait_from_another_thread_and_beforehand(void **state) {
    (void)state;
    int64_t began_ms = clock_monotonic_ms();
    loop_wake(loop);
    loop_wake(loop);
    pass(60000);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_thread, NULL), 0);
    pass(60000);
    pthread_join(thread, NULL);
    assert_true(clock_monotonic_ms() - began_ms < 30000);
}

static void waits_inside(void *payload) {
    (void)payload;
    struct err e;
    assert_int_equal(loop_wait(loop, 0, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.message, "callback"));
    note("refused");
}

static void waiting_inside_a_callback_is_refused(void **state) {
    (void)state;
    struct loop_task task = {.on_run = waits_inside};
    loop_defer(loop, &task);
    pass(0);
    assert_string_equal(trace, "refused ");
}

// ---- signals ----

static void signal_came(void *payload, int number) {
    (void)payload;
    note(number == SIGTERM ? "term" : number == SIGINT ? "int" : number == SIGHUP ? "hup" : "other");
    if (number == SIGHUP)
        loop_signals_end(loop);
}

static void nothing(int number) {
    (void)number;
}

static void signals_are_delivered_and_given_back(void **state) {
    (void)state;
    struct sigaction before = {.sa_handler = nothing}, now;
    sigaction(SIGPIPE, &before, NULL);
    assert_int_equal(loop_signals(loop, signal_came, NULL, &reason), 0);
    assert_int_equal(loop_signals(loop, signal_came, NULL, &reason), ERR_CONFLICT);
    raise(SIGTERM);
    raise(SIGINT);
    while (strlen(trace) < strlen("term int "))
        pass(60000);
    assert_non_null(strstr(trace, "term "));
    assert_non_null(strstr(trace, "int "));
    sigaction(SIGPIPE, NULL, &now);
    assert_true(now.sa_handler == SIG_IGN);
    raise(SIGHUP); // ends them inside the callback
    while (!strstr(trace, "hup "))
        pass(60000);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGTERM));
    sigaction(SIGPIPE, NULL, &now);
    assert_true(now.sa_handler == nothing);
    signal(SIGPIPE, SIG_DFL);
}

// ---- transfers ----

static size_t ended;
static CURLcode last_result;
static void transfer_ended(void *payload, CURL *easy, CURLcode result) {
    (void)payload;
    last_result = result;
    ended++;
    loop_easy_give(loop, easy);
}

// A port of loopback that takes connections and says nothing (listening), or refuses them.
static int silent_port(bool listening, char url[64]) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    if (listening)
        assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(url, 64, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    return fd;
}

static CURL *begin(const char *url) {
    CURL *easy = loop_easy_take(loop);
    assert_non_null(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    assert_int_equal(loop_transfer_add(loop, easy, transfer_ended, NULL, &reason), 0);
    return easy;
}

static void transfer_that_fails_ends_once(void **state) {
    (void)state;
    char url[64];
    int fd = silent_port(false, url);
    ended = 0;
    begin(url);
    begin(url);
    assert_int_equal(loop_transfer_count(loop), 2);
    while (ended < 2)
        pass(60000);
    assert_int_equal(last_result, CURLE_COULDNT_CONNECT);
    assert_int_equal(loop_transfer_count(loop), 0);
    close(fd);
}

static void removed_transfer_is_not_called_and_watches_work_beside(void **state) {
    (void)state;
    char url[64];
    int fd = silent_port(true, url);
    ended = 0;
    CURL *easy = begin(url);
    for (int i = 0; i < 5; i++)
        pass(1);
    hang_up_is_told(); // while libcurl polls: it would swallow the hang-up
    struct pipe_watch a;
    open_pipe(&a, "a");
    *trace = '\0';
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    while (!*trace)
        pass(60000);
    assert_string_equal(trace, "a ");
    loop_wake(loop);
    pass(60000);
    close_pipe(&a);
    loop_transfer_remove(loop, easy);
    loop_transfer_remove(loop, easy); // not there any more: fine
    assert_int_equal(loop_transfer_count(loop), 0);
    pass(0);
    assert_int_equal(ended, 0);
    loop_easy_give(loop, easy);
    loop_easy_give(loop, NULL);
    close(fd);
}

static void close_takes_nothing(void **state) {
    (void)state;
    loop_close(NULL);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(timers_run_in_order_of_time_then_of_setting),
        CASE(timer_is_never_early_and_moves),
        CASE(timer_callbacks_may_clear_and_set_others),
        CASE(heap_holds_under_random_sets_and_clears),
        CASE(tasks_run_once_in_order_and_without_sleep),
        CASE(cancelled_task_never_runs),
        CASE(watch_removed_by_a_callback_is_not_called),
        CASE(watch_added_by_a_callback_is_called_in_the_next_pass),
        CASE(watch_change_is_obeyed),
        CASE(hang_up_without_data_is_told),
        CASE(wake_ends_a_wait_from_another_thread_and_beforehand),
        CASE(waiting_inside_a_callback_is_refused),
        CASE(signals_are_delivered_and_given_back),
        CASE(transfer_that_fails_ends_once),
        CASE(removed_transfer_is_not_called_and_watches_work_beside),
        cmocka_unit_test(close_takes_nothing),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
