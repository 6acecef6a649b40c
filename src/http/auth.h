// SPDX-License-Identifier: MIT
// Who asks: the credentials of a request, judged.
#ifndef GENRUN_HTTP_AUTH_H
#define GENRUN_HTTP_AUTH_H

#include "base/err.h"
#include "genrun.h"
#include "http/exchange.h"
#include "http/listen.h"
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
    char *name;              // stable: "key:<id>", "secret", "session"
};

struct auth_refusal {
    int status; // 401, 403, 429
    const char *code;
    char message[256];
    int retry_after_s; // 0: none
};

int auth_open(struct auth **out, genrun *g, const struct config *config, const struct listen_address *address,
              struct err *e) must_check;
// The runner is up and the port known.
void auth_begin(struct auth *auth, genrun *g, const struct listen_address *address);
void auth_close(struct auth *auth); // NULL is fine
enum auth_result auth_judge(struct auth *auth, genrun *g, const struct auth_request *request,
                            struct auth_identity *out, struct auth_refusal *why);
void auth_identity_clear(struct auth_identity *identity);

#endif
