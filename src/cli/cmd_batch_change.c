// SPDX-License-Identifier: MIT
// `batch pause`, `batch resume`, `batch cancel`, `batch retry`.
#include "cli/change.h"
#include "cli/rows.h"
#include <stdio.h>

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

// ---- retry: it tells how many ----

static int retry_one(struct cli *cli, const char *id) {
    bool dry_run = args_has(cli->args, "dry-run");
    genrun_row *row = NULL;
    int64_t count = 0;
    int code = genrun_batch_retry(cli->g, &count, id, dry_run);
    if (code == GENRUN_OK)
        code = genrun_batch_get(cli->g, &row, id);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json && dry_run)
        printf("{\"id\":\"%s\",\"queued\":%lld,\"dryRun\":true}\n", genrun_row_text(row, "id"),
               (long long)count);
    else if (cli->json)
        rows_write_json(row);
    else if (dry_run)
        printf("%s %s, %lld item%s would be queued\n", genrun_row_text(row, "id"),
               genrun_row_text(row, "status"), (long long)count, count == 1 ? "" : "s");
    else if (!cli->quiet)
        printf("%s %s, %lld item%s queued\n", genrun_row_text(row, "id"), genrun_row_text(row, "status"),
               (long long)count, count == 1 ? "" : "s");
    genrun_row_free(row);
    return GENRUN_OK;
}

static int run_retry(struct cli *cli) {
    return cli_each_operand(cli, retry_one);
}

static const struct args_option options_retry[] = {
    {"dry-run", 0, ARGS_FLAG, NULL, "only count what would be queued", 0, 0},
    ARGS_END,
};

const struct command cmd_batch_retry = {
    .group = "batch",
    .name = "retry",
    .operands = "ID…",
    .summary = "queue the failed items of a batch job again",
    .detail =
        "Their attempts start at 0 again; the log keeps what happened before. An ended or stopped batch job\n"
        "goes on with them, a paused one stays paused, a cancelled one is refused (5). Cancelled items stay\n"
        "cancelled: 'genrun retry --batch ID' queues those, too.",
    .example = "genrun batch retry 4b7d91ce",
    .options = options_retry,
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run_retry,
};
