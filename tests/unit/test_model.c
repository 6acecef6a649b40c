// SPDX-License-Identifier: MIT
// Models: which one serves a name, and where its key comes from.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "provider/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void the_nearest_entry_serves_a_name(void **state) {
    (void)state;
    const struct model models[] = {{.name = (char *)"a"}, {.name = (char *)"*"}, {.name = (char *)"b"}};
    assert_ptr_equal(model_find(models, 3, "a"), &models[0]);
    assert_ptr_equal(model_find(models, 3, "b"), &models[2]);
    assert_ptr_equal(model_find(models, 3, "c"), &models[1]);
    assert_ptr_equal(model_find(models, 3, "*"), &models[1]);
    assert_null(model_find(models, 1, "c"));
    assert_null(model_find(NULL, 0, "a"));
}

static char path[64];

static const char *key_file(const char *content, size_t length) {
    snprintf(path, sizeof path, "/tmp/genrun-key-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    // The name is looked through for the key, too, and must not hold it by chance.
    if (strstr(path, "sk")) {
        close(fd);
        unlink(path);
        return key_file(content, length);
    }
    assert_int_equal(write(fd, content, length), length);
    close(fd);
    return path;
}

static void keys_come_from_the_environment_or_a_file(void **state) {
    (void)state;
    const struct {
        const char *env, *content; // content: of a file
        size_t length;
        const char *key; // NULL: refused
    } cases[] = {
        {NULL, NULL, 0, ""},       {"sk-1", NULL, 0, "sk-1"},       {"sk-1", "sk-2", 4, "sk-1"},
        {NULL, "sk-2", 4, "sk-2"}, {NULL, " sk-2 \r\n", 8, "sk-2"}, {"", NULL, 0, NULL},
        {"sk\n1", NULL, 0, NULL},  {"sk\x7f", NULL, 0, NULL},       {NULL, "", 0, NULL},
        {NULL, "\n", 1, NULL},     {NULL, "sk\0x", 4, NULL},        {NULL, "sk-2\nX: y", 9, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model model = {.name = (char *)"m"};
        struct buf secret;
        struct err e = {0};
        buf_init(&secret, 1000);
        buf_text(&secret, "old");
        if (cases[i].env) {
            setenv("TEST_MODEL_KEY", cases[i].env, 1);
            model.api_key_env = (char *)"TEST_MODEL_KEY";
        }
        if (cases[i].content)
            model.api_key_file = (char *)(uintptr_t)key_file(cases[i].content, cases[i].length);
        int rc = model_api_key(&model, &secret, &e);
        assert_int_equal(rc, cases[i].key ? 0 : ERR_CONFIG);
        assert_string_equal(buf_borrow(&secret), cases[i].key ? cases[i].key : "");
        if (rc) {
            assert_null(strstr(e.message, "sk"));
            assert_non_null(strstr(e.message, cases[i].env ? "TEST_MODEL_KEY" : path));
        }
        if (cases[i].content)
            unlink(path);
        buf_free(&secret);
    }
}

static void a_missing_key_is_named(void **state) {
    (void)state;
    struct model model = {.name = (char *)"m", .api_key_env = (char *)"TEST_NO_SUCH_KEY"};
    struct buf secret;
    struct err e;
    buf_init(&secret, 4);
    assert_int_equal(model_api_key(&model, &secret, &e), ERR_CONFIG);
    assert_non_null(strstr(e.message, "TEST_NO_SUCH_KEY"));
    model.api_key_env = NULL;
    model.api_key_file = (char *)"/nonexistent/key";
    assert_int_equal(model_api_key(&model, &secret, &e), ERR_CONFIG);
    assert_non_null(strstr(e.message, "/nonexistent/key"));
    setenv("TEST_MODEL_KEY", "12345", 1); // more than the buffer takes
    model.api_key_env = (char *)"TEST_MODEL_KEY";
    assert_int_equal(model_api_key(&model, &secret, &e), ERR_CONFIG);
    assert_int_equal(secret.length, 0);
    buf_free(&secret);
}

static void clear_frees_what_the_fields_own(void **state) {
    (void)state;
    struct model model = {
        .name = mem_copy("m"), .base_url = mem_copy("u"), .header_count = 1, .status_rule_count = 1};
    model.headers = mem_alloc(1, sizeof *model.headers);
    model.headers[0] = (struct model_header){mem_copy("a"), mem_copy("b")};
    model.status_rules = mem_alloc(1, sizeof *model.status_rules);
    model_clear(&model);
    assert_null(model.name);
    assert_int_equal(model.header_count, 0);
    model_clear(&model); // once more: nothing
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_entry_serves_a_name),
        cmocka_unit_test(keys_come_from_the_environment_or_a_file),
        cmocka_unit_test(a_missing_key_is_named),
        cmocka_unit_test(clear_frees_what_the_fields_own),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
