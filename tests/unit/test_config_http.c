// SPDX-License-Identifier: MIT
// [http]: what follows from its options, the admin secret, and what `config check` says of who may call.
#include "config_ground.h"

static struct config *load(const char *text) {
    struct config *config = NULL;
    struct err e = {0};
    write_file("genrun.ini", text);
    if (config_load(&config, NULL, NULL, &e) != 0)
        fail_msg("%s", e.message);
    return config;
}

static void test_defaults(void **state) {
    (void)state;
    struct config *c = load("");
    assert_null(c->http.listen);
    assert_string_equal(c->http.admin_key_env, "INTERNAL_API_SECRET");
    assert_null(c->http.admin_key_file);
    assert_null(c->http.base_url);
    assert_null(c->http.cors_origins);
    assert_int_equal(c->http.max_body, 200 << 20);
    assert_int_equal(c->http.idle_timeout_ms, 60000);
    assert_int_equal(c->http.max_connections, 512);
    assert_int_equal(c->http.max_streams, 256);
    assert_int_equal(c->http.max_failures, 10);
    char *files = mem_format("%s/genrun.db.files", folder);
    assert_string_equal(c->data_dir, files);
    free(files);
    config_free(c);
}

static void test_values(void **state) {
    (void)state;
    struct config *c = load("[genrun]\ndatabase = a/b.db\ndata_dir = up\n[http]\nlisten = [::1]:0\n"
                            "admin_key_file = secret\nbase_url = https://g.example/\nmax_connections = 100\n"
                            "cors_origin = https://a.example http://localhost:3000\nmax_body = 1M\n");
    char *files = mem_format("%s/up", folder), *secret = mem_format("%s/secret", folder);
    assert_string_equal(c->data_dir, files);
    assert_string_equal(c->http.admin_key_file, secret);
    assert_string_equal(c->http.listen, "[::1]:0");
    assert_string_equal(c->http.base_url, "https://g.example");
    assert_string_equal(c->http.cors_origins[0], "https://a.example");
    assert_string_equal(c->http.cors_origins[1], "http://localhost:3000");
    assert_null(c->http.cors_origins[2]);
    assert_int_equal(c->http.max_body, 1 << 20);
    assert_int_equal(c->http.max_streams, 50);
    free(files);
    free(secret);
    config_free(c);
    struct err e = {0};
    assert_int_equal(config_load(&c, NULL, "/other/x.db", &e),
                     0); // data_dir stands, wherever the database is
    assert_non_null(strstr(c->data_dir, "/up"));
    config_free(c);
}

// The secret as it is taken; "!" and the reason when it cannot be used. The caller frees it.
static char *secret_of(const struct config *c) {
    struct buf secret;
    struct err e = {0};
    buf_init(&secret, BUF_UNLIMITED);
    int rc = config_admin_key(c, &secret, &e);
    char *text = rc != 0 ? mem_format("!%s", e.message) : mem_copy(buf_borrow(&secret));
    config_wipe(&secret);
    return text;
}

static void expect_secret(const struct config *c, const char *wanted) {
    char *got = secret_of(c);
    if (*wanted == '!')
        assert_non_null(strstr(got, wanted + 1));
    else
        assert_string_equal(got, wanted);
    free(got);
}

static void test_secret(void **state) {
    (void)state;
    struct config *c = load("[http]\nadmin_key_env = TEST_SECRET\n");
    unsetenv("TEST_SECRET");
    expect_secret(c, "");
    setenv("TEST_SECRET", " \t\n", 1);
    expect_secret(c, "");
    setenv("TEST_SECRET", " two words\n", 1);
    expect_secret(c, "two words");
    setenv("TEST_SECRET", "a\nb", 1);
    expect_secret(
        c,
        "!the admin secret in environment variable TEST_SECRET is longer than 4096 bytes or holds control");
    char *long_one = mem_alloc(5000, 1);
    memset(long_one, 'x', 4999);
    setenv("TEST_SECRET", long_one, 1);
    expect_secret(c, "!is longer than 4096");
    free(long_one);
    config_free(c);
    setenv("INTERNAL_API_SECRET", "of the environment", 1);
    c = load("");
    expect_secret(c, "of the environment");
    config_free(c);
    c = load("[http]\nadmin_key_file = k\n");
    expect_secret(c, "!admin_key_file");
    write_file("k", "from the file\r\n");
    expect_secret(c, "from the file");
    write_bytes("k", "a\0b", 3);
    expect_secret(c, "!holds a NUL byte: write only the secret there");
    write_file("k", "");
    expect_secret(c, "");
    config_free(c);
    unsetenv("TEST_SECRET");
    unsetenv("INTERNAL_API_SECRET");
}

static void collect(void *payload, bool is_mistake, const char *line) {
    buf_format(payload, "%s%s\n", is_mistake ? "! " : "- ", line);
}

// What config_check() tells of [http]; `wanted` NULL: nothing. It never tells the secret.
static void expect_told(const char *text, int code, const char *wanted) {
    struct buf told;
    buf_init(&told, BUF_UNLIMITED);
    config_free(load(text));
    assert_int_equal(config_check(NULL, NULL, collect, &told), code);
    assert_null(strstr(buf_borrow(&told), "hunter2"));
    if (wanted == NULL)
        assert_null(strstr(buf_borrow(&told), "http"));
    else if (strstr(buf_borrow(&told), wanted) == NULL)
        fail_msg("%s", buf_borrow(&told));
    buf_free(&told);
}

static void test_check(void **state) {
    (void)state;
    unsetenv("INTERNAL_API_SECRET");
    expect_told("", ERR_OK, NULL);
    expect_told("[http]\nlisten = 127.0.0.1:8787\n", ERR_OK, NULL);
    expect_told("[http]\nlisten = [::1]:8787\n", ERR_OK, NULL);
    const char *open =
        "! genrun.ini:2: 0.0.0.0:8787 can be reached from other machines, and there is no key: set the "
        "admin secret in the environment variable INTERNAL_API_SECRET, make a key with 'genrun key "
        "add', or listen on 127.0.0.1\n";
    expect_told("[http]\nlisten = 0.0.0.0:8787\n", ERR_CONFIG, open);
    expect_told("[http]\nlisten = [::]:0\n", ERR_CONFIG, "[::]:0 can be reached");
    setenv("INTERNAL_API_SECRET", " ", 1);
    expect_told("[http]\nlisten = 0.0.0.0:8787\n", ERR_CONFIG, open); // an empty one counts as none
    setenv("INTERNAL_API_SECRET", "hunter2", 1);
    expect_told(
        "[http]\nlisten = 0.0.0.0:8787\n", ERR_OK,
        "- the admin secret in environment variable INTERNAL_API_SECRET has fewer than 16 characters: take a "
        "longer one, such as 'openssl rand -hex 32' makes\n");
    setenv("INTERNAL_API_SECRET", "hunter2hunter2hunter2", 1);
    expect_told("[http]\nlisten = 0.0.0.0:8787\n", ERR_OK, NULL);
    expect_told("[http]\nadmin_key_file = nowhere\n", ERR_CONFIG, "! genrun.ini:2: admin_key_file");
    write_file("empty", "\n");
    expect_told("[http]\nadmin_key_file = empty\n", ERR_CONFIG, "is empty: write the admin secret there");
    unsetenv("INTERNAL_API_SECRET");
}

int main(void) {
    const struct CMUnitTest tests[] = {CASE(test_defaults), CASE(test_values), CASE(test_secret),
                                       CASE(test_check)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
