// SPDX-License-Identifier: MIT
// `models`: what is configured or used, and how it does.
#include "cli/rows.h"

static const struct table_column columns[] = {
    {"MODEL", false, true},  {"PROVIDER", false, false}, {"STATE", false, false}, {"RUNNING", true, false},
    {"QUEUED", true, false}, {"UNTIL", false, false},    {"REASON", false, true},
};

static void fill(struct rows *rows, genrun_row *row) {
    char until[32];
    terminal_format_time(genrun_row_integer(row, "until", 0), until, sizeof until);
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "provider"), STYLE_PLAIN);
    rows_cell_status(rows, genrun_row_text(row, "state"));
    table_cell_integer(rows->table, genrun_row_integer(row, "running", 0));
    table_cell_integer(rows->table, genrun_row_integer(row, "queued", 0));
    table_cell(rows->table, until, STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "reason"), STYLE_PLAIN);
}

static int run(struct cli *cli) {
    struct rows rows;
    rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
    return rows_end(&rows, genrun_models(cli->g, rows_each, &rows), "no model is configured");
}

const struct command cmd_models = {
    .name = "models",
    .operands = "",
    .summary = "list the models with their state: ok, cooling, parked and why",
    .example = "genrun models",
    .run = run,
};
