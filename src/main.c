// SPDX-License-Identifier: MIT
// The program: finds the command, reads its options, opens the handle, runs it.
#include "base/log.h"
#include "base/mem.h"
#include "cli/command.h"
#include "http/server.h"
#include "lib/host.h"
#include "serve.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Every command. The order is that of `genrun help`.
// clang-format off
#define COMMANDS(ENTRY) \
    ENTRY(cmd_run) \
    ENTRY(cmd_submit) \
    ENTRY(cmd_list) \
    ENTRY(cmd_show) \
    ENTRY(cmd_output) \
    ENTRY(cmd_logs) \
    ENTRY(cmd_cancel) \
    ENTRY(cmd_retry) \
    ENTRY(cmd_fail) \
    ENTRY(cmd_recover) \
    ENTRY(cmd_dismiss) \
    ENTRY(cmd_stuck) \
    ENTRY(cmd_failures) \
    ENTRY(cmd_user_set) \
    ENTRY(cmd_session_set) \
    ENTRY(cmd_project_set) \
    ENTRY(cmd_stats) \
    ENTRY(cmd_models) \
    ENTRY(cmd_models_check) \
    ENTRY(cmd_models_resume) \
    ENTRY(cmd_locks) \
    ENTRY(cmd_locks_release) \
    ENTRY(cmd_job) \
    ENTRY(cmd_job_list) \
    ENTRY(cmd_batch_submit) \
    ENTRY(cmd_batch_list) \
    ENTRY(cmd_batch_show) \
    ENTRY(cmd_batch_items) \
    ENTRY(cmd_batch_watch) \
    ENTRY(cmd_batch_results) \
    ENTRY(cmd_batch_pause) \
    ENTRY(cmd_batch_resume) \
    ENTRY(cmd_batch_cancel) \
    ENTRY(cmd_batch_retry) \
    ENTRY(cmd_batch_process_next) \
    ENTRY(cmd_template_add) \
    ENTRY(cmd_template_list) \
    ENTRY(cmd_template_show) \
    ENTRY(cmd_template_remove) \
    ENTRY(cmd_key_add) \
    ENTRY(cmd_key_list) \
    ENTRY(cmd_key_revoke) \
    ENTRY(cmd_sync_init) \
    ENTRY(cmd_sync_push) \
    ENTRY(cmd_sync_status) \
    ENTRY(cmd_webhook_list) \
    ENTRY(cmd_webhook_deliveries) \
    ENTRY(cmd_webhook_test) \
    ENTRY(cmd_webhook_redeliver) \
    ENTRY(cmd_webhook_enable) \
    ENTRY(cmd_config_show) \
    ENTRY(cmd_config_check) \
    ENTRY(cmd_db_check) \
    ENTRY(cmd_db_backup) \
    ENTRY(cmd_db_vacuum) \
    ENTRY(cmd_db_migrate) \
    ENTRY(cmd_doctor) \
    ENTRY(cmd_help)
// clang-format on

#define DECLARE(name) extern const struct command name;
#define ADDRESS(name) &name,
COMMANDS(DECLARE)
static const struct command *const commands[] = {COMMANDS(ADDRESS) NULL};

// A program that is started with 0, 1 or 2 closed would open its database there and then print into it.
// Each is opened the wrong way round, so that using it fails as it would have.
static void occupy_standard_files(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

// ---- finding the command ----

// Moves words[index] out of the way: what is left are options and the command's operands.
static void drop_word(int *argc, char **words, int index) {
    memmove(&words[index], &words[index + 1], (size_t)(*argc - index - 1) * sizeof *words);
    --*argc;
}

static int show_version(void) {
    const char *text = genrun_versions();
    size_t length = strlen(text);
    printf("%s%slibmicrohttpd %s\n", text, length > 0 && text[length - 1] == '\n' ? "" : "\n",
           server_library());
    return GENRUN_OK;
}

static int unknown_command(const struct cli *cli, const char *group, const char *name) {
    const char *nearest = command_nearest(cli->commands, group, name);
    const char *space = group != NULL ? " " : "", *front = group != NULL ? group : "";
    if (nearest != NULL)
        return cli_fail(cli, GENRUN_INVALID, "unknown command '%s%s%s': did you mean '%s%s%s'?", front, space,
                        name, front, space, nearest);
    return cli_fail(cli, GENRUN_INVALID, "unknown command '%s%s%s': 'genrun help%s%s' lists them", front,
                    space, name, space, front);
}

// What options alone ask for: help or the versions.
static int without_command(struct cli *cli, const char *group, int argc, char **words) {
    struct args *args = NULL;
    struct err e = {0};
    int code = GENRUN_OK;
    if (args_parse(&args, command_globals, NULL, argc, words, &e) != ERR_OK)
        return cli_fail(cli, GENRUN_INVALID, "%s", e.message);
    if (args_has(args, "version"))
        code = show_version();
    else if (args_has(args, "help") && group != NULL)
        command_help_group(cli, group);
    else if (args_has(args, "help"))
        command_help_all(cli);
    else if (group != NULL)
        code =
            cli_fail(cli, GENRUN_INVALID, "'%s' needs a command: 'genrun help %s' lists them", group, group);
    else
        code = cli_usage(cli, "a command is missing");
    args_free(args);
    return code;
}

// `-job NAME` and `-job=NAME` in front of any command are `job NAME`. The new words, of which there may be one more,
// are the caller's to free.
static char **without_old_form(int *argc, char **words) {
    char **out = mem_alloc((size_t)*argc + 2, sizeof *out);
    int count = 0, at = 0;
    for (; at < *argc && words[at][0] == '-'; at++) {
        if (strcmp(words[at], "-job") == 0 || strncmp(words[at], "-job=", 5) == 0) {
            bool has_name = words[at][4] == '=';
            words[at][4] = '\0';
            out[count++] = words[at] + 1;
            if (has_name)
                out[count++] = words[at] + 5;
            at++;
            break;
        }
        out[count++] = words[at];
        bool has_value = strcmp(words[at], "-c") == 0 || strcmp(words[at], "-d") == 0 ||
                         strcmp(words[at], "--config") == 0 || strcmp(words[at], "--database") == 0;
        if (has_value && at + 1 < *argc)
            out[count++] = words[++at];
    }
    while (at < *argc)
        out[count++] = words[at++];
    *argc = count;
    return out;
}

// Finds the command that the words name and drops its name from them. cli->command stays NULL where nothing
// is to be run: help or the versions were shown (0), or what was wrong.
static int find_command(struct cli *cli, int *argc, char **words) {
    struct err e = {0};
    const char *group = NULL;
    int at = args_first_operand(command_globals, *argc, words, &e);
    if (at >= 0 && command_is_group(cli->commands, words[at])) {
        group = words[at];
        drop_word(argc, words, at);
        at = args_first_operand(command_globals, *argc, words, &e);
        // A group may be a command by itself: `models` beside `models resume`.
        cli->command = at < 0 ? command_find(cli->commands, NULL, group) : NULL;
        if (cli->command != NULL)
            return GENRUN_OK;
    }
    if (at == -2)
        return cli_fail(cli, GENRUN_INVALID, "%s (a command's own options stand behind its name)", e.message);
    if (at < 0)
        return without_command(cli, group, *argc, words);
    cli->command = command_find(cli->commands, group, words[at]);
    // … also one that takes an operand: `job NAME` beside `job list`.
    const struct command *alone = group != NULL ? command_find(cli->commands, NULL, group) : NULL;
    if (cli->command == NULL && alone != NULL && alone->operands_maximum > 0) {
        cli->command = alone;
        return GENRUN_OK;
    }
    if (cli->command == NULL)
        return unknown_command(cli, group, words[at]);
    drop_word(argc, words, at);
    return GENRUN_OK;
}

// ---- running it ----

static int run_command(struct cli *cli) {
    const struct command *c = cli->command;
    const char *group = c->group != NULL ? c->group : "", *space = c->group != NULL ? " " : "";
    size_t operands = args_operand_count(cli->args);
    if (operands < c->operands_minimum)
        return cli_usage(cli, "'%s%s%s' needs %s", group, space, c->name, c->operands);
    if (operands > c->operands_maximum)
        return cli_usage(cli, "'%s' is one argument too many", args_operand(cli->args, c->operands_maximum));
    for (size_t i = 0; i < operands; i++)
        if (args_operand(cli->args, i)[0] == '\0') // an unset variable of a script
            return cli_usage(cli, "an argument of '%s%s%s' is empty", group, space, c->name);
    if (c->bare)
        return c->run(cli);
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.config = cli->config;
    options.database = cli->database;
    options.create = c->create;
    int code = genrun_open(&cli->g, &options);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    host_own_process(cli->g);
    return c->run(cli);
}

static int dispatch(struct cli *cli, int argc, char **words) {
    struct args *args = NULL;
    struct err e = {0};
    int code = find_command(cli, &argc, words);
    if (cli->command == NULL)
        return code;
    if (args_parse(&args, command_globals, cli->command->options, argc, words, &e) != ERR_OK)
        return cli_fail(cli, GENRUN_INVALID, "%s", e.message);
    cli->args = args;
    cli->config = args_text(args, "config");
    cli->database = args_text(args, "database");
    cli->json = args_has(args, "json");
    cli->quiet = args_has(args, "quiet");
    cli->verbose = args_has(args, "verbose");
    log_setup(cli->quiet ? LOG_LEVEL_ERROR : cli->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, false);
    if (args_has(args, "version"))
        code = show_version();
    else if (args_has(args, "help"))
        command_help(cli, cli->command);
    else if (cli->quiet && cli->verbose)
        code = cli_fail(cli, GENRUN_INVALID, "-q and -v exclude each other: give one of them");
    else
        code = run_command(cli);
    genrun_close(cli->g);
    args_free(args);
    return code;
}

int main(int argc, char **argv) {
    occupy_standard_files();
    // A reader that goes away is seen as a failed write, not as a death in mid-work.
    signal(SIGPIPE, SIG_IGN);
    // A limit on the size of files is a full disk, not a death either.
    signal(SIGXFSZ, SIG_IGN);
    if (argc == 4 && strcmp(argv[1], "--mark-hung") == 0) // lib/host.h: the watchdog became this process
        return host_mark_hung(argv[2], argv[3]);
    struct cli cli = {.commands = commands, .serve = serve_run};
    terminal_look(&cli.out, STDOUT_FILENO);
    int count = argc > 0 ? argc - 1 : 0;
    char **words = without_old_form(&count, argv + 1);
    int code = dispatch(&cli, count, words);
    free(words);
    return cli_out_end(&cli, code);
}
