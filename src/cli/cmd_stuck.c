// SPDX-License-Identifier: MIT
// `stuck`: what is processing and hangs, and why it counts as that.
#include "cli/rows.h"

static const struct table_column columns[] = {
    {"ID", false, false},
    {"WHY", false, true},
    {"MODEL", false, TABLE_LEAVES},
    {"USER", false, TABLE_LEAVES},
    {"STARTED", true, false},
    {"HEARTBEAT", true, TABLE_LEAVES},
    {"STEP", false, TABLE_LEAVES},
    {"OUTPUTS", true, TABLE_LEAVES},
    {"PROMPT", false, TABLE_LEAVES},
};

static void fill(struct rows *rows, genrun_row *row) {
    bool slow = genrun_row_integer(row, "slow", 0) != 0;
    table_cell_id(rows->table, genrun_row_text(row, "id"));
    table_cell(rows->table, genrun_row_text(row, "why"), slow ? STYLE_WARN : STYLE_BAD);
    table_cell(rows->table, genrun_row_text(row, "model_id"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "user_id"), STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "started_at", 0));
    rows_cell_age(rows, genrun_row_integer(row, "last_heartbeat", 0));
    table_cell(rows->table, genrun_row_text(row, "last_step"), STYLE_PLAIN);
    table_cell_integer(rows->table, genrun_row_integer(row, "output_count", 0));
    table_cell(rows->table, genrun_row_text(row, "prompt_preview"), STYLE_PLAIN);
}

static const struct args_option options[] = {
    {"older-than", 0, ARGS_DURATION, "D", "also what was started longer ago and does not hang", 0, 0},
    {"limit", 0, ARGS_INTEGER, "N", "at most so many", 1, ROWS_LIMIT_HIGHEST},
    ARGS_END,
};

static int run(struct cli *cli) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    filter.limit = (int)args_integer(cli->args, "limit", 0);
    struct rows rows;
    rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
    int code = genrun_stuck(cli->g, &filter, args_integer(cli->args, "older-than", -1), rows_each, &rows);
    return rows_end(&rows, code, "nothing is stuck");
}

const struct command cmd_stuck = {
    .name = "stuck",
    .operands = "",
    .summary = "list what hangs, and why",
    .detail = "Stuck is what is processing under a runner that is gone, without a heartbeat for\n"
              "heartbeat_timeout, or without progress past its own clock; 'genrun recover' queues it again.\n"
              "With --older-than also what takes long is listed, marked slow: that one is only looked at.",
    .example = "genrun stuck --older-than 5m",
    .options = options,
    .run = run,
};
