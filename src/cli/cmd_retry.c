// SPDX-License-Identifier: MIT
// `retry`: what failed or was cancelled is queued again.
#include "cli/change.h"
#include "cli/rows.h"

static int retry(genrun *g, const char *id, const char *reason) {
    (void)reason;
    return genrun_retry(g, id);
}

static int retry_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                     int dry_run) {
    (void)reason;
    return genrun_retry_all(g, changed, filter, dry_run);
}

static const struct args_option options[] = {
    CHANGE_FILTER_OPTIONS("failed|cancelled"),
    ARGS_END,
};

static const struct change change = {
    .verb = "retry",
    .past = "queued",
    .one = retry,
    .get = genrun_get,
    .all = retry_all,
};

static int run(struct cli *cli) {
    return change_run(cli, &change);
}

const struct command cmd_retry = {
    .name = "retry",
    .operands = "[ID…]",
    .summary = "queue failed or cancelled generations again",
    .detail = "Attempts start at 0 again; the log keeps what happened before. Retrying a queued one changes\n"
              "nothing. Filters ask on a terminal and need --yes elsewhere.",
    .example = "genrun retry --status failed --type NetworkError --yes",
    .options = options,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run,
};
