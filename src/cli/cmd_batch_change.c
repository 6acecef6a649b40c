// SPDX-License-Identifier: MIT
// `batch pause`, `batch resume`, `batch cancel`.
#include "cli/change.h"
#include "cli/rows.h"

static int resume(genrun *g, const char *id, const char *reason) {
    (void)reason;
    return genrun_batch_resume(g, id);
}

static const struct change pause_change = {.verb = "pause",
                                           .past = "paused",
                                           .one = genrun_batch_pause,
                                           .get = genrun_batch_get,
                                           .has_reason = true};
static const struct change resume_change = {
    .verb = "resume", .past = "resumed", .one = resume, .get = genrun_batch_get};
static const struct change cancel_change = {.verb = "cancel",
                                            .past = "cancelled",
                                            .one = genrun_batch_cancel,
                                            .get = genrun_batch_get,
                                            .has_reason = true};

static int run_pause(struct cli *cli) {
    return change_run(cli, &pause_change);
}

static int run_resume(struct cli *cli) {
    return change_run(cli, &resume_change);
}

static int run_cancel(struct cli *cli) {
    return change_run(cli, &cancel_change);
}

static const struct args_option options_reason[] = {
    {"reason", 0, ARGS_TEXT, "TEXT", "why, for the log and the reports", 0, 0},
    ARGS_END,
};

const struct command cmd_batch_pause = {
    .group = "batch",
    .name = "pause",
    .operands = "ID…",
    .summary = "start no more items; what runs ends",
    .example = "genrun batch pause 4b7d91ce --reason \"server maintenance\"",
    .options = options_reason,
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run_pause,
};

const struct command cmd_batch_resume = {
    .group = "batch",
    .name = "resume",
    .operands = "ID…",
    .summary = "go on with a paused batch job",
    .example = "genrun batch resume 4b7d91ce",
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run_resume,
};

const struct command cmd_batch_cancel = {
    .group = "batch",
    .name = "cancel",
    .operands = "ID…",
    .summary = "cancel a batch job with all its items that did not end",
    .example = "genrun batch cancel 4b7d91ce --reason \"wrong file\"",
    .options = options_reason,
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run_cancel,
};
