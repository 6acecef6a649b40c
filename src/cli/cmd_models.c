// SPDX-License-Identifier: MIT
// `models`: what is configured or used, and how it does. `models resume`: the end of a parking.
#include "base/mem.h"
#include "cli/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int print_named(void *payload, genrun_row *row) {
    const char *name = genrun_row_text(row, "name");
    if (name == NULL || strcmp(name, payload) != 0)
        return 0;
    printf("%s\n", genrun_row_json(row));
    return 1;
}

static int resume(struct cli *cli) {
    int worst = GENRUN_OK;
    for (size_t i = 0; i < args_operand_count(cli->args); i++) {
        char *name = mem_copy(args_operand(cli->args, i));
        cli_out_flush(cli); // so that lines and errors come in order
        int code = genrun_model_resume(cli->g, name);
        if (code == GENRUN_OK && cli->json)
            code = genrun_models(cli->g, print_named, name);
        cli_report(cli, code);
        if (code == GENRUN_OK && !cli->json && !cli->quiet)
            printf("%s ok\n", name);
        free(name);
        if (code > worst)
            worst = code;
    }
    return worst;
}

const struct command cmd_models_resume = {
    .group = "models",
    .name = "resume",
    .operands = "NAME…",
    .summary = "send to a parked or cooling model again",
    .detail = "A key in the environment is the one that the runner was started with: start it anew after a\n"
              "change, which resumes its models, too. A key file is read at each call.",
    .example = "genrun models resume gpt-4o-mini",
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = resume,
};
