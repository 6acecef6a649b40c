// SPDX-License-Identifier: MIT
// Outputs on stdout: raw for programs, safe for terminals.
#ifndef GENRUN_CLI_OUTPUT_H
#define GENRUN_CLI_OUTPUT_H

#include "cli/command.h"
#include <stdbool.h>
#include <stdio.h>

// Prints what the model gave, byte for byte; on a terminal with controls escaped, and refused when it is
// not text. `end_line` adds a line end to text that has none. Returns the command's code.
int output_print(struct cli *cli, const char *id, bool end_line);
// A stream that puts what is written to it on stdout with its control characters escaped, as each line ends; to be
// closed. NULL with errno when there is no memory.
FILE *output_open_safe(void);
// One JSON object for each output.
int output_print_json(struct cli *cli, const char *id);

#endif
