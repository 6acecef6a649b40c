// SPDX-License-Identifier: MIT
// `submit`: one generation; with --wait also its output.
#include "base/json.h"
#include "base/mem.h"
#include "cli/detail.h"
#include "cli/output.h"
#include "cli/params.h"
#include "cli/rows.h"
#include "cli/wait.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROMPT_MAXIMUM (256u << 20)

// ---- the prompt ----

// Reads standard input to its end. One line end at the end is dropped: a shell's echo puts it there.
static int read_prompt(struct cli *cli, struct buf *out) {
    char block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, stdin)) > 0)
        if (!buf_append(out, block, n))
            return cli_fail(cli, GENRUN_INVALID, "the prompt on standard input is over %u MiB: shorten it",
                            PROMPT_MAXIMUM >> 20);
    if (ferror(stdin))
        return cli_fail(cli, GENRUN_INVALID, "cannot read standard input (%s): give the prompt as an operand",
                        strerror(errno));
    const char *text = buf_borrow(out);
    if (out->length > 0 && memchr(text, '\0', out->length) != NULL)
        return cli_fail(cli, GENRUN_INVALID, "the prompt on standard input has a NUL byte: give text");
    if (out->length > 0 && out->data[out->length - 1] == '\n')
        out->data[--out->length] = '\0';
    if (out->length > 0 && out->data[out->length - 1] == '\r')
        out->data[--out->length] = '\0';
    return GENRUN_OK;
}

// True when the parameters bring the whole request, so that nothing is expected on standard input.
static bool is_whole_request(const char *parameters) {
    static const char *const keys[] = {"messages", "prompt", "input"};
    const char *start;
    size_t length;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_raw_member(parameters, keys[i], &start, &length))
            return true;
    return false;
}

// Sets *prompt to the operand, to what is read into `read`, or to NULL for a whole request.
static int find_prompt(struct cli *cli, const char *parameters, struct buf *read, const char **prompt) {
    const char *operand = args_operand(cli->args, 0);
    *prompt = operand;
    if (operand != NULL && strcmp(operand, "-") != 0)
        return GENRUN_OK;
    if (operand == NULL && (is_whole_request(parameters) || args_has(cli->args, "template")))
        return GENRUN_OK;
    if (operand == NULL && isatty(STDIN_FILENO))
        return cli_usage(cli, "a prompt is missing");
    int code = read_prompt(cli, read);
    if (code != GENRUN_OK)
        return code;
    if (read->length == 0)
        return cli_usage(cli, "there is no prompt, and none on standard input");
    *prompt = buf_borrow(read);
    return GENRUN_OK;
}

// ---- after it is stored ----

static int print_stored(struct cli *cli, const char *id) {
    if (!cli->json) {
        puts(id);
        return GENRUN_OK;
    }
    genrun_row *row = NULL;
    int code = genrun_get(cli->g, &row, id);
    if (code == GENRUN_OK)
        rows_print_json(row);
    return cli_report(cli, code);
}

static int wait_and_print(struct cli *cli, const char *id) {
    int code = wait_generation(cli, id);
    if (cli->json && (code == GENRUN_OK || code == GENRUN_WORK_FAILED)) {
        int shown = detail_print_json(cli, id);
        return shown != GENRUN_OK ? shown : code;
    }
    return code == GENRUN_OK ? output_print(cli, id, true) : code;
}

static int submit(struct cli *cli, const genrun_spec *spec) {
    char id[GENRUN_ID_SIZE];
    int created = 1;
    int code = genrun_submit(cli->g, id, &created, spec);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (!created && cli->verbose)
        cli_note(cli, "the key '%s' is known: this is the first one's id, nothing was stored",
                 spec->client_id);
    return args_has(cli->args, "wait") ? wait_and_print(cli, id) : print_stored(cli, id);
}

static const struct args_option options[] = {
    {"model", 0, ARGS_TEXT, "M", "the model (else the default one)", 0, 0},
    {"user", 0, ARGS_TEXT, "U", "whose it is", 0, 0},
    {"session", 0, ARGS_TEXT, "S", "the session it belongs to", 0, 0},
    {"param", 0, ARGS_LIST, "K=V", "a parameter; V is JSON where it reads as JSON, else text", 0, 0},
    {"params", 0, ARGS_TEXT, "JSON", "an object of parameters", 0, 0},
    {"key", 0, ARGS_TEXT, "CLIENT_ID", "submit once: the same key gives the first one's id", 0, 0},
    {"priority", 0, ARGS_INTEGER, "N", "higher goes first, -1000 to 1000 (0)", -1000, 1000},
    {"delay", 0, ARGS_DURATION, "D", "do not start before this time has passed", 0, 0},
    {"template", 0, ARGS_TEXT, "T", "the template that makes the request from prompt and parameters", 0, 0},
    {"wait", 0, ARGS_FLAG, NULL, "wait for the end and print the output", 0, 0},
    ARGS_END,
};

static int run(struct cli *cli) {
    struct buf parameters, read;
    struct err e = {0};
    buf_init(&parameters, BUF_UNLIMITED);
    buf_init(&read, PROMPT_MAXIMUM);
    genrun_spec spec = GENRUN_SPEC_INIT;
    size_t count;
    const char *const *pairs = args_list(cli->args, "param", &count);
    int code = params_merge(&parameters, args_text(cli->args, "params"), pairs, count, &e);
    if (code != ERR_OK) {
        cli_fail(cli, code, "%s", e.message);
        goto out;
    }
    code = find_prompt(cli, buf_borrow(&parameters), &read, &spec.prompt);
    if (code != GENRUN_OK)
        goto out;
    spec.parameters = buf_borrow(&parameters);
    spec.model = args_text(cli->args, "model");
    spec.user = args_text(cli->args, "user");
    spec.session = args_text(cli->args, "session");
    spec.client_id = args_text(cli->args, "key");
    spec.template_id = args_text(cli->args, "template");
    spec.priority = (int)args_integer(cli->args, "priority", 0);
    spec.delay_ms = args_integer(cli->args, "delay", 0);
    code = submit(cli, &spec);
out:
    buf_free(&parameters);
    buf_free(&read);
    return code;
}

const struct command cmd_submit = {
    .name = "submit",
    .operands = "[PROMPT | -]",
    .summary = "submit one generation and print its id",
    .detail =
        "The prompt is read from standard input for '-', and when there is none and standard input is no\n"
        "terminal, unless the parameters bring messages, prompt or input: then they are the whole request.\n"
        "With --template it is read for '-' only.\n"
        "With --wait the output is printed in place of the id. When no runner is up, this command\n"
        "runs the generation itself, and nothing else of the queue.",
    .example = "genrun submit \"Name a colour\" --model echo --wait",
    .options = options,
    .operands_maximum = 1,
    .create = true,
    .run = run,
};
