// SPDX-License-Identifier: MIT
// What is asked to be run next, without a wait for it; and lists as a page of an API needs them: with outputs and
// what is stuck, ended by their reader, and flat in memory whatever prompts weigh.
#include "handle_ground.h"

static void submit(genrun *g, char id[GENRUN_ID_SIZE], const char *prompt, int64_t delay_ms) {
    genrun_spec spec = GENRUN_SPEC_INIT;
    spec.prompt = prompt;
    spec.model = "echo";
    spec.delay_ms = delay_ms;
    ok(g, genrun_submit(g, id, NULL, &spec));
}

// Its status, and whether what was asked for is still open.
static const char *status_of(genrun *g, const char *id, int *open) {
    static char status[16];
    genrun_row *row = NULL;
    ok(g, genrun_asked(g, open, id));
    ok(g, genrun_get(g, &row, id));
    snprintf(status, sizeof status, "%s", genrun_row_text(row, "status"));
    genrun_row_free(row);
    return status;
}

static int process(genrun *g, const char *id) {
    genrun_row *row = NULL;
    int asked = -1;
    ok(g, genrun_process(g, &row, &asked, id));
    assert_string_equal(genrun_row_text(row, "id"), id);
    genrun_row_free(row);
    return asked;
}

static void test_one(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE], cancelled[GENRUN_ID_SIZE];
    int open = -1;
    submit(g, id, "x", 3600000);
    submit(g, cancelled, "x", 3600000);
    ok(g, genrun_step(g, 0));
    assert_string_equal(status_of(g, id, &open), "queued");
    assert_int_equal(open, 0);
    assert_int_equal(process(g, id), 1);
    assert_int_equal(process(g, id), 1); // twice is once
    assert_string_equal(status_of(g, id, &open), "queued");
    assert_int_equal(open, 1);
    while (status_of(g, id, &open), open)
        ok(g, genrun_step(g, 100));
    assert_string_equal(status_of(g, id, &open), "completed");
    assert_int_equal(process(g, id), 0);
    ok(g, genrun_cancel(g, cancelled, NULL));
    assert_int_equal(process(g, cancelled), 0);
    ok(g, genrun_step(g, 0));
    assert_string_equal(status_of(g, cancelled, &open), "cancelled");
}

// More than the runner looks at in one transaction, asked for in the same moment: none is forgotten.
static void test_many_at_once(void **state) {
    enum { MANY = 50, STEPS = 400 };
    genrun *g = *state;
    static char ids[MANY][GENRUN_ID_SIZE];
    int open = 1;
    ok(g, genrun_step(g, 0));
    for (int i = 0; i < MANY; i++) {
        submit(g, ids[i], "x", 3600000);
        assert_int_equal(process(g, ids[i]), 1);
    }
    for (int i = 0, steps = 0; i < MANY; i++) {
        for (; status_of(g, ids[i], &open), open; steps++) {
            assert_true(steps < STEPS);
            ok(g, genrun_step(g, 20));
        }
        assert_string_equal(status_of(g, ids[i], &open), "completed");
    }
}

static void test_next_of_a_batch(void **state) {
    genrun *g = *state;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_row *row = NULL;
    char batch[GENRUN_ID_SIZE], first[GENRUN_ID_SIZE], second[GENRUN_ID_SIZE];
    int open = 0;
    options.model = "echo";
    options.paused = 1;
    FILE *in = fmemopen((void *)(size_t) "one\ntwo\n", 8, "r");
    ok(g, genrun_batch_submit(g, batch, NULL, in, "a.txt", &options, NULL, NULL));
    fclose(in);
    ok(g, genrun_batch_ask_next(g, first, batch));
    ok(g, genrun_batch_ask_next(g, second, batch));
    assert_string_not_equal(first, second);
    while (status_of(g, first, &open), open)
        ok(g, genrun_step(g, 100));
    assert_string_equal(status_of(g, first, &open), "completed");
    while (status_of(g, second, &open), open)
        ok(g, genrun_step(g, 100));
    ok(g, genrun_batch_ask_next(g, first, batch));
    assert_string_equal(first, "");
    // An item of a cancelled one is asked for in vain.
    in = fmemopen((void *)(size_t) "one\n", 4, "r");
    ok(g, genrun_batch_submit(g, batch, NULL, in, "a.txt", &options, NULL, NULL));
    fclose(in);
    ok(g, genrun_batch_ask_next(g, first, batch));
    ok(g, genrun_batch_cancel(g, batch, NULL));
    assert_int_equal(process(g, first), 0);
    assert_int_equal(genrun_batch_ask_next(g, first, batch), GENRUN_CONFLICT);
    assert_int_equal(genrun_user_get(g, &row, "ann"), GENRUN_NOT_FOUND);
    ok(g, genrun_user_set(g, NULL, "ann", "Ann", NULL, "ann@x"));
    ok(g, genrun_user_get(g, &row, "ann"));
    assert_string_equal(genrun_row_text(row, "display_name"), "Ann");
    genrun_row_free(row);
}

// ---- pages ----

struct page {
    int wanted, rows;
    size_t bytes;
    char last[GENRUN_ID_SIZE], first[GENRUN_ID_SIZE];
};

static int take(void *payload, genrun_row *row) {
    struct page *p = payload;
    snprintf(p->rows ? p->last : p->first, GENRUN_ID_SIZE, "%s", genrun_row_text(row, "id"));
    snprintf(p->last, GENRUN_ID_SIZE, "%s", genrun_row_text(row, "id"));
    p->bytes += strlen(genrun_row_json(row));
    return ++p->rows == p->wanted;
}

static void test_a_reader_that_ends_its_page(void **state) {
    genrun *g = *state;
    char id[7][GENRUN_ID_SIZE];
    genrun_filter filter = GENRUN_FILTER_INIT;
    for (int i = 0; i < 7; i++)
        submit(g, id[i], "x", 0);
    struct page page = {.wanted = 3};
    ok(g, genrun_list(g, &filter, take, &page));
    assert_string_equal(page.last, id[4]);
    assert_non_null(filter.after = genrun_cursor(g));
    page = (struct page){.wanted = 4};
    char cursor[32];
    snprintf(cursor, sizeof cursor, "%s", filter.after);
    filter.after = cursor;
    ok(g, genrun_list(g, &filter, take, &page));
    assert_string_equal(page.first, id[3]);
    assert_string_equal(page.last, id[0]);
    assert_null(genrun_cursor(g)); // it took the last one
}

static void test_batch_jobs_in_pages(void **state) {
    genrun *g = *state;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_filter filter = GENRUN_FILTER_INIT;
    char id[5][GENRUN_ID_SIZE], cursor[32];
    options.model = "echo";
    for (int i = 0; i < 5; i++) {
        FILE *in = fmemopen((void *)(size_t) "one\n", 4, "r");
        ok(g, genrun_batch_submit(g, id[i], NULL, in, "a.txt", &options, NULL, NULL));
        fclose(in);
    }
    struct page page = {.wanted = 2};
    ok(g, genrun_batch_list(g, &filter, take, &page));
    assert_string_equal(page.last, id[3]);
    assert_non_null(genrun_cursor(g));
    snprintf(cursor, sizeof cursor, "%s", genrun_cursor(g));
    filter.after = cursor;
    filter.limit = 2;
    page = (struct page){0};
    ok(g, genrun_batch_list(g, &filter, take, &page));
    assert_string_equal(page.first, id[2]);
    assert_string_equal(page.last, id[1]);
    snprintf(cursor, sizeof cursor, "%s", genrun_cursor(g));
    page = (struct page){.wanted = 1};
    ok(g, genrun_batch_list(g, &filter, take, &page));
    assert_string_equal(page.last, id[0]);
    assert_null(genrun_cursor(g)); // it took the last one
}

static void test_large_prompts(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_filter filter = GENRUN_FILTER_INIT;
    enum { SIZE = 3 << 20 };
    char *prompt = malloc(SIZE + 1);
    assert_non_null(prompt);
    memset(prompt, 'p', SIZE);
    prompt[SIZE] = 0;
    for (int i = 0; i < 5; i++)
        submit(g, id, prompt, 0);
    free(prompt);
    // All of them, though no two fit what is held at a time.
    struct page page = {0};
    filter.limit = 4;
    ok(g, genrun_list(g, &filter, take, &page));
    assert_int_equal(page.rows, 4);
    assert_true(page.bytes > 4 * (size_t)SIZE);
    assert_non_null(genrun_cursor(g));
}

static int keep_json(void *payload, genrun_row *row) {
    snprintf(payload, 4096, "%s", genrun_row_json(row));
    return 0;
}

static void test_outputs_in_lists(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE], json[4096];
    submit(g, id, "hello", 0);
    ok(g, genrun_list(g, NULL, keep_json, json));
    assert_non_null(strstr(json, "\"stuck\":false,\"outputs\":[]"));
    ok(g, genrun_wait(g, id, 0, NULL, NULL));
    ok(g, genrun_list(g, NULL, keep_json, json));
    assert_non_null(
        strstr(json, "\"outputs\":[{\"index\":0,\"mime\":\"text/plain\",\"bytes\":5,\"partial\":false}]"));
}

static void test_one_output(void **state) {
    genrun *g = *state;
    char id[GENRUN_ID_SIZE];
    genrun_row *row = NULL;
    submit(g, id, "hello", 0);
    assert_int_equal(genrun_output(g, &row, id, 0), GENRUN_NOT_FOUND);
    ok(g, genrun_wait(g, id, 0, NULL, NULL));
    ok(g, genrun_output(g, &row, id, 0));
    assert_string_equal(genrun_row_text(row, "content"), "hello");
    genrun_row_free(row);
    assert_int_equal(genrun_output(g, &row, id, 1), GENRUN_NOT_FOUND);
    assert_int_equal(genrun_output(g, &row, id, -1), GENRUN_NOT_FOUND);
    assert_int_equal(genrun_output(g, &row, id, 1024), GENRUN_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one, ground_enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_many_at_once, ground_enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_next_of_a_batch, ground_enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_a_reader_that_ends_its_page, ground_enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_batch_jobs_in_pages, ground_enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_large_prompts, ground_enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_outputs_in_lists, ground_enter, ground_leave),
        cmocka_unit_test_setup_teardown(test_one_output, ground_enter, ground_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
