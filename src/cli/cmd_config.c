// SPDX-License-Identifier: MIT
// `config show`, `config check`: the configuration as it holds, and whether it can be used.
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/rows.h"
#include "lib/config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASSIGNMENT_WIDTH 44 // columns up to the comment

struct showing {
    struct cli *cli;
    char *section; // the last one whose head was printed
};

// ---- show ----

static int show_json(void *payload, const struct config_entry *entry) {
    struct showing *s = payload;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_char(&out, '{');
    json_write_member_text(&out, "section", entry->section);
    json_write_member_text(&out, "option", entry->name);
    json_write_member_text(&out, "value", entry->value);
    json_write_member_text(&out, "origin", entry->origin);
    json_write_member_text(&out, "default", entry->info->preset[0] != '\0' ? entry->info->preset : NULL);
    json_write_member_text(&out, "note", entry->note);
    buf_char(&out, '}');
    puts(buf_borrow(&out));
    buf_free(&out);
    return !cli_out_ok(s->cli);
}

// "option = value    ; origin". Behind a # stands what genrun.ini need not, or cannot, have: what has no value, and
// models that are there without a section.
static int show_line(void *payload, const struct config_entry *entry) {
    struct showing *s = payload;
    const struct terminal *t = &s->cli->out;
    struct buf line, comment;
    if (s->section == NULL || strcmp(s->section, entry->section) != 0) {
        printf("%s%s%s[%s]%s%s\n", s->section != NULL ? "\n" : "", entry->implied ? "#" : "",
               terminal_style(t, STYLE_BOLD), entry->section, terminal_reset(t, STYLE_BOLD),
               entry->implied ? "  ; there without a section" : "");
        free(s->section);
        s->section = mem_copy(entry->section);
    }
    buf_init(&line, BUF_UNLIMITED);
    buf_init(&comment, BUF_UNLIMITED);
    buf_format(&line, "%s%s", entry->implied || entry->value == NULL ? "#" : "", entry->name);
    if (entry->value != NULL) {
        buf_text(&line, " = ");
        text_escape(&line, entry->value, strlen(entry->value), 0);
    }
    buf_text(&comment, entry->origin);
    if (entry->note != NULL)
        buf_format(&comment, ", %s", entry->note);
    else if (entry->value == NULL)
        buf_format(&comment, ": %s", entry->info->unset);
    printf("%-*s  %s; ", ASSIGNMENT_WIDTH, buf_borrow(&line), terminal_style(t, STYLE_DIM));
    printf("%s%s\n", buf_borrow(&comment), terminal_reset(t, STYLE_DIM));
    buf_free(&line);
    buf_free(&comment);
    return !cli_out_ok(s->cli);
}

static int run_show(struct cli *cli) {
    struct config *config = NULL;
    struct err e = {0};
    struct showing showing = {.cli = cli};
    if (config_load(&config, cli->config, cli->database, &e) != ERR_OK)
        return cli_fail(cli, (int)e.code, "%s", e.message);
    if (!cli->json)
        printf("; %s\n", config->path != NULL ? config->path : "no configuration file was found");
    config_each(config, cli->json ? show_json : show_line, &showing);
    free(showing.section);
    config_free(config);
    return GENRUN_OK;
}

const struct command cmd_config_show = {
    .group = "config",
    .name = "show",
    .operands = "",
    .summary = "show every option as it holds and where it comes from",
    .detail =
        "The form is that of genrun.ini and can be read as one. Keys are never shown, only whether they are\n"
        "there: 'set (from env X)' or 'missing'.",
    .example = "genrun config show",
    .bare = true,
    .run = run_show,
};

// ---- check ----

struct checking {
    struct cli *cli;
    size_t note_count;
    struct buf mistakes, notes; // JSON lists, still open
};

static void tell(void *payload, bool is_mistake, const char *line) {
    struct checking *c = payload;
    struct buf *list = is_mistake ? &c->mistakes : &c->notes;
    c->note_count += !is_mistake;
    buf_char(list, list->length == 0 ? '[' : ',');
    json_write_text(list, line);
    if (c->cli->json)
        return;
    if (is_mistake)
        cli_fail(c->cli, GENRUN_CONFIG, "%s", line);
    else
        cli_note(c->cli, "note: %s", line);
}

static void print_check(struct checking *c, bool is_fine) {
    if (c->cli->json)
        printf("{\"fine\":%s,\"mistakes\":%s],\"notes\":%s]}\n", is_fine ? "true" : "false",
               c->mistakes.length > 0 ? buf_borrow(&c->mistakes) : "[",
               c->notes.length > 0 ? buf_borrow(&c->notes) : "[");
    else if (is_fine)
        printf(c->note_count == 0 ? "the configuration is fine\n"
                                  : "the configuration is fine, but see the notes\n");
}

static int run_check(struct cli *cli) {
    struct checking checking = {.cli = cli};
    buf_init(&checking.mistakes, BUF_UNLIMITED);
    buf_init(&checking.notes, BUF_UNLIMITED);
    int code = config_check(cli->config, cli->database, tell, &checking);
    print_check(&checking, code == ERR_OK);
    buf_free(&checking.mistakes);
    buf_free(&checking.notes);
    return code;
}

const struct command cmd_config_check = {
    .group = "config",
    .name = "check",
    .operands = "",
    .summary = "tell every mistake of the configuration, and what it names that cannot be used",
    .detail =
        "Exits with 3 when there is any. What may be set where the runner is started, such as a key in the\n"
        "environment, is only noted. With --json: one object with both lists.",
    .example = "genrun -c genrun.ini config check",
    .bare = true,
    .run = run_check,
};
