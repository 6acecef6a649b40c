// SPDX-License-Identifier: MIT
// `failures`: who, what, when and why; or how many, by model, user, type or hour.
#include "base/clock.h"
#include "cli/rows.h"
#include <string.h>

#define SINCE_MS (24 * 3600 * 1000LL)

// The first text that there is.
static const char *text_of(const genrun_row *row, const char *const *names) {
    const char *text = NULL;
    for (; text == NULL && *names != NULL; names++)
        text = genrun_row_text(row, *names);
    return text;
}

static const char *const user_names[] = {"user_display_name", "username", "user_id", NULL};
static const char *const session_names[] = {"session_name", "session_id", NULL};

// ---- one a line ----

static const struct table_column failed_columns[] = {
    {"ID", false, false},          {"FAILED", true, TABLE_LEAVES},   {"MODEL", false, TABLE_LEAVES},
    {"USER", false, TABLE_LEAVES}, {"SESSION", false, TABLE_LEAVES}, {"PROJECT", false, TABLE_LEAVES},
    {"TYPE", false, true},         {"ERROR", false, true},
};

static void fill_failed(struct rows *rows, genrun_row *row) {
    table_cell_id(rows->table, genrun_row_text(row, "id"));
    rows_cell_age(rows, genrun_row_integer(row, "completed_at", 0));
    table_cell(rows->table, genrun_row_text(row, "model_id"), STYLE_PLAIN);
    table_cell(rows->table, text_of(row, user_names), STYLE_PLAIN);
    table_cell(rows->table, text_of(row, session_names), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "project_name"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "error_type"), STYLE_BAD);
    table_cell(rows->table, genrun_row_text(row, "error_message"), STYLE_PLAIN);
}

// ---- counts ----

static void fill_count(struct rows *rows, genrun_row *row, const char *affected) {
    table_cell_integer(rows->table, genrun_row_integer(row, "failure_count", 0));
    table_cell_integer(rows->table, genrun_row_integer(row, affected, 0));
    rows_cell_age(rows, genrun_row_integer(row, "latest_failure", 0));
}

static void fill_model(struct rows *rows, genrun_row *row) {
    table_cell(rows->table, genrun_row_text(row, "model_id"), STYLE_PLAIN);
    fill_count(rows, row, "affected_users");
}

static void fill_user(struct rows *rows, genrun_row *row) {
    table_cell(rows->table, text_of(row, user_names), STYLE_PLAIN);
    fill_count(rows, row, "affected_models");
    table_cell(rows->table, genrun_row_text(row, "email"), STYLE_PLAIN);
}

static void fill_type(struct rows *rows, genrun_row *row) {
    table_cell(rows->table, genrun_row_text(row, "error_type"), STYLE_PLAIN);
    fill_count(rows, row, "affected_users");
}

static void fill_hour(struct rows *rows, genrun_row *row) {
    rows_cell_time(rows, genrun_row_integer(row, "hour_at", 0));
    fill_count(rows, row, "affected_users");
}

static const struct table_column model_columns[] = {
    {"MODEL", false, true}, {"FAILURES", true, false}, {"USERS", true, false}, {"LATEST", true, false}};
static const struct table_column user_columns[] = {{"USER", false, true},
                                                   {"FAILURES", true, false},
                                                   {"MODELS", true, false},
                                                   {"LATEST", true, false},
                                                   {"EMAIL", false, true}};
static const struct table_column type_columns[] = {
    {"TYPE", false, true}, {"FAILURES", true, false}, {"USERS", true, false}, {"LATEST", true, false}};
static const struct table_column hour_columns[] = {
    {"HOUR", false, false}, {"FAILURES", true, false}, {"USERS", true, false}, {"LATEST", true, false}};

#define TABLE(name, columns, fill)                                                                           \
    { name, columns, sizeof columns / sizeof *columns, fill }
static const struct {
    const char *by; // NULL: one a line
    const struct table_column *columns;
    size_t column_count;
    void (*fill)(struct rows *rows, genrun_row *row);
} tables[] = {
    TABLE(NULL, failed_columns, fill_failed), TABLE("model", model_columns, fill_model),
    TABLE("user", user_columns, fill_user),   TABLE("type", type_columns, fill_type),
    TABLE("hour", hour_columns, fill_hour),
};

// ---- the command ----

static const struct args_option options[] = {
    {"since", 0, ARGS_DURATION, "D", "what failed in the last D (24h)", 0, 0},
    {"user", 0, ARGS_TEXT, "U", "only those of this user", 0, 0},
    {"session", 0, ARGS_TEXT, "S", "only those of this session", 0, 0},
    {"model", 0, ARGS_TEXT, "M", "only those of this model", 0, 0},
    {"type", 0, ARGS_TEXT, "T", "only those with this error type, such as RateLimitError", 0, 0},
    {"by", 0, ARGS_CHOICE, "model|user|type|hour", "count them by this", 0, 0},
    {"all", 0, ARGS_FLAG, NULL, "those that are dismissed, too", 0, 0},
    {"limit", 0, ARGS_INTEGER, "N", "at most so many rows (20, of counts all)", 1, ROWS_LIMIT_HIGHEST},
    {"after", 0, ARGS_TEXT, "CURSOR", "go on where the page before ended", 0, 0},
    ARGS_END,
};

static int run(struct cli *cli) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    const char *by = args_text(cli->args, "by");
    filter.user = args_text(cli->args, "user");
    filter.session = args_text(cli->args, "session");
    filter.model = args_text(cli->args, "model");
    filter.error_type = args_text(cli->args, "type");
    filter.since = clock_wall_at() - args_integer(cli->args, "since", SINCE_MS);
    filter.limit = (int)args_integer(cli->args, "limit", 0);
    filter.dismissed = args_has(cli->args, "all");
    filter.after = args_text(cli->args, "after");
    size_t i = 0;
    while (by != NULL && (tables[i].by == NULL || strcmp(tables[i].by, by) != 0))
        i++;
    struct rows rows;
    rows_begin(&rows, cli, tables[i].columns, tables[i].column_count, tables[i].fill);
    return rows_end_page(&rows, genrun_failures(cli->g, &filter, by, rows_each, &rows), "nothing failed");
}

const struct command cmd_failures = {
    .name = "failures",
    .operands = "",
    .summary = "list or count what failed, with who, what, when and why",
    .detail = "Names are those of 'user set', 'session set' and 'project set'. Hours are those of UTC. A "
              "rate limit\n"
              "that was waited out is no failure: 'genrun logs --event generation.retrying' tells of those.",
    .example = "genrun failures --since 7d --by hour\ngenrun failures --type RateLimitError",
    .options = options,
    .run = run,
};
