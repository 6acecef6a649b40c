// SPDX-License-Identifier: MIT
// The configuration: what is read, from where, what counts more, which model is
// meant, and that the sample is what the table says.
#include "lib/options.h"
#include "unit/config_ground.h"

static char source_root[PATH_MAX]; // the folder of genrun.ini

static struct config *load_path(const char *path) {
    struct config *config = NULL;
    struct err e = {0};
    int rc = config_load(&config, path, NULL, &e);
    if (rc != 0) {
        print_error("%s\n", e.message);
    }
    assert_int_equal(rc, 0);
    assert_non_null(config);
    return config;
}

static struct config *load_text(const char *text) {
    write_file("genrun.ini", text);
    return load_path(NULL);
}

static char *in_folder(const char *name) {
    return mem_format("%s/%s", folder, name);
}

static void assert_in_folder(const char *path, const char *name) {
    char *expected = in_folder(name);
    assert_non_null(path);
    assert_string_equal(path, expected);
    free(expected);
}

// ---- what is read ----

static void test_every_default(void **state) {
    (void)state;
    struct config *c = load_text("");
    assert_in_folder(c->path, "genrun.ini");
    assert_in_folder(c->database, "genrun.db");
    assert_null(c->default_model);
    assert_int_equal(c->log_level, LOG_LEVEL_INFO);
    assert_false(c->log_json);
    assert_int_equal(c->max_output, 16 << 20);
    assert_int_equal(c->scheduler.concurrency, 1);
    assert_int_equal(c->scheduler.poll_interval_ms, 1000);
    assert_int_equal(c->scheduler.heartbeat_interval_ms, 5000);
    assert_int_equal(c->scheduler.heartbeat_timeout_ms, 60000);
    assert_int_equal(c->scheduler.progress_timeout_ms, 120000);
    assert_int_equal(c->scheduler.first_byte_timeout_ms, 600000);
    assert_int_equal(c->scheduler.max_runtime_ms, 3 * 3600000);
    assert_int_equal(c->scheduler.max_attempts, 3);
    assert_int_equal(c->scheduler.max_wait_ms, 7 * 86400000);
    assert_int_equal(c->scheduler.backoff_min_ms, 2000);
    assert_int_equal(c->scheduler.backoff_max_ms, 300000);
    assert_int_equal(c->scheduler.max_crashes, 3);
    assert_int_equal(c->scheduler.shutdown_grace_ms, 15000);
    assert_int_equal(c->scheduler.account_concurrency, 0);
    assert_int_equal(c->model_count, 1);
    assert_int_equal(c->configured_count, 0);
    assert_string_equal(c->models[0].name, "echo");
    assert_string_equal(c->models[0].provider, "echo");
    config_free(c);
}

static void test_every_option(void **state) {
    (void)state;
    struct config *c =
        load_text("[genrun]\ndatabase = data/my.db\ndefault_model = gpt\nlog_level = debug\n"
                  "log_format = json\nmax_output = 200K\n"
                  "[scheduler]\nconcurrency = 64\npoll_interval = 250ms\n"
                  "[model gpt]\nbase_url = https://example.org/v1///\nendpoint = /x?api-version=1\n"
                  "model = gpt-4o\napi_key_env = MY_KEY\nconcurrency = 7\n"
                  "requests_per_minute = 60\ntokens_per_minute = 5000000000\n"
                  "connect_timeout = 3s\nfirst_byte_timeout = 1m30s\nprogress_timeout = 4s\n"
                  "max_runtime = 1h\nstream = no\nprice_input = 0.15\nprice_output = 2.5\n"
                  "price_request = 1\nheader.X-Title = a = b: c; d\non_status.404 = retry\n"
                  "on_status.529 = wait\n"
                  "[model two]\nprovider = echo\napi_key_file = keys/two.key\n");
    assert_in_folder(c->database, "data/my.db");
    assert_string_equal(c->default_model, "gpt");
    assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
    assert_true(c->log_json);
    assert_int_equal(c->max_output, 200 * 1024);
    assert_int_equal(c->scheduler.concurrency, 64);
    assert_int_equal(c->scheduler.poll_interval_ms, 250);
    assert_int_equal(c->configured_count, 2);
    assert_int_equal(c->model_count, 3);
    const struct model *m = &c->models[0];
    assert_string_equal(m->name, "gpt");
    assert_string_equal(m->provider, "openai");
    assert_string_equal(m->base_url, "https://example.org/v1");
    assert_string_equal(m->endpoint, "/x?api-version=1");
    assert_string_equal(m->remote_name, "gpt-4o");
    assert_string_equal(m->api_key_env, "MY_KEY");
    assert_null(m->api_key_file);
    assert_int_equal(m->concurrency, 7);
    assert_int_equal(m->requests_per_minute, 60);
    assert_true(m->tokens_per_minute == 5000000000);
    assert_int_equal(m->connect_timeout_ms, 3000);
    assert_int_equal(m->first_byte_timeout_ms, 90000);
    assert_int_equal(m->progress_timeout_ms, 4000);
    assert_int_equal(m->max_runtime_ms, 3600000);
    assert_false(m->stream);
    assert_true(m->price_input == 0.15 && m->price_output == 2.5 && m->price_request == 1);
    assert_int_equal(m->header_count, 1);
    assert_string_equal(m->headers[0].name, "X-Title");
    assert_string_equal(m->headers[0].value, "a = b: c; d");
    assert_int_equal(m->status_rule_count, 2);
    assert_int_equal(m->status_rules[0].status, 404);
    assert_int_equal(m->status_rules[0].action, VERDICT_RETRY);
    assert_int_equal(m->status_rules[1].status, 529);
    assert_int_equal(m->status_rules[1].action, VERDICT_WAIT);
    assert_string_equal(c->models[1].provider, "echo");
    assert_in_folder(c->models[1].api_key_file, "keys/two.key");
    assert_string_equal(c->models[2].name, "echo");
    config_free(c);
}

static void expect_words(char *const *words, const char *const *expected) {
    for (; *expected != NULL; words++, expected++) {
        assert_non_null(*words);
        assert_string_equal(*words, *expected);
    }
    assert_null(*words);
}

static void test_commands(void **state) {
    (void)state;
    struct config *c =
        load_text("[model a]\ncommand = ././bin/run.sh --name 'two words' \"a \\\"b\\\" $HOME\" c\\ d *\n"
                  "input = json\noutput = json\npass_env = A_B  C\non_exit.3 = fail\non_exit.75 = wait\n"
                  "[model b]\nprovider = command\ncommand = python3 -u model.py\n"
                  "[model c]\ncommand = ../up/x\n[model d]\ncommand = /abs/x\n");
    const struct model *m = &c->models[0];
    assert_string_equal(m->provider, "command");
    assert_in_folder(m->program, "bin/run.sh");
    assert_string_equal(m->folder, folder);
    expect_words(m->command,
                 (const char *const[]){m->program, "--name", "two words", "a \"b\" $HOME", "c d", "*", NULL});
    assert_true(m->input_json && m->output_json);
    expect_words(m->pass_env, (const char *const[]){"A_B", "C", NULL});
    assert_int_equal(m->exit_rule_count, 2);
    assert_int_equal(m->exit_rules[0].status, 3);
    assert_int_equal(m->exit_rules[0].action, VERDICT_FAIL);
    assert_int_equal(m->exit_rules[1].action, VERDICT_WAIT);
    assert_null(m->base_url);
    m = &c->models[1];
    assert_string_equal(m->provider, "command");
    assert_string_equal(m->program, "python3");
    expect_words(m->command, (const char *const[]){"python3", "-u", "model.py", NULL});
    assert_false(m->input_json || m->output_json);
    assert_null(m->pass_env);
    assert_in_folder(c->models[2].program, "../up/x");
    assert_string_equal(c->models[3].program, "/abs/x");
    config_free(c);
}

static void test_model_defaults(void **state) {
    (void)state;
    struct config *c = load_text("[model a]\n[scheduler]\nfirst_byte_timeout = 7m\nprogress_timeout = 8m\n"
                                 "max_runtime = 9m\n[model echo]\nconcurrency = 4\n");
    const struct model *m = &c->models[0];
    assert_int_equal(c->model_count, 2);
    assert_string_equal(m->provider, "openai");
    assert_string_equal(m->base_url, "https://api.openai.com/v1");
    assert_string_equal(m->endpoint, "/chat/completions");
    assert_null(m->remote_name);
    assert_null(m->api_key_env);
    assert_int_equal(m->connect_timeout_ms, 10000);
    assert_int_equal(m->first_byte_timeout_ms, 7 * 60000);
    assert_int_equal(m->progress_timeout_ms, 8 * 60000);
    assert_int_equal(m->max_runtime_ms, 9 * 60000);
    assert_true(m->stream);
    assert_string_equal(c->models[1].provider, "echo");
    assert_int_equal(c->models[1].concurrency, 4);
    config_free(c);
}

// What inih by itself would stumble over, and is read whole here.
static void test_forms_of_text(void **state) {
    (void)state;
    static const char long_name[] =
        "hf.co/some-organisation/A-Model-With-A-Very-Long-Name-8B-Instruct-GGUF:Q4_K_M";
    char *texts[] = {
        mem_copy("\xEF\xBB\xBF[genrun]\r\nlog_level=warn\r\n[model x]\r\n"),
        mem_copy("[genrun]\n  log_level = warn\n  max_output = 1M\n\n[ model   x ]"),
        mem_copy("; a comment ; and more\n#c\n\n[genrun]\n\t# indented\nlog_level\t=\twarn\t\n[model x]\n"),
        mem_format("[genrun]\nlog_level = warn\n# %0500d\n[model x]\n", 0),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct config *c = load_text(texts[i]);
        assert_int_equal(c->log_level, LOG_LEVEL_WARN);
        assert_int_equal(c->configured_count, 1);
        assert_string_equal(c->models[0].name, "x");
        config_free(c);
        free(texts[i]);
    }
    char *text = mem_format("[model %s]\nmodel = %0*d\n", long_name, 195 - (int)strlen("model = "), 7);
    struct config *c = load_text(text);
    assert_string_equal(c->models[0].name, long_name);
    assert_int_equal(strlen(c->models[0].remote_name), 195 - strlen("model = "));
    config_free(c);
    free(text);
}

// ---- where it is looked for ----

static void test_places(void **state) {
    (void)state;
    struct config *c = NULL;
    assert_int_equal(mkdir(".config", 0700) | mkdir(".config/genrun", 0700) | mkdir("xdg", 0700) |
                         mkdir("xdg/genrun", 0700),
                     0);
    write_file(".config/genrun/genrun.ini", "[genrun]\n");
    c = load_path(NULL);
    assert_in_folder(c->path, ".config/genrun/genrun.ini");
    assert_in_folder(c->database, ".config/genrun/genrun.db");
    config_free(c);
    write_file("xdg/genrun/genrun.ini", "[genrun]\ndatabase = ../a.db\n");
    char *xdg = in_folder("xdg");
    setenv("XDG_CONFIG_HOME", xdg, 1);
    free(xdg);
    c = load_path(NULL);
    assert_in_folder(c->path, "xdg/genrun/genrun.ini");
    assert_in_folder(c->database, "xdg/genrun/../a.db");
    config_free(c);
    write_file("genrun.ini", "");
    c = load_path(NULL);
    assert_in_folder(c->path, "genrun.ini");
    config_free(c);
    write_file("named.ini", "");
    setenv("GENRUN_CONFIG", "named.ini", 1);
    c = load_path(NULL);
    assert_in_folder(c->path, "named.ini");
    config_free(c);
    write_file("given.ini", "");
    c = load_path("given.ini");
    assert_in_folder(c->path, "given.ini");
    config_free(c);
}

static void test_without_file(void **state) {
    (void)state;
    struct config *c = load_path("/dev/null"); // the same for every machine, also one with /etc/genrun.ini
    assert_in_folder(c->database, ".local/share/genrun/genrun.db");
    assert_int_not_equal(access(".local", F_OK), 0); // nothing is created
    config_free(c);
    setenv("XDG_DATA_HOME", "/somewhere/data", 1);
    c = load_path("/dev/null");
    assert_string_equal(c->database, "/somewhere/data/genrun/genrun.db");
    config_free(c);
    setenv("XDG_DATA_HOME", "relative", 1);
    unsetenv("HOME");
    setenv("GENRUN_CONFIG", "/dev/null", 1);
    expect_refusal("there is no place for the database, as HOME is not set: name one with -d FILE, "
                   "GENRUN_DATABASE or database in genrun.ini");
}

// ---- what counts more than the file ----

static void test_environment(void **state) {
    (void)state;
    setenv("GENRUN_DATABASE", "env.db", 1);
    setenv("GENRUN_SCHEDULER_CONCURRENCY", "12", 1);
    setenv("GENRUN_LOG_LEVEL", "", 1); // empty: not set
    assert_int_equal(mkdir("etc", 0700), 0);
    write_file("etc/genrun.ini",
               "[genrun]\ndatabase = file.db\n\n[scheduler]\nmax_attempts = 5\n[model x]\nstream = no\n");
    struct config *c = load_path("etc/genrun.ini");
    assert_in_folder(c->database, "env.db"); // relative to the current folder
    assert_int_equal(c->scheduler.concurrency, 12);
    assert_int_equal(c->log_level, LOG_LEVEL_INFO);
    assert_string_equal(config_origin(c, "genrun", "database"), "environment GENRUN_DATABASE");
    assert_string_equal(config_origin(c, "scheduler", "concurrency"),
                        "environment GENRUN_SCHEDULER_CONCURRENCY");
    assert_string_equal(config_origin(c, "scheduler", "max_attempts"), "etc/genrun.ini:5");
    assert_string_equal(config_origin(c, "model x", "stream"), "etc/genrun.ini:7");
    assert_string_equal(config_origin(c, "genrun", "log_level"), "default");
    config_free(c);
    struct err e = {0};
    assert_int_equal(config_load(&c, "etc/genrun.ini", "line.db", &e), 0);
    assert_in_folder(c->database, "line.db");
    assert_string_equal(config_origin(c, "genrun", "database"), "command line");
    config_free(c);
    setenv("GENRUN_SCHEDULER_CONCURRENCY", "x", 1);
    setenv("GENRUN_LOG_LEVEL", "\xFF", 1);
    assert_int_equal(config_load(&c, "etc/genrun.ini", NULL, &e), ERR_CONFIG);
    assert_string_equal(
        e.message,
        "environment GENRUN_LOG_LEVEL: not valid UTF-8: give it as UTF-8 text\n"
        "environment GENRUN_SCHEDULER_CONCURRENCY: concurrency = 'x' is not a whole number: give a "
        "whole number from 1 to 10000");
}

static void test_implied_models(void **state) {
    (void)state;
    setenv("OPENAI_API_KEY", "sk-secret", 1);
    struct config *c = load_text("");
    assert_int_equal(c->model_count, 2);
    assert_int_equal(c->configured_count, 0);
    assert_string_equal(c->models[0].name, "*");
    assert_string_equal(c->models[0].provider, "openai");
    assert_string_equal(c->models[0].base_url, "https://api.openai.com/v1");
    assert_string_equal(c->models[0].api_key_env, "OPENAI_API_KEY");
    assert_true(c->models[0].stream);
    config_free(c);
    unsetenv("OPENAI_API_KEY");
    setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/", 1);
    c = load_text("");
    assert_string_equal(c->models[0].base_url, "http://127.0.0.1:11434/v1");
    assert_null(c->models[0].api_key_env);
    assert_string_equal(config_origin(c, "model *", "base_url"), "environment OPENAI_BASE_URL");
    config_free(c);
    c = load_text("[model x]\n"); // a section of one's own: nothing is implied but echo
    assert_int_equal(c->model_count, 2);
    assert_string_equal(c->models[1].name, "echo");
    config_free(c);
    write_file("genrun.ini", "");
    setenv("OPENAI_BASE_URL", "ftp://x", 1);
    expect_refusal("environment OPENAI_BASE_URL: base_url is not an address: give a URL such as "
                   "http://127.0.0.1:8000/v1");
}

// ---- which model is meant ----

static const struct choice {
    const char *text;
    const char *name; // NULL: none is named
    const char *model_id;
    const char *section; // the entry's name
    const char *message; // instead, when refused
} choices[] = {
    {"[model gpt]\n", NULL, "gpt", "gpt", NULL},
    {"[model gpt]\n", "echo", "echo", "echo", NULL},
    {"[model echo]\n", NULL, "echo", "echo", NULL},
    {"[model a]\n[model *]\n", NULL, "a", "a", NULL},
    {"[model a]\n[model *]\n", "llama3:8b", "llama3:8b", "*", NULL},
    {"[genrun]\ndefault_model = b\n[model a]\n[model b]\n", NULL, "b", "b", NULL},
    {"[genrun]\ndefault_model = any\n[model *]\n", NULL, "any", "*", NULL},
    {"[genrun]\ndefault_model = echo\n", NULL, "echo", "echo", NULL},
    {"", "echo", "echo", "echo", NULL},
    {"", NULL, NULL, NULL,
     "no model is configured: add a [model NAME] section to genrun.ini, set OPENAI_BASE_URL or "
     "OPENAI_API_KEY "
     "and name a model, or try it with --model echo"},
    {"[model a]\n[model b]\n", NULL, NULL, NULL,
     "no model is named: name one with --model, or set default_model in [genrun] of genrun.ini"},
    {"[model *]\n", NULL, NULL, NULL,
     "no model is named: name one with --model, or set default_model in [genrun] of genrun.ini"},
    {"[model gpt-4o]\n", "gpt4o", NULL, NULL, "unknown model 'gpt4o': did you mean 'gpt-4o'?"},
    {"[model gpt-4o]\n", "mistral", NULL, NULL,
     "unknown model 'mistral': add a section [model mistral] to genrun.ini, or [model *] for all names"},
    {"[model *]\n", "*", NULL, NULL, "'*' is not the name of a model: give 1 to 256 bytes of plain text"},
    {"[model *]\n", "", NULL, NULL, "'' is not the name of a model: give 1 to 256 bytes of plain text"},
    {"[model *]\n", "a\nb", NULL, NULL,
     "'a\\nb' is not the name of a model: give 1 to 256 bytes of plain text"},
};

static void test_choices(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        const struct choice *choice = &choices[i];
        struct config *c = load_text(choice->text);
        const char *model_id = NULL;
        const struct model *model = NULL;
        struct err e = {0};
        int rc = config_model(c, choice->name, &model_id, &model, &e);
        if (choice->message != NULL) {
            assert_int_equal(rc, ERR_INVALID);
            assert_string_equal(e.message, choice->message);
        } else {
            assert_int_equal(rc, 0);
            assert_string_equal(model_id, choice->model_id);
            assert_string_equal(model->name, choice->section);
        }
        config_free(c);
    }
}

// ---- the table and the sample ----

static char *read_sample_file(void) {
    char *path = mem_format("%s/genrun.ini", source_root);
    FILE *stream = fopen(path, "r");
    assert_non_null(stream);
    char *text = mem_alloc(100000, 1);
    assert_true(fread(text, 1, 99999, stream) > 0);
    assert_int_equal(fclose(stream), 0);
    free(path);
    return text;
}

static void test_sample_is_the_table(void **state) {
    (void)state;
    struct buf written;
    buf_init(&written, BUF_UNLIMITED);
    option_write_sample(&written);
    char *kept = read_sample_file();
    assert_string_equal(buf_borrow(&written), kept);
    for (size_t i = 0; option_at(i) != NULL; i++) {
        const struct option_info *info = option_at(i);
        assert_true(info->help[0] != '\0' && (info->preset[0] != '\0') != (info->unset[0] != '\0'));
        char *line = info->example != NULL ? mem_format("\n#%s\n", info->example)
                                           : mem_format("\n#%s = %s\n", info->name, info->preset);
        assert_non_null(strstr(kept, line));
        free(line);
    }
    free(kept);
    buf_free(&written);
}

// The sample loads as it is, and with the # before every option removed.
static void test_sample_loads(void **state) {
    (void)state;
    char *kept = read_sample_file();
    struct config *c = load_text(kept);
    assert_int_equal(c->origin_count, 0);
    config_free(c);
    struct buf active;
    buf_init(&active, BUF_UNLIMITED);
    char *rest = kept;
    size_t options = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        bool is_option = line[0] == '#' && line[1] != ' ' && line[1] != '\0';
        // What excludes what stands beside it: a second key, and a command's own options.
        bool is_other = text_starts_with(line, "#api_key_file") || text_starts_with(line, "#url_env") ||
                        text_starts_with(line, "#secret_file") ||
                        text_starts_with(line, "#command = python3") || text_starts_with(line, "#pass_env") ||
                        text_starts_with(line, "#on_exit");
        buf_format(&active, "%s\n", is_option && !is_other ? line + 1 : line);
        options += is_option;
    }
    assert_true(options > 40);
    c = load_text(buf_borrow(&active));
    assert_int_equal(c->configured_count, 5);
    assert_string_equal(c->default_model, "gpt-4o-mini");
    config_free(c);
    buf_free(&active);
    free(kept);
}

// Each preset is a value that its own row accepts (an option that is set to it is not refused).
static void test_presets_are_valid(void **state) {
    (void)state;
    for (size_t i = 0; option_at(i) != NULL; i++) {
        const struct option_info *info = option_at(i);
        if (info->preset[0] == '\0') {
            continue;
        }
        bool is_webhook = strcmp(info->section, WEBHOOK_SECTION) == 0;
        const char *section = strcmp(info->section, MODEL_SECTION) == 0 ? "model x"
                              : is_webhook                              ? "webhook x]\nurl = http://x\n#"
                                                                        : info->section;
        char *text = mem_format("[%s]\n%s = %s\n", section, info->name, info->preset);
        config_free(load_text(text));
        free(text);
    }
}

int main(void) {
    if (getcwd(source_root, sizeof source_root) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CASE(test_every_default),     CASE(test_every_option),        CASE(test_model_defaults),
        CASE(test_commands),          CASE(test_forms_of_text),       CASE(test_places),
        CASE(test_without_file),      CASE(test_environment),         CASE(test_implied_models),
        CASE(test_choices),           CASE(test_sample_is_the_table), CASE(test_sample_loads),
        CASE(test_presets_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
