// SPDX-License-Identifier: MIT
// base/json, writing: escapes at every place of a word, numbers that read back, and that all
// that is written is accepted by json_parse.
#include "base/json.h"
#include "base/text.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define TEXT(s) s, sizeof(s) - 1

static void test_strings(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *json;
    } cases[] = {
        {TEXT(""), "\"\""},
        {TEXT("plain"), "\"plain\""},
        {TEXT("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
        {TEXT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
        {TEXT("\x01\x1f\x7f"), "\"\\u0001\\u001f\x7f\""},
        {TEXT("a\0b"), "\"a\xef\xbf\xbd"
                       "b\""},
        {TEXT("caf\xc3\xa9 \xf0\x9f\x98\x80"), "\"caf\xc3\xa9 \xf0\x9f\x98\x80\""},
        {TEXT("\xff"), "\"\xef\xbf\xbd\""},
        {TEXT("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {TEXT("\xed\xa0\x80x"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx\""},
        {TEXT("ok\xc3"), "\"ok\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t lead = 0; lead < 18; lead++) { // each place of the eight-byte steps
            char in[64], expected[96];
            memset(in, 'l', lead);
            memcpy(in + lead, cases[i].bytes, cases[i].length);
            memset(in + lead + cases[i].length, 't', 9);
            expected[0] = '"';
            memset(expected + 1, 'l', lead);
            strcpy(expected + 1 + lead, cases[i].json + 1);
            strcpy(strrchr(expected, '"'), "ttttttttt\"");
            struct buf b;
            buf_init(&b, BUF_UNLIMITED);
            json_write_bytes(&b, in, lead + cases[i].length + 9);
            assert_string_equal(b.data, expected);
            buf_free(&b);
        }
    }
}

static void test_random_bytes_parse_again(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        char bytes[40];
        size_t length = (size_t)round % sizeof bytes;
        bool has_nul = false;
        for (size_t i = 0; i < length; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (char)(round % 3 ? (seed >> 33) % 0x60 + (seed >> 62) * 0x10 : seed >> 33);
            has_nul = has_nul || !bytes[i];
        }
        struct buf b;
        cJSON *tree = NULL;
        buf_init(&b, BUF_UNLIMITED);
        json_write_bytes(&b, bytes, length);
        assert_int_equal(json_parse(b.data, b.length, &tree, NULL), ERR_OK);
        if (!has_nul && text_is_utf8(bytes, length)) {
            assert_int_equal(strlen(tree->valuestring), length);
            assert_memory_equal(tree->valuestring, bytes, length);
        } else {
            assert_non_null(strstr(tree->valuestring, "\xef\xbf\xbd"));
        }
        cJSON_Delete(tree);
        buf_free(&b);
    }
}

static void test_members(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, BUF_UNLIMITED);
    buf_char(&b, '{');
    json_write_member_text(&b, "t", "x{");
    json_write_member_text(&b, "none", NULL);
    json_write_member_integer(&b, "i", -5);
    json_write_member_number(&b, "n", 0.1);
    json_write_member_bool(&b, "yes", true);
    json_write_member_bool(&b, "no", false);
    json_write_member_raw(&b, "raw", "[1,2]");
    json_write_member_raw(&b, "null", NULL);
    json_write_key(&b, "q\"");
    buf_text(&b, "[{");
    json_write_member_integer(&b, "x", 1);
    buf_text(&b, "}]}");
    assert_string_equal(b.data, "{\"t\":\"x{\",\"none\":null,\"i\":-5,\"n\":0.1,\"yes\":true,\"no\":false,"
                                "\"raw\":[1,2],\"null\":null,\"q\\\"\":[{\"x\":1}]}");
    cJSON *tree = NULL;
    assert_int_equal(json_parse_object(b.data, b.length, &tree, NULL), ERR_OK);
    cJSON_Delete(tree);
    buf_clear(&b);
    json_write_member_integer(&b, "members", 1); // without a brace, for json_object_edit
    json_write_member_integer(&b, "more", 2);
    assert_string_equal(b.data, "\"members\":1,\"more\":2");
    buf_free(&b);
}

static void test_integers(void **state) {
    (void)state;
    static const struct {
        int64_t value;
        const char *json;
    } cases[] = {
        {0, "\"k\":0"},
        {-1, "\"k\":-1"},
        {9, "\"k\":9"},
        {10, "\"k\":10"},
        {INT64_MAX, "\"k\":9223372036854775807"},
        {INT64_MIN, "\"k\":-9223372036854775808"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b;
        buf_init(&b, BUF_UNLIMITED);
        json_write_member_integer(&b, "k", cases[i].value);
        assert_string_equal(b.data, cases[i].json);
        buf_free(&b);
    }
}

static void test_numbers(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *json;
    } cases[] = {
        {0, "0"},
        {3, "3"},
        {-2, "-2"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {1e15, "1e+15"},
        {999999999999999, "999999999999999"},
        {1e22, "1e+22"},
        {1e-7, "1e-07"},
        {0.0000025, "2.5e-06"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {5e-324, "4.94065645841247e-324"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
        {NAN, "null"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b;
        cJSON *tree = NULL;
        buf_init(&b, BUF_UNLIMITED);
        buf_char(&b, '{');
        json_write_member_number(&b, "k", cases[i].value);
        assert_string_equal(b.data + 5, cases[i].json);
        buf_char(&b, '}');
        assert_int_equal(json_parse(b.data, b.length, &tree, NULL), ERR_OK);
        if (isfinite(cases[i].value)) {
            assert_true(json_number(tree, "k", -1) == cases[i].value);
        }
        cJSON_Delete(tree);
        buf_free(&b);
    }
}

static void test_overflow_is_reported(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 20);
    buf_char(&b, '{');
    json_write_member_text(&b, "key", "much longer than twenty bytes");
    json_write_member_integer(&b, "k", 1);
    buf_char(&b, '}');
    assert_true(b.overflow);
    assert_true(b.length <= 20);
    assert_true(text_starts_with("{\"key\":\"", buf_borrow(&b))); // never a hole in it
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings), cmocka_unit_test(test_random_bytes_parse_again),
        cmocka_unit_test(test_members), cmocka_unit_test(test_integers),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_overflow_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
