// SPDX-License-Identifier: MIT
// `run`: the runner.
#include "base/log.h"
#include "base/mem.h"
#include "cli/rows.h"
#include "lib/config.h"
#include <stdio.h>
#include <string.h>

// What the configuration says of the program's own messages; -q and -v go before it.
static int set_up_log(const struct cli *cli) {
    struct config *config = NULL;
    struct err e = {0};
    if (config_load(&config, cli->config, cli->database, &e) != ERR_OK)
        return cli_fail(cli, (int)e.code, "%s", e.message);
    enum log_level level = cli->quiet ? LOG_LEVEL_ERROR : cli->verbose ? LOG_LEVEL_DEBUG : config->log_level;
    log_setup(level, config->log_json);
    config_free(config);
    return GENRUN_OK;
}

static const struct table_column columns[] = {
    {"LEFT", true, false},
    {"MODEL", false, true},
    {"REASON", false, true},
};

static void fill(struct rows *rows, genrun_row *row) {
    table_cell_integer(rows->table, genrun_row_integer(row, "count", 0));
    table_cell(rows->table, genrun_row_text(row, "model_id"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "reason"), STYLE_WARN);
}

static int show_left(struct cli *cli) {
    struct rows rows;
    rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
    return rows_end(&rows, genrun_left(cli->g, rows_each, &rows), "nothing is left");
}

// True when a runner is up: this one was refused, as what it would have run is that one's.
static bool another_runs(struct cli *cli) {
    genrun_row *row = NULL;
    bool runs = genrun_stats(cli->g, &row) == GENRUN_OK && genrun_row_integer(row, "runner_pid", 0) > 0;
    genrun_row_free(row);
    return runs;
}

static const struct args_option options[] = {
    {"drain", 0, ARGS_FLAG, NULL, "end when nothing runs and nothing can start without a person", 0, 0},
    {"drain-wait", 0, ARGS_DURATION, "D", "how long to wait for retries, cool-downs and delays (10m)", 0, 0},
    {"listen", 0, ARGS_TEXT, "A:P",
     "serve HTTP at this address and port (0: a free one), whatever the configuration says", 0, 0},
    {"no-http", 0, ARGS_FLAG, NULL, "serve no HTTP", 0, 0},
    ARGS_END,
};

static int run(struct cli *cli) {
    bool drain = args_has(cli->args, "drain");
    if (args_has(cli->args, "drain-wait") && !drain)
        return cli_usage(cli, "--drain-wait goes with --drain");
    if (args_has(cli->args, "listen") && args_has(cli->args, "no-http"))
        return cli_usage(cli, "--listen and --no-http exclude each other: give one of them");
    int code = set_up_log(cli);
    if (code != GENRUN_OK)
        return code;
    genrun_run_options run_options = GENRUN_RUN_OPTIONS_INIT;
    run_options.drain = drain;
    run_options.drain_wait_ms = args_integer(cli->args, "drain-wait", run_options.drain_wait_ms);
    run_options.signals = 1;
    run_options.watchdog = 1;
    run_options.notify = 1;
    code = cli->serve(cli, &run_options, args_text(cli->args, "listen"), !args_has(cli->args, "no-http"));
    if (drain && code == GENRUN_CONFLICT && !another_runs(cli))
        show_left(cli);
    return code;
}

const struct command cmd_run = {
    .name = "run",
    .operands = "",
    .summary = "run what is queued, until stopped or drained",
    .detail =
        "Serves HTTP where [http] listen or --listen is set.\n"
        "Exactly one runner owns a database; a second one exits with 5. SIGTERM and SIGINT stop it\n"
        "gracefully: live work gets shutdown_grace, the rest is queued again; a second signal ends at once.\n"
        "--drain exits with 0 when all completed, 1 when any failed, 5 when work is left, which it lists.",
    .example = "genrun run --drain",
    .options = options,
    .create = true,
    .run = run,
};
