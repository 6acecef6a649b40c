// SPDX-License-Identifier: MIT
// cancel, fail, retry, recover, dismiss, pause, resume: what they have in common.
#include "cli/change.h"
#include "base/clock.h"
#include "cli/rows.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *reason_of(const struct cli *cli, const struct change *change) {
    return change->has_reason ? args_text(cli->args, "reason") : NULL;
}

// ---- ids ----

static int change_one(struct cli *cli, const struct change *change, const char *id) {
    int code = change->one(cli->g, id, reason_of(cli, change));
    genrun_row *row = NULL;
    if (code == GENRUN_OK)
        code = change->get(cli->g, &row, id);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json) {
        rows_print_json(row);
        return GENRUN_OK;
    }
    if (!cli->quiet)
        printf("%s %s%s\n", genrun_row_text(row, "id"), genrun_row_text(row, "status"),
               genrun_row_integer(row, "dismissed_at", 0) > 0 ? ", dismissed" : "");
    genrun_row_free(row);
    return GENRUN_OK;
}

static int change_ids(struct cli *cli, const struct change *change) {
    int worst = GENRUN_OK;
    for (size_t i = 0; i < args_operand_count(cli->args); i++) {
        cli_out_flush(cli); // so that lines and errors come in order
        int code = change_one(cli, change, args_operand(cli->args, i));
        if (code > worst) // the numbers rise with the weight
            worst = code;
    }
    return worst;
}

// ---- all that a filter selects ----

static bool is_selected(const struct cli *cli) {
    static const char *const names[] = {"all",   "status", "user", "session",
                                        "model", "batch",  "type", "older-than"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (args_has(cli->args, names[i]))
            return true;
    return false;
}

// Asks on the terminal; true for a yes.
static bool ask(const struct change *change, int64_t count) {
    char answer[16] = "";
    fprintf(stderr, "%s %lld generation%s? [y/N] ", change->verb, (long long)count, count == 1 ? "" : "s");
    fflush(stderr);
    if (fgets(answer, sizeof answer, stdin) == NULL)
        fputc('\n', stderr);
    return strcmp(answer, "y\n") == 0 || strcmp(answer, "Y\n") == 0 || strcmp(answer, "yes\n") == 0;
}

static void print_count(const struct cli *cli, const struct change *change, int64_t count, bool dry_run) {
    if (cli->json)
        printf("{\"%s\":%lld,\"dryRun\":%s}\n", change->past, (long long)count, dry_run ? "true" : "false");
    else if (dry_run)
        printf("%lld generation%s would be %s\n", (long long)count, count == 1 ? "" : "s", change->past);
    else
        printf("%lld generation%s %s\n", (long long)count, count == 1 ? "" : "s", change->past);
}

static int change_selected(struct cli *cli, const struct change *change) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    rows_filter(cli, &filter);
    filter.error_type = args_text(cli->args, "type");
    if (args_has(cli->args, "older-than"))
        filter.until = clock_wall_at() - args_integer(cli->args, "older-than", 0);
    const char *reason = reason_of(cli, change);
    bool dry_run = args_has(cli->args, "dry-run");
    int64_t count = 0;
    if (!dry_run && !args_has(cli->args, "yes")) {
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
            return cli_usage(cli, "without a terminal nobody can be asked; --yes does it, --dry-run counts");
        int code = change->all(cli->g, &count, &filter, reason, 1);
        if (code != GENRUN_OK)
            return cli_report(cli, code);
        if (count > 0 && !ask(change, count))
            return cli_fail(cli, GENRUN_INVALID, "nothing was changed: answer y to go on");
        count = 0;
    }
    int code = change->all(cli->g, &count, &filter, reason, dry_run);
    if (code != GENRUN_OK) {
        if (count > 0) // the slices before the failure are done
            cli_note(cli, "%lld %s before the failure: what follows tells of the rest", (long long)count,
                     change->past);
        return cli_report(cli, code);
    }
    print_count(cli, change, count, dry_run);
    return GENRUN_OK;
}

int change_run(struct cli *cli, const struct change *change) {
    bool ids = args_operand_count(cli->args) > 0;
    if (change->all == NULL)
        return change_ids(cli, change);
    bool selected = is_selected(cli);
    if (ids && selected)
        return cli_usage(cli, "ids and filters exclude each other");
    if (ids && args_has(cli->args, "dry-run"))
        return cli_usage(cli, "--dry-run goes with filters, not with ids");
    if (!ids && !selected)
        return cli_usage(cli, "'%s' needs ids, a filter or --all", change->verb);
    return ids ? change_ids(cli, change) : change_selected(cli, change);
}
