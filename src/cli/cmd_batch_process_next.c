// SPDX-License-Identifier: MIT
// `batch process-next`: exactly one item of a batch job.
#include "base/mem.h"
#include "cli/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(struct cli *cli, const genrun_row *item, int64_t remaining) {
    const char *id = item != NULL ? genrun_row_text(item, "id") : NULL;
    const char *status = item != NULL ? genrun_row_text(item, "status") : "empty";
    if (cli->json)
        printf("{\"processed\":%d,\"remaining\":%lld,\"status\":\"%s\"%s%s%s}\n", item != NULL,
               (long long)remaining, status, id != NULL ? ",\"id\":\"" : "", id != NULL ? id : "",
               id != NULL ? "\"" : "");
    else if (item != NULL)
        printf("%s %s, %lld left\n", id, status, (long long)remaining);
    else
        cli_note(cli, "no item waits");
}

// What an item that did not complete came to.
static int report(struct cli *cli, const genrun_row *item) {
    const char *status = genrun_row_text(item, "status"), *id = genrun_row_text(item, "id");
    const char *type = genrun_row_text(item, "error_type"), *message = genrun_row_text(item, "error_message");
    if (strcmp(status, "completed") == 0)
        return GENRUN_OK;
    if (strcmp(status, "failed") == 0)
        return cli_fail(cli, GENRUN_WORK_FAILED, "%s failed: %s: %s", id, type, message);
    return cli_fail(cli, GENRUN_WORK_FAILED, "%s is %s: 'genrun show %s' tells why", id,
                    strcmp(status, "queued") == 0 ? "queued again" : status, id);
}

static int run(struct cli *cli) {
    const char *id = args_operand(cli->args, 0);
    genrun_row *item = NULL, *batch = NULL;
    int code = genrun_batch_process_next(cli->g, &item, id, 1);
    if (code == GENRUN_OK)
        code = genrun_batch_get(cli->g, &batch, id);
    if (code != GENRUN_OK) {
        genrun_row_free(item);
        return cli_report(cli, code);
    }
    print(cli, item, genrun_row_integer(batch, "queued_items", 0));
    cli_out_flush(cli); // so that lines and errors come in order
    if (item != NULL)
        code = report(cli, item);
    genrun_row_free(item);
    genrun_row_free(batch);
    return code;
}

const struct command cmd_batch_process_next = {
    .group = "batch",
    .name = "process-next",
    .operands = "ID",
    .summary = "run exactly one item of a batch job, then return",
    .detail =
        "The next item that waits is run by the runner that is up, or else by this command, beside every\n"
        "limit of concurrency and also while the batch job is paused. Commands that race run an item each.\n"
        "Exits with 0 when it completed or none waits, with 1 when it failed or will be tried again.",
    .example = "genrun batch process-next 4b7d91ce",
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run,
};
