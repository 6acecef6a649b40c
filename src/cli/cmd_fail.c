// SPDX-License-Identifier: MIT
// `fail`: what waits or runs ends as failed, with a reason that a person gives.
#include "cli/change.h"
#include "cli/rows.h"

static const struct args_option options[] = {
    {"reason", 0, ARGS_TEXT, "TEXT", "the error that it ends with", 0, 0},
    CHANGE_FILTER_OPTIONS("queued|processing|stuck"),
    ARGS_END,
};

static const struct change change = {
    .verb = "fail",
    .past = "failed",
    .one = genrun_fail,
    .get = genrun_get,
    .all = genrun_fail_all,
    .has_reason = true,
};

static int run(struct cli *cli) {
    if (!args_has(cli->args, "reason"))
        return cli_usage(cli, "'fail' needs --reason TEXT, the error that they end with");
    return change_run(cli, &change);
}

const struct command cmd_fail = {
    .name = "fail",
    .operands = "[ID…]",
    .summary = "end generations as failed, with a reason: by id, or all that filters select",
    .detail =
        "For what shall not run and shall show among the failures, as OperatorError. Failing a failed one\n"
        "changes nothing. Filters ask on a terminal and need --yes elsewhere.",
    .example = "genrun fail --status stuck --reason \"lost with the server\" --yes",
    .options = options,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run,
};
