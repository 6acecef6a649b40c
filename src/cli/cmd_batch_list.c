// SPDX-License-Identifier: MIT
// `batch list`, `batch show`, `batch items`.
#include "base/clock.h"
#include "base/mem.h"
#include "cli/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct args_option page_options[] = {
    {"limit", 0, ARGS_INTEGER, "N", "at most so many (20)", 1, ROWS_LIMIT_HIGHEST},
    {"after", 0, ARGS_TEXT, "CURSOR", "go on where the page before ended", 0, 0},
    {"status", 0, ARGS_CHOICE, "queued|processing|completed|failed|cancelled|paused",
     "only those in this state", 0, 0},
    {"user", 0, ARGS_TEXT, "U", "only those of this user", 0, 0},
    {"since", 0, ARGS_DURATION, "D", "only those created in the last D", 0, 0},
    ARGS_END,
};

// ---- list ----

static const struct table_column list_columns[] = {
    {"ID", false, false},        {"STATUS", false, false},       {"DONE", true, false},
    {"FAILED", true, false},     {"MODEL", false, TABLE_LEAVES}, {"USER", false, TABLE_LEAVES},
    {"AGE", true, TABLE_LEAVES}, {"NAME", false, true},
};

static void fill_batch(struct rows *rows, genrun_row *row) {
    int64_t done =
        genrun_row_integer(row, "completed_items", 0) + genrun_row_integer(row, "cancelled_items", 0);
    char *of = mem_format("%lld/%lld", (long long)done, (long long)genrun_row_integer(row, "total_items", 0));
    table_cell_id(rows->table, genrun_row_text(row, "id"));
    rows_cell_status(rows, genrun_row_text(row, "status"));
    table_cell(rows->table, of, STYLE_PLAIN);
    table_cell_integer(rows->table, genrun_row_integer(row, "failed_items", 0));
    table_cell(rows->table, genrun_row_text(row, "model_id"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "user_id"), STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "created_at", 0));
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    free(of);
}

static int run_list(struct cli *cli) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    filter.status = args_text(cli->args, "status");
    filter.user = args_text(cli->args, "user");
    if (args_has(cli->args, "since"))
        filter.since = clock_wall_at() - args_integer(cli->args, "since", 0);
    filter.limit = (int)args_integer(cli->args, "limit", 20);
    filter.after = args_text(cli->args, "after");
    struct rows rows;
    rows_begin(&rows, cli, list_columns, sizeof list_columns / sizeof list_columns[0], fill_batch);
    int code = genrun_batch_list(cli->g, &filter, rows_each, &rows);
    return rows_end_page(&rows, code, "no batch job found");
}

// ---- show ----

static void show_counts(const struct cli *cli, const genrun_row *row) {
    static const struct {
        const char *name, *column, *style;
    } counts[] = {{"items", "total_items", ""},
                  {"queued", "queued_items", ""},
                  {"processing", "processing_items", "processing"},
                  {"successful", "successful_items", "completed"},
                  {"failed", "failed_items", "failed"},
                  {"cancelled", "cancelled_items", "cancelled"}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int64_t count = genrun_row_integer(row, counts[i].column, 0);
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)count);
        rows_field(cli, counts[i].name, text,
                   count > 0 ? terminal_status_style(counts[i].style) : STYLE_PLAIN);
    }
}

static void show_money(const struct cli *cli, const char *name, double cost) {
    if (!(cost > 0))
        return;
    char *text = mem_format("$%.6g", cost);
    rows_field(cli, name, text, STYLE_PLAIN);
    free(text);
}

static void show_batch(const struct cli *cli, const genrun_row *row) {
    const char *status = genrun_row_text(row, "status");
    rows_field(cli, "id", genrun_row_text(row, "id"), STYLE_BOLD);
    rows_field(cli, "name", genrun_row_text(row, "name"), STYLE_PLAIN);
    rows_field(cli, "status", status, terminal_status_style(status));
    if (strcmp(status, "paused") == 0) // of one that was cancelled the row keeps the words
        rows_field(cli, "paused", genrun_row_text(row, "paused_reason"), STYLE_WARN);
    rows_field(cli, "reason", genrun_row_text(row, "status_reason"), STYLE_WARN);
    rows_field(cli, "model", genrun_row_text(row, "model_id"), STYLE_PLAIN);
    rows_field(cli, "user", genrun_row_text(row, "user_id"), STYLE_PLAIN);
    rows_field(cli, "key", genrun_row_text(row, "client_id"), STYLE_PLAIN);
    rows_field(cli, "format", genrun_row_text(row, "format"), STYLE_PLAIN);
    show_counts(cli, row);
    if (genrun_row_integer(row, "concurrency", 0) > 0)
        rows_field_integer(cli, "concurrency", genrun_row_integer(row, "concurrency", 0));
    rows_field(cli, "on error", genrun_row_text(row, "on_error"), STYLE_PLAIN);
    rows_field(cli, "max failures", genrun_row_text(row, "max_failures"), STYLE_PLAIN);
    if (genrun_row_integer(row, "priority", 0) != 0)
        rows_field_integer(cli, "priority", genrun_row_integer(row, "priority", 0));
    int64_t in = genrun_row_integer(row, "input_tokens", 0),
            out = genrun_row_integer(row, "output_tokens", 0);
    if (in > 0 || out > 0) {
        char *tokens = mem_format("%lld in, %lld out", (long long)in, (long long)out);
        rows_field(cli, "tokens", tokens, STYLE_PLAIN);
        free(tokens);
    }
    show_money(cli, "estimated", genrun_row_number(row, "estimated_cost", 0));
    show_money(cli, "cost", genrun_row_number(row, "actual_cost", 0));
    show_money(cli, "max cost", genrun_row_number(row, "max_cost", 0));
    rows_field_time(cli, "created", genrun_row_integer(row, "created_at", 0));
    rows_field_time(cli, "started", genrun_row_integer(row, "started_at", 0));
    rows_field_time(cli, "active", genrun_row_integer(row, "last_activity_at", 0));
    rows_field_time(cli, "ended", genrun_row_integer(row, "completed_at", 0));
}

static int run_show(struct cli *cli) {
    genrun_row *row = NULL;
    int code = genrun_batch_get(cli->g, &row, args_operand(cli->args, 0));
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json) {
        rows_print_json(row);
        return GENRUN_OK;
    }
    show_batch(cli, row);
    genrun_row_free(row);
    return GENRUN_OK;
}

// ---- items ----

static const struct table_column item_columns[] = {
    {"#", true, TABLE_LEAVES},    {"GENERATION", false, false},       {"STATUS", false, false},
    {"TOOK", true, TABLE_LEAVES}, {"CUSTOM ID", false, TABLE_LEAVES}, {"ERROR", false, true},
};

static void fill_item(struct rows *rows, genrun_row *row) {
    table_cell_integer(rows->table, genrun_row_integer(row, "item_index", 0));
    table_cell_id(rows->table, genrun_row_text(row, "conversation_id"));
    rows_cell_status(rows, genrun_row_text(row, "status"));
    rows_cell_took(rows, genrun_row_integer(row, "started_at", 0),
                   genrun_row_integer(row, "completed_at", 0));
    table_cell(rows->table, genrun_row_text(row, "custom_id"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "error_message"), STYLE_BAD);
}

static int run_items(struct cli *cli) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    filter.status = args_text(cli->args, "status");
    int code, wanted = filter.limit = (int)args_integer(cli->args, "limit", 20);
    filter.after = args_text(cli->args, "after");
    struct rows rows;
    rows_begin(&rows, cli, item_columns, sizeof item_columns / sizeof item_columns[0], fill_item);
    do
        code = genrun_batch_items(cli->g, args_operand(cli->args, 0), &filter, rows_each, &rows);
    while (rows_go_on(&rows, code, &filter, wanted));
    return rows_end_page(&rows, code, "no item found");
}

static const struct args_option item_options[] = {
    {"status", 0, ARGS_CHOICE, "queued|processing|completed|failed|cancelled", "only those in this state", 0,
     0},
    {"limit", 0, ARGS_INTEGER, "N", "at most so many (20)", 1, ROWS_LIMIT_HIGHEST},
    {"after", 0, ARGS_TEXT, "CURSOR", "go on where the page before ended", 0, 0},
    ARGS_END,
};

const struct command cmd_batch_list = {
    .group = "batch",
    .name = "list",
    .operands = "",
    .summary = "list batch jobs, newest first",
    .example = "genrun batch list --status processing",
    .options = page_options,
    .run = run_list,
};

const struct command cmd_batch_show = {
    .group = "batch",
    .name = "show",
    .operands = "ID",
    .summary = "show one batch job with its counts and cost",
    .example = "genrun batch show 4b7d91ce",
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run_show,
};

const struct command cmd_batch_items = {
    .group = "batch",
    .name = "items",
    .operands = "ID",
    .summary = "list the items of a batch job in the order of its file",
    .example = "genrun batch items 4b7d91ce --status failed",
    .options = item_options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run_items,
};
