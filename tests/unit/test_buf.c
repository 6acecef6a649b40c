// SPDX-License-Identifier: MIT
// base/buf: the exact maximum, growth, and that nothing is stored past an overflow.
#include "base/buf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_empty(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_string_equal(buf_borrow(&b), "");
    assert_null(b.data);
    assert_true(buf_append(&b, NULL, 0));
    assert_string_equal(buf_borrow(&b), "");
    buf_drop(&b, 5);
    buf_free(&b);
    buf_free(&b);
    buf_free(NULL);
    char *taken = buf_take(&b);
    assert_string_equal(taken, "");
    free(taken);
}

static void test_appends(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, BUF_UNLIMITED);
    assert_true(buf_text(&b, "one"));
    assert_true(buf_char(&b, ' '));
    assert_true(buf_append(&b, "t\0o", 3));
    assert_true(buf_format(&b, " %d %s", 3, "four"));
    assert_int_equal(b.length, 14);
    assert_memory_equal(b.data, "one t\0o 3 four", 15);
    buf_drop(&b, 8);
    assert_string_equal(b.data, "3 four");
    buf_drop(&b, 1000);
    assert_int_equal(b.length, 0);
    assert_string_equal(b.data, "");
    buf_free(&b);
}

static void test_maximum_is_exact(void **state) {
    (void)state;
    static const size_t maximums[] = {0, 1, 2, 63, 64, 65, 127, 128, 1000, 4096};
    for (size_t i = 0; i < sizeof maximums / sizeof maximums[0]; i++) {
        struct buf b;
        buf_init(&b, maximums[i]);
        for (size_t n = 0; n < maximums[i]; n++) {
            assert_true(buf_char(&b, 'x'));
        }
        assert_false(b.overflow);
        assert_true(b.capacity <= maximums[i] + 1);
        assert_true(buf_append(&b, "", 0));
        assert_false(buf_char(&b, 'y'));
        assert_true(b.overflow);
        assert_int_equal(b.length, maximums[i]);
        assert_int_equal(strlen(buf_borrow(&b)), maximums[i]);
        buf_free(&b);
    }
}

static void test_overflow_stays_until_cleared(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_text(&b, "12345"));
    assert_false(buf_text(&b, "678901"));
    assert_string_equal(b.data, "12345");
    assert_false(buf_text(&b, "6")); // it would fit, but after a hole
    assert_false(buf_format(&b, "6"));
    buf_drop(&b, 2);
    assert_false(buf_char(&b, '6'));
    assert_string_equal(b.data, "345");
    buf_clear(&b);
    assert_false(b.overflow);
    assert_true(buf_text(&b, "1234567890"));
    assert_false(buf_append(&b, "x", SIZE_MAX)); // no overflow of the sum
    char *taken = buf_take(&b);
    assert_string_equal(taken, "1234567890");
    assert_false(b.overflow);
    assert_int_equal(b.length, 0);
    assert_int_equal(b.maximum, 10);
    free(taken);
}

static void test_format_at_the_edges(void **state) {
    (void)state;
    char text[200];
    for (size_t length = 0; length < sizeof text - 1; length++) { // around each size it grows to
        memset(text, 'f', length);
        text[length] = 0;
        struct buf b;
        buf_init(&b, length + 1);
        assert_true(buf_char(&b, '>'));
        assert_true(buf_format(&b, "%s", text));
        assert_int_equal(b.length, length + 1);
        assert_string_equal(b.data + 1, text);
        assert_false(buf_format(&b, "%s", "z"));
        assert_string_equal(b.data + 1, text);
        buf_free(&b);
        buf_init(&b, length);
        if (length) {
            assert_true(buf_char(&b, '>'));
            assert_false(buf_format(&b, "%s", text)); // one too long: nothing is stored
            assert_string_equal(b.data, ">");
        }
        buf_free(&b);
    }
}

static void test_growth_is_geometric(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, BUF_UNLIMITED);
    size_t moves = 0, capacity = 0;
    for (size_t i = 0; i < 1000000; i++) {
        buf_char(&b, 'x');
        moves += b.capacity != capacity;
        capacity = b.capacity;
    }
    assert_true(moves <= 16);
    assert_true(capacity <= 2100000);
    buf_clear(&b);
    assert_true(b.capacity == capacity);
    buf_free(&b);
    assert_int_equal(b.capacity, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_maximum_is_exact),
        cmocka_unit_test(test_overflow_stays_until_cleared),
        cmocka_unit_test(test_format_at_the_edges),
        cmocka_unit_test(test_growth_is_geometric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
