// SPDX-License-Identifier: MIT
// `output`: what the model gave, as it is.
#include "cli/outfile.h"
#include "cli/output.h"
#include "cli/rows.h"
#include <string.h>

static const struct args_option options[] = {
    {"output", 'o', ARGS_TEXT, "FILE", "write to a file, whole or not at all (-: standard output)", 0, 0},
    ARGS_END,
};

static int run(struct cli *cli) {
    const char *id = args_operand(cli->args, 0), *path = args_text(cli->args, "output");
    if (cli->json && path != NULL)
        return cli_usage(cli, "--json and -o exclude each other");
    if (cli->json)
        return output_print_json(cli, id);
    if (path == NULL || strcmp(path, "-") == 0)
        return output_print(cli, id, false);
    struct outfile file;
    struct err e = {0};
    if (outfile_open(&file, path, &e) != ERR_OK)
        return cli_fail(cli, (int)e.code, "%s", e.message);
    int code = genrun_write_output(cli->g, id, file.stream);
    if (code != GENRUN_OK && !ferror(file.stream)) {
        outfile_drop(&file);
        return cli_report(cli, code);
    }
    code = outfile_commit(&file, &e);
    return code != ERR_OK ? cli_fail(cli, code, "%s", e.message) : GENRUN_OK;
}

const struct command cmd_output = {
    .name = "output",
    .operands = "ID",
    .summary = "print the raw output of a generation",
    .detail = "The bytes are those that the model gave. Only on a terminal are control characters escaped,\n"
              "and an output that is not text is refused there. With --json: one object for each output.",
    .example = "genrun output 4b7d91ce -o answer.txt",
    .options = options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run,
};
