// SPDX-License-Identifier: MIT
// Tables of fields: what a body or a query of them may be, and the words of each refusal.
#include "base/json.h"
#include "http/field.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const states[] = {"all", "failed", "stuck", NULL};

static const struct field fields[] = {
    {.name = "prompt", .kind = FIELD_TEXT, .least = 1, .most = 20, .required = true, .help = "what is asked"},
    {.name = "limit", .kind = FIELD_INTEGER, .least = 1, .most = 100},
    {.name = "priority", .kind = FIELD_INTEGER, .least = -10, .most = 10},
    {.name = "bytes", .kind = FIELD_INTEGER},
    {.name = "hoursAgo", .kind = FIELD_INTEGER, .least = 1},
    {.name = "price", .kind = FIELD_NUMBER, .least = 0, .most = 2},
    {.name = "force", .kind = FIELD_FLAG},
    {.name = "parameters", .kind = FIELD_OBJECT},
    {.name = "items", .kind = FIELD_LIST, .least = 1, .most = 3},
    {.name = "status", .kind = FIELD_CHOICE, .choices = states},
    {.name = "timeout", .kind = FIELD_DURATION, .least = 1000, .most = 3600000},
    {.name = "metadata", .kind = FIELD_TEXTS, .most = 2},
    {.name = NULL},
};

static const struct field optional[] = {
    {.name = "limit", .kind = FIELD_INTEGER, .least = 1, .most = 100},
    {.name = "hoursAgo", .kind = FIELD_INTEGER, .least = 1},
    {.name = "price", .kind = FIELD_NUMBER},
    {.name = "force", .kind = FIELD_FLAG},
    {.name = "status", .kind = FIELD_CHOICE, .choices = states},
    {.name = "since", .kind = FIELD_DURATION},
    {.name = "userId", .kind = FIELD_TEXT, .most = 8},
    {.name = NULL},
};

static const struct field needed[] = {
    {.name = "id", .kind = FIELD_TEXT, .required = true},
    {.name = NULL},
};

static void test_bodies_taken(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "{\"prompt\":\"x\"}",
        " \n{ \"prompt\" : \"\\u00e9\" }\n",
        "{\"prompt\":\"x\",\"limit\":100,\"priority\":-10,\"bytes\":9007199254740991,\"hoursAgo\":5}",
        "{\"prompt\":\"x\",\"limit\":1e2,\"price\":0,\"bytes\":-9007199254740991}",
        "{\"prompt\":\"x\",\"limit\":3.0,\"price\":1.25,\"force\":false}",
        "{\"prompt\":\"x\",\"parameters\":{},\"items\":[1,{},null],\"status\":\"all\",\"timeout\":\"90s\"}",
        "{\"prompt\":\"x\",\"metadata\":{\"a\":\"b\",\"c\":\"\"}}",
        "{\"prompt\":\"x\",\"limit\":null,\"parameters\":null,\"metadata\":null,\"items\":null}",
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        cJSON *body = NULL;
        struct field_error error;
        if (!field_check_body(fields, bodies[i], strlen(bodies[i]), &body, &error))
            fail_msg("%s: %s", bodies[i], error.message);
        assert_non_null(json_text(body, "prompt", NULL));
        const cJSON *member;
        cJSON_ArrayForEach(member, body) assert_false(cJSON_IsNull(member));
        cJSON_Delete(body);
    }
}

static void test_bodies_refused(void **state) {
    (void)state;
    static const struct {
        const char *body, *code, *param, *says;
    } cases[] = {
        {"{\"prompt\":\"x\",\"limit\":\"5\"}", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got a string instead."},
        {"{\"prompt\":\"x\",\"limit\":1.5}", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got a decimal number instead."},
        {"{\"prompt\":\"x\",\"limit\":true}", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got a boolean instead."},
        {"{\"prompt\":\"x\",\"limit\":0}", "invalid_value", "limit",
         "Invalid value for 'limit': it is 0, give from 1 to 100."},
        {"{\"prompt\":\"x\",\"limit\":101}", "invalid_value", "limit",
         "Invalid value for 'limit': it is 101, give from 1 to 100."},
        {"{\"prompt\":\"x\",\"limit\":1e300}", "invalid_value", "limit",
         "Invalid value for 'limit': it is 1e+300, give from 1 to 100."},
        {"{\"prompt\":\"x\",\"priority\":-11}", "invalid_value", "priority",
         "Invalid value for 'priority': it is -11, give from -10 to 10."},
        {"{\"prompt\":\"x\",\"bytes\":9007199254740993}", "invalid_value", "bytes",
         "Invalid value for 'bytes': it is 9007199254740992, give from -9007199254740991 to "
         "9007199254740991."},
        {"{\"prompt\":\"x\",\"hoursAgo\":0}", "invalid_value", "hoursAgo",
         "Invalid value for 'hoursAgo': it is 0, give at least 1."},
        {"{\"prompt\":\"x\",\"price\":2.5}", "invalid_value", "price",
         "Invalid value for 'price': it is 2.5, give from 0 to 2."},
        {"{\"prompt\":\"x\",\"price\":-1}", "invalid_value", "price",
         "Invalid value for 'price': it is -1, give from 0 to 2."},
        {"{\"prompt\":\"x\",\"force\":1}", "invalid_type", "force",
         "Invalid type for 'force': expected a boolean, but got an integer instead."},
        {"{\"prompt\":\"x\",\"parameters\":[]}", "invalid_type", "parameters",
         "Invalid type for 'parameters': expected an object, but got an array instead."},
        {"{\"prompt\":\"x\",\"items\":{}}", "invalid_type", "items",
         "Invalid type for 'items': expected an array, but got an object instead."},
        {"{\"prompt\":\"x\",\"items\":[]}", "invalid_value", "items",
         "Invalid value for 'items': it is empty, give from 1 to 3 entries."},
        {"{\"prompt\":\"x\",\"items\":[1,2,3,4]}", "invalid_value", "items",
         "Invalid value for 'items': it has 4 entries, give from 1 to 3 entries."},
        {"{\"prompt\":\"x\",\"status\":\"no\"}", "invalid_value", "status",
         "Invalid value for 'status': it is 'no', give 'all', 'failed' or 'stuck'."},
        {"{\"prompt\":\"x\",\"status\":{}}", "invalid_type", "status",
         "Invalid type for 'status': expected a string, but got an object instead."},
        {"{\"prompt\":\"x\",\"timeout\":90}", "invalid_type", "timeout",
         "Invalid type for 'timeout': expected a string with a duration, such as 90s, 5m, 3h or 7d, but got "
         "an "
         "integer instead."},
        {"{\"prompt\":\"x\",\"timeout\":\"soon\"}", "invalid_value", "timeout",
         "Invalid value for 'timeout': 'soon' is not a duration, give one such as 90s, 5m, 3h or 7d."},
        {"{\"prompt\":\"x\",\"timeout\":\"2h\"}", "invalid_value", "timeout",
         "Invalid value for 'timeout': it is 2h, give from 1s to 1h."},
        {"{\"prompt\":\"x\",\"metadata\":{\"tags\":[]}}", "invalid_type", "metadata.tags",
         "Invalid type for 'metadata.tags': expected a string, but got an array instead."},
        {"{\"prompt\":\"x\",\"metadata\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}", "invalid_value", "metadata",
         "Invalid value for 'metadata': it has 3 members, give at most 2 members."},
        {"{}", "missing_required_parameter", "prompt", "Missing required parameter: 'prompt'."},
        {"", "missing_required_parameter", "prompt", "Missing required parameter: 'prompt'."},
        {"{\"prompt\":null}", "invalid_type", "prompt",
         "Invalid type for 'prompt': expected a string, but got null instead."},
        {"{\"prompt\":\"\"}", "invalid_value", "prompt",
         "Invalid value for 'prompt': it is empty, give from 1 to 20 bytes."},
        {"{\"prompt\":\"123456789012345678901\"}", "invalid_value", "prompt",
         "Invalid value for 'prompt': it has 21 bytes, give from 1 to 20 bytes."},
        {"{\"promt\":\"x\"}", "unknown_parameter", "promt",
         "Unknown parameter 'promt': did you mean 'prompt'?"},
        {"{\"Prompt\":\"x\"}", "unknown_parameter", "Prompt",
         "Unknown parameter 'Prompt': did you mean 'prompt'?"},
        {"{\"prompt\":\"x\",\"\\u001b[2J\":1}", "unknown_parameter", "\\x1b[2J",
         "Unknown parameter '\\x1b[2J': give 'prompt', 'limit', 'priority', 'bytes', 'hoursAgo', 'price', "
         "'force', "
         "'parameters', 'items', 'status', 'timeout' or 'metadata'."},
        {"{\"prompt\":\"x\",\n \"limit\":,}", "invalid_json", NULL,
         "Invalid JSON at byte 25 (line 2, column 10): a value should be here: look for a stray comma or a "
         "missing quote."},
        {"{\"prompt\":\"x\\u0000\"}", "invalid_json", NULL,
         "Invalid JSON at byte 13 (line 1, column 13): \\u0000 cannot be stored: remove it."},
        {"{\"prompt\":\"x", "invalid_json", NULL,
         "Invalid JSON at byte 13 (line 1, column 13): the text ends inside a string: it was cut, or a quote "
         "is "
         "missing."},
        {"[]", "invalid_json", NULL, "Invalid body: the JSON is not an object: put it in { }."},
        {"\"x\"", "invalid_json", NULL, "Invalid body: the JSON is not an object: put it in { }."},
        {"{\"prompt\":\"x\",\"prompt\":\"y\"}", "invalid_json", NULL,
         "Invalid body: the JSON object names \"prompt\" twice: keep one."},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cJSON *body = NULL;
        struct field_error error;
        if (field_check_body(fields, cases[i].body, strlen(cases[i].body), &body, &error))
            fail_msg("taken: %s", cases[i].body);
        assert_null(body);
        assert_string_equal(error.message, cases[i].says);
        assert_string_equal(error.code, cases[i].code);
        if (cases[i].param == NULL)
            assert_null(error.param);
        else
            assert_string_equal(error.param, cases[i].param);
        field_error_free(&error);
        assert_null(error.message);
    }
    cJSON *body = NULL;
    struct field_error error;
    assert_false(field_check_body(fields, "{\"prompt\":\"a\0b\"}", 16, &body, &error));
    assert_string_equal(error.message, "Invalid JSON at byte 13 (line 1, column 13): a NUL byte: remove it.");
    field_error_free(&error);
}

static void test_no_body_taken(void **state) {
    (void)state;
    cJSON *body = NULL;
    struct field_error error;
    assert_true(field_check_body(NULL, "", 0, &body, &error));
    assert_true(cJSON_IsObject(body));
    cJSON_Delete(body);
    assert_true(field_check_body(NULL, "{}", 2, &body, &error));
    cJSON_Delete(body);
    assert_false(field_check_body(NULL, "{\"a\":1}", 7, &body, &error));
    assert_string_equal(error.message, "Unknown parameter 'a': none is taken here.");
    field_error_free(&error);
}

static void test_many_values(void **state) {
    (void)state;
    static const struct {
        const char *unit;
        size_t count;
        bool fits;
    } cases[] = {
        {"[],", FIELD_VALUES / 2 - 10, true},
        {"[],", FIELD_VALUES / 2 + 10, false},
        {"1,", FIELD_VALUES - 10, true},
        {"1,", FIELD_VALUES + 10, false},
        {"\"\\\",,,[{\",", FIELD_VALUES / 2, true}, // what stands in strings is no value
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf text;
        cJSON *body = NULL;
        struct field_error error;
        buf_init(&text, BUF_UNLIMITED);
        buf_text(&text, "{\"prompt\":\"x\",\"parameters\":{\"a\":[");
        for (size_t n = 0; n < cases[i].count; n++)
            buf_text(&text, cases[i].unit);
        buf_text(&text, "1]}}");
        bool taken = field_check_body(fields, text.data, text.length, &body, &error);
        assert_int_equal(taken, cases[i].fits);
        if (!taken)
            assert_string_equal(error.message, "Invalid body: it has more than 1000000 values, send fewer at "
                                               "once or upload a file of lines.");
        field_error_free(&error);
        cJSON_Delete(body);
        buf_free(&text);
    }
}

static void test_raw(void **state) {
    (void)state;
    static const char text[] = "{\"parameters\" : {\"seed\":12345678901234567890, \"t\":1.10,\"n\":null} "
                               ",\"\\u0070rice\":1.50,\"limit\":null}";
    char *raw = field_raw(text, "parameters");
    assert_string_equal(raw, "{\"seed\":12345678901234567890, \"t\":1.10,\"n\":null}");
    free(raw);
    raw = field_raw(text, "price");
    assert_string_equal(raw, "1.50");
    free(raw);
    assert_null(field_raw(text, "limit"));
    assert_null(field_raw(text, "seed"));
    assert_null(field_raw(NULL, "seed"));
}

static void test_body_integers(void **state) {
    (void)state;
    static const char text[] = "{\"prompt\":\"x\",\"timeout\":\"90s\",\"bytes\":9007199254740991}";
    cJSON *body = NULL;
    struct field_error error;
    assert_true(field_check_body(fields, text, strlen(text), &body, &error));
    assert_int_equal(field_body_integer(fields, body, "timeout", -1), 90000);
    assert_true(field_body_integer(fields, body, "bytes", -1) == 9007199254740991);
    assert_int_equal(field_body_integer(fields, body, "limit", -1), -1);
    cJSON_Delete(body);
}

static void test_queries_taken(void **state) {
    (void)state;
    struct query q;
    struct field_error error;
    assert_int_equal(
        query_parse(&q, "limit=20&hoursAgo=24&price=0.5&force=true&status=stuck&since=1h30m&userId=%C3%A9",
                    NULL),
        ERR_OK);
    assert_true(field_check_query(optional, &q, &error));
    assert_int_equal(field_integer(optional, &q, "limit", -1), 20);
    assert_int_equal(field_integer(optional, &q, "hoursAgo", -1), 24);
    assert_int_equal(field_integer(optional, &q, "force", -1), 1);
    assert_int_equal(field_integer(optional, &q, "since", -1), 5400000);
    assert_int_equal(field_integer(optional, &q, "none", -1), -1);
    query_free(&q);
    assert_true(field_check_query(optional, &q, &error));
    assert_true(field_check_query(NULL, &q, &error));
    assert_int_equal(field_integer(optional, &q, "limit", 7), 7);
}

static void test_queries_refused(void **state) {
    (void)state;
    static const struct {
        const struct field *fields;
        const char *query, *code, *param, *says;
    } cases[] = {
        {optional, "limit=0", "invalid_value", "limit",
         "Invalid value for 'limit': it is 0, give from 1 to 100."},
        {optional, "limit=x", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got 'x' instead."},
        {optional, "limit=0x10", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got '0x10' instead."},
        {optional, "limit=%205", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got ' 5' instead."},
        {optional, "limit=5%0a", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got '5\\n' instead."},
        {optional, "limit=5.5", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got a decimal number instead."},
        {optional, "limit=1e999", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got '1e999' instead."},
        {optional, "limit=%5B1%5D", "invalid_type", "limit",
         "Invalid type for 'limit': expected an integer, but got '[1]' instead."},
        {optional, "limit=", "invalid_value", "limit",
         "Invalid value for 'limit': it is empty, give one or leave the parameter out."},
        {optional, "userId", "invalid_value", "userId",
         "Invalid value for 'userId': it is empty, give one or leave the parameter out."},
        {optional, "userId=123456789", "invalid_value", "userId",
         "Invalid value for 'userId': it has 9 bytes, give at most 8 bytes."},
        {optional, "hoursAgo=99999999999999999999", "invalid_value", "hoursAgo",
         "Invalid value for 'hoursAgo': it is 1e+20, give from 1 to 9007199254740991."},
        {optional, "force=yes", "invalid_type", "force",
         "Invalid type for 'force': expected true or false, but got 'yes' instead."},
        {optional, "status=none", "invalid_value", "status",
         "Invalid value for 'status': it is 'none', give 'all', 'failed' or 'stuck'."},
        {optional, "since=24", "invalid_value", "since",
         "Invalid value for 'since': '24' is not a duration, give one such as 90s, 5m, 3h or 7d."},
        {optional, "since=-1h", "invalid_value", "since",
         "Invalid value for 'since': '-1h' is not a duration, give one such as 90s, 5m, 3h or 7d."},
        {optional, "limits=5", "unknown_parameter", "limits",
         "Unknown parameter 'limits': did you mean 'limit'?"},
        {NULL, "limit=5", "unknown_parameter", "limit", "Unknown parameter 'limit': none is taken here."},
        {needed, "", "missing_required_parameter", "id", "Missing required parameter: 'id'."},
        {needed, "key=secret", "unknown_parameter", "key", "Unknown parameter 'key': give 'id'."},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct query q;
        struct field_error error;
        assert_int_equal(query_parse(&q, cases[i].query, NULL), ERR_OK);
        bool taken = field_check_query(cases[i].fields, &q, &error);
        if (taken)
            fail_msg("taken: %s", cases[i].query);
        assert_string_equal(error.message, cases[i].says);
        assert_string_equal(error.param, cases[i].param);
        assert_string_equal(error.code, cases[i].code);
        field_error_free(&error);
        query_free(&q);
    }
}

static void test_described(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    field_describe(&out, NULL);
    assert_string_equal(buf_borrow(&out), "[]");
    buf_clear(&out);
    field_describe(&out, fields);
    cJSON *list = NULL;
    assert_int_equal(json_parse(out.data, out.length, &list, NULL), ERR_OK);
    assert_int_equal(cJSON_GetArraySize(list), COUNT(fields) - 1);
    assert_string_equal(json_text(cJSON_GetArrayItem(list, 0), "help", ""), "what is asked");
    assert_int_equal(json_integer(cJSON_GetArrayItem(list, 1), "most", 0), 100);
    assert_int_equal(cJSON_GetArraySize(json_get(cJSON_GetArrayItem(list, 9), "choices")), 3);
    cJSON_Delete(list);
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_taken),  cmocka_unit_test(test_bodies_refused),
        cmocka_unit_test(test_no_body_taken), cmocka_unit_test(test_raw),
        cmocka_unit_test(test_many_values),   cmocka_unit_test(test_body_integers),
        cmocka_unit_test(test_queries_taken), cmocka_unit_test(test_queries_refused),
        cmocka_unit_test(test_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
