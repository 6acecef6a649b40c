// SPDX-License-Identifier: MIT
// `batch results`: one line for each item that ended.
#include "cli/outfile.h"
#include "cli/rows.h"
#include <string.h>

static const struct args_option options[] = {
    {"output", 'o', ARGS_TEXT, "FILE", "write to a file, whole or not at all (-: standard output)", 0, 0},
    {"errors", 0, ARGS_FLAG, NULL, "the failed and cancelled items in place of the completed ones", 0, 0},
    {"format", 0, ARGS_CHOICE, "openai|jsonl", "of the lines (else as the batch was submitted)", 0, 0},
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

static int run(struct cli *cli) {
    const char *id = args_operand(cli->args, 0), *path = args_text(cli->args, "output");
    const char *order = args_text(cli->args, "order");
    genrun_results_options results = GENRUN_RESULTS_OPTIONS_INIT;
    results.format = args_text(cli->args, "format");
    results.errors = args_has(cli->args, "errors");
    results.by_end = order != NULL && strcmp(order, "done") == 0;
    if (path != NULL && strcmp(path, "-") != 0)
        return write_to_file(cli, id, path, &results);
    int code = genrun_batch_results(cli->g, NULL, id, stdout, &results);
    return cli_out_ok(cli) ? cli_report(cli, code) : GENRUN_OK; // cli_out_end tells of a failed write
}

const struct command cmd_batch_results = {
    .group = "batch",
    .name = "results",
    .operands = "ID",
    .summary = "write the results of a batch job, one line an item",
    .detail = "While the batch runs: what is finished so far. The file of -o is replaced only when all was "
              "written.",
    .example = "genrun batch results 4b7d91ce -o results.jsonl",
    .options = options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run,
};
