// SPDX-License-Identifier: MIT
// What starting a program costs by itself: posix_spawn and wait, so many times, so many at a time.
//   spawn COUNT CONCURRENCY PROGRAM      prints {"run_s": SECONDS}
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int count = atoi(argv[1]), concurrency = atoi(argv[2]), started = 0, running = 0;
    char *const words[] = {argv[3], NULL}, *const environment[] = {NULL};
    double began = now_s();
    while (started < count || running > 0) {
        pid_t pid;
        int status;
        while (started < count && running < concurrency) {
            if (posix_spawn(&pid, argv[3], NULL, NULL, words, environment) != 0)
                return 1;
            started++;
            running++;
        }
        if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            return 1;
        running--;
    }
    printf("{\"run_s\": %.6f}\n", now_s() - began);
    return 0;
}
