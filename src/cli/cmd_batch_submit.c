// SPDX-License-Identifier: MIT
// `batch submit`: a file of prompts or requests becomes a batch job.
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/interrupt.h"
#include "cli/params.h"
#include "cli/progress.h"
#include "cli/rows.h"
#include "cli/wait.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// ---- the file ----

struct reading {
    struct cli *cli;
    struct progress progress;
    bool begun;
};

static int show_reading(void *payload, int64_t done, int64_t total, const char *unit) {
    struct reading *r = payload;
    if (!r->begun) {
        r->begun = true;
        progress_start(&r->progress, stderr, r->cli->quiet, "storing", unit);
    }
    struct progress_state state = {.done = done, .total = total};
    if (!interrupt_seen()) {
        if (r->progress.terminal.present) // elsewhere only the work itself is worth lines
            progress_show(&r->progress, &state);
        return 0;
    }
    progress_clear(&r->progress);
    cli_note(r->cli,
             "interrupted: what was stored so far is taken back; a second signal leaves that to the runner");
    return 1;
}

// Ends what show_reading began, and prints the notes of a reading that went well.
static void end_reading(struct reading *r, int code) {
    interrupt_end();
    if (r->begun)
        progress_end(&r->progress, NULL);
    const char *notes = code == GENRUN_OK ? genrun_notes(r->cli->g) : "";
    if (notes[0] != '\0')
        cli_note(r->cli, "%.*s", (int)strlen(notes) - 1, notes); // without its last line end
}

// Opens the operand; "-" is standard input. NULL after it has told what is wrong.
static FILE *open_input(struct cli *cli, const char **name) {
    const char *path = args_operand(cli->args, 0);
    *name = path;
    if (strcmp(path, "-") == 0) {
        *name = "standard input";
        return stdin;
    }
    struct stat st;
    FILE *stream = fopen(path, "re");
    if (stream != NULL && fstat(fileno(stream), &st) == 0 && S_ISDIR(st.st_mode)) {
        fclose(stream);
        stream = NULL;
        errno = EISDIR;
    }
    if (stream == NULL)
        cli_fail(cli, GENRUN_INVALID, "cannot read %s (%s): name a file of lines, or - for standard input",
                 path, strerror(errno));
    return stream;
}

static void print_models(const struct cli *cli, const char *text) {
    cJSON *list = NULL;
    const cJSON *model;
    struct err ignored = {0};
    if (text == NULL || json_parse(text, strlen(text), &list, &ignored) != ERR_OK)
        return;
    cJSON_ArrayForEach(model, list) {
        char *line = mem_format("%s (%lld)", json_text(model, "name", "others"),
                                (long long)json_integer(model, "items", 0));
        rows_field(cli, "model", line, STYLE_PLAIN);
        free(line);
    }
    cJSON_Delete(list);
}

static void print_estimate(const struct cli *cli, const genrun_row *row) {
    int64_t output = genrun_row_integer(row, "output_tokens", -1);
    double cost = genrun_row_number(row, "estimated_cost", -1);
    rows_field_integer(cli, "lines", genrun_row_integer(row, "lines", 0));
    rows_field(cli, "format", genrun_row_text(row, "format"), STYLE_PLAIN);
    print_models(cli, genrun_row_text(row, "models"));
    char *tokens = output >= 0
                       ? mem_format("about %lld in, at most %lld out",
                                    (long long)genrun_row_integer(row, "input_tokens", 0), (long long)output)
                       : mem_format("about %lld in, out unknown: not every item has max_tokens",
                                    (long long)genrun_row_integer(row, "input_tokens", 0));
    rows_field(cli, "tokens", tokens, STYLE_PLAIN);
    free(tokens);
    char *money =
        cost >= 0 ? mem_format(output >= 0 ? "about $%.6g" : "about $%.6g and what the output costs", cost)
                  : mem_copy("unknown: the configuration has no prices for these models");
    rows_field(cli, "cost", money, STYLE_PLAIN);
    free(money);
    cli_note(cli, "nothing was stored: leave --dry-run out to submit");
}

// What the file would be; nothing is stored.
static int estimate_file(struct cli *cli, const genrun_batch_options *options) {
    const char *name;
    FILE *stream = open_input(cli, &name);
    if (stream == NULL)
        return GENRUN_INVALID;
    struct reading reading = {.cli = cli};
    genrun_row *row = NULL;
    interrupt_begin();
    int code = genrun_batch_estimate(cli->g, &row, stream, name, options, show_reading, &reading);
    end_reading(&reading, code);
    if (stream != stdin)
        fclose(stream);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json) {
        rows_print_json(row);
        return GENRUN_OK;
    }
    print_estimate(cli, row);
    genrun_row_free(row);
    return GENRUN_OK;
}

static int submit_file(struct cli *cli, char id[GENRUN_ID_SIZE], const genrun_batch_options *options) {
    const char *name;
    FILE *stream = open_input(cli, &name);
    if (stream == NULL)
        return GENRUN_INVALID;
    struct reading reading = {.cli = cli};
    int created = 1;
    interrupt_begin();
    int code = genrun_batch_submit(cli->g, id, &created, stream, name, options, show_reading, &reading);
    end_reading(&reading, code);
    if (stream != stdin)
        fclose(stream);
    if (code == GENRUN_OK && !created && cli->verbose)
        cli_note(cli, "the key '%s' is known: this is the first one's id, nothing was stored",
                 options->client_id);
    return cli_report(cli, code);
}

// ---- options ----

// "N" or "N%": the library reads it again, but here it is refused before a large file is read.
static int check_max_failures(struct cli *cli, const char *text) {
    if (text == NULL)
        return GENRUN_OK;
    size_t digits = strspn(text, "0123456789");
    bool percent = text[digits] == '%' && text[digits + 1] == '\0';
    long n = digits > 0 && digits < 10 ? strtol(text, NULL, 10) : -1;
    if (n < 0 || (text[digits] != '\0' && !percent) || (percent && n > 100))
        return cli_usage(
            cli, "--max-failures is '%s', which is neither a number nor a percentage such as 5%%", text);
    return GENRUN_OK;
}

static const struct args_option options[] = {
    {"name", 0, ARGS_TEXT, "N", "what to call it (else the file's name)", 0, 0},
    {"model", 0, ARGS_TEXT, "M", "the model of items that name none", 0, 0},
    {"format", 0, ARGS_CHOICE, "openai|jsonl|csv|txt", "of the file (else by name and content)", 0, 0},
    {"user", 0, ARGS_TEXT, "U", "whose it is", 0, 0},
    {"key", 0, ARGS_TEXT, "CLIENT_ID", "submit once: the same key gives the first one's id", 0, 0},
    {"concurrency", 0, ARGS_INTEGER, "N", "items in flight at most", 1, 1000000},
    {"on-error", 0, ARGS_CHOICE, "continue|stop", "when an item fails (continue)", 0, 0},
    {"max-failures", 0, ARGS_TEXT, "N|N%", "stop when more items failed", 0, 0},
    {"max-cost", 0, ARGS_DECIMAL, "USD", "pause when it has cost so much", 0, 0},
    {"priority", 0, ARGS_INTEGER, "N", "higher goes first, -1000 to 1000 (0)", -1000, 1000},
    {"param", 0, ARGS_LIST, "K=V", "a parameter of every item that does not set it itself", 0, 0},
    {"template", 0, ARGS_TEXT, "T", "the template that makes the request of items that name none", 0, 0},
    {"paused", 0, ARGS_FLAG, NULL, "do not start it: 'batch resume' does", 0, 0},
    {"dry-run", 0, ARGS_FLAG, NULL, "check and count the lines, estimate tokens and cost, store nothing", 0,
     0},
    {"wait", 0, ARGS_FLAG, NULL, "wait for its end, with a progress bar", 0, 0},
    ARGS_END,
};

static void read_options(const struct cli *cli, genrun_batch_options *o) {
    const char *on_error = args_text(cli->args, "on-error");
    o->name = args_text(cli->args, "name");
    o->model = args_text(cli->args, "model");
    o->format = args_text(cli->args, "format");
    o->user = args_text(cli->args, "user");
    o->client_id = args_text(cli->args, "key");
    o->concurrency = (int)args_integer(cli->args, "concurrency", 0);
    o->stop_on_error = on_error != NULL && strcmp(on_error, "stop") == 0;
    o->max_failures = args_text(cli->args, "max-failures");
    o->max_cost = args_decimal(cli->args, "max-cost", 0);
    o->priority = (int)args_integer(cli->args, "priority", 0);
    o->template_id = args_text(cli->args, "template");
    o->paused = args_has(cli->args, "paused");
}

// ---- the command ----

static int print_batch(struct cli *cli, const char *id) {
    genrun_row *row = NULL;
    int code = genrun_batch_get(cli->g, &row, id);
    if (code == GENRUN_OK)
        rows_print_json(row);
    return cli_report(cli, code);
}

// The id is printed before the wait, so that it is known should the wait be cut short.
static int wait_and_print(struct cli *cli, const char *id) {
    if (!cli->json)
        puts(id);
    if (!cli_out_flush(cli))
        cli_note(cli, "the batch's id is %s: standard output did not take it", id);
    int code = wait_batch(cli, id);
    if (!cli->json)
        return code;
    int shown = print_batch(cli, id);
    return shown != GENRUN_OK ? shown : code;
}

static int run(struct cli *cli) {
    char id[GENRUN_ID_SIZE];
    struct err e = {0};
    struct buf parameters;
    buf_init(&parameters, BUF_UNLIMITED);
    genrun_batch_options o = GENRUN_BATCH_OPTIONS_INIT;
    read_options(cli, &o);
    bool dry_run = args_has(cli->args, "dry-run");
    size_t count;
    const char *const *pairs = args_list(cli->args, "param", &count);
    int code = check_max_failures(cli, o.max_failures);
    if (code == GENRUN_OK) {
        code = params_merge(&parameters, NULL, pairs, count, &e);
        if (code != ERR_OK)
            cli_fail(cli, code, "%s", e.message);
    }
    if (code == GENRUN_OK && o.paused && args_has(cli->args, "wait"))
        code = cli_usage(cli, "--paused and --wait exclude each other: nothing would start");
    if (code == GENRUN_OK) {
        o.parameters = count > 0 ? buf_borrow(&parameters) : NULL;
        code = dry_run ? estimate_file(cli, &o) : submit_file(cli, id, &o);
    }
    buf_free(&parameters);
    if (code != GENRUN_OK || dry_run)
        return code;
    if (args_has(cli->args, "wait"))
        return wait_and_print(cli, id);
    if (cli->json)
        return print_batch(cli, id);
    puts(id);
    return GENRUN_OK;
}

const struct command cmd_batch_submit = {
    .group = "batch",
    .name = "submit",
    .operands = "FILE|-",
    .summary = "submit a file of prompts or requests as one batch job",
    .detail =
        "Every line is an item: OpenAI Batch JSONL, simple JSONL (prompt, and where wanted model, custom_id\n"
        "and any parameters) or plain text. In CSV every row is one: the first row names the columns, "
        "prompt\n"
        "among them; what is no column of genrun is a parameter, an unquoted number, true, false or null as\n"
        "such, a quoted cell as text. The format is known by the name's ending (.jsonl, .csv, .txt) and "
        "must\n"
        "agree with the first line; without an ending the first line decides.\n"
        "All lines or none: a line that is refused is named with its number and nothing is stored, nor when\n"
        "it is interrupted. The batch's id is printed, last on standard output. With --wait and no runner "
        "up\n"
        "this command runs the items itself, and nothing else of the queue.",
    .example = "genrun batch submit prompts.txt --model echo --wait",
    .options = options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .create = true,
    .run = run,
};
