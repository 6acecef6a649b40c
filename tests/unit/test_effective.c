// SPDX-License-Identifier: MIT
// The way from fields back to text: for every option of the table, what
// option_format() writes is what option_store() reads, and gives the same field.
#include "config_ground.h"
#include "lib/config_webhook.h"
#include "lib/options.h"

// Values of each type that are easily written wrongly; NULL ends. Those that an option's limits refuse are passed over.
static const char *const values[][14] = {
    [OPTION_TEXT] = {"a", "two words", "an 'apostrophe\" = ; # \xc3\xa9", NULL},
    [OPTION_PATH] = {"/x", "/with blank/y.db", NULL},
    [OPTION_URL] = {"http://127.0.0.1:8000/v1", "https://api.example.com", NULL},
    [OPTION_ENDPOINT] = {"/chat/completions", "/v1/x?a=b", NULL},
    [OPTION_VARIABLE] = {"A_KEY", "_k9", NULL},
    [OPTION_PROVIDER] = {"openai", "echo", NULL},
    [OPTION_LISTEN] = {"127.0.0.1:8787", "[::1]:0", NULL},
    [OPTION_HOOK] = {"https://hooks.example/T/B?x=1", "HTTP://127.0.0.1:1/", NULL},
    [OPTION_NUMBER] = {"0", "1", "7", "10000", "1000000", NULL},
    [OPTION_BIG] = {"0", "1", "4294967296", "1000000000000", NULL},
    [OPTION_DURATION] = {"0", "1ms", "10ms", "999ms", "1500ms", "1s", "90s", "61s", "3661s", "36h", "7d",
                         "86399999ms", "3650d", NULL},
    [OPTION_SIZE] = {"1K", "1025", "16M", "900M", "1048577", "1234567", NULL},
    [OPTION_PRICE] = {"0", "1000000", "0.15", "0.1", "0.3", "2.50", "0.00000000000001", "1.23456789012345",
                      "999999.999999999", NULL},
    [OPTION_FLAG] = {"no", "yes", "off", "true", "text", "json", NULL},
    [OPTION_CHOICE] = {"error", "warn", "info", "debug", "standard", "slack", NULL},
    [OPTION_HEADER] = {"genrun", "a b", NULL},
    [OPTION_STATUS] = {"wait", "retry", "park", "fail", NULL},
    [OPTION_EXIT] = {"wait", "retry", "park", "fail", NULL},
    [OPTION_COMMAND] = {"cat", "/bin/x -a 'two words' \"it's\" '' a\\\\b", "../up/x", "x '$(no shell)' # *",
                        NULL},
    [OPTION_NAMES] = {"A", "  HF_HOME\tCUDA_VISIBLE_DEVICES ", NULL},
    [OPTION_ORIGINS] = {"https://a.example", " http://a.example\thttp://[::1]:3000 ", NULL},
    [OPTION_WORDS] = {"a", "a,b c", "'two words' x", NULL},
    [OPTION_EVENTS] = {"*", "generation.failed, batch.*", NULL},
    [OPTION_SECRET] = {NULL},
};

union target {
    struct config config;
    struct model model;
    struct webhook_endpoint webhook;
};

static const char *name_of(const struct option *option) {
    return option->type == OPTION_HEADER   ? "header.X-Title"
           : option->type == OPTION_STATUS ? "on_status.404"
           : option->type == OPTION_EXIT   ? "on_exit.3"
                                           : option->info.name;
}

// Stores and formats; the text, "" where the value was refused. The caller frees it.
static char *pass(const struct option *option, const char *value) {
    union target target = {0};
    struct buf why, out;
    buf_init(&why, BUF_UNLIMITED);
    buf_init(&out, BUF_UNLIMITED);
    if (option_store(option, name_of(option), value, NULL, &target, &why)) {
        assert_true(option_format(option, name_of(option), &target, &out));
    }
    if (strcmp(option->info.section, MODEL_SECTION) == 0) {
        model_clear(&target.model);
    } else if (strcmp(option->info.section, WEBHOOK_SECTION) == 0) {
        struct config owner = {.webhooks = mem_alloc(1, sizeof *owner.webhooks), .webhook_count = 1};
        *owner.webhooks = target.webhook;
        config_webhooks_free(&owner);
    } else {
        struct config *kept = mem_alloc(1, sizeof *kept);
        *kept = target.config;
        config_free(kept);
    }
    buf_free(&why);
    return buf_take(&out);
}

static void test_every_row_comes_back(void **state) {
    (void)state;
    const struct option *option = NULL;
    size_t count = 0;
    for (size_t i = 0; (option = option_row(i)) != NULL; i++) {
        size_t taken = 0;
        for (size_t v = 0; values[option->type][v] != NULL; v++) {
            char *once = pass(option, values[option->type][v]);
            char *twice = pass(option, *once != '\0' ? once : "x");
            if (*once != '\0') {
                assert_string_equal(twice, once);
                taken++;
            }
            free(once);
            free(twice);
        }
        if (option->type != OPTION_SECRET && taken == 0) {
            fail_msg("no value was tried for [%s] %s", option->info.section, option->info.name);
        }
        count++;
    }
    assert_true(count > 30);
}

// A price keeps its double, a duration its milliseconds: the text is not only stable but right.
static void test_numbers_are_exact(void **state) {
    (void)state;
    static const char *const prices[] = {"0.15", "0.1", "1000000", "0.00000000000001", "1.23456789012345",
                                         "123.4"};
    const struct option *price = option_find(MODEL_SECTION, "price_input");
    for (size_t i = 0; i < sizeof prices / sizeof *prices; i++) {
        char *text = pass(price, prices[i]);
        assert_string_equal(text, prices[i]);
        free(text);
    }
    static const char *const durations[] = {"90s", "1s500ms", "1h1m1s", "36h", "7d"};
    const struct option *wait = option_find("scheduler", "max_wait");
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        char *text = pass(wait, durations[i]);
        assert_string_equal(text, durations[i]);
        free(text);
    }
}

static void test_what_is_not_set(void **state) {
    (void)state;
    const struct option *option = NULL;
    for (size_t i = 0; (option = option_row(i)) != NULL; i++) {
        union target target = {0};
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        bool is_text = option->type <= OPTION_HOOK || option->type >= OPTION_HEADER;
        assert_int_equal(option_format(option, name_of(option), &target, &out), !is_text);
        buf_free(&out);
    }
}

static int count_entry(void *payload, const struct config_entry *entry) {
    size_t *count = payload;
    ++*count;
    return entry->section == NULL || entry->origin == NULL || entry->info == NULL;
}

static int stop_at_third(void *payload, const struct config_entry *entry) {
    size_t *count = payload;
    (void)entry;
    return ++*count == 3;
}

static void test_each_option_is_told(void **state) {
    (void)state;
    struct config *config = NULL;
    struct err e = {0};
    size_t rows = 0, plain = 0, hooks = 0, told = 0, stopped = 0;
    write_file(
        "genrun.ini",
        "[webhook w]\nurl=http://x\n[model a]\nheader.X=1\nheader.Y=2\non_status.404=fail\n[model b]\n");
    assert_int_equal(config_load(&config, NULL, NULL, &e), 0);
    for (; option_at(rows) != NULL; rows++) {
        plain += strcmp(option_at(rows)->section, MODEL_SECTION) != 0;
        hooks += strcmp(option_at(rows)->section, WEBHOOK_SECTION) == 0;
    }
    config_each(config, count_entry, &told);
    // a, b and echo; the rows of headers and statuses are told for each that is there.
    assert_int_equal(told, plain + 3 * (rows - plain - 3) + 3);
    assert_true(hooks > 5); // one endpoint: each row once
    config_each(config, stop_at_third, &stopped);
    assert_int_equal(stopped, 3);
    config_free(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_every_row_comes_back),
        CASE(test_numbers_are_exact),
        CASE(test_what_is_not_set),
        CASE(test_each_option_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
