// SPDX-License-Identifier: MIT
// Tables and what terminals are given: widths, cuts, escapes, ages, colours.
#include "base/mem.h"
#include "base/text.h"
#include "cli/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct table_column columns[] = {
    {"ID", false, false}, {"N", true, false}, {"TEXT", false, true}, {"MORE", false, true}};

struct sheet {
    char *text;
    size_t length;
    FILE *stream;
    struct table *table;
};

static void open_sheet(struct sheet *s, const struct terminal *terminal) {
    s->stream = open_memstream(&s->text, &s->length);
    s->table = table_new(s->stream, terminal, columns, 4);
}

static void add(struct sheet *s, const char *id, int64_t n, const char *text, const char *more) {
    table_cell_id(s->table, id);
    table_cell_integer(s->table, n);
    table_cell(s->table, text, STYLE_PLAIN);
    table_cell(s->table, more, STYLE_GOOD);
}

static void close_sheet(struct sheet *s) {
    table_flush(s->table);
    table_free(s->table);
    fclose(s->stream);
}

static void test_aligned(void **state) {
    (void)state;
    struct terminal pipe_ = {0};
    struct sheet s;
    open_sheet(&s, &pipe_);
    add(&s, "01890000-0000-7000-8000-0123456789ab", 7, "wide 漢字", "end");
    add(&s, "short", 12345, NULL, "");
    add(&s, NULL, 0, "a\nb\x1b[31m", "e");
    close_sheet(&s);
    assert_string_equal(s.text, "ID            N  TEXT          MORE\n"
                                "456789ab      7  wide 漢字     end\n"
                                "short     12345  -             -\n"
                                "-             0  a\\nb\\x1b[31m  e\n");
    free(s.text);
}

static void test_nothing(void **state) {
    (void)state;
    struct terminal pipe_ = {0};
    struct sheet s;
    open_sheet(&s, &pipe_);
    close_sheet(&s);
    assert_string_equal(s.text, "");
    free(s.text);
    table_free(NULL);
}

static void test_narrow(void **state) {
    (void)state;
    char long_text[500];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    for (size_t width = 1; width <= 120; width++) {
        struct terminal t = {.present = true, .width = width, .height = 24};
        struct sheet s;
        open_sheet(&s, &t);
        add(&s, "01890000-0000-7000-8000-0123456789ab", 7, long_text,
            "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字");
        close_sheet(&s);
        size_t lines = 0;
        for (char *line = strtok(s.text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
            assert_true(text_is_utf8(line, strlen(line)));
            assert_true(text_width(line) <= width);
            lines++;
        }
        assert_int_equal(lines, 2);
        free(s.text);
    }
}

static void test_cut(void **state) {
    (void)state;
    struct terminal t = {.present = true, .width = 30, .height = 24};
    struct sheet s;
    open_sheet(&s, &t);
    add(&s, "abcdefgh", 1, "a text that is too long", "ok");
    close_sheet(&s);
    assert_string_equal(s.text, "ID        N  TEXT         MORE\n"
                                "abcdefgh  1  a text tha…  ok\n");
    free(s.text);
}

static void test_colour(void **state) {
    (void)state;
    struct terminal t = {.present = true, .width = 80, .height = 24, .colour = true};
    struct sheet s;
    open_sheet(&s, &t);
    add(&s, "abcdefgh", 1, "x", "ok");
    close_sheet(&s);
    assert_non_null(strstr(s.text, "\x1b[1mID\x1b[0m"));
    assert_non_null(strstr(s.text, "\x1b[32mok\x1b[0m"));
    free(s.text);
}

static void test_blocks(void **state) {
    (void)state;
    struct terminal pipe_ = {0};
    struct sheet s;
    open_sheet(&s, &pipe_);
    for (int i = 0; i < 1000; i++)
        add(&s, "id", i, "text", "more");
    assert_int_equal(table_rows(s.table), 1000);
    fflush(s.stream);
    assert_true(s.length > 1000); // most of it does not wait for the end
    close_sheet(&s);
    size_t lines = 0;
    for (const char *c = s.text; *c != '\0'; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 1001);
    free(s.text);
}

static void test_lines(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t lines;
        const char *shown;
    } cases[] = {
        {"", 0, ""},
        {"one", 0, "> one\n"},
        {"one\n", 0, "> one\n"},
        {"one\r\ntwo", 0, "> one\n> two\n"},
        {"a\n\nb", 0, "> a\n> \n> b\n"},
        {"a\x1b]0;x\x07", 0, "> a\\x1b]0;x\\x07\n"},
        {"a\nb\nc\nd", 2, "> a\n> b\n> … 2 more lines\n"},
        {"a\nb\nc\n", 2, "> a\n> b\n> … 1 more line\n"},
        {"a\nb\n", 2, "> a\n> b\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        terminal_write_lines(&out, cases[i].text, strlen(cases[i].text), "> ", cases[i].lines);
        assert_string_equal(buf_borrow(&out), cases[i].shown);
        buf_free(&out);
    }
}

static void test_figures(void **state) {
    (void)state;
    static const struct {
        int64_t ago_s;
        const char *age;
    } ages[] = {{-5, "now"},    {0, "now"},   {1, "1s"},       {119, "119s"},  {120, "2m"},
                {7199, "119m"}, {7200, "2h"}, {172799, "47h"}, {172800, "2d"}, {8640000, "100d"}};
    char text[64];
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        terminal_format_age(1700000000000 - ages[i].ago_s * 1000, 1700000000000, text, sizeof text);
        assert_string_equal(text, ages[i].age);
    }
    terminal_format_age(0, 1700000000000, text, sizeof text);
    assert_string_equal(text, "-");
    static const struct {
        int64_t n;
        const char *text;
    } counts[] = {{0, "0"},          {999, "999"},        {1000, "1.0k"},
                  {12345, "12.3k"},  {999949, "999.9k"},  {999950, "1.0M"},
                  {1500000, "1.5M"}, {INT64_MAX, "9.2E"}, {-12345, "-12.3k"}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        terminal_format_count(counts[i].n, text, sizeof text);
        assert_string_equal(text, counts[i].text);
    }
    terminal_format_time(0, text, sizeof text);
    assert_string_equal(text, "-");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned), cmocka_unit_test(test_nothing), cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_cut),     cmocka_unit_test(test_colour),  cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_lines),   cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
