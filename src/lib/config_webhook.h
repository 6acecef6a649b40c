// SPDX-License-Identifier: MIT
// Inside of src/lib/: sections [webhook NAME], and what they name.
#ifndef GENRUN_LIB_CONFIG_WEBHOOK_H
#define GENRUN_LIB_CONFIG_WEBHOOK_H

#include "lib/config.h"
#include "lib/mistakes.h"

// The index of the endpoint of that name, made with its defaults when there is none.
size_t config_webhook_add(struct config *config, const char *name);
// Tells what does not fit together, and lends the endpoints to the jobs.
void config_webhooks_complete(struct config *config, struct mistakes *mistakes);
void config_webhooks_free(struct config *config);
// What is known of the secret that an option names: "set", "set (from env X)", "missing". NULL: it names none, or is
// not set. The caller frees it.
char *config_webhook_describe(const struct webhook_endpoint *endpoint, const char *name);
// Tells what an endpoint names that cannot be used: a missing variable, an unreadable file, no secret at all. Nothing
// told: it is fine.
void config_webhook_judge(const struct webhook_endpoint *endpoint,
                          void (*tell)(void *payload, bool is_mistake, const char *option, const char *line),
                          void *payload);

#endif
