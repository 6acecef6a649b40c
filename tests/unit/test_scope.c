// SPDX-License-Identifier: MIT
// The scope of a handle: function by function, what another user's id gives is what an unknown one gives, and what
// is listed, changed and made is the user's own.
#include "handle_ground.h"
#include "lib/host.h"
#include <sqlite3.h>

// Ann's, bob's and nobody's: a single generation and a batch job of two items each.
static char singles[3][GENRUN_ID_SIZE], batches[3][GENRUN_ID_SIZE];
enum { ANN, BOB, NOBODY };
static const char *const users[] = {"ann", "bob", NULL};

static FILE *lines(const char *text) {
    return fmemopen((void *)(size_t)text, strlen(text), "r");
}

static void fill(genrun *g, int who) {
    genrun_spec spec = GENRUN_SPEC_INIT;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    spec.prompt = "x";
    spec.model = "echo";
    spec.user = users[who];
    spec.client_id = "k";
    ok(g, genrun_submit(g, singles[who], NULL, &spec));
    options.model = "echo";
    options.user = users[who];
    options.client_id = "k";
    FILE *in = lines("{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n");
    ok(g, genrun_batch_submit(g, batches[who], NULL, in, "x.jsonl", &options, NULL, NULL));
    fclose(in);
}

static int enter(void **state) {
    if (ground_enter(state))
        return -1;
    for (int who = ANN; who <= NOBODY; who++)
        fill(*state, who);
    return 0;
}

// ---- every function that takes an id ----

static int count(void *payload, genrun_row *row) {
    (void)row;
    ++*(int *)payload;
    return 0;
}

static int64_t changed;
static int rows;

static int get(genrun *g, const char *id) {
    genrun_row *row = NULL;
    int result = genrun_get(g, &row, id);
    genrun_row_free(row);
    return result;
}
static int outputs(genrun *g, const char *id) {
    return genrun_outputs(g, id, count, &rows);
}
static int output(genrun *g, const char *id) {
    genrun_row *row = NULL;
    int result = genrun_output(g, &row, id, 0);
    genrun_row_free(row);
    return result;
}
static int write_output(genrun *g, const char *id) {
    FILE *out = fopen("/dev/null", "w");
    int result = genrun_write_output(g, id, out);
    fclose(out);
    return result;
}
static int cancel(genrun *g, const char *id) {
    return genrun_cancel(g, id, NULL);
}
static int fail_one(genrun *g, const char *id) {
    return genrun_fail(g, id, NULL);
}
static int dismiss(genrun *g, const char *id) {
    return genrun_dismiss(g, id, 0);
}
static int batch_get(genrun *g, const char *id) {
    genrun_row *row = NULL;
    int result = genrun_batch_get(g, &row, id);
    genrun_row_free(row);
    return result;
}
static int batch_items(genrun *g, const char *id) {
    return genrun_batch_items(g, id, NULL, count, &rows);
}
static int batch_pause(genrun *g, const char *id) {
    return genrun_batch_pause(g, id, NULL);
}
static int batch_cancel(genrun *g, const char *id) {
    return genrun_batch_cancel(g, id, NULL);
}
static int batch_retry(genrun *g, const char *id) {
    return genrun_batch_retry(g, &changed, id, 0);
}
static int process_next(genrun *g, const char *id) {
    genrun_row *row = NULL;
    int result = genrun_batch_process_next(g, &row, id, 0);
    genrun_row_free(row);
    return result;
}
static int results(genrun *g, const char *id) {
    FILE *out = fopen("/dev/null", "w");
    int result = genrun_batch_results(g, NULL, id, out, NULL);
    fclose(out);
    return result;
}
static int events(genrun *g, const char *id) {
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.id = id;
    return genrun_events(g, &filter, count, &rows);
}
static int wait_for(genrun *g, const char *id) {
    return genrun_wait(g, id, 0, NULL, NULL);
}

static int process(genrun *g, const char *id) {
    genrun_row *row = NULL;
    int result = genrun_process(g, &row, NULL, id);
    genrun_row_free(row);
    return result;
}
static int asked(genrun *g, const char *id) {
    int open;
    return genrun_asked(g, &open, id);
}
static int ask_next(genrun *g, const char *id) {
    char item[GENRUN_ID_SIZE];
    return genrun_batch_ask_next(g, item, id);
}

typedef int (*with_id)(genrun *g, const char *id);
static const struct {
    const char *name;
    with_id call;
} with_ids[] = {
    {"get", get},
    {"outputs", outputs},
    {"output", output},
    {"write_output", write_output},
    {"cancel", cancel},
    {"fail", fail_one},
    {"retry", genrun_retry},
    {"recover", genrun_recover},
    {"dismiss", dismiss},
    {"process", process},
    {"asked", asked},
    {"batch_ask_next", ask_next},
    {"batch_get", batch_get},
    {"batch_items", batch_items},
    {"batch_pause", batch_pause},
    {"batch_resume", genrun_batch_resume},
    {"batch_cancel", batch_cancel},
    {"batch_retry", batch_retry},
    {"batch_process_next", process_next},
    {"batch_results", results},
    {"events", events},
    {"wait", wait_for},
};

// The message, with the id taken out.
static void blank_id(char *out, size_t size, const char *message, const char *id) {
    size_t used = 0;
    for (const char *at = message; *at && used + 1 < size;)
        if (strncmp(at, id, strlen(id)) == 0) {
            out[used++] = '*';
            at += strlen(id);
        } else {
            out[used++] = *at++;
        }
    out[used] = 0;
}

static void missing_alike(genrun *g, const char *name, with_id call, const char *foreign) {
    char unknown[GENRUN_ID_SIZE], first[1024], second[1024];
    snprintf(unknown, sizeof unknown, "0%s", foreign + 1);
    if (strlen(foreign) == 8)
        snprintf(unknown, sizeof unknown, "00000000");
    assert_int_equal(call(g, unknown), GENRUN_NOT_FOUND);
    blank_id(first, sizeof first, genrun_message(g), unknown);
    if (call(g, foreign) != GENRUN_NOT_FOUND)
        fail_msg("genrun_%s finds %s: %s", name, foreign, genrun_message(g));
    blank_id(second, sizeof second, genrun_message(g), foreign);
    assert_string_equal(first, second);
}

static void test_ids_of_others(void **state) {
    genrun *g = *state;
    host_scope(g, "ann");
    for (size_t i = 0; i < sizeof with_ids / sizeof *with_ids; i++)
        for (int who = BOB; who <= NOBODY; who++) {
            // One of the other kind is missing, too, and in the same words.
            missing_alike(g, with_ids[i].name, with_ids[i].call, singles[who]);
            missing_alike(g, with_ids[i].name, with_ids[i].call, batches[who]);
            missing_alike(g, with_ids[i].name, with_ids[i].call, singles[who] + 28);
            missing_alike(g, with_ids[i].name, with_ids[i].call, batches[who] + 28);
        }
    // Nothing of it has changed.
    host_scope(g, NULL);
    for (int who = BOB; who <= NOBODY; who++) {
        genrun_row *row = NULL;
        ok(g, genrun_get(g, &row, singles[who]));
        assert_string_equal(genrun_row_text(row, "status"), "queued");
        genrun_row_free(row);
        ok(g, genrun_batch_get(g, &row, batches[who]));
        assert_int_equal(genrun_row_integer(row, "queued_items", 0), 2);
        assert_string_equal(genrun_row_text(row, "status"), "queued");
        genrun_row_free(row);
    }
}

static void test_own_ids(void **state) {
    genrun *g = *state;
    host_scope(g, "ann");
    ok(g, get(g, singles[ANN]));
    ok(g, get(g, singles[ANN] + 28));
    // Of its own things a user learns which kind an id is of.
    assert_int_equal(get(g, batches[ANN]), GENRUN_NOT_FOUND);
    assert_non_null(strstr(genrun_message(g), "is a batch job, not a generation"));
    ok(g, cancel(g, singles[ANN]));
    ok(g, genrun_retry(g, singles[ANN]));
    ok(g, fail_one(g, singles[ANN]));
    ok(g, dismiss(g, singles[ANN]));
    ok(g, batch_pause(g, batches[ANN]));
    ok(g, genrun_batch_resume(g, batches[ANN]));
    ok(g, process_next(g, batches[ANN]));
    ok(g, wait_for(g, batches[ANN]));
    ok(g, results(g, batches[ANN]));
    rows = 0;
    ok(g, batch_items(g, batches[ANN]));
    assert_int_equal(rows, 2);
    rows = 0;
    ok(g, events(g, batches[ANN]));
    assert_true(rows > 2);
    rows = 0;
    ok(g, events(g, singles[ANN]));
    assert_true(rows > 2);
}

static int keep_id(void *payload, genrun_row *row) {
    snprintf(payload, GENRUN_ID_SIZE, "%s", genrun_row_text(row, "id"));
    return 0;
}

// Three ids with one tail: of several that fit a user is told of the own ones only.
static void type(const char *sql) {
    sqlite3 *db = NULL;
    char *message = NULL;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(db);
}

static void test_tails(void **state) {
    genrun *g = *state;
    type("INSERT INTO generations (id, prompt, model_id, user_id) VALUES"
         "('01900000-0000-7000-8000-00001234abcd', 'x', 'echo', 'ann'),"
         "('01900000-0000-7000-8000-00011234abcd', 'x', 'echo', 'bob')");
    assert_int_equal(get(g, "1234abcd"), GENRUN_INVALID);
    host_scope(g, "ann");
    ok(g, get(g, "1234abcd"));
    host_scope(g, "eve");
    assert_int_equal(get(g, "1234abcd"), GENRUN_NOT_FOUND);
    host_scope(g, NULL);
    type("INSERT INTO generations (id, prompt, model_id, user_id) VALUES"
         "('01900000-0000-7000-8000-00021234abcd', 'x', 'echo', 'ann')");
    host_scope(g, "ann");
    assert_int_equal(get(g, "1234abcd"), GENRUN_INVALID);
    assert_non_null(strstr(genrun_message(g), "00001234abcd"));
    assert_non_null(strstr(genrun_message(g), "00021234abcd"));
    assert_null(strstr(genrun_message(g), "00011234abcd"));
}

// ---- lists and bulk changes ----

static int check_owner(void *payload, genrun_row *row) {
    ++*(int *)payload;
    assert_string_equal(genrun_row_text(row, "user_id"), "ann");
    return 0;
}

static int check_event(void *payload, genrun_row *row) {
    ++*(int *)payload;
    assert_string_equal(genrun_row_text(row, "_user_id"), "ann");
    assert_null(strstr(genrun_row_json(row), "userId"));
    return 0;
}

static void test_lists(void **state) {
    genrun *g = *state;
    genrun_filter filter = GENRUN_FILTER_INIT;
    genrun_event_filter log = GENRUN_EVENT_FILTER_INIT;
    char id[GENRUN_ID_SIZE];
    int n = 0;
    host_scope(g, "ann");
    ok(g, genrun_list(g, NULL, check_owner, &n));
    assert_int_equal(n, 3);
    ok(g, genrun_list(g, &filter, check_owner, &n));
    ok(g, genrun_batch_list(g, &filter, check_owner, &n));
    assert_int_equal(n, 7);
    filter.user = "ann";
    ok(g, genrun_batch_list(g, &filter, keep_id, id));
    assert_string_equal(id, batches[ANN]);
    filter.user = "bob";
    assert_int_equal(genrun_list(g, &filter, count, &n), GENRUN_INVALID);
    assert_int_equal(genrun_stuck(g, &filter, 0, count, &n), GENRUN_INVALID);
    assert_int_equal(genrun_failures(g, &filter, NULL, count, &n), GENRUN_INVALID);
    filter.user = NULL;
    filter.batch = batches[BOB];
    assert_int_equal(genrun_list(g, &filter, count, &n), GENRUN_NOT_FOUND);
    assert_int_equal(genrun_batch_items(g, batches[ANN], &filter, count, &n), GENRUN_NOT_FOUND);
    n = 0;
    ok(g, genrun_events(g, &log, check_event, &n));
    log.limit = 2;
    ok(g, genrun_events(g, &log, check_event, &n));
    log.after = 1;
    ok(g, genrun_events(g, &log, check_event, &n));
    assert_true(n >= 4);
    log.page = 1;
    ok(g, genrun_events(g, &log, check_event, &n));
    log.batch = batches[BOB];
    assert_int_equal(genrun_events(g, &log, count, &n), GENRUN_NOT_FOUND);
    log.batch = NULL;
    log.generation = singles[BOB];
    assert_int_equal(genrun_events(g, &log, count, &n), GENRUN_NOT_FOUND);
    log.generation = NULL;
    log.user = "bob";
    assert_int_equal(genrun_events(g, &log, count, &n), GENRUN_INVALID);
}

static void test_failures(void **state) {
    genrun *g = *state;
    genrun_filter filter = GENRUN_FILTER_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    char id[GENRUN_ID_SIZE];
    int n = 0;
    spec.prompt = "x";
    spec.model = "echo";
    spec.user = "ann";
    ok(g, genrun_submit(g, id, NULL, &spec));
    for (int who = ANN; who <= NOBODY; who++)
        ok(g, genrun_fail(g, singles[who], NULL));
    ok(g, genrun_fail(g, id, NULL));
    host_scope(g, "ann");
    ok(g, genrun_failures(g, NULL, NULL, check_owner, &n));
    assert_int_equal(n, 2);
    ok(g, genrun_failures(g, &filter, "user", check_owner, &n));
    assert_int_equal(n, 3);
    ok(g, genrun_stuck(g, NULL, -1, check_owner, &n));
    assert_int_equal(n, 3);
}

static int has_session_name(void *payload, genrun_row *row) {
    *(int *)payload += genrun_row_text(row, "session_name") != NULL;
    return 0;
}

static void test_names_of_others(void **state) {
    genrun *g = *state;
    genrun_spec spec = GENRUN_SPEC_INIT;
    char id[GENRUN_ID_SIZE];
    int names = 0;
    spec.prompt = "x";
    spec.model = "echo";
    spec.user = "ann";
    spec.session = "plans";
    ok(g, genrun_submit(g, id, NULL, &spec));
    ok(g, genrun_fail(g, id, NULL));
    ok(g, genrun_session_set(g, NULL, "plans", "bob's plans", NULL, "bob"));
    ok(g, genrun_failures(g, NULL, NULL, has_session_name, &names));
    assert_int_equal(names, 1);
    host_scope(g, "ann");
    names = 0;
    ok(g, genrun_failures(g, NULL, NULL, has_session_name, &names));
    assert_int_equal(names, 0);
    host_scope(g, NULL);
    ok(g, genrun_session_set(g, NULL, "plans", NULL, NULL, "ann"));
    host_scope(g, "ann");
    ok(g, genrun_failures(g, NULL, NULL, has_session_name, &names));
    assert_int_equal(names, 1);
}

static void test_bulk(void **state) {
    genrun *g = *state;
    genrun_filter filter = GENRUN_FILTER_INIT;
    host_scope(g, "ann");
    ok(g, genrun_cancel_all(g, &changed, NULL, NULL, 0));
    assert_int_equal(changed, 3);
    ok(g, genrun_retry_all(g, &changed, &filter, 1));
    assert_int_equal(changed, 3);
    ok(g, genrun_dismiss_all(g, &changed, &filter, 0, 0));
    assert_int_equal(changed, 3);
    ok(g, genrun_fail_all(g, &changed, &filter, NULL, 0));
    assert_int_equal(changed, 0);
    ok(g, genrun_recover_all(g, &changed, &filter, 0));
    assert_int_equal(changed, 0);
    filter.user = "bob";
    assert_int_equal(genrun_cancel_all(g, &changed, &filter, NULL, 0), GENRUN_INVALID);
    host_scope(g, "bob");
    ok(g, genrun_cancel_all(g, &changed, NULL, NULL, 1));
    assert_int_equal(changed, 3);
    host_scope(g, NULL);
    ok(g, genrun_cancel_all(g, &changed, NULL, NULL, 1));
    assert_int_equal(changed, 6);
}

// ---- what is made ----

static void test_submit(void **state) {
    genrun *g = *state;
    genrun_spec spec = GENRUN_SPEC_INIT;
    genrun_row *row = NULL;
    char id[GENRUN_ID_SIZE];
    int created = 1;
    spec.prompt = "x";
    spec.model = "echo";
    spec.client_id = "k";
    host_scope(g, "ann");
    ok(g, genrun_submit(g, id, &created, &spec));
    assert_string_equal(id, singles[ANN]);
    assert_int_equal(created, 0);
    spec.client_id = NULL;
    ok(g, genrun_submit(g, id, &created, &spec));
    ok(g, genrun_get(g, &row, id));
    assert_string_equal(genrun_row_text(row, "user_id"), "ann");
    genrun_row_free(row);
    spec.user = "bob";
    assert_int_equal(genrun_submit(g, id, NULL, &spec), GENRUN_INVALID);
    assert_non_null(strstr(genrun_message(g), "user bob is not yours to name"));
}

static void test_batch_submit(void **state) {
    genrun *g = *state;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    genrun_batch *batch = NULL;
    char id[GENRUN_ID_SIZE];
    int n = 0;
    host_scope(g, "ann");
    options.model = "echo";
    options.client_id = "k";
    FILE *in = lines("{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n");
    ok(g, genrun_batch_submit(g, id, NULL, in, "x.jsonl", &options, NULL, NULL));
    fclose(in);
    assert_string_equal(id, batches[ANN]);
    options.client_id = NULL;
    in = lines("{\"prompt\":\"a\"}\n");
    ok(g, genrun_batch_submit(g, id, NULL, in, "x.jsonl", &options, NULL, NULL));
    fclose(in);
    ok(g, genrun_batch_items(g, id, NULL, count, &n));
    assert_int_equal(n, 1);
    spec.prompt = "x";
    ok(g, genrun_batch_begin(g, &batch, &options));
    ok(g, genrun_batch_add(batch, &spec));
    spec.user = "bob";
    assert_int_equal(genrun_batch_add(batch, &spec), GENRUN_INVALID);
    ok(g, genrun_batch_open(batch, id));
    ok(g, genrun_batch_items(g, id, NULL, count, &n));
    assert_int_equal(n, 2);
    options.user = "bob";
    assert_int_equal(genrun_batch_begin(g, &batch, &options), GENRUN_INVALID);
}

static void not_for_a_user(genrun *g, int result) {
    assert_int_equal(result, GENRUN_NOT_FOUND);
    assert_non_null(strstr(genrun_message(g), "ask as an admin"));
}

// ---- files and batches of OpenAI's API ----

static void test_files(void **state) {
    genrun *g = *state;
    genrun_file_options file = GENRUN_FILE_OPTIONS_INIT;
    genrun_openai_options batch = GENRUN_OPENAI_OPTIONS_INIT;
    genrun_row *row = NULL, *made = NULL;
    char path[] = "content-XXXXXX", only[128];
    int fd = mkstemp(path), content = -1;
    assert_true(fd >= 0 && unlink(path) == 0);
    file.user = "bob";
    ok(g, genrun_file_add(g, &row, fd, &file));
    close(fd);
    batch.user = "bob";
    batch.input_file_id = genrun_row_text(row, "id");
    batch.endpoint = "/v1/embeddings";
    ok(g, genrun_openai_create(g, &made, NULL, &batch, NULL));
    for (int mine = 0; mine < 2; mine++) {
        genrun_row *got = NULL;
        int code = mine ? GENRUN_OK : GENRUN_NOT_FOUND, more, listed = 0;
        host_scope(g, mine ? "bob" : "ann");
        assert_int_equal(genrun_openai_get(g, &got, genrun_row_text(made, "id")), code);
        genrun_row_free(got);
        assert_int_equal(genrun_openai_cancel(g, &got, genrun_row_text(made, "id")), code);
        genrun_row_free(got);
        ok(g, genrun_openai_list(g, NULL, 0, &more, count, &listed));
        assert_int_equal(genrun_file_get(g, &got, genrun_row_text(row, "id")), code);
        genrun_row_free(got);
        assert_int_equal(genrun_file_open(g, &content, genrun_row_text(row, "id")), code);
        if (content >= 0)
            close(content);
        ok(g, genrun_file_list(g, NULL, &more, count, &listed));
        assert_int_equal(listed, 2 * mine);
        assert_int_equal(genrun_file_delete(g, genrun_row_text(row, "id")), code);
    }
    not_for_a_user(g, genrun_openai_prepare(g));
    int64_t removed;
    not_for_a_user(g, genrun_file_sweep(g, &removed));
    genrun_row_free(row);
    genrun_row_free(made);
    snprintf(only, sizeof only, "%s/.database", files);
    assert_int_equal(unlink(only), 0);
    assert_int_equal(rmdir(files), 0); // nothing else was in it
}

// ---- what is nobody's own ----

static void test_rest(void **state) {
    genrun *g = *state;
    genrun_row *row = NULL;
    int n = 0;
    char id[GENRUN_ID_SIZE], key[GENRUN_KEY_SIZE];
    host_scope(g, "ann");
    ok(g, genrun_models(g, count, &n));
    ok(g, genrun_templates(g, count, &n));
    assert_int_equal(genrun_template_get(g, &row, "none"), GENRUN_NOT_FOUND);
    not_for_a_user(g, genrun_template_add(g, id, "t", "x", 1, NULL, NULL));
    not_for_a_user(g, genrun_template_remove(g, "t"));
    not_for_a_user(g, genrun_key_add(g, key, NULL, "ann", NULL, NULL));
    not_for_a_user(g, genrun_keys(g, count, &n));
    not_for_a_user(g, genrun_key_revoke(g, "00000000"));
    not_for_a_user(g, genrun_stats(g, &row));
    not_for_a_user(g, genrun_locks(g, count, &n));
    not_for_a_user(g, genrun_lock_release(g, "x", NULL));
    not_for_a_user(g, genrun_webhooks(g, NULL, NULL));
    not_for_a_user(g, genrun_webhook_deliveries(g, "x", 0, NULL, NULL));
    not_for_a_user(g, genrun_webhook_history(g, "x", NULL, NULL, NULL));
    not_for_a_user(g, genrun_webhook_test(g, "x", NULL));
    not_for_a_user(g, genrun_webhook_redeliver(g, "7", NULL, NULL));
    not_for_a_user(g, genrun_webhook_enable(g, "x"));
    not_for_a_user(g, genrun_jobs(g, count, &n));
    not_for_a_user(g, genrun_job(g, &row, "retention", 1, NULL, NULL));
    not_for_a_user(g, genrun_left(g, count, &n));
    not_for_a_user(g, genrun_model_resume(g, "echo"));
    not_for_a_user(g, genrun_models_check(g, NULL, count, &n));
    not_for_a_user(g, genrun_user_set(g, NULL, "ann", "Ann", NULL, NULL));
    not_for_a_user(g, genrun_user_get(g, &row, "ann"));
    not_for_a_user(g, genrun_check(g, 1, count, &n));
    not_for_a_user(g, genrun_backup(g, "copy.db", NULL, NULL));
    not_for_a_user(g, genrun_vacuum(g, NULL, NULL));
    not_for_a_user(g, genrun_migrate(g, NULL, NULL, 1));
    not_for_a_user(g, genrun_step(g, 0));
    host_scope(g, NULL);
    ok(g, genrun_stats(g, &row));
    genrun_row_free(row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ids_of_others, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_own_ids, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_tails, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_lists, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_failures, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_names_of_others, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_bulk, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_submit, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_batch_submit, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_files, enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_rest, enter, ground_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
