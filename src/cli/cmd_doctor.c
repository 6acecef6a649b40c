// SPDX-License-Identifier: MIT
// `doctor`: looks at everything, and says what to do.
#include "base/text.h"
#include "cli/rows.h"
#include <stdio.h>
#include <string.h>

#define MARK_WIDTH 7
#define CHECK_WIDTH 16
#define INDENT (MARK_WIDTH + CHECK_WIDTH + 2)

struct round {
    struct cli *cli;
    int64_t checks, wrong, notes;
};

static enum style style_of(const char *state) {
    return strcmp(state, "ok") == 0 ? STYLE_GOOD : strcmp(state, "note") == 0 ? STYLE_WARN : STYLE_BAD;
}

static void print_text(const struct cli *cli, const genrun_row *row) {
    const struct terminal *t = &cli->out;
    const char *state = genrun_row_text(row, "state"), *advice = genrun_row_text(row, "advice");
    const char *message = genrun_row_text(row, "message"), *check = genrun_row_text(row, "check");
    enum style style = style_of(state);
    struct buf out, safe;
    buf_init(&out, BUF_UNLIMITED);
    buf_init(&safe, BUF_UNLIMITED);
    text_escape(&safe, check, strlen(check), 0);
    size_t columns = text_width(buf_borrow(&safe));
    buf_format(&out, "%s%-*s%s%s%*s", terminal_style(t, style), MARK_WIDTH, state, terminal_reset(t, style),
               buf_borrow(&safe), columns < CHECK_WIDTH ? (int)(CHECK_WIDTH - columns) + 2 : 2, "");
    buf_clear(&safe);
    text_escape(&safe, message, strlen(message), 0);
    terminal_write_wrapped(&out, buf_borrow(&safe), INDENT, t->width);
    if (advice != NULL) {
        buf_clear(&safe);
        text_escape(&safe, advice, strlen(advice), 0);
        buf_format(&out, "%*s", INDENT, "");
        terminal_write_wrapped(&out, buf_borrow(&safe), INDENT, t->width);
    }
    fputs(buf_borrow(&out), stdout);
    buf_free(&safe);
    buf_free(&out);
}

static int each(void *payload, genrun_row *row) {
    struct round *round = payload;
    const char *state = genrun_row_text(row, "state");
    round->checks++;
    round->wrong += strcmp(state, "wrong") == 0;
    round->notes += strcmp(state, "note") == 0;
    if (round->cli->json)
        rows_write_json(row);
    else if (!round->cli->quiet || strcmp(state, "ok") != 0)
        print_text(round->cli, row);
    cli_out_flush(round->cli); // the models may take their time
    return !cli_out_ok(round->cli);
}

static int run(struct cli *cli) {
    struct round round = {.cli = cli};
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.config = cli->config;
    options.database = cli->database;
    int code = genrun_doctor(&options, args_has(cli->args, "offline"), each, &round);
    if (code != GENRUN_OK && cli_out_ok(cli)) // a reader that has gone has seen enough
        return cli_fail(cli, code, "%lld of %lld checks found something wrong: do what stands below each",
                        (long long)round.wrong, (long long)round.checks);
    return code;
}

static const struct args_option options[] = {
    {"offline", 0, ARGS_FLAG, NULL, "ask no model's server", 0, 0},
    ARGS_END,
};

const struct command cmd_doctor = {
    .name = "doctor",
    .operands = "",
    .summary = "look at everything, and say what to do",
    .detail =
        "The configuration, the database, its runner, what is stuck or parked, the system with its disks,\n"
        "clock and limits, the keys, and the models' servers (for 10 s at most). Each check is ok, a note, "
        "or\n"
        "wrong, with what to do below it. It only looks, and works also with a broken configuration or\n"
        "database. Exits with 1 when anything is wrong. -q leaves out what is ok.",
    .example = "genrun doctor --offline",
    .options = options,
    .bare = true,
    .run = run,
};
