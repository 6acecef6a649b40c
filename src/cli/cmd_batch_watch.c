// SPDX-License-Identifier: MIT
// `batch watch`: the progress of a batch job until its end.
#include "cli/rows.h"
#include "cli/wait.h"

static int run(struct cli *cli) {
    const char *id = args_operand(cli->args, 0);
    int code = wait_watch_batch(cli, id);
    if (!cli->json || (code != GENRUN_OK && code != GENRUN_WORK_FAILED))
        return code;
    genrun_row *row = NULL;
    int got = genrun_batch_get(cli->g, &row, id);
    if (got != GENRUN_OK)
        return cli_report(cli, got);
    rows_print_json(row);
    return code;
}

const struct command cmd_batch_watch = {
    .group = "batch",
    .name = "watch",
    .operands = "ID",
    .summary = "follow a batch job with a progress bar until it ends",
    .detail =
        "It only looks: interrupting it does the batch no harm. Exits with 1 when items failed or were\n"
        "cancelled. With --json the batch job's object is printed at the end.",
    .example = "genrun batch watch 4b7d91ce",
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run,
};
