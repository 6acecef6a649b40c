// SPDX-License-Identifier: MIT
// The man pages, made of the tables that the program itself works by: commands,
// their options, the options of genrun.ini, exit codes.
#ifndef GENRUN_CLI_MAN_H
#define GENRUN_CLI_MAN_H

#include "base/buf.h"
#include "cli/command.h"

// Append genrun(1), of these commands (NULL-terminated), and genrun.ini(5).
void man_write_program(struct buf *out, const struct command *const *commands);
void man_write_configuration(struct buf *out);

#endif
