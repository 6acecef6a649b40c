// SPDX-License-Identifier: MIT
// `db check`, `db backup`, `db vacuum`, `db migrate`: care of the database file.
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/progress.h"
#include "cli/rows.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- check ----

static int each_problem(void *payload, genrun_row *row) {
    struct cli *cli = payload;
    if (cli->json) {
        rows_write_json(row);
    } else {
        char *line = mem_format("%s: %s: %s", genrun_row_text(row, "check"), genrun_row_text(row, "problem"),
                                genrun_row_text(row, "advice"));
        struct buf safe;
        buf_init(&safe, BUF_UNLIMITED);
        text_escape(&safe, line, strlen(line), 0);
        puts(buf_borrow(&safe));
        buf_free(&safe);
        free(line);
    }
    return !cli_out_ok(cli);
}

static int run_check(struct cli *cli) {
    int code = genrun_check(cli->g, args_has(cli->args, "quick"), each_problem, cli);
    if (!cli_out_flush(cli))
        return code; // cli_out_end tells of it
    if (code == GENRUN_OK && !cli->json)
        puts("no problem was found");
    return cli_report(cli, code);
}

static const struct args_option check_options[] = {
    {"quick", 0, ARGS_FLAG, NULL, "do not compare the indexes with their tables", 0, 0},
    ARGS_END,
};

const struct command cmd_db_check = {
    .group = "db",
    .name = "check",
    .operands = "",
    .summary = "check the file, the schema, the counters and every row",
    .detail =
        "Each problem is a line: what is checked, what was found, what to do. Exits with 6 when there is\n"
        "any. Nothing is written, and a runner may go on meanwhile.",
    .example = "genrun db check --quick",
    .options = check_options,
    .run = run_check,
};

// ---- backup ----

struct copying {
    struct progress progress;
    bool begun;
    sigset_t signals; // of a person who wants it to end
};

static bool is_interrupted(const struct copying *c) {
    sigset_t pending;
    if (sigpending(&pending) != 0)
        return false;
    return (sigismember(&c->signals, SIGINT) == 1 && sigismember(&pending, SIGINT) == 1) ||
           (sigismember(&c->signals, SIGTERM) == 1 && sigismember(&pending, SIGTERM) == 1) ||
           (sigismember(&c->signals, SIGHUP) == 1 && sigismember(&pending, SIGHUP) == 1);
}

static int show_copying(void *payload, int64_t done, int64_t total, const char *unit) {
    struct copying *c = payload;
    if (!c->begun)
        progress_start(&c->progress, stderr, false, "copying", unit);
    c->begun = true;
    struct progress_state state = {.done = done, .total = total > done ? total : done};
    if (c->progress.terminal.present)
        progress_show(&c->progress, &state);
    return is_interrupted(c);
}

static int only_interrupted(void *payload, int64_t done, int64_t total, const char *unit) {
    (void)done, (void)total, (void)unit;
    return is_interrupted(payload);
}

// The half-made file must go, so these signals wait until the copying has seen them.
static int copy(struct cli *cli, const char *path) {
    struct copying copying = {.begun = false};
    sigset_t before;
    const struct timespec now = {0, 0};
    sigemptyset(&copying.signals);
    sigaddset(&copying.signals, SIGINT);
    sigaddset(&copying.signals, SIGTERM);
    sigaddset(&copying.signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &copying.signals, &before);
    int code = genrun_backup(cli->g, path, cli->quiet ? only_interrupted : show_copying, &copying);
    if (copying.begun)
        progress_end(&copying.progress, NULL);
    while (sigtimedwait(&copying.signals, NULL, &now) > 0)
        ;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return code;
}

static int run_backup(struct cli *cli) {
    const char *path = args_operand(cli->args, 0);
    if (strcmp(path, "-") == 0)
        return cli_usage(cli, "a backup goes to a file, not to standard output");
    int code = copy(cli, path);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        buf_char(&out, '{');
        json_write_member_text(&out, "file", path);
        buf_char(&out, '}');
        puts(buf_borrow(&out));
        buf_free(&out);
    } else if (!cli->quiet) {
        printf("%s\n", path);
    }
    return GENRUN_OK;
}

const struct command cmd_db_backup = {
    .group = "db",
    .name = "backup",
    .operands = "FILE",
    .summary = "write a copy of the database to a new file, also beside a runner",
    .detail =
        "The copy holds what the database held at one moment, is compact, synced and checked; only its "
        "owner\n"
        "can read it. It stands at FILE whole or not at all: until then it is FILE.part-… beside it. To use "
        "a\n"
        "copy, put it where the database was while no runner is up, and remove the old file's -wal and "
        "-shm.\n"
        "Uploaded files are not in it: copy the folder data_dir after it, if they are still needed.",
    .example = "genrun db backup backup.db",
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = run_backup,
};

// ---- vacuum ----

static int run_vacuum(struct cli *cli) {
    int64_t before = 0, after = 0;
    int code = genrun_vacuum(cli->g, &before, &after);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    printf(cli->json ? "{\"before\":%lld,\"after\":%lld}\n" : "%lld bytes before, %lld after\n",
           (long long)before, (long long)after);
    return GENRUN_OK;
}

const struct command cmd_db_vacuum = {
    .group = "db",
    .name = "vacuum",
    .operands = "",
    .summary = "give the space of deleted rows back to the disk",
    .detail = "Needs the database for itself (stop the runner first) and, for a while, free space of twice "
              "its size.",
    .example = "genrun db vacuum",
    .run = run_vacuum,
};

// ---- migrate ----

static int run_migrate(struct cli *cli) {
    bool dry_run = args_has(cli->args, "dry-run");
    int from = 0, to = 0;
    int code = genrun_migrate(cli->g, &from, &to, dry_run);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json)
        printf("{\"from\":%d,\"to\":%d,\"dryRun\":%s}\n", from, to, dry_run ? "true" : "false");
    else if (from == to)
        printf("the schema is current: version %d\n", to);
    else if (dry_run)
        printf(
            "the schema would go from version %d to %d: make a backup first with 'genrun db backup FILE'\n",
            from, to);
    else
        printf("the schema went from version %d to %d\n", from, to);
    return GENRUN_OK;
}

static const struct args_option migrate_options[] = {
    {"dry-run", 0, ARGS_FLAG, NULL, "only tell what would be done", 0, 0},
    ARGS_END,
};

const struct command cmd_db_migrate = {
    .group = "db",
    .name = "migrate",
    .operands = "",
    .summary = "bring the schema to the version of this program",
    .detail = "There is no way back: make a backup first with 'genrun db backup FILE', which changes "
              "nothing. (Every\n"
              "other command that opens an older database does the same by itself.)",
    .example = "genrun db migrate --dry-run",
    .options = migrate_options,
    .run = run_migrate,
};
