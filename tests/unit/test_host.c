// SPDX-License-Identifier: MIT
// The inner door as the HTTP face uses it: a runner with hooks, writes that share a tick's transaction, timers, and
// handles of other threads.
#include "base/clock.h"
#include "base/mem.h"
#include "handle_ground.h"
#include "lib/handle.h"
#include "lib/host.h"
#include "run/state.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#define PATIENCE_MS 90000 // of the tests; nothing takes long
#define MANY 1000

static genrun *g;

// Errors in the log are what some tests are about: not to be shown.
static int real_stderr = -1;
static void hush(void) {
    int nowhere = open("/dev/null", O_WRONLY);
    real_stderr = dup(STDERR_FILENO);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

static int enter(void **state) {
    int result = ground_enter(state);
    g = *state;
    return result;
}

static int leave(void **state) {
    if (real_stderr >= 0) {
        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        real_stderr = -1;
    }
    *state = g;
    return ground_leave(state);
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

// Turns until nothing is left to do by itself; what hangs may run.
static void step_to_rest(void) {
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    do {
        if (clock_monotonic_ms() > end_ms)
            fail_msg("it never rests");
        ok(g, genrun_step(g, 1));
    } while (runner_has_work(g->runner, clock_monotonic_ms()) || g->runner->ended || g->runner->retry_at_ms);
}

static void step_until(const char *sql) {
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (number(g, sql) != 1) {
        if (clock_monotonic_ms() > end_ms)
            fail_msg("never came: %s", sql);
        step();
    }
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
    assert_in_range(commits, 1, MANY / 4);
    assert_int_equal(db_data_version(g->db), version); // nobody else wrote
    genrun_close(other);
    free(w);
}

// ---- what fails ----

static int fail_commit(void *payload) {
    ++*(int *)payload;
    return 1;
}

static void test_a_failing_commit(void **state) {
    (void)state;
    struct writer w[8] = {0};
    int failed = 0;
    step_to_rest();
    hush();
    sqlite3_commit_hook(db_handle(g->db), fail_commit, &failed);
    for (int i = 0; i < 8; i++)
        queue(&w[i]);
    until_told(w, 8);
    sqlite3_commit_hook(db_handle(g->db), NULL, NULL);
    assert_true(failed > 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(w[i].result, GENRUN_DATABASE);
        assert_true(strlen(w[i].message) > 0);
        assert_int_equal(w[i].ran, 1);
    }
    assert_int_equal(number(g, "SELECT count(*) FROM generation"), 0);
    assert_int_equal(number(g, "SELECT queued FROM totals"), 0);
    // The same ones once more.
    memset(w, 0, sizeof w);
    for (int i = 0; i < 8; i++)
        queue(&w[i]);
    until_told(w, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(w[i].result, 0);
    assert_int_equal(number(g, "SELECT count(*) FROM generation"), 8);
}

static int submit_much(struct writer *w, genrun *handle) {
    char *prompt = mem_alloc(1, 200001);
    memset(prompt, 'x', 200000);
    int result = submit(handle, w->id, prompt, NULL);
    free(prompt);
    return result;
}

// A handler that does not see that its first step failed.
static int submit_on(struct writer *w, genrun *handle) {
    (void)submit_much(w, handle);
    return submit(handle, w->id, "after it", NULL);
}

static void limit_pages(int64_t more) {
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA max_page_count=%lld",
             (long long)(more ? number(g, "PRAGMA page_count") + more : 1000000));
    assert_int_equal(sqlite3_exec(db_handle(g->db), sql, NULL, NULL, NULL), SQLITE_OK);
}

static void count_reason(void *payload, const char *reason) {
    struct writer *w = payload;
    w->told++;
    snprintf(w->message, sizeof w->message, "%s", reason);
}

static void test_a_full_disk(void **state) {
    (void)state;
    struct writer w[3] = {{.ran = 0}, {.act = submit_on}, {.ran = 0}}, health = {0};
    step_to_rest();
    hush();
    limit_pages(10);
    for (int i = 0; i < 3; i++)
        queue(&w[i]);
    until_told(w, 3);
    // On a slow machine the others may have ticks of their own.
    int64_t stored = 0;
    for (int i = 0; i < 3; i++) {
        stored += w[i].result == 0;
        if (i == 1 || w[i].result) {
            assert_int_equal(w[i].result, GENRUN_DATABASE);
            assert_non_null(strstr(w[i].message, "disk is full"));
        }
    }
    assert_int_equal(number(g, "SELECT count(*) FROM generation"), stored);
    assert_int_equal(number(g, "SELECT count(*) FROM generation_input WHERE prompt='after it'"), 0);
    w[1] = (struct writer){.act = submit_on};
    queue(&w[1]);
    until_told(&w[1], 1);
    assert_int_equal(w[1].result, GENRUN_DATABASE);
    host_health(g, count_reason, &health);
    assert_int_equal(health.told, 1);
    assert_non_null(strstr(health.message, "disk is full"));
    limit_pages(0);
    w[1] = (struct writer){.act = submit_much};
    queue(&w[1]);
    until_told(&w[1], 1);
    assert_int_equal(w[1].result, 0);
    stored++;
    step_until("SELECT queued+processing=0 FROM totals");
    assert_int_equal(number(g, "SELECT completed FROM totals"), stored);
    health = (struct writer){0};
    host_health(g, count_reason, &health);
    if (health.told)
        fail_msg("not well: %s", health.message);
}

static int submit_and_refuse(struct writer *w, genrun *handle) {
    ok(handle, submit(handle, w->id, "undone", NULL));
    return genrun_cancel(handle, "0123456789abcdef", NULL);
}

static void test_one_that_fails_is_undone_alone(void **state) {
    (void)state;
    struct writer w[3] = {{.ran = 0}, {.act = submit_and_refuse}, {.ran = 0}};
    for (int i = 0; i < 3; i++)
        queue(&w[i]);
    for (int i = 0; i < 3; i++) // without a runner: told at once
        assert_int_equal(w[i].result, GENRUN_DATABASE);
    memset(w, 0, sizeof w);
    w[1].act = submit_and_refuse;
    step_to_rest();
    for (int i = 0; i < 3; i++)
        queue(&w[i]);
    until_told(w, 3);
    assert_int_equal(w[0].result, 0);
    assert_int_equal(w[1].result, GENRUN_NOT_FOUND);
    assert_non_null(strstr(w[1].message, "0123456789abcdef"));
    assert_int_equal(w[2].result, 0);
    step_until("SELECT completed=2 FROM totals");
    assert_int_equal(number(g, "SELECT count(*) FROM generation"), 2);
    assert_int_equal(number(g, "SELECT count(*) FROM generation_input WHERE prompt='undone'"), 0);
}

static void test_another_process_has_the_lock(void **state) {
    (void)state;
    struct writer w[2] = {0}, health = {0};
    genrun *other = NULL;
    struct err e;
    step_to_rest();
    hush();
    ok(g, host_beside(g, &other));
    assert_int_equal(db_begin(other->db, 0, &e), 0);
    queue(&w[0]);
    for (int i = 0; i < 3; i++)
        ok(g, genrun_step(g, 100));
    assert_int_equal(w[0].ran + w[0].told, 0);
    // Not well after heartbeat_interval; whose lock it is is told where the system shows it.
    host_health(g, count_reason, &health);
    assert_int_equal(health.told, 0);
    g->runner->trouble_since_ms -= 5000;
    host_health(g, count_reason, &health);
    assert_int_equal(health.told, 1);
    assert_non_null(strstr(health.message, "cannot be written for 5 s: a long request of this process"));
    // It waits for five seconds.
    w[0].write.since_ms -= 5000;
    until_told(w, 1);
    assert_int_equal(w[0].ran, 0);
    assert_int_equal(w[0].result, GENRUN_DATABASE);
    assert_non_null(strstr(w[0].message, "is locked by another process"));
    queue(&w[1]);
    ok(g, genrun_step(g, 100));
    assert_int_equal(w[1].told, 0);
    db_rollback(other->db);
    until_told(&w[1], 1);
    assert_int_equal(w[1].result, 0);
    genrun_close(other);
}

// ---- order ----

static int64_t claimed_then;
static void count_claimed(struct writer *w) {
    (void)w;
    claimed_then = number(g, "SELECT count(*) FROM generation WHERE status='processing'");
}

static void test_claimed_in_the_same_tick(void **state) {
    (void)state;
    struct writer w = {.parameters = "{\"hang\":\"connect\"}", .after = count_claimed};
    step_to_rest();
    queue(&w);
    until_told(&w, 1);
    assert_int_equal(claimed_then, 1);
}

static struct writer chain[3];
static void queue_next(struct writer *w) {
    if (w != &chain[2])
        queue(w + 1);
}

static void test_queued_by_the_end_of_another(void **state) {
    (void)state;
    memset(chain, 0, sizeof chain);
    for (int i = 0; i < 3; i++)
        chain[i].after = queue_next;
    step_to_rest();
    queue(&chain[0]);
    until_told(&chain[2], 1);
    assert_int_equal(chain[0].result + chain[1].result + chain[2].result, 0);
}

static struct writer *victim;
static void cancel_victim(struct writer *w) {
    (void)w;
    host_write_cancel(g, &victim->write);
}

static int cancel_itself(struct writer *w, genrun *handle) {
    ok(handle, submit(handle, w->id, "gone", NULL));
    host_write_cancel(handle, &w->write);
    return 0;
}

static void test_cancelled(void **state) {
    (void)state;
    struct writer w[4] = {0};
    step_to_rest();
    queue(&w[0]);
    queue(&w[1]);
    queue(&w[2]);
    host_write_cancel(g, &w[1].write);
    host_write_cancel(g, &w[1].write);
    w[0].after = cancel_victim;
    victim = &w[2];
    until_told(&w[0], 1);
    step_to_rest();
    assert_int_equal(w[1].ran + w[1].told, 0);
    // It had run: what it wrote stays, and nobody is told.
    assert_int_equal(w[2].ran, 1);
    assert_int_equal(w[2].told, 0);
    assert_int_equal(number(g, "SELECT count(*) FROM generation"), 2);
    w[3].act = cancel_itself;
    queue(&w[3]);
    step_to_rest();
    assert_int_equal(w[3].ran, 1);
    assert_int_equal(w[3].told, 0);
    assert_int_equal(number(g, "SELECT count(*) FROM generation"), 2);
    // The last one of a list, and then another one.
    memset(w, 0, sizeof w);
    queue(&w[0]);
    queue(&w[1]);
    host_write_cancel(g, &w[1].write);
    queue(&w[2]);
    until_told(&w[2], 1);
    assert_int_equal(w[0].result + w[2].result, 0);
    assert_int_equal(w[1].ran, 0);
}

// ---- what a write may do ----

static char batch_id[GENRUN_ID_SIZE], single_id[GENRUN_ID_SIZE];

static void make_work(void) {
    genrun_batch *batch = NULL;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    options.name = "b";
    options.concurrency = 1;
    spec.prompt = "p";
    spec.model = "echo";
    spec.parameters = "{\"hang\":\"connect\"}";
    ok(g, genrun_batch_begin(g, &batch, &options));
    for (int i = 0; i < 5; i++)
        ok(g, genrun_batch_add(batch, &spec));
    ok(g, genrun_batch_open(batch, batch_id));
}

static int refuse_all(struct writer *w, genrun *handle) {
    genrun_batch *batch = NULL;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_row *row = NULL;
    int64_t changed = 0;
    (void)w;
    int refused = (genrun_run(handle, NULL) == GENRUN_CONFLICT) +
                  (genrun_step(handle, 0) == GENRUN_CONFLICT) +
                  (genrun_wait(handle, single_id, 0, NULL, NULL) == GENRUN_CONFLICT) +
                  (genrun_wait_change(handle, 1000) == GENRUN_CONFLICT) +
                  (genrun_job(handle, NULL, "cleanup_stuck_generation", 0, NULL, NULL) == GENRUN_CONFLICT) +
                  (genrun_batch_begin(handle, &batch, &options) == GENRUN_CONFLICT) +
                  (genrun_batch_process_next(handle, &row, batch_id, 0) == GENRUN_CONFLICT) +
                  (genrun_batch_retry(handle, &changed, batch_id, 0) == GENRUN_CONFLICT) +
                  (genrun_cancel_all(handle, &changed, NULL, NULL, 0) == GENRUN_CONFLICT);
    assert_int_equal(refused, 9);
    ok(handle, genrun_cancel_all(handle, &changed, NULL, NULL, 1));
    return 0;
}

static int change_much(struct writer *w, genrun *handle) {
    char id[GENRUN_ID_SIZE];
    genrun_row *row = NULL;
    int64_t batch_seq, seq;
    ok(handle, submit(handle, w->id, "p", NULL));
    ok(handle, genrun_cancel(handle, w->id, "not wanted"));
    ok(handle, genrun_dismiss(handle, w->id, 0));
    ok(handle, genrun_retry(handle, w->id));
    ok(handle, genrun_fail(handle, w->id, "wrong"));
    assert_int_equal(genrun_recover(handle, w->id), GENRUN_CONFLICT);
    ok(handle, genrun_batch_pause(handle, batch_id, "wait"));
    ok(handle, genrun_batch_resume(handle, batch_id));
    ok(handle, queue_find_batch(handle->db, batch_id, &batch_seq, &handle->err));
    ok(handle, queue_request_next(handle->db, batch_seq, &seq, &handle->err));
    assert_true(seq > 0);
    ok(handle, genrun_model_resume(handle, "echo"));
    assert_int_equal(genrun_lock_release(handle, "no-such-lock", NULL), GENRUN_NOT_FOUND);
    ok(handle, genrun_user_set(handle, &row, "u1", "Ann", NULL, NULL));
    genrun_row_free(row);
    ok(handle, genrun_template_add(handle, id, "t", "Say {{x}}", 9, NULL, NULL));
    return 0;
}

static int cancel_batch(struct writer *w, genrun *handle) {
    (void)w;
    return genrun_batch_cancel(handle, batch_id, "enough");
}

static void test_what_a_write_may_do(void **state) {
    (void)state;
    struct writer w[3] = {{.act = refuse_all}, {.act = change_much}, {.act = cancel_batch}};
    ok(g, submit(g, single_id, "p", "{\"hang\":\"connect\"}"));
    make_work();
    step_until("SELECT processing>0 FROM totals");
    queue(&w[0]);
    queue(&w[1]);
    until_told(w, 2);
    ok(g, w[0].result);
    if (w[1].result)
        fail_msg("%s", w[1].message);
    assert_int_equal(number(g, "SELECT count(*) FROM generation WHERE status='failed'"), 1);
    assert_int_equal(number(g, "SELECT count(*) FROM profiles"), 1);
    // Cancelled with a batch job: what runs ends, what waits is not claimed (and swept a second later).
    step_until("SELECT count(*)=1 FROM generation WHERE status='processing' AND batch_seq IS NOT NULL");
    queue(&w[2]);
    until_told(&w[2], 1);
    assert_int_equal(w[2].result, 0);
    step_until("SELECT status='cancelled' AND cancelled_items>0 FROM batch_jobs");
    step_until("SELECT count(*)=0 FROM generation WHERE status='processing' AND batch_seq IS NOT NULL");
    struct runner_view view;
    runner_look(g->runner, &view);
    assert_int_equal(view.live, number(g, "SELECT processing FROM totals"));
}

static char running_id[GENRUN_ID_SIZE];
static int cancel_running(struct writer *w, genrun *handle) {
    (void)w;
    return genrun_cancel(handle, running_id, "by a request");
}

static void test_ends_what_runs(void **state) {
    (void)state;
    struct writer w[2] = {{.act = cancel_running}, {.act = cancel_running}};
    int failed = 0;
    ok(g, submit(g, running_id, "p", "{\"hang\":\"connect\"}"));
    step_until("SELECT processing FROM totals");
    // What is not committed ends nothing.
    hush();
    sqlite3_commit_hook(db_handle(g->db), fail_commit, &failed);
    queue(&w[0]);
    until_told(w, 1);
    sqlite3_commit_hook(db_handle(g->db), NULL, NULL);
    assert_int_equal(w[0].result, GENRUN_DATABASE);
    step_to_rest();
    assert_int_equal(g->runner->live_count, 1);
    queue(&w[1]);
    until_told(&w[1], 1);
    assert_int_equal(w[1].result, 0);
    step_to_rest();
    assert_int_equal(g->runner->live_count, 0);
    assert_int_equal(number(g, "SELECT cancelled FROM totals"), 1);
}

// ---- a runner with hooks ----

struct face {
    struct writer w[3];
    struct host_timer *timer;
    int ups, commits, turns, stops, asked, downs, due;
    bool done;
    genrun *beside;
    pthread_t thread;
    char id[GENRUN_ID_SIZE];
    int64_t deadline_ms;
};

static int face_up(void *payload) {
    struct face *f = payload;
    f->ups++;
    f->deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
    return 0;
}

static void face_commit(void *payload) {
    ((struct face *)payload)->commits++;
}

static void face_turn(void *payload) {
    struct face *f = payload;
    f->turns++;
    if (clock_monotonic_ms() > f->deadline_ms)
        fail_msg("it does not end");
}

static void face_stopping(void *payload) {
    struct face *f = payload;
    f->stops++;
    // A request that was under way is served.
    queue(&f->w[1]);
}

static bool face_is_done(void *payload) {
    struct face *f = payload;
    f->asked++;
    if (f->w[1].told && !f->done)
        host_timer_set(f->timer, 5);
    return f->done;
}

static void face_down(void *payload) {
    struct face *f = payload;
    f->downs++;
    // Nothing turns any more: this one is told by the end of the runner.
    queue(&f->w[2]);
}

static void face_due(void *payload) {
    struct face *f = payload;
    f->due++;
    if (f->due == 1)
        queue(&f->w[0]);
    else
        f->done = true;
}

static void face_stored(struct writer *w) {
    (void)w;
    genrun_stop(g);
}

static struct host_hooks hooks_of(struct face *f) {
    return (struct host_hooks){.on_up = face_up,
                               .on_commit = face_commit,
                               .on_turn = face_turn,
                               .on_stopping = face_stopping,
                               .is_done = face_is_done,
                               .on_down = face_down,
                               .payload = f};
}

static void test_hooks(void **state) {
    (void)state;
    struct face f = {0};
    const struct host_hooks hooks = hooks_of(&f);
    f.timer = host_timer_new(g, face_due, &f);
    assert_non_null(f.timer);
    host_timer_set(f.timer, 60000);
    host_timer_clear(f.timer);
    host_timer_clear(f.timer);
    host_timer_set(f.timer, 0);
    f.w[0].after = face_stored;
    ok(g, host_run(g, NULL, &hooks));
    assert_int_equal(f.ups, 1);
    assert_int_equal(f.stops, 1);
    assert_int_equal(f.downs, 1);
    assert_int_equal(f.due, 2);
    assert_true(f.asked > 1);
    assert_true(f.commits >= 1 && f.turns > f.commits);
    assert_int_equal(f.w[0].result, 0);
    assert_int_equal(f.w[1].result, 0);
    assert_int_equal(f.w[2].result, GENRUN_DATABASE);
    assert_string_equal(f.w[2].message, "the runner stops");
    assert_int_equal(number(g, "SELECT count(*) FROM generation"), 2);
    host_timer_free(f.timer);
    host_timer_free(NULL);
}

static int refuse_up(void *payload) {
    (void)payload;
    return host_fail(g, GENRUN_CONFIG, "port %d is in use: choose another", 7);
}

static void count_down(void *payload) {
    ++*(int *)payload;
}

static void test_a_face_that_cannot_come_up(void **state) {
    (void)state;
    int downs = 0;
    const struct host_hooks hooks = {.on_up = refuse_up, .on_down = count_down, .payload = &downs};
    assert_int_equal(host_run(g, NULL, &hooks), GENRUN_CONFIG);
    assert_string_equal(genrun_message(g), "port 7 is in use: choose another");
    assert_int_equal(downs, 0);
    assert_null(g->runner);
}

static bool never_done(void *payload) {
    ((struct face *)payload)->asked++;
    return false;
}

static void test_a_drained_runner_waits_for_its_face(void **state) {
    (void)state;
    struct face f = {0};
    struct host_hooks hooks = hooks_of(&f);
    genrun_run_options options = GENRUN_RUN_OPTIONS_INIT;
    char id[GENRUN_ID_SIZE];
    options.drain = 1;
    g->config->scheduler.shutdown_grace_ms = 30;
    hooks.is_done = never_done;
    ok(g, submit(g, id, "p", "{\"fail\":\"ContentFilterError\"}"));
    hush();
    assert_int_equal(host_run(g, &options, &hooks), GENRUN_WORK_FAILED);
    assert_non_null(strstr(genrun_message(g), "1 generation failed"));
    assert_int_equal(f.stops, 1);
    assert_int_equal(f.downs, 1);
    assert_true(f.asked > 0);
    assert_int_equal(f.w[1].result, 0);
}

// ---- other threads ----

static void *submit_beside(void *payload) {
    struct face *f = payload;
    if (submit(f->beside, f->id, "from a thread", NULL) != 0)
        f->id[0] = 0;
    return NULL;
}

static int start_thread(void *payload) {
    struct face *f = payload;
    (void)face_up(payload);
    ok(g, host_beside(g, &f->beside));
    assert_int_equal(pthread_create(&f->thread, NULL, submit_beside, f), 0);
    return 0;
}

// Seen without a look at the clock: by the commit of the other thread.
static void stop_when_completed(void *payload) {
    struct face *f = payload;
    face_commit(payload);
    if (number(g, "SELECT completed FROM totals") == 1 && f->downs == 0)
        genrun_stop(g);
}

static void *wake(void *payload) {
    struct face *f = payload;
    host_wake(g);
    f->done = true;
    return NULL;
}

static void test_beside(void **state) {
    (void)state;
    struct face f = {0};
    const struct host_hooks hooks = {.on_up = start_thread, .on_commit = stop_when_completed, .payload = &f};
    g->config->scheduler.poll_interval_ms = 60000;
    ok(g, host_run(g, NULL, &hooks));
    pthread_join(f.thread, NULL);
    assert_true(f.id[0] != 0);
    assert_int_equal(number(f.beside, "SELECT completed FROM totals"), 1);
    // The file's locks are still there for the one that is left.
    genrun_close(f.beside);
    ok(g, submit(g, f.id, "p", NULL));
    step_to_rest();
    pthread_create(&f.thread, NULL, wake, &f);
    ok(g, genrun_step(g, PATIENCE_MS));
    pthread_join(f.thread, NULL);
}

// ---- how it is ----

struct seen_metrics {
    char text[65536];
    size_t length;
    const char *family;
    double last_bucket;
};

static void see_metric(void *payload, const struct host_metric *m) {
    struct seen_metrics *s = payload;
    static const char *const endings[] = {"", "", "_bucket", "_sum", "_count"};
    assert_true(strlen(m->help) > 0 && strncmp(m->name, "genrun_", 7) == 0);
    if (m->type == HOST_BUCKET) {
        bool first = strcmp(s->family ? s->family : "", "bucket") != 0;
        assert_true(first || m->value >= s->last_bucket);
        s->last_bucket = m->value;
    }
    s->family = m->type == HOST_BUCKET ? "bucket" : m->name;
    s->length +=
        (size_t)snprintf(s->text + s->length, sizeof s->text - s->length, "%s%s{", m->name, endings[m->type]);
    for (size_t i = 0; i < 3 && m->labels[i].name; i++)
        s->length += (size_t)snprintf(s->text + s->length, sizeof s->text - s->length, "%s=\"%s\",",
                                      m->labels[i].name, m->labels[i].value);
    s->length += (size_t)snprintf(s->text + s->length, sizeof s->text - s->length, "} %.9g\n", m->value);
    assert_true(s->length < sizeof s->text);
}

static void shown(const struct seen_metrics *s, const char *line) {
    if (!strstr(s->text, line))
        fail_msg("%s is not in:\n%s", line, s->text);
}

static void test_metrics(void **state) {
    (void)state;
    struct seen_metrics *s = mem_alloc(1, sizeof *s);
    struct writer w[2] = {{.ran = 0}, {.act = submit_and_refuse}};
    char id[GENRUN_ID_SIZE];
    host_metrics(g, see_metric, s); // before there is anything
    shown(s, "genrun_build_info{version=\"" GENRUN_VERSION "\",} 1\n");
    step_to_rest();
    hush();
    queue(&w[0]);
    queue(&w[1]);
    until_told(w, 2);
    ok(g, submit(g, id, "p", "{\"fail\":\"ContentFilterError\"}"));
    ok(g, submit(g, id, "p", "{\"fail\":\"NetworkError\",\"fail_times\":1}"));
    g->config->scheduler.backoff_min_ms = g->config->scheduler.backoff_max_ms = 1;
    g->runner->settings.backoff_min_ms = g->runner->settings.backoff_max_ms = 1;
    ok(g, submit(g, running_id, "p", "{\"hang\":\"connect\"}"));
    step_until("SELECT completed=2 AND failed=1 AND processing=1 FROM totals");
    ok(g, genrun_cancel(g, running_id, NULL));
    step_to_rest();
    step_until("SELECT cancelled FROM totals");
    ok(g, submit(g, running_id, "p", "{\"fail\":\"AuthenticationError\"}"));
    step_until("SELECT count(*) FROM model_state WHERE state='parked'");
    g->stats_ms = 0; // without the last second's
    *s = (struct seen_metrics){0};
    host_metrics(g, see_metric, s);
    shown(s, "genrun_generations{status=\"queued\",} 1\n");
    shown(s, "genrun_generations{status=\"completed\",} 2\n");
    shown(s, "genrun_violations{} 0\n");
    shown(s, "genrun_attempts_total{model=\"echo\",outcome=\"completed\",error_type=\"\",} 2\n");
    shown(s,
          "genrun_attempts_total{model=\"echo\",outcome=\"failed\",error_type=\"ContentFilterError\",} 1\n");
    shown(s, "genrun_attempts_total{model=\"echo\",outcome=\"retried\",error_type=\"NetworkError\",} 1\n");
    shown(s, "genrun_attempts_total{model=\"echo\",outcome=\"cancelled\",error_type=\"\",} 1\n");
    shown(s,
          "genrun_attempts_total{model=\"echo\",outcome=\"parked\",error_type=\"AuthenticationError\",} 1\n");
    shown(s, "genrun_attempt_duration_seconds_bucket{model=\"echo\",le=\"+Inf\",} 6\n");
    shown(s, "genrun_attempt_duration_seconds_count{model=\"echo\",} 6\n");
    shown(s, "genrun_claims_total{} 6\n");
    shown(s, "genrun_writes_total{result=\"stored\",} 1\n");
    shown(s, "genrun_writes_total{result=\"refused\",} 1\n");
    shown(s, "genrun_model_closed{model=\"echo\",state=\"parked\",} 1\n");
    shown(s, "genrun_live_attempts{model=\"echo\",} 0\n");
    shown(s, "genrun_commit_duration_seconds_bucket{le=\"+Inf\",}");
    shown(s, "genrun_turn_duration_seconds_sum{}");
    shown(s, "genrun_wal_bytes{}");
    free(s);
}

static void test_health(void **state) {
    (void)state;
    struct writer health = {0};
    host_health(g, count_reason, &health);
    assert_string_equal(health.message, "no runner is up");
    step_to_rest();
    health = (struct writer){0};
    host_health(g, count_reason, &health);
    if (health.told)
        fail_msg("not well: %s", health.message);
    // A row that nothing brings to an end, as only a foreign hand makes it.
    char id[GENRUN_ID_SIZE];
    ok(g, submit(g, id, "p", "{\"hang\":\"connect\"}"));
    step_until("SELECT processing FROM totals");
    assert_int_equal(
        sqlite3_exec(db_handle(g->db), "UPDATE generation SET runner_seq=NULL", NULL, NULL, NULL), SQLITE_OK);
    g->stats_ms = 0;
    host_health(g, count_reason, &health);
    assert_int_equal(health.told, 1);
    assert_non_null(strstr(health.message, "1 generations will not come to an end"));
    // A loop that stood still for too long.
    health = (struct writer){0};
    g->runner->last_wake_us -= 7000000;
    ok(g, genrun_step(g, 0));
    host_health(g, count_reason, &health);
    assert_int_equal(health.told, 2);
    health = (struct writer){0};
    runner_stop(g->runner, true);
    host_health(g, count_reason, &health);
    assert_int_equal(health.told, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes_share_commits, enter, leave),
        cmocka_unit_test_setup_teardown(test_a_failing_commit, enter, leave),
        cmocka_unit_test_setup_teardown(test_a_full_disk, enter, leave),
        cmocka_unit_test_setup_teardown(test_one_that_fails_is_undone_alone, enter, leave),
        cmocka_unit_test_setup_teardown(test_another_process_has_the_lock, enter, leave),
        cmocka_unit_test_setup_teardown(test_claimed_in_the_same_tick, enter, leave),
        cmocka_unit_test_setup_teardown(test_queued_by_the_end_of_another, enter, leave),
        cmocka_unit_test_setup_teardown(test_cancelled, enter, leave),
        cmocka_unit_test_setup_teardown(test_what_a_write_may_do, enter, leave),
        cmocka_unit_test_setup_teardown(test_ends_what_runs, enter, leave),
        cmocka_unit_test_setup_teardown(test_hooks, enter, leave),
        cmocka_unit_test_setup_teardown(test_a_face_that_cannot_come_up, enter, leave),
        cmocka_unit_test_setup_teardown(test_a_drained_runner_waits_for_its_face, enter, leave),
        cmocka_unit_test_setup_teardown(test_beside, enter, leave),
        cmocka_unit_test_setup_teardown(test_metrics, enter, leave),
        cmocka_unit_test_setup_teardown(test_health, enter, leave),
    };
    return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
