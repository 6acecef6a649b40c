// SPDX-License-Identifier: MIT
// Streamed chunks put together: a case is the chunks, and the chat.completion that must come of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json.h"
#include "provider/completion.h"
#include <stdio.h>
#include <string.h>

struct sums {
    size_t content_bytes;
    bool finished, empty;
};

// Adds the chunks (one a line) and compares with the result; NULL: the last one must be refused with `code`.
static struct sums merge(const char *chunks, size_t maximum, const char *result, int code) {
    struct completion *completion = completion_new(maximum);
    struct sums sums = {0};
    struct err e;
    int rc = 0;
    for (const char *line = chunks; *line && !rc;) {
        size_t length = strcspn(line, "\n"), bytes = 99;
        char text[8192];
        assert_true(length < sizeof text);
        snprintf(text, sizeof text, "%.*s", (int)length, line);
        line += length + (line[length] == '\n');
        cJSON *root = NULL;
        assert_int_equal(json_parse(text, length, &root, &e), 0);
        rc = completion_add(completion, text, root, &bytes, &e);
        sums.content_bytes += bytes;
        cJSON_Delete(root);
    }
    assert_int_equal(rc, code);
    sums.finished = completion_is_finished(completion);
    sums.empty = completion_is_empty(completion);
    if (result) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        completion_write(completion, &out);
        assert_string_equal(buf_borrow(&out), result);
        cJSON *root = NULL;
        assert_int_equal(json_parse_object(out.data, out.length, &root, &e), 0);
        cJSON_Delete(root);
        buf_free(&out);
    }
    completion_free(completion);
    return sums;
}

#define HEAD "{\"object\":\"chat.completion\",\"choices\":["
#define D(delta) "{\"choices\":[{\"index\":0,\"delta\":" delta "}]}\n"
#define MESSAGE(inner)                                                                                       \
    HEAD "{\"index\":0,\"message\":{\"role\":\"assistant\"," inner "},\"finish_reason\":null}]}"

static void merges(void **state) {
    (void)state;
    const struct {
        const char *chunks, *result;
        size_t content_bytes;
    } cases[] = {
        {"", HEAD "]}", 0},
        {"{}", HEAD "]}", 0},
        // What servers send: role first, text, finish_reason, usage with empty choices.
        {"{\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"system_"
         "fingerprint\":\"fp\","
         "\"service_tier\":\"default\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
         "\"content\":\"\","
         "\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n"
         "{\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\"}}]}\n"
         "{\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\\u00fc\\n\"},\"finish_reason\":"
         "null}]}\n"
         "{\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n"
         "{\"id\":\"a\",\"choices\":[],\"usage\":{ \"prompt_tokens\" : 1 },\"service_tier\":null}",
         "{\"id\":\"a\",\"object\":\"chat.completion\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":"
         "0,\"message\":"
         "{\"role\":\"assistant\",\"content\":\"Hey\xc3\xbc\\n\",\"refusal\":null},\"logprobs\":null,"
         "\"finish_reason\":"
         "\"stop\"}],\"usage\":{ \"prompt_tokens\" : 1 "
         "},\"system_fingerprint\":\"fp\",\"service_tier\":\"default\"}",
         6},
        // Choices by index, in whatever order they come.
        {"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n"
         "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}},{\"index\":1,\"delta\":{\"content\":"
         "\"B\"}}]}\n"
         "{\"choices\":[{\"delta\":{\"content\":\"A\"}}]}",
         HEAD
         "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"aA\"},\"finish_reason\":null},"
         "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"bB\"},\"finish_reason\":null}]}",
         4},
        // Tool calls: arguments concatenated, no index in the result, id and name not doubled.
        {D("{\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"type\":\"function\",\"function\":{"
           "\"name\":\"f\","
           "\"arguments\":\"\"}}]}") D("{\"tool_calls\":[{\"index\":1,\"id\":\"y\",\"type\":\"function\","
                                       "\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}")
             D("{\"tool_calls\":[{\"index\":0,\"id\":\"\",\"type\":\"function\",\"function\":{\"name\":\"\","
               "\"arguments\":\"{\\\"a\\\"\"}}]}")
                 D("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}"),
         MESSAGE("\"content\":null,\"tool_calls\":[{\"id\":\"x\",\"type\":\"function\",\"function\":{"
                 "\"name\":\"f\","
                 "\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"y\",\"type\":\"function\",\"function\":{"
                 "\"name\":\"g\","
                 "\"arguments\":\"{}\"}}]"),
         9},
        // Gemini: all calls have index 0; others give none at all.
        {D("{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"arguments\":\"1\"}}]}")
             D("{\"tool_calls\":[{\"index\":0,\"id\":\"y\",\"function\":{\"arguments\":\"2\"}}]}"),
         MESSAGE("\"content\":null,\"tool_calls\":[{\"id\":\"x\",\"function\":{\"arguments\":\"1\"}},"
                 "{\"id\":\"y\",\"function\":{\"arguments\":\"2\"}}]"),
         2},
        {D("{\"tool_calls\":[{\"id\":\"x\",\"function\":{\"arguments\":\"1\"}},{\"id\":\"y\",\"function\":{"
           "\"arguments\":\"2\"}}]}") D("{\"tool_calls\":[{\"function\":{\"arguments\":\"3\"}}]}"),
         MESSAGE("\"content\":null,\"tool_calls\":[{\"id\":\"x\",\"function\":{\"arguments\":\"1\"}},"
                 "{\"id\":\"y\",\"function\":{\"arguments\":\"23\"}}]"),
         3},
        {D("{\"function_call\":{\"name\":\"f\",\"arguments\":\"{\"}}")
             D("{\"function_call\":{\"arguments\":\"}\"}}"),
         MESSAGE("\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}"), 2},
        // Reasoning under its names, and a member nobody knows yet.
        {D("{\"reasoning_content\":\"th\",\"reasoning\":\"R\",\"novel\":\"n\"}")
             D("{\"reasoning_content\":\"ink\"}")
                 D("{\"reasoning\":\"S\",\"novel\":\"o\",\"content\":\"c\",\"role\":\"assistant\"}"),
         MESSAGE("\"content\":\"c\",\"reasoning_content\":\"think\",\"reasoning\":\"RS\",\"novel\":\"no\""),
         10},
        {D("{\"reasoning_details\":[{\"index\":0,\"type\":\"reasoning.text\",\"text\":\"a\"}]}")
             D("{\"reasoning_details\":[{\"index\":0,\"type\":\"reasoning.text\",\"text\":\"b\"}]}"),
         MESSAGE("\"content\":null,\"reasoning_details\":[{\"index\":0,\"type\":\"reasoning.text\",\"text\":"
                 "\"ab\"}]"),
         2},
        {D("{\"refusal\":\"I \"}") D("{\"refusal\":\"can not\"}"),
         MESSAGE("\"content\":null,\"refusal\":\"I can not\""), 9},
        {D("{\"audio\":{\"id\":\"z\",\"data\":\"AA\"}}")
             D("{\"audio\":{\"id\":\"z\",\"data\":\"BB\",\"expires_at\":1e3}}"),
         MESSAGE("\"content\":null,\"audio\":{\"id\":\"z\",\"data\":\"AABB\",\"expires_at\":1000}"), 4},
        // Lists without index grow; numbers and flags of a delta: the last.
        {D("{\"annotations\":[{\"u\":1}],\"n\":1,\"f\":true}")
             D("{\"annotations\":[{\"u\":2},3],\"n\":2.5,\"f\":false}"),
         MESSAGE("\"content\":null,\"annotations\":[{\"u\":1},{\"u\":2},3],\"n\":2.5,\"f\":false"), 3},
        {D("{\"annotations\":[]}"), MESSAGE("\"content\":null,\"annotations\":[]"), 0},
        // Logprobs are concatenated; unknown members of the choice and of the chunk are kept, big numbers too.
        {"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":"
         "\"a\",\"logprob\":-0.25}],"
         "\"refusal\":null},\"native_finish_reason\":null,\"stop_reason\":\"x\"}],\"seed\":"
         "12345678901234567890,\"list\":[1]}\n"
         "{\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":{\"content\":[{\"token\":\"b\",\"logprob\":-1}"
         "],\"refusal\":null},"
         "\"native_finish_reason\":\"STOP\",\"stop_reason\":\"y\",\"finish_reason\":\"length\"}],\"seed\":1,"
         "\"list\":[2, 2]}",
         HEAD "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"logprobs\":{\"content\":"
              "[{\"token\":\"a\","
              "\"logprob\":-0.25},{\"token\":\"b\",\"logprob\":-1}],\"refusal\":null},\"finish_reason\":"
              "\"length\","
              "\"native_finish_reason\":\"STOP\",\"stop_reason\":\"y\"}],\"seed\":1,\"list\":[2, 2]}",
         1},
        {"{\"seed\":12345678901234567890}", HEAD "],\"seed\":12345678901234567890}", 0},
        // A closing whole message says nothing new; without deltas it is the message.
        {D("{\"content\":\"ab\"}") "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                                   "\"content\":\"ab\"}}]}",
         MESSAGE("\"content\":\"ab\""), 2},
        {"{\"choices\":[{\"index\":0,\"message\":{\"content\":\"ab\"}}]}", MESSAGE("\"content\":\"ab\""), 2},
        // A value that changes its kind is replaced; null takes nothing away.
        {D("{\"content\":\"a\"}") D("{\"content\":null}") D("{\"content\":[1]}"), MESSAGE("\"content\":[1]"),
         2},
        {"{\"choices\":null}\n{\"choices\":[{\"index\":-3,\"delta\":null}]}",
         HEAD "{\"index\":0,\"message\":{\"role\":"
              "\"assistant\",\"content\":null},\"finish_reason\":null}]}",
         0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sums sums = merge(cases[i].chunks, 100000, cases[i].result, 0);
        assert_int_equal(sums.content_bytes, cases[i].content_bytes);
    }
}

static void knows_when_it_is_finished(void **state) {
    (void)state;
    const struct {
        const char *chunks;
        bool finished, empty;
    } cases[] = {
        {"{}", false, true},
        {"{\"choices\":[]}", false, true},
        {D("{\"content\":\"a\"}"), false, false},
        {"{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}", true, false},
        {"{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"},{\"index\":1,\"finish_reason\":null}]}",
         false, false},
        {"{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n{\"choices\":[{\"index\":0,\"finish_"
         "reason\":null}]}",
         true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sums sums = merge(cases[i].chunks, 100000, NULL, 0);
        assert_int_equal(sums.finished, cases[i].finished);
        assert_int_equal(sums.empty, cases[i].empty);
    }
}

static void refuses_what_is_no_chunk(void **state) {
    (void)state;
    merge("{\"choices\":7}", 100000, NULL, ERR_INVALID);
    merge("{\"choices\":[7]}", 100000, NULL, ERR_INVALID);
    merge("{\"choices\":[{\"delta\":\"x\"}]}", 100000, NULL, ERR_INVALID);
    merge(D("{\"tool_calls\":[{\"index\":0}]}") D("{\"tool_calls\":[7]}"), 100000, NULL, ERR_INVALID);
}

static void keeps_no_more_than_the_maximum(void **state) {
    (void)state;
    struct err e;
    // Texts, members, choices and list elements all count.
    const char *const formats[] = {
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"0123456789 %d\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"key%d\":null}}]}",
        "{\"choices\":[{\"index\":%d,\"delta\":{}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%d}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"list\":[%d]}}]}",
        "{\"member%d\":1}",
    };
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        struct completion *completion = completion_new(5000);
        int rc = 0, n = 0;
        for (; n < 1000 && !rc; n++) {
            char text[200];
            size_t bytes;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(text, sizeof text, formats[f], n);
#pragma GCC diagnostic pop
            cJSON *root = cJSON_Parse(text);
            rc = completion_add(completion, text, root, &bytes, &e);
            cJSON_Delete(root);
        }
        assert_int_equal(rc, ERR_WORK);
        assert_true(n > 10);
        assert_non_null(strstr(e.message, "max_output (5000 bytes)"));
        completion_free(completion);
    }
    // What is replaced does not add up.
    struct completion *completion = completion_new(5000);
    for (int n = 0; n < 5000; n++) {
        char text[100];
        size_t bytes;
        snprintf(text, sizeof text, "{\"id\":\"id-%d\",\"created\":%d,\"usage\":{\"n\":%d}}", n, n, n);
        cJSON *root = cJSON_Parse(text);
        assert_int_equal(completion_add(completion, text, root, &bytes, &e), 0);
        cJSON_Delete(root);
    }
    completion_free(completion);
    completion_free(NULL);
}

static void members_without_end_are_refused(void **state) {
    (void)state;
    struct completion *completion = completion_new(100000000);
    struct err e;
    int rc = 0, n = 0;
    for (; n < 10000 && !rc; n++) {
        char text[100];
        size_t bytes;
        snprintf(text, sizeof text, "{\"m%d\":1}", n);
        cJSON *root = cJSON_Parse(text);
        rc = completion_add(completion, text, root, &bytes, &e);
        cJSON_Delete(root);
    }
    assert_int_equal(rc, ERR_INVALID);
    completion_free(completion);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges),
        cmocka_unit_test(knows_when_it_is_finished),
        cmocka_unit_test(refuses_what_is_no_chunk),
        cmocka_unit_test(keeps_no_more_than_the_maximum),
        cmocka_unit_test(members_without_end_are_refused),
    };
    return cmocka_run_group_tests_name("completion", tests, NULL, NULL);
}
