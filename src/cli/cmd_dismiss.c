// SPDX-License-Identifier: MIT
// `dismiss`: a mark that leaves generations out of reports, and its reverse.
#include "cli/change.h"
#include "cli/rows.h"

static int dismiss(genrun *g, const char *id, const char *reason) {
    (void)reason;
    return genrun_dismiss(g, id, 0);
}

static int dismiss_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                       int dry_run) {
    (void)reason;
    return genrun_dismiss_all(g, changed, filter, 0, dry_run);
}

static int undismiss(genrun *g, const char *id, const char *reason) {
    (void)reason;
    return genrun_dismiss(g, id, 1);
}

static int undismiss_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                         int dry_run) {
    (void)reason;
    return genrun_dismiss_all(g, changed, filter, 1, dry_run);
}

static const struct args_option options[] = {
    {"undo", 0, ARGS_FLAG, NULL, "take the mark away", 0, 0},
    CHANGE_FILTER_OPTIONS("processing|completed|failed|cancelled|stuck"),
    ARGS_END,
};

static const struct change mark = {
    .verb = "dismiss", .past = "dismissed", .one = dismiss, .get = genrun_get, .all = dismiss_all};
static const struct change unmark = {
    .verb = "undismiss", .past = "undismissed", .one = undismiss, .get = genrun_get, .all = undismiss_all};

static int run(struct cli *cli) {
    return change_run(cli, args_has(cli->args, "undo") ? &unmark : &mark);
}

const struct command cmd_dismiss = {
    .name = "dismiss",
    .operands = "[ID…]",
    .summary = "leave generations out of stuck, failures and alerts",
    .detail =
        "For what has been seen and needs nobody: it stays as it is, counts in stats, and lists show the\n"
        "mark. A retry takes the mark away. Without --status only failed and cancelled ones are dismissed.\n"
        "Filters ask on a terminal and need --yes elsewhere.",
    .example = "genrun dismiss --type ContentFilterError --older-than 1d --yes",
    .options = options,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run,
};
