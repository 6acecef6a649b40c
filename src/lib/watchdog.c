// SPDX-License-Identifier: MIT
// The timer, its signal handler, and the process that it ends in.
#include "lib/watchdog.h"
#include "base/clock.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 2000 // after a stop of the whole process the loop gets this long to turn first

// A signal handler can only reach what is static.
static struct {
    timer_t timer;
    int64_t timeout_ms;
    int64_t armed_ms; // when it was armed last
    volatile sig_atomic_t on;
    volatile sig_atomic_t warned;
    char database[4096];
    char runner[32];
} dog;

static void arm(int64_t ms) {
    const struct itimerspec at = {.it_value = {ms / 1000, (ms % 1000) * 1000000}};
    timer_settime(dog.timer, 0, &at, NULL);
}

// Only what is safe in a signal handler (signal-safety(7)): timer_settime, write, execve, _exit.
static void on_alarm(int number) {
    static const char told[] =
        "genrun: the loop has not turned for heartbeat_timeout: this process ends, the next runner "
        "takes its work back\n";
    (void)number;
    if (!dog.on)
        return;
    if (!dog.warned) {
        dog.warned = 1;
        arm(GRACE_MS);
        return;
    }
    ssize_t written = write(STDERR_FILENO, told, sizeof told - 1);
    (void)written;
    char *const argv[] = {"genrun", "--mark-hung", dog.database, dog.runner, NULL};
    execv("/proc/self/exe", argv);
    _exit(1);
}

int watchdog_start(int64_t timeout_ms, const char *database, int64_t runner_seq, struct err *e) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    if (strlen(database) >= sizeof dog.database)
        return err_set(e, ERR_CONFIG, "the path of the database is too long: use a shorter one");
    snprintf(dog.database, sizeof dog.database, "%s", database);
    snprintf(dog.runner, sizeof dog.runner, "%" PRId64, runner_seq);
    dog.timeout_ms = timeout_ms;
    if (sigaction(SIGALRM, &action, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &dog.timer) != 0)
        return err_set(e, ERR_CONFLICT, "the watchdog's timer cannot be made: %s", strerror(errno));
    dog.warned = 0;
    dog.on = 1;
    dog.armed_ms = 0;
    watchdog_beat(NULL);
    return 0;
}

void watchdog_beat(void *payload) {
    int64_t now_ms = clock_monotonic_ms();
    (void)payload;
    // A system call now and then, not in every turn.
    if (!dog.on || (now_ms - dog.armed_ms < dog.timeout_ms / 8 && !dog.warned))
        return;
    dog.armed_ms = now_ms;
    dog.warned = 0;
    arm(dog.timeout_ms);
}

void watchdog_end(void) {
    if (!dog.on)
        return;
    dog.on = 0;
    timer_delete(dog.timer);
    signal(SIGALRM, SIG_DFL);
}
