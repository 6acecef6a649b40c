// SPDX-License-Identifier: MIT
// From an older schema to this one's, by hand and by opening. The list of
// migrations is this test's own (the linker then leaves the embedded one out): all
// real files as one, and a second that makes a table.
#include "base/mem.h"
#include "db/migrate.h"
#include "genrun.h"
#include <glob.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka needs the above
#include <cmocka.h>

static char first[512 * 1024]; // schema/*.sql
const struct migration migration_list[] = {
    {"0001_all.sql", first},
    {"0002_more.sql", "CREATE TABLE more (a INTEGER) STRICT;"},
    {NULL, NULL},
};

static char path[64];

static void sql(const char *text) {
    sqlite3 *handle = NULL;
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(handle);
}

static bool has_table(void) {
    sqlite3 *handle = NULL;
    sqlite3_open(path, &handle);
    bool has = sqlite3_exec(handle, "SELECT a FROM more", NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_close(handle);
    return has;
}

static genrun *open_handle(void) {
    genrun *g = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = path;
    assert_int_equal(genrun_open(&g, &options), GENRUN_OK);
    return g;
}

static int read_schema(void) {
    glob_t found;
    size_t length = 0;
    if (glob("schema/*.sql", 0, NULL, &found) != 0) // in the order of their names
        return -1;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "r");
        if (!file)
            return -1;
        length += fread(first + length, 1, sizeof first - 1 - length, file);
        fclose(file);
    }
    first[length] = '\0';
    globfree(&found);
    return length < sizeof first - 1 ? 0 : -1;
}

// A database as a program that knew only the first list entry left it.
static int make_old(void **state) {
    (void)state;
    char id[GENRUN_ID_SIZE];
    genrun_spec spec = GENRUN_SPEC_INIT;
    if (read_schema() != 0)
        return -1;
    snprintf(path, sizeof path, "/tmp/genrun-migrate-%ld.db", (long)getpid());
    genrun *g = open_handle();
    spec.prompt = "kept";
    spec.model = "echo";
    int result = genrun_submit(g, id, NULL, &spec);
    genrun_close(g);
    sql("DROP TABLE more; DELETE FROM schema_migrations WHERE version = 2; PRAGMA user_version = 1");
    return result;
}

static int remove_all(void **state) {
    (void)state;
    static const char *const endings[] = {"", "-wal", "-shm", ".copy"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char *name = mem_format("%s%s", path, endings[i]);
        unlink(name);
        free(name);
    }
    return 0;
}

static void test_by_hand(void **state) {
    (void)state;
    int from = 0, to = 0;
    genrun *g = open_handle();
    assert_int_equal(genrun_migrate(g, &from, &to, 1), GENRUN_OK);
    assert_int_equal(from, 1);
    assert_int_equal(to, 2);
    assert_false(has_table()); // only told
    assert_int_equal(genrun_migrate(g, &from, &to, 0), GENRUN_OK);
    assert_int_equal(from, 1);
    assert_int_equal(to, 2);
    assert_true(has_table());
    assert_int_equal(genrun_migrate(g, &from, &to, 0), GENRUN_OK);
    assert_int_equal(from, 2);
    assert_int_equal(genrun_migrate(g, NULL, NULL, 0), GENRUN_OK);
    assert_int_equal(genrun_check(g, 0, NULL, NULL), GENRUN_OK);
    genrun_close(g);
}

static int note_problem(void *payload, genrun_row *row) {
    snprintf(payload, 256, "%s: %s", genrun_row_text(row, "problem"), genrun_row_text(row, "advice"));
    return 0;
}

// What looks leaves an older file as it is: a backup is made before the migration.
static void test_looking_migrates_nothing(void **state) {
    (void)state;
    char problem[256] = "";
    genrun *g = open_handle();
    char *copy = mem_format("%s.copy", path);
    assert_int_equal(genrun_backup(g, copy, NULL, NULL), GENRUN_OK);
    assert_false(has_table());
    assert_int_equal(genrun_check(g, 1, note_problem, problem), GENRUN_DATABASE);
    assert_string_equal(
        problem, "the schema has version 1, this genrun makes 2: run 'genrun db migrate' and check again");
    assert_false(has_table());
    genrun_close(g);
    free(copy);
}

// Another runner's lock is respected, and it is named.
static void test_beside_a_runner(void **state) {
    (void)state;
    int from = 0, to = 0;
    genrun *runner = open_handle(), *g = open_handle();
    assert_int_equal(genrun_step(runner, 0), GENRUN_OK); // which migrates
    sql("DROP TABLE more; DELETE FROM schema_migrations WHERE version = 2; PRAGMA user_version = 1");
    assert_int_equal(genrun_migrate(g, &from, &to, 0), GENRUN_CONFLICT);
    char *wanted =
        mem_format("the runner with process id %ld has database %s: stop it first", (long)getpid(), path);
    assert_string_equal(genrun_message(g), wanted);
    assert_int_equal(genrun_vacuum(g, NULL, NULL), GENRUN_CONFLICT);
    assert_string_equal(genrun_message(g), wanted);
    free(wanted);
    genrun_close(runner);
    genrun_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_by_hand, make_old, remove_all),
        cmocka_unit_test_setup_teardown(test_looking_migrates_nothing, make_old, remove_all),
        cmocka_unit_test_setup_teardown(test_beside_a_runner, make_old, remove_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
