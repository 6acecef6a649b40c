// SPDX-License-Identifier: MIT
// Showing rows, for every command that does.
#include "cli/rows.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_WIDTH 12

// ---- lists ----

void rows_begin(struct rows *rows, struct cli *cli, const struct table_column *columns, size_t column_count,
                void (*fill)(struct rows *rows, genrun_row *row)) {
    *rows = (struct rows){.cli = cli, .fill = fill, .now = clock_wall_at()};
    if (!cli->json)
        rows->table = table_new(stdout, &cli->out, columns, column_count);
}

int rows_each(void *payload, genrun_row *row) {
    struct rows *rows = payload;
    rows->count++;
    if (rows->table == NULL)
        rows_write_json(row);
    else
        rows->fill(rows, row);
    return !cli_out_ok(rows->cli);
}

int rows_end(struct rows *rows, int code, const char *nothing) {
    if (rows->table != NULL)
        table_flush(rows->table);
    table_free(rows->table);
    rows->table = NULL;
    // A list that ended because nobody reads it did not fail; cli_out_end tells of a full disk.
    if (!cli_out_flush(rows->cli))
        return GENRUN_OK;
    if (code == GENRUN_OK && rows->count == 0 && rows->cli->out.present && !rows->cli->json)
        cli_note(rows->cli, "%s", nothing);
    return cli_report(rows->cli, code);
}

bool rows_go_on(struct rows *rows, int code, genrun_filter *filter, int wanted) {
    const char *cursor = genrun_cursor(rows->cli->g);
    if (code != GENRUN_OK || cursor == NULL || rows->count >= (size_t)wanted || !cli_out_ok(rows->cli))
        return false;
    filter->after = cursor;
    filter->limit = wanted - (int)rows->count;
    return true;
}

int rows_end_page(struct rows *rows, int code, const char *nothing) {
    code = rows_end(rows, code, nothing);
    const char *cursor = code == GENRUN_OK && cli_out_ok(rows->cli) ? genrun_cursor(rows->cli->g) : NULL;
    if (cursor != NULL)
        cli_note(rows->cli, "there are more: go on with --after %s", cursor);
    return code;
}

void rows_cell_status(struct rows *rows, const char *status) {
    table_cell(rows->table, status, terminal_status_style(status));
}

void rows_cell_state(struct rows *rows, const genrun_row *row) {
    const char *status = genrun_row_text(row, "status");
    char text[40];
    bool dismissed = genrun_row_integer(row, "dismissed_at", 0) > 0;
    snprintf(text, sizeof text, "%s%s", status, dismissed ? ", dismissed" : "");
    table_cell(rows->table, text, dismissed ? STYLE_DIM : terminal_status_style(status));
}

void rows_cell_age(struct rows *rows, int64_t at) {
    char text[24];
    terminal_format_age(at, rows->now, text, sizeof text);
    table_cell(rows->table, text, STYLE_PLAIN);
}

void rows_cell_time(struct rows *rows, int64_t at) {
    char text[32];
    terminal_format_time(at, text, sizeof text);
    table_cell(rows->table, text, STYLE_PLAIN);
}

void rows_cell_took(struct rows *rows, int64_t start, int64_t end) {
    char text[32] = "";
    if (start > 0) {
        int64_t ms = (end > 0 ? end : rows->now) - start;
        if (ms < 0)
            ms = 0;
        if (ms < 10000)
            snprintf(text, sizeof text, "%.1fs", (double)ms / 1000.0);
        else
            clock_format_duration(ms / 1000 * 1000, text, sizeof text);
    }
    table_cell(rows->table, text, STYLE_PLAIN);
}

// ---- JSON ----

void rows_write_json(genrun_row *row) {
    fputs(genrun_row_json(row), stdout);
    putchar('\n');
}

void rows_print_json(genrun_row *row) {
    rows_write_json(row);
    genrun_row_free(row);
}

int rows_collect_each(void *payload, genrun_row *row) {
    struct buf *out = payload;
    if (out->length > 1)
        buf_char(out, ',');
    buf_text(out, genrun_row_json(row));
    return 0;
}

// ---- details ----

void rows_field(const struct cli *cli, const char *name, const char *value, enum style style) {
    if (value == NULL || value[0] == '\0')
        return;
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    text_escape(&text, value, strlen(value), 0);
    printf("%s%-*s%s %s%s%s\n", terminal_style(&cli->out, STYLE_DIM), FIELD_WIDTH, name,
           terminal_reset(&cli->out, STYLE_DIM), terminal_style(&cli->out, style), buf_borrow(&text),
           terminal_reset(&cli->out, style));
    buf_free(&text);
}

void rows_field_integer(const struct cli *cli, const char *name, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    rows_field(cli, name, text, STYLE_PLAIN);
}

void rows_field_time(const struct cli *cli, const char *name, int64_t at) {
    if (at <= 0)
        return;
    char time[32], age[24], text[64];
    int64_t now = clock_wall_at();
    terminal_format_time(at, time, sizeof time);
    if (at > now) { // a time to come, such as that of a delayed start
        clock_format_duration((at - now + 999) / 1000 * 1000, age, sizeof age);
        snprintf(text, sizeof text, "%s (in %s)", time, age);
    } else {
        terminal_format_age(at, now, age, sizeof age);
        snprintf(text, sizeof text, strcmp(age, "now") == 0 ? "%s (%s)" : "%s (%s ago)", time, age);
    }
    rows_field(cli, name, text, STYLE_PLAIN);
}

void rows_heading(const struct cli *cli, const char *text) {
    printf("\n%s%s%s\n", terminal_style(&cli->out, STYLE_BOLD), text, terminal_reset(&cli->out, STYLE_BOLD));
}

static enum style level_style(const char *level) {
    if (level != NULL && strcmp(level, "error") == 0)
        return STYLE_BAD;
    if (level != NULL && strcmp(level, "warn") == 0)
        return STYLE_WARN;
    return STYLE_DIM;
}

void rows_event(const struct cli *cli, genrun_row *row, bool with_id) {
    char time[32];
    const char *level = genrun_row_text(row, "level"), *event = genrun_row_text(row, "event");
    const char *message = genrun_row_text(row, "message");
    const char *id = genrun_row_text(row, "generation_id");
    if (id == NULL)
        id = genrun_row_text(row, "batch_job_id");
    int64_t at = genrun_row_integer(row, "created_at", 0);
    terminal_format_time(at, time, sizeof time);
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    enum style style = level_style(level);
    buf_format(&text, "%s.%03d %s%-5s%s %-22s", time, (int)(at > 0 ? at % 1000 : 0),
               terminal_style(&cli->out, style), level != NULL ? level : "-",
               terminal_reset(&cli->out, style), event != NULL ? event : "-");
    size_t length = id != NULL ? strlen(id) : 0;
    if (with_id)
        buf_format(&text, " %-8s", length > 8 ? id + length - 8 : "-");
    int64_t attempt = genrun_row_integer(row, "attempt", 0);
    if (attempt > 0)
        buf_format(&text, " #%lld", (long long)attempt);
    if (message != NULL && message[0] != '\0') {
        buf_char(&text, ' ');
        text_escape(&text, message, strlen(message), 0);
    }
    puts(buf_borrow(&text));
    buf_free(&text);
}

// ---- filters ----

void rows_filter(const struct cli *cli, genrun_filter *filter) {
    filter->status = args_text(cli->args, "status");
    filter->user = args_text(cli->args, "user");
    filter->session = args_text(cli->args, "session");
    filter->model = args_text(cli->args, "model");
    filter->batch = args_text(cli->args, "batch");
}
