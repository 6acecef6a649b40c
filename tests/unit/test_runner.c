// SPDX-License-Identifier: MIT
// A real runner on a real database with the echo model. `db` is another process's view of it: a person's. The poll
// interval is a minute, so what is seen at all is seen by events.
#include "queue_ground.h"

#include "base/log.h"
#include "base/process.h"
#include "run/state.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MINUTE 60000
#define PATIENCE_MS 90000 // of the tests; nothing takes long

static struct run_settings settings;
static struct job_settings jobs;
static struct model models[5];
static struct runner_options options;
static struct loop *loop;
static struct db *runner_db;
static struct runner *r;
static int turns;

static int set_up(void **state) {
    settings = (struct run_settings){.concurrency = 4,
                                     .poll_interval_ms = MINUTE,
                                     .heartbeat_interval_ms = 5000,
                                     .heartbeat_timeout_ms = MINUTE,
                                     .max_attempts = 3,
                                     .max_wait_ms = 7 * 24 * 60 * MINUTE,
                                     .backoff_min_ms = 2,
                                     .backoff_max_ms = 8,
                                     .max_crashes = 3,
                                     .shutdown_grace_ms = 5};
    jobs = (struct job_settings){.lock_expiry_ms = MINUTE, .requeue = true}; // none is due by itself
    static const char *const names[] = {"echo", "other", "narrow", "paced", "dead"};
    for (size_t i = 0; i < 5; i++)
        models[i] = (struct model){.name = (char *)(uintptr_t)names[i],
                                   .provider = (char *)"echo",
                                   .first_byte_timeout_ms = MINUTE,
                                   .progress_timeout_ms = MINUTE,
                                   .max_runtime_ms = MINUTE};
    models[2].concurrency = 2;
    models[3].requests_per_minute =
        1200; // a start each 50 ms: six of them at once would take a third of a second
    // Nobody listens on port 1.
    models[4].provider = (char *)"openai";
    models[4].base_url = (char *)"http://127.0.0.1:1/v1";
    models[4].endpoint = (char *)"/chat/completions";
    models[4].connect_timeout_ms = 5000;
    options = (struct runner_options){.settings = &settings,
                                      .jobs = &jobs,
                                      .models = models,
                                      .model_count = 5,
                                      .max_output = 1 << 24,
                                      .version = "test"};
    turns = 0;
    if (ground_open(state))
        return -1;
    runner_db = open_another();
    return loop_open(&loop, &error);
}

// Errors in the log are what the test is about: not to be shown. (cmocka shows its own after the tear-down.)
static int real_stderr = -1;
static void hush(void) {
    int nowhere = open("/dev/null", O_WRONLY);
    real_stderr = dup(STDERR_FILENO);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

static int tear_down(void **state) {
    if (real_stderr >= 0) {
        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        real_stderr = -1;
    }
    runner_close(r, "test ended");
    r = NULL;
    loop_close(loop);
    db_close(runner_db);
    return ground_close(state);
}

static void open_runner(void) {
    OK(runner_open(&r, runner_db, loop, &options, &error));
}

static void turn(void) {
    OK(runner_turn(r, MINUTE, &error));
    turns++;
}

// Turns until the person sees it so.
static void __attribute__((format(printf, 1, 2))) until(const char *format, ...) {
    char sql[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(sql, sizeof sql, format, values);
    va_end(values);
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (number_on(db, sql) != 1) {
        if (clock_monotonic_ms() > end_ms)
            fail_msg("never came: %s", sql);
        OK(runner_turn(r, 2000, &error));
        turns++;
    }
    check_counts();
}

static void until_settled(void) {
    until("SELECT queued+processing=0 FROM totals");
}

// Turns until nothing is left to do by itself.
static void until_drained(int64_t wait_ms) {
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!runner_is_drained(r, wait_ms)) {
        if (clock_monotonic_ms() > end_ms)
            fail_msg("never drained");
        OK(runner_turn(r, 2000, &error));
    }
}

static int64_t ask_for(const char *model, const char *parameters) {
    return submit_spec(&(struct spec){.prompt = "a b c d", .model_id = model, .parameters = parameters});
}

static int64_t batch_with(const struct batch_spec *spec, int count, const char *parameters) {
    return submit_batch(spec, &(struct items){.model = "echo", .count = count, .parameters = parameters}, 1);
}

static const struct batch_spec plain = {.max_failures = -1, .max_failure_share = -1};

// Starts and attempts of a generation, and how it is.
static const char *row(int64_t seq) {
    return text("SELECT status||' '||starts||' '||attempts FROM generation WHERE seq=%lld", (long long)seq);
}

// ---- ends ----

static void test_completed(void **state) {
    (void)state;
    int64_t before = ask_for("echo", NULL);
    open_runner();
    until_settled();
    int64_t after = ask_for("echo", "{\"delay\":1,\"chunks\":2}");
    until_settled();
    assert_string_equal(row(before), "completed 1 1");
    assert_string_equal(row(after), "completed 1 1");
    assert_string_equal(text("SELECT group_concat(content||partial) FROM outputs"), "a b c d0,a b c d0");
    assert_int_equal(number("SELECT sum(input_tokens)+sum(output_tokens) FROM generation"), 16);
    assert_int_equal(runner_completed(r), 2);
    assert_int_equal(runner_failed(r), 0);
    assert_int_equal(r->live_count + r->ended_count, 0);
    // The throughput is written now and then, and at the end.
    runner_close(r, "stopped");
    r = NULL;
    assert_int_equal(number("SELECT sum(completed) FROM throughput"), 2);
}

// Written through the runner's own connection, as a host does that steps it.
static void test_submitted_through_its_own_connection(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool created;
    open_runner();
    until_drained(0);
    OK(queue_submit(runner_db,
                    &(struct spec){.prompt = "p", .model_id = "echo", .parameters = "{\"hang\":\"connect\"}"},
                    id, &created, &error));
    until("SELECT processing FROM totals");
    int64_t seq;
    OK(queue_find_generation(runner_db, id, &seq, &error));
    OK(queue_change(runner_db, CHANGE_CANCEL, seq, "own", &error));
    while (r->live_count + r->ended_count > 0)
        turn();
    assert_string_equal(row(seq), "cancelled 1 0");
}

static void test_retries(void **state) {
    (void)state;
    int64_t twice = ask_for("echo", "{\"fail\":\"NetworkError\",\"fail_times\":2}");
    int64_t always = ask_for("echo", "{\"fail\":\"ModelGenerationError\",\"delay\":1,\"chunks\":4}");
    int64_t never = ask_for("echo", "{\"fail\":\"ContentFilterError\"}");
    open_runner();
    until_settled();
    assert_string_equal(row(twice), "completed 3 3");
    assert_string_equal(row(always), "failed 3 3");
    assert_string_equal(row(never), "failed 1 1");
    assert_string_equal(
        text("SELECT group_concat(event,' ') FROM event WHERE generation_seq=%lld", (long long)twice),
        "generation.queued generation.processing generation.retrying generation.processing"
        " generation.retrying generation.processing generation.completed");
    assert_string_equal(text("SELECT error_type FROM generation WHERE seq=%lld", (long long)always),
                        "ModelGenerationError");
    // What came before the failure is kept.
    assert_string_equal(text("SELECT content||partial FROM outputs o JOIN generations g ON "
                             "g.id=o.generation_id WHERE g.seq=%lld",
                             (long long)always),
                        "a b c1");
    assert_int_equal(runner_failed(r), 2);
    // Each waits for its backoff at least.
    assert_int_equal(
        number("SELECT count(*) FROM event e JOIN event p ON p.generation_seq=e.generation_seq AND p.id>e.id"
               " AND p.event='generation.processing' WHERE e.event='generation.retrying' AND "
               "p.created_at<e.created_at"),
        0);
}

static void test_wait_spends_no_attempt(void **state) {
    (void)state;
    settings.max_attempts = 1;
    int64_t seq = ask_for("echo", "{\"fail\":\"RateLimitError\",\"fail_times\":3,\"retry_after\":\"2ms\"}");
    open_runner();
    until_settled();
    assert_string_equal(row(seq), "completed 4 1");
    assert_string_equal(text("SELECT state FROM model_state"), "ok");
    assert_string_equal(text("SELECT group_concat(event) FROM event WHERE event LIKE 'model.%%'"),
                        "model.cooling,model.resumed");
}

static void test_park_and_resume(void **state) {
    (void)state;
    settings.concurrency = 1;
    settings.max_attempts = 1;
    int64_t first = ask_for("echo", "{\"fail\":\"AuthenticationError\",\"fail_times\":1}");
    int64_t second = ask_for("echo", NULL), free_one = ask_for("other", NULL);
    open_runner();
    until("SELECT completed FROM totals");
    until_drained(10 * MINUTE);
    assert_string_equal(row(first), "queued 1 0");
    assert_string_equal(row(second), "queued 0 0");
    assert_string_equal(row(free_one), "completed 1 1");
    assert_string_equal(
        text("SELECT state||error_type||coalesce(until,'-') FROM model_state WHERE model_id='echo'"),
        "parkedAuthenticationError-");
    assert_string_equal(
        text("SELECT event FROM event WHERE generation_seq=%lld ORDER BY id DESC LIMIT 1", (long long)first),
        "generation.parked");
    OK(queue_model_resume(db, "echo", &error));
    until_settled();
    assert_string_equal(row(first), "completed 2 1");
    assert_string_equal(row(second), "completed 1 1");
}

static void test_a_dead_server(void **state) {
    (void)state;
    settings.concurrency = 1;
    int64_t seq = ask_for("dead", NULL);
    open_runner();
    until("SELECT count(*) FROM model_state WHERE state='parked'");
    assert_string_equal(row(seq), "queued 3 2");
    // A probe is due by itself in a few seconds.
    assert_true(runner_is_drained(r, 1000));
    assert_false(runner_is_drained(r, MINUTE));
    OK(queue_change(db, CHANGE_CANCEL, seq, NULL, &error));
    until_drained(1000);
}

// Nobody writes anything meanwhile: a timer does it.
static void test_waiting_has_an_end(void **state) {
    (void)state;
    settings.max_wait_ms = 30;
    int64_t parked = ask_for("echo", "{\"fail\":\"QuotaError\"}");
    int64_t refused = ask_for("other", "{\"fail\":\"RateLimitError\",\"retry_after\":\"1ms\"}");
    open_runner();
    until_settled();
    assert_string_equal(
        text("SELECT group_concat(status||error_type) FROM generation WHERE seq IN (%lld,%lld)",
             (long long)parked, (long long)refused),
        "failedDeadlineError,failedDeadlineError");
    assert_string_equal(text("SELECT error_message FROM generation WHERE seq=%lld", (long long)parked),
                        "it waited longer than max_wait for its model: the echo model was told to fail with "
                        "QuotaError (start 1)");
    assert_int_equal(runner_failed(r), 2);
}

// ---- limits ----

// The machine was off for weeks: what waited for a model is tried before it is judged.
static void test_tried_before_judged(void **state) {
    (void)state;
    settings.concurrency = 1;
    settings.max_wait_ms = MINUTE;
    for (int i = 0; i < 5; i++)
        ask_for("echo", "{\"delay\":\"20ms\"}");
    type("UPDATE generation SET waiting_since=2");
    type("INSERT INTO model_state (model_id, state, reason, error_type, since, until)"
         " VALUES ('echo','parked','quota of the day','QuotaError',1,2)");
    open_runner();
    until_settled();
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='completed'"), 5);
}

static void test_limits(void **state) {
    (void)state;
    const char *slow = "{\"delay\":2}";
    int peak = 0, narrow = 0, item = 0;
    struct batch_spec spec = plain;
    spec.concurrency = 1;
    for (int i = 0; i < 12; i++) {
        ask_for("narrow", slow);
        ask_for("other", slow);
    }
    batch_with(&spec, 6, slow);
    open_runner();
    while (number("SELECT queued+processing FROM totals") > 0) {
        int all = (int)number("SELECT processing FROM totals");
        int n =
            (int)number("SELECT count(*) FROM generation WHERE status='processing' AND model_id='narrow'");
        int b = (int)number("SELECT processing_items FROM batch_jobs");
        assert_int_equal(r->live_count + r->ended_count, all);
        peak = all > peak ? all : peak;
        narrow = n > narrow ? n : narrow;
        item = b > item ? b : item;
        turn();
    }
    assert_int_equal(peak, 4);
    assert_int_equal(narrow, 2);
    assert_int_equal(item, 1);
    assert_int_equal(number("SELECT completed FROM totals"), 30);
}

static void test_accounts(void **state) {
    (void)state;
    int together = 0;
    settings.account_concurrency = 1;
    for (int i = 0; i < 12; i++)
        submit_spec(&(struct spec){.prompt = "p",
                                   .model_id = "echo",
                                   .user_id = i % 2 ? "ann" : "ann:1",
                                   .priority = i,
                                   .parameters = "{\"delay\":1}"});
    open_runner();
    while (number("SELECT queued+processing FROM totals") > 0) {
        assert_int_equal(
            number("SELECT count(*) FROM (SELECT 1 FROM generation WHERE status='processing' GROUP BY user_id"
                   " HAVING count(*)>1)"),
            0);
        together |= number("SELECT processing FROM totals") == 2;
        turn();
    }
    assert_true(together);
    assert_int_equal(number("SELECT count(*) FROM locks"), 0);
}

// Nobody writes when a lock of another ends.
static void test_an_account_that_another_holds(void **state) {
    (void)state;
    settings.account_concurrency = 1;
    settings.poll_interval_ms = 10000;
    submit_spec(&(struct spec){.prompt = "p", .model_id = "echo", .user_id = "ann"});
    int64_t ends_at = clock_wall_at() + 300;
    type("INSERT INTO locks VALUES ('account:ann:1','ann','another',1,%lld,NULL)", (long long)ends_at);
    open_runner();
    until_settled();
    assert_in_range(number("SELECT started_at FROM generation WHERE status='completed'"), ends_at,
                    ends_at + 5000);
    assert_true(turns < 40);
}

// A rate lets the next one start while the first ones still run.
static void test_paced(void **state) {
    (void)state;
    settings.concurrency = 6;
    for (int i = 0; i < 6; i++)
        ask_for("paced", "{\"hang\":\"connect\"}");
    open_runner();
    until("SELECT processing=6 FROM totals");
    assert_true(number("SELECT count(DISTINCT started_at) FROM generation") > 1);
}

static void test_refill_in_the_same_pass(void **state) {
    (void)state;
    settings.concurrency = 1;
    batch_with(&plain, 100, NULL);
    open_runner();
    until_settled();
    // Each item began in the transaction that ended the one before.
    assert_int_equal(
        number("SELECT count(*) FROM event e JOIN event p ON p.id=e.id+1 AND p.event='generation.processing'"
               " AND p.created_at=e.created_at AND p.generation_seq=e.generation_seq+1"
               " WHERE e.event='generation.completed'"),
        99);
}

// ---- clocks ----

static void test_clocks(void **state) {
    (void)state;
    settings.max_attempts = 1;
    models[0].first_byte_timeout_ms = 5;
    models[1].progress_timeout_ms = 5;
    models[2].max_runtime_ms = 5;
    int64_t silent = ask_for("echo", "{\"hang\":\"connect\"}");
    int64_t stopped = ask_for("other", "{\"hang\":\"stream\"}");
    int64_t endless = ask_for("narrow", "{\"hang\":\"stream\"}");
    open_runner();
    until_settled();
    struct {
        int64_t seq;
        const char *which;
    } cases[] = {{silent, "first_byte_timeout"}, {stopped, "progress_timeout"}, {endless, "max_runtime"}};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(
            text("SELECT status||error_type FROM generation WHERE seq=%lld", (long long)cases[i].seq),
            "failedTimeoutError");
        assert_non_null(
            strstr(text("SELECT error_message FROM generation WHERE seq=%lld", (long long)cases[i].seq),
                   cases[i].which));
    }
    // What had come is kept.
    assert_string_equal(text("SELECT content||partial FROM output WHERE key/1024=%lld", (long long)stopped),
                        "a b1");
}

// The process was stopped for longer than any clock: nothing is judged by that.
static void test_a_stopped_process(void **state) {
    (void)state;
    models[0].max_runtime_ms = 10000;
    ask_for("echo", "{\"hang\":\"connect\"}");
    open_runner();
    until("SELECT processing FROM totals");
    r->last_turn_ms -= 30000;
    r->live->started_ms -= 30000;
    r->live->last_progress_ms -= 30000;
    OK(runner_turn(r, 0, &error));
    assert_int_equal(number("SELECT processing FROM totals"), 1);
    assert_true(r->live->started_ms > clock_monotonic_ms() - 10000);
}

// ---- people ----

static void test_cancelled_by_hand(void **state) {
    (void)state;
    int64_t seq = ask_for("echo", "{\"hang\":\"stream\"}"),
            waits = ask_for("other", "{\"hang\":\"connect\"}");
    open_runner();
    until("SELECT processing=2 FROM totals");
    while (r->live->output_bytes + r->live->next->output_bytes == 0)
        turn();
    type("UPDATE generations SET status='cancelled' WHERE seq=%lld", (long long)seq);
    until("SELECT count(*) FROM output WHERE partial=1");
    assert_string_equal(row(seq), "cancelled 1 0");
    assert_int_equal(r->live_count, 1);
    // Failed and queued again by hand, too; the latter starts anew.
    type("UPDATE generations SET status='queued' WHERE seq=%lld", (long long)waits);
    until("SELECT starts=2 AND status='processing' FROM generation WHERE seq=%lld", (long long)waits);
    type("UPDATE generations SET status='failed', error_message='mine' WHERE seq=%lld", (long long)waits);
    while (r->live_count + r->ended_count > 0)
        turn();
    assert_string_equal(row(waits), "failed 2 0");
    assert_string_equal(text("SELECT error_message FROM generation WHERE seq=%lld", (long long)waits),
                        "mine");
}

static void test_a_batch_cancelled_by_hand(void **state) {
    (void)state;
    settings.concurrency = 2;
    int64_t batch = batch_with(&plain, 700, "{\"hang\":\"stream\"}");
    open_runner();
    until("SELECT processing=2 FROM totals");
    type("UPDATE batch_jobs SET status='cancelled', paused_reason='no more' WHERE seq=%lld",
         (long long)batch);
    // Those that run end at once, the others after a second, which need not be waited for here.
    until("SELECT processing=0 FROM totals");
    assert_int_equal(number("SELECT cancelled_items FROM batch_jobs"), 2);
    assert_int_equal(number("SELECT queued FROM totals"), 698);
    type("UPDATE batch_job SET completed_at=completed_at-1000");
    until_settled();
    assert_int_equal(
        number("SELECT count(*) FROM generation WHERE status='cancelled' AND cancel_reason='no more'"), 700);
    assert_string_equal(text("SELECT status FROM batch_job"), "cancelled");
}

static void test_a_paused_batch_goes_on(void **state) {
    (void)state;
    settings.concurrency = 1;
    int64_t batch = batch_with(&plain, 20, "{\"delay\":1}");
    open_runner();
    until("SELECT completed>2 FROM totals");
    OK(queue_batch_pause(db, batch, "lunch", &error));
    until("SELECT processing=0 FROM totals");
    until_drained(MINUTE);
    assert_true(number("SELECT queued FROM totals") > 0);
    assert_int_equal(number("SELECT cancelled+failed FROM totals"), 0);
    OK(queue_batch_resume(db, batch, &error));
    until_settled();
    assert_string_equal(text("SELECT status FROM batch_job"), "completed");
}

// An item's failure stops its batch job: nobody else has to write for the rest to be swept.
static void test_a_stopped_batch(void **state) {
    (void)state;
    settings.concurrency = 1;
    struct batch_spec spec = plain;
    spec.stop_on_error = true;
    batch_with(&spec, 1100, "{\"fail\":\"InvalidRequestError\"}");
    open_runner();
    until_settled();
    assert_string_equal(text("SELECT status||failed_items||' '||cancelled_items FROM batch_jobs"),
                        "failed1 1099");
}

// Another process commits between the runner's last look and its last tick: a drain goes on.
static void test_a_change_before_the_end_of_a_drain(void **state) {
    (void)state;
    open_runner();
    until_drained(0);
    int64_t seq = ask_for("echo", NULL);
    assert_false(runner_is_drained(r, 0));
    until_drained(0);
    assert_string_equal(row(seq), "completed 1 1");
    batch_with(&plain, 3, NULL);
    type("UPDATE batch_jobs SET status='cancelled'");
    assert_false(runner_is_drained(r, 0));
    type("UPDATE batch_job SET completed_at=completed_at-1000");
    until_drained(0);
    assert_int_equal(number("SELECT cancelled FROM totals"), 3);
}

// Its writer dies without a word while the runner has nothing to do.
static void test_a_dead_writer(void **state) {
    (void)state;
    struct batch_writer *writer;
    char id[ID_SIZE];
    bool known;
    OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
    open_runner();
    while (r->next_look_ms == INT64_MAX || r->changed || r->sweeping)
        turn();
    // The process id of this one, another start: taken by nobody's commit that the runner could see.
    sqlite3_exec(db_handle(runner_db), "UPDATE batch_job SET writer=writer||'1'", NULL, NULL, NULL);
    r->seen_changes = db_total_changes(runner_db);
    assert_false(r->sweeping);
    r->next_look_ms = clock_monotonic_ms();
    until("SELECT count(*)=0 FROM batch_job");
    while (r->next_look_ms != INT64_MAX)
        turn();
    batch_writer_abandon(writer);
}

static void test_delayed(void **state) {
    (void)state;
    int64_t now_at = clock_wall_at();
    int64_t soon =
        submit_spec(&(struct spec){.prompt = "p", .model_id = "echo", .run_after_at = now_at + 15});
    int64_t late =
        submit_spec(&(struct spec){.prompt = "p", .model_id = "echo", .run_after_at = now_at + 10 * MINUTE});
    open_runner();
    until("SELECT completed FROM totals");
    assert_true(number("SELECT started_at FROM generation WHERE seq=%lld", (long long)soon) >= now_at + 15);
    assert_string_equal(row(late), "queued 0 0");
    until_drained(9 * MINUTE);
    assert_false(runner_is_drained(r, 11 * MINUTE));
}

// ---- stops ----

static void test_a_stop(void **state) {
    (void)state;
    int64_t seq = ask_for("echo", "{\"hang\":\"stream\"}"), short_one = ask_for("other", "{\"delay\":1}");
    for (int i = 0; i < 2; i++) {
        open_runner();
        until("SELECT processing>0 FROM totals WHERE EXISTS (SELECT 1 FROM generation WHERE "
              "status='completed')");
        while (r->live->output_bytes == 0)
            turn();
        runner_stop(r, i == 1);
        int64_t waits = ask_for("other", NULL);
        while (!runner_is_stopped(r))
            turn();
        assert_string_equal(row(waits), "queued 0 0"); // nothing is claimed any more
        OK(queue_change(db, CHANGE_CANCEL, waits, NULL, &error));
        runner_close(r, "stopped");
        r = NULL;
        // No attempt is spent, and what had come is kept.
        assert_string_equal(row(seq), i ? "queued 2 0" : "queued 1 0");
        assert_int_equal(
            number("SELECT count(*) FROM output WHERE key/1024=%lld AND partial=1", (long long)seq), 1);
        assert_string_equal(text("SELECT end_reason FROM runners ORDER BY seq DESC LIMIT 1"), "stopped");
    }
    assert_string_equal(row(short_one), "completed 1 1");
}

static void test_one_owner(void **state) {
    (void)state;
    struct runner *second;
    struct db *third = open_another();
    open_runner();
    assert_int_equal(runner_open(&second, third, loop, &options, &error), ERR_CONFLICT);
    assert_null(second);
    runner_close(r, "stopped");
    r = NULL;
    OK(runner_open(&second, third, loop, &options, &error));
    runner_close(second, "stopped");
    runner_close(NULL, "nothing");
    db_close(third);
}

static void test_suspects_run_alone(void **state) {
    (void)state;
    bool others = false;
    for (int i = 0; i < 9; i++)
        ask_for("echo", "{\"delay\":2}");
    type("UPDATE generation SET suspect=1, crashes=2 WHERE seq<=2");
    open_runner();
    while (number("SELECT queued+processing FROM totals") > 0) {
        int64_t suspects = number("SELECT count(*) FROM generation WHERE status='processing' AND suspect=1");
        int64_t all = number("SELECT processing FROM totals");
        assert_true(suspects == 0 || all == 1);
        others |= all > 2;
        turn();
    }
    assert_true(others);
    assert_int_equal(number("SELECT completed FROM totals"), 9);
}

static void test_only_what_is_waited_for(void **state) {
    (void)state;
    int64_t other = ask_for("echo", NULL),
            wanted = ask_for("echo", "{\"fail\":\"NetworkError\",\"fail_times\":1}");
    options.only_generation = wanted;
    open_runner();
    until("SELECT completed FROM totals");
    assert_string_equal(row(wanted), "completed 2 2");
    assert_string_equal(row(other), "queued 0 0");
    runner_close(r, "stopped");
    options.only_generation = 0;
    options.only_batch = batch_with(&plain, 3, NULL);
    open_runner();
    until("SELECT completed=4 FROM totals");
    until_drained(0);
    assert_string_equal(row(other), "queued 0 0");
}

// ---- trouble with the database ----

static int refused_commits;

static int refuse_commit(void *payload) {
    (void)payload;
    return refused_commits > 0 && refused_commits-- > 0;
}

// What a transaction claimed that did not last was never started.
static void test_a_commit_that_fails_starts_nothing(void **state) {
    (void)state;
    hush();
    open_runner();
    until_drained(0);
    refused_commits = 2;
    sqlite3_commit_hook(db_handle(runner_db), refuse_commit, NULL);
    batch_with(&plain, 6, NULL);
    while (refused_commits > 0) {
        turn();
        if (refused_commits > 0) {
            assert_int_equal(r->live_count, 0);
            assert_int_equal(r->claim_count, 0);
            assert_int_equal(number("SELECT sum(starts) FROM generation"), 0);
        }
    }
    until_settled();
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='completed' AND starts=1"), 6);
    assert_int_equal(number("SELECT count(*) FROM event WHERE event='generation.processing'"), 6);
}

// Results outlast it.
static void test_a_commit_that_fails_keeps_results(void **state) {
    (void)state;
    hush();
    settings.concurrency = 2;
    open_runner();
    batch_with(&plain, 4, "{\"delay\":1}");
    until("SELECT processing=2 FROM totals");
    refused_commits = 2;
    sqlite3_commit_hook(db_handle(runner_db), refuse_commit, NULL);
    while (refused_commits > 0)
        turn();
    until_settled();
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='completed' AND starts=1"), 4);
    assert_int_equal(number("SELECT count(*) FROM event WHERE event='generation.dropped'"), 0);
    assert_int_equal(runner_completed(r), 4);
    runner_close(r, "stopped");
    r = NULL;
    assert_int_equal(number("SELECT sum(completed) FROM throughput"), 4);
}

static void set_pages(const char *most) {
    type_on(runner_db, "PRAGMA max_page_count=%s", most);
}

static void test_a_full_disk(void **state) {
    (void)state;
    hush();
    settings.concurrency = 1;
    open_runner();
    int64_t big = ask_for("echo", "{\"delay\":1,\"repeat\":30000}");
    until("SELECT processing FROM totals");
    set_pages("1"); // no less than there are
    while (r->trouble_count == 0)
        turn();
    int64_t waits = ask_for("echo", NULL);
    while (r->trouble_count < 3) {
        turn();
        assert_int_equal(r->ended_count, 1);
        assert_int_equal(r->live_count, 0);
        // Nothing is claimed, nothing is lost.
        assert_string_equal(row(big), "processing 1 0");
        assert_string_equal(row(waits), "queued 0 0");
    }
    assert_int_equal(r->ended->write_failures, 0);
    set_pages("1000000");
    until_settled();
    assert_string_equal(row(big), "completed 1 1");
    assert_int_equal(number("SELECT length(content) FROM output ORDER BY key LIMIT 1"), 30000 * 7);
    assert_string_equal(row(waits), "completed 1 1");
    assert_int_equal(r->trouble_count, 0);
}

// Somebody left a transaction open. The runner waits for it by timer, and does not spin.
static void test_a_locked_database(void **state) {
    (void)state;
    hush();
    int64_t seq = ask_for("echo", "{\"delay\":5}");
    submit_spec(&(struct spec){.prompt = "p", .model_id = "echo", .run_after_at = clock_wall_at() + 10});
    int64_t stuck = ask_for("other", "{\"hang\":\"connect\"}");
    models[1].max_runtime_ms = 40;
    settings.max_attempts = 1;
    open_runner();
    until("SELECT processing=2 FROM totals");
    struct db *other = open_another();
    type_on(other, "BEGIN IMMEDIATE; UPDATE generations SET dismissed_at=1");
    turns = 0;
    while (r->trouble_count < 2)
        turn();
    assert_true(turns < 40);
    assert_string_equal(row(seq), "processing 1 0");
    type_on(other, "ROLLBACK");
    until_settled();
    assert_string_equal(row(seq), "completed 1 1");
    assert_string_equal(row(stuck), "failed 1 1");
    db_close(other);
}

// One row refuses its result: it ends plainly, and holds up nobody.
static void test_a_refused_result(void **state) {
    (void)state;
    hush();
    type("CREATE TRIGGER refuse BEFORE INSERT ON output WHEN NEW.content='bad' BEGIN SELECT RAISE(ABORT,'not "
         "this'); END");
    int64_t bad = submit_spec(&(struct spec){.prompt = "bad", .model_id = "echo"});
    int64_t good = ask_for("echo", NULL);
    open_runner();
    until_settled();
    assert_string_equal(
        text("SELECT status||error_type||': '||error_message FROM generation WHERE seq=%lld", (long long)bad),
        "failedInternalError: the database refused the result: not this");
    assert_string_equal(
        text("SELECT json_remove(json_extract(parameters, '$.errorContext'), '$.timestamp') FROM generations"
             " WHERE seq=%lld",
             (long long)bad),
        "{\"message\":\"the database refused the result: not this\",\"type\":\"InternalError\","
        "\"userId\":null,\"stack\":\"model echo, attempt 1, at provider:connect\",\"action\":\"fail\","
        "\"model\":\"echo\",\"attempt\":1}");
    assert_string_equal(row(good), "completed 1 1");
}

// It refuses every end: the others go on all the same, and the row is left to the next runner.
static void test_a_refused_end(void **state) {
    (void)state;
    hush();
    type("CREATE TRIGGER refuse BEFORE UPDATE OF status ON generation WHEN OLD.status='processing' AND "
         "OLD.seq=1"
         " BEGIN SELECT RAISE(ABORT,'never'); END");
    int64_t bad = ask_for("echo", NULL), good = ask_for("echo", NULL);
    open_runner();
    until("SELECT completed FROM totals");
    assert_string_equal(row(bad), "processing 1 0");
    assert_string_equal(row(good), "completed 1 1");
    type("DROP TRIGGER refuse");
    runner_close(r, "stopped");
    open_runner();
    until_settled();
    assert_string_equal(row(bad), "completed 2 1");
}

static void test_heartbeats(void **state) {
    (void)state;
    settings.heartbeat_interval_ms = 2;
    ask_for("echo", "{\"hang\":\"stream\"}");
    open_runner();
    until("SELECT count(*) FROM generation_live WHERE last_step='provider:stream' AND output_bytes>0"
          " AND progress_limit_ms=60000");
    int64_t beat = number("SELECT heartbeat_at FROM runners");
    until("SELECT heartbeat_at>%lld FROM runners", (long long)beat);
    assert_int_equal(number("SELECT count(*) FROM stuck_generations"), 0);
}

// Nothing to do: nothing is written.
static void test_idle(void **state) {
    (void)state;
    settings.poll_interval_ms = 1;
    settings.heartbeat_interval_ms = 1;
    ask_for("echo", NULL);
    open_runner();
    until_settled();
    until_drained(MINUTE);
    while (runner_has_uncounted(r))
        turn();
    int64_t changes = db_total_changes(runner_db), version = db_data_version(db);
    for (int i = 0; i < 20; i++)
        turn();
    assert_int_equal(db_total_changes(runner_db), changes);
    assert_int_equal(db_data_version(db), version);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

// ---- processes of a dead runner ----

static bool powerless;

// In the place of the C library's: a process that cannot be ended.
int pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned flags) {
    if (powerless) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_pidfd_send_signal, fd, number, info, flags);
}

// A program of a runner for a generation; it runs when this returns.
static pid_t start_program(const char *runner, const char *generation) {
    int runs[2];
    char byte, *env[] = {mem_format("GENRUN_RUNNER=%s", runner),
                         mem_format("GENRUN_GENERATION_ID=%s", generation), NULL};
    assert_int_equal(pipe2(runs, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execle("/bin/sleep", "sleep", "60", NULL, env);
        _exit(127);
    }
    close(runs[1]);
    assert_int_equal(read(runs[0], &byte, 1), 0); // closed by the exec
    close(runs[0]);
    free(env[0]);
    free(env[1]);
    return pid;
}

// A runner that is dead without a word, and what it held; returns its program's pid.
static pid_t leave_work(int64_t seq) {
    char id[ID_SIZE], boot[64];
    id_make(id);
    process_boot(boot, sizeof boot);
    type("INSERT INTO runners (id, pid, boot_id, host, version, heartbeat_timeout_ms, started_at, "
         "heartbeat_at)"
         " VALUES ('%s', 1, '%s', 'h', 'v', 60000, 1, 1)",
         id, boot);
    type("UPDATE generation SET status='processing', claim_token='0123456789abcdef', started_at=1, "
         "starts=starts+1,"
         " last_step='process:claim', runner_seq=(SELECT max(seq) FROM runners) WHERE seq=%lld",
         (long long)seq);
    return start_program(id, text("SELECT id FROM generation WHERE seq=%lld", (long long)seq));
}

// What another process writes at length is copied into the database meanwhile, though the runner writes nothing itself.
static void test_the_log_of_others(void **state) {
    (void)state;
    open_runner();
    for (int i = 0; i < 5; i++)
        OK(runner_turn(r, 0, &error));
    int before = db_log_pages(runner_db), most = 0;
    for (int i = 0; i < 40; i++) {
        // Some 100 pages each.
        type("INSERT INTO templates (id, name, body, created_at) VALUES ('%d', 't%d', hex(zeroblob(200000)), "
             "1)",
             i, i);
        int pages = db_log_pages(runner_db);
        most = pages > most ? pages : most;
        OK(runner_turn(r, 0, &error));
    }
    print_message("# %d pages at first, %d at most\n", before, most);
    assert_true(most > 500);
    assert_true(most < 800);
}

static void test_programs_of_a_dead_runner(void **state) {
    (void)state;
    int status;
    int64_t seq = ask_for("echo", NULL);
    pid_t pid = leave_work(seq);
    open_runner();
    until_settled();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_string_equal(
        text("SELECT group_concat(event, ' ') FROM (SELECT event FROM logs WHERE generation_id IS NOT NULL"
             " AND event NOT IN ('generation.queued') ORDER BY id)"),
        "generation.processing process.killed generation.recovered generation.processing "
        "generation.completed");
    assert_int_equal(number("SELECT json_extract(data,'$.pid') FROM event WHERE event='process.killed'"),
                     pid);
    assert_string_equal(text("SELECT json_extract(data,'$.program') FROM event WHERE event='process.killed'"),
                        "sleep");
    assert_string_equal(text("SELECT end_reason FROM runners WHERE seq=1"), "crashed");
}

// As long as one lives nothing is taken back, and at first nothing at all is started.
static void test_a_program_that_does_not_end(void **state) {
    (void)state;
    int status;
    int64_t held = ask_for("echo", NULL), other_one = ask_for("echo", NULL);
    pid_t pid = leave_work(held);
    powerless = true;
    settings.heartbeat_interval_ms = 1000;
    open_runner();
    for (int i = 0; i < 5; i++)
        OK(runner_turn(r, 20, &error));
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='queued'"), 1);
    assert_int_equal(number("SELECT runner_seq FROM generation WHERE seq=%lld", (long long)held), 1);
    assert_int_equal(number("SELECT count(*) FROM stuck_generations"), 1);
    assert_false(runner_is_drained(r, MINUTE));
    // Its end of patience: others go on, and it is told.
    hush();
    until("SELECT status='completed' FROM generation WHERE seq=%lld", (long long)other_one);
    assert_int_equal(number("SELECT count(*) FROM logs WHERE event='process.survived' AND level='error'"), 1);
    assert_int_equal(number("SELECT runner_seq FROM generation WHERE seq=%lld", (long long)held), 1);
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    kill(pid, SIGKILL);
    until_settled();
    powerless = false;
    assert_string_equal(text("SELECT status||starts FROM generation WHERE seq=%lld", (long long)held),
                        "completed2");
    waitpid(pid, &status, 0);
}

int main(void) {
    log_setup(LOG_LEVEL_ERROR, false);
    const struct CMUnitTest tests[] = {
        T(test_completed),
        T(test_submitted_through_its_own_connection),
        T(test_retries),
        T(test_wait_spends_no_attempt),
        T(test_park_and_resume),
        T(test_a_dead_server),
        T(test_waiting_has_an_end),
        T(test_tried_before_judged),
        T(test_limits),
        T(test_accounts),
        T(test_an_account_that_another_holds),
        T(test_paced),
        T(test_refill_in_the_same_pass),
        T(test_clocks),
        T(test_a_stopped_process),
        T(test_cancelled_by_hand),
        T(test_a_batch_cancelled_by_hand),
        T(test_a_paused_batch_goes_on),
        T(test_a_stopped_batch),
        T(test_a_change_before_the_end_of_a_drain),
        T(test_a_dead_writer),
        T(test_delayed),
        T(test_a_stop),
        T(test_one_owner),
        T(test_suspects_run_alone),
        T(test_only_what_is_waited_for),
        T(test_a_commit_that_fails_starts_nothing),
        T(test_a_commit_that_fails_keeps_results),
        T(test_a_full_disk),
        T(test_a_locked_database),
        T(test_a_refused_result),
        T(test_a_refused_end),
        T(test_heartbeats),
        T(test_idle),
        T(test_the_log_of_others),
        T(test_programs_of_a_dead_runner),
        T(test_a_program_that_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
