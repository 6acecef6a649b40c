// SPDX-License-Identifier: MIT
// base/id: the form, the order under a clock that jumps, tails that lie close together, forks.
// The program brings a clock and random numbers of its own, which stand in for the C library's.
#include "base/id.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t fake_at = -1; // Unix milliseconds; below 0 the real clock

int clock_gettime(clockid_t which, struct timespec *t) {
    if (which == CLOCK_REALTIME && fake_at >= 0) {
        t->tv_sec = fake_at / 1000;
        t->tv_nsec = fake_at % 1000 * 1000000;
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, which, t);
}

static enum { ENTROPY_REAL, ENTROPY_ONES, ENTROPY_FAILS } entropy;

int getentropy(void *out, size_t size) {
    if (entropy == ENTROPY_FAILS) {
        errno = EPERM;
        return -1;
    }
    if (entropy == ENTROPY_ONES) {
        memset(out, 0xFF, size);
        return 0;
    }
    return syscall(SYS_getrandom, out, size, 0) == (long)size ? 0 : -1;
}

static uint64_t hex(const char *id, size_t from, size_t count) {
    uint64_t value = 0;
    for (const char *p = id + from; p < id + from + count; p++) {
        value = *p == '-' ? value : value << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
    }
    return value;
}

static uint64_t milliseconds(const char *id) {
    return hex(id, 0, 13);
}

static uint32_t tail(const char *id) {
    return (uint32_t)hex(id, 28, 8);
}

static void test_form(void **state) {
    (void)state;
    char id[ID_SIZE];
    fake_at = 0x0123456789AB;
    id_make(id);
    assert_int_equal(strlen(id), 36);
    assert_true(id_is_valid(id));
    assert_memory_equal(id, "01234567-89ab-7", 15);
    assert_non_null(strchr("89ab", id[19]));
    fake_at = -1;
}

static void test_order_and_tails(void **state) {
    (void)state;
    char last[ID_SIZE], id[ID_SIZE];
    uint32_t steps_of_one = 0, largest = 0; // of the steps between tails
    fake_at = 1700000000000;
    id_make(last);
    for (int i = 0; i < 100000; i++) {
        fake_at += i % 100 == 0; // a hundred in each millisecond
        id_make(id);
        if (strcmp(last, id) >= 0) {
            fail_msg("%s after %s", id, last);
        }
        uint32_t step = tail(id) - tail(last);
        assert_in_range(step, 1, 256);
        steps_of_one += step == 1;
        largest = step > largest ? step : largest;
        memcpy(last, id, sizeof id);
    }
    assert_true(steps_of_one < 2000); // 390 on average: they are not adjacent
    assert_true(largest > 250);
    fake_at = -1;
}

static void test_clock_going_back(void **state) {
    (void)state;
    char last[ID_SIZE], id[ID_SIZE];
    fake_at = 1800000000000;
    id_make(last);
    static const int64_t jumps[] = {-1, -1000, -3600000, 5, -1700000000000, 0};
    for (size_t i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
        fake_at = 1800000000000 + jumps[i];
        id_make(id);
        assert_true(strcmp(last, id) < 0);
        assert_true(milliseconds(id) >= 1800000000000u);
        memcpy(last, id, sizeof id);
    }
    fake_at = -1;
}

// Runs `body` in a forked child, whose ids start anew; returns how the child ended, as waitpid tells it.
static int in_child(int (*body)(void)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(body());
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int wrap_in_child(void) {
    char first[ID_SIZE], second[ID_SIZE];
    entropy = ENTROPY_ONES; // the tail starts at the end of its range, and a step is 256
    fake_at = 1900000000000;
    id_make(first);
    id_make(second);
    bool wrapped = tail(first) == UINT32_MAX && tail(second) == 255;
    return wrapped && strcmp(first, second) < 0 && milliseconds(second) == 1900000000000u ? 0 : 1;
}

static void test_wrap_of_the_tail(void **state) {
    (void)state;
    assert_int_equal(in_child(wrap_in_child), 0);
}

static int without_entropy(void) {
    char id[ID_SIZE];
    entropy = ENTROPY_FAILS;
    close(STDERR_FILENO);
    signal(SIGABRT, SIG_DFL); // cmocka has a handler
    id_make(id);
    return 0;
}

static void test_no_randomness_no_id(void **state) {
    (void)state;
    int status = in_child(without_entropy);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static char from_parent[ID_SIZE], hex_of_parent[33];
static int report[2];

static int make_in_child(void) {
    char id[ID_SIZE], random[33];
    id_make(id);
    id_random_hex(random, 16);
    return write(report[1], id, ID_SIZE) == ID_SIZE && write(report[1], random, 33) == 33 ? 0 : 1;
}

static void test_fork_shares_nothing(void **state) {
    (void)state;
    char from_child[ID_SIZE], hex_of_child[33];
    fake_at = 1900000000000;
    id_make(from_parent);
    assert_int_equal(pipe(report), 0);
    assert_int_equal(in_child(make_in_child), 0);
    assert_int_equal(read(report[0], from_child, ID_SIZE), ID_SIZE);
    assert_int_equal(read(report[0], hex_of_child, 33), 33);
    close(report[0]);
    close(report[1]);
    id_make(from_parent);
    id_random_hex(hex_of_parent, 16);
    assert_string_not_equal(from_parent, from_child);
    assert_string_not_equal(hex_of_parent, hex_of_child);
    fake_at = -1;
}

#define THREADS 4
#define PER_THREAD 5000

static void *make_many(void *ids) {
    char(*list)[ID_SIZE] = ids;
    for (int i = 0; i < PER_THREAD; i++) {
        id_make(list[i]);
    }
    return NULL;
}

static int compare_ids(const void *a, const void *b) {
    return strcmp(a, b);
}

static void test_threads(void **state) {
    (void)state;
    char(*ids)[ID_SIZE] = malloc(sizeof *ids * THREADS * PER_THREAD);
    pthread_t threads[THREADS];
    for (size_t t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_create(&threads[t], NULL, make_many, ids + t * PER_THREAD), 0);
    }
    for (size_t t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        for (size_t i = 1; i < PER_THREAD; i++) {
            assert_true(strcmp(ids[t * PER_THREAD + i - 1], ids[t * PER_THREAD + i]) < 0);
        }
    }
    qsort(ids, THREADS * PER_THREAD, sizeof *ids, compare_ids);
    for (size_t i = 1; i < THREADS * PER_THREAD; i++) {
        assert_string_not_equal(ids[i - 1], ids[i]);
    }
    free(ids);
}

static void test_validity(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"01234567-89ab-7cde-8f01-23456789abcd", true},
        {"01234567-89AB-7CDE-8F01-23456789ABCD", true},
        {"00000000-0000-0000-0000-000000000000", true},
        {"", false},
        {"01234567", false},
        {"01234567-89ab-7cde-8f01-23456789abc", false},
        {"01234567-89ab-7cde-8f01-23456789abcde", false},
        {"01234567-89ab-7cde-8f01-23456789abcg", false},
        {"01234567089ab-7cde-8f01-23456789abcd", false},
        {"0123456-789ab-7cde-8f01-23456789abcd", false},
        {"01234567-89ab-7cde-8f01 23456789abcd", false},
        {"{1234567-89ab-7cde-8f01-23456789abcd", false},
        {NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(id_is_valid(cases[i].text), cases[i].valid);
    }
}

static void test_random(void **state) {
    (void)state;
    char a[65], b[65];
    memset(a, '#', sizeof a);
    id_random_hex(a, 0);
    assert_string_equal(a, "");
    id_random_hex(a, 32);
    id_random_hex(b, 32);
    assert_int_equal(strlen(a), 64);
    assert_int_equal(strspn(a, "0123456789abcdef"), 64);
    assert_string_not_equal(a, b);
    char big[2 * 1000 + 1]; // more than the pool
    id_random_hex(big, 1000);
    assert_int_equal(strspn(big, "0123456789abcdef"), 2000);
    uint64_t ones = 0, zeros = 0; // every bit is sometimes set and sometimes not
    for (int i = 0; i < 200; i++) {
        uint64_t random = id_random_u64();
        ones |= random;
        zeros |= ~random;
    }
    assert_true(ones == UINT64_MAX && zeros == UINT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_order_and_tails),
        cmocka_unit_test(test_clock_going_back),
        cmocka_unit_test(test_wrap_of_the_tail),
        cmocka_unit_test(test_no_randomness_no_id),
        cmocka_unit_test(test_fork_shares_nothing),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_validity),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
