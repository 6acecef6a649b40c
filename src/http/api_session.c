// SPDX-License-Identifier: MIT
// Logging in and out of a browser, and who it is logged in as. The cookie is out of reach for scripts and of other sites.
#include "base/json.h"
#include "http/handlers.h"
#include "http/state.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COOKIE_SIZE 200
#define COOKIE_RULES "; HttpOnly; SameSite=Strict; Path=/"

const struct field api_session_log_in_body[] = {
    {"key", FIELD_TEXT, 1, 4096, NULL, true,
     "a key, the admin secret, or the token that the server told at its start"},
    {.name = NULL},
};

static const char *get_header(void *payload, const char *name) {
    return exchange_header(payload, name);
}

static struct auth_request request_of(struct exchange *x) {
    return (struct auth_request){.header = get_header,
                                 .payload = x,
                                 .remote = x->remote,
                                 .method = x->method,
                                 .path = x->path,
                                 .needed = ROLE_ANYONE};
}

// The host that was asked is that of a public address with TLS: then the cookie never goes without it.
static bool came_by_tls(const struct exchange *x) {
    const char *url = x->server->base_url, *host = exchange_header(x, "Host");
    return url && host && strncasecmp(url, "https://", 8) == 0 &&
           strncasecmp(url + 8, host, strlen(host)) == 0;
}

static void set_cookie(struct exchange *x, const char *value, const char *more) {
    char cookie[COOKIE_SIZE];
    snprintf(cookie, sizeof cookie, SESSION_COOKIE "=%s" COOKIE_RULES "%s%s", value,
             came_by_tls(x) ? "; Secure" : "", more);
    exchange_answer_header(x, "Set-Cookie", cookie);
    explicit_bzero(cookie, sizeof cookie);
}

static void answer_identity(struct exchange *x, const struct auth_identity *who) {
    struct buf json;
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_text(&json, "role", who->role == ROLE_ADMIN ? "admin" : "user");
    json_write_member_text(&json, "user", who->user);
    json_write_member_text(&json, "name", who->name);
    buf_char(&json, '}');
    exchange_json(x, 200, &json);
    buf_free(&json);
}

// Asked by each page that is opened: without a session that is no refusal, and no row of the log.
void api_session_show(struct exchange *x, genrun *g) {
    (void)g;
    if (x->who.role == ROLE_ANYONE)
        exchange_refuse(x,
                        &(struct auth_refusal){.status = 401,
                                               .code = "missing_credentials",
                                               .message = "nobody is logged in: POST /session with a key"});
    else
        answer_identity(x, &x->who);
}

void api_session_log_in(struct exchange *x, genrun *g) {
    char cookie[SESSION_SIZE];
    struct auth_identity who = {0};
    struct auth_refusal why = {0};
    const struct auth_request request = request_of(x);
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(exchange_body(x), "key");
    if (auth_log_in(x->server->auth, g, &request, key->valuestring, cookie, &who, &why) == AUTH_OK) {
        set_cookie(x, cookie, "");
        answer_identity(x, &who);
    } else {
        exchange_refuse(x, &why);
    }
    explicit_bzero(cookie, sizeof cookie);
    auth_identity_clear(&who);
}

void api_session_log_out(struct exchange *x, genrun *g) {
    struct buf empty;
    const struct auth_request request = request_of(x);
    (void)g;
    buf_init(&empty, 16);
    auth_log_out(x->server->auth, &request);
    set_cookie(x, "", "; Max-Age=0");
    exchange_json(x, 204, &empty);
}

// A browser or a chat program that looks at the link beforehand must not use it up.
static bool only_looks(const struct exchange *x) {
    return x->head_only || exchange_header(x, "Sec-Purpose") || exchange_header(x, "X-Moz") ||
           exchange_header(x, "Purpose");
}

void api_session_link(struct exchange *x, genrun *g) {
    char cookie[SESSION_SIZE];
    const struct auth_request request = request_of(x);
    (void)g;
    if (only_looks(x)) {
        exchange_error(x, 425, NULL, "too_early", NULL, "this link works once: open it");
        return;
    }
    switch (auth_use_link(x->server->auth, &request, exchange_segment(x, "code"), cookie)) {
    case AUTH_LINK_OK:
        set_cookie(x, cookie, "");
        exchange_answer_header(x, "Location", "/");
        exchange_text(x, 303, "text/plain", "logged in: go on at /\n", 22);
        break;
    case AUTH_LINK_USED:
        exchange_error(
            x, 410, NULL, "link_used", NULL,
            "this link was used: it works once. Log in at / with the token that the server told beside it, "
            "or start the server again for a new link");
        break;
    case AUTH_LINK_UNKNOWN:
        exchange_error(
            x, 404, NULL, "unknown_link", NULL,
            "this link is not one of this server's: use the one that it told at its last start, or log in "
            "at / with a key");
        break;
    }
    explicit_bzero(cookie, sizeof cookie);
}
