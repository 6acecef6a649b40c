// SPDX-License-Identifier: MIT
// base/log: what really arrives on stderr, which is a pipe here, so that one read is one write.
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2], real_stderr;
static char line[65536];

static int catch_stderr(void **state) {
    (void)state;
    real_stderr = dup(STDERR_FILENO);
    if (pipe(ends) || fcntl(ends[0], F_SETFL, O_NONBLOCK) || dup2(ends[1], STDERR_FILENO) < 0) {
        return -1;
    }
    return unsetenv("JOURNAL_STREAM");
}

static int give_stderr_back(void **state) {
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(ends[0]);
    close(ends[1]);
    log_setup(LOG_LEVEL_INFO, false);
    return 0;
}

// The text written since the last call, without the LF that must end it; NULL when there was none.
static const char *written(void) {
    ssize_t n = read(ends[0], line, sizeof line - 1);
    if (n <= 0) {
        return NULL;
    }
    assert_int_equal(line[n - 1], '\n');
    line[n - 1] = 0;
    assert_null(strchr(line, '\n'));
    return line;
}

static void test_text(void **state) {
    (void)state;
    log_setup(LOG_LEVEL_INFO, false);
    log_info("model %s is up, %d left", "m", 3);
    const char *text = written();
    assert_non_null(text);
    assert_int_equal(strspn(text, "0123456789-T:.Z"), 24);
    assert_string_equal(text + 24, " info: model m is up, 3 left");
    log_error("%s", "a\nb\x1b[31m\xff\x7f");
    assert_string_equal(written() + 24, " error: a\\nb\\x1b[31m\\xff\\x7f");
    log_warn("%s", "");
    assert_string_equal(written() + 24, " warn: ");
}

static void test_levels(void **state) {
    (void)state;
    static void (*const logs[])(const char *, ...) = {log_error, log_warn, log_info, log_debug};
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        log_setup((enum log_level)level, false);
        for (int of = LOG_LEVEL_ERROR; of <= LOG_LEVEL_DEBUG; of++) {
            logs[of]("x");
            assert_int_equal(written() != NULL, of <= level);
            assert_int_equal(log_is_on((enum log_level)of), of <= level);
        }
    }
}

static void test_json(void **state) {
    (void)state;
    cJSON *o = NULL;
    log_setup(LOG_LEVEL_DEBUG, true);
    log_debug("%s", "a \"b\"\n\x1b\xff");
    const char *text = written();
    assert_int_equal(json_parse_object(text, strlen(text), &o, NULL), ERR_OK);
    assert_string_equal(json_text(o, "level", ""), "debug");
    assert_string_equal(json_text(o, "message", ""), "a \"b\"\n\x1b\xef\xbf\xbd");
    assert_int_equal(strlen(json_text(o, "time", "")), 24);
    cJSON_Delete(o);
}

static void test_journal(void **state) {
    (void)state;
    struct stat st;
    char stream[64];
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_setup(LOG_LEVEL_DEBUG, false);
    log_error("x");
    assert_string_equal(written(), "<3>error: x");
    log_warn("x");
    assert_string_equal(written(), "<4>warn: x");
    log_info("x");
    assert_string_equal(written(), "<6>info: x");
    log_debug("x");
    assert_string_equal(written(), "<7>debug: x");
    log_setup(LOG_LEVEL_DEBUG, true);
    log_warn("x");
    assert_true(text_starts_with(written(), "<4>{\"time\":"));
    const char *const others[] = {"", ":", "1:2", "x:y", "1"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) { // inherited, but not of this stderr
        setenv("JOURNAL_STREAM", others[i], 1);
        log_setup(LOG_LEVEL_INFO, false);
        log_info("x");
        assert_string_equal(written() + 24, " info: x");
    }
    strcat(stream, "9");
    setenv("JOURNAL_STREAM", stream, 1);
    log_setup(LOG_LEVEL_INFO, false);
    log_info("x");
    assert_string_equal(written() + 24, " info: x");
    unsetenv("JOURNAL_STREAM");
}

static void test_long_message_is_cut(void **state) {
    (void)state;
    char *text = malloc(30001);
    for (size_t lead = 0; lead < 3; lead++) {
        memset(text, 'x', lead);
        for (size_t i = lead; i + 3 <= 30000; i += 3) {
            memcpy(text + i, "\xe2\x82\xac", 4);
        }
        log_setup(LOG_LEVEL_INFO, false);
        log_info("%s", text);
        const char *shown = written();
        assert_true(strlen(shown) > 3000 && strlen(shown) < 5000);
        assert_true(text_is_utf8(shown, strlen(shown)));
        assert_true(text_ends_with(shown, "\xe2\x82\xac\xe2\x80\xa6"));
    }
    free(text);
}

static void test_errno_survives(void **state) {
    (void)state;
    log_setup(LOG_LEVEL_INFO, false);
    errno = ENOSPC;
    log_error("x");
    assert_int_equal(errno, ENOSPC);
    assert_non_null(written());
    int kept = dup(STDERR_FILENO);
    close(STDERR_FILENO); // a stderr that is gone stops nobody
    log_error("x");
    assert_int_equal(errno, ENOSPC);
    dup2(kept, STDERR_FILENO);
    close(kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_journal),
        cmocka_unit_test(test_long_message_is_cut),
        cmocka_unit_test(test_errno_survives),
    };
    return cmocka_run_group_tests(tests, catch_stderr, give_stderr_back);
}
