// SPDX-License-Identifier: MIT
// Output files: whole or not at all, and nothing left behind.
#include "cli/outfile.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int enter(void **state) {
    char folder[] = "/tmp/genrun-outfile-XXXXXX";
    char *made = mkdtemp(folder);
    *state = made != NULL ? strdup(made) : NULL;
    return *state != NULL && chdir(*state) == 0 ? 0 : -1;
}

// Removes the files (none of them a folder) and the folder.
static int leave(void **state) {
    DIR *d = opendir(".");
    for (struct dirent *entry; d != NULL && (entry = readdir(d)) != NULL;)
        unlink(entry->d_name);
    if (d != NULL)
        closedir(d);
    int bad = chdir("/") != 0 || rmdir(*state) != 0;
    free(*state);
    return bad;
}

static size_t file_count(void) {
    size_t n = 0;
    DIR *d = opendir(".");
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_content(const char *path, const char *text) {
    char content[64] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    (void)!fread(content, 1, sizeof content - 1, f);
    fclose(f);
    assert_string_equal(content, text);
}

static void test_new(void **state) {
    (void)state;
    struct outfile f;
    struct err e = {0};
    assert_int_equal(outfile_open(&f, "out", &e), ERR_OK);
    fputs("whole", f.stream);
    fflush(f.stream);
    assert_int_not_equal(access("out", F_OK), 0); // not before it is complete
    assert_int_equal(outfile_commit(&f, &e), ERR_OK);
    assert_content("out", "whole");
    assert_int_equal(file_count(), 1);
}

static void test_replace(void **state) {
    (void)state;
    struct outfile f;
    struct err e = {0};
    struct stat st;
    put("target", "old");
    chmod("target", 0640);
    assert_int_equal(symlink("target", "link"), 0);
    assert_int_equal(outfile_open(&f, "link", &e), ERR_OK);
    fputs("new", f.stream);
    assert_content("target", "old");
    assert_int_equal(outfile_commit(&f, &e), ERR_OK);
    assert_content("target", "new");
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISLNK(st.st_mode)); // the link still is one
    assert_int_equal(stat("target", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(file_count(), 2);
}

static void test_drop(void **state) {
    (void)state;
    struct outfile f;
    struct err e = {0};
    put("out", "old");
    assert_int_equal(outfile_open(&f, "out", &e), ERR_OK);
    fputs("half", f.stream);
    outfile_drop(&f);
    outfile_drop(&f);
    assert_content("out", "old");
    assert_int_equal(file_count(), 1);
}

static void test_refused(void **state) {
    (void)state;
    struct outfile f;
    static const char *const paths[] = {"missing/out", ".", "/dev", "/proc/genrun-no"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct err e = {0};
        assert_int_equal(outfile_open(&f, paths[i], &e), ERR_INVALID);
        assert_non_null(strstr(e.message, paths[i]));
    }
    assert_int_equal(file_count(), 0);
}

static void test_full(void **state) {
    (void)state;
    struct outfile f;
    struct err e = {0};
    assert_int_equal(outfile_open(&f, "/dev/full", &e), ERR_OK);
    fputs("lost", f.stream);
    assert_int_equal(outfile_commit(&f, &e), ERR_WORK);
    assert_non_null(strstr(e.message, "No space left"));
    assert_int_equal(outfile_open(&f, "/dev/full", &e), ERR_OK);
    fputs("lost", f.stream);
    fflush(f.stream); // fails in another's hands, long before the end
    assert_int_equal(outfile_commit(&f, &e), ERR_WORK);
    assert_non_null(strstr(e.message, "No space left"));
    assert_int_equal(outfile_open(&f, "/dev/null", &e), ERR_OK);
    fputs("fine", f.stream);
    assert_int_equal(outfile_commit(&f, &e), ERR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_new, enter, leave),
        cmocka_unit_test_setup_teardown(test_replace, enter, leave),
        cmocka_unit_test_setup_teardown(test_drop, enter, leave),
        cmocka_unit_test_setup_teardown(test_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_full, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
