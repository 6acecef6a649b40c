// SPDX-License-Identifier: MIT
// Duplicate names, in memory and over many runs of a temporary file, against a plain search.
#include "batch/seen.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void find(size_t in_memory, const int *names, size_t count, int64_t *first, int64_t *second) {
    struct seen *seen = seen_new(in_memory);
    struct err e = {.code = ERR_OK};
    for (size_t i = 0; i < count; i++) {
        char name[32];
        int length = snprintf(name, sizeof name, "name-%d", names[i]);
        assert_int_equal(seen_add(seen, name, (size_t)length, (int64_t)(10 * i + 7), &e), 0);
    }
    assert_int_equal(seen_find_duplicate(seen, first, second, &e), 0);
    seen_free(seen);
}

static void test_none(void **state) {
    (void)state;
    int names[500];
    int64_t first = -1, second = -1;
    for (int i = 0; i < 500; i++)
        names[i] = i;
    for (size_t count = 0; count <= 500; count += 125) {
        find(25, names, count, &first, &second);
        assert_int_equal(first, 0);
        assert_int_equal(second, 0);
    }
    seen_free(NULL);
}

static void test_against_a_plain_search(void **state) {
    (void)state;
    static const size_t sizes[] = {2, 3, 18, 40, 299, 300, 301, 1000};
    uint32_t random = 12345;
    for (int round = 0; round < 200; round++) {
        int names[300];
        int range = round % 2 ? 20000 : 400;
        int64_t expected_first = 0, expected_second = 0;
        // At most capacity squared records fit a merge: the smallest capacities see a part.
        size_t in_memory = sizes[(size_t)round % (sizeof sizes / sizeof *sizes)];
        size_t count = in_memory < 18 ? in_memory * in_memory : 300;
        for (size_t i = 0; i < count; i++) {
            random = random * 1664525U + 1013904223U;
            names[i] = (int)((random >> 8) % (uint32_t)range);
        }
        for (size_t i = 0; i < count && !expected_second; i++)
            for (size_t j = 0; j < i && !expected_second; j++)
                if (names[i] == names[j]) {
                    expected_first = (int64_t)(10 * j + 7);
                    expected_second = (int64_t)(10 * i + 7);
                }
        int64_t first = -1, second = -1;
        find(in_memory, names, count, &first, &second);
        assert_int_equal(second, expected_second);
        assert_int_equal(first, expected_first);
    }
}

static void test_names_of_all_lengths(void **state) {
    (void)state;
    char zeros[64] = {0};
    struct seen *seen = seen_new(1000);
    struct err e = {.code = ERR_OK};
    int64_t first = -1, second = -1;
    for (size_t length = 0; length <= sizeof zeros; length++) // only the lengths differ
        assert_int_equal(seen_add(seen, zeros, length, (int64_t)length + 1, &e), 0);
    assert_int_equal(seen_add(seen, "", 0, 100, &e), 0);
    assert_int_equal(seen_find_duplicate(seen, &first, &second, &e), 0);
    assert_int_equal(first, 1);
    assert_int_equal(second, 100);
    seen_free(seen);
}

static void test_too_many(void **state) {
    (void)state;
    struct seen *seen = seen_new(2);
    struct err e = {.code = ERR_OK};
    int64_t first = -1, second = -1;
    for (int i = 0; i < 9; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        assert_int_equal(seen_add(seen, name, 1, i + 1, &e), 0);
    }
    assert_int_equal(seen_find_duplicate(seen, &first, &second, &e), ERR_INVALID);
    assert_string_equal(e.message, "too many lines for one batch: split the file");
    seen_free(seen);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_against_a_plain_search),
        cmocka_unit_test(test_names_of_all_lengths),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
