// SPDX-License-Identifier: MIT
// Who is let in: every kind of credential, alone and with others; sessions; the link; who fails too often; and that no
// answer tells a credential.
#include "base/mem.h"
#include "genrun.h"
#include "http/auth.h"
#include "http/session.h"
#include "http/throttle.h"
#include "lib/config.h"
#include "lib/host.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
// cmocka needs the above
#include <cmocka.h>

#define SECRET "the admin's own secret"

static char folder[64];

struct ground {
    genrun *g;
    struct config *config;
    struct auth *auth;
    char user_key[GENRUN_KEY_SIZE], admin_key[GENRUN_KEY_SIZE], revoked_key[GENRUN_KEY_SIZE];
    char user_id[GENRUN_ID_SIZE];
};

static struct ground ground;

static void ok(int result) {
    if (result)
        fail_msg("%d: %s", result, genrun_message(ground.g));
}

static void add_key(char key[GENRUN_KEY_SIZE], const char *user, char id[GENRUN_ID_SIZE]) {
    genrun_row *row = NULL;
    ok(genrun_key_add(ground.g, key, &row, user, NULL, NULL));
    snprintf(id, GENRUN_ID_SIZE, "%s", genrun_row_text(row, "id"));
    genrun_row_free(row);
}

static int open_auth(const char *listen, struct err *e) {
    struct listen_address address;
    assert_int_equal(listen_parse(listen, &address, e), 0);
    auth_close(ground.auth);
    return auth_open(&ground.auth, ground.g, ground.config, &address, e);
}

static int enter(void **state) {
    struct err e;
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/genrun-auth-XXXXXX");
    if (!mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    setenv("HOME", folder, 1);
    unsetenv("GENRUN_CONFIG");
    unsetenv("INTERNAL_API_SECRET");
    memset(&ground, 0, sizeof ground);
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = "auth.db";
    options.create = 1;
    return genrun_open(&ground.g, &options) || config_load(&ground.config, NULL, "auth.db", &e);
}

// With a secret and keys.
static int enter_with_keys(void **state) {
    char id[GENRUN_ID_SIZE];
    struct err e;
    if (enter(state))
        return -1;
    setenv("INTERNAL_API_SECRET", SECRET, 1);
    add_key(ground.user_key, "ann", ground.user_id);
    add_key(ground.admin_key, NULL, id);
    add_key(ground.revoked_key, "bob", id);
    ok(genrun_key_revoke(ground.g, id));
    return open_auth("127.0.0.1:0", &e);
}

static int leave(void **state) {
    static const char *const names[] = {"auth.db", "auth.db-wal", "auth.db-shm", "told"};
    (void)state;
    auth_close(ground.auth);
    config_free(ground.config);
    genrun_close(ground.g);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(names[i]);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

// ---- requests ----

#define HEADERS 5
struct request {
    const char *headers[HEADERS][2];
    const char *method; // NULL: GET
    const char *remote; // NULL: one of its own for each request, so that none is throttled
    enum exchange_role needed;
};

static const char *get_header(void *payload, const char *name) {
    const struct request *r = payload;
    for (size_t i = 0; i < HEADERS && r->headers[i][0]; i++)
        if (strcasecmp(r->headers[i][0], name) == 0)
            return r->headers[i][1];
    return NULL;
}

static struct auth_request request_of(struct request *r) {
    static unsigned number;
    static char remote[32];
    snprintf(remote, sizeof remote, "10.%u.%u.%u", number >> 16 & 255, number >> 8 & 255, number & 255);
    number++;
    return (struct auth_request){
        get_header, r, r->remote ? r->remote : remote, r->method ? r->method : "GET", "/api/x", r->needed};
}

// "admin secret", "user:ann key:…", "anyone", or "401 unknown_key"; the message of a refusal in *message.
static char *judge(struct request *r, char message[256]) {
    struct auth_identity who;
    struct auth_refusal why;
    char *told;
    const struct auth_request request = request_of(r);
    message[0] = '\0';
    if (auth_judge(ground.auth, ground.g, &request, &who, &why) == AUTH_REFUSED) {
        snprintf(message, 256, "%s", why.message);
        assert_true(message[0] != '\0' && !strchr(message, '\n') && strlen(message) < 250);
        for (size_t i = 0; i < HEADERS && r->headers[i][0]; i++) // nothing of what was sent
            if (strlen(r->headers[i][1]) > 7 + 8)
                assert_null(strstr(message, r->headers[i][1] + 7));
        assert_int_equal(who.role, ROLE_ANYONE);
        assert_null(who.user);
        told = mem_format("%d %s", why.status, why.code);
    } else if (who.role == ROLE_ANYONE) {
        told = mem_copy("anyone");
    } else {
        bool is_key = strncmp(who.name, "key:", 4) == 0;
        told = mem_format("%s%s%s %s", who.role == ROLE_ADMIN ? "admin" : "user", who.user ? ":" : "",
                          who.user ? who.user : "", is_key ? "key" : who.name);
    }
    auth_identity_clear(&who);
    return told;
}

static void expect(struct request r, const char *wanted, const char *part) {
    char message[256];
    if (r.needed == ROLE_ANYONE)
        r.needed = ROLE_USER;
    char *told = judge(&r, message);
    if (strcmp(told, wanted) != 0 || (part && !strstr(message, part)))
        fail_msg("got '%s' (%s), wanted '%s' (%s)", told, message, wanted, part ? part : "");
    free(told);
}

static char bearer_text[8][128];
static const char *bearer(int slot, const char *key) {
    snprintf(bearer_text[slot], sizeof bearer_text[slot], "Bearer %s", key);
    return bearer_text[slot];
}

#define AUTHORIZATION(value)                                                                                 \
    { "Authorization", value }
#define INTERNAL(value)                                                                                      \
    { "X-Internal-Secret", value }
#define REQUEST(...) ((struct request){.headers = {__VA_ARGS__}})

static void test_authorization(void **state) {
    (void)state;
    char changed[GENRUN_KEY_SIZE];
    memcpy(changed, ground.user_key, sizeof changed);
    changed[45] = changed[45] == 'A' ? 'E' : 'A';
    expect(REQUEST(AUTHORIZATION(bearer(0, ground.user_key))), "user:ann key", NULL);
    expect(REQUEST(AUTHORIZATION(bearer(0, ground.admin_key))), "admin key", NULL);
    expect(REQUEST(AUTHORIZATION("Bearer " SECRET)), "admin secret", NULL);
    expect(REQUEST(AUTHORIZATION("bearer \t" SECRET " ")), "admin secret", NULL);
    expect(REQUEST(AUTHORIZATION(bearer(0, ground.revoked_key))), "401 revoked_key",
           "the key in Authorization was revoked");
    static const char *const unknown[] = {"Bearer x",
                                          "Bearer sk-abcdefghijklmnopqrstuvwxyz",
                                          "Bearer the admin's own secre",
                                          "Bearer the admin's own secret.",
                                          "Bearer THE ADMIN'S OWN SECRET",
                                          "Bearer gr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                          "Bearer ' OR 1=1 --",
                                          "Bearer \xff\xfe\x80 abcdef"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        expect(REQUEST(AUTHORIZATION(unknown[i])), "401 unknown_key",
               "the key in Authorization is not known here");
    expect(REQUEST(AUTHORIZATION(bearer(0, changed))), "401 unknown_key", "not known");
    static const char *const malformed[] = {
        "",        " ",    "Basic dXNlcjpwYXNz", SECRET,
        "Bearerx", "Bear", "Token abc",          "gr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        expect(REQUEST(AUTHORIZATION(malformed[i])), "401 malformed_credentials",
               "not of the form 'Bearer KEY'");
    expect(REQUEST(AUTHORIZATION("Bearer")), "401 malformed_credentials",
           "is the variable that it is made of set?");
    expect(REQUEST(AUTHORIZATION("Bearer  ")), "401 malformed_credentials", "no key behind 'Bearer'");
}

static void test_secret(void **state) {
    (void)state;
    expect(REQUEST(INTERNAL(SECRET)), "admin secret", NULL);
    expect(REQUEST(INTERNAL(" " SECRET " ")), "admin secret", NULL);
    expect(REQUEST(INTERNAL("wrong secret")), "401 unknown_key", "X-Internal-Secret is not the admin secret");
    expect(REQUEST(INTERNAL(ground.admin_key)), "401 unknown_key", "X-Internal-Secret is not");
    expect(REQUEST(INTERNAL("")), "401 malformed_credentials", "X-Internal-Secret is empty");
    expect(REQUEST(INTERNAL(" \t")), "401 malformed_credentials", "X-Internal-Secret is empty");
}

static void test_several(void **state) {
    (void)state;
    const char *user = bearer(0, ground.user_key), *revoked = bearer(1, ground.revoked_key);
    expect(REQUEST({"X-Other", "x"}), "401 missing_credentials", "no credential was sent");
    expect(REQUEST(INTERNAL(SECRET), AUTHORIZATION(user)), "user:ann key", NULL);
    expect(REQUEST(INTERNAL(SECRET), AUTHORIZATION("Bearer " SECRET)), "admin secret", NULL);
    expect(REQUEST(INTERNAL("wrong"), AUTHORIZATION(user)), "401 unknown_key", "X-Internal-Secret");
    expect(REQUEST(INTERNAL(SECRET), AUTHORIZATION(revoked)), "401 revoked_key", "Authorization");
    expect(REQUEST(INTERNAL(SECRET), AUTHORIZATION("Basic x")), "401 malformed_credentials", "Authorization");
    expect(REQUEST(AUTHORIZATION(user), {"Cookie", "genrun_session=old"}), "user:ann key", NULL);
    expect(REQUEST(AUTHORIZATION("Bearer x"), {"Cookie", "a=b"}), "401 unknown_key", "Authorization");
}

static void test_roles(void **state) {
    (void)state;
    const char *user = bearer(0, ground.user_key);
    char message[256];
    struct request r = {.headers = {AUTHORIZATION(user)}, .needed = ROLE_ADMIN};
    expect(r, "403 permission_denied", "this takes an admin's key");
    r.headers[0][1] = bearer(1, ground.admin_key);
    expect(r, "admin key", NULL);
    static const struct {
        const char *name, *value, *wanted;
    } open[] = {{"X-Other", "x", "anyone"},
                {"Authorization", "Bearer wrong", "anyone"},
                {"Authorization", "Bearer " SECRET, "admin secret"},
                {"Cookie", "genrun_session=old", "anyone"}};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        struct request any = {.headers = {{open[i].name, open[i].value}}, .needed = ROLE_ANYONE};
        char *told = judge(&any, message);
        assert_string_equal(told, open[i].wanted);
        free(told);
    }
}

// A revocation by any handle counts with the next request, also for a session.
static void test_revoked_in_between(void **state) {
    (void)state;
    char cookie[SESSION_SIZE], header[100];
    struct auth_identity who;
    struct auth_refusal why;
    struct request empty = {.method = "POST"};
    const struct auth_request request = request_of(&empty);
    assert_int_equal(auth_log_in(ground.auth, ground.g, &request, ground.user_key, cookie, &who, &why),
                     AUTH_OK);
    assert_string_equal(who.user, "ann");
    auth_identity_clear(&who);
    snprintf(header, sizeof header, "genrun_session=%s", cookie);
    expect(REQUEST({"Cookie", header}), "user:ann key", NULL);
    genrun *other = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = "auth.db";
    assert_int_equal(genrun_open(&other, &options), 0);
    assert_int_equal(genrun_key_revoke(other, ground.user_id), 0);
    genrun_close(other);
    expect(REQUEST(AUTHORIZATION(bearer(0, ground.user_key))), "401 revoked_key", "revoked");
    expect(REQUEST({"Cookie", header}), "401 revoked_key",
           "the session of the cookie genrun_session was revoked");
    assert_int_equal(auth_log_in(ground.auth, ground.g, &request, ground.user_key, cookie, &who, &why),
                     AUTH_REFUSED);
    assert_string_equal(why.code, "revoked_key");
    assert_string_equal(cookie, "");
}

static void test_cookies(void **state) {
    (void)state;
    char cookie[SESSION_SIZE], one[120], several[200], wrong[120];
    struct auth_identity who;
    struct auth_refusal why;
    struct request empty = {.method = "POST"};
    const struct auth_request request = request_of(&empty);
    assert_int_equal(auth_log_in(ground.auth, ground.g, &request, " " SECRET "\n", cookie, &who, &why),
                     AUTH_OK);
    auth_identity_clear(&who);
    snprintf(one, sizeof one, "genrun_session=%s", cookie);
    snprintf(several, sizeof several, "a=b; genrun_session=of-another-server;genrun_session=%s ; c", cookie);
    snprintf(wrong, sizeof wrong, "genrun_session=%s_", cookie);
    expect(REQUEST({"Cookie", one}), "admin secret", NULL);
    expect(REQUEST({"Cookie", several}), "admin secret", NULL);
    expect(REQUEST({"Cookie", wrong}), "401 unknown_key",
           "the session in the cookie genrun_session has ended");
    expect(REQUEST({"Cookie", "genrun_session="}), "401 unknown_key", "has ended");
    expect(REQUEST({"Cookie", "genrun_session"}), "401 missing_credentials", NULL);
    expect(REQUEST({"Cookie", ";;; ; ="}), "401 missing_credentials", NULL);
    expect(REQUEST({"Cookie", one + 1}), "401 missing_credentials", NULL);
    // what changes something comes from own pages
    static const struct {
        const char *name, *value;
        bool taken;
    } sites[] = {{"Sec-Fetch-Site", "same-origin", true},
                 {"Sec-Fetch-Site", "none", true},
                 {"Sec-Fetch-Site", "same-site", false},
                 {"Sec-Fetch-Site", "cross-site", false},
                 {"Sec-Fetch-Site", "", false},
                 {"Origin", "http://127.0.0.1:8787", true},
                 {"Origin", "http://127.0.0.1:3000", false},
                 {"Origin", "null", false},
                 {"Origin", "", false},
                 {"X-Other", "x", false}};
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
        struct request r = {
            .headers = {{"Cookie", one}, {"Host", "127.0.0.1:8787"}, {sites[i].name, sites[i].value}},
            .method = "POST"};
        expect(r, sites[i].taken ? "admin secret" : "403 cross_site_request",
               sites[i].taken ? NULL : "only counts for requests of this server's own pages");
        r.method = "GET";
        expect(r, "admin secret", NULL);
    }
    // who says it is the own page, and is not
    expect((struct request){.headers = {{"Cookie", one},
                                        {"Host", "127.0.0.1:8787"},
                                        {"Origin", "http://127.0.0.1:8787"},
                                        {"Sec-Fetch-Site", "cross-site"}},
                            .method = "DELETE"},
           "403 cross_site_request", NULL);
    struct request end = {.headers = {{"Cookie", several}}};
    const struct auth_request ending = request_of(&end);
    auth_log_out(ground.auth, &ending);
    expect(REQUEST({"Cookie", one}), "401 unknown_key", "has ended");
    auth_log_out(ground.auth, &ending);
}

// ---- without a key ----

// What auth_begin() tells on stderr; the caller frees it.
static char *told_at_start(void) {
    struct listen_address address;
    struct err e;
    char *text = mem_alloc(2000, 1);
    assert_int_equal(listen_parse("127.0.0.1:8787", &address, &e), 0);
    fflush(stderr);
    int kept = dup(2), file = open("told", O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(dup2(file, 2) == 2);
    auth_begin(ground.auth, ground.g, &address);
    fflush(stderr);
    assert_true(dup2(kept, 2) == 2);
    assert_true(pread(file, text, 1999, 0) >= 0);
    close(kept);
    close(file);
    return text;
}

// The word behind `start`, copied into `out`.
static void take_word(const char *text, const char *start, char *out, size_t size) {
    const char *at = strstr(text, start);
    assert_non_null(at);
    at += strlen(start);
    snprintf(out, size, "%.*s", (int)strcspn(at, " \n"), at);
}

static void test_without_keys(void **state) {
    (void)state;
    struct err e;
    char code[100], token[100], cookie[SESSION_SIZE], header[120], key[GENRUN_KEY_SIZE];
    assert_int_equal(open_auth("127.0.0.1:0", &e), 0);
    char *told = told_at_start();
    take_word(told, "http://127.0.0.1:8787/session/", code, sizeof code);
    take_word(told, "Authorization: Bearer ", token, sizeof token);
    assert_true(strlen(code) == 43 && strlen(token) == 46 && strcmp(code, token + 3) != 0);
    free(told);
    told = told_at_start(); // only once
    assert_null(strstr(told, "session"));
    free(told);
    expect(REQUEST({"X-Other", "x"}), "401 missing_credentials",
           "the token that the server told at its start");
    expect(REQUEST(INTERNAL("x")), "401 unknown_key", "set the environment variable INTERNAL_API_SECRET");
    expect(REQUEST(AUTHORIZATION("Bearer x")), "401 unknown_key", NULL);
    expect(REQUEST(AUTHORIZATION(bearer(0, code))), "401 unknown_key", NULL);
    expect(REQUEST(AUTHORIZATION(bearer(0, token))), "admin session", NULL);
    struct request empty = {.method = NULL};
    const struct auth_request request = request_of(&empty);
    assert_int_equal(auth_use_link(ground.auth, &request, token, cookie), AUTH_LINK_UNKNOWN);
    assert_int_equal(auth_use_link(ground.auth, &request, "", cookie), AUTH_LINK_UNKNOWN);
    assert_int_equal(auth_use_link(ground.auth, &request, code, cookie), AUTH_LINK_OK);
    snprintf(header, sizeof header, "genrun_session=%s", cookie);
    expect(REQUEST({"Cookie", header}), "admin session", NULL);
    assert_int_equal(auth_use_link(ground.auth, &request, code, cookie), AUTH_LINK_USED);
    assert_string_equal(cookie, "");
    ok(genrun_key_add(ground.g, key, NULL, NULL, NULL, NULL)); // ends nothing
    expect(REQUEST({"Cookie", header}), "admin session", NULL);
    expect(REQUEST(AUTHORIZATION(bearer(0, token))), "admin session", NULL);
    expect(REQUEST(AUTHORIZATION(bearer(0, key))), "admin key", NULL);
}

static void test_open_refuses(void **state) {
    (void)state;
    struct err e;
    char key[GENRUN_KEY_SIZE], id[GENRUN_ID_SIZE];
    static const char *const beyond[] = {"0.0.0.0:8787", "[::]:8787", "192.0.2.1:1"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(open_auth(beyond[i], &e), ERR_CONFIG);
        assert_non_null(
            strstr(e.message, "can be reached from other machines, and there is no key: set the admin"));
    }
    add_key(key, "ann", id);
    assert_int_equal(open_auth("0.0.0.0:8787", &e), 0);
    ok(genrun_key_revoke(ground.g, id));
    assert_int_equal(open_auth("0.0.0.0:8787", &e), ERR_CONFIG);
    setenv("INTERNAL_API_SECRET", " ", 1);
    assert_int_equal(open_auth("0.0.0.0:8787", &e), ERR_CONFIG);
    setenv("INTERNAL_API_SECRET", SECRET, 1);
    assert_int_equal(open_auth("0.0.0.0:8787", &e), 0);
    char *told = told_at_start(); // with a key there is no other way in
    assert_null(strstr(told, "/session/"));
    assert_null(strstr(told, SECRET));
    free(told);
    setenv("INTERNAL_API_SECRET", "a\nb", 1);
    assert_int_equal(open_auth("127.0.0.1:8787", &e), ERR_CONFIG);
}

// ---- too many failures ----

static void test_throttled(void **state) {
    (void)state;
    struct request wrong = REQUEST(AUTHORIZATION("Bearer wrong"));
    wrong.remote = "2001:db8::1";
    for (int i = 0; i < 10; i++)
        expect(wrong, "401 unknown_key", NULL);
    wrong.remote = "2001:db8::2"; // the same /64
    expect(wrong, "429 too_many_failures",
           "too many requests from this address had a wrong credential: wait ");
    struct request right = REQUEST(AUTHORIZATION("Bearer " SECRET));
    right.remote = "2001:db8::2";
    expect(right, "admin secret", NULL);
    wrong.remote = "2001:db8:0:1::1";
    expect(wrong, "401 unknown_key", NULL);
    struct request none = REQUEST({"X-Other", "x"});
    none.remote = "192.0.2.1";
    for (int i = 0; i < 30; i++) // nothing is guessed
        expect(none, "401 missing_credentials", NULL);
}

static struct address_network network(unsigned number) {
    return (struct address_network){1, number};
}

static void test_throttle(void **state) {
    (void)state;
    struct throttle *t = throttle_new(3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(throttle_failure(t, network(1), true, 1000 + i), 0);
    assert_int_equal(throttle_failure(t, network(1), true, 1003), 60);
    assert_int_equal(throttle_failure(t, network(1), false, 60500), 1);
    assert_int_equal(throttle_failure(t, network(2), true, 1003), 0);
    assert_int_equal(throttle_failure(t, network(1), true, 61000), 0); // a minute later
    for (unsigned i = 0; i < 1023; i++) // pushes out number 2, which is the oldest, but not number 1
        assert_int_equal(throttle_failure(t, network(100 + i), true, 61001), 0);
    assert_int_equal(throttle_failure(t, network(1), true, 61002), 0);
    assert_int_equal(throttle_failure(t, network(1), true, 61002), 0);
    assert_true(throttle_failure(t, network(1), true, 61002) > 0);
    throttle_free(t);
    t = throttle_new(0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(throttle_failure(t, network(1), true, 5), 0);
    throttle_free(t);
}

static void test_log_limits(void **state) {
    (void)state;
    struct throttle *t = throttle_new(10);
    int64_t left_out = 7;
    assert_true(throttle_log(t, network(1), 0, &left_out));
    assert_int_equal(left_out, 0);
    for (int i = 1; i < 1000; i++)
        assert_false(throttle_log(t, network(1), i, &left_out));
    assert_true(throttle_log(t, network(2), 999, &left_out));
    assert_true(throttle_log(t, network(1), 1000, &left_out));
    assert_int_equal(left_out, 999);
    int rows = 3;
    for (unsigned i = 0; i < 2000; i++)
        rows += throttle_log(t, network(1000 + i), 2000, &left_out);
    assert_int_equal(rows, 60);
    assert_false(throttle_log(t, network(1), 59999, &left_out));
    assert_true(throttle_log(t, network(1), 60000, &left_out));
    assert_int_equal(throttle_take_left_out(t) + left_out,
                     2000 - 57 + 1); // also of those that were forgotten
    assert_int_equal(throttle_take_left_out(t), 0);
    throttle_free(t);
}

static void test_sessions(void **state) {
    (void)state;
    struct sessions *sessions = sessions_new();
    struct session secret = {.of = SESSION_OF_SECRET};
    char value[70][SESSION_SIZE], header[120];
    bool named;
    const int64_t hour = 3600000;
    for (int i = 0; i < 64; i++)
        session_begin(sessions, &secret, value[i], 1000 + i);
    snprintf(header, sizeof header, "genrun_session=%s", value[0]);
    assert_int_equal(session_find(sessions, header, &named, 2000).of, SESSION_OF_SECRET);
    session_begin(sessions, &secret, value[64], 3000); // pushes out number 1, used longest ago
    assert_int_equal(session_find(sessions, header, &named, 3000).of, SESSION_OF_SECRET);
    snprintf(header, sizeof header, "genrun_session=%s", value[1]);
    assert_int_equal(session_find(sessions, header, &named, 3000).of, SESSION_OF_NOBODY);
    assert_true(named);
    snprintf(header, sizeof header, "genrun_session=%s", value[2]);
    assert_int_equal(session_find(sessions, header, &named, 1002 + 12 * hour).of, SESSION_OF_NOBODY);
    snprintf(header, sizeof header, "genrun_session=%s", value[3]);
    assert_int_equal(session_find(sessions, header, &named, 1002 + 12 * hour).of, SESSION_OF_SECRET);
    assert_int_equal(session_find(sessions, NULL, &named, 0).of, SESSION_OF_NOBODY);
    assert_false(named);
    sessions_free(sessions);
}

// ---- what is left in the database ----

static int count_row(void *payload, genrun_row *row) {
    int *count = payload;
    const char *message = genrun_row_text(row, "message");
    assert_null(strstr(message, "wrong-key"));
    assert_non_null(
        strstr(message, "GET /api/x from 192.0.2.7 was refused (401 unknown_key): the key in Auth"));
    ++*count;
    return 0;
}

static int read_used(void *payload, genrun_row *row) {
    if (strcmp(genrun_row_text(row, "id"), ground.user_id) == 0)
        *(int64_t *)payload = genrun_row_integer(row, "last_used_at", 0);
    return 0;
}

static void test_traces(void **state) {
    (void)state;
    int rows = 0;
    int64_t used_at = 0;
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.event = "http.denied";
    ok(genrun_step(ground.g, 0)); // the runner is up
    struct request wrong = REQUEST(AUTHORIZATION("Bearer wrong-key"));
    wrong.remote = "192.0.2.7";
    for (int i = 0; i < 3; i++)
        expect(wrong, "401 unknown_key", NULL);
    expect(REQUEST(AUTHORIZATION(bearer(0, ground.user_key))), "user:ann key", NULL);
    for (int i = 0; i < 200 && (rows == 0 || used_at == 0); i++) {
        rows = 0;
        ok(genrun_step(ground.g, 50));
        ok(genrun_events(ground.g, &filter, count_row, &rows));
        ok(genrun_keys(ground.g, read_used, &used_at));
    }
    assert_int_equal(rows, 1); // of three in a second
    assert_true(used_at > 0);
    auth_close(ground.auth); // before the runner, whose timers and writes it has
    ground.auth = NULL;
}

int main(void) {
#define KEYS(name) cmocka_unit_test_setup_teardown(name, enter_with_keys, leave)
#define NONE(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        KEYS(test_authorization),
        KEYS(test_secret),
        KEYS(test_several),
        KEYS(test_roles),
        KEYS(test_revoked_in_between),
        KEYS(test_cookies),
        KEYS(test_throttled),
        KEYS(test_traces),
        NONE(test_without_keys),
        NONE(test_open_refuses),
        cmocka_unit_test(test_throttle),
        cmocka_unit_test(test_log_limits),
        cmocka_unit_test(test_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
