// SPDX-License-Identifier: MIT
// `list`: generations, newest first, by pages.
#include "base/clock.h"
#include "cli/rows.h"

static const struct table_column columns[] = {
    {"ID", false, false},          {"STATUS", false, false},    {"MODEL", false, TABLE_LEAVES},
    {"USER", false, TABLE_LEAVES}, {"AGE", true, TABLE_LEAVES}, {"TOOK", true, TABLE_LEAVES},
    {"PROMPT", false, true},       {"ERROR", false, true},
};

static void fill(struct rows *rows, genrun_row *row) {
    table_cell_id(rows->table, genrun_row_text(row, "id"));
    rows_cell_state(rows, row);
    table_cell(rows->table, genrun_row_text(row, "model_id"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "user_id"), STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "created_at", 0));
    rows_cell_took(rows, genrun_row_integer(row, "started_at", 0),
                   genrun_row_integer(row, "completed_at", 0));
    table_cell(rows->table, genrun_row_text(row, "prompt"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "error_message"), STYLE_BAD);
}

static const struct args_option options[] = {
    ROWS_FILTER_OPTIONS("queued|processing|completed|failed|cancelled|stuck"),
    {"since", 0, ARGS_DURATION, "D", "only those created in the last D", 0, 0},
    {"limit", 0, ARGS_INTEGER, "N", "at most so many (20)", 1, ROWS_LIMIT_HIGHEST},
    {"after", 0, ARGS_TEXT, "CURSOR", "go on where the page before ended", 0, 0},
    ARGS_END,
};

static int run(struct cli *cli) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    rows_filter(cli, &filter);
    if (args_has(cli->args, "since"))
        filter.since = clock_wall_at() - args_integer(cli->args, "since", 0);
    int wanted = filter.limit = (int)args_integer(cli->args, "limit", 20);
    filter.after = args_text(cli->args, "after");
    struct rows rows;
    rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
    int code;
    do
        code = genrun_list(cli->g, &filter, rows_each, &rows);
    while (rows_go_on(&rows, code, &filter, wanted));
    return rows_end_page(&rows, code, "no generation found");
}

const struct command cmd_list = {
    .name = "list",
    .operands = "",
    .summary = "list generations, newest first",
    .detail = "The items of a batch job (--batch) come in their own order. Ids are shown by their last 8\n"
              "characters, which serve wherever an id is taken; --json has them whole.",
    .example = "genrun list --status failed --since 24h",
    .options = options,
    .run = run,
};
