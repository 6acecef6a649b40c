// SPDX-License-Identifier: MIT
// A command is one const entry: its name, what it is for, its options and the
// function that does it. main.c lists them all; dispatch, usage and help read the
// entries. To add one: a file cmd_NAME.c with its entry, and its name in that list.
#ifndef GENRUN_CLI_COMMAND_H
#define GENRUN_CLI_COMMAND_H

#include "base/err.h"
#include "cli/args.h"
#include "cli/terminal.h"
#include "genrun.h"
#include <stdbool.h>

struct cli;

struct command {
    const char *group; // "batch" for `batch submit`; NULL: none
    const char *name;
    const char *operands; // as usage shows them: "[PROMPT | -]"; "": none
    const char *summary;  // one line for the list of commands, no full stop
    const char *detail;   // more for help NAME; NULL: none
    const char *example;  // one line or more, as typed
    const struct args_option *options;
    size_t operands_minimum;
    size_t operands_maximum;
    bool create; // makes the database when there is none
    bool bare;   // needs no database
    int (*run)(struct cli *cli);
};
#define COMMAND_ANY_OPERANDS ((size_t)-1)

extern const struct args_option command_globals[]; // -c -d --json -q -v, --help, --version

// What a command works with.
struct cli {
    const struct command *const *commands; // all, NULL-terminated
    const struct command *command;
    const struct args *args;
    const char *config;
    const char *database;
    bool json;
    bool quiet;
    bool verbose;
    struct terminal out; // stdout
    genrun *g;           // opened unless the command is bare
    int out_error;       // errno of the first failed write to stdout, 0: none
    // What `run` calls (serve.h): the faces do not know each other, so main.c brings them together.
    int (*serve)(struct cli *cli, const genrun_run_options *options, const char *listen, bool http);
};

// Prints "genrun: message" on stderr and returns the code.
int cli_fail(const struct cli *cli, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
// The same with the handle's reason for `code`; returns the code. Nothing for 0.
int cli_report(const struct cli *cli, int code);
// Prints a note on stderr, unless -q.
void cli_note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
// True when stdout took all that was written so far; on false a list may end. The reason is kept.
bool cli_out_ok(struct cli *cli);
// The same after a flush: for where something on stderr follows.
bool cli_out_flush(struct cli *cli);
// Flushes stdout, and with cli_out_ok ends a command's output. Returns `code`, or 0 when the reader has
// gone (a pipe closed early), or 1 after saying that a write failed.
int cli_out_end(struct cli *cli, int code);

// Does `one` for each operand, in order, and returns the worst code: the numbers rise with the weight.
int cli_each_operand(struct cli *cli, int (*one)(struct cli *cli, const char *operand));

// The model of the errors of usage: "what: genrun help NAME shows …", code 2.
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The entry of a group and a name (group NULL: none); NULL when there is none.
const struct command *command_find(const struct command *const *commands, const char *group,
                                   const char *name);
bool command_is_group(const struct command *const *commands, const char *name);
// The nearest name among those of the group (and among the groups, where group is NULL); NULL: none is near.
const char *command_nearest(const struct command *const *commands, const char *group, const char *name);
// Prints help to stdout: of one command, of a group, or of all.
void command_help(const struct cli *cli, const struct command *command);
void command_help_group(const struct cli *cli, const char *group);
void command_help_all(const struct cli *cli);

#endif
