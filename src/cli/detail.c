// SPDX-License-Identifier: MIT
// Everything known about one generation.
#include "cli/detail.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct detail {
    struct cli *cli;
    size_t text_lines; // of a text at most, so that all fits a screenful; 0: all
};

static void print_text(const struct detail *d, const char *text, size_t length) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    if (d->cli->out.present && length > d->text_lines * d->cli->out.width) {
        // Long lines fill the screen as well as many: what is kept fits the lines when wrapped.
        size_t kept = d->text_lines * d->cli->out.width;
        while (kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80)
            kept--;
        terminal_write_lines(&out, text, kept, "  ", d->text_lines);
        buf_format(&out, "  … %zu bytes in all\n", length);
    } else {
        terminal_write_lines(&out, text, length, "  ", d->text_lines);
    }
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
}

static void print_attempts(const struct cli *cli, const genrun_row *row) {
    int64_t attempts = genrun_row_integer(row, "attempts", 0), starts = genrun_row_integer(row, "starts", 0);
    char *text = starts == attempts ? mem_format("%lld", (long long)attempts)
                                    : mem_format("%lld spent, %lld start%s", (long long)attempts,
                                                 (long long)starts, starts == 1 ? "" : "s");
    rows_field(cli, "attempts", text, STYLE_PLAIN);
    free(text);
}

static void print_usage(const struct cli *cli, const genrun_row *row) {
    int64_t in = genrun_row_integer(row, "input_tokens", -1),
            out = genrun_row_integer(row, "output_tokens", -1);
    if (in >= 0 || out >= 0) {
        char *text =
            mem_format("%lld in, %lld out", (long long)(in < 0 ? 0 : in), (long long)(out < 0 ? 0 : out));
        rows_field(cli, "tokens", text, STYLE_PLAIN);
        free(text);
    }
    double cost = genrun_row_number(row, "cost", -1);
    if (cost >= 0) {
        char *text = mem_format("$%.6g", cost);
        rows_field(cli, "cost", text, STYLE_PLAIN);
        free(text);
    }
}

static void print_fields(const struct cli *cli, const genrun_row *row) {
    static const struct {
        const char *name, *column;
    } texts[] = {{"model", "model_id"},     {"user", "user_id"},        {"session", "session_id"},
                 {"batch", "batch_job_id"}, {"custom id", "custom_id"}, {"topic", "topic"},
                 {"tier", "tier"},          {"type", "type"},           {"endpoint", "endpoint"},
                 {"key", "client_id"}};
    const char *status = genrun_row_text(row, "status");
    rows_field(cli, "id", genrun_row_text(row, "id"), STYLE_BOLD);
    rows_field(cli, "status", status, terminal_status_style(status));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        rows_field(cli, texts[i].name, genrun_row_text(row, texts[i].column), STYLE_PLAIN);
    if (genrun_row_integer(row, "priority", 0) != 0)
        rows_field_integer(cli, "priority", genrun_row_integer(row, "priority", 0));
    print_attempts(cli, row);
    rows_field(cli, "last step", genrun_row_text(row, "last_step"), STYLE_PLAIN);
    rows_field_time(cli, "created", genrun_row_integer(row, "created_at", 0));
    if (status != NULL && strcmp(status, "queued") == 0)
        rows_field_time(cli, "not before", genrun_row_integer(row, "run_after", 0));
    rows_field(cli, "waits for", genrun_row_text(row, "waits_for"), STYLE_WARN);
    rows_field_time(cli, "started", genrun_row_integer(row, "started_at", 0));
    rows_field_time(cli, "heartbeat", genrun_row_integer(row, "last_heartbeat", 0));
    rows_field_time(cli, "progress", genrun_row_integer(row, "last_progress", 0));
    rows_field_time(cli, "ended", genrun_row_integer(row, "completed_at", 0));
    print_usage(cli, row);
    const char *type = genrun_row_text(row, "error_type"), *message = genrun_row_text(row, "error_message");
    if (message != NULL) {
        char *text = type != NULL ? mem_format("%s: %s", type, message) : mem_copy(message);
        rows_field(cli, "error", text, STYLE_BAD);
        free(text);
    }
}

static int each_output(void *payload, genrun_row *row) {
    struct detail *d = payload;
    size_t length = 0;
    const char *content = genrun_row_bytes(row, "content", &length);
    const char *mime = genrun_row_text(row, "mime"), *file = genrun_row_text(row, "file");
    char *title = mem_format("Output %lld (%s, %lld bytes%s)", (long long)genrun_row_integer(row, "idx", 0),
                             mime != NULL ? mime : "unknown type",
                             (long long)genrun_row_integer(row, "bytes", (int64_t)length),
                             genrun_row_integer(row, "partial", 0) != 0 ? ", partial" : "");
    struct buf safe;
    buf_init(&safe, BUF_UNLIMITED);
    text_escape(&safe, title, strlen(title), 0);
    rows_heading(d->cli, buf_borrow(&safe));
    buf_free(&safe);
    free(title);
    if (file != NULL)
        print_text(d, file, strlen(file));
    else if (content != NULL && text_is_utf8(content, length) && memchr(content, '\0', length) == NULL)
        print_text(d, content, length);
    else if (content != NULL)
        puts("  not text: 'genrun output ID -o FILE' writes it to a file");
    return !cli_out_ok(d->cli);
}

static int each_event(void *payload, genrun_row *row) {
    struct detail *d = payload;
    fputs("  ", stdout);
    rows_event(d->cli, row, false);
    return !cli_out_ok(d->cli);
}

int detail_print(struct cli *cli, const char *id) {
    genrun_row *row = NULL;
    int code = genrun_get(cli->g, &row, id);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    struct detail d = {.cli = cli};
    if (cli->out.present) // a prompt, parameters, an output and the events share the screen
        d.text_lines = cli->out.height > 12 ? cli->out.height / 3 : 4;
    print_fields(cli, row);
    const char *prompt = genrun_row_text(row, "prompt"), *parameters = genrun_row_text(row, "parameters");
    if (prompt != NULL) {
        rows_heading(cli, "Prompt");
        print_text(&d, prompt, strlen(prompt));
    }
    if (parameters != NULL && strcmp(parameters, "{}") != 0) {
        rows_heading(cli, "Parameters");
        print_text(&d, parameters, strlen(parameters));
    }
    code = genrun_outputs(cli->g, genrun_row_text(row, "id"), each_output, &d);
    if (code == GENRUN_OK && cli_out_ok(cli)) {
        rows_heading(cli, "Events");
        genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
        filter.id = genrun_row_text(row, "id");
        code = genrun_events(cli->g, &filter, each_event, &d);
    }
    genrun_row_free(row);
    return cli_out_ok(cli) ? cli_report(cli, code) : GENRUN_OK;
}

int detail_print_json(struct cli *cli, const char *id) {
    genrun_row *row = NULL;
    int code = genrun_get(cli->g, &row, id);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    struct buf outputs, events, all;
    buf_init(&outputs, BUF_UNLIMITED);
    buf_init(&events, BUF_UNLIMITED);
    buf_init(&all, BUF_UNLIMITED);
    buf_char(&outputs, '[');
    buf_char(&events, '[');
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.id = genrun_row_text(row, "id");
    code = genrun_outputs(cli->g, filter.id, rows_collect_each, &outputs);
    if (code == GENRUN_OK)
        code = genrun_events(cli->g, &filter, rows_collect_each, &events);
    if (code == GENRUN_OK) {
        static const char *const none[] = {"outputs", "events", NULL};
        char *extra = mem_format("\"outputs\":%s],\"events\":%s]", buf_borrow(&outputs), buf_borrow(&events));
        json_object_edit(&all, genrun_row_json(row), none, extra);
        puts(buf_borrow(&all));
        free(extra);
    }
    buf_free(&outputs);
    buf_free(&events);
    buf_free(&all);
    genrun_row_free(row);
    return cli_report(cli, code);
}
