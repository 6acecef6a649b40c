// SPDX-License-Identifier: MIT
// The CSV reader and writer by themselves: what is written comes back equal, cell for cell and byte for
// byte. What a file of it makes is in tests/cases/csv.cases.
#include "batch/csv.h"
#include "batch/sheet.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

// Takes a text of lines as one record.
static void take(struct csv *c, const char *text, size_t length) {
    const char *at = text, *end = text + length;
    struct err e = {.code = ERR_OK};
    for (int64_t number = 1; at < end; number++) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        const char *stop = lf ? lf : end;
        bool crlf = lf && stop > at && stop[-1] == '\r';
        assert_true(number == 1 || c->open);
        if (csv_take_line(c, at, (size_t)(stop - at) - crlf, crlf ? "\r\n" : lf ? "\n" : "", number, &e))
            fail_msg("%s: %s", e.message, text);
        at = lf ? lf + 1 : end;
    }
    assert_false(c->open);
}

static void test_written_comes_back(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t length;
    } cells[] = {
        {"", 0},     {"a", 1},  {"a b", 3},         {" a ", 3}, {",", 1},         {"\"", 1},
        {"\"\"", 2}, {"\n", 1}, {"\r\n", 2},        {"\r", 1},  {"a\r\nb\nc", 6}, {"a\"b\",\"c", 7},
        {"=1+1", 4}, {"@x", 2}, {"caf\xc3\xa9", 5}, {"12", 2},  {"\t", 1},        {"-", 1},
    };
    struct buf out;
    struct csv c;
    csv_init(&c);
    buf_init(&out, BUF_UNLIMITED);
    for (unsigned quoted = 0; quoted < 2; quoted++) {
        buf_clear(&out);
        for (size_t i = 0; i < COUNT(cells); i++) {
            if (i)
                buf_char(&out, ',');
            csv_write(&out, cells[i].text, cells[i].length, quoted);
        }
        buf_char(&out, '\n');
        take(&c, out.data, out.length);
        assert_int_equal(c.count, COUNT(cells));
        for (size_t i = 0; i < COUNT(cells); i++) {
            assert_int_equal(c.cells[i].length, cells[i].length);
            assert_memory_equal(csv_text(&c, i), cells[i].text, cells[i].length + 1);
            assert_true(c.cells[i].quoted || !quoted);
        }
    }
    csv_free(&c);
    buf_free(&out);
}

static void test_written(void **state) {
    (void)state;
    static const struct {
        const char *text, *plain, *quoted;
    } rows[] = {
        {"", "", "\"\""},
        {"a", "a", "\"a\""},
        {"a,b", "\"a,b\"", "\"a,b\""},
        {"say \"hi\"", "\"say \"\"hi\"\"\"", "\"say \"\"hi\"\"\""},
        {"a\nb", "\"a\nb\"", "\"a\nb\""},
        {"a\rb", "\"a\rb\"", "\"a\rb\""},
        {"=cmd()", "=cmd()", "\"=cmd()\""},
    };
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    for (size_t i = 0; i < COUNT(rows); i++) {
        buf_clear(&out);
        csv_write(&out, rows[i].text, strlen(rows[i].text), false);
        assert_string_equal(buf_borrow(&out), rows[i].plain);
        buf_clear(&out);
        csv_write(&out, rows[i].text, strlen(rows[i].text), true);
        assert_string_equal(buf_borrow(&out), rows[i].quoted);
    }
    buf_free(&out);
}

static void test_values(void **state) {
    (void)state;
    static const char *const values[] = {"0", "-0", "1.50", "1e9", "true", "false", "null", " 7 ", "\t7"};
    static const char *const texts[] = {"",      " ",   "-",   "01", "1.", "True",  "nul",
                                        "nulls", "NaN", "1 2", "{}", "[]", "\"a\"", "t"};
    for (size_t i = 0; i < COUNT(values); i++)
        if (!sheet_is_value(values[i], strlen(values[i])))
            fail_msg("%s is no value", values[i]);
    for (size_t i = 0; i < COUNT(texts); i++)
        if (sheet_is_value(texts[i], strlen(texts[i])))
            fail_msg("%s is a value", texts[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_comes_back),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
