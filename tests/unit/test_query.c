// SPDX-License-Identifier: MIT
// Queries and paths of requests: what is read, and what is refused.
#include "http/path.h"
#include "http/query.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_read(void **state) {
    (void)state;
    static const struct {
        const char *raw;
        const char *expected; // name=value; of each pair
    } cases[] = {
        {NULL, ""},
        {"", ""},
        {"&", ""},
        {"a=1", "a=1;"},
        {"a=1&b=2", "a=1;b=2;"},
        {"&a=1&&b=2&", "a=1;b=2;"},
        {"a", "a=;"},
        {"a=", "a=;"},
        {"a=b=c", "a=b=c;"},
        {"a=x+y%2Bz%20%26%3d", "a=x y+z &=;"},
        {"%61%3D=1", "a==1;"},
        {"expires_after[anchor]=created_at", "expires_after[anchor]=created_at;"},
        {"q=%C3%a9\xC3\xA9", "q=\xC3\xA9\xC3\xA9;"},
        {"q=%0A%7F", "q=\n\x7F;"},
        {"A=1&a=2", "A=1;a=2;"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct query q;
        struct err e = {0};
        char got[200] = "";
        if (query_parse(&q, cases[i].raw, &e) != ERR_OK)
            fail_msg("%s: %s", cases[i].raw, e.message);
        for (size_t n = 0; n < q.count; n++) {
            size_t used = strlen(got);
            snprintf(got + used, sizeof got - used, "%s=%s;", q.pairs[n].name, q.pairs[n].value);
            assert_ptr_equal(query_get(&q, q.pairs[n].name), q.pairs[n].value);
        }
        assert_string_equal(got, cases[i].expected);
        assert_null(query_get(&q, "none"));
        query_free(&q);
        assert_int_equal(q.count, 0);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *raw, *says;
    } cases[] = {
        {"a=%", "the value of 'a' in the query has a percent sign without two hex digits"},
        {"a=%4", "percent sign"},
        {"a=%4g", "percent sign"},
        {"a=%g4", "percent sign"},
        {"a=%%41", "percent sign"},
        {"a=%00", "a NUL byte (%00)"},
        {"%00=1", "a name in the query has a NUL byte"},
        {"a%=1", "a name in the query has a percent sign"},
        {"a=%C3", "not UTF-8"},
        {"a=\xC3", "not UTF-8"},
        {"a=%ED%A0%80", "not UTF-8"},
        {"a=%C0%AF", "not UTF-8"},
        {"a=x y", "raw blank or control"},
        {"a=x\ny", "raw blank or control"},
        {"a=x\x7F", "raw blank or control"},
        {"=1", "without a name"},
        {"a=1&=", "without a name"},
        {"a=1&a=1", "'a' is given twice: give it once"},
        {"a=1&%61=2", "'a' is given twice"},
        {"a&a", "'a' is given twice"},
        {"%1B[2J=1&%1B[2J=1", "'\\x1b[2J' is given twice"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct query q;
        struct err e = {0};
        assert_int_equal(query_parse(&q, cases[i].raw, &e), ERR_INVALID);
        if (strstr(e.message, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].raw, e.message);
        assert_int_equal(q.count, 0);
        assert_null(query_get(&q, "a"));
        query_free(&q);
    }
}

static void test_bounded(void **state) {
    (void)state;
    char raw[QUERY_PAIRS * 8] = "";
    struct query q;
    struct err e = {0};
    for (int i = 0; i < QUERY_PAIRS; i++)
        sprintf(raw + strlen(raw), "&p%d=", i);
    assert_int_equal(query_parse(&q, raw, &e), ERR_OK);
    assert_int_equal(q.count, QUERY_PAIRS);
    query_free(&q);
    strcat(raw, "&p");
    assert_int_equal(query_parse(&q, raw, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "more than 64 parameters"));
}

static void test_targets(void **state) {
    (void)state;
    static const struct {
        const char *target, *path, *query; // path NULL: refused
    } cases[] = {
        {"/", "/", NULL},
        {"/a/b", "/a/b", NULL},
        {"/a?", "/a", ""},
        {"/a?b=1?c", "/a", "b=1?c"},
        {"", NULL, NULL},
        {"*", NULL, NULL},
        {"a", NULL, NULL},
        {"?a", NULL, NULL},
        {"//evil.example/a", NULL, NULL},
        {"http://evil.example/a", NULL, NULL},
        {"/a#b", NULL, NULL},
        {"/a?b#c", NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t length = 0;
        const char *query = NULL;
        if (path_split(cases[i].target, &length, &query) != (cases[i].path != NULL))
            fail_msg("%s", cases[i].target);
        if (cases[i].path == NULL)
            continue;
        assert_int_equal(length, strlen(cases[i].path));
        assert_true(cases[i].query != NULL ? strcmp(query, cases[i].query) == 0 : query == NULL);
    }
}

static void test_matched(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *path;
        const char *id, *name; // what {id} and {name} are then
    } cases[] = {
        {"/", "/", NULL, NULL},
        {"/api/stats", "/api/stats", NULL, NULL},
        {"/api/generations/{id}", "/api/generations/gen_1", "gen_1", NULL},
        {"/api/generations/{id}/cancel", "/api/generations/a/cancel", "a", NULL},
        {"/api/models/{name}/resume", "/api/models/org%2Fmodel-7b%3Aq4/resume", NULL, "org/model-7b:q4"},
        {"/api/models/{name}/resume", "/api/models/a+b/resume", NULL, "a+b"},
        {"/api/models/{name}/resume", "/api/models/%63ancel/resume", NULL, "cancel"},
        {"/x/{id}/{name}", "/x/%c3%A9/...", "\xC3\xA9", "..."},
        {"/x/{id}/{name}", "/x/%25/.a", "%", ".a"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct path_segments segments;
        if (!path_match(cases[i].pattern, cases[i].path, strlen(cases[i].path), &segments))
            fail_msg("%s is not %s", cases[i].path, cases[i].pattern);
        const char *id = path_segment(&segments, "id"), *name = path_segment(&segments, "name");
        assert_true(cases[i].id != NULL ? id != NULL && strcmp(id, cases[i].id) == 0 : id == NULL);
        assert_true(cases[i].name != NULL ? name != NULL && strcmp(name, cases[i].name) == 0 : name == NULL);
        assert_null(path_segment(&segments, "i"));
        path_segments_free(&segments);
    }
}

static void test_not_found(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *path;
    } cases[] = {
        {"/", ""},
        {"/", "/x"},
        {"/api", "/api/"},
        {"/api", "/ap"},
        {"/api", "/API"},
        {"/api", "/%61pi"},
        {"/api", "//api"},
        {"/api", "/./api"},
        {"/api", "/x/../api"},
        {"/g/{id}", "/g"},
        {"/g/{id}", "/g/"},
        {"/g/{id}", "/g/a/"},
        {"/g/{id}", "/g/a/b"},
        {"/g/{id}", "/g/."},
        {"/g/{id}", "/g/.."},
        {"/g/{id}", "/g/%2e%2E"},
        {"/g/{id}", "/g/%2e"},
        {"/g/{id}", "/g/..%2f..%2fetc%2fpasswd"},
        {"/g/{id}", "/g/a%2f..%2fb"},
        {"/g/{id}", "/g/a%2f"},
        {"/g/{id}", "/g/%2fa"},
        {"/g/{id}", "/g/a%2f%2fb"},
        {"/g/{id}", "/g/a%00"},
        {"/g/{id}", "/g/a%0a"},
        {"/g/{id}", "/g/a%7f"},
        {"/g/{id}", "/g/a%C2%85"},
        {"/g/{id}", "/g/a\n"},
        {"/g/{id}", "/g/a b"},
        {"/g/{id}", "/g/a%"},
        {"/g/{id}", "/g/a%4"},
        {"/g/{id}", "/g/%ff"},
        {"/g/{id}", "/g/\xff"},
        {"/g/{id}/cancel", "/g/a"},
        {"/g/{id}/cancel", "/g/a/cancel/"},
        {"/g/{id}/cancel", "/g//cancel"},
        {"/g/{id}/cancel", "/g/a%2Fcancel"},
        {"/g/{id}/cancel", "/g/a/retry"},
        {"/x/{a}/{b}", "/x/a"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct path_segments segments;
        if (path_match(cases[i].pattern, cases[i].path, strlen(cases[i].path), &segments))
            fail_msg("%s is %s", cases[i].path, cases[i].pattern);
        assert_int_equal(segments.count, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),    cmocka_unit_test(test_refused), cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_targets), cmocka_unit_test(test_matched), cmocka_unit_test(test_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
