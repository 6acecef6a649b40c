// SPDX-License-Identifier: MIT
// Processes whose work is over are found and ended wherever they went, and nobody else is. All that a test starts
// holds the write end of a pipe: it closes when the last of them is gone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "loop/leftover.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 90000 // of the tests; nothing takes long
#define CHAIN_MS 30000    // a chain that nobody ends does so itself

static struct loop *loop;
static struct err error;
static struct leftover_mark mine, other;
static int killed, survived, gone;
static struct leftover_process last;
static bool powerless;

// In the place of the C library's: a process that cannot be ended.
int pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned flags) {
    if (powerless) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_pidfd_send_signal, fd, number, info, flags);
}

static void on_kill(void *payload, const struct leftover_process *process) {
    assert_ptr_equal(payload, &mine);
    last = *process;
    killed++;
}

static void on_survive(void *payload, const struct leftover_process *process) {
    assert_ptr_equal(payload, &mine);
    last = *process;
    survived++;
}

static void on_gone(void *payload) {
    assert_ptr_equal(payload, &mine);
    gone++;
}

static struct leftover_listener listener = {
    .on_kill = on_kill, .on_survive = on_survive, .on_gone = on_gone, .payload = &mine, .patience_ms = 60000};

static int set_up(void **state) {
    (void)state;
    mine = other = (struct leftover_mark){0};
    id_make(mine.runner);
    id_make(other.runner);
    killed = survived = gone = 0;
    powerless = false;
    listener.patience_ms = 60000;
    return loop_open(&loop, &error);
}

static int tear_down(void **state) {
    (void)state;
    loop_close(loop);
    // Children that were ended.
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    return 0;
}

struct crowd {
    pid_t pid; // of the first, which leads a group of its own unless it was to stay in ours
    int fd;    // closes with the last
};

enum group { OWN_GROUP, OUR_GROUP };

// Starts a program with nothing but the mark in its environment; returns when it runs.
static struct crowd start_in(enum group group, const struct leftover_mark *mark, char *const argv[]) {
    int holds[2], runs[2];
    char *env[5] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    if (mark) {
        env[1] = mem_format(LEFTOVER_RUNNER "=%s", mark->runner);
        env[2] = mem_format(LEFTOVER_GENERATION "=%s", mark->generation);
        env[3] = mem_format(LEFTOVER_ATTEMPT "=%d", mark->attempt);
    }
    assert_int_equal(pipe2(holds, O_CLOEXEC), 0);
    assert_int_equal(pipe2(runs, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (group == OWN_GROUP)
            setpgid(0, 0);
        fcntl(holds[1], F_SETFD, 0);
        execve(argv[0], argv, env);
        _exit(127);
    }
    close(holds[1]);
    close(runs[1]);
    // Closed by the exec.
    char byte;
    assert_int_equal(read(runs[0], &byte, 1), 0);
    close(runs[0]);
    for (int i = 1; i < 4; i++)
        free(env[i]);
    return (struct crowd){pid, holds[0]};
}

static struct crowd start(const struct leftover_mark *mark, char *const argv[]) {
    return start_in(OWN_GROUP, mark, argv);
}

static struct crowd start_shell(const struct leftover_mark *mark, const char *script) {
    return start(mark, (char *[]){(char *)"/bin/sh", (char *)"-c", (char *)(uintptr_t)script, NULL});
}

static char *const sleeper[] = {(char *)"/bin/sleep", (char *)"60", NULL};

static bool lives(const struct crowd *crowd) {
    return poll(&(struct pollfd){.fd = crowd->fd, .events = POLLIN}, 1, 0) == 0;
}

// What the shell's script says of itself: all are started.
static void await_word(const struct crowd *crowd) {
    char byte;
    assert_int_equal(poll(&(struct pollfd){.fd = crowd->fd, .events = POLLIN}, 1, PATIENCE_MS), 1);
    assert_int_equal(read(crowd->fd, &byte, 1), 1);
}

static void assert_gone(const struct crowd *crowd) {
    char byte;
    assert_int_equal(poll(&(struct pollfd){.fd = crowd->fd, .events = POLLIN}, 1, PATIENCE_MS), 1);
    assert_int_equal(read(crowd->fd, &byte, 1), 0);
    close(crowd->fd);
}

static void end_by_hand(const struct crowd *crowd) {
    kill(crowd->pid, SIGKILL);
    assert_gone(crowd);
}

static void await_end(void) {
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!gone) {
        assert_true(clock_monotonic_ms() < end_ms);
        assert_int_equal(loop_wait(loop, 1000, &error), 0);
        // The runner's children are ours here: its grandchildren are init's.
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
    assert_int_equal(gone, 1);
}

// Where anybody on this machine is in the middle of an exec it is looked again, so there may be something to wait for.
static void assert_none_left(const struct leftover_mark *mark) {
    int before = killed;
    gone = 0;
    if (leftover_open(loop, mark, 1, &listener))
        await_end();
    assert_int_equal(killed, before);
}

static void end_leftovers(const struct leftover_mark *mark) {
    assert_non_null(leftover_open(loop, mark, 1, &listener));
    await_end();
    assert_none_left(mark);
}

static void test_none(void **state) {
    (void)state;
    assert_true(leftover_can_look());
    assert_none_left(&mine);
    assert_int_equal(leftover_kill(&mine, 1), 0);
    assert_int_equal(killed, 0);
    leftover_close(NULL);
}

static void test_the_one(void **state) {
    (void)state;
    id_make(mine.generation);
    mine.attempt = 3;
    struct crowd one = start(&mine, sleeper);
    end_leftovers(&mine);
    assert_gone(&one);
    assert_int_equal(killed, 1);
    assert_int_equal(last.pid, one.pid);
    assert_string_equal(last.name, "sleep");
    assert_string_equal(last.mark.runner, mine.runner);
    assert_string_equal(last.mark.generation, mine.generation);
    assert_int_equal(last.mark.attempt, 3);
}

// Where the crowds of a script go; each says a word on descriptor 3.. of the pipe when all of it is started.
static const struct {
    const char *name, *script;
    int least; // that are found one by one or with their group
} crowds[] = {
    {"a pipeline", "sleep 60 | cat & sleep 60 & echo >&$FD; wait", 1},
    {"sessions of their own",
     "setsid sh -c 'sleep 60 & setsid sh -c \"echo >&$FD; exec sleep 60\" & exec sleep 60' & wait", 2},
    {"let go", "setsid -f sleep 60; (setsid -f sh -c 'sleep 60 & sleep 60 & wait' &); echo >&$FD", 1},
    {"with another environment beside", "env -i /bin/sleep 60 & echo >&$FD; exec sleep 60", 1},
    {"with another environment in a session of its own",
     "setsid setsid -w env -i PATH=$PATH FD=$FD sh -c 'sleep 60 & echo >&$FD; wait' & wait", 2},
    {"stopped", "sleep 60 & kill -STOP $!; echo >&$FD; kill -STOP $$", 1},
    {"deaf", "trap '' TERM INT HUP QUIT; sleep 60 & echo >&$FD; wait", 1},
    {"a zombie", "true & exec /bin/sh -c 'echo >&$FD; exec sleep 60'", 1},
};

// The number of the pipe's descriptor is not known before the start.
static struct crowd start_crowd(const struct leftover_mark *mark, const char *script) {
    static const char find[] =
        "for f in /proc/$$/fd/*; do n=${f##*/}; [ $n -gt 2 ] && [ -p $f ] && FD=$n; done; export FD; ";
    char *whole = mem_format("%s%s", find, script);
    struct crowd crowd = start_shell(mark, whole);
    free(whole);
    await_word(&crowd);
    return crowd;
}

static void test_crowds(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof crowds / sizeof *crowds; i++) {
        print_message("# %s\n", crowds[i].name);
        killed = gone = 0;
        struct crowd bystander = start(&other, sleeper), stranger = start(NULL, sleeper);
        struct crowd crowd = start_crowd(&mine, crowds[i].script);
        end_leftovers(&mine);
        assert_gone(&crowd);
        assert_true(killed >= crowds[i].least);
        assert_true(lives(&bystander) && lives(&stranger));
        end_by_hand(&bystander);
        end_by_hand(&stranger);
    }
}

// One that starts the next and ends, in a session of its own, so that nothing but its mark is left of where it
// came from.
static int run_chain(void) {
    int64_t end_ms = clock_monotonic_ms() + CHAIN_MS;
    signal(SIGCHLD, SIG_IGN);
    while (clock_monotonic_ms() < end_ms) {
        pid_t pid = fork();
        if (pid > 0)
            _exit(0);
        if (pid == 0)
            setsid();
        usleep(300);
    }
    return 0;
}

static void test_chains(void **state) {
    (void)state;
    char *argv[] = {(char *)"/proc/self/exe", (char *)"chain", NULL};
    struct crowd chains[3];
    for (size_t i = 0; i < 3; i++)
        chains[i] = start(&mine, argv);
    end_leftovers(&mine);
    for (size_t i = 0; i < 3; i++)
        assert_gone(&chains[i]);
}

static void test_several_marks(void **state) {
    (void)state;
    struct leftover_mark marks[] = {mine, other, mine};
    id_make(marks[2].runner);
    struct crowd one = start(&mine, sleeper), two = start(&other, sleeper), three = start(&marks[2], sleeper);
    assert_int_equal(leftover_kill(marks, 2), 2);
    assert_gone(&one);
    assert_gone(&two);
    assert_true(lives(&three));
    end_by_hand(&three);
}

static void test_one_attempt_only(void **state) {
    (void)state;
    struct leftover_mark first = mine, second = mine, another = mine;
    id_make(first.generation);
    id_make(another.generation);
    memcpy(second.generation, first.generation, sizeof second.generation);
    first.attempt = another.attempt = 1;
    second.attempt = 2;
    struct crowd a = start(&first, sleeper), b = start(&second, sleeper), c = start(&another, sleeper);
    assert_int_equal(leftover_kill(&first, 1), 1);
    assert_gone(&a);
    assert_true(lives(&b) && lives(&c));
    second.attempt = 0;
    assert_int_equal(leftover_kill(&second, 1), 1);
    assert_gone(&b);
    assert_true(lives(&c));
    end_by_hand(&c);
}

// A longer or a shorter value is another one.
static void test_near_misses(void **state) {
    (void)state;
    char *longer = mem_format("X" LEFTOVER_RUNNER "=%s", mine.runner);
    char *argv[] = {(char *)"/usr/bin/env", longer, sleeper[0], sleeper[1], NULL};
    struct crowd crowd = start(NULL, argv);
    struct leftover_mark shorter = mine;
    shorter.runner[ID_SIZE - 2] = 0;
    struct crowd near = start(&shorter, sleeper);
    assert_int_equal(leftover_kill(&mine, 1), 0);
    assert_true(lives(&crowd) && lives(&near));
    const struct leftover_mark none = {0};
    assert_false(leftover_carries(crowd.pid, &none)); // what has no mark is nobody's
    end_by_hand(&crowd);
    end_by_hand(&near);
    free(longer);
}

// A runner that was itself started by what a runner started ends its kin, and not itself.
static int run_kin(void) {
    struct leftover_mark mark = {0};
    snprintf(mark.runner, sizeof mark.runner, "%s", getenv(LEFTOVER_RUNNER));
    return leftover_kill(&mark, 1) == 1 ? 0 : 1;
}

static void test_not_itself(void **state) {
    (void)state;
    int status;
    struct crowd one = start(&mine, sleeper);
    struct crowd kin = start(&mine, (char *[]){(char *)"/proc/self/exe", (char *)"kin", NULL});
    assert_int_equal(waitpid(kin.pid, &status, 0), kin.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_gone(&one);
    assert_gone(&kin);
}

static void test_a_group_with_others(void **state) {
    (void)state;
    // In the group of this test, which must live on.
    struct crowd one = start_in(OUR_GROUP, &mine, sleeper);
    end_leftovers(&mine);
    assert_gone(&one);
}

static void test_what_does_not_end(void **state) {
    (void)state;
    struct crowd one = start_in(OUR_GROUP, &mine, sleeper);
    powerless = true;
    listener.patience_ms = 1;
    struct leftover *l = leftover_open(loop, &mine, 1, &listener);
    assert_non_null(l);
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!survived && clock_monotonic_ms() < end_ms)
        assert_int_equal(loop_wait(loop, 1000, &error), 0);
    assert_int_equal(survived, 1);
    assert_int_equal(killed, 1);
    assert_int_equal(last.pid, one.pid);
    assert_int_equal(gone, 0);
    assert_true(lives(&one));
    // Its end is seen at once, without another look by the timer.
    kill(one.pid, SIGKILL);
    while (!gone && clock_monotonic_ms() < end_ms)
        assert_int_equal(loop_wait(loop, 1000, &error), 0);
    assert_int_equal(gone, 1);
    assert_int_equal(survived, 1);
    assert_gone(&one);
}

static void test_closed_early(void **state) {
    (void)state;
    struct crowd one = start(&mine, sleeper), two = start(&mine, sleeper);
    struct leftover *l = leftover_open(loop, &mine, 1, &listener);
    assert_non_null(l);
    leftover_close(l);
    assert_gone(&one);
    assert_gone(&two);
    assert_int_equal(killed, 2);
    assert_int_equal(gone, 0);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "chain") == 0)
        return run_chain();
    if (argc > 1 && strcmp(argv[1], "kin") == 0)
        return run_kin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_crowds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chains, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several_marks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_attempt_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_near_misses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_group_with_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed_early, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
