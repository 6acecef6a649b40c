// SPDX-License-Identifier: MIT
// Help, made of the entries of the commands.
#include "cli/help.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/man.h"
#include "cli/shell_completion.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_WIDTH 80
#define DETAIL_WIDTH 100 // no line of a detail is wider

const struct help_exit help_exits[] = {
    {GENRUN_OK, "done", "All that was asked for is done."},
    {GENRUN_WORK_FAILED, "the work failed",
     "The program worked, what it ran did not: a generation that was waited for, or items of a batch job, "
     "failed or "
     "were cancelled; or a result could not be written."},
    {GENRUN_INVALID, "refused input",
     "The command line, a line of a file, an unknown model, an id that fits several."},
    {GENRUN_CONFIG, "configuration", "The configuration has mistakes, which are named with file and line."},
    {GENRUN_NOT_FOUND, "not found", "There is no such generation, batch job, model or database."},
    {GENRUN_CONFLICT, "conflict",
     "What was asked for cannot be done in the present state, or another runner is running."},
    {GENRUN_DATABASE, "database", "The database cannot be read or written."},
    {GENRUN_REMOTE, "remote", "A model's server cannot be reached."},
    {0, NULL, NULL},
};

const char help_purpose[] = "runs AI generations from one SQLite file and never leaves one stuck";
const char help_values[] =
    "An id is given whole or by its last 8 or more characters. Durations: 90s 5m 3h 7d.";
const char help_example[] = "printf 'Name a colour\\nName a fruit\\n' > prompts.txt\n"
                            "genrun batch submit prompts.txt --model echo --wait";

static void write_usage(struct buf *out, const struct command *c) {
    size_t before = out->length;
    buf_format(out, "genrun %s%s%s", c->group != NULL ? c->group : "", c->group != NULL ? " " : "", c->name);
    if (c->operands[0] != '\0')
        buf_format(out, " %s", c->operands);
    size_t indent = strlen("Usage: genrun ");
    args_write_usage(out, c->options, strlen("Usage: ") + out->length - before, indent, HELP_WIDTH);
    buf_char(out, '\n');
}

static bool is_in(const struct command *c, const char *group) {
    return group == NULL || (c->group != NULL && strcmp(c->group, group) == 0);
}

static size_t name_width(const struct command *c) {
    return (c->group != NULL ? strlen(c->group) + 1 : 0) + strlen(c->name);
}

static void write_summary(struct buf *out, const struct command *c, size_t names, size_t width) {
    buf_format(out, "  %s%s%s%*s  ", c->group != NULL ? c->group : "", c->group != NULL ? " " : "", c->name,
               (int)(names - name_width(c)), "");
    terminal_write_wrapped(out, c->summary, names + 4, width);
}

// A text of several lines: as it stands, but wrapped anew where a terminal is narrower.
static void write_detail(struct buf *out, const char *text, size_t width) {
    buf_char(out, '\n');
    if (width > 0 && width < DETAIL_WIDTH)
        terminal_write_wrapped(out, text, 0, width);
    else
        buf_format(out, "%s\n", text);
}

// The commands of a group (NULL: all), aligned.
static void write_summaries(struct buf *out, const struct cli *cli, const char *group) {
    size_t width = 0;
    for (const struct command *const *c = cli->commands; *c != NULL; c++)
        if (is_in(*c, group) && name_width(*c) > width)
            width = name_width(*c);
    for (const struct command *const *c = cli->commands; *c != NULL; c++)
        if (is_in(*c, group))
            write_summary(out, *c, width, cli->out.width);
}

void command_help(const struct cli *cli, const struct command *command) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "Usage: ");
    write_usage(&out, command);
    const char *summary = command->summary; // begins with a small ASCII letter, for the list
    buf_format(&out, "\n%c%s.\n", summary[0] - 'a' + 'A', summary + 1);
    if (command->detail != NULL)
        write_detail(&out, command->detail, cli->out.width);
    if (command->options != NULL && command->options[0].name != NULL) {
        buf_text(&out, "\nOptions\n");
        args_write_help(&out, command->options, cli->out.width);
    }
    buf_text(&out, "\nEverywhere\n");
    args_write_help(&out, command_globals, cli->out.width);
    buf_text(&out, "\nExample\n");
    terminal_write_lines(&out, command->example, strlen(command->example), "  ", 0);
    // A command that is a group, too, such as models.
    if (command->group == NULL && command_is_group(cli->commands, command->name)) {
        buf_text(&out, "\nCommands\n");
        write_summaries(&out, cli, command->name);
    }
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
}

void command_help_group(const struct cli *cli, const char *group) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_format(&out, "Usage: genrun %s COMMAND [ARGUMENT …]\n\n", group);
    write_summaries(&out, cli, group);
    buf_format(&out, "\n'genrun help %s COMMAND' shows the options of one and an example.\n", group);
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
}

static void write_exits(struct buf *out) {
    size_t used = strlen("Exit codes:");
    buf_text(out, "Exit codes:");
    for (const struct help_exit *e = help_exits; e->brief != NULL; e++) {
        char *word = mem_format(" %d %s%s", e->code, e->brief, e[1].brief != NULL ? "," : ".\n");
        used += strlen(word);
        if (used > HELP_WIDTH) {
            buf_char(out, '\n');
            used = strlen(word) - 1;
        }
        buf_text(out, used < strlen(word) ? word + 1 : word);
        free(word);
    }
}

void command_help_all(const struct cli *cli) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "Usage: genrun [-c FILE] [-d DATABASE] [--json] [-q | -v] COMMAND [ARGUMENT …]\n"
                   "       genrun help [COMMAND]\n"
                   "       genrun --version\n\n"
                   "R");
    buf_format(&out, "%s.\n\nCommands\n", help_purpose + 1);
    write_summaries(&out, cli, NULL);
    buf_text(&out, "\nOptions of all commands, before or after their names\n");
    args_write_help(&out, command_globals, cli->out.width);
    write_detail(&out, help_values, cli->out.width);
    write_exits(&out);
    buf_text(&out, "\nExample\n");
    terminal_write_lines(&out, help_example, strlen(help_example), "  ", 0);
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
}

// ---- the command ----

// What an installation gets besides the program.
static int write_file(const struct cli *cli, const char *page) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    if (page == NULL)
        shell_completion_write(&out, cli->commands);
    else if (strcmp(page, "genrun.1") == 0)
        man_write_program(&out, cli->commands);
    else
        man_write_configuration(&out);
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
    return GENRUN_OK;
}

static const struct args_option help_options[] = {
    {"man", 0, ARGS_CHOICE, "genrun.1|genrun.ini.5", "write a man page, in mdoc", 0, 0},
    {"completion", 0, ARGS_CHOICE, "bash", "write the completion of a shell", 0, 0},
    ARGS_END,
};

static int help_run(struct cli *cli) {
    const char *first = args_operand(cli->args, 0), *second = args_operand(cli->args, 1);
    bool files = args_has(cli->args, "man") || args_has(cli->args, "completion");
    if (files && (first != NULL || (args_has(cli->args, "man") && args_has(cli->args, "completion"))))
        return cli_usage(cli, "--man and --completion stand alone");
    if (files)
        return write_file(cli, args_text(cli->args, "man"));
    if (first == NULL) {
        command_help_all(cli);
        return GENRUN_OK;
    }
    bool group = command_is_group(cli->commands, first);
    if (group && second == NULL) {
        const struct command *alone = command_find(cli->commands, NULL, first);
        if (alone != NULL)
            command_help(cli, alone);
        else
            command_help_group(cli, first);
        return GENRUN_OK;
    }
    const char *name = group ? second : first;
    const struct command *c = command_find(cli->commands, group ? first : NULL, name);
    if (c != NULL && (group || second == NULL)) {
        command_help(cli, c);
        return GENRUN_OK;
    }
    if (c != NULL)
        return cli_fail(cli, GENRUN_INVALID, "there is no '%s %s': 'genrun help %s' tells of %s", first,
                        second, first, first);
    const char *nearest = command_nearest(cli->commands, group ? first : NULL, name);
    if (nearest != NULL)
        return cli_fail(cli, GENRUN_INVALID, "there is no command '%s': did you mean '%s'?", name, nearest);
    return cli_fail(cli, GENRUN_INVALID, "there is no command '%s': 'genrun help' lists them", name);
}

const struct command cmd_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "tell about a command, or list them",
    .example = "genrun help batch submit",
    .options = help_options,
    .operands_maximum = 2,
    .bare = true,
    .run = help_run,
};
