// SPDX-License-Identifier: MIT
// `logs`: the events of everything, of a batch job or of a generation; -f follows.
#include "base/clock.h"
#include "cli/rows.h"
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define FOLLOW_WAIT_MS 1000

struct reading {
    struct cli *cli;
    int64_t last; // id of the last row shown
};

static int each(void *payload, genrun_row *row) {
    struct reading *r = payload;
    r->last = genrun_row_integer(row, "id", r->last);
    if (r->cli->json)
        rows_write_json(row);
    else
        rows_event(r->cli, row, true);
    return !cli_out_ok(r->cli);
}

// True when the reader of stdout has gone, so that following ends though nothing is printed.
static bool nobody_reads(void) {
    struct pollfd p = {.fd = STDOUT_FILENO, .events = 0};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP)) != 0;
}

static int follow(struct reading *r, genrun_event_filter *filter) {
    int code = GENRUN_OK;
    filter->limit = 0;
    while (code == GENRUN_OK && cli_out_flush(r->cli) && !nobody_reads()) {
        code = genrun_wait_change(r->cli->g, FOLLOW_WAIT_MS);
        filter->after = r->last;
        if (code == GENRUN_OK)
            code = genrun_events(r->cli->g, filter, each, r);
    }
    return code;
}

static const struct args_option options[] = {
    {"follow", 'f', ARGS_FLAG, NULL, "go on with new events until interrupted", 0, 0},
    {"level", 0, ARGS_CHOICE, "debug|info|warn|error", "only events of at least this level", 0, 0},
    {"event", 0, ARGS_TEXT, "E", "only this event, or all of a kind: generation.failed, batch.", 0, 0},
    {"since", 0, ARGS_DURATION, "D", "only events of the last D", 0, 0},
    {"limit", 0, ARGS_INTEGER, "N", "the newest so many (100; 0: all)", 0, ROWS_LIMIT_HIGHEST},
    ARGS_END,
};

static int run(struct cli *cli) {
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.id = args_operand(cli->args, 0);
    filter.level = args_text(cli->args, "level");
    filter.event = args_text(cli->args, "event");
    if (args_has(cli->args, "since"))
        filter.since = clock_wall_at() - args_integer(cli->args, "since", 0);
    filter.limit = (int)args_integer(cli->args, "limit", 100);
    struct reading reading = {.cli = cli};
    int code = genrun_events(cli->g, &filter, each, &reading);
    if (code == GENRUN_OK && cli_out_ok(cli) && args_has(cli->args, "follow"))
        code = follow(&reading, &filter);
    return cli_out_ok(cli) ? cli_report(cli, code) : GENRUN_OK;
}

const struct command cmd_logs = {
    .name = "logs",
    .operands = "[ID]",
    .summary = "show the events of a generation, a batch job or all",
    .example = "genrun logs -f --level warn",
    .options = options,
    .operands_maximum = 1,
    .run = run,
};
