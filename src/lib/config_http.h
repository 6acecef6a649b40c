// SPDX-License-Identifier: MIT
// Inside of src/lib/: what follows from [http] and from where the database is.
#ifndef GENRUN_LIB_CONFIG_HTTP_H
#define GENRUN_LIB_CONFIG_HTTP_H

#include "lib/config.h"
#include "lib/mistakes.h"

// Fills in the defaults that depend on other options, and tells what does not fit together.
void config_http_complete(struct config *config, struct mistakes *mistakes);
// What is known of the key that an option of a plain section names: "set (from env X)", "missing", "not used". NULL:
// it names none, or has no value. The caller frees it.
char *config_http_describe_key(const struct config *config, const char *section, const char *name);

// Judges who may call: "what was wrong: what to do" in a line, false in *is_mistake where it need not be wrong. `keys` are
// the good ones in the database, -1: not known.
void config_http_judge(const struct config *config, int64_t keys,
                       void (*tell)(void *payload, bool is_mistake, const char *option, const char *line),
                       void *payload);

#endif
