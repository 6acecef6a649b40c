// SPDX-License-Identifier: MIT
// One generation in full: as `show` prints it, and as the JSON object that `show`
// and `submit --wait` give.
#ifndef GENRUN_CLI_DETAIL_H
#define GENRUN_CLI_DETAIL_H

#include "cli/command.h"

// Prints fields, prompt, parameters, outputs and events. Reports and returns the code.
int detail_print(struct cli *cli, const char *id);
// Prints the row's object with the members `outputs` and `events` added. Reports and returns the code.
int detail_print_json(struct cli *cli, const char *id);

#endif
