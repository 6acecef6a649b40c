// SPDX-License-Identifier: MIT
// Inside of src/lib/: what follows from [sync]. Its connection string holds a password: it is in a variable or a file, and
// told to nobody.
#ifndef GENRUN_LIB_CONFIG_SYNC_H
#define GENRUN_LIB_CONFIG_SYNC_H

#include "lib/config.h"

// What other sections are told of it.
void config_sync_complete(struct config *config);
// Is there a connection string, or should there be one?
bool config_sync_is_set(const struct config *config);
// The connection string in *url (an initialized buffer; wipe it). ERR_CONFIG when there is none, or none to be used.
int config_sync_url(const struct config *config, struct buf *url, struct err *e) must_check;
// What is known of what url_env or url_file names: "set (from env X)", "missing", "not used". NULL: another option, or
// one without a value. The caller frees it.
char *config_sync_describe_url(const struct config *config, const char *name);
// What this box is called, when its database does not know yet. The caller frees it.
char *config_sync_node(const struct config *config);
// Tells what cannot be used, for `config check`.
void config_sync_judge(const struct config *config,
                       void (*tell)(void *payload, bool is_mistake, const char *option, const char *line),
                       void *payload);
void config_sync_clear(struct sync_settings *sync);

#endif
