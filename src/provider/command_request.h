// SPDX-License-Identifier: MIT
// What a command is given: its environment and its stdin. Made from a request as a
// value; nothing is started here.
#ifndef GENRUN_PROVIDER_COMMAND_REQUEST_H
#define GENRUN_PROVIDER_COMMAND_REQUEST_H

#include "base/buf.h"
#include "provider/command.h"
#include "provider/provider.h"

// The environment: NULL-terminated entries for command_request_free(), nothing of genrun's own but the allow-list,
// the model's pass_env and key, and what command.h names. ERR_CONFIG: the key is missing; ERR_INVALID: the
// parameters are larger than an environment can hold.
int command_request_environment(const struct provider_request *request, char ***out,
                                struct err *e) must_check;
void command_request_free(char **environment); // NULL is fine; what may be a key is wiped

// Appends what goes to stdin. ERR_INVALID when the request has no single text and the command reads text.
int command_request_input(const struct provider_request *request, struct buf *out, struct err *e) must_check;

#endif
