// SPDX-License-Identifier: MIT
// `batch results`: one line, or row, for each item that ended.
#include "base/text.h"
#include "cli/outfile.h"
#include "cli/output.h"
#include "cli/rows.h"
#include <errno.h>
#include <string.h>

static const struct args_option options[] = {
    {"output", 'o', ARGS_TEXT, "FILE", "write to a file, whole or not at all (-: standard output)", 0, 0},
    {"errors", 0, ARGS_FLAG, NULL, "the failed and cancelled items in place of the completed ones", 0, 0},
    {"format", 0, ARGS_CHOICE, "openai|jsonl|csv",
     "of the file (else by the ending of FILE, or as submitted)", 0, 0},
    {"order", 0, ARGS_CHOICE, "input|done", "of the file, or as they ended (input)", 0, 0},
    ARGS_END,
};

static int write_to_file(struct cli *cli, const char *id, const char *path,
                         const genrun_results_options *results) {
    struct outfile file;
    struct err e = {0};
    int64_t written = 0;
    if (outfile_open(&file, path, &e) != ERR_OK)
        return cli_fail(cli, (int)e.code, "%s", e.message);
    int code = genrun_batch_results(cli->g, &written, id, file.stream, results);
    if (code != GENRUN_OK && !ferror(file.stream)) {
        outfile_drop(&file);
        return cli_report(cli, code);
    }
    code = outfile_commit(&file, &e);
    if (code != ERR_OK)
        return cli_fail(cli, code, "%s", e.message);
    if (cli->out.present)
        cli_note(cli, "%lld result%s written to %s", (long long)written, written == 1 ? "" : "s", path);
    return GENRUN_OK;
}

// Prompts and answers are not to steer a person's terminal.
static int write_to_terminal(struct cli *cli, const char *id, const genrun_results_options *results) {
    FILE *safe = output_open_safe();
    if (safe == NULL)
        return cli_fail(cli, GENRUN_DATABASE, "cannot show the results (%s): write them to a file with -o",
                        strerror(errno));
    int code = genrun_batch_results(cli->g, NULL, id, safe, results);
    fclose(safe);
    return cli_out_ok(cli) ? cli_report(cli, code) : GENRUN_OK;
}

// A file named .csv is to be one; a .jsonl file of a batch that came as CSV is not.
static int choose_format(struct cli *cli, const char *id, const char *path, const char **format) {
    genrun_row *row = NULL;
    if (*format != NULL || path == NULL)
        return GENRUN_OK;
    if (text_ends_with(path, ".csv")) {
        *format = "csv";
        return GENRUN_OK;
    }
    if (!text_ends_with(path, ".jsonl"))
        return GENRUN_OK;
    int code = genrun_batch_get(cli->g, &row, id);
    const char *came_as = code == GENRUN_OK ? genrun_row_text(row, "format") : NULL;
    if (came_as != NULL && strcmp(came_as, "csv") == 0)
        *format = "jsonl";
    genrun_row_free(row);
    return cli_report(cli, code);
}

static int run(struct cli *cli) {
    const char *id = args_operand(cli->args, 0), *path = args_text(cli->args, "output");
    const char *order = args_text(cli->args, "order");
    genrun_results_options results = GENRUN_RESULTS_OPTIONS_INIT;
    results.format = args_text(cli->args, "format");
    results.errors = args_has(cli->args, "errors");
    results.by_end = order != NULL && strcmp(order, "done") == 0;
    int code = choose_format(cli, id, path, &results.format);
    if (code != GENRUN_OK)
        return code;
    if (path != NULL && strcmp(path, "-") != 0)
        return write_to_file(cli, id, path, &results);
    if (cli->out.present)
        return write_to_terminal(cli, id, &results);
    code = genrun_batch_results(cli->g, NULL, id, stdout, &results);
    return cli_out_ok(cli) ? cli_report(cli, code) : GENRUN_OK; // cli_out_end tells of a failed write
}

const struct command cmd_batch_results = {
    .group = "batch",
    .name = "results",
    .operands = "ID",
    .summary = "write the results of a batch job, one line or row an item",
    .detail =
        "While the batch runs: what is finished so far. The file of -o is replaced only when all was\n"
        "written. CSV has one fixed header, rows that end in LF, text in quotes where it must be, and\n"
        "bytes that are no text as base64 in the column output_base64; cells that begin with =, +, - or @\n"
        "stay what they are: import them into a spreadsheet as text. Of several outputs the first is given,\n"
        "with output_count; 'genrun output' prints them all. On a terminal control characters are escaped.",
    .example = "genrun batch results 4b7d91ce -o results.jsonl",
    .options = options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run,
};
