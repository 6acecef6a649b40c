// SPDX-License-Identifier: MIT
// What is told of a database from beside it: versions with the WAL-reset bug, who writes, how long the log is, and limits in time and
// length.
#include "queue_ground.h"

static void test_wal_reset_bug(void **state) {
    (void)state;
    static const struct {
        int version;
        bool has;
    } cases[] = {
        {3006023, false}, {3007000, true},  {3040001, true},  {3044005, true},  {3044006, false},
        {3044007, false}, {3045000, true},  {3050006, true},  {3050007, false}, {3051000, true},
        {3051002, true},  {3051003, false}, {3052000, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("# %d\n", cases[i].version);
        assert_int_equal(db_has_wal_reset_bug(cases[i].version), cases[i].has);
    }
}

static void test_writer(void **state) {
    (void)state;
    assert_int_equal(db_writer(db), 0);
    OK(db_begin(db, 1000, &error));
    assert_int_equal(db_writer(db), getpid());
    db_rollback(db);
    assert_int_equal(db_writer(db), 0);
}

static void test_limit(void **state) {
    (void)state;
    static const char endless[] =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    int64_t out;
    db_limit(db, 30);
    assert_int_equal(db_integer(db, &error, &out, 0, endless, ""), ERR_DATABASE);
    assert_true(db_was_cut(db));
    assert_int_equal(db_integer(db, &error, &out, 0, "SELECT nothing", ""), ERR_DATABASE);
    assert_false(db_was_cut(db));
    db_limit(db, 0);
    OK(db_integer(
        db, &error, &out, 0,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT max(i) FROM n",
        ""));
    assert_int_equal(out, 100000);
}

static void test_bound(void **state) {
    (void)state;
    int64_t out;
    type("CREATE TABLE probe (id INTEGER PRIMARY KEY, text TEXT);"
         "INSERT INTO probe VALUES (1, hex(zeroblob(100000))), (2, 'short')");
    db_bound(db, 100000);
    OK(db_integer(db, &error, &out, 0, "SELECT length(text) FROM probe WHERE id=2", ""));
    assert_false(db_was_bounded(db));
    assert_int_equal(db_integer(db, &error, &out, 0, "SELECT length(text) FROM probe WHERE id=1", ""),
                     ERR_INVALID);
    assert_true(db_was_bounded(db));
    // What is not asked for may be as long as it is.
    OK(db_integer(db, &error, &out, 0, "SELECT count(*) FROM probe", ""));
    assert_true(db_was_bounded(db));
    db_bound(db, 0);
    assert_false(db_was_bounded(db));
    OK(db_integer(db, &error, &out, 0, "SELECT length(text) FROM probe WHERE id=1", ""));
    assert_int_equal(out, 200000);
    assert_false(db_was_bounded(db));
}

// Own commits tell how long the log is; the file must say the same, also when it has begun anew, and what others add.
static void test_log_pages(void **state) {
    (void)state;
    struct db *other = open_another();
    OK(db_own(db, &error));
    assert_int_equal(db_log_pages(db), db_wal_pages(db));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20; i++) {
            OK(db_begin(db, 1000, &error));
            type("INSERT OR REPLACE INTO templates (id, name, body, created_at) VALUES ('%d', 't%d', "
                 "hex(zeroblob(%d)), 1)",
                 i, i, 10000 * (3 - round));
            OK(db_commit(db, &error));
            assert_true(db_wal_pages(db) > 0);
            assert_int_equal(db_log_pages(db), db_wal_pages(db));
        }
        int pages = db_wal_pages(db);
        type_on(other, "UPDATE templates SET body=body||'x'");
        assert_int_equal(db_wal_pages(db), pages);
        assert_true(db_log_pages(db) > pages);
        assert_int_equal(db_log_pages(other), db_log_pages(db));
        OK(db_checkpoint(db, 1000, NULL, &error));
    }
    db_close(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wal_reset_bug),
        cmocka_unit_test_setup_teardown(test_writer, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_limit, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_bound, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_log_pages, ground_open, ground_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
