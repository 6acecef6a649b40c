// SPDX-License-Identifier: MIT
// `key add`, `key list`, `key revoke`: the keys of the HTTP API.
#include "base/mem.h"
#include "cli/rows.h"
#include <stdio.h>
#include <string.h>

// ---- add ----

static const struct args_option add_options[] = {
    {"user", 0, ARGS_TEXT, "U", "whose key it is: it sees and touches only what is theirs", 0, 0},
    {"role", 0, ARGS_CHOICE, "admin|user",
     "an admin sees and does all; by default user with --user, else admin", 0, 0},
    {"name", 0, ARGS_TEXT, "N", "what it is for, to tell it from others", 0, 0},
    ARGS_END,
};

// The key itself is the last line of stdout, or a member of its row.
static void print_key(const struct cli *cli, genrun_row *row, const char *key) {
    const char *json = genrun_row_json(row);
    if (cli->json)
        printf("%.*s,\"key\":\"%s\"}\n", (int)strlen(json) - 1, json, key);
    else
        printf("%s\n", key);
}

static int run_add(struct cli *cli) {
    char key[GENRUN_KEY_SIZE];
    genrun_row *row = NULL;
    const char *user = args_text(cli->args, "user"), *role = args_text(cli->args, "role");
    if (role != NULL && strcmp(role, "user") == 0 && user == NULL)
        return cli_usage(cli, "--role user needs --user");
    int code = genrun_key_add(cli->g, key, &row, user, role, args_text(cli->args, "name"));
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    print_key(cli, row, key);
    cli_out_flush(cli);
    cli_note(cli, "key %s: only its hash is kept, so store it now", genrun_row_text(row, "id"));
    genrun_row_free(row);
    explicit_bzero(key, sizeof key);
    return code;
}

const struct command cmd_key_add = {
    .group = "key",
    .name = "add",
    .operands = "",
    .summary = "make a key for the HTTP API and print it, this once",
    .detail =
        "Clients send it as Authorization: Bearer KEY; the OpenAI clients call it api_key. It works at once, "
        "also\n"
        "with a server that runs. An admin's key sees all, whoever's it is.",
    .example = "genrun key add --user ann --name \"Ann's laptop\"\n"
               "genrun key add --name cronjob",
    .options = add_options,
    .create = true,
    .run = run_add,
};

// ---- list ----

static const struct table_column columns[] = {
    {"ID", false, false},           {"ROLE", false, false}, {"USER", false, TABLE_LEAVES},
    {"NAME", false, TABLE_LEAVES},  {"AGE", true, false},   {"USED", true, TABLE_LEAVES},
    {"STATE", false, TABLE_LEAVES},
};

static void fill(struct rows *rows, genrun_row *row) {
    bool is_revoked = genrun_row_integer(row, "revoked_at", 0) != 0;
    int64_t used_at = genrun_row_integer(row, "last_used_at", 0);
    table_cell_id(rows->table, genrun_row_text(row, "id"));
    table_cell(rows->table, genrun_row_text(row, "role"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "user_id"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    rows_cell_age(rows, genrun_row_integer(row, "created_at", 0));
    if (used_at != 0)
        rows_cell_age(rows, used_at);
    else
        table_cell(rows->table, "never", STYLE_PLAIN);
    table_cell(rows->table, is_revoked ? "revoked" : "good", is_revoked ? STYLE_WARN : STYLE_GOOD);
}

static int run_list(struct cli *cli) {
    struct rows rows;
    rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
    return rows_end(&rows, genrun_keys(cli->g, rows_each, &rows),
                    "there is no key: 'genrun key add' makes one");
}

const struct command cmd_key_list = {
    .group = "key",
    .name = "list",
    .operands = "",
    .summary = "list the keys of the HTTP API",
    .detail = "The keys themselves are not known: only their hashes are kept.",
    .example = "genrun key list",
    .run = run_list,
};

// ---- revoke ----

static int revoke_one(struct cli *cli, const char *id) {
    int code = genrun_key_revoke(cli->g, id);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    if (cli->json)
        printf("{\"id\":\"%s\",\"revoked\":true}\n", id); // it is hex digits and hyphens
    else if (!cli->quiet)
        printf("%s revoked\n", id);
    return code;
}

static int run_revoke(struct cli *cli) {
    return cli_each_operand(cli, revoke_one);
}

const struct command cmd_key_revoke = {
    .group = "key",
    .name = "revoke",
    .operands = "ID…",
    .summary = "refuse a key from now on",
    .detail = "It counts at once, also for a server that runs. It cannot be undone: make another key.",
    .example = "genrun key revoke 4f1c22ab",
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = run_revoke,
};
