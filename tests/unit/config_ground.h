// SPDX-License-Identifier: MIT
// The ground of the configuration's tests: each case works in an empty folder of
// its own, which is also its HOME, with an environment that names nothing.
#ifndef GENRUN_TESTS_CONFIG_GROUND_H
#define GENRUN_TESTS_CONFIG_GROUND_H

#include "base/mem.h"
#include "base/text.h"
#include "lib/config.h"
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka needs the above
#include <cmocka.h>

extern char **environ;
static char folder[PATH_MAX]; // of the present case

static void clear_environment(void) {
    static const char *const ours[] = {"GENRUN_", "OPENAI_", "XDG_"};
    for (char **entry = environ; *entry != NULL;) {
        bool is_ours = false;
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
            is_ours = is_ours || text_starts_with(*entry, ours[i]);
        }
        if (is_ours) {
            char *name = mem_copy_bytes(*entry, strcspn(*entry, "="));
            unsetenv(name);
            free(name);
            entry = environ;
        } else {
            entry++;
        }
    }
}

static int enter_folder(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/genrun-config-XXXXXX", base != NULL ? base : "/tmp");
    clear_environment();
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        return -1;
    }
    char *real = realpath(folder, NULL);
    snprintf(folder, sizeof folder, "%s", real);
    free(real);
    return setenv("HOME", folder, 1);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static int leave_folder(void **state) {
    (void)state;
    return chdir("/") == 0 && nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -1;
}

static void write_bytes(const char *path, const char *bytes, size_t length) {
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, length, stream), length);
    assert_int_equal(fclose(stream), 0);
}

static void write_file(const char *path, const char *text) {
    write_bytes(path, text, strlen(text));
}

__attribute__((unused)) static void expect_refusal(const char *message) {
    struct config *config = NULL;
    struct err e = {0};
    assert_int_equal(config_load(&config, NULL, NULL, &e), ERR_CONFIG);
    assert_null(config);
    assert_int_equal(e.code, ERR_CONFIG);
    assert_string_equal(e.message, message);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter_folder, leave_folder)

#endif
