// SPDX-License-Identifier: MIT
// Who asks: the credentials of a request, judged. A credential is the admin secret or a key, as Authorization: Bearer;
// the admin secret as X-Internal-Secret; or the session of a browser. Where neither a secret nor a key is configured
// the server makes a token and a link that works once, and tells them on stderr. Nothing of a credential is told
// anywhere else; the secrets are kept as hashes.
#ifndef GENRUN_HTTP_AUTH_H
#define GENRUN_HTTP_AUTH_H

#include "base/err.h"
#include "genrun.h"
#include "http/exchange.h"
#include "http/listen.h"
#include "http/session.h"
#include "lib/config.h"

struct auth;

enum auth_result { AUTH_OK, AUTH_REFUSED };

struct auth_request {
    const char *(*header)(void *payload, const char *name); // NULL: absent
    void *payload;
    const char *remote; // address, without a port
    const char *method, *path;
    enum exchange_role needed;
};

struct auth_identity {
    enum exchange_role role; // ROLE_ANYONE: no credential was given, and none is needed
    char *user;              // of a user's key
    char *name;              // stable: "key:<id>", "secret", "session"; NULL: none
};

struct auth_refusal {
    int status; // 401, 403, 429, 503
    // missing_credentials, malformed_credentials, unknown_key, revoked_key; permission_denied, cross_site_request;
    // too_many_failures; unavailable
    const char *code;
    char message[256];
    int retry_after_s; // 0: none
};

// Takes the secret from where the configuration (borrowed) says. ERR_CONFIG when it cannot be read, and when the
// address reaches beyond this machine and there is neither a secret nor a key.
int auth_open(struct auth **out, genrun *g, const struct config *config, const struct listen_address *address,
              struct err *e) must_check;
// The runner is up and the port known: tells who may call and, where nobody could, the link and the token.
void auth_begin(struct auth *auth, genrun *g, const struct listen_address *address);
void auth_close(struct auth *auth); // NULL is fine
// Judges a request, and keeps account of those that are refused. Where a route needs no credential a wrong one counts
// as none. Clear *out in any case.
enum auth_result auth_judge(struct auth *auth, genrun *g, const struct auth_request *request,
                            struct auth_identity *out, struct auth_refusal *why);
void auth_identity_clear(struct auth_identity *identity);

// ---- what goes on after it was let in ----

// Was any key revoked since this was asked last? Then those that go on are to be asked for.
bool auth_has_revoked(struct auth *auth, genrun *g);
// Would it be let in still? (True when that cannot be told now.)
bool auth_is_good(genrun *g, const struct auth_identity *identity);

// ---- sessions of browsers ----

// A key, the secret or the token as a form has it: begins a session and writes its cookie's value.
enum auth_result auth_log_in(struct auth *auth, genrun *g, const struct auth_request *request,
                             const char *key, char cookie[SESSION_SIZE], struct auth_identity *out,
                             struct auth_refusal *why);
void auth_log_out(struct auth *auth, const struct auth_request *request);
enum auth_link { AUTH_LINK_OK, AUTH_LINK_USED, AUTH_LINK_UNKNOWN };
// The code of the session link: with AUTH_LINK_OK, the one time, a session begins.
enum auth_link auth_use_link(struct auth *auth, const struct auth_request *request, const char *code,
                             char cookie[SESSION_SIZE]);

#endif
