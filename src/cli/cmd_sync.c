// SPDX-License-Identifier: MIT
// `sync init`, `sync push`, `sync status`: the mirror in Postgres.
#include "base/clock.h"
#include "base/text.h"
#include "cli/rows.h"
#include <stdio.h>
#include <string.h>

static const char *text_of(const genrun_row *row, const char *column) {
    const char *text = genrun_row_text(row, column);
    return text ? text : "";
}

static long long number(const genrun_row *row, const char *column) {
    return (long long)genrun_row_integer(row, column, 0);
}

// Text of another server is shown with its controls escaped.
static void print_safe(const char *text) {
    struct buf safe;
    buf_init(&safe, BUF_UNLIMITED);
    text_escape(&safe, text, strlen(text), 0);
    fputs(buf_borrow(&safe), stdout);
    buf_free(&safe);
}

// ---- init ----

static const struct args_option init_options[] = {
    {"adopt", 0, ARGS_FLAG, NULL, "take over tables of these names that are there, where their columns fit",
     0, 0},
    ARGS_END,
};

static int run_init(struct cli *cli) {
    genrun_row *row = NULL;
    int code = genrun_sync_init(cli->g, &row, args_has(cli->args, "adopt"));
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json) {
        rows_write_json(row);
    } else if (!cli->quiet) {
        long long before = number(row, "before"), after = number(row, "after");
        printf("%s, schema %s: ", text_of(row, "place"), text_of(row, "schema"));
        if (before == after)
            printf("the mirror is there already, version %lld\n", after);
        else if (before == 0)
            printf("the mirror is made, version %lld\n", after);
        else
            printf("the mirror is brought from version %lld to %lld\n", before, after);
        if (before > 0 && number(row, "added") > 0)
            printf("%lld column%s of the mirror had been dropped: every box brings its rows there anew\n",
                   number(row, "added"), number(row, "added") == 1 ? "" : "s");
        if (number(row, "adopted") > 0)
            printf("%lld table%s taken over, %lld column%s added\n", number(row, "adopted"),
                   number(row, "adopted") == 1 ? "" : "s", number(row, "added"),
                   number(row, "added") == 1 ? "" : "s");
        if (number(row, "mended") > 0)
            printf("%lld table%s of the mirror had been dropped: every box brings its rows there anew\n",
                   number(row, "mended"), number(row, "mended") == 1 ? "" : "s");
    }
    genrun_row_free(row);
    return cli_out_end(cli, code);
}

const struct command cmd_sync_init = {
    .group = "sync",
    .name = "init",
    .operands = "",
    .summary = "make the tables of the mirror in Postgres, or bring them up to date",
    .detail =
        "Where it is stands in the environment variable GENRUN_SYNC_URL, or as [sync] says. Tables of the\n"
        "same names that are not genrun's are never touched without --adopt (5), which checks their columns\n"
        "first. Harmless when repeated: a table of the mirror that was dropped is made anew. While others "
        "use\n"
        "the tables it waits, for [sync] timeout at most (5).",
    .example = "genrun sync init",
    .options = init_options,
    .create = true,
    .run = run_init,
};

// ---- push ----

static int run_push(struct cli *cli) {
    genrun_row *row = NULL;
    int code = genrun_sync_push(cli->g, &row);
    if (row != NULL && cli->json) {
        rows_write_json(row);
    } else if (row != NULL && !cli->quiet && code == GENRUN_OK) {
        printf("%s: %lld row%s written as node %s in %.1f s", text_of(row, "place"), number(row, "rows"),
               number(row, "rows") == 1 ? "" : "s", text_of(row, "node"),
               genrun_row_number(row, "seconds", 0));
        if (number(row, "orders_applied") + number(row, "orders_refused") > 0)
            printf("; orders typed there: %lld carried out, %lld refused", number(row, "orders_applied"),
                   number(row, "orders_refused"));
        putchar('\n');
        if (number(row, "refused") > 0)
            printf("%lld row%s refused there: 'genrun sync status' tells why\n", number(row, "refused"),
                   number(row, "refused") == 1 ? " was" : "s were");
    }
    genrun_row_free(row);
    if (!cli_out_flush(cli))
        return cli_out_end(cli, code);
    return cli_report(cli, code);
}

const struct command cmd_sync_push = {
    .group = "sync",
    .name = "push",
    .operands = "",
    .summary = "bring what is new to Postgres now, and carry out the orders typed there",
    .detail =
        "A runner does the same all the time where [sync] is configured; it gives way to this command, "
        "which\n"
        "waits for that, [sync] timeout at most (5). Exits with 7 when Postgres cannot be reached, with 3 "
        "when none is\n"
        "configured or the mirror is not as it should be. What was brought there stays; again goes on "
        "behind it.",
    .example = "genrun sync push",
    .run = run_push,
};

// ---- status ----

static int each_refused(void *payload, genrun_row *row) {
    struct cli *cli = payload;
    if (cli->json)
        return 0; // the row tells how many
    printf("refused there: %s %s: ", text_of(row, "table_name"), text_of(row, "row_key"));
    print_safe(text_of(row, "reason"));
    putchar('\n');
    return !cli_out_ok(cli);
}

static void print_age(const char *what, int64_t at, int64_t now, const char *why) {
    char age[32];
    if (at == 0)
        return;
    terminal_format_age(at, now, age, sizeof age);
    printf(strcmp(age, "now") == 0 ? "%s %s" : "%s %s ago", what, age);
    if (why[0] != '\0') {
        fputs(": ", stdout);
        print_safe(why);
    }
    putchar('\n');
}

static void print_status(const genrun_row *row) {
    int64_t now = clock_wall_at();
    long long behind = number(row, "behind");
    bool reachable = number(row, "reachable") != 0;
    const char *way = text_of(row, "connection");
    printf("%s%s, schema %s, node ", text_of(row, "place"),
           strcmp(way, "pooler") == 0   ? " (through a pooler)"
           : strcmp(way, "direct") == 0 ? " (direct)"
                                        : "",
           text_of(row, "schema"));
    print_safe(text_of(row, "node"));
    printf("\n%lld row%s of the log behind\n", behind, behind == 1 ? "" : "s");
    print_age("moved on", genrun_row_integer(row, "moved_at", 0), now, "");
    print_age("last contact", genrun_row_integer(row, "synced_at", 0), now, "");
    if (!reachable)
        print_age("away since", genrun_row_integer(row, "offline_since", 0), now, "");
    print_age("failing since", genrun_row_integer(row, "failed_since", 0), now, "");
    print_age("last error", genrun_row_integer(row, "last_error_at", 0), now, text_of(row, "last_error"));
    if (reachable)
        printf("%lld order%s to carry out\n", number(row, "orders_open"),
               number(row, "orders_open") == 1 ? "" : "s");
    printf("%lld row%s refused there\n", number(row, "refused"), number(row, "refused") == 1 ? "" : "s");
}

static int run_status(struct cli *cli) {
    genrun_row *row = NULL;
    int code = genrun_sync_status(cli->g, &row, each_refused, cli);
    if (row != NULL && cli->json)
        rows_write_json(row);
    else if (row != NULL)
        print_status(row);
    genrun_row_free(row);
    if (!cli_out_flush(cli))
        return cli_out_end(cli, code);
    return cli_report(cli, code);
}

const struct command cmd_sync_status = {
    .group = "sync",
    .name = "status",
    .operands = "",
    .summary = "how far the mirror in Postgres is, and what it does not take",
    .detail =
        "Exits with 7 when Postgres cannot be reached: what is known here is told all the same. Log rows\n"
        "that the mirror does not have yet are kept by retention.",
    .example = "genrun sync status",
    .run = run_status,
};
