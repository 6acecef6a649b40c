// SPDX-License-Identifier: MIT
#include "http/auth.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct auth {
    char *secret;
};

int auth_open(struct auth **out, genrun *g, const struct config *config, const struct listen_address *address,
              struct err *e) {
    (void)g;
    (void)address;
    (void)e;
    *out = mem_alloc(1, sizeof **out);
    (*out)->secret = mem_copy(getenv(config->http.admin_key_env));
    return 0;
}

void auth_begin(struct auth *auth, genrun *g, const struct listen_address *address) {
    (void)auth;
    (void)g;
    (void)address;
}

void auth_close(struct auth *auth) {
    if (auth)
        free(auth->secret);
    free(auth);
}

enum auth_result auth_judge(struct auth *auth, genrun *g, const struct auth_request *request,
                            struct auth_identity *out, struct auth_refusal *why) {
    const char *given = request->header(request->payload, "Authorization");
    (void)g;
    if (given && strncmp(given, "Bearer ", 7) == 0 && auth->secret && strcmp(given + 7, auth->secret) == 0) {
        out->role = ROLE_ADMIN;
        out->name = mem_copy("secret");
        return AUTH_OK;
    }
    if (request->needed == ROLE_ANYONE)
        return AUTH_OK;
    why->status = 401;
    why->code = "missing_credentials";
    snprintf(why->message, sizeof why->message,
             "no credential that is known: send Authorization: Bearer KEY");
    return AUTH_REFUSED;
}

void auth_identity_clear(struct auth_identity *identity) {
    free(identity->user);
    free(identity->name);
    *identity = (struct auth_identity){0};
}
