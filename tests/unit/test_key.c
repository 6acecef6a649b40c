// SPDX-License-Identifier: MIT
// Keys of the HTTP API: made, listed, revoked, found by who presents one; nothing of a key is in the file but its hash.
#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "handle_ground.h"
#include "lib/host.h"

static int take_json(void *payload, genrun_row *row) {
    buf_format(payload, "%s\n", genrun_row_json(row));
    return 0;
}

// The JSON of all keys, or of the log's rows of `event`, one a line. The caller frees it.
static char *list(genrun *g, const char *event) {
    struct buf out;
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.event = event;
    buf_init(&out, BUF_UNLIMITED);
    ok(g, event ? genrun_events(g, &filter, take_json, &out) : genrun_keys(g, take_json, &out));
    return buf_take(&out);
}

static int lines(const char *text) {
    int count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

static void test_add(void **state) {
    genrun *g = *state;
    char key[GENRUN_KEY_SIZE], other[GENRUN_KEY_SIZE];
    genrun_row *row = NULL;
    ok(g, genrun_key_add(g, key, &row, "u-1", NULL, "Ann's laptop"));
    assert_int_equal(strlen(key), 46);
    assert_true(host_key_has_form(key));
    assert_string_equal(genrun_row_text(row, "role"), "user");
    assert_string_equal(genrun_row_text(row, "user_id"), "u-1");
    assert_string_equal(genrun_row_text(row, "name"), "Ann's laptop");
    assert_null(genrun_row_text(row, "revoked_at"));
    assert_null(genrun_row_text(row, "hash"));
    genrun_row_free(row);
    ok(g, genrun_key_add(g, other, NULL, NULL, NULL, NULL));
    assert_string_not_equal(key, other);
    ok(g, genrun_key_add(g, other, &row, "u-1", "admin", NULL));
    assert_string_equal(genrun_row_text(row, "role"), "admin");
    genrun_row_free(row);
    char *all = list(g, NULL), *events = list(g, "key.added");
    assert_int_equal(lines(all), 3);
    assert_int_equal(lines(events), 3);
    assert_null(strstr(all, "hash"));
    assert_non_null(strstr(events, "\"keyId\":"));
    free(all);
    free(events);
}

static void test_refused(void **state) {
    genrun *g = *state;
    char key[GENRUN_KEY_SIZE];
    genrun_row *row = (genrun_row *)key;
    refused(g, genrun_key_add(g, key, &row, NULL, "user", NULL), GENRUN_INVALID,
            "a user's key needs its user");
    assert_null(row);
    assert_string_equal(key, "");
    refused(g, genrun_key_add(g, key, NULL, NULL, "root", NULL), GENRUN_INVALID, "give admin or user");
    refused(g, genrun_key_add(g, key, NULL, "", NULL, NULL), GENRUN_INVALID, "the user is empty");
    refused(g, genrun_key_add(g, key, NULL, "u\n", NULL, NULL), GENRUN_INVALID, "control character");
    refused(g, genrun_key_add(g, key, NULL, "u", NULL, "\xff"), GENRUN_INVALID, "not valid UTF-8");
    assert_int_not_equal(access(database, F_OK), 0); // and made no database
    int64_t count = 7;
    ok(g, host_key_count(g, &count)); // which is not wrong
    assert_int_equal(count, 0);
}

static void expect(genrun *g, const char *key, const char *wanted) {
    struct host_key found;
    char told[200] = "none";
    ok(g, host_key_find(g, key, &found));
    if (found.id[0])
        snprintf(told, sizeof told, "%s %s%s", found.is_admin ? "admin" : "user",
                 found.user ? found.user : "-", found.is_revoked ? " revoked" : "");
    assert_string_equal(told, wanted);
    host_key_clear(&found);
}

static void test_find_and_revoke(void **state) {
    genrun *g = *state, *other = open_handle();
    char mine[GENRUN_KEY_SIZE], admin[GENRUN_KEY_SIZE];
    genrun_row *row = NULL;
    int64_t count = 0;
    ok(g, genrun_key_add(g, mine, &row, "u-1", NULL, NULL));
    ok(g, genrun_key_add(g, admin, NULL, "u-2", "admin", NULL));
    expect(other, mine, "user u-1");
    expect(other, admin, "admin -"); // whoever's it is
    char changed[GENRUN_KEY_SIZE];
    memcpy(changed, mine, sizeof changed);
    changed[20] = changed[20] == 'A' ? 'B' : 'A';
    expect(other, changed, "none");
    expect(other, "", "none");
    expect(other, "gr_", "none");
    expect(other, genrun_row_text(row, "id"), "none");
    char hash[DIGEST_HEX_SIZE];
    digest_text(hash, mine);
    expect(other, hash, "none"); // what a thief of the file has is no key
    const char *id = genrun_row_text(row, "id");
    bool good = false;
    int64_t at = 7;
    ok(g, host_key_is_good(g, id, &good));
    ok(g, host_key_revoked_at(g, &at));
    assert_true(good && at == 0);
    ok(g, genrun_key_revoke(g, id + 36 - 8));
    ok(g, host_key_is_good(g, id, &good));
    ok(g, host_key_revoked_at(g, &at));
    assert_true(!good && at > 0);
    expect(other, mine, "user u-1 revoked"); // at once, for every handle
    ok(g, genrun_key_revoke(g, id));
    char *events = list(g, "key.revoked");
    assert_int_equal(lines(events), 1);
    free(events);
    ok(g, host_key_count(g, &count));
    assert_int_equal(count, 1);
    refused(g, genrun_key_revoke(g, "00000000"), GENRUN_NOT_FOUND,
            "key 00000000 does not exist: 'genrun key list'");
    refused(g, genrun_key_revoke(g, "xyz"), GENRUN_INVALID, "xyz is not an id");
    genrun_row_free(row);
    genrun_close(other);
}

static void test_used(void **state) {
    genrun *g = *state;
    char key[GENRUN_KEY_SIZE];
    struct host_key found;
    static const int64_t at[][2] = {{1000000, 1000000}, {1059999, 1000000}, {1060001, 1060001}, {500, 500}};
    ok(g, genrun_key_add(g, key, NULL, NULL, NULL, NULL));
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) { // the last: the clock went back
        ok(g, host_key_find(g, key, &found));
        ok(g, host_key_used(g, found.id, at[i][0], 60000));
        host_key_clear(&found);
        ok(g, host_key_find(g, key, &found));
        assert_int_equal(found.last_used_at, at[i][1]);
        host_key_clear(&found);
    }
}

static void test_nothing_is_kept(void **state) {
    genrun *g = *state;
    char key[GENRUN_KEY_SIZE];
    static const char *const names[] = {"test.db", "test.db-wal"};
    ok(g, genrun_key_add(g, key, NULL, "u-1", NULL, "name"));
    ok(g, host_log(g, "warn", "http.denied", "a message", "{\"a\":1}"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buf bytes;
        struct err e;
        buf_init(&bytes, BUF_UNLIMITED);
        assert_int_equal(file_read(names[i], 1 << 24, &bytes, &e), 0);
        assert_null(memmem(bytes.data, bytes.length, key + 3, strlen(key + 3)));
        buf_free(&bytes);
    }
    char *events = list(g, "http.denied");
    assert_int_equal(lines(events), 1);
    free(events);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, ground_enter, ground_leave)
    const struct CMUnitTest tests[] = {CASE(test_add), CASE(test_refused), CASE(test_find_and_revoke),
                                       CASE(test_used), CASE(test_nothing_is_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
