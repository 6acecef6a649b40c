// SPDX-License-Identifier: MIT
// `webhook list`, `webhook deliveries`, `webhook test`, `webhook redeliver`, `webhook enable`.
#include "base/text.h"
#include "cli/rows.h"
#include <stdio.h>
#include <string.h>

// ---- list ----

static const struct table_column columns[] = {
    {"NAME", false, true},          {"FORMAT", false, TABLE_LEAVES}, {"STATE", false, true},
    {"PENDING", true, true},        {"FAILED", true, true},          {"DROPPED", true, TABLE_LEAVES},
    {"BEHIND", true, TABLE_LEAVES}, {"LAST", true, TABLE_LEAVES},    {"WHY", false, TABLE_LEAVES},
};

static void cell_count(struct rows *rows, genrun_row *row, const char *name, enum style style) {
    int64_t count = genrun_row_integer(row, name, 0);
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)count);
    table_cell(rows->table, text, count > 0 ? style : STYLE_PLAIN);
}

static void fill(struct rows *rows, genrun_row *row) {
    const char *state = genrun_row_text(row, "state");
    bool good = strcmp(state, "ok") == 0 || strcmp(state, "new") == 0;
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "format"), STYLE_PLAIN);
    table_cell(rows->table, state, good ? STYLE_GOOD : STYLE_WARN);
    cell_count(rows, row, "pending", STYLE_PLAIN);
    cell_count(rows, row, "failed", STYLE_WARN);
    cell_count(rows, row, "dropped", STYLE_WARN);
    cell_count(rows, row, "behind", STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "last_at", 0));
    table_cell(rows->table, genrun_row_text(row, "reason"), STYLE_PLAIN);
}

static const struct table_column delivery_columns[] = {
    {"ID", true, true},
    {"EVENT", false, true},
    {"STATUS", false, true},
    {"ATTEMPTS", true, true},
    {"AGE", true, TABLE_LEAVES},
    {"NEXT", true, TABLE_LEAVES},
    {"ANSWER", true, TABLE_LEAVES},
    {"WHY", false, TABLE_LEAVES},
};

static void fill_delivery(struct rows *rows, genrun_row *row) {
    bool pending = strcmp(genrun_row_text(row, "status"), "pending") == 0;
    table_cell(rows->table, genrun_row_text(row, "id"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "event"), STYLE_PLAIN);
    rows_cell_status(rows, genrun_row_text(row, "status"));
    table_cell(rows->table, genrun_row_text(row, "attempts"), STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "created_at", 0));
    rows_cell_time(rows, pending ? genrun_row_integer(row, "next_at", 0) : 0);
    table_cell(rows->table, genrun_row_text(row, "last_status"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "last_error"), STYLE_PLAIN);
}

static const struct args_option list_options[] = {
    {"limit", 0, ARGS_INTEGER, "N", "at most so many deliveries (20)", 1, ROWS_LIMIT_HIGHEST},
    ARGS_END,
};

static int run_list(struct cli *cli) {
    struct rows rows;
    const char *name = args_operand(cli->args, 0);
    if (name == NULL) {
        rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
        return rows_end(&rows, genrun_webhooks(cli->g, rows_each, &rows),
                        "no webhook is configured: add a section [webhook NAME]");
    }
    int limit = (int)args_integer(cli->args, "limit", 20);
    rows_begin(&rows, cli, delivery_columns, sizeof delivery_columns / sizeof delivery_columns[0],
               fill_delivery);
    return rows_end(&rows, genrun_webhook_deliveries(cli->g, name, limit, rows_each, &rows),
                    "nothing is pending, nothing failed");
}

const struct command cmd_webhook_list = {
    .group = "webhook",
    .name = "list",
    .operands = "[NAME]",
    .summary = "list the endpoints of webhooks and how they fare, or what one is still to get",
    .detail = "With NAME the deliveries that are pending or failed, the newest first.",
    .example = "genrun webhook list\n"
               "genrun webhook list app",
    .options = list_options,
    .operands_maximum = 1,
    .run = run_list,
};

// ---- deliveries ----

static const struct args_option deliveries_options[] = {
    {"status", 0, ARGS_CHOICE, "pending|delivered|failed|dropped", "only those in this state", 0, 0},
    {"limit", 0, ARGS_INTEGER, "N", "at most so many (20)", 1, ROWS_LIMIT_HIGHEST},
    {"after", 0, ARGS_TEXT, "CURSOR", "go on where the page before ended", 0, 0},
    ARGS_END,
};

static int run_deliveries(struct cli *cli) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    struct rows rows;
    filter.status = args_text(cli->args, "status");
    filter.limit = (int)args_integer(cli->args, "limit", 20);
    filter.after = args_text(cli->args, "after");
    rows_begin(&rows, cli, delivery_columns, sizeof delivery_columns / sizeof delivery_columns[0],
               fill_delivery);
    int code = genrun_webhook_history(cli->g, args_operand(cli->args, 0), &filter, rows_each, &rows);
    return rows_end_page(&rows, code, "no delivery found");
}

const struct command cmd_webhook_deliveries = {
    .group = "webhook",
    .name = "deliveries",
    .operands = "NAME",
    .summary = "list what was sent or is to be sent to an endpoint, newest first",
    .detail =
        "delivered: it was taken. failed: not in all attempts. dropped: the endpoint was disabled, or is no\n"
        "longer configured. They are kept for 30 days, of each of these the newest 10,000.",
    .example = "genrun webhook deliveries app --status failed",
    .options = deliveries_options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run_deliveries,
};

// ---- test ----

static int run_test(struct cli *cli) {
    genrun_row *row = NULL;
    int code = genrun_webhook_test(cli->g, args_operand(cli->args, 0), &row);
    if (row != NULL && cli->json)
        rows_write_json(row);
    else if (row != NULL && code == GENRUN_OK && !cli->quiet)
        printf("taken: HTTP %s after %s ms\n", genrun_row_text(row, "status"),
               genrun_row_text(row, "took_ms"));
    genrun_row_free(row);
    return cli_report(cli, code);
}

const struct command cmd_webhook_test = {
    .group = "webhook",
    .name = "test",
    .operands = "NAME",
    .summary = "send a test event to an endpoint now, and tell its answer",
    .detail =
        "The event is webhook.test, in the endpoint's format and signed as all others. 7: it was not taken.",
    .example = "genrun webhook test app",
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run_test,
};

// ---- redeliver ----

static const struct args_option redeliver_options[] = {
    {"failed", 0, ARGS_FLAG, NULL, "all that failed or was dropped", 0, 0},
    {"webhook", 0, ARGS_TEXT, "NAME", "with --failed: only of this endpoint", 0, 0},
    ARGS_END,
};

static int redeliver_one(struct cli *cli, const char *id) {
    int code = genrun_webhook_redeliver(cli->g, id, NULL, NULL);
    if (code == GENRUN_OK && cli->json)
        printf("{\"count\":1}\n");
    return cli_report(cli, code);
}

static int run_redeliver(struct cli *cli) {
    int64_t count = 0;
    bool failed = args_has(cli->args, "failed");
    if (failed == (args_operand_count(cli->args) > 0))
        return cli_usage(cli, "name deliveries by their ids, or all with --failed");
    if (!failed)
        return cli_each_operand(cli, redeliver_one);
    int code = genrun_webhook_redeliver(cli->g, NULL, args_text(cli->args, "webhook"), &count);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json)
        printf("{\"count\":%lld}\n", (long long)count);
    else if (!cli->quiet)
        printf("%lld to be sent again\n", (long long)count);
    return code;
}

const struct command cmd_webhook_redeliver = {
    .group = "webhook",
    .name = "redeliver",
    .operands = "[ID…]",
    .summary = "send deliveries again, with the same message ids",
    .detail = "The runner sends them at once; without one 'genrun job webhooks' does.",
    .example = "genrun webhook redeliver --failed --webhook app",
    .options = redeliver_options,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run_redeliver,
};

// ---- enable ----

static int enable_one(struct cli *cli, const char *name) {
    int code = genrun_webhook_enable(cli->g, name);
    if (code == GENRUN_OK && cli->json)
        printf("{\"name\":\"%s\",\"enabled\":true}\n", name); // a section's name is plain
    else if (code == GENRUN_OK && !cli->quiet)
        printf("%s enabled\n", name);
    return cli_report(cli, code);
}

static int run_enable(struct cli *cli) {
    return cli_each_operand(cli, enable_one);
}

const struct command cmd_webhook_enable = {
    .group = "webhook",
    .name = "enable",
    .operands = "NAME…",
    .summary = "send to an endpoint again that answered 410",
    .detail =
        "What it missed meanwhile is not sent; 'genrun webhook redeliver --failed' sends what was dropped.",
    .example = "genrun webhook enable app",
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run_enable,
};
