// SPDX-License-Identifier: MIT
// `recover`: what is stuck is queued again.
#include "cli/change.h"
#include "cli/rows.h"

static int recover(genrun *g, const char *id, const char *reason) {
    (void)reason;
    return genrun_recover(g, id);
}

static int recover_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                       int dry_run) {
    (void)reason;
    return genrun_recover_all(g, changed, filter, dry_run);
}

static const struct args_option options[] = {
    CHANGE_FILTER_OPTIONS("stuck"),
    ARGS_END,
};

static const struct change change = {
    .verb = "recover",
    .past = "recovered",
    .one = recover,
    .get = genrun_get,
    .all = recover_all,
};

static int run(struct cli *cli) {
    return change_run(cli, &change);
}

const struct command cmd_recover = {
    .name = "recover",
    .operands = "[ID…]",
    .summary = "queue stuck generations again",
    .detail =
        "Only what 'genrun stuck' lists: what is not stuck is refused (5), with what it does instead. No\n"
        "attempt is spent, and a result that its former owner still sends is dropped. A runner does the\n"
        "same by itself when it starts, so this is for work that hangs under a living one.",
    .example = "genrun recover --all --dry-run",
    .options = options,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run,
};
