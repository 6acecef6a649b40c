// SPDX-License-Identifier: MIT
// What is told of a database from beside it: versions with the WAL-reset bug, who writes, and a limit in time.
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wal_reset_bug),
        cmocka_unit_test_setup_teardown(test_writer, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_limit, ground_open, ground_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
