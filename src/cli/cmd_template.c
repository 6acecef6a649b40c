// SPDX-License-Identifier: MIT
// `template add`, `template list`, `template show`, `template remove`.
#include "base/file.h"
#include "base/mem.h"
#include "cli/rows.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAXIMUM (2u << 20) // the library refuses less with a better word

// ---- add ----

static int read_stdin(struct cli *cli, struct buf *out) {
    char block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, stdin)) > 0 && buf_append(out, block, n))
        ;
    if (ferror(stdin))
        return cli_fail(cli, GENRUN_INVALID, "cannot read standard input (%s): give a file", strerror(errno));
    return GENRUN_OK;
}

static int read_body(struct cli *cli, const char *path, struct buf *out) {
    struct err e = {0};
    if (path == NULL)
        return cli_usage(cli, "--file is missing");
    if (strcmp(path, "-") == 0)
        return read_stdin(cli, out);
    int code = file_read(path, BODY_MAXIMUM, out, &e);
    return code != ERR_OK ? cli_fail(cli, GENRUN_INVALID, "%s", e.message) : GENRUN_OK;
}

static int print_template(struct cli *cli, const char *name) {
    genrun_row *row = NULL;
    int code = genrun_template_get(cli->g, &row, name);
    if (code == GENRUN_OK)
        rows_print_json(row);
    return cli_report(cli, code);
}

static int add(struct cli *cli) {
    char id[GENRUN_ID_SIZE];
    struct buf body;
    const char *path = args_text(cli->args, "file");
    buf_init(&body, BODY_MAXIMUM);
    int code = read_body(cli, path, &body);
    if (code == GENRUN_OK) {
        code = genrun_template_add(cli->g, id, args_operand(cli->args, 0), buf_borrow(&body), body.length,
                                   args_text(cli->args, "type"), args_text(cli->args, "tier"));
        if (code == GENRUN_INVALID)
            cli_fail(cli, code, "%s: %s", strcmp(path, "-") == 0 ? "standard input" : path,
                     genrun_message(cli->g));
        else
            cli_report(cli, code);
    }
    buf_free(&body);
    if (code != GENRUN_OK)
        return code;
    if (cli->json)
        return print_template(cli, id);
    puts(id);
    return GENRUN_OK;
}

static const struct args_option add_options[] = {
    {"file", 0, ARGS_TEXT, "FILE", "the text (-: standard input)", 0, 0},
    {"type", 0, ARGS_TEXT, "T", "for items of this type", 0, 0},
    {"tier", 0, ARGS_TEXT, "T", "for items of this tier", 0, 0},
    ARGS_END,
};

const struct command cmd_template_add = {
    .group = "template",
    .name = "add",
    .operands = "NAME",
    .summary = "keep a request text with {{column}} in it",
    .detail =
        "A file that is a JSON object is a whole request body, any other a prompt. {{column}} is filled at\n"
        "submit from the item's columns (prompt, model, custom_id, topic, tier, type, session_id) and\n"
        "parameters; what is used is not sent as a parameter any more. An item names its template by\n"
        "template_id (name or id) or --template; one without prompt and messages, or with the nil UUID,\n"
        "gets that of its type and tier. A missing column refuses the file, with the line.",
    .example =
        "echo 'Explain {{subject}} to {{who}}.' > explain.txt\n"
        "genrun template add explain --file explain.txt --type explain\n"
        "genrun submit --template explain --param subject=tides --param who=sailors --model echo --wait",
    .options = add_options,
    .operands_minimum = 1,
    .operands_maximum = 1,
    .create = true,
    .run = add,
};

// ---- list ----

static const struct table_column columns[] = {
    {"NAME", false, true},         {"TYPE", false, true},       {"TIER", false, true},
    {"BYTES", true, TABLE_LEAVES}, {"AGE", true, TABLE_LEAVES}, {"ID", false, TABLE_LEAVES},
};

static void fill(struct rows *rows, genrun_row *row) {
    table_cell(rows->table, genrun_row_text(row, "name"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "type"), STYLE_PLAIN);
    table_cell(rows->table, genrun_row_text(row, "tier"), STYLE_PLAIN);
    table_cell_integer(rows->table, genrun_row_integer(row, "bytes", 0));
    rows_cell_age(rows, genrun_row_integer(row, "created_at", 0));
    table_cell(rows->table, genrun_row_text(row, "id"), STYLE_PLAIN);
}

static int list(struct cli *cli) {
    struct rows rows;
    rows_begin(&rows, cli, columns, sizeof columns / sizeof columns[0], fill);
    return rows_end(&rows, genrun_templates(cli->g, rows_each, &rows), "no templates");
}

const struct command cmd_template_list = {
    .group = "template",
    .name = "list",
    .operands = "",
    .summary = "list the templates",
    .example = "genrun template list",
    .run = list,
};

// ---- show, remove ----

static int show(struct cli *cli) {
    genrun_row *row = NULL;
    if (cli->json)
        return print_template(cli, args_operand(cli->args, 0));
    int code = genrun_template_get(cli->g, &row, args_operand(cli->args, 0));
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    const char *body = genrun_row_text(row, "body");
    size_t length = strlen(body);
    if (cli->out.present) {
        struct buf safe;
        buf_init(&safe, BUF_UNLIMITED);
        terminal_write_lines(&safe, body, length, "", 0);
        fputs(buf_borrow(&safe), stdout);
        buf_free(&safe);
    } else {
        fwrite(body, 1, length, stdout);
    }
    genrun_row_free(row);
    return GENRUN_OK;
}

const struct command cmd_template_show = {
    .group = "template",
    .name = "show",
    .operands = "NAME",
    .summary = "print the text of a template",
    .example = "genrun template show explain",
    .operands_minimum = 1,
    .operands_maximum = 1,
    .run = show,
};

static int remove_one(struct cli *cli, const char *name) {
    genrun_row *row = NULL;
    int code = genrun_template_get(cli->g, &row, name);
    if (code == GENRUN_OK)
        code = genrun_template_remove(cli->g, name);
    if (code == GENRUN_OK && cli->json)
        rows_write_json(row);
    else if (code == GENRUN_OK && !cli->quiet)
        printf("%s removed\n", genrun_row_text(row, "name"));
    genrun_row_free(row);
    return cli_report(cli, code);
}

static int take_away(struct cli *cli) {
    return cli_each_operand(cli, remove_one);
}

const struct command cmd_template_remove = {
    .group = "template",
    .name = "remove",
    .operands = "NAME…",
    .summary = "forget templates; what was submitted with them stays as it is",
    .example = "genrun template remove explain",
    .operands_minimum = 1,
    .operands_maximum = COMMAND_ANY_OPERANDS,
    .run = take_away,
};
