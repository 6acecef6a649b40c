// SPDX-License-Identifier: MIT
// `cancel`: what waits or runs ends as cancelled.
#include "cli/change.h"
#include "cli/rows.h"

static const struct args_option options[] = {
    CHANGE_FILTER_OPTIONS("queued|processing|stuck"),
    {"reason", 0, ARGS_TEXT, "TEXT", "why, for the log and the reports", 0, 0},
    ARGS_END,
};

static const struct change change = {
    .verb = "cancel",
    .past = "cancelled",
    .one = genrun_cancel,
    .get = genrun_get,
    .all = genrun_cancel_all,
    .has_reason = true,
};

static int run(struct cli *cli) {
    return change_run(cli, &change);
}

const struct command cmd_cancel = {
    .name = "cancel",
    .operands = "[ID…]",
    .summary = "cancel generations: by id, or all that filters select",
    .detail =
        "Cancelling a cancelled one changes nothing. Filters ask on a terminal and need --yes elsewhere.",
    .example = "genrun cancel --model echo --status queued --dry-run",
    .options = options,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run,
};
