// SPDX-License-Identifier: MIT
// What a box keeps of its sync, the orders it carries out, and what the library says where there is no Postgres.
#include "genrun.h"
#include "queue/sync.h"
#include "unit/queue_ground.h"

static void order(int64_t id, bool is_batch, const char *target, const char *change, const char *refused) {
    struct sync_outcome out;
    const struct sync_order o = {id, 1000 + id, "ann", is_batch, target, change};
    OK(db_begin(db, 1000, &error));
    OK(queue_sync_order(db, &o, &out, &error));
    OK(db_commit(db, &error));
    assert_int_equal(out.applied, refused == NULL);
    assert_int_equal(out.gone, refused && strstr(refused, "not there") != NULL);
    if (refused && !strstr(out.reason, refused))
        fail_msg("'%s' is not in: %s", refused, out.reason);
    free(out.reason);
}

static void submit_one(char id[ID_SIZE]) {
    bool created;
    const struct spec spec = {.prompt = "hello", .model_id = "echo", .parameters = "{\"keep\":1}"};
    OK(queue_submit(db, &spec, id, &created, &error));
}

static void test_orders(void **state) {
    (void)state;
    char id[ID_SIZE];
    submit_one(id);
    order(1, false, id, "{\"status\":\"failed\",\"error_message\":\"no\"}", NULL);
    assert_string_equal(text("SELECT status||' '||error_message||' '||error_type FROM generations"),
                        "failed no OperatorError");
    order(2, false, id, "{\"dismissed_at\":\"2026-01-01T00:00:00Z\"}", NULL);
    assert_int_equal(number("SELECT dismissed_at IS NOT NULL FROM generations"), 1);
    order(3, false, id, "{\"status\":\"cancelled\"}", "a failed generation can only go back to queued");
    order(4, false, id, "{\"status\":\"queued\",\"priority\":5,\"parameters\":{\"keep\":1,\"k\":2}}", NULL);
    assert_string_equal(text("SELECT status||priority||parameters FROM generations"),
                        "queued5{\"keep\":1,\"k\":2}");
    // Done already: not once more.
    order(1, false, id, "{\"status\":\"failed\"}", NULL);
    order(3, false, id, "{\"status\":\"cancelled\"}", "can only go back");
    assert_string_equal(text("SELECT status FROM generations"), "queued");
    order(5, false, id, "{\"priority\":5000}", "between -1000 and 1000");
    order(6, false, id, "{\"status\":\"completed\"}", "illegal transition");
    order(7, false, "00000000-0000-7000-8000-000000000000", "{\"status\":\"cancelled\"}",
          "not there any more");
    order(8, true, "00000000-0000-7000-8000-000000000000", "{\"status\":\"paused\"}", "not there any more");
    assert_int_equal(
        number("SELECT count(*) FROM logs WHERE event='order.applied' AND generation_id='%s'", id), 3);
    assert_int_equal(number("SELECT count(*) FROM logs WHERE event='order.refused'"), 5);
}

static void test_state(void **state) {
    (void)state;
    struct sync_state s;
    OK(queue_sync_state(db, &s, &error));
    assert_false(s.begun);
    OK(queue_sync_begin(db, "one", &error));
    OK(queue_sync_begin(db, "two", &error));
    OK(queue_sync_health(db, SYNC_WELL, NULL, 0, &error));
    OK(queue_sync_health(db, SYNC_OFFLINE, "no route", 4, &error));
    OK(queue_sync_health(db, SYNC_OFFLINE, "no route either", 5, &error));
    OK(queue_sync_state(db, &s, &error));
    assert_true(s.begun && !queue_sync_is_settled(&s) && s.offline_since > 0);
    assert_string_equal(s.node, "two");
    assert_string_equal(s.reason, "no route");
    assert_int_equal(s.contact_at, 4);
    queue_sync_state_clear(&s);
    OK(queue_sync_set_session(db, "me", &error));
    const struct sync_position to = {7, 3, -1, SYNC_WALK_DONE, 5, 6};
    OK(queue_sync_move(db, &to, &error));
    OK(queue_sync_begin(db, "three", &error));
    OK(queue_sync_health(db, SYNC_WELL, NULL, 0, &error));
    OK(queue_sync_health(db, SYNC_WELL, NULL, 0, &error));
    OK(queue_sync_refuse(db, "logs", "12", "too odd", &error));
    OK(queue_sync_refuse(db, "logs", "12", "too odd", &error));
    OK(queue_sync_state(db, &s, &error));
    assert_true(queue_sync_is_settled(&s) && s.offline_since == 0 && !s.reason);
    assert_string_equal(s.node, "two");
    assert_string_equal(s.session, "me");
    assert_string_equal(s.last_error, "no route");
    assert_memory_equal(&s.at, &to, sizeof to);
    assert_int_equal(s.refused, 1);
    queue_sync_state_clear(&s);
    OK(queue_sync_refuse(db, "outputs", "12", "too odd", &error));
    OK(queue_sync_taken(db, "logs", "[\"11\",\"12\"]", &error));
    assert_string_equal(text("SELECT group_concat(table_name) FROM sync_refused"), "outputs");
    OK(queue_sync_taken(db, "outputs", "[\"12\"]", &error));
    assert_int_equal(number("SELECT count(*) FROM sync_refused"), 0);
    assert_string_equal(text("SELECT group_concat(event) FROM (SELECT event FROM logs WHERE event LIKE "
                             "'sync.%%' ORDER BY id)"),
                        "sync.offline,sync.online,sync.refused,sync.refused");
}

// Away, failing and well are told when one becomes another; of what fails also a new reason.
static void test_health(void **state) {
    (void)state;
    static const struct {
        enum sync_health health;
        const char *reason;
        bool news;
    } cases[] = {
        {SYNC_WELL, NULL, false},         {SYNC_FAILING, "no table", true}, {SYNC_FAILING, "no table", false},
        {SYNC_FAILING, "no right", true}, {SYNC_OFFLINE, "no route", true}, {SYNC_OFFLINE, "no name", false},
        {SYNC_FAILING, "no right", true}, {SYNC_WELL, NULL, true},          {SYNC_WELL, NULL, false},
        {SYNC_OFFLINE, "no route", true}, {SYNC_WELL, NULL, true}};
    OK(queue_sync_begin(db, "box", &error));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sync_state s;
        int64_t before = number("SELECT count(*) FROM logs");
        OK(queue_sync_health(db, cases[i].health, cases[i].reason, 0, &error));
        assert_int_equal(number("SELECT count(*) FROM logs") - before, cases[i].news);
        OK(queue_sync_state(db, &s, &error));
        assert_int_equal(s.offline_since > 0, cases[i].health == SYNC_OFFLINE);
        assert_int_equal(s.failed_since > 0, cases[i].health == SYNC_FAILING);
        assert_int_equal(s.reason != NULL, cases[i].health != SYNC_WELL);
        queue_sync_state_clear(&s);
    }
    assert_string_equal(text("SELECT group_concat(event) FROM (SELECT event FROM logs ORDER BY id)"),
                        "sync.failed,sync.failed,sync.offline,sync.failed,sync.resumed,sync.offline,"
                        "sync.online");
}

// One at a time, of all connections; who waits is seen by the one that has it.
static void test_right(void **state) {
    (void)state;
    struct db *other = NULL;
    OK(db_open(&other, path, DB_LOOK, &error));
    assert_true(db_sync_take(db, false));
    assert_true(db_sync_take(db, false));
    assert_false(db_sync_take(other, false));
    assert_false(db_sync_is_wanted(db));
    assert_false(db_sync_take(other, true));
    assert_true(db_sync_is_wanted(db));
    assert_false(db_sync_is_wanted(other));
    db_sync_give(db);
    assert_true(db_sync_take(other, true));
    assert_false(db_sync_is_wanted(db));
    assert_false(db_sync_take(db, true));
    db_sync_give(db); // waits no more
    assert_false(db_sync_is_wanted(other));
    db_close(other);
    assert_true(db_sync_take(db, false));
    db_sync_give(db);
}

static void test_library(void **state) {
    (void)state;
    genrun *g = NULL;
    genrun_row *row = NULL;
    const genrun_options options = {.config = "/dev/null", .database = path};
    unsetenv("GENRUN_SYNC_URL");
    assert_int_equal(genrun_open(&g, &options), GENRUN_OK);
    assert_int_equal(genrun_sync_push(g, &row), GENRUN_CONFIG);
    assert_null(row);
    assert_non_null(strstr(genrun_message(g), "GENRUN_SYNC_URL"));
    // Nobody listens there.
    setenv("GENRUN_SYNC_URL", "postgresql://ann:hush@127.0.0.1:1/none", 1);
#ifdef HAVE_PG
    const int code = GENRUN_REMOTE;
#else
    const int code = GENRUN_CONFIG;
#endif
    assert_int_equal(genrun_sync_init(g, &row, 0), code);
    assert_null(row);
    assert_int_equal(genrun_sync_push(g, &row), code);
    assert_null(strstr(genrun_message(g), "hush"));
    assert_non_null(row);
    assert_int_equal(genrun_row_integer(row, "rows", -1), 0);
    genrun_row_free(row);
    assert_int_equal(genrun_sync_status(g, &row, NULL, NULL), code);
    assert_int_equal(genrun_row_integer(row, "reachable", -1), 0);
    genrun_row_free(row);
    unsetenv("GENRUN_SYNC_URL");
    genrun_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_orders, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_state, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_health, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_right, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_library, ground_open, ground_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
