// SPDX-License-Identifier: MIT
// Command lines: every form of an option, every kind of value, every refusal.
#include "base/buf.h"
#include "cli/args.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct args_option common[] = {
    {"config", 'c', ARGS_TEXT, "FILE", "the configuration", 0, 0},
    {"json", 0, ARGS_FLAG, NULL, "JSON", 0, 0},
    {"quiet", 'q', ARGS_FLAG, NULL, "less", 0, 0},
    {NULL, 0, ARGS_FLAG, NULL, NULL, 0, 0},
};
static const struct args_option more[] = {
    {"model", 0, ARGS_TEXT, "M", "the model", 0, 0},
    {"follow", 'f', ARGS_FLAG, NULL, "follow", 0, 0},
    {"output", 'o', ARGS_TEXT, "FILE", "where to", 0, 0},
    {"param", 0, ARGS_LIST, "K=V", "a parameter", 0, 0},
    {"on-error", 0, ARGS_CHOICE, "continue|stop", "on errors", 0, 0},
    {"priority", 0, ARGS_INTEGER, "N", "first", -1000, 1000},
    {"max-cost", 0, ARGS_DECIMAL, "USD", "at most", 0, 0},
    {"delay", 0, ARGS_DURATION, "D", "later", 0, 0},
    {"drain", 0, ARGS_FLAG, NULL, "drain", 0, 0},
    {NULL, 0, ARGS_FLAG, NULL, NULL, 0, 0},
};

#define WORDS 12
static int length_of(char *const words[WORDS]) {
    int n = 0;
    while (n < WORDS && words[n] != NULL)
        n++;
    return n;
}

static struct args *parse(char *const words[WORDS]) {
    struct args *a = NULL;
    struct err e = {0};
    int code = args_parse(&a, common, more, length_of(words), words, &e);
    assert_string_equal(e.message, "");
    assert_int_equal(code, ERR_OK);
    return a;
}

static void test_forms(void **state) {
    (void)state;
    static char *const forms[][WORDS] = {
        {"--model", "m", "-o", "out", "--json", "one", "two"},
        {"one", "--model=m", "two", "-oout", "--json"},
        {"--json", "one", "-o", "out", "two", "--model", "m"},
        {"-o", "x", "-o", "out", "--model", "y", "--json", "--model=m", "one", "--", "two"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct args *a = parse(forms[i]);
        assert_string_equal(args_text(a, "model"), "m");
        assert_string_equal(args_text(a, "output"), "out");
        assert_true(args_has(a, "json"));
        assert_false(args_has(a, "quiet"));
        assert_null(args_text(a, "config"));
        assert_int_equal(args_operand_count(a), 2);
        assert_string_equal(args_operand(a, 0), "one");
        assert_string_equal(args_operand(a, 1), "two");
        assert_null(args_operand(a, 2));
        args_free(a);
    }
}

static void test_dashes(void **state) {
    (void)state;
    struct args *a = parse((char *const[WORDS]){"-", "-qf", "--", "--json", "-x", "--"});
    assert_true(args_has(a, "quiet"));
    assert_true(args_has(a, "follow"));
    assert_false(args_has(a, "json"));
    assert_int_equal(args_operand_count(a), 4);
    assert_string_equal(args_operand(a, 0), "-");
    assert_string_equal(args_operand(a, 1), "--json");
    assert_string_equal(args_operand(a, 2), "-x");
    assert_string_equal(args_operand(a, 3), "--");
    args_free(a);
    // Flags and a value in one word; a value that begins with a dash; an empty value in a list.
    a = parse((char *const[WORDS]){"-qfoout", "--model", "-5", "--config=--json", "--param", "", "--priority",
                                   "-7"});
    assert_string_equal(args_text(a, "output"), "out");
    assert_string_equal(args_text(a, "model"), "-5");
    assert_string_equal(args_text(a, "config"), "--json");
    assert_int_equal(args_integer(a, "priority", 0), -7);
    args_free(a);
}

static void test_values(void **state) {
    (void)state;
    struct args *a = parse((char *const[WORDS]){"--on-error", "stop", "--priority", "1000", "--max-cost",
                                                "0.25", "--delay", "90s", "--param", "a=1", "--param=b=2"});
    size_t count = 0;
    const char *const *list = args_list(a, "param", &count);
    assert_int_equal(count, 2);
    assert_string_equal(list[0], "a=1");
    assert_string_equal(list[1], "b=2");
    assert_string_equal(args_text(a, "on-error"), "stop");
    assert_int_equal(args_integer(a, "priority", 5), 1000);
    assert_int_equal(args_integer(a, "delay", 5), 90000);
    assert_true(args_decimal(a, "max-cost", 5) > 0.2499 && args_decimal(a, "max-cost", 5) < 0.2501);
    args_free(a);
    a = parse((char *const[WORDS]){NULL});
    assert_int_equal(args_integer(a, "priority", 5), 5);
    assert_true(args_decimal(a, "max-cost", 5) > 4.9);
    args_list(a, "param", &count);
    assert_int_equal(count, 0);
    assert_int_equal(args_operand_count(a), 0);
    args_free(a);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        char *words[WORDS];
        const char *message; // a part of it
    } cases[] = {
        {{"--modle", "m"}, "unknown option --modle: did you mean --model?"},
        {{"--modle=m"}, "unknown option --modle: did you mean --model?"},
        {{"--zzzzzzzz"}, "unknown option --zzzzzzzz: see the help"},
        {{"-x"}, "unknown option -x: see the help"},
        {{"-qx"}, "unknown option -qx"},
        {{"-drain"}, "unknown option -drain: did you mean --drain?"},
        {{"-output=x"}, "did you mean --output=x?"},
        {{"--model"}, "--model lacks its value: give --model M"},
        {{"-o"}, "--output lacks its value: give --output FILE"},
        {{"--model", "--json"}, "--model lacks its value, --json follows"},
        {{"--model", "--param=a=1"}, "--model lacks its value, --param=a=1 follows"},
        {{"--model", ""}, "--model is empty"},
        {{"--model="}, "--model is empty"},
        {{"--json=yes"}, "--json takes no value: leave =yes out"},
        {{"--on-error", "explode"}, "--on-error is 'explode': give one of continue|stop"},
        {{"--on-error", "sto"}, "give one of continue|stop"},
        {{"--on-error", "continue|stop"}, "give one of continue|stop"},
        {{"--on-error", ""}, "give one of continue|stop"},
        {{"--priority", "1001"}, "--priority is 1001: give a number from -1000 to 1000"},
        {{"--priority", "-1001"}, "give a number from -1000 to 1000"},
        {{"--priority", "99999999999999999999"}, "give a number from -1000 to 1000"},
        {{"--priority", "ten"}, "is not a whole number"},
        {{"--priority", "1.5"}, "is not a whole number"},
        {{"--priority", " 1"}, "is not a whole number"},
        {{"--priority", ""}, "is not a whole number"},
        {{"--max-cost", "-1"}, "is not an amount"},
        {{"--max-cost", "nan"}, "is not an amount"},
        {{"--max-cost", "1e5"}, "is not an amount"},
        {{"--max-cost", "."}, "is not an amount"},
        {{"--max-cost", ""}, "is not an amount"},
        {{"--delay", "soon"}, "--delay is 'soon', which is not a duration"},
        {{"--delay", "-5s"}, "which is not a duration"},
        {{"--delay", ""}, "which is not a duration"},
        {{"operand", "--", "x", "--zzz"}, NULL}, // fine
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct args *a = NULL;
        struct err e = {0};
        int code = args_parse(&a, common, more, length_of(cases[i].words), cases[i].words, &e);
        if (cases[i].message == NULL) {
            assert_int_equal(code, ERR_OK);
        } else {
            if (strstr(e.message, cases[i].message) == NULL)
                fail_msg("case %zu: '%s' is not in '%s'", i, cases[i].message, e.message);
            assert_int_equal(code, ERR_INVALID);
            assert_null(a);
        }
        args_free(a);
    }
}

static void test_first_operand(void **state) {
    (void)state;
    static const struct {
        char *words[WORDS];
        int index;
    } cases[] = {
        {{"submit", "--model", "m"}, 0},
        {{"-c", "x", "--json", "submit", "--unknown"}, 3},
        {{"-cx", "submit"}, 1},
        {{"--config=x"}, -1},
        {{NULL}, -1},
        {{"--", "submit"}, 1},
        {{"-", "submit"}, 0},
        {{"--model", "m", "submit"}, -2},
        {{"-c"}, -2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = {0};
        assert_int_equal(args_first_operand(common, length_of(cases[i].words), cases[i].words, &e),
                         cases[i].index);
        assert_int_equal(e.message[0] != '\0', cases[i].index == -2);
    }
}

static void test_help(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    args_write_usage(&out, more, 10, 4, 50);
    assert_string_equal(buf_borrow(&out), " [--model M] [--follow] [--output FILE]\n"
                                          "    [--param K=V]… [--on-error continue|stop]\n"
                                          "    [--priority N] [--max-cost USD] [--delay D]\n"
                                          "    [--drain]");
    buf_clear(&out);
    args_write_help(&out, common, 0);
    assert_string_equal(buf_borrow(&out), "  -c, --config FILE  the configuration\n"
                                          "      --json         JSON\n"
                                          "  -q, --quiet        less\n");
    buf_free(&out);
    args_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),    cmocka_unit_test(test_dashes),        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_first_operand), cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
