// SPDX-License-Identifier: MIT
// Result lines: both formats, each kind of end, and bytes that do not fit into a line.
#include "base/buf.h"
#include "base/json.h"
#include "batch/compact.h"
#include "batch/export.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID "0197f3c2-1111-7abc-8def-0123456789ab"
#define HEX "0197f3c211117abc8def0123456789ab"
#define AT 1760000000123 // 2025-10-09T08:53:20.123Z

static struct result completed(void) {
    return (struct result){.id = ID,
                           .custom_id = "a",
                           .status = "completed",
                           .model_id = "m",
                           .parameters = "{}",
                           .input_tokens = -1,
                           .output_tokens = -1,
                           .cost = -1,
                           .completed_at = AT};
}

static struct result failed(const char *type, const char *message, int http_status, const char *body) {
    struct result result = completed();
    result.status = "failed";
    result.error_type = type;
    result.error_message = message;
    result.http_status = http_status;
    result.body = body;
    result.body_length = body ? strlen(body) : 0;
    return result;
}

static void set_text(struct result *result, const char *text, const char *mime) {
    result->text = text;
    result->text_length = strlen(text);
    result->text_mime = mime;
}

static void set_body(struct result *result, int http_status, const char *body) {
    result->http_status = http_status;
    result->body = body;
    result->body_length = strlen(body);
}

static void check(enum export_format format, const struct result *result, const char *expected) {
    struct buf out;
    struct err e = {.code = ERR_OK};
    cJSON *value = NULL;
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "before\n");
    export_line(&out, format, result);
    assert_string_equal(out.data + 7, expected);
    assert_int_equal(out.length, 7 + strlen(expected));
    assert_ptr_equal(strchr(out.data + 7, '\n'), out.data + out.length - 1);
    if (json_parse_object(out.data + 7, out.length - 7, &value, &e) != 0)
        fail_msg("%s: %s", e.message, out.data);
    cJSON_Delete(value);
    buf_free(&out);
}

// ---- OpenAI ----------------------------------------------------------------------

static void test_openai_completed(void **state) {
    (void)state;
    struct result result = completed();
    // Big numbers, escapes, repeated keys, order and blanks stay; line breaks go.
    set_body(&result, 200,
             "{\r\n  \"id\": 12345678901234567890,\n  \"x\": \"\\u00e9\\n\",\n\t\"n\": 1.50,\"n\":2\n}\n");
    result.request_id = "req_server";
    check(EXPORT_OPENAI, &result,
          "{\"id\":\"batch_req_" HEX
          "\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":"
          "\"req_server\",\"body\":{  \"id\": 12345678901234567890,  \"x\": \"\\u00e9\\n\",\t\"n\": "
          "1.50,\"n\":2}},"
          "\"error\":null}\n");
    result.request_id = NULL;
    result.custom_id = NULL;
    result.item_index = 41;
    set_body(&result, 201, "[]");
    check(EXPORT_OPENAI, &result,
          "{\"id\":\"batch_req_" HEX
          "\",\"custom_id\":\"item-41\",\"response\":{\"status_code\":201,\"request_id\":"
          "\"req_" HEX "\",\"body\":[]},\"error\":null}\n");
}

static void test_openai_completed_without_body(void **state) {
    (void)state;
    struct result result = completed();
    set_text(&result, "{\n\"data\":[1,\n2]}", "application/json; charset=utf-8");
    check(EXPORT_OPENAI, &result,
          "{\"id\":\"batch_req_" HEX
          "\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":"
          "\"req_" HEX "\",\"body\":{\"data\":[1,2]}},\"error\":null}\n");
    set_text(&result, "two\nlines \"q\"", "text/plain");
    result.input_tokens = 3;
    result.output_tokens = 4;
    check(EXPORT_OPENAI, &result,
          "{\"id\":\"batch_req_" HEX
          "\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":"
          "\"req_" HEX "\",\"body\":{\"id\":\"chatcmpl-" HEX
          "\",\"object\":\"chat.completion\",\"created\":1760000000,"
          "\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
          "\"two\\nlines \\\"q\\\"\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,"
          "\"completion_tokens\":4,\"total_tokens\":7}}},\"error\":null}\n");
    // What calls itself JSON and is none is text; tokens may be unknown, a finish reason known.
    set_text(&result, "{broken", "application/json");
    result.output_tokens = -1;
    result.finish_reason = "length";
    check(EXPORT_OPENAI, &result,
          "{\"id\":\"batch_req_" HEX
          "\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":"
          "\"req_" HEX "\",\"body\":{\"id\":\"chatcmpl-" HEX
          "\",\"object\":\"chat.completion\",\"created\":1760000000,"
          "\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
          "\"{broken\"},\"finish_reason\":\"length\"}],\"usage\":null}},\"error\":null}\n");
    set_text(&result, "\xff\xfe", "image/png");
    check(
        EXPORT_OPENAI, &result,
        "{\"id\":\"batch_req_" HEX "\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":"
        "\"req_" HEX "\",\"body\":{\"id\":\"chatcmpl-" HEX
        "\",\"object\":\"chat.completion\",\"created\":1760000000,"
        "\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
        "\"data:image/png;base64,//4=\"},\"finish_reason\":\"length\"}],\"usage\":null}},\"error\":null}\n");
    result.text = NULL;
    check(EXPORT_OPENAI, &result,
          "{\"id\":\"batch_req_" HEX
          "\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":"
          "\"req_" HEX "\",\"body\":{\"id\":\"chatcmpl-" HEX
          "\",\"object\":\"chat.completion\",\"created\":1760000000,"
          "\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null},"
          "\"finish_reason\":\"length\"}],\"usage\":null}},\"error\":null}\n");
}

static void check_response(const struct result *result, const char *response) {
    char expected[1024];
    snprintf(expected, sizeof expected,
             "{\"id\":\"batch_req_" HEX "\",\"custom_id\":\"a\",\"response\":%s,\"error\":null}\n", response);
    check(EXPORT_OPENAI, result, expected);
}

static void check_error(const struct result *result, const char *code, const char *message) {
    char expected[1024];
    snprintf(expected, sizeof expected,
             "{\"id\":\"batch_req_" HEX "\",\"custom_id\":\"a\",\"response\":null,\"error\":"
             "{\"code\":\"%s\",\"message\":\"%s\"}}\n",
             code, message);
    check(EXPORT_OPENAI, result, expected);
}

static void test_openai_refused_by_server(void **state) {
    (void)state;
    struct result result = failed("InvalidRequestError", "bad", 400, "{\"error\":\n{\"code\":\"x\"}}");
    result.request_id = "r";
    check_response(&result,
                   "{\"status_code\":400,\"request_id\":\"r\",\"body\":{\"error\":{\"code\":\"x\"}}}");
    result = failed("ModelGenerationError", "bad", 502, "<html>\nBad \"Gateway\"</html>");
    result.request_id = "r";
    check_response(&result, "{\"status_code\":502,\"request_id\":\"r\",\"body\":{\"error\":{\"message\":"
                            "\"<html>\\nBad \\\"Gateway\\\"</html>\"}}}");
    result = failed("ModelGenerationError", "no body came", 500, NULL);
    result.request_id = "r";
    check_response(
        &result,
        "{\"status_code\":500,\"request_id\":\"r\",\"body\":{\"error\":{\"message\":\"no body came\"}}}");
    result = failed("ModelGenerationError", "no body came", 500, "");
    result.request_id = "";
    check_response(&result, "{\"status_code\":500,\"request_id\":\"req_" HEX
                            "\",\"body\":{\"error\":{\"message\":\"no body came\"}}}");
    result = failed("ModelGenerationError", "m", 500, "caf\xe9");
    result.request_id = "r";
    check_response(
        &result,
        "{\"status_code\":500,\"request_id\":\"r\",\"body\":{\"error\":{\"message\":\"caf\xef\xbf\xbd\"}}}");
}

static void test_openai_failed_without_answer(void **state) {
    (void)state;
    static const struct {
        const char *type, *code;
    } rows[] = {
        {"RateLimitError", "rate_limit_exceeded"},
        {"AuthenticationError", "authentication_error"},
        {"QuotaError", "insufficient_quota"},
        {"TimeoutError", "request_timeout"},
        {"NetworkError", "connection_error"},
        {"ModelGenerationError", "model_error"},
        {"InvalidRequestError", "invalid_request"},
        {"ContentFilterError", "content_filter"},
        {"HeartbeatTimeoutError", "runner_stalled"},
        {"RunnerCrashError", "runner_crashed"},
        {"CommandError", "command_failed"},
        {"CancelledError", "batch_cancelled"},
        {"ConfigurationError", "configuration_error"},
        {"OperatorError", "failed_by_operator"},
        {"DeadlineError", "batch_expired"},
        {"InternalError", "internal_error"},
        {"SomethingNew", "generation_failed"},
        {NULL, "generation_failed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result result = failed(rows[i].type, "the reason", 0, NULL);
        check_error(&result, rows[i].code, "the reason");
    }
    // A 200 that was cut short must not pass for a good answer.
    struct result result = failed("TimeoutError", "no progress for 2m", 200, "{\"choices\":[]}");
    check_error(&result, "request_timeout", "no progress for 2m");
    // A verdict of a person or of the runner, after a server had refused.
    result = failed("OperatorError", "not wanted", 500, "{}");
    check_error(&result, "failed_by_operator", "not wanted");
    result = failed("TimeoutError", NULL, 0, NULL);
    check_error(&result, "request_timeout", "TimeoutError");
}

static void test_openai_cancelled(void **state) {
    (void)state;
    struct result result = failed(NULL, "no longer needed", 500, "{}");
    result.status = "cancelled";
    check_error(&result, "batch_cancelled", "no longer needed");
    result.error_message = NULL;
    check_error(&result, "batch_cancelled", "This request was cancelled before it was completed.");
}

// ---- JSONL -------------------------------------------------------------------------

static void test_jsonl(void **state) {
    (void)state;
    struct result result = completed();
    result.prompt = "say \"hi\"\n";
    set_text(&result, "hi\n", "text/plain");
    result.input_tokens = 0;
    result.output_tokens = 2;
    result.cost = 0.25;
    result.finish_reason = "stop";
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"custom_id\":\"a\",\"status\":\"completed\",\"model\":\"m\",\"prompt\":"
          "\"say \\\"hi\\\"\\n\",\"output\":\"hi\\n\",\"input_tokens\":0,\"output_tokens\":2,\"cost\":0.25,"
          "\"finish_reason\":\"stop\",\"completed_at\":\"2025-10-09T08:53:20.123Z\"}\n");
    result.parameters = "{\"seed\":12345678901234567890,\n\"x\":1.50}";
    result.input_tokens = result.output_tokens = -1;
    result.cost = -1;
    result.finish_reason = NULL;
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"custom_id\":\"a\",\"status\":\"completed\",\"model\":\"m\",\"prompt\":"
          "\"say "
          "\\\"hi\\\"\\n\",\"parameters\":{\"seed\":12345678901234567890,\"x\":1.50},\"output\":\"hi\\n\","
          "\"completed_at\":\"2025-10-09T08:53:20.123Z\"}\n");
    result = completed();
    result.custom_id = NULL;
    set_text(&result, "{\n\"a\" : 1e2}", "application/problem+json");
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"status\":\"completed\",\"model\":\"m\",\"output\":{\"a\" : 1e2},"
          "\"completed_at\":\"2025-10-09T08:53:20.123Z\"}\n");
    set_text(&result, "{]", "application/json");
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"status\":\"completed\",\"model\":\"m\",\"output\":\"{]\","
          "\"completed_at\":\"2025-10-09T08:53:20.123Z\"}\n");
    set_text(&result, "", "text/plain");
    result.completed_at = 0;
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"status\":\"completed\",\"model\":\"m\",\"output\":\"\"}\n");
    result.text = NULL;
    set_body(&result, 200, "{\"data\":[\n]}");
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"status\":\"completed\",\"model\":\"m\",\"output\":{\"data\":[]}}\n");
}

static void test_jsonl_failed(void **state) {
    (void)state;
    struct result result = failed("TimeoutError", "no progress for 2m", 200, "{}");
    set_text(&result, "half an ans", "text/plain");
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID
          "\",\"custom_id\":\"a\",\"status\":\"failed\",\"model\":\"m\",\"output\":\"half an ans\","
          "\"error_type\":\"TimeoutError\",\"error\":\"no progress for 2m\","
          "\"completed_at\":\"2025-10-09T08:53:20.123Z\"}\n");
    result = failed("InvalidRequestError", "bad", 400, "{\"error\":{}}");
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"custom_id\":\"a\",\"status\":\"failed\",\"model\":\"m\","
          "\"error_type\":\"InvalidRequestError\",\"error\":\"bad\","
          "\"completed_at\":\"2025-10-09T08:53:20.123Z\"}\n");
    result.cost = NAN;
    result.completed_at = 0;
    check(EXPORT_JSONL, &result,
          "{\"id\":\"" ID "\",\"custom_id\":\"a\",\"status\":\"failed\",\"model\":\"m\","
          "\"error_type\":\"InvalidRequestError\",\"error\":\"bad\"}\n");
}

static void test_jsonl_bytes(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *member;
    } rows[] = {
        {"\xff", 1, "\"output_base64\":\"/w==\""},
        {"\xff\xfe", 2, "\"output_base64\":\"//4=\""},
        {"\x89PNG\0\x01", 6, "\"output_base64\":\"iVBORwAB\""},
        {"a\0b", 3, "\"output_base64\":\"YQBi\""},
        {"\xe2\x82\xac", 3, "\"output\":\"\xe2\x82\xac\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result result = completed();
        struct buf out;
        result.text = rows[i].bytes;
        result.text_length = rows[i].length;
        result.text_mime = "application/json"; // a lie changes nothing
        buf_init(&out, BUF_UNLIMITED);
        export_line(&out, EXPORT_JSONL, &result);
        if (!strstr(out.data, rows[i].member))
            fail_msg("row %zu: %s", i, out.data);
        buf_free(&out);
    }
}

// ---- CSV ---------------------------------------------------------------------------

static void check_csv(const struct result *result, const char *expected) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    export_line(&out, EXPORT_CSV, result);
    assert_string_equal(buf_borrow(&out), expected);
    buf_free(&out);
}

// Of several outputs the first stands in a line; that there are more is said.
static void test_several_outputs(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    struct result result = completed();
    set_text(&result, "one", "text/plain");
    for (int count = 1; count <= 2; count++) {
        result.output_count = count;
        buf_clear(&out);
        export_line(&out, EXPORT_JSONL, &result);
        assert_non_null(strstr(out.data, "\"output\":\"one\""));
        assert_int_equal(strstr(out.data, "\"output_count\":2") != NULL, count == 2);
    }
    buf_free(&out);
}

static void test_csv(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    export_head(&out, EXPORT_CSV);
    assert_string_equal(
        out.data,
        "id,custom_id,status,model,prompt,parameters,output,output_base64,output_count,error_type,error,"
        "input_tokens,output_tokens,cost,finish_reason,completed_at\n");
    buf_clear(&out);
    export_head(&out, EXPORT_JSONL);
    export_head(&out, EXPORT_OPENAI);
    assert_int_equal(out.length, 0);
    buf_free(&out);

    struct result result = completed();
    result.prompt = "say \"hi\", please\n";
    result.parameters = "{\"n\":1}";
    set_text(&result, "hi\r\n", "text/plain");
    result.input_tokens = 0;
    result.output_tokens = 2;
    result.cost = 0.25;
    result.finish_reason = "stop";
    result.output_count = 3;
    check_csv(&result,
              ID ",a,completed,m,\"say \"\"hi\"\", please\n\",\"{\"\"n\"\":1}\",\"hi\r\n\",,3,,,0,2,0.25,"
                 "stop,2025-10-09T08:53:20.123Z\n");
    // Text that would read as something else is in quotes; what is unknown is not there at all.
    result = completed();
    result.custom_id = "007";
    result.prompt = "12";
    set_text(&result, "", "text/plain");
    result.completed_at = 0;
    check_csv(&result, ID ",007,completed,m,\"12\",,\"\",,,,,,,,,\n");
    result.custom_id = NULL;
    result.prompt = "=1+1";
    set_text(&result, "{\n\"a\" : 1}", "application/json");
    check_csv(&result, ID ",,completed,m,=1+1,,\"{\n\"\"a\"\" : 1}\",,,,,,,,,\n");
    result.text = NULL;
    set_body(&result, 200, "true");
    check_csv(&result, ID ",,completed,m,=1+1,,\"true\",,,,,,,,,\n");
    result.text = "\x89PNG\0\x01";
    result.text_length = 6;
    check_csv(&result, ID ",,completed,m,=1+1,,,iVBORwAB,,,,,,,,\n");
    result = failed("InvalidRequestError", "no, thanks", 400, "{}");
    result.cost = INFINITY;
    check_csv(&result,
              ID ",a,failed,m,,,,,,InvalidRequestError,\"no, thanks\",,,,,2025-10-09T08:53:20.123Z\n");
}

// ---- the checker of JSON, and the rest -------------------------------------------------

static void test_compact(void **state) {
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "1",
        "-12.5e+10",
        "1E-2",
        "0.0",
        "true",
        "false",
        "null",
        "\"\"",
        "\"\\u0000\\\"\\/\"",
        "[]",
        "{}",
        " [ ] ",
        "[[],{}]",
        "[1,2 , 3]",
        "{\"a\":1,\"a\":{\"b\":[null]}}",
        "\n{\n}\n",
        "\"\xe2\x80\xa8\"",
    };
    static const char *const bad[] = {
        "",
        " ",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "tru",
        "nul",
        "True",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12",
        "\"a\nb\"",
        "\"\t\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "{,}",
        "[}",
        "{]",
        "{\"a\":1]",
        "[1}",
        "1 2",
        "{} {}",
        "NaN",
        "'a'",
        "\"\xff\"",
        "\xef\xbb\xbf{}",
        "//x\n1",
    };
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!compact_is_json(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (compact_json(&out, bad[i], strlen(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    assert_false(compact_is_json("1\0", 2));
    assert_false(compact_is_json("\"\0\"", 3));
    assert_false(compact_is_json("\"\\\0\"", 4));
    assert_int_equal(out.length, 0);
    assert_true(compact_json(&out, "\r\n[1,\r\n\n 2]\n", 12));
    assert_string_equal(out.data, "[1, 2]");
    buf_free(&out);
}

static void test_compact_depth(void **state) {
    (void)state;
    for (size_t depth = 1023; depth <= 1026; depth++) {
        char text[4000];
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        // The innermost pair is empty: it holds nothing and needs no room.
        assert_int_equal(compact_is_json(text, 2 * depth), depth <= 1025);
        assert_false(compact_is_json(text, 2 * depth - 1));
    }
}

static void test_formats_and_caps(void **state) {
    (void)state;
    enum export_format format = EXPORT_OPENAI;
    assert_true(export_format_parse("jsonl", &format) && format == EXPORT_JSONL);
    assert_true(export_format_parse("openai", &format) && format == EXPORT_OPENAI);
    assert_true(export_format_parse("csv", &format) && format == EXPORT_CSV);
    assert_false(export_format_parse("txt", &format));
    assert_false(export_format_parse("", &format));
    struct buf out;
    struct result result = completed();
    set_text(&result, "a text longer than the buffer may become", "text/plain");
    buf_init(&out, 64);
    export_line(&out, EXPORT_JSONL, &result);
    assert_true(out.overflow);
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openai_completed),
        cmocka_unit_test(test_openai_completed_without_body),
        cmocka_unit_test(test_openai_refused_by_server),
        cmocka_unit_test(test_openai_failed_without_answer),
        cmocka_unit_test(test_openai_cancelled),
        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_jsonl_failed),
        cmocka_unit_test(test_jsonl_bytes),
        cmocka_unit_test(test_several_outputs),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_compact_depth),
        cmocka_unit_test(test_formats_and_caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
