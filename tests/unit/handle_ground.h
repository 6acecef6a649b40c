// SPDX-License-Identifier: MIT
// What the tests of genrun.h share: a handle on a fresh database in a folder of its own, which is also the working
// and the home folder, and no configuration of whoever runs the tests.
#ifndef GENRUN_TESTS_HANDLE_GROUND_H
#define GENRUN_TESTS_HANDLE_GROUND_H

#include "genrun.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka needs the above
#include <cmocka.h>

#pragma GCC diagnostic ignored "-Wunused-function"

static char folder[64], database[96];
static char files[112]; // where the database's big outputs and uploads are

// 0, or the message is shown.
static void ok(genrun *g, int result) {
    if (result)
        fail_msg("%d: %s", result, genrun_message(g));
}

// Refused with this code and one line that has this part.
static void refused(genrun *g, int result, int code, const char *part) {
    assert_int_equal(result, code);
    if (!strstr(genrun_message(g), part))
        fail_msg("'%s' is not in: %s", part, genrun_message(g));
    assert_null(strchr(genrun_message(g), '\n'));
}

static genrun *open_handle(void) {
    genrun *g = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = database;
    options.create = 1;
    ok(g, genrun_open(&g, &options));
    return g;
}

static int ground_enter(void **state) {
    snprintf(folder, sizeof folder, "/tmp/genrun-test-XXXXXX");
    if (!mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    setenv("HOME", folder, 1);
    unsetenv("GENRUN_CONFIG");
    unsetenv("OPENAI_BASE_URL");
    unsetenv("OPENAI_API_KEY");
    snprintf(database, sizeof database, "%s/test.db", folder);
    snprintf(files, sizeof files, "%s/test.db.files", folder);
    *state = open_handle();
    return 0;
}

// Fails when the test has left what is not known here.
static int ground_leave(void **state) {
    static const char *const names[] = {"test.db", "test.db-wal", "test.db-shm", "copy.db", "genrun.ini"};
    genrun_close(*state);
    DIR *d = opendir(files);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", files, entry->d_name);
        unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(files);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(names[i]);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

#endif
