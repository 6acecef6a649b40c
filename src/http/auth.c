// SPDX-License-Identifier: MIT
#include "http/auth.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/trace.h"
#include "lib/host.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_NAME "key:" // before the id of a key, in an identity's name

// A secret as it is kept.
struct known {
    bool is_set;
    unsigned char hash[DIGEST_SIZE];
};

struct auth {
    const struct config *config;
    struct known secret;      // the admin's
    struct known token, link; // of a server without keys
    bool link_used;
    char token_text[SESSION_SIZE], link_text[SESSION_SIZE]; // until they are told
    struct sessions *sessions;
    struct trace *trace;
    int64_t revoked_at; // the last revocation that was seen
};

// ---- secrets ----

static void know(struct known *known, const char *text) {
    digest_sha256(known->hash, text, strlen(text));
    known->is_set = true;
}

// Takes as long whatever the text is like.
static bool is_known(const struct known *known, const char *text) {
    unsigned char hash[DIGEST_SIZE];
    digest_sha256(hash, text, strlen(text));
    return digest_equal(known->hash, hash, sizeof hash) && known->is_set;
}

static int read_secret(struct auth *a, struct err *e) {
    struct buf secret, source;
    buf_init(&secret, BUF_UNLIMITED);
    int result = config_admin_key(a->config, &secret, e);
    if (!result && secret.length > 0)
        know(&a->secret, secret.data);
    if (!result && config_admin_key_is_short(&secret)) {
        buf_init(&source, BUF_UNLIMITED);
        config_write_admin_key_source(a->config, &source);
        log_warn("the admin secret in %s is short enough to be guessed: take 16 characters or more",
                 buf_borrow(&source));
        buf_free(&source);
    }
    config_wipe(&secret);
    return result;
}

int auth_open(struct auth **out, genrun *g, const struct config *config, const struct listen_address *address,
              struct err *e) {
    int64_t keys = 0;
    struct auth *a = mem_alloc(1, sizeof *a);
    *out = a;
    a->config = config;
    a->sessions = sessions_new();
    a->trace = trace_open(g, config->http.max_failures);
    int result = read_secret(a, e);
    if (!result && host_key_count(g, &keys))
        result = err_set(e, ERR_DATABASE, "%s", genrun_message(g));
    if (result || a->secret.is_set || keys > 0)
        return result;
    if (!address->is_loopback) {
        char listen[sizeof address->host + 8];
        snprintf(listen, sizeof listen, "%s:%u", address->host, (unsigned)address->port);
        return config_say_unguarded(config, listen, e);
    }
    session_random(a->token_text, "gs_");
    session_random(a->link_text, "");
    know(&a->token, a->token_text);
    know(&a->link, a->link_text);
    return 0;
}

void auth_begin(struct auth *a, genrun *g, const struct listen_address *address) {
    int64_t keys = 0;
    struct buf source;
    if (!a->token_text[0]) {
        buf_init(&source, BUF_UNLIMITED);
        config_write_admin_key_source(a->config, &source);
        (void)host_key_count(g, &keys);
        log_info("HTTP takes %s (%s) and %lld key%s",
                 a->secret.is_set ? "the admin secret" : "no admin secret", buf_borrow(&source),
                 (long long)keys, keys == 1 ? "" : "s");
        buf_free(&source);
        return;
    }
    // Not by the log, which may leave it out: without it nobody gets in.
    fprintf(stderr,
            "genrun: no key is configured; until this process ends, on this machine:\n"
            "genrun: browser, once: http://%s:%u/session/%s\n"
            "genrun: programs: Authorization: Bearer %s\n",
            address->host, (unsigned)address->port, a->link_text, a->token_text);
    explicit_bzero(a->token_text, sizeof a->token_text);
    explicit_bzero(a->link_text, sizeof a->link_text);
}

void auth_close(struct auth *a) {
    if (!a)
        return;
    trace_close(a->trace);
    sessions_free(a->sessions);
    explicit_bzero(a, sizeof *a);
    free(a);
}

void auth_identity_clear(struct auth_identity *identity) {
    free(identity->user);
    free(identity->name);
    *identity = (struct auth_identity){0};
}

// ---- judging ----

struct judging {
    struct auth *auth;
    genrun *g;
    const struct auth_request *request;
    struct auth_identity *out;
    struct auth_refusal *why;
};

static enum auth_result refuse(struct judging *j, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static enum auth_result refuse(struct judging *j, int status, const char *code, const char *format, ...) {
    va_list args;
    auth_identity_clear(j->out);
    *j->why = (struct auth_refusal){.status = status, .code = code};
    va_start(args, format);
    vsnprintf(j->why->message, sizeof j->why->message, format, args);
    va_end(args);
    return AUTH_REFUSED;
}

static const char *header(const struct judging *j, const char *name) {
    return j->request->header(j->request->payload, name);
}

static enum auth_result let_in(struct judging *j, enum exchange_role role, const char *user,
                               const char *name) {
    auth_identity_clear(j->out);
    *j->out = (struct auth_identity){role, mem_copy(user), mem_copy(name)};
    return AUTH_OK;
}

// What the database says of a key; `where` names what it came in.
static enum auth_result judge_key(struct judging *j, const char *hash, const char *where) {
    struct host_key key;
    enum auth_result result = AUTH_REFUSED;
    if (host_key_find_hash(j->g, hash, &key)) {
        refuse(j, 503, "unavailable", "the key cannot be looked up now: try again");
        log_warn("a key cannot be looked up: %s", genrun_message(j->g));
    } else if (!key.id[0]) {
        refuse(j, 401, "unknown_key", "the key in %s is not known here: 'genrun key add' makes one", where);
    } else if (key.is_revoked) {
        refuse(j, 401, "revoked_key", "the key in %s was revoked: get another one", where);
    } else {
        char name[sizeof key.id + sizeof KEY_NAME];
        snprintf(name, sizeof name, KEY_NAME "%s", key.id);
        result = let_in(j, key.is_admin ? ROLE_ADMIN : ROLE_USER, key.user, name);
        trace_used(j->auth->trace, key.id, key.last_used_at);
    }
    host_key_clear(&key);
    return result;
}

// A key, the admin secret or the token. What could not be a key is looked up all the same, so that it takes as long.
static enum auth_result judge_text(struct judging *j, const char *text, const char *where,
                                   struct session *session) {
    *session = (struct session){.of = SESSION_OF_KEY};
    if (is_known(&j->auth->secret, text)) {
        session->of = SESSION_OF_SECRET;
        return let_in(j, ROLE_ADMIN, NULL, "secret");
    }
    if (is_known(&j->auth->token, text)) {
        session->of = SESSION_OF_LINK;
        return let_in(j, ROLE_ADMIN, NULL, "session");
    }
    digest_text(session->key_hash, text);
    return judge_key(j, session->key_hash, where);
}

// "Bearer KEY"; the scheme in any case, blanks around the key.
static enum auth_result judge_authorization(struct judging *j, const char *value) {
    struct session session;
    static const char scheme[] = "Bearer";
    size_t length = sizeof scheme - 1;
    value += strspn(value, " \t");
    if (strncasecmp(value, scheme, length) != 0 ||
        (value[length] && value[length] != ' ' && value[length] != '\t'))
        return refuse(j, 401, "malformed_credentials", "Authorization is not of the form 'Bearer KEY'");
    char *copy = mem_copy(value + length), *key = text_trim(copy);
    enum auth_result result =
        *key ? judge_text(j, key, "Authorization", &session)
             : refuse(j, 401, "malformed_credentials",
                      "Authorization has no key behind 'Bearer': is the variable that it is made of set?");
    explicit_bzero(copy, strlen(copy));
    free(copy);
    return result;
}

static enum auth_result judge_secret(struct judging *j, const char *value) {
    char *copy = mem_copy(value), *secret = text_trim(copy);
    bool is_empty = !*secret, is_right = !is_empty && is_known(&j->auth->secret, secret);
    explicit_bzero(copy, strlen(copy));
    free(copy);
    if (is_right)
        return let_in(j, ROLE_ADMIN, NULL, "secret");
    if (is_empty)
        return refuse(j, 401, "malformed_credentials",
                      "X-Internal-Secret is empty: is the variable that it is made of set?");
    if (j->auth->secret.is_set)
        return refuse(j, 401, "unknown_key", "X-Internal-Secret is not the admin secret of this server");
    if (j->auth->config->http.admin_key_file)
        return refuse(j, 401, "unknown_key",
                      "X-Internal-Secret cannot be right, as this server has no admin secret: its "
                      "admin_key_file is empty");
    return refuse(
        j, 401, "unknown_key",
        "X-Internal-Secret cannot be right, as this server was started without an admin secret: set the "
        "environment variable %.80s for it",
        j->auth->config->http.admin_key_env);
}

// Browsers send the cookie with what other pages ask for, too: Sec-Fetch-Site, or in older ones Origin, tells that.
static bool is_own_page(const struct judging *j) {
    const char *site = header(j, "Sec-Fetch-Site"), *origin = header(j, "Origin"), *host = header(j, "Host");
    if (strcmp(j->request->method, "GET") == 0 || strcmp(j->request->method, "HEAD") == 0)
        return true;
    if (site)
        return strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
    const char *start = origin ? strstr(origin, "://") : NULL;
    return start && host && strcasecmp(start + 3, host) == 0;
}

static enum auth_result judge_session(struct judging *j, const struct session *session) {
    if (session->of == SESSION_OF_NOBODY)
        return refuse(j, 401, "unknown_key",
                      "the session in the cookie " SESSION_COOKIE " has ended: log in again");
    if (!is_own_page(j))
        return refuse(j, 403, "cross_site_request",
                      "the cookie " SESSION_COOKIE " only counts for requests of this server's own pages, as "
                      "Sec-Fetch-Site or Origin tell: send a key in Authorization");
    if (session->of == SESSION_OF_KEY)
        return judge_key(j, session->key_hash, "the session of the cookie " SESSION_COOKIE);
    return let_in(j, ROLE_ADMIN, NULL, session->of == SESSION_OF_SECRET ? "secret" : "session");
}

static enum auth_result judge_credentials(struct judging *j) {
    const char *authorization = header(j, "Authorization"), *secret = header(j, "X-Internal-Secret");
    bool has_cookie = false;
    enum auth_result result = AUTH_OK;
    // Of two, both must be right; who sends a user's key with the secret acts for that user.
    if (secret)
        result = judge_secret(j, secret);
    if (authorization && result == AUTH_OK)
        result = judge_authorization(j, authorization);
    if (secret || authorization)
        return result;
    struct session session =
        session_find(j->auth->sessions, header(j, "Cookie"), &has_cookie, clock_monotonic_ms());
    if (has_cookie)
        return judge_session(j, &session);
    return refuse(j, 401, "missing_credentials", "no credential was sent: send 'Authorization: Bearer KEY'%s",
                  j->auth->token.is_set
                      ? " with the token that the server told at its start, or a key of 'genrun key add'"
                      : " with a key of 'genrun key add', or X-Internal-Secret");
}

// ---- who is refused ----

static bool is_missing(const struct judging *j) {
    return strcmp(j->why->code, "missing_credentials") == 0;
}

// Counts it, and notes it in the log; who failed too often learns only that.
static void account(struct judging *j, const char *path, const char *key) {
    struct auth_refusal *why = j->why;
    if (why->status != 401 && why->status != 403)
        return;
    int wait_s = why->status == 401 ? trace_throttle(j->auth->trace, j->request->remote, !is_missing(j)) : 0;
    if (wait_s > 0) {
        refuse(j, 429, "too_many_failures",
               "too many requests from this address had a wrong credential: wait %d s ([http] max_failures)",
               wait_s);
        why->retry_after_s = wait_s;
    }
    trace_denied(j->auth->trace, &(struct trace_refusal){.status = why->status,
                                                         .code = why->code,
                                                         .message = why->message,
                                                         .remote = j->request->remote,
                                                         .method = j->request->method,
                                                         .path = path,
                                                         .key = key});
}

enum auth_result auth_judge(struct auth *auth, genrun *g, const struct auth_request *request,
                            struct auth_identity *out, struct auth_refusal *why) {
    struct judging j = {auth, g, request, out, why};
    *out = (struct auth_identity){0};
    *why = (struct auth_refusal){0};
    enum auth_result result = judge_credentials(&j);
    if (result == AUTH_OK && out->role >= request->needed)
        return AUTH_OK;
    if (result == AUTH_OK) {
        char *key = mem_copy(out->name);
        result = refuse(&j, 403, "permission_denied",
                        "this takes an admin's key: the one that was sent is a user's");
        account(&j, request->path, key);
        free(key);
        return result;
    }
    if (request->needed != ROLE_ANYONE) {
        account(&j, request->path, NULL);
        return AUTH_REFUSED;
    }
    // A guess all the same, at what anyone may ask and some learn more of.
    if (why->status == 401 && !is_missing(&j) && header(&j, "Cookie") == NULL)
        (void)trace_throttle(auth->trace, request->remote, true);
    return AUTH_OK;
}

// ---- what goes on ----

bool auth_has_revoked(struct auth *auth, genrun *g) {
    int64_t at = auth->revoked_at;
    if (host_key_revoked_at(g, &at) || at == auth->revoked_at)
        return false;
    auth->revoked_at = at;
    return true;
}

bool auth_is_good(genrun *g, const struct auth_identity *identity) {
    bool good = true;
    if (identity->name && text_starts_with(identity->name, KEY_NAME) &&
        host_key_is_good(g, identity->name + strlen(KEY_NAME), &good))
        return true;
    return good;
}

// ---- sessions ----

enum auth_result auth_log_in(struct auth *auth, genrun *g, const struct auth_request *request,
                             const char *key, char cookie[SESSION_SIZE], struct auth_identity *out,
                             struct auth_refusal *why) {
    struct session session;
    struct judging j = {auth, g, request, out, why};
    char *copy = mem_copy(key), *trimmed = text_trim(copy);
    *out = (struct auth_identity){0};
    *why = (struct auth_refusal){0};
    cookie[0] = '\0';
    enum auth_result result = *trimmed ? judge_text(&j, trimmed, "the form", &session)
                                       : refuse(&j, 401, "malformed_credentials",
                                                "the key is empty: give a key or the admin secret");
    if (result == AUTH_OK)
        session_begin(auth->sessions, &session, cookie, clock_monotonic_ms());
    else
        account(&j, request->path, NULL);
    explicit_bzero(copy, strlen(copy));
    free(copy);
    return result;
}

void auth_log_out(struct auth *auth, const struct auth_request *request) {
    session_end(auth->sessions, request->header(request->payload, "Cookie"));
}

enum auth_link auth_use_link(struct auth *auth, const struct auth_request *request, const char *code,
                             char cookie[SESSION_SIZE]) {
    const struct session session = {.of = SESSION_OF_LINK};
    struct auth_identity out = {0};
    struct auth_refusal why = {0};
    struct judging j = {auth, NULL, request, &out, &why};
    cookie[0] = '\0';
    if (!is_known(&auth->link, code)) {
        refuse(&j, 401, "unknown_key", "the code in the session link is not the one that this server told");
        account(&j, "/session/", NULL); // the code is nobody's business
        return AUTH_LINK_UNKNOWN;
    }
    if (auth->link_used)
        return AUTH_LINK_USED;
    auth->link_used = true;
    session_begin(auth->sessions, &session, cookie, clock_monotonic_ms());
    return AUTH_LINK_OK;
}
