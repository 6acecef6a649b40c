// SPDX-License-Identifier: MIT
// What is sent to a server: the URL of every form of base_url and endpoint, and the bodies.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "provider/request.h"
#include <stdlib.h>
#include <string.h>

static void urls(void **state) {
    (void)state;
    const struct {
        const char *base, *endpoint, *url, *where; // where NULL: the same
        int code;
    } cases[] = {
        {"https://api.openai.com/v1", NULL, "https://api.openai.com/v1/chat/completions", NULL, 0},
        {"https://api.openai.com/v1", "", "https://api.openai.com/v1/chat/completions", NULL, 0},
        {"https://api.openai.com/v1", "/chat/completions", "https://api.openai.com/v1/chat/completions", NULL,
         0},
        {"https://api.openai.com/v1", "/v1/embeddings", "https://api.openai.com/v1/embeddings", NULL, 0},
        {"https://api.openai.com/v1///", "/v1/embeddings", "https://api.openai.com/v1/embeddings", NULL, 0},
        {"http://localhost:8000", "/v1/embeddings", "http://localhost:8000/v1/embeddings", NULL, 0},
        {"http://localhost:8000/", "embeddings", "http://localhost:8000/embeddings", NULL, 0},
        {"http://h/v1beta/openai", "/v1/chat/completions", "http://h/v1beta/openai/chat/completions", NULL,
         0},
        {"http://h/api/paas/v4", "/v1/chat/completions", "http://h/api/paas/v4/chat/completions", NULL, 0},
        {"http://h/proxy", "/v1/chat/completions", "http://h/proxy/v1/chat/completions", NULL, 0},
        {"http://h/video", "/v1/x", "http://h/video/v1/x", NULL, 0},
        {"http://v1.h", "/v1/x", "http://v1.h/v1/x", NULL, 0},
        {"http://h/v1", "/v1x", "http://h/v1/v1x", NULL, 0},
        {"HTTP://h/v1", "/x", "HTTP://h/v1/x", "http://h/v1/x", 0},
        {"https://u:p@h/v1?api-version=2&sig=s", "/x", "https://u:p@h/v1/x?api-version=2&sig=s",
         "https://h/v1/x", 0},
        {"https://h/v1", "/x?key=s", "https://h/v1/x?key=s", "https://h/v1/x", 0},
        {"https://h/v1#frag", "/x", "https://h/v1/x", NULL, 0},
        {"http://[::1]:11434/v1", "/x", "http://[::1]:11434/v1/x", NULL, 0},
        {"http://h", "@evil.example/x", "http://h/@evil.example/x", NULL, 0},
        {"http://h", "//evil.example/x", "http://h//evil.example/x", NULL, 0},
        {"https://h/v1?a=1", "/x?b=2", NULL, NULL, ERR_INVALID},
        {"https://h", "/x y", NULL, "https://h/", ERR_INVALID},
        {"https://h", "/x\r\nA: b", NULL, "https://h/", ERR_INVALID},
        {"https://h", "/x#y", NULL, "https://h/", ERR_INVALID},
        {"https://h", "/\\evil", NULL, "https://h/", ERR_INVALID},
        {"https://h", "/gr\xc3\xbc", NULL, "https://h/", ERR_INVALID},
        {NULL, NULL, NULL, NULL, ERR_CONFIG},
        {"", NULL, NULL, NULL, ERR_CONFIG},
        {"api.openai.com/v1", NULL, NULL, NULL, ERR_CONFIG},
        {"ftp://h/", NULL, NULL, NULL, ERR_CONFIG},
        {"http://", NULL, NULL, NULL, ERR_CONFIG},
        {"http:///v1", NULL, NULL, NULL, ERR_CONFIG},
        {"http://?x", NULL, NULL, NULL, ERR_CONFIG},
        {"http://h:port/", NULL, NULL, NULL, ERR_CONFIG},
        {"http://a b/", NULL, NULL, NULL, ERR_CONFIG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model model = {.name = (char *)"m", .base_url = (char *)(uintptr_t)cases[i].base};
        struct provider_request request = {.model = &model, .endpoint = cases[i].endpoint};
        char *url, *where;
        struct err e = {0};
        int rc = request_url(&request, &url, &where, &e);
        if (rc != cases[i].code)
            fail_msg("case %zu: %d, %s, %s", i, rc, url ? url : "", e.message);
        if (cases[i].url)
            assert_string_equal(url, cases[i].url);
        else
            assert_null(url);
        const char *expected = cases[i].where ? cases[i].where : cases[i].url;
        if (expected)
            assert_string_equal(where, expected);
        if (rc)
            assert_true(*e.message && !strstr(e.message, "sig=") && !strstr(e.message, "u:p"));
        free(url);
        free(where);
    }
}

static void the_endpoint_of_the_model_is_the_default(void **state) {
    (void)state;
    struct model model = {
        .name = (char *)"m", .base_url = (char *)"http://h/v1", .endpoint = (char *)"/embeddings"};
    struct provider_request request = {.model = &model};
    char *url, *where;
    struct err e;
    assert_int_equal(request_url(&request, &url, &where, &e), 0);
    assert_string_equal(url, "http://h/v1/embeddings");
    assert_int_equal(request_kind(&request), REQUEST_INPUT);
    free(url);
    free(where);
    request.endpoint = "/v1/completions";
    assert_int_equal(request_kind(&request), REQUEST_COMPLETIONS);
}

static void kinds(void **state) {
    (void)state;
    const struct {
        const char *endpoint;
        enum request_kind kind;
    } cases[] = {
        {NULL, REQUEST_CHAT},
        {"/v1/chat/completions", REQUEST_CHAT},
        {"chat/completions", REQUEST_CHAT},
        {"/openai/deployments/x/chat/completions?api-version=1", REQUEST_CHAT},
        {"/chat/completions/", REQUEST_CHAT},
        {"/v1/completions", REQUEST_COMPLETIONS},
        {"completions", REQUEST_COMPLETIONS},
        {"/v1/embeddings", REQUEST_INPUT},
        {"/v1/responses", REQUEST_INPUT},
        {"/v1/images/generations", REQUEST_OTHER},
        {"/v1/models?x=/chat/completions", REQUEST_OTHER},
        {"/", REQUEST_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model model = {.name = (char *)"m", .stream = true};
        struct provider_request request = {.model = &model, .endpoint = cases[i].endpoint};
        assert_int_equal(request_kind(&request), cases[i].kind);
        assert_int_equal(request_is_streamed(&request), cases[i].kind == REQUEST_CHAT);
        request.unstreamed = true;
        assert_false(request_is_streamed(&request));
        request.unstreamed = false;
        model.stream = false;
        assert_false(request_is_streamed(&request));
    }
}

#define STREAM ",\"stream\":true,\"stream_options\":{\"include_usage\":true}"
#define SENT "\"model\":\"sent\""

static void bodies(void **state) {
    (void)state;
    const struct {
        const char *prompt, *parameters, *endpoint, *body;
    } cases[] = {
        {"Say \"hi\"\n", "{}", NULL,
         "{" SENT STREAM ",\"messages\":[{\"role\":\"user\",\"content\":\"Say \\\"hi\\\"\\n\"}]}"},
        {"", NULL, NULL, "{" SENT STREAM ",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}"},
        {"x", " { \"temperature\" : 0.10 , \"seed\":12345678901234567890}", NULL,
         "{" SENT STREAM ",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
         "\"temperature\" : 0.10 , \"seed\":12345678901234567890}"},
        // Ours win over the caller's.
        {"x", "{\"model\":\"other\",\"stream\":false,\"top_p\":1,\"stream_options\":{}}", NULL,
         "{" SENT STREAM ",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_p\":1}"},
        {"x", "{\"system\":\"Be \\u0041\",\"messages\":[ {\"role\":\"user\",\"content\":\"1\"} ]}", NULL,
         "{" SENT STREAM ",\"messages\":[{\"role\":\"system\",\"content\":\"Be \\u0041\"},"
         "{\"role\":\"user\",\"content\":\"1\"} ,{\"role\":\"user\",\"content\":\"x\"}]}"},
        {"x", "{\"system\":null,\"messages\":[ ]}", NULL,
         "{" SENT STREAM ",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"},
        {"x", "{\"messages\":null,\"a\":1}", NULL,
         "{" SENT STREAM ",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"a\":1}"},
        {"x", "{\"max_tokens\":5,\"system\":\"s\"}", "/v1/completions",
         "{" SENT ",\"prompt\":\"x\",\"max_tokens\":5,\"system\":\"s\"}"},
        {"x", "{\"dimensions\":5,\"input\":\"old\"}", "/v1/embeddings",
         "{" SENT ",\"input\":\"x\",\"dimensions\":5}"},
        {"x", "{\"instructions\":\"i\"}", "/v1/responses",
         "{" SENT ",\"input\":\"x\",\"instructions\":\"i\"}"},
        {"x", "{\"size\":\"1x1\",\"prompt\":\"old\"}", "/v1/images/generations",
         "{" SENT ",\"prompt\":\"x\",\"size\":\"1x1\"}"},
        // A whole body goes out byte for byte but for the model and how to stream.
        {NULL,
         "{ \"model\" : \"m\",  \"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\"}], "
         "\"seed\":1e2,\"stream\":false}",
         NULL,
         "{  \"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\"}], \"seed\":1e2," SENT STREAM "}"},
        {NULL, "{\"input\":[1,2],\"stream\":true}", "/v1/embeddings", "{\"input\":[1,2]," SENT "}"},
        {NULL, "{}", "/v1/embeddings", "{" SENT "}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model model = {.name = (char *)"m", .remote_name = (char *)"sent", .stream = true};
        struct provider_request request = {.model = &model,
                                           .model_id = "m",
                                           .prompt = cases[i].prompt,
                                           .parameters = cases[i].parameters,
                                           .endpoint = cases[i].endpoint};
        struct buf out;
        struct err e;
        buf_init(&out, BUF_UNLIMITED);
        assert_int_equal(request_body(&request, &out, &e), 0);
        assert_string_equal(buf_borrow(&out), cases[i].body);
        buf_free(&out);
    }
}

static void the_name_sent_is_the_one_asked_for_unless_the_model_has_another(void **state) {
    (void)state;
    struct model model = {.name = (char *)"*"};
    struct provider_request request = {
        .model = &model, .model_id = "qwen\"3", .prompt = "x", .endpoint = "/embeddings"};
    struct buf out;
    struct err e;
    buf_init(&out, BUF_UNLIMITED);
    assert_int_equal(request_body(&request, &out, &e), 0);
    assert_string_equal(out.data, "{\"model\":\"qwen\\\"3\",\"input\":\"x\"}");
    buf_free(&out);
}

static void what_cannot_be_sent_is_refused(void **state) {
    (void)state;
    const char *const cases[] = {"{",
                                 "[]",
                                 "7",
                                 "{\"a\":1,\"a\":2}",
                                 "{\"a\":\"\\u0000\"}",
                                 "{\"system\":7}",
                                 "{\"system\":{}}",
                                 "{\"messages\":{}}",
                                 "{\"messages\":\"x\"}",
                                 "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model model = {.name = (char *)"m"};
        struct provider_request request = {
            .model = &model, .model_id = "m", .prompt = "x", .parameters = cases[i]};
        struct buf out;
        struct err e = {0};
        buf_init(&out, BUF_UNLIMITED);
        assert_int_equal(request_body(&request, &out, &e), ERR_INVALID);
        assert_non_null(strstr(e.message, "parameters"));
        buf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(the_endpoint_of_the_model_is_the_default),
        cmocka_unit_test(kinds),
        cmocka_unit_test(bodies),
        cmocka_unit_test(the_name_sent_is_the_one_asked_for_unless_the_model_has_another),
        cmocka_unit_test(what_cannot_be_sent_is_refused),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
