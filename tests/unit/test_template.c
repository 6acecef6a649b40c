// SPDX-License-Identifier: MIT
// Templates: what they refuse, and what they make of items.
#include "batch/template.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_refused_bodies(void **state) {
    (void)state;
    static const struct {
        const char *body;
        size_t length; // 0: that of the text
        const char *reason;
    } cases[] = {
        {" \n\t", 0, "empty"},
        {"\xff\xfe", 0, "UTF-8"},
        {"a\0b", 3, "UTF-8"},
        {"Say {{word", 0, "line 1: {{ is not closed"},
        {"one\ntwo {{ }}", 0, "line 2: {{…}} does not name a column"},
        {"{{a{{b}}", 0, "does not name"},
        {"{\"a\": {{x}}", 0, "begins as a JSON object"},
        {"{\"a\": 1} and more", 0, "begins as a JSON object"},
        {"{\"a\": 1, \"a\": {{x}}}", 0, "begins as a JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct template *t = NULL;
        struct err e = {0};
        size_t length = cases[i].length ? cases[i].length : strlen(cases[i].body);
        assert_int_equal(template_parse(&t, "t", cases[i].body, length, &e), ERR_INVALID);
        assert_null(t);
        if (!strstr(e.message, cases[i].reason))
            fail_msg("%s: %s", cases[i].body, e.message);
    }
}

static void test_filled(void **state) {
    (void)state;
    static const struct {
        const char *body, *prompt, *topic, *parameters; // the item's
        const char *made_prompt, *made_parameters;
    } cases[] = {
        {"Explain {{topic}} to {{ who }}.", NULL, "tides", "{\"who\":\"sailors\"}",
         "Explain tides to sailors.", "{}"},
        {"Say: {{prompt}}", "a \"b\"\n", NULL, NULL, "Say: a \"b\"\n", "{}"},
        {"{{n}} {{list}} {{flag}}", NULL, NULL, "{\"n\":9007199254740993,\"list\":[1, 2],\"flag\":true}",
         "9007199254740993 [1, 2] true", "{}"},
        {"no hole", NULL, NULL, "{\"temperature\":0.5}", "no hole", "{\"temperature\":0.5}"},
        {"{{a}}{{a}}", NULL, NULL, "{\"a\":\"x\",\"b\":1}", "xx", "{\"b\":1}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"On {{topic}}: {{q}}\"}],\"n\":{{n}}}", NULL,
         "a \"b\" \\c", "{\"q\":\"line\\nbreak\",\"n\":2}", NULL,
         "{\"messages\":[{\"role\":\"user\",\"content\":\"On a \\\"b\\\" \\\\c: line\\nbreak\"}],\"n\":2}"},
        {"{\"input\": {{text}}}", NULL, NULL, "{\"text\":\"}}\\\"{{\"}", NULL, "{\"input\": \"}}\\\"{{\"}"},
        {"{\"x\":\"\\\"{{a}}\",\"y\":{{b}}}", NULL, NULL, "{\"a\":\"1\",\"b\":{\"c\":[]}}", NULL,
         "{\"x\":\"\\\"1\",\"y\":{\"c\":[]}}"},
        {"{\"temperature\":0.2,\"input\":\"{{a}}\"}", NULL, NULL, "{\"a\":\"z\",\"temperature\":0.9}", NULL,
         "{\"input\":\"z\",\"temperature\":0.9}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct template *t = NULL;
        struct err e = {0};
        struct spec item = {.prompt = cases[i].prompt,
                            .topic = cases[i].topic,
                            .parameters = cases[i].parameters,
                            .model_id = "echo"};
        struct template_texts texts;
        template_texts_init(&texts);
        assert_int_equal(template_parse(&t, "t", cases[i].body, strlen(cases[i].body), &e), 0);
        assert_int_equal(template_fill(t, &item, &texts, &e), 0);
        if (cases[i].made_prompt)
            assert_string_equal(item.prompt, cases[i].made_prompt);
        else
            assert_null(item.prompt);
        assert_string_equal(item.parameters, cases[i].made_parameters);
        template_texts_free(&texts);
        template_free(t);
    }
}

static void test_refused_items(void **state) {
    (void)state;
    static const struct {
        const char *body;
        struct spec item;
        const char *reason;
    } cases[] = {
        {"{{who}}", {.parameters = "{\"what\":1}"}, "who is missing or empty: template t needs it"},
        {"{{who}}", {.parameters = NULL}, "who is missing"},
        {"{{who}}", {.parameters = "{\"who\":\"\"}"}, "who is missing or empty"},
        {"{{who}}", {.parameters = "{\"who\":null}"}, "who is missing or empty"},
        {"{{topic}}", {.parameters = "{\"topic\":\"of the parameters\"}"}, "topic is missing"},
        {"hello", {.prompt = "p"}, "does not use it"},
        {"{{prompt}}", {.parameters = "{}"}, "prompt is missing"},
        {"hello", {.parameters = "{\"messages\":[]}"}, "messages are given"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct template *t = NULL;
        struct err e = {0};
        struct spec item = cases[i].item;
        struct template_texts texts;
        template_texts_init(&texts);
        assert_int_equal(template_parse(&t, "t", cases[i].body, strlen(cases[i].body), &e), 0);
        assert_int_equal(template_fill(t, &item, &texts, &e), ERR_INVALID);
        if (!strstr(e.message, cases[i].reason))
            fail_msg("%s: %s", cases[i].body, e.message);
        template_texts_free(&texts);
        template_free(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_bodies),
        cmocka_unit_test(test_filled),
        cmocka_unit_test(test_refused_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
