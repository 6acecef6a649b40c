// SPDX-License-Identifier: MIT
// The thread rules of genrun.h: a handle a thread, any number of them on one file,
// one of them running it, genrun_stop() from elsewhere. Built with SAN=thread this
// proves that nothing is shared in secret.
#include "genrun.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka needs the above
#include <cmocka.h>

#define WORKERS 4
#define ROUNDS 12

static char database[64];
static atomic_int failures;

static void check(genrun *g, int result, const char *what) {
    if (result) {
        fprintf(stderr, "%s: %d: %s\n", what, result, genrun_message(g));
        failures++;
    }
}

static genrun *open_handle(void) {
    genrun *g = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = database;
    options.create = 1;
    check(g, genrun_open(&g, &options), "open");
    return g;
}

static void *run(void *payload) {
    genrun *g = payload;
    check(g, genrun_run(g, NULL), "run");
    return NULL;
}

static int count(void *payload, genrun_row *row) {
    ++*(int *)payload;
    return genrun_row_json(row) == NULL;
}

static void submit_and_look(genrun *g, int round) {
    char id[GENRUN_ID_SIZE], prompt[32];
    genrun_spec spec = GENRUN_SPEC_INIT;
    genrun_row *row = NULL;
    genrun_event_filter events = GENRUN_EVENT_FILTER_INIT;
    int rows = 0;
    snprintf(prompt, sizeof prompt, "round %d", round);
    spec.prompt = prompt;
    spec.model = "echo";
    check(g, genrun_submit(g, id, NULL, &spec), "submit");
    if (round % 3 == 0 && genrun_cancel(g, id, "by another thread") == 0)
        return;
    check(g, genrun_wait(g, id, 0, NULL, NULL), "wait");
    check(g, genrun_get(g, &row, id), "get");
    genrun_row_free(row);
    events.id = id;
    check(g, genrun_events(g, &events, count, &rows), "events");
    check(g, genrun_list(g, NULL, count, &rows), "list");
    check(g, genrun_stats(g, &row), "stats");
    genrun_row_free(row);
    if (rows < 3 || !strstr(genrun_versions(), "SQLite"))
        failures++;
}

static void *work(void *payload) {
    (void)payload;
    genrun *g = open_handle();
    for (int i = 0; i < ROUNDS; i++)
        submit_and_look(g, i);
    genrun_close(g);
    return NULL;
}

static void *submit_batch(void *payload) {
    (void)payload;
    genrun *g = open_handle();
    genrun_batch *batch = NULL;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    char id[GENRUN_ID_SIZE];
    spec.prompt = "item";
    options.model = "echo";
    check(g, genrun_batch_begin(g, &batch, &options), "begin");
    for (int i = 0; i < 50; i++)
        check(g, genrun_batch_add(batch, &spec), "add");
    check(g, genrun_batch_open(batch, id), "open batch");
    check(g, genrun_wait(g, id, 0, NULL, NULL), "wait for the batch");
    check(g, genrun_check(g, 1, NULL, NULL), "check");
    genrun_close(g);
    return NULL;
}

static void test_a_handle_a_thread(void **state) {
    (void)state;
    pthread_t runner, workers[WORKERS], batch;
    struct stat st;
    genrun *g = open_handle();
    assert_int_equal(pthread_create(&runner, NULL, run, g), 0);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, work, NULL), 0);
    assert_int_equal(pthread_create(&batch, NULL, submit_batch, NULL), 0);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    pthread_join(batch, NULL);
    genrun_stop(g);
    pthread_join(runner, NULL);
    check(g, genrun_check(g, 0, NULL, NULL), "check at the end");
    genrun_close(g);
    assert_int_equal(failures, 0);
    // No thread's way of making files became that of the process.
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(mask, 027);
    assert_int_equal(stat(database, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

// Stopped before it has even begun, again and again: no stop is lost.
static void test_stop_from_another_thread(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        pthread_t runner;
        genrun *g = open_handle();
        assert_int_equal(pthread_create(&runner, NULL, run, g), 0);
        genrun_stop(g);
        pthread_join(runner, NULL);
        genrun_close(g);
    }
    assert_int_equal(failures, 0);
}

static int enter(void **state) {
    (void)state;
    umask(027);
    setenv("HOME", "/nonexistent", 1);
    unsetenv("GENRUN_CONFIG");
    snprintf(database, sizeof database, "/tmp/genrun-threads-%ld.db", (long)getpid());
    return 0;
}

static int leave(void **state) {
    (void)state;
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", database, endings[i]);
        unlink(name);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_handle_a_thread),
        cmocka_unit_test(test_stop_from_another_thread),
    };
    // Where TZ is not set, glibc takes its name anew at each mktime(), behind a lock that ThreadSanitizer does not see.
    setenv("TZ", "UTC", 1);
    return cmocka_run_group_tests(tests, enter, leave);
}
