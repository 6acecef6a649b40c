// SPDX-License-Identifier: MIT
// `show`: one generation in full.
#include "cli/detail.h"
#include "cli/rows.h"

static int run(struct cli *cli) {
    const char *id = args_operand(cli->args, 0);
    return cli->json ? detail_print_json(cli, id) : detail_print(cli, id);
}

const struct command cmd_show = {
    .name = "show",
    .operands = "ID",
    .summary = "show one generation: parameters, attempts, outputs, events",
    .detail = "On a terminal long texts are cut to a part of the screen; --json and a pipe have them whole.",
    .example = "genrun show 4b7d91ce",
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run,
};
