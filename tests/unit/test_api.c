// SPDX-License-Identifier: MIT
// The public API as a host uses it, function by function, and as it should not be
// used: everything through genrun.h, in one process, on one file.
#include "handle_ground.h"
#include <poll.h>

static void submit(genrun *g, char id[GENRUN_ID_SIZE], const char *prompt, const char *user) {
    genrun_spec spec = GENRUN_SPEC_INIT;
    spec.prompt = prompt;
    spec.model = "echo";
    spec.user = user;
    ok(g, genrun_submit(g, id, NULL, &spec));
}

static const char *status_of(genrun *g, const char *id) {
    static char status[16];
    genrun_row *row = NULL;
    ok(g, genrun_get(g, &row, id));
    snprintf(status, sizeof status, "%s", genrun_row_text(row, "status"));
    genrun_row_free(row);
    return status;
}

static int count(void *payload, genrun_row *row) {
    ++*(int *)payload;
    assert_non_null(genrun_row_json(row));
    return 0;
}

static int count_to_two(void *payload, genrun_row *row) {
    (void)row;
    return ++*(int *)payload == 2;
}

static FILE *lines(const char *text) {
    return fmemopen((void *)(size_t)text, strlen(text), "r");
}

// ---- single generations ----

static void test_one(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_row *row = NULL;
    size_t length = 0;
    int rows = 0;
    submit(g, id, "hello", "ann");
    assert_string_equal(status_of(g, id + 28), "queued");
    ok(g, genrun_wait(g, id, 0, count, &rows));
    assert_true(rows >= 1);
    ok(g, genrun_get(g, &row, id));
    assert_string_equal(genrun_row_text(row, "status"), "completed");
    assert_string_equal(genrun_row_text(row, "user_id"), "ann");
    assert_null(genrun_row_text(row, "no such column"));
    assert_null(genrun_row_bytes(row, "no such column", &length));
    assert_int_equal(genrun_row_integer(row, "starts", -1), 1);
    assert_int_equal(genrun_row_integer(row, "no such column", -1), -1);
    assert_true(genrun_row_number(row, "no such column", 0.5) > 0.4);
    assert_memory_equal(genrun_row_bytes(row, "prompt", &length), "hello", 5);
    assert_int_equal(length, 5);
    assert_non_null(strstr(genrun_row_json(row), "\"userId\":\"ann\""));
    assert_ptr_equal(genrun_row_json(row), genrun_row_json(row));
    genrun_row_free(row);
    genrun_row_free(NULL);
    rows = 0;
    ok(g, genrun_outputs(g, id, count, &rows));
    assert_int_equal(rows, 1);
    char text[16] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    ok(g, genrun_write_output(g, id, out));
    fclose(out);
    assert_string_equal(text, "hello");
}

static void test_lists(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_filter filter = GENRUN_FILTER_INIT;
    genrun_event_filter events = GENRUN_EVENT_FILTER_INIT;
    genrun_row *row = NULL;
    int rows = 0;
    for (int i = 0; i < 5; i++)
        submit(g, id, "x", i == 0 ? "bob" : "ann");
    filter.limit = 3;
    ok(g, genrun_list(g, &filter, count, &rows));
    assert_int_equal(rows, 3);
    char cursor[64];
    snprintf(cursor, sizeof cursor, "%s", genrun_cursor(g));
    filter.after = cursor;
    ok(g, genrun_list(g, &filter, count, &rows));
    assert_int_equal(rows, 5);
    assert_null(genrun_cursor(g));
    filter = (genrun_filter)GENRUN_FILTER_INIT;
    filter.user = "bob";
    rows = 0;
    ok(g, genrun_list(g, &filter, count, &rows));
    assert_int_equal(rows, 1);
    rows = 0;
    ok(g, genrun_list(g, NULL, count_to_two,
                      &rows)); // a callback that has enough ends the list, without an error
    assert_int_equal(rows, 2);
    rows = 0;
    ok(g, genrun_events(g, &events, count, &rows));
    assert_int_equal(rows, 5);
    events.id = id;
    rows = 0;
    ok(g, genrun_events(g, &events, count, &rows));
    assert_int_equal(rows, 1);
    ok(g, genrun_stats(g, &row));
    assert_int_equal(genrun_row_integer(row, "queued", -1), 5);
    genrun_row_free(row);
    ok(g, genrun_wait_change(g, 0));
    rows = 0;
    ok(g, genrun_left(g, count, &rows));
    assert_int_equal(rows, 1);
}

static void test_events(void **state) {
    genrun *g = *state;
    char first[GENRUN_ID_SIZE], second[GENRUN_ID_SIZE];
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    int64_t oldest, newest;
    int rows = 0;
    ok(g, genrun_event_range(g, &oldest, &newest));
    assert_int_equal(newest, 0);
    submit(g, first, "x", "ann");
    submit(g, second, "y", "bob");
    ok(g, genrun_cancel(g, second, NULL));
    ok(g, genrun_event_range(g, &oldest, &newest));
    assert_int_equal(oldest, 1);
    assert_int_equal(newest, 3);
    filter.user = "bob";
    ok(g, genrun_events(g, &filter, count, &rows));
    assert_int_equal(rows, 2);
    filter.generation = first;
    ok(g, genrun_events(g, &filter, count, &rows));
    assert_int_equal(rows, 2);
    filter.user = "ann";
    ok(g, genrun_events(g, &filter, count, &rows));
    assert_int_equal(rows, 3);
    filter = (genrun_event_filter)GENRUN_EVENT_FILTER_INIT;
    filter.batch = first; // a generation, which is no batch job
    refused(g, genrun_events(g, &filter, count, &rows), GENRUN_NOT_FOUND, first);
    filter.batch = NULL;
    filter.page = filter.whole = 1;
    filter.limit = 2;
    rows = 0;
    ok(g, genrun_events(g, &filter, count, &rows));
    assert_int_equal(rows, 2);
    assert_int_equal(genrun_event_cursor(g), 2);
    filter.after = genrun_event_cursor(g);
    ok(g, genrun_events(g, &filter, count, &rows));
    assert_int_equal(rows, 3);
    assert_int_equal(genrun_event_cursor(g), newest);
}

static void test_changes(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    int64_t changed = -1;
    genrun_filter filter = GENRUN_FILTER_INIT;
    submit(g, id, "x", NULL);
    ok(g, genrun_cancel(g, id, "no longer wanted"));
    ok(g, genrun_cancel(g, id, NULL)); // harmless when repeated
    ok(g, genrun_dismiss(g, id, 0));
    ok(g, genrun_dismiss(g, id, 1));
    ok(g, genrun_retry(g, id));
    ok(g, genrun_retry(g, id));
    refused(g, genrun_recover(g, id), GENRUN_CONFLICT, "queued");
    ok(g, genrun_fail(g, id, "by hand"));
    assert_string_equal(status_of(g, id), "failed");
    refused(g, genrun_cancel(g, id, NULL), GENRUN_CONFLICT, "failed");
    ok(g, genrun_dismiss_all(g, &changed, &filter, 0, 0));
    assert_int_equal(changed, 1);
    ok(g, genrun_retry_all(g, &changed, &filter, 1));
    assert_int_equal(changed, 1);
    assert_string_equal(status_of(g, id), "failed"); // only counted
    ok(g, genrun_retry_all(g, &changed, &filter, 0));
    ok(g, genrun_recover_all(g, &changed, &filter, 0));
    assert_int_equal(changed, 0);
    ok(g, genrun_cancel_all(g, &changed, &filter, "all", 0));
    assert_int_equal(changed, 1);
    ok(g, genrun_retry(g, id));
    ok(g, genrun_fail_all(g, &changed, &filter, "all", 0));
    assert_int_equal(changed, 1);
    refused(g, genrun_wait(g, id, 0, NULL, NULL), GENRUN_WORK_FAILED, "failed");
}

static void test_reports(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_row *row = NULL;
    int rows = 0;
    submit(g, id, "x", "ann");
    ok(g, genrun_fail(g, id, "by hand"));
    ok(g, genrun_stuck(g, NULL, 0, count, &rows));
    assert_int_equal(rows, 0);
    ok(g, genrun_failures(g, NULL, NULL, count, &rows));
    assert_int_equal(rows, 1);
    ok(g, genrun_failures(g, NULL, "model", count, &rows));
    assert_int_equal(rows, 2);
    refused(g, genrun_failures(g, NULL, "weather", count, &rows), GENRUN_INVALID, "weather");
    ok(g, genrun_project_set(g, NULL, "p", "a project", "ann"));
    ok(g, genrun_session_set(g, NULL, "s", "a session", "p", NULL));
    ok(g, genrun_user_set(g, &row, "ann", "Ann", NULL, NULL));
    assert_string_equal(genrun_row_text(row, "display_name"), "Ann");
    genrun_row_free(row);
    refused(g, genrun_user_set(g, &row, "", "Ann", NULL, NULL), GENRUN_INVALID, "empty");
    assert_null(row);
}

static void test_templates(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_row *row = NULL;
    int rows = 0;
    ok(g, genrun_template_add(g, id, "greet", "Hello {{who}}", 13, NULL, NULL));
    refused(g, genrun_template_add(g, id, "greet", "Hello", 5, NULL, NULL), GENRUN_CONFLICT, "greet");
    ok(g, genrun_templates(g, count, &rows));
    assert_int_equal(rows, 1);
    ok(g, genrun_template_get(g, &row, "greet"));
    assert_string_equal(genrun_row_text(row, "body"), "Hello {{who}}");
    genrun_row_free(row);
    ok(g, genrun_template_remove(g, "greet"));
    refused(g, genrun_template_remove(g, "greet"), GENRUN_NOT_FOUND, "greet");
}

// ---- batch jobs ----

static void test_batch_from_code(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_batch *batch = NULL;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    genrun_row *row = NULL;
    genrun_filter filter = GENRUN_FILTER_INIT;
    int rows = 0;
    options.name = "from code";
    options.model = "echo";
    ok(g, genrun_batch_begin(g, &batch, &options));
    for (int i = 0; i < 3; i++) {
        spec.prompt = "item";
        ok(g, genrun_batch_add(batch, &spec));
    }
    ok(g, genrun_batch_list(g, &filter, count, &rows));
    assert_int_equal(rows, 0); // not seen before it is open
    ok(g, genrun_batch_open(batch, id));
    ok(g, genrun_batch_pause(g, id, "wait"));
    ok(g, genrun_batch_get(g, &row, id));
    assert_string_equal(genrun_row_text(row, "status"), "paused");
    assert_int_equal(genrun_row_integer(row, "total_items", 0), 3);
    genrun_row_free(row);
    ok(g, genrun_batch_process_next(g, &row, id, 0));
    assert_string_equal(genrun_row_text(row, "status"), "completed");
    genrun_row_free(row);
    ok(g, genrun_batch_resume(g, id));
    ok(g, genrun_wait(g, id, 0, NULL, NULL));
    ok(g, genrun_batch_items(g, id, &filter, count, &rows));
    assert_int_equal(rows, 3);
    ok(g, genrun_batch_list(g, &filter, count, &rows));
    assert_int_equal(rows, 4);
    ok(g, genrun_batch_begin(g, &batch, &options));
    ok(g, genrun_batch_add(batch, &spec));
    genrun_batch_abandon(batch);
    rows = 0;
    ok(g, genrun_list(g, &filter, count, &rows));
    assert_int_equal(rows, 3); // nothing of it is left
}

static int stop_at_once(void *payload, int64_t done, int64_t total, const char *unit) {
    (void)done, (void)total, (void)unit;
    ++*(int *)payload;
    return 1;
}

static void test_batch_from_lines(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE], again[GENRUN_ID_SIZE];
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_row *row = NULL;
    int64_t written = 0, changed = -1;
    int created = -1;
    options.model = "echo";
    options.client_id = "once";
    FILE *stream = lines("one\ntwo\n");
    ok(g, genrun_batch_estimate(g, &row, stream, "a.txt", &options, NULL, NULL));
    assert_int_equal(genrun_row_integer(row, "lines", 0), 2);
    assert_string_equal(genrun_notes(g), "");
    genrun_row_free(row);
    fclose(stream);
    for (int i = 0; i < 2; i++) {
        stream = lines("one\ntwo\n");
        ok(g, genrun_batch_submit(g, i == 0 ? id : again, &created, stream, "a.txt", &options, NULL, NULL));
        assert_int_equal(created, i == 0);
        fclose(stream);
    }
    assert_string_equal(again, id);
    ok(g, genrun_wait(g, id, 0, NULL, NULL));
    char text[512] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    ok(g, genrun_batch_results(g, &written, id, out, NULL));
    fclose(out);
    assert_int_equal(written, 2);
    assert_non_null(strstr(text, "\"two\""));
    ok(g, genrun_batch_retry(g, &changed, id, 0));
    assert_int_equal(changed, 0);
    options.client_id = NULL;
    options.paused = 1;
    stream = lines("three\n");
    ok(g, genrun_batch_submit(g, id, NULL, stream, "b.txt", &options, NULL, NULL));
    fclose(stream);
    ok(g, genrun_batch_cancel(g, id, "wrong"));
    refused(g, genrun_batch_resume(g, id), GENRUN_CONFLICT, "cancelled");
    stream = lines("{\"prompt\": \"a\"}\n{broken\n");
    refused(g, genrun_batch_submit(g, id, NULL, stream, "c.jsonl", &options, NULL, NULL), GENRUN_INVALID,
            "c.jsonl:2: ");
    fclose(stream);
}

// Long enough that progress is told at all.
static void test_interrupted_submit(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_filter filter = GENRUN_FILTER_INIT;
    int calls = 0, rows = 0;
    options.model = "echo";
    FILE *stream = tmpfile();
    for (int i = 0; i < 20000; i++)
        fprintf(stream, "line %d\n", i);
    rewind(stream);
    refused(g, genrun_batch_submit(g, id, NULL, stream, "long.txt", &options, stop_at_once, &calls),
            GENRUN_CONFLICT, "nothing was stored");
    fclose(stream);
    assert_int_equal(calls, 1);
    ok(g, genrun_list(g, &filter, count, &rows));
    assert_int_equal(rows, 0);
}

// ---- running ----

static void note_ready(void *payload, int fd, short events) {
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
    assert_true(events & POLLIN);
    ++*(int *)payload;
}

static void test_watch(void **state) {
    genrun *g = *state;
    int pipe_fds[2], calls = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    ok(g, genrun_watch(g, pipe_fds[0], POLLIN, note_ready, &calls));
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    ok(g, genrun_step(g, 60000)); // returns for the descriptor, not for the time
    assert_int_equal(calls, 1);
    assert_int_equal(write(pipe_fds[1], "y", 1), 1);
    while (calls < 2)
        ok(g, genrun_wait_change(g, 10));
    assert_int_equal(write(pipe_fds[1], "z", 1), 1);
    ok(g, genrun_watch(g, pipe_fds[0], POLLOUT, note_ready, &calls)); // changed: no longer for reading
    ok(g, genrun_step(g, 0));
    assert_int_equal(calls, 2);
    ok(g, genrun_watch(g, pipe_fds[0], 0, NULL, NULL));
    ok(g, genrun_watch(g, pipe_fds[0], 0, NULL, NULL)); // harmless when repeated
    ok(g, genrun_step(g, 0));
    assert_int_equal(calls, 2);
    ok(g, genrun_watch(g, pipe_fds[0], POLLIN, note_ready, &calls)); // left to genrun_close()
    refused(g, genrun_watch(g, 9999, POLLIN, note_ready, &calls), GENRUN_INVALID, "cannot be watched");
    refused(g, genrun_watch(g, pipe_fds[0], POLLIN, NULL, NULL), GENRUN_INVALID, "no function to call");
    close(pipe_fds[1]);
}

struct inner {
    genrun *g;
    int result;
};

static void step_inside(void *payload, int fd, short events) {
    struct inner *inner = payload;
    char byte;
    (void)events;
    assert_int_equal(read(fd, &byte, 1), 1);
    char id[GENRUN_ID_SIZE];
    submit(inner->g, id, "from a callback", NULL); // allowed
    inner->result = genrun_step(inner->g, 0);      // not allowed, and told
}

static void test_step_in_a_callback(void **state) {
    genrun *g = *state;
    struct inner inner = {g, 0};
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    ok(g, genrun_watch(g, pipe_fds[0], POLLIN, step_inside, &inner));
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    ok(g, genrun_step(g, 60000));
    assert_int_equal(inner.result, GENRUN_CONFLICT);
    ok(g, genrun_watch(g, pipe_fds[0], 0, NULL, NULL));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_run_and_stop(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_run_options drain = GENRUN_RUN_OPTIONS_INIT;
    submit(g, id, "x", NULL);
    genrun_stop(g); // asked for before: it ends the next one
    ok(g, genrun_run(g, NULL));
    drain.drain = 1;
    ok(g, genrun_run(g, &drain)); // and only that one
    assert_string_equal(status_of(g, id), "completed");
    submit(g, id, "delayed", NULL);
    genrun_stop(g);
    refused(g, genrun_wait(g, id, 0, NULL, NULL), GENRUN_CONFLICT, "interrupted");
    genrun_stop(g);
    ok(g, genrun_step(g, 60000));
    genrun_stop(g);
    ok(g, genrun_wait_change(g, 60000));
}

static void test_two_handles(void **state) {
    genrun *g = *state, *other = open_handle();
    char id[GENRUN_ID_SIZE];
    genrun_run_options drain = GENRUN_RUN_OPTIONS_INIT;
    drain.drain = 1;
    ok(g, genrun_step(g, 0));
    refused(other, genrun_step(other, 0), GENRUN_CONFLICT, "another runner has this database");
    refused(other, genrun_run(other, &drain), GENRUN_CONFLICT, "another runner has this database");
    submit(other, id, "x", NULL);
    while (strcmp(status_of(other, id), "completed") != 0)
        ok(g, genrun_step(g, 20));
    genrun_close(other);
}

static void test_models(void **state) {
    genrun *g = *state;
    int rows = 0;
    ok(g, genrun_models(g, count, &rows)); // before there is a database
    assert_int_equal(rows, 1);
    ok(g, genrun_models_check(g, "echo", count, &rows));
    assert_int_equal(rows, 2);
    refused(g, genrun_models_check(g, "nobody", count, &rows), GENRUN_NOT_FOUND, "nobody");
    char id[GENRUN_ID_SIZE];
    submit(g, id, "x", NULL);
    refused(g, genrun_model_resume(g, "nobody"), GENRUN_NOT_FOUND, "nobody");
    assert_non_null(strstr(genrun_versions(), "SQLite"));
}

static int count_wrong(void *payload, genrun_row *row) {
    *(int *)payload += strcmp(genrun_row_text(row, "state"), "wrong") == 0;
    return 0;
}

static void test_doctor(void **state) {
    (void)state;
    int wrong = 0;
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = database;
    assert_int_equal(genrun_doctor(&options, 1, count_wrong, &wrong), GENRUN_OK);
    assert_int_equal(wrong, 0);
    options.config = "no-such-file.ini";
    assert_int_equal(genrun_doctor(&options, 1, count_wrong, &wrong), GENRUN_WORK_FAILED);
    assert_true(wrong > 0);
}

static void test_care(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    int64_t before = 0, after = 0;
    int rows = 0, from = 0, to = 0, calls = 0;
    refused(g, genrun_check(g, 0, count, &rows), GENRUN_NOT_FOUND, "does not exist");
    submit(g, id, "x", NULL);
    ok(g, genrun_check(g, 0, count, &rows));
    assert_int_equal(rows, 0);
    ok(g, genrun_backup(g, "copy.db", NULL, NULL));
    refused(g, genrun_backup(g, "copy.db", stop_at_once, &calls), GENRUN_INVALID, "copy.db exists already");
    ok(g, genrun_vacuum(g, &before, &after));
    assert_true(before > 0 && after > 0);
    ok(g, genrun_migrate(g, &from, &to, 0));
    assert_int_equal(from, to);
    ok(g, genrun_step(g, 0)); // now this handle runs: the file is not free
    refused(g, genrun_vacuum(g, NULL, NULL), GENRUN_CONFLICT, "has database");
}

static void test_jobs_and_locks(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_row *row = NULL;
    int rows = 0, live = 1;
    ok(g, genrun_jobs(g, count, &rows));
    assert_int_equal(rows, 6);
    refused(g, genrun_job(g, &row, "retenton", 0, NULL, NULL), GENRUN_INVALID, "did you mean 'retention'");
    assert_null(row);
    submit(g, id, "x", "ann");
    for (int dry_run = 0; dry_run < 2; dry_run++)
        for (int i = 0; i < 2; i++) { // with the runner of this handle, too
            ok(g, genrun_job(g, &row, "cleanup_stuck_generation", dry_run, count, NULL));
            assert_string_equal(genrun_row_text(row, "job"), "cleanup_stuck_generation");
            assert_int_equal(genrun_row_integer(row, "found", -1), 0);
            assert_int_equal(genrun_row_integer(row, "dry_run", -1), dry_run);
            genrun_row_free(row);
            ok(g, genrun_job(g, NULL, "checkpoint", dry_run, NULL, NULL));
            ok(g, genrun_step(g, 0));
        }
    rows = 0;
    ok(g, genrun_locks(g, count, &rows));
    assert_int_equal(rows, 0);
    refused(g, genrun_lock_release(g, "account:ann:1", &live), GENRUN_NOT_FOUND,
            "no lock is named 'account:ann:1'");
    assert_int_equal(live, 0);
}

static void test_webhooks(void **state) {
    genrun *g = *state;
    genrun_row *row = NULL;
    int64_t again = -1;
    int rows = 0;
    ok(g, genrun_webhooks(g, count, &rows));
    assert_int_equal(rows, 0);
    refused(g, genrun_webhook_deliveries(g, "app", 0, count, &rows), GENRUN_NOT_FOUND,
            "there is no webhook 'app'");
    refused(g, genrun_webhook_history(g, "app", NULL, count, &rows), GENRUN_NOT_FOUND,
            "there is no webhook 'app'");
    genrun_filter filter = GENRUN_FILTER_INIT;
    filter.status = "lost";
    refused(g, genrun_webhook_history(g, "app", &filter, count, &rows), GENRUN_INVALID, "'lost' is no state");
    refused(g, genrun_webhook_test(g, "app", &row), GENRUN_NOT_FOUND, "add a section [webhook app]");
    assert_null(row);
    refused(g, genrun_webhook_enable(g, "app"), GENRUN_NOT_FOUND, "there is no webhook 'app'");
    refused(g, genrun_webhook_redeliver(g, "7", NULL, &again), GENRUN_NOT_FOUND, "there is no delivery 7");
    ok(g, genrun_webhook_redeliver(g, NULL, NULL, &again));
    assert_int_equal(again, 0);
}

// ---- misuse ----

static void test_refused_specs(void **state) {
    genrun *g = *state;
    static const struct {
        genrun_spec spec;
        const char *part;
    } cases[] = {
        {{.model = "echo"}, "neither a prompt nor a request body: give a prompt"},
        {{.prompt = "x", .model = "ehco"}, "unknown model 'ehco': did you mean 'echo'?"},
        {{.prompt = "x"}, "no model is configured: "},
        {{.prompt = "x", .model = ""}, "is not the name of a model: "},
        {{.prompt = "\xff", .model = "echo"}, "the prompt is not valid UTF-8: convert it"},
        {{.prompt = "x", .model = "echo", .parameters = "["}, "the parameters are not usable: "},
        {{.prompt = "x", .model = "echo", .parameters = "[]"}, "the parameters are not usable: "},
        {{.prompt = "x", .model = "echo", .priority = 1001},
         "priority 1001 is out of range: use -1000 to 1000"},
        {{.prompt = "x", .model = "echo", .delay_ms = -1}, "a delay cannot be negative: "},
        {{.prompt = "x", .model = "echo", .endpoint = "v1"}, "endpoint v1 must begin with /: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char id[GENRUN_ID_SIZE] = "";
        int created = -1;
        refused(g, genrun_submit(g, id, &created, &cases[i].spec), GENRUN_INVALID, cases[i].part);
        assert_int_equal(created, 0);
    }
}

static void test_unknown_ids(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_row *row = NULL;
    refused(g, genrun_get(g, &row, "00000000"), GENRUN_NOT_FOUND, "does not exist");
    submit(g, id, "x", NULL);
    static const char *const bad[] = {"", "1234567", "not an id at all",
                                      "00000000-0000-0000-0000-000000000000"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        row = (genrun_row *)id;
        assert_true(genrun_get(g, &row, bad[i]) == GENRUN_NOT_FOUND || strstr(genrun_message(g), "8"));
        assert_null(row);
        assert_int_not_equal(genrun_cancel(g, bad[i], NULL), GENRUN_OK);
        assert_int_not_equal(genrun_wait(g, bad[i], 0, NULL, NULL), GENRUN_OK);
        assert_int_not_equal(genrun_batch_get(g, &row, bad[i]), GENRUN_OK);
        assert_int_not_equal(genrun_outputs(g, bad[i], NULL, NULL), GENRUN_OK);
    }
    genrun_filter filter = GENRUN_FILTER_INIT;
    filter.after = "no cursor";
    refused(g, genrun_list(g, &filter, NULL, NULL), GENRUN_INVALID, "is not a cursor: ");
    filter = (genrun_filter)GENRUN_FILTER_INIT;
    filter.limit = -1;
    refused(g, genrun_list(g, &filter, NULL, NULL), GENRUN_INVALID, "limit -1 is negative: ");
}

// A batch whose item was refused can still be opened with the others, or abandoned.
static void test_add_after_a_refusal(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_batch *batch = NULL;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_spec good = GENRUN_SPEC_INIT, bad = GENRUN_SPEC_INIT;
    genrun_filter filter = GENRUN_FILTER_INIT;
    int rows = 0;
    good.prompt = bad.prompt = "x";
    good.model = "echo";
    bad.model = "nobody";
    ok(g, genrun_batch_begin(g, &batch, &options));
    ok(g, genrun_batch_add(batch, &good));
    refused(g, genrun_batch_add(batch, &bad), GENRUN_INVALID, "unknown model");
    ok(g, genrun_batch_add(batch, &good));
    ok(g, genrun_batch_open(batch, id));
    ok(g, genrun_list(g, &filter, count, &rows));
    assert_int_equal(rows, 2); // without the refused one
    ok(g, genrun_batch_begin(g, &batch, &options));
    refused(g, genrun_batch_open(batch, id), GENRUN_INVALID, "no item");
    genrun_batch_abandon(NULL);
}

static void test_a_handle_that_did_not_open(void **state) {
    (void)state;
    genrun *g = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    genrun_row *row = NULL;
    char id[GENRUN_ID_SIZE];
    genrun_spec spec = GENRUN_SPEC_INIT;
    spec.prompt = "x";
    spec.model = "echo";
    options.config = "no-such-file.ini";
    int opened = genrun_open(&g, &options); // before the handle is looked at: arguments have no order
    refused(g, opened, GENRUN_CONFIG, "no-such-file.ini");
    refused(g, genrun_get(g, &row, "00000000"), GENRUN_CONFIG, "could not be opened: close it");
    refused(g, genrun_check(g, 0, NULL, NULL), GENRUN_CONFIG, "could not be opened: close it");
    refused(g, genrun_submit(g, id, NULL, &spec), GENRUN_CONFIG, "could not be opened: close it");
    refused(g, genrun_step(g, 0), GENRUN_CONFIG, "could not be opened: close it");
    refused(g, genrun_models(g, NULL, NULL), GENRUN_CONFIG, "could not be opened: close it");
    refused(g, genrun_models_check(g, NULL, NULL, NULL), GENRUN_CONFIG, "could not be opened: close it");
    genrun_close(g);
    genrun_close(NULL);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, ground_enter, ground_leave)
    const struct CMUnitTest tests[] = {
        CASE(test_one),
        CASE(test_lists),
        CASE(test_events),
        CASE(test_changes),
        CASE(test_reports),
        CASE(test_templates),
        CASE(test_batch_from_code),
        CASE(test_batch_from_lines),
        CASE(test_interrupted_submit),
        CASE(test_watch),
        CASE(test_step_in_a_callback),
        CASE(test_run_and_stop),
        CASE(test_two_handles),
        CASE(test_models),
        CASE(test_jobs_and_locks),
        CASE(test_webhooks),
        CASE(test_care),
        CASE(test_doctor),
        CASE(test_refused_specs),
        CASE(test_unknown_ids),
        CASE(test_add_after_a_refusal),
        CASE(test_a_handle_that_did_not_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
