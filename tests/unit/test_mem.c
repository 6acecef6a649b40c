// SPDX-License-Identifier: MIT
// base/mem: sizes that are zero, huge or overflow, and the handler of exhaustion.
#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_alloc_is_zeroed(void **state) {
    (void)state;
    char *p = mem_alloc(1000, 3);
    for (size_t i = 0; i < 3000; i++) {
        assert_int_equal(p[i], 0);
    }
    free(p);
    free(mem_alloc(0, 8));
    free(mem_alloc(8, 0));
}

static void test_resize_keeps_content(void **state) {
    (void)state;
    char *p = mem_resize(NULL, 4, 1);
    memcpy(p, "abc", 4);
    p = mem_resize(p, 100000, 2);
    assert_string_equal(p, "abc");
    p = mem_resize(p, 0, 1);
    free(p);
}

static void test_copies(void **state) {
    (void)state;
    assert_null(mem_copy(NULL));
    char *p = mem_copy("text");
    assert_string_equal(p, "text");
    free(p);
    p = mem_copy_bytes("a\0bc", 4);
    assert_memory_equal(p, "a\0bc", 5);
    free(p);
    p = mem_copy_bytes(NULL, 0);
    assert_string_equal(p, "");
    free(p);
    p = mem_format("%d-%s", 7, "x");
    assert_string_equal(p, "7-x");
    free(p);
}

static jmp_buf escape;
static size_t asked;

static void leave(size_t bytes) {
    asked = bytes;
    longjmp(escape, 1); // the process would end otherwise
}

static void test_exhaustion_calls_the_handler(void **state) {
    (void)state;
    const size_t half = SIZE_MAX / 2 + 2; // twice this is 2 after an overflow
    mem_on_exhausted(leave);
    for (volatile int i = 0; i < 3; i++) {
        asked = 0;
        if (setjmp(escape) == 0) {
            void *volatile p = i == 0   ? mem_alloc(half, 2)
                               : i == 1 ? mem_resize(NULL, half, 2)
                                        : mem_copy_bytes("", SIZE_MAX);
            (void)p;
            fail_msg("case %d came back", i);
        }
        assert_true(asked == SIZE_MAX);
    }
    mem_on_exhausted(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc_is_zeroed),
        cmocka_unit_test(test_resize_keeps_content),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_exhaustion_calls_the_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
