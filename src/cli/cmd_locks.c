// SPDX-License-Identifier: MIT
// `locks`: who holds which right. `locks release`: taking one away.
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/rows.h"
#include <stdio.h>
#include <string.h>

static const struct table_column columns[] = {
    {"NAME", false, true},          {"ACCOUNT", false, TABLE_LEAVES},
    {"OWNER", false, TABLE_LEAVES}, {"LIVES", false, TABLE_LEAVES},
    {"AGE", true, false},           {"EXPIRES", true, TABLE_LEAVES},
    {"FOR", false, TABLE_LEAVES},
};

static void fill(struct rows *rows, genrun_row *row) {
    char left[32] = "over";
    int64_t left_ms = genrun_row_integer(row, "expires_at", 0) - rows->now;
    bool lives = genrun_row_integer(row, "live", 0) != 0;
    if (left_ms > 0)
        clock_format_duration((left_ms + 999) / 1000 * 1000, left, sizeof left);
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "user_id"), STYLE_PLAIN);
    table_cell_id(rows->table, genrun_row_text(row, "owner"));
    table_cell(rows->table, lives ? "yes" : "no", lives ? STYLE_GOOD : STYLE_WARN);
    rows_cell_age(rows, genrun_row_integer(row, "acquired_at", 0));
    table_cell(rows->table, left, left_ms > 0 ? STYLE_PLAIN : STYLE_WARN);
    table_cell(rows->table, genrun_row_text(row, "reason"), STYLE_PLAIN);
}

static int run(struct cli *cli) {
    struct rows rows;
    rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
    return rows_end(&rows, genrun_locks(cli->g, rows_each, &rows), "nothing is locked");
}

const struct command cmd_locks = {
    .name = "locks",
    .operands = "",
    .summary = "list the locks of accounts and jobs: whose, since when, until when",
    .detail = "FOR is the generation that an account generates, or the process of a job. A lock that nobody "
              "renews\n"
              "ends by itself ([cleanup] lock_expiry).",
    .example = "genrun locks",
    .run = run,
};

static int release_one(struct cli *cli, const char *name) {
    int live = 0;
    int code = genrun_lock_release(cli->g, name, &live);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (live)
        cli_note(cli,
                 "the work that %s was held for goes on beside what starts now: cancel it if it must not",
                 name);
    struct buf safe;
    buf_init(&safe, BUF_UNLIMITED);
    if (cli->json) {
        json_write_text(&safe, name);
        printf("{\"name\":%s,\"released\":true,\"live\":%s}\n", buf_borrow(&safe), live ? "true" : "false");
    } else if (!cli->quiet) {
        text_escape(&safe, name, strlen(name), 0);
        printf("%s released\n", buf_borrow(&safe));
    }
    buf_free(&safe);
    return GENRUN_OK;
}

static int release(struct cli *cli) {
    return cli_each_operand(cli, release_one);
}

const struct command cmd_locks_release = {
    .group = "locks",
    .name = "release",
    .operands = "NAME…",
    .summary = "take a lock from its owner",
    .detail = "Work that it was held for is not stopped: it goes on, with a warning here.",
    .example = "genrun locks release account:ann:1",
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = release,
};
