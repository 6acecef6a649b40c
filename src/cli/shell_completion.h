// SPDX-License-Identifier: MIT
// The completion of bash, made of the command table.
#ifndef GENRUN_CLI_SHELL_COMPLETION_H
#define GENRUN_CLI_SHELL_COMPLETION_H

#include "base/buf.h"
#include "cli/command.h"

// Appends the script that bash reads to complete these commands (NULL-terminated).
void shell_completion_write(struct buf *out, const struct command *const *commands);

#endif
