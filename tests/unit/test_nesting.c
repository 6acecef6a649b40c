// SPDX-License-Identifier: MIT
// Transactions in transactions: parts of one whole, each undone alone, and none of it on disk when the whole is lost.
#include "queue_ground.h"

static void put(const char *text) {
    OK(db_run(db, &error, "INSERT INTO probe (text) VALUES (?)", "t", text));
}

static int set_up(void **state) {
    if (ground_open(state))
        return -1;
    type("CREATE TABLE probe (text TEXT UNIQUE)");
    return 0;
}

static const char *kept(void) {
    return text("SELECT group_concat(text,' ') FROM (SELECT text FROM probe ORDER BY text)");
}

static void begin(void) {
    OK(db_begin(db, 1000, &error));
}

static void commit(void) {
    OK(db_commit(db, &error));
}

static void test_parts(void **state) {
    (void)state;
    assert_false(db_is_begun(db));
    begin();
    assert_true(db_is_begun(db));
    put("a");
    begin();
    put("b");
    begin();
    put("c");
    db_rollback(db);
    put("d");
    commit();
    begin();
    put("e");
    begin();
    put("f");
    commit();
    db_rollback(db); // with the part in it
    assert_true(db_is_begun(db));
    commit();
    assert_false(db_is_begun(db));
    assert_string_equal(kept(), "a b d");
    // An end too many is no harm.
    db_rollback(db);
    begin();
    put("z");
    begin();
    put("y");
    commit();
    db_rollback(db);
    assert_string_equal(kept(), "a b d");
}

// A refused statement undoes itself alone, and its part goes on or not as its owner likes.
static void test_a_refused_part(void **state) {
    (void)state;
    begin();
    put("a");
    begin();
    put("b");
    assert_int_equal(db_run(db, &error, "INSERT INTO probe (text) VALUES (?)", "t", "a"), ERR_CONFLICT);
    assert_true(db_was_refused(db));
    db_rollback(db);
    begin();
    put("c");
    commit();
    commit();
    assert_string_equal(kept(), "a c");
}

// What was begun inside is seen by nobody before the whole is committed.
static void test_seen_with_the_whole(void **state) {
    (void)state;
    struct db *other = open_another();
    begin();
    begin();
    put("a");
    commit();
    assert_int_equal(number_on(other, "SELECT count(*) FROM probe"), 0);
    // And the lock is not given up between them.
    assert_int_equal(db_begin(other, 0, &error), ERR_DATABASE);
    assert_true(db_was_busy(other));
    assert_false(db_is_begun(other));
    commit();
    assert_int_equal(number_on(other, "SELECT count(*) FROM probe"), 1);
    OK(db_begin(other, 0, &error));
    db_rollback(other);
    db_close(other);
}

// SQLite rolls back all of a transaction when a statement in it is interrupted, as with a full disk or a failing one.
static void lose(void) {
    db_limit(db, 1);
    int result = db_run(db, &error,
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000000)"
                        " INSERT INTO probe SELECT 'n'||i FROM n WHERE i%1000000=0",
                        "");
    db_limit(db, 0);
    assert_int_equal(result, ERR_DATABASE);
    assert_true(db_was_cut(db));
    assert_true(sqlite3_get_autocommit(db_handle(db)));
}

static void test_a_lost_whole(void **state) {
    (void)state;
    sqlite3_stmt *s;
    int64_t value;
    begin();
    put("a");
    begin();
    put("b");
    lose();
    // Nothing that would stand by itself can be written, whatever the callers do.
    assert_int_equal(db_run(db, &error, "INSERT INTO probe (text) VALUES (?)", "t", "c"), ERR_DATABASE);
    assert_null(db_ask(db, &error, "SELECT text FROM probe", ""));
    assert_null(db_ask_text(db, &error, "SELECT text FROM probe", ""));
    assert_int_equal(db_integer(db, &error, &value, 0, "SELECT count(*) FROM probe", ""), ERR_DATABASE);
    assert_int_equal(db_begin(db, 0, &error), ERR_DATABASE);
    assert_int_equal(db_commit(db, &error), ERR_DATABASE);
    assert_true(db_is_begun(db));
    assert_int_equal(db_begin(db, 0, &error), ERR_DATABASE);
    assert_int_equal(db_commit(db, &error), ERR_DATABASE);
    assert_true(db_was_cut(db)); // still the first reason
    assert_non_null(strstr(error.message, "interrupted"));
    assert_false(db_is_begun(db));
    assert_string_equal(kept(), "");
    // The next one is a fresh one.
    begin();
    begin();
    put("d");
    commit();
    commit();
    assert_string_equal(kept(), "d");
    // A part that is rolled back does not heal the whole.
    begin();
    begin();
    s = db_ask(db, &error, "INSERT INTO probe (text) VALUES ('e')", "");
    assert_non_null(s);
    lose();
    assert_int_equal(db_next(db, s, &error), -1);
    db_done(db, s);
    db_rollback(db);
    assert_int_equal(db_commit(db, &error), ERR_DATABASE);
    assert_string_equal(kept(), "d");
    // Rolled back, it is over.
    begin();
    lose();
    db_rollback(db);
    begin();
    put("f");
    commit();
    assert_string_equal(kept(), "d f");
}

static int refuse(void *payload) {
    (void)payload;
    return 1;
}

static void test_a_commit_that_fails(void **state) {
    (void)state;
    begin();
    put("a");
    begin();
    put("b");
    commit();
    sqlite3_commit_hook(db_handle(db), refuse, NULL);
    assert_int_not_equal(db_commit(db, &error), 0);
    sqlite3_commit_hook(db_handle(db), NULL, NULL);
    assert_false(db_is_begun(db));
    assert_string_equal(kept(), "");
    begin();
    put("c");
    commit();
    assert_string_equal(kept(), "c");
}

static void test_the_queue_in_a_transaction(void **state) {
    (void)state;
    struct batch_spec plain = {.max_failures = -1, .max_failure_share = -1};
    struct batch_writer *writer;
    struct filter filter = {0};
    char id[ID_SIZE];
    bool known, created;
    int64_t changed, batch_seq = batch_of("echo", 3);
    begin();
    int64_t seq = submit("echo", NULL, 0);
    OK(queue_change(db, CHANGE_CANCEL, seq, "no", &error));
    // What is known already undoes only itself.
    struct spec spec = {.prompt = "p", .model_id = "echo", .client_id = "k"};
    OK(queue_submit(db, &spec, id, &created, &error));
    OK(queue_submit(db, &spec, id, &created, &error));
    assert_false(created);
    // Work in slices has no place here.
    assert_int_equal(queue_change_all(db, CHANGE_CANCEL, &filter, NULL, false, &changed, &error),
                     ERR_CONFLICT);
    OK(queue_change_all(db, CHANGE_CANCEL, &filter, NULL, true, &changed, &error));
    assert_int_equal(changed, 4);
    assert_int_equal(batch_writer_begin(&writer, db, &plain, id, &known, &error), ERR_CONFLICT);
    assert_null(writer);
    assert_int_equal(queue_batch_retry(db, batch_seq, false, &changed, &error), ERR_CONFLICT);
    OK(queue_batch_cancel(db, batch_seq, "all of it", &error));
    commit();
    assert_string_equal(text("SELECT status FROM generation WHERE seq=%lld", (long long)seq), "cancelled");
    assert_string_equal(text("SELECT status FROM batch_job"), "cancelled");
    assert_int_equal(number("SELECT queued_items FROM batch_jobs"), 3); // left to the sweep
    check_counts();
    // The whole is undone whole.
    begin();
    OK(queue_submit(db, &(struct spec){.prompt = "p", .model_id = "echo"}, id, &created, &error));
    db_rollback(db);
    assert_int_equal(number("SELECT count(*) FROM generation"), 5);
    check_counts();
    // An owner makes no checkpoint in it.
    OK(db_own(db, &error));
    begin();
    assert_int_equal(db_checkpoint(db, 0, NULL, &error), ERR_CONFLICT);
    commit();
    OK(db_checkpoint(db, 0, NULL, &error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parts, set_up, ground_close),
        cmocka_unit_test_setup_teardown(test_a_refused_part, set_up, ground_close),
        cmocka_unit_test_setup_teardown(test_seen_with_the_whole, set_up, ground_close),
        cmocka_unit_test_setup_teardown(test_a_lost_whole, set_up, ground_close),
        cmocka_unit_test_setup_teardown(test_a_commit_that_fails, set_up, ground_close),
        cmocka_unit_test_setup_teardown(test_the_queue_in_a_transaction, set_up, ground_close),
    };
    return cmocka_run_group_tests_name("nesting", tests, NULL, NULL);
}
