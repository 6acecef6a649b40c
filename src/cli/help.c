// SPDX-License-Identifier: MIT
// Help, made of the entries of the commands.
#include "base/text.h"
#include "cli/command.h"
#include <stdio.h>
#include <string.h>

#define HELP_WIDTH 80

static void write_usage(struct buf *out, const struct command *c) {
    size_t before = out->length;
    buf_format(out, "genrun %s%s%s", c->group != NULL ? c->group : "", c->group != NULL ? " " : "", c->name);
    if (c->operands[0] != '\0')
        buf_format(out, " %s", c->operands);
    size_t indent = strlen("Usage: genrun ");
    args_write_usage(out, c->options, strlen("Usage: ") + out->length - before, indent, HELP_WIDTH);
    buf_char(out, '\n');
}

static void write_summary(struct buf *out, const struct command *c) {
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", c->group != NULL ? c->group : "", c->group != NULL ? " " : "",
             c->name);
    buf_format(out, "  %-14s  %s\n", name, c->summary);
}

void command_help(const struct cli *cli, const struct command *command) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "Usage: ");
    write_usage(&out, command);
    const char *summary = command->summary; // begins with a small ASCII letter, for the list
    buf_format(&out, "\n%c%s.\n", summary[0] - 'a' + 'A', summary + 1);
    if (command->detail != NULL)
        buf_format(&out, "\n%s\n", command->detail);
    if (command->options != NULL && command->options[0].name != NULL) {
        buf_text(&out, "\nOptions\n");
        args_write_help(&out, command->options);
    }
    buf_text(&out, "\nEverywhere\n");
    args_write_help(&out, command_globals);
    buf_text(&out, "\nExample\n");
    terminal_write_lines(&out, command->example, strlen(command->example), "  ", 0);
    // A command that is a group, too, such as models.
    if (command->group == NULL && command_is_group(cli->commands, command->name)) {
        buf_text(&out, "\nCommands\n");
        for (const struct command *const *c = cli->commands; *c != NULL; c++)
            if ((*c)->group != NULL && strcmp((*c)->group, command->name) == 0)
                write_summary(&out, *c);
    }
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
}

void command_help_group(const struct cli *cli, const char *group) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_format(&out, "Usage: genrun %s COMMAND [ARGUMENT …]\n\n", group);
    for (const struct command *const *c = cli->commands; *c != NULL; c++)
        if ((*c)->group != NULL && strcmp((*c)->group, group) == 0)
            write_summary(&out, *c);
    buf_format(&out, "\n'genrun help %s COMMAND' shows the options of one and an example.\n", group);
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
}

void command_help_all(const struct cli *cli) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "Usage: genrun [-c FILE] [-d DATABASE] [--json] [-q | -v] COMMAND [ARGUMENT …]\n"
                   "       genrun help [COMMAND]\n"
                   "       genrun --version\n\n"
                   "Runs AI generations from one SQLite file and never leaves one stuck.\n\nCommands\n");
    for (const struct command *const *c = cli->commands; *c != NULL; c++)
        write_summary(&out, *c);
    buf_text(&out, "\nOptions of all commands, before or after their names\n");
    args_write_help(&out, command_globals);
    buf_text(&out, "\nAn id is given whole or by its last 8 or more characters. Durations: 90s 5m 3h 7d.\n"
                   "Exit codes: 0 done, 1 the work failed, 2 refused input, 3 configuration, 4 not found,\n"
                   "5 conflict, 6 database, 7 remote.\n"
                   "\nExample\n"
                   "  printf 'Name a colour\\nName a fruit\\n' > prompts.txt\n"
                   "  genrun batch submit prompts.txt --model echo --wait\n");
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
}

// ---- the command ----

static int help_run(struct cli *cli) {
    const char *first = args_operand(cli->args, 0), *second = args_operand(cli->args, 1);
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
    .operands_maximum = 2,
    .bare = true,
    .run = help_run,
};
