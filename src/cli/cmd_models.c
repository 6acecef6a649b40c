// SPDX-License-Identifier: MIT
// `models`: what is configured or used, and how it does. `models check`: a live probe. `models resume`: the end
// of a parking.
#include "base/mem.h"
#include "cli/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct table_column columns[] = {
    {"MODEL", false, true},          {"PROVIDER", false, TABLE_LEAVES}, {"STATE", false, false},
    {"RUNNING", true, TABLE_LEAVES}, {"QUEUED", true, TABLE_LEAVES},    {"UNTIL", false, TABLE_LEAVES},
    {"REASON", false, true},
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

static int resume_one(struct cli *cli, const char *operand) {
    char *name = mem_copy(operand);
    int code = genrun_model_resume(cli->g, name);
    if (code == GENRUN_OK && cli->json)
        code = genrun_models(cli->g, print_named, name);
    cli_report(cli, code);
    if (code == GENRUN_OK && !cli->json && !cli->quiet)
        printf("%s ok\n", name);
    free(name);
    return code;
}

static int resume(struct cli *cli) {
    return cli_each_operand(cli, resume_one);
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

// ---- check ----

static const struct table_column check_columns[] = {
    {"MODEL", false, true},       {"PROVIDER", false, TABLE_LEAVES},
    {"CHECK", false, false},      {"REACHABLE", false, TABLE_LEAVES},
    {"KEY", false, TABLE_LEAVES}, {"KNOWN", false, TABLE_LEAVES},
    {"MS", true, TABLE_LEAVES},   {"FOUND", false, true},
};

struct check {
    struct rows rows;
    struct buf told; // for stderr, once the table stands
};

static void fill_check(struct rows *rows, genrun_row *row) {
    static const char *const answers[] = {"reachable", "key", "model"};
    bool ok = genrun_row_integer(row, "ok", 0) != 0;
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "provider"), STYLE_PLAIN);
    table_cell(rows->table, ok ? "ok" : "failed", ok ? STYLE_GOOD : STYLE_BAD);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const char *answer = genrun_row_text(row, answers[i]);
        table_cell(rows->table, answer, strcmp(answer, "no") == 0 ? STYLE_BAD : STYLE_PLAIN);
    }
    table_cell(rows->table, genrun_row_text(row, "latency_ms"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "message"), STYLE_PLAIN);
}

static int each_check(void *payload, genrun_row *row) {
    struct check *check = payload;
    const char *advice = genrun_row_text(row, "advice");
    if (advice != NULL && (genrun_row_integer(row, "ok", 0) == 0 || !check->rows.cli->quiet))
        buf_format(&check->told, "%smodel %s: %s: %s", check->told.length > 0 ? "\n" : "",
                   genrun_row_text(row, "name"), genrun_row_text(row, "message"), advice);
    return rows_each(&check->rows, row);
}

static int run_check(struct cli *cli) {
    struct check check;
    buf_init(&check.told, BUF_UNLIMITED);
    rows_begin(&check.rows, cli, check_columns, sizeof check_columns / sizeof check_columns[0], fill_check);
    int code = genrun_models_check(cli->g, args_operand(cli->args, 0), each_check, &check);
    bool judged = code == GENRUN_OK || code == GENRUN_REMOTE || code == GENRUN_CONFIG;
    // What failed is told model by model.
    int ended =
        rows_end(&check.rows, judged && check.told.length > 0 ? GENRUN_OK : code, "no model is configured");
    if (check.told.length > 0)
        cli_fail(cli, code, "%s", buf_borrow(&check.told));
    buf_free(&check.told);
    return ended != GENRUN_OK ? ended : code;
}

const struct command cmd_models_check = {
    .group = "models",
    .name = "check",
    .operands = "[NAME]",
    .summary = "ask the servers: reachable, key accepted, model known",
    .detail =
        "Asks each configured model's server for its list of models, all at once, for 10 s at most. Nothing "
        "is\n"
        "generated or paid for, no runner is needed, and a parked model stays parked. Exits with 7 when any\n"
        "failed, with 3 when only keys or addresses are missing in the configuration, with 4 when no "
        "section\n"
        "serves NAME. A key in the environment is that of this shell; the runner has its own.",
    .example = "genrun models check gpt-4o-mini",
    .operands_maximum = 1,
    .run = run_check,
};
