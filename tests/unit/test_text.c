// SPDX-License-Identifier: MIT
// base/text: UTF-8 validity over all of it, escapes, widths, nearest names, shell words.
#include "base/text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static size_t encode(uint32_t c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

static void test_every_code_point(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x1FFFFF; c++) {
        char bytes[4];
        uint32_t back = 0;
        size_t size = encode(c, bytes);
        bool valid = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
        if (text_utf8_decode(bytes, size, &back) != (valid ? size : 0) || (valid && back != c) ||
            text_is_utf8(bytes, size) != valid || text_utf8_size(bytes, size - 1) != 0) {
            fail_msg("U+%04X", c);
        }
    }
}

static void test_invalid_utf8(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xfe",
        "\xff",
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xc3(",
        "\xe2(\xac",
        "\xe2\x82(",
        "\xf0(\x98\x80",
        "\xf0\x9f(\x80",
        "\xf0\x9f\x98(",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        for (size_t lead = 0; lead < 20; lead++) { // at every place of the word-wise loop
            char text[64];
            memset(text, 'a', lead);
            strcpy(text + lead, bad[i]);
            strcat(text, "bcdefghijk");
            assert_false(text_is_utf8(text, strlen(text)));
            assert_true(text_is_utf8(text, lead));
            assert_false(text_is_utf8(text, lead + strlen(bad[i])));
        }
    }
    assert_true(text_is_utf8("", 0));
    assert_true(text_is_utf8("a\0b", 3));
    assert_true(text_is_utf8("\xef\xbb\xbf", 3)); // a byte order mark is a character
}

static void test_escape(void **state) {
    (void)state;
    static const struct {
        const char *in;
        size_t length, columns;
        const char *out;
    } cases[] = {
        {"", 0, 0, ""},
        {"plain", 5, 0, "plain"},
        {"a\0b", 3, 0, "a\\x00b"},
        {"a\nb\tc\rd\x1b", 8, 0, "a\\nb\\tc\\rd\\x1b"},
        {"\\n", 2, 0, "\\n"}, // a backslash stays: escaping twice changes nothing
        {"\x7f", 1, 0, "\\x7f"},
        {"\xc2\x80\xc2\x9f\xc2\xa0", 6, 0, "\\x80\\x9f\xc2\xa0"},
        {"\xc2", 1, 0, "\\xc2"},
        {"\xff\xc3\xa9", 3, 0, "\\xff\xc3\xa9"},
        {"\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6", 9, 0, "\\u2028\\u202e\\u2066"},
        {"abcdef", 6, 6, "abcdef"},
        {"abcdefg", 7, 6, "abcde\xe2\x80\xa6"},
        {"abcdefg", 7, 1, "\xe2\x80\xa6"},
        {"a", 1, 1, "a"},
        {"abcd\nf", 6, 7, "abcd\\nf"},
        {"abcd\nf", 6, 6, "abcd\xe2\x80\xa6"}, // no half escape
        {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 9, 6, "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"},
        {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 9, 5, "\xe6\x97\xa5\xe6\x9c\xac\xe2\x80\xa6"},
        {"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 9, 4, "\xe6\x97\xa5\xe2\x80\xa6"}, // wide ones count two
        {"e\xcc\x81x", 4, 2, "e\xcc\x81x"},                                         // a combining one none
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b;
        buf_init(&b, BUF_UNLIMITED);
        text_escape(&b, cases[i].in, cases[i].length, cases[i].columns);
        assert_string_equal(buf_borrow(&b), cases[i].out);
        buf_free(&b);
    }
}

static void test_escape_array(void **state) {
    (void)state;
    static const struct {
        const char *in;
        size_t size;
        const char *out;
    } cases[] = {
        {"", 4, ""},
        {"abc", 4, "abc"},
        {"abcd", 4, "\xe2\x80\xa6"},
        {"abcd", 5, "abcd"},
        {"abcde", 5, "a\xe2\x80\xa6"},
        {"a\nb", 5, "a\\nb"},
        {"a\n\n", 6, "a\\n\\n"},
        {"ab\n\n", 6, "ab\xe2\x80\xa6"},
        {"\xf0\x9f\x98\x80", 5, "\xf0\x9f\x98\x80"},
        {"\xf0\x9f\x98\x80", 4, "\xe2\x80\xa6"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[8];
        memset(out, '#', sizeof out);
        assert_int_equal(text_escape_array(out, cases[i].size, cases[i].in, strlen(cases[i].in)),
                         strlen(cases[i].out));
        assert_string_equal(out, cases[i].out);
        assert_int_equal(out[cases[i].size], '#');
    }
}

static void test_width(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t width;
    } cases[] = {
        {"", 0},
        {"abc", 3},
        {"caf\xc3\xa9", 4},
        {"cafe\xcc\x81", 4},
        {"\xe6\x97\xa5\xe6\x9c\xac", 4},             // CJK
        {"\xed\x95\x9c", 2},                         // Hangul
        {"\xf0\x9f\x98\x80", 2},                     // emoji
        {"\xef\xbc\xa1", 2},                         // fullwidth A
        {"\xef\xbd\xb1", 1},                         // halfwidth katakana
        {"\xe2\x80\x8b", 0},                         // zero width space
        {"\xf0\xa0\x80\x80", 2},                     // CJK extension B
        {"\xe2\x80\xa6", 1},                         // …
        {"\xe2\x96\x88\xe2\x94\x80\xe2\x9c\x93", 3}, // bar, line, check mark
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(text_width(cases[i].text), cases[i].width);
    }
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {
        "submit",      "status", "stuck", "list", "logs", "poll_interval", "heartbeat_interval",
        "gpt-4o-mini", NULL};
    static const struct {
        const char *name, *nearest;
    } cases[] = {
        {"submti", "submit"},
        {"sumbit", "submit"},
        {"SUBMIT", "submit"},
        {"lst", "list"},
        {"polinterval", "poll_interval"},
        {"gpt4o-mini", "gpt-4o-mini"},
        {"stuk", "stuck"},
        {"log", "logs"},
        {"", NULL},
        {"xyz", NULL},
        {"a", NULL},
        {"completely", NULL},
        {"heartbeat-interval", "heartbeat_interval"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *found = text_nearest(cases[i].name, names, COUNT(names));
        if (!cases[i].nearest) {
            assert_null(found);
        } else {
            assert_non_null(found);
            assert_string_equal(found, cases[i].nearest);
        }
    }
    char huge[10000];
    memset(huge, 's', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    assert_null(text_nearest(huge, names, COUNT(names)));
    const char *const long_candidate[] = {huge};
    assert_null(text_nearest("ssss", long_candidate, 1));
    assert_null(text_nearest("submit", NULL, 0));
}

static void test_words(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *words[6]; // NULL-terminated; {"!"} means refused
    } cases[] = {
        {"", {NULL}},
        {" \t\n ", {NULL}},
        {"a", {"a", NULL}},
        {"a b", {"a", "b", NULL}},
        {"  a\tb\n", {"a", "b", NULL}},
        {"'a b' c", {"a b", "c", NULL}},
        {"\"a b\"c", {"a bc", NULL}},
        {"a''b", {"ab", NULL}},
        {"'' \"\"", {"", "", NULL}},
        {"''", {"", NULL}},
        {"a\\ b", {"a b", NULL}},
        {"'a\\'", {"a\\", NULL}},
        {"\"a\\\"b\\\\c\\$d\\`e\\n\"", {"a\"b\\c$d`e\\n", NULL}},
        {"\\n", {"n", NULL}},
        {"a\\\nb", {"ab", NULL}},
        {"a \\\n b", {"a", "b", NULL}},
        {"\"a\\\nb\"", {"ab", NULL}},
        {"'a\\\nb'", {"a\\\nb", NULL}},
        {"a\\", {"a\\", NULL}},
        {"$HOME *.c | x;y", {"$HOME", "*.c", "|", "x;y", NULL}}, // no expansion, no operators
        {"--a=\"b c\"'d'e", {"--a=b cde", NULL}},
        {"'it'\\''s'", {"it's", NULL}},
        {"'open", {"!"}},
        {"\"open", {"!"}},
        {"\"open\\\"", {"!"}},
        {"a 'b\"", {"!"}},
        {"\"open\\", {"!"}},
        {"caf\xc3\xa9 \xe6\x97\xa5", {"caf\xc3\xa9", "\xe6\x97\xa5", NULL}},
        {"a b c d e", {"a", "b", "c", "d", "e", NULL}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char **words = text_words(cases[i].line);
        if (cases[i].words[0] && strcmp(cases[i].words[0], "!") == 0) {
            assert_null(words);
            continue;
        }
        assert_non_null(words);
        size_t n = 0;
        for (; cases[i].words[n]; n++) {
            assert_non_null(words[n]);
            assert_string_equal(words[n], cases[i].words[n]);
        }
        assert_null(words[n]);
        text_words_free(words);
    }
    text_words_free(NULL);
}

static void test_small_searches(void **state) {
    (void)state;
    char text[] = " \t\r\n a b \v\f";
    assert_string_equal(text_trim(text), "a b");
    char blank[] = " \n ";
    assert_string_equal(text_trim(blank), "");
    assert_true(text_starts_with("abc", ""));
    assert_true(text_starts_with("abc", "ab"));
    assert_false(text_starts_with("ab", "abc"));
    assert_true(text_ends_with("abc", ""));
    assert_true(text_ends_with("abc", "bc"));
    assert_false(text_ends_with("bc", "abc"));
    const char *hay = "Content-Type: Text/Event-Stream";
    assert_ptr_equal(text_find_nocase(hay, "text/event"), hay + 14);
    assert_ptr_equal(text_find_nocase(hay, ""), hay);
    const char *twice = "aab";
    assert_ptr_equal(text_find_nocase(twice, "AB"), twice + 1);
    assert_null(text_find_nocase(hay, "json"));
    assert_null(text_find_nocase("", "x"));
    assert_null(text_find_nocase("stream", "streams"));
}

static void test_take_advice(void **state) {
    (void)state;
    static const struct {
        const char *message, *first, *advice;
    } cases[] = {
        {"no key: set one", "no key", "set one"},
        {"a.ini:3: bad: write name = value", "a.ini:3: bad", "write name = value"},
        {"nothing to do", "nothing to do", NULL},
        {"12:30", "12:30", NULL},
        {"", "", NULL},
        {"x: ", "x", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *advice, *first = text_take_advice(cases[i].message, &advice);
        assert_string_equal(first, cases[i].first);
        assert_int_equal(advice == NULL, cases[i].advice == NULL);
        if (advice)
            assert_string_equal(advice, cases[i].advice);
        free(first);
        free(advice);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_escape_array),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_small_searches),
        cmocka_unit_test(test_take_advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
