// SPDX-License-Identifier: MIT
// `stats`: the state of everything in a dozen lines.
#include "base/json.h"
#include "base/mem.h"
#include "cli/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show_counts(const struct cli *cli, const genrun_row *row) {
    static const char *const states[] = {"queued",    "processing", "completed", "failed",
                                         "cancelled", "stuck",      "violations"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        int64_t count = genrun_row_integer(row, states[i], 0);
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)count);
        rows_field(cli, states[i], text, count > 0 ? terminal_status_style(states[i]) : STYLE_PLAIN);
    }
}

static void show_parked(const struct cli *cli, const genrun_row *row) {
    const char *text = genrun_row_text(row, "parked_models");
    cJSON *list = NULL;
    struct err e = {0};
    if (text == NULL || json_parse(text, strlen(text), &list, &e) != ERR_OK)
        return;
    const cJSON *model;
    cJSON_ArrayForEach(model, list) {
        char *line = mem_format("%s: %s", json_text(model, "name", "-"), json_text(model, "reason", "-"));
        rows_field(cli, "parked", line, STYLE_WARN);
        free(line);
    }
    cJSON_Delete(list);
}

static int run(struct cli *cli) {
    genrun_row *row = NULL;
    int code = genrun_stats(cli->g, &row);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json) {
        rows_print_json(row);
        return GENRUN_OK;
    }
    show_counts(cli, row);
    rows_field_time(cli, "oldest", genrun_row_integer(row, "oldest_queued_at", 0));
    char *speed = mem_format("%lld in the last minute, %lld in the last hour (%lld failed)",
                             (long long)genrun_row_integer(row, "completed_last_minute", 0),
                             (long long)genrun_row_integer(row, "completed_last_hour", 0),
                             (long long)genrun_row_integer(row, "failed_last_hour", 0));
    rows_field(cli, "done", speed, STYLE_PLAIN);
    free(speed);
    char *cost = mem_format("$%.4f", genrun_row_number(row, "cost_today", 0));
    rows_field(cli, "cost today", cost, STYLE_PLAIN);
    free(cost);
    int64_t pid = genrun_row_integer(row, "runner_pid", 0);
    if (pid > 0) {
        rows_field_integer(cli, "runner", pid);
        rows_field_time(cli, "up since", genrun_row_integer(row, "runner_started_at", 0));
    } else {
        rows_field(cli, "runner", "none is up: start one with 'genrun run'", STYLE_WARN);
    }
    show_parked(cli, row);
    genrun_row_free(row);
    return GENRUN_OK;
}

const struct command cmd_stats = {
    .name = "stats",
    .operands = "",
    .summary = "count by state, throughput, what is stuck or parked, cost",
    .example = "genrun stats",
    .run = run,
};
