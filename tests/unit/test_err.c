// SPDX-License-Identifier: MIT
// base/err: one line, safe to show, and safe when the message is its own argument.
#include "base/err.h"
#include "base/text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_set_and_prefix(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(err_set(&e, ERR_INVALID, "bad %s: fix %d", "thing", 3), ERR_INVALID);
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.message, "bad thing: fix 3");
    assert_int_equal(err_prefix(&e, "file %s, line %d", "x", 7), ERR_INVALID);
    assert_string_equal(e.message, "file x, line 7: bad thing: fix 3");
    assert_int_equal(err_set(NULL, ERR_CONFLICT, "%s", "x"), ERR_CONFLICT);
    assert_int_equal(err_prefix(NULL, "%s", "x"), ERR_OK);
}

static void test_field(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(err_in(&e, ERR_INVALID, "modelId", "unknown model '%s'", "x"), ERR_INVALID);
    assert_string_equal(e.field, "modelId");
    assert_int_equal(err_prefix(&e, "line %d", 2), ERR_INVALID);
    assert_string_equal(e.field, "modelId"); // it is still that field
    assert_string_equal(e.message, "line 2: unknown model 'x'");
    assert_int_equal(err_field(&e, "batchId"), ERR_INVALID);
    assert_string_equal(e.field, "batchId");
    err_set(&e, ERR_CONFLICT, "busy");
    assert_string_equal(e.field, "");
    err_field(&e, "a name that is far longer than any field of this API could be");
    assert_true(strlen(e.field) < sizeof e.field);
    assert_int_equal(err_in(NULL, ERR_CONFLICT, "x", "%s", "x"), ERR_CONFLICT);
    assert_int_equal(err_field(NULL, "x"), ERR_OK);
}

static void test_one_line(void **state) {
    (void)state;
    struct err e;
    err_set(&e, ERR_WORK, "%s", "a\nb\r\tc\x1b[31m\x7f \xc2\x9b \xff \xe2\x80\xae caf\xc3\xa9");
    assert_string_equal(e.message, "a\\nb\\r\\tc\\x1b[31m\\x7f \\x9b \\xff \\u202e caf\xc3\xa9");
    char before[sizeof e.message];
    strcpy(before, e.message);
    err_set(&e, ERR_WORK, "%s", e.message);
    assert_string_equal(e.message, before); // escaping twice changes nothing
}

static void test_own_message_as_argument(void **state) {
    (void)state;
    struct err e;
    err_set(&e, ERR_REMOTE, "inner: do this");
    err_set(&e, ERR_CONFIG, "outer, %s, %s", e.message, e.message);
    assert_int_equal(e.code, ERR_CONFIG);
    assert_string_equal(e.message, "outer, inner: do this, inner: do this");
    err_prefix(&e, "(%s)", e.message);
    assert_true(text_starts_with(e.message, "(outer, "));
    assert_true(text_ends_with(e.message, "): outer, inner: do this, inner: do this"));
}

// However long the text and wherever it is cut, the message ends in a whole character and "…".
static void test_cut(void **state) {
    (void)state;
    static char text[5000];
    struct err e;
    for (size_t lead = 0; lead < 4; lead++) {
        memset(text, 'x', lead);
        for (size_t i = lead; i + 3 < sizeof text; i += 3) {
            memcpy(text + i, "\xe2\x82\xac", 4);
        }
        err_set(&e, ERR_WORK, "%s", text);
        size_t length = strlen(e.message);
        assert_true(length > sizeof e.message - 8 && length < sizeof e.message);
        assert_true(text_is_utf8(e.message, length));
        assert_true(text_ends_with(e.message, "\xe2\x82\xac\xe2\x80\xa6"));
        err_prefix(&e, "%s", text);
        assert_true(text_is_utf8(e.message, strlen(e.message)));
        assert_true(text_ends_with(e.message, "\xe2\x80\xa6"));
    }
    for (size_t length = 1000; length < 1040; length++) { // around the size
        memset(text, 'y', length);
        text[length] = 0;
        err_set(&e, ERR_WORK, "%s", text);
        if (length < sizeof e.message) {
            assert_string_equal(e.message, text);
        } else {
            assert_int_equal(strlen(e.message), sizeof e.message - 1);
        }
    }
    memset(text, '\n', 2000);
    text[2000] = 0;
    err_set(&e, ERR_WORK, "%s", text);
    assert_true(text_ends_with(e.message, "\\n\xe2\x80\xa6"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_prefix),
        cmocka_unit_test(test_field),
        cmocka_unit_test(test_one_line),
        cmocka_unit_test(test_own_message_as_argument),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
