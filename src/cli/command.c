// SPDX-License-Identifier: MIT
// What all commands share: how they fail, how their output ends, how they are
// found by name.
#include "cli/command.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct args_option command_globals[] = {
    {"config", 'c', ARGS_TEXT, "FILE", "the configuration (else $GENRUN_CONFIG, ./genrun.ini, …)", 0, 0},
    {"database", 'd', ARGS_TEXT, "DATABASE", "the database file (else as the configuration says)", 0, 0},
    {"json", 0, ARGS_FLAG, NULL, "print JSON objects, one a line, and nothing else, on stdout", 0, 0},
    {"quiet", 'q', ARGS_FLAG, NULL, "no progress, no notes: only results and errors", 0, 0},
    {"verbose", 'v', ARGS_FLAG, NULL, "tell more on stderr", 0, 0},
    {"help", 'h', ARGS_FLAG, NULL, "show this help", 0, 0},
    {"version", 0, ARGS_FLAG, NULL, "show the versions of the program and its libraries", 0, 0},
    ARGS_END,
};

// ---- failing ----

// Prints a message, each of its lines behind "genrun: ".
static void print_message(const char *message) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    terminal_write_lines(&out, message, strlen(message), "genrun: ", 0);
    fputs(buf_borrow(&out), stderr);
    buf_free(&out);
}

__attribute__((format(printf, 1, 0))) static void print_formatted(const char *format, va_list list) {
    char *message = NULL;
    if (vasprintf(&message, format, list) < 0)
        message = NULL;
    print_message(message != NULL ? message : format);
    free(message);
}

int cli_fail(const struct cli *cli, int code, const char *format, ...) {
    (void)cli;
    va_list list;
    va_start(list, format);
    print_formatted(format, list);
    va_end(list);
    return code;
}

int cli_report(const struct cli *cli, int code) {
    if (code != GENRUN_OK) {
        const char *message = genrun_message(cli->g);
        if (message[0] != '\0')
            print_message(message);
    }
    return code;
}

void cli_note(const struct cli *cli, const char *format, ...) {
    if (cli->quiet)
        return;
    va_list list;
    va_start(list, format);
    print_formatted(format, list);
    va_end(list);
}

int cli_usage(const struct cli *cli, const char *format, ...) {
    char *message = NULL;
    va_list list;
    va_start(list, format);
    if (vasprintf(&message, format, list) < 0)
        message = NULL;
    va_end(list);
    const struct command *c = cli->command;
    cli_fail(cli, GENRUN_INVALID, "%s: 'genrun help%s%s%s%s' shows how", message != NULL ? message : format,
             c != NULL && c->group != NULL ? " " : "", c != NULL && c->group != NULL ? c->group : "",
             c != NULL ? " " : "", c != NULL ? c->name : "");
    free(message);
    return GENRUN_INVALID;
}

// ---- the end of the output ----

bool cli_out_ok(struct cli *cli) {
    if (!ferror(stdout))
        return true;
    if (cli->out_error == 0)
        cli->out_error = errno != 0 ? errno : EIO;
    return false;
}

bool cli_out_flush(struct cli *cli) {
    errno = 0;
    if (fflush(stdout) != 0 && cli->out_error == 0)
        cli->out_error = errno != 0 ? errno : EIO;
    // Of an earlier write the stream only remembers that it failed, not why: one more byte asks.
    if (ferror(stdout) && cli->out_error == 0)
        cli->out_error = write(STDOUT_FILENO, "\n", 1) < 0 ? errno : EIO;
    return cli_out_ok(cli);
}

// True when stdout is a pipe or socket whose reader has gone.
static bool reader_has_gone(void) {
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

int cli_out_end(struct cli *cli, int code) {
    if (cli_out_flush(cli))
        return code;
    // The error stays on the stream while its number may be lost, so the pipe itself is asked too.
    if (cli->out_error == EPIPE || reader_has_gone())
        return code;
    cli_fail(cli, GENRUN_WORK_FAILED,
             "cannot write to standard output (%s): the output is not complete, free "
             "space or write elsewhere",
             strerror(cli->out_error));
    return code != GENRUN_OK ? code : GENRUN_WORK_FAILED;
}

// ---- finding ----

static bool same_group(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

const struct command *command_find(const struct command *const *commands, const char *group,
                                   const char *name) {
    for (; *commands != NULL; commands++)
        if (same_group((*commands)->group, group) && strcmp((*commands)->name, name) == 0)
            return *commands;
    return NULL;
}

bool command_is_group(const struct command *const *commands, const char *name) {
    for (; *commands != NULL; commands++)
        if ((*commands)->group != NULL && strcmp((*commands)->group, name) == 0)
            return true;
    return false;
}

const char *command_nearest(const struct command *const *commands, const char *group, const char *name) {
    size_t count = 0;
    while (commands[count] != NULL)
        count++;
    const char **names = mem_alloc(count + 1, sizeof *names);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (same_group(commands[i]->group, group))
            names[used++] = commands[i]->name;
        else if (group == NULL)
            names[used++] = commands[i]->group;
    }
    const char *nearest = text_nearest(name, names, used);
    free(names);
    return nearest;
}

int cli_each_operand(struct cli *cli, int (*one)(struct cli *cli, const char *operand)) {
    int worst = GENRUN_OK;
    for (size_t i = 0; i < args_operand_count(cli->args); i++) {
        cli_out_flush(cli); // so that lines and errors come in order
        int code = one(cli, args_operand(cli->args, i));
        if (code > worst)
            worst = code;
    }
    return worst;
}
