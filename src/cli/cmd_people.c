// SPDX-License-Identifier: MIT
// `user set`, `session set`, `project set`: names for reports.
#include "cli/rows.h"
#include <stdio.h>

static int show_set(struct cli *cli, int code, genrun_row *row) {
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json) {
        rows_print_json(row);
        return code;
    }
    if (!cli->quiet)
        printf("%s set\n", genrun_row_text(row, "id"));
    genrun_row_free(row);
    return code;
}

static const struct args_option user_options[] = {
    {"name", 0, ARGS_TEXT, "N", "the name to show", 0, 0},
    {"username", 0, ARGS_TEXT, "N", "the name to log in with", 0, 0},
    {"email", 0, ARGS_TEXT, "E", "the address", 0, 0},
    ARGS_END,
};

static int run_user(struct cli *cli) {
    const char *name = args_text(cli->args, "name"), *username = args_text(cli->args, "username"),
               *email = args_text(cli->args, "email");
    genrun_row *row = NULL;
    if (name == NULL && username == NULL && email == NULL)
        return cli_usage(cli, "'user set' needs --name, --username or --email");
    int code = genrun_user_set(cli->g, &row, args_operand(cli->args, 0), name, username, email);
    return show_set(cli, code, row);
}

static const struct args_option session_options[] = {
    {"name", 0, ARGS_TEXT, "N", "the name to show", 0, 0},
    {"project", 0, ARGS_TEXT, "P", "the id of the project that it belongs to", 0, 0},
    {"user", 0, ARGS_TEXT, "U", "the id of its user", 0, 0},
    ARGS_END,
};

static int run_session(struct cli *cli) {
    const char *name = args_text(cli->args, "name"), *project = args_text(cli->args, "project"),
               *user = args_text(cli->args, "user");
    genrun_row *row = NULL;
    if (name == NULL && project == NULL && user == NULL)
        return cli_usage(cli, "'session set' needs --name, --project or --user");
    int code = genrun_session_set(cli->g, &row, args_operand(cli->args, 0), name, project, user);
    return show_set(cli, code, row);
}

static const struct args_option project_options[] = {
    {"name", 0, ARGS_TEXT, "N", "the name to show", 0, 0},
    {"user", 0, ARGS_TEXT, "U", "the id of its user", 0, 0},
    ARGS_END,
};

static int run_project(struct cli *cli) {
    const char *name = args_text(cli->args, "name"), *user = args_text(cli->args, "user");
    genrun_row *row = NULL;
    if (name == NULL && user == NULL)
        return cli_usage(cli, "'project set' needs --name or --user");
    int code = genrun_project_set(cli->g, &row, args_operand(cli->args, 0), name, user);
    return show_set(cli, code, row);
}

const struct command cmd_user_set = {
    .group = "user",
    .name = "set",
    .operands = "ID",
    .summary = "give a user a name for reports",
    .detail = "ID is what --user of submit says. What is not given stays as it was.",
    .example = "genrun user set u-17 --name \"Ann Alder\" --email ann@example.org",
    .options = user_options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .create = true,
    .run = run_user,
};

const struct command cmd_session_set = {
    .group = "session",
    .name = "set",
    .operands = "ID",
    .summary = "give a session a name and a project for reports",
    .detail = "ID is what --session of submit says. What is not given stays as it was.",
    .example = "genrun session set s-3 --name \"Monday drafts\" --project p-1",
    .options = session_options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .create = true,
    .run = run_session,
};

const struct command cmd_project_set = {
    .group = "project",
    .name = "set",
    .operands = "ID",
    .summary = "give a project a name for reports",
    .detail = "ID is what --project of session set says. What is not given stays as it was.",
    .example = "genrun project set p-1 --name \"Spring catalogue\"",
    .options = project_options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .create = true,
    .run = run_project,
};
