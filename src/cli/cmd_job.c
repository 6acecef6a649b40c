// SPDX-License-Identifier: MIT
// `job`: one run of a periodic job, as cron asks for it. `job list`: which there are, and their last runs.
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- job NAME ----

static const struct table_column found_columns[] = {
    {"KIND", false, false}, {"ID", false, false},    {"ACCOUNT", false, true}, {"AGE", true, false},
    {"COUNT", true, false}, {"FIXED", false, false}, {"WHAT", false, true},
};

// "4 completed, 1 failed" of the counters that are not 0.
static void write_counters(struct buf *out, const char *json) {
    cJSON *counters = NULL;
    struct err e;
    if (json == NULL || json_parse(json, strlen(json), &counters, &e) != ERR_OK)
        return;
    const cJSON *c;
    size_t before = out->length;
    cJSON_ArrayForEach(c, counters) {
        if (cJSON_IsString(c))
            buf_format(out, "%s%s", out->length > before ? ", " : "", c->valuestring);
        else if (cJSON_IsNumber(c) && c->valuedouble > 0)
            buf_format(out, "%s%.0f %s", out->length > before ? ", " : "", c->valuedouble, c->string);
    }
    cJSON_Delete(counters);
}

static void fill_found(struct rows *rows, genrun_row *row) {
    const char *kind = genrun_row_text(row, "kind"), *id = genrun_row_text(row, "id");
    struct buf what;
    buf_init(&what, BUF_UNLIMITED);
    buf_text(&what, genrun_row_text(row, "what"));
    if (genrun_row_text(row, "before") != NULL) {
        buf_text(&what, ": ");
        write_counters(&what, genrun_row_text(row, "before"));
        buf_text(&what, " -> ");
        write_counters(&what, genrun_row_text(row, "after"));
    }
    table_cell(rows->table, kind, STYLE_PLAIN);
    if (strcmp(kind, "generation") == 0 || strcmp(kind, "batch") == 0)
        table_cell_id(rows->table, id);
    else
        table_cell(rows->table, id, STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "user_id"), STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "since", 0));
    table_cell_integer(rows->table, genrun_row_integer(row, "count", 1));
    bool fixed = genrun_row_integer(row, "fixed", 0) != 0;
    table_cell(rows->table, fixed ? "yes" : "no", fixed ? STYLE_GOOD : STYLE_WARN);
    table_cell(rows->table, buf_borrow(&what), STYLE_PLAIN);
    buf_free(&what);
}

static void print_summary(const struct cli *cli, const genrun_row *summary) {
    char took[32];
    bool dry_run = genrun_row_integer(summary, "dry_run", 0) != 0;
    int64_t ms = genrun_row_integer(summary, "ended_at", 0) - genrun_row_integer(summary, "started_at", 0);
    clock_format_duration(ms > 0 ? ms : 0, took, sizeof took);
    if (!cli->quiet)
        printf("%s: %lld found, %lld fixed%s, in %s\n", genrun_row_text(summary, "job"),
               (long long)genrun_row_integer(summary, "found", 0),
               (long long)genrun_row_integer(summary, "fixed", 0),
               dry_run ? " (nothing is changed by a dry run)" : "", took);
    const char *note = genrun_row_text(summary, "note");
    if (note != NULL)
        cli_note(cli, "%s", note);
}

// One object: the summary with the findings in it.
static int run_json(struct cli *cli, const char *name, bool dry_run) {
    static const char *const none[] = {"findings", NULL};
    genrun_row *summary = NULL;
    struct buf findings, all;
    buf_init(&findings, BUF_UNLIMITED);
    buf_init(&all, BUF_UNLIMITED);
    buf_char(&findings, '[');
    int code = genrun_job(cli->g, &summary, name, dry_run, rows_collect_each, &findings);
    if (code == GENRUN_OK) {
        char *extra = mem_format("\"findings\":%s]", buf_borrow(&findings));
        json_object_edit(&all, genrun_row_json(summary), none, extra);
        puts(buf_borrow(&all));
        free(extra);
    }
    buf_free(&findings);
    buf_free(&all);
    genrun_row_free(summary);
    return cli_report(cli, code);
}

static int run(struct cli *cli) {
    struct rows rows;
    genrun_row *summary = NULL;
    const char *name = args_operand(cli->args, 0);
    bool dry_run = args_has(cli->args, "dry-run");
    if (cli->json)
        return run_json(cli, name, dry_run);
    rows_begin(&rows, cli, found_columns, sizeof found_columns / sizeof found_columns[0], fill_found);
    int code = genrun_job(cli->g, &summary, name, dry_run, rows_each, &rows);
    rows.count++; // an empty list is told of by the summary
    code = rows_end(&rows, code, "");
    if (summary != NULL)
        print_summary(cli, summary);
    genrun_row_free(summary);
    return code;
}

static const struct args_option options[] = {
    {"dry-run", 0, ARGS_FLAG, NULL, "only tell what would be done", 0, 0},
    ARGS_END,
};

const struct command cmd_job = {
    .name = "job",
    .operands = "NAME",
    .summary = "run a periodic job now, beside a runner or without one",
    .detail =
        "'genrun job list' lists them; the runner does each by itself, too. It works in short slices, so a\n"
        "runner works on meanwhile. When another process is at it: exit 5. 'genrun -job NAME' is the same.",
    .example = "genrun job cleanup_stuck_generation --dry-run",
    .options = options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run,
};

// ---- job list ----

static const struct table_column list_columns[] = {
    {"JOB", false, false},       {"EVERY", true, TABLE_LEAVES},         {"LAST", true, false},
    {"OUTCOME", false, true},    {"FOUND", true, TABLE_LEAVES},         {"FIXED", true, TABLE_LEAVES},
    {"BY", false, TABLE_LEAVES}, {"WHAT IT DOES", false, TABLE_LEAVES},
};

static void fill_job(struct rows *rows, genrun_row *row) {
    char every[32] = "";
    int64_t every_ms = genrun_row_integer(row, "every_ms", 0);
    if (every_ms > 0)
        clock_format_duration(every_ms, every, sizeof every);
    bool ran = genrun_row_text(row, "ended_at") != NULL;
    const char *locked_by = genrun_row_text(row, "locked_by"), *outcome = genrun_row_text(row, "outcome");
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    table_cell(rows->table, every, STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "ended_at", 0));
    if (locked_by != NULL)
        table_cell(rows->table, "at work", STYLE_BUSY);
    else
        table_cell(rows->table, outcome,
                   outcome != NULL && strcmp(outcome, "failed") == 0 ? STYLE_BAD : STYLE_PLAIN);
    table_cell(rows->table, ran ? genrun_row_text(row, "found") : NULL, STYLE_PLAIN);
    table_cell(rows->table, ran ? genrun_row_text(row, "fixed") : NULL, STYLE_PLAIN);
    table_cell(rows->table, locked_by != NULL ? locked_by : genrun_row_text(row, "run_by"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "summary"), STYLE_DIM);
}

static int run_list(struct cli *cli) {
    struct rows rows;
    rows_begin(&rows, cli, list_columns, sizeof list_columns / sizeof list_columns[0], fill_job);
    return rows_end(&rows, genrun_jobs(cli->g, rows_each, &rows), "there is no job");
}

const struct command cmd_job_list = {
    .group = "job",
    .name = "list",
    .operands = "",
    .summary = "list the periodic jobs with their last runs",
    .detail = "A run of the runner that found nothing is not written down: an idle box writes to no disk.",
    .example = "genrun job list",
    .run = run_list,
};
