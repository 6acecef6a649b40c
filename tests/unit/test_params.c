// SPDX-License-Identifier: MIT
// --param and --params merged: what is JSON and what is text, who wins, what is refused.
#include "cli/params.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PAIRS 4
static size_t count_of(const char *const pairs[PAIRS]) {
    size_t n = 0;
    while (n < PAIRS && pairs[n] != NULL)
        n++;
    return n;
}

static void test_merged(void **state) {
    (void)state;
    static const struct {
        const char *object;
        const char *pairs[PAIRS];
        const char *merged;
    } cases[] = {
        {NULL, {NULL}, "{}"},
        {"{}", {NULL}, "{}"},
        {NULL, {"n=0.2"}, "{\"n\":0.2}"},
        {NULL, {"n=12345678901234567890"}, "{\"n\":12345678901234567890}"},
        {NULL, {"b=true", "z=null"}, "{\"b\":true,\"z\":null}"},
        {NULL, {"l=[1,2]", "o={\"x\": 1}"}, "{\"l\":[1,2],\"o\":{\"x\": 1}}"},
        {NULL, {"t=hello world"}, "{\"t\":\"hello world\"}"},
        {NULL, {"t=\"quoted\""}, "{\"t\":\"\\\"quoted\\\"\"}"},
        {NULL, {"t=True"}, "{\"t\":\"True\"}"},
        {NULL, {"t=1 2"}, "{\"t\":\"1 2\"}"},
        {NULL, {"t="}, "{\"t\":\"\"}"},
        {NULL, {"t=a=b"}, "{\"t\":\"a=b\"}"},
        {NULL, {"t=007"}, "{\"t\":\"007\"}"},
        {NULL, {"k=1", "k=2"}, "{\"k\":2}"},
        {"{\"a\":1.50,\"b\":\"x\"}", {"c=3"}, "{\"a\":1.50,\"b\":\"x\",\"c\":3}"},
        {"{\"a\":1.50,\"b\":\"x\"}", {"a=2"}, "{\"b\":\"x\",\"a\":2}"},
        {"{\"a\":1}", {"a=2", "aa=3"}, "{\"a\":2,\"aa\":3}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        struct err e = {0};
        buf_init(&out, BUF_UNLIMITED);
        assert_int_equal(params_merge(&out, cases[i].object, cases[i].pairs, count_of(cases[i].pairs), &e),
                         ERR_OK);
        assert_string_equal(buf_borrow(&out), cases[i].merged);
        buf_free(&out);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *object;
        const char *pairs[PAIRS];
        const char *message;
    } cases[] = {
        {NULL, {"novalue"}, "--param 'novalue' is not of the form K=V"},
        {NULL, {"=v"}, "is not of the form K=V"},
        {NULL, {""}, "is not of the form K=V"},
        {NULL, {"a=1", "b=\xff"}, "is not valid UTF-8"},
        {"[1]", {NULL}, "--params"},
        {"{", {NULL}, "--params"},
        {"{} x", {NULL}, "--params"},
        {"{\"a\":\"\\u0000\"}", {NULL}, "--params"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        struct err e = {0};
        buf_init(&out, BUF_UNLIMITED);
        assert_int_equal(params_merge(&out, cases[i].object, cases[i].pairs, count_of(cases[i].pairs), &e),
                         ERR_INVALID);
        assert_non_null(strstr(e.message, cases[i].message));
        assert_int_equal(out.length, 0);
        buf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_merged), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
