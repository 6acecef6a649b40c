// SPDX-License-Identifier: MIT
// The inner door as the HTTP face uses it: a runner with hooks, writes that share a tick's transaction, timers, and
// handles of other threads.
#include "base/clock.h"
#include "base/mem.h"
#pragma GCC diagnostic ignored "-Wunused-function"
#include "lib/handle.h"
#include "lib/host.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
// cmocka needs the above
#include <cmocka.h>

#define PATIENCE_MS 20000 // of the tests; nothing takes long
#define MANY 1000

static char folder[64], database[96];
static genrun *g;

// Errors in the log are what some tests are about: not to be shown.
static int real_stderr = -1;
static void hush(void) {
    int nowhere = open("/dev/null", O_WRONLY);
    real_stderr = dup(STDERR_FILENO);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

static void ok(genrun *handle, int result) {
    if (result)
        fail_msg("%d: %s", result, genrun_message(handle));
}

static int enter(void **state) {
    (void)state;
    genrun_options options = GENRUN_OPTIONS_INIT;
    snprintf(folder, sizeof folder, "/tmp/genrun-host-XXXXXX");
    if (!mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    setenv("HOME", folder, 1);
    unsetenv("GENRUN_CONFIG");
    unsetenv("OPENAI_BASE_URL");
    unsetenv("OPENAI_API_KEY");
    snprintf(database, sizeof database, "%s/host.db", folder);
    options.database = database;
    options.create = 1;
    ok(g, genrun_open(&g, &options));
    return 0;
}

static int leave(void **state) {
    static const char *const names[] = {"host.db", "host.db-wal", "host.db-shm"};
    (void)state;
    if (real_stderr >= 0) {
        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        real_stderr = -1;
    }
    genrun_close(g);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(names[i]);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static int submit(genrun *handle, char id[GENRUN_ID_SIZE], const char *prompt, const char *parameters) {
    genrun_spec spec = GENRUN_SPEC_INIT;
    spec.prompt = prompt;
    spec.model = "echo";
    spec.parameters = parameters;
    return genrun_submit(handle, id, NULL, &spec);
}

static int64_t number(genrun *handle, const char *sql) {
    int64_t value = -1;
    struct err e;
    struct db *db = handle->db;
    assert_int_equal(db_integer(db, &e, &value, -1, sql, ""), 0);
    return value;
}

// ---- a write of the tests: submits, or does what it is told ----

struct writer {
    struct host_write write;
    char id[GENRUN_ID_SIZE];
    const char *parameters;
    int (*act)(struct writer *w, genrun *handle); // NULL: submits
    void (*after)(struct writer *w);
    int result; // -1: not told yet
    int ran, told;
    char message[256];
};

static int on_write(void *payload, genrun *handle) {
    struct writer *w = payload;
    w->ran++;
    return w->act ? w->act(w, handle) : submit(handle, w->id, "p", w->parameters);
}

static void on_done(void *payload, int result, const char *message) {
    struct writer *w = payload;
    w->result = result;
    w->told++;
    snprintf(w->message, sizeof w->message, "%s", message);
    if (w->after)
        w->after(w);
}

static void queue(struct writer *w) {
    w->write = (struct host_write){.on_write = on_write, .on_done = on_done, .payload = w};
    w->result = -1;
    host_write(g, &w->write);
}

static void step(void) {
    ok(g, genrun_step(g, 2000));
}

static void until_told(struct writer *w, int count) {
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    for (int i = 0; i < count; i++)
        while (w[i].told == 0) {
            if (clock_monotonic_ms() > end_ms)
                fail_msg("write %d was never told", i);
            step();
        }
}

// ---- writes ----

static void test_writes_share_commits(void **state) {
    (void)state;
    struct writer *w = mem_alloc(MANY, sizeof *w);
    ok(g, genrun_step(g, 0));
    int64_t version = db_data_version(g->db), commits = 0;
    genrun *other = NULL;
    ok(g, host_beside(g, &other));
    int64_t seen = db_data_version(other->db);
    for (int i = 0; i < MANY; i++) {
        w[i].parameters = "{\"hang\":\"connect\"}"; // so that no end is a commit, too
        queue(&w[i]);
    }
    while (w[MANY - 1].told == 0) {
        step();
        commits += db_data_version(other->db) != seen;
        seen = db_data_version(other->db);
    }
    until_told(w, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(w[i].result, 0);
        assert_int_equal(w[i].ran + w[i].told, 2);
    }
    assert_int_equal(number(other, "SELECT count(*) FROM generation"), MANY);
    assert_in_range(commits, 1, MANY / 10);
    assert_int_equal(db_data_version(g->db), version); // nobody else wrote
    genrun_close(other);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes_share_commits, enter, leave),
    };
    return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
