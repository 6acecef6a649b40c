// SPDX-License-Identifier: MIT
#include "cli/man.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/help.h"
#include "cli/mdoc.h"
#include "lib/config.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct term {
    const char *name;
    const char *text;
};

static const struct term states[] = {
    {"queued", "Waits for a runner: for the first time, for a retry, for a limit to pass, or parked, because "
               "its model is "
               "known to be down, unpaid or unauthorised."},
    {"processing", "A runner has it."},
    {"completed", "It has its outputs. This is final."},
    {"failed", "It has an error with a type, a message and a time. A retry queues it again."},
    {"cancelled", "By a person, or with its batch job. A retry queues it again."},
    {NULL, NULL},
};

static const struct term variables[] = {
    {"GENRUN_CONFIG", "The configuration file, where -c names none."},
    {"GENRUN_<OPTION>, GENRUN_<SECTION>_<OPTION>", "An option of [genrun], or of another section without a "
                                                   "name. It counts more than the file; see genrun.ini(5)."},
    {"OPENAI_BASE_URL, OPENAI_API_KEY",
     "Without any model in the configuration: the server that serves every model, and its key."},
    {"INTERNAL_API_SECRET",
     "The admin secret of the HTTP API, unless [http] names another variable or a file."},
    {"XDG_CONFIG_HOME, XDG_DATA_HOME, HOME", "Where configuration and database are looked for."},
    {"TMPDIR", "Where a large file that is submitted keeps the custom ids that it has seen (/tmp)."},
    {"NO_COLOR", "When it is set and not empty, nothing is coloured."},
    {"NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID", "Set by systemd(1): run tells it when it is ready, what "
                                                   "it does, that its loop turns and that it stops."},
    {"JOURNAL_STREAM", "Set by systemd(1): lines of the log that go to the journal carry their priority."},
    {"CREDENTIALS_DIRECTORY",
     "Set by systemd(1): the folder of LoadCredential, which api_key_file and admin_key_file may name."},
    {NULL, NULL},
};

static void write_terms(struct buf *out, const char *macro, const struct term *terms) {
    mdoc_list_begin(out);
    for (; terms->name != NULL; terms++)
        mdoc_item(out, macro, terms->name, terms->text);
    mdoc_list_end(out);
}

// ---- genrun(1) ----

// A summary or detail begins with a small letter where it stands in a list.
static void write_sentence(struct buf *out, const char *text) {
    char *sentence = mem_format("%c%s.", toupper((unsigned char)text[0]), text + 1);
    mdoc_text(out, sentence);
    free(sentence);
}

static void write_command(struct buf *out, const struct command *c) {
    const char *group = c->group != NULL ? c->group : "", *space = c->group != NULL ? " " : "";
    buf_format(out, ".Ss genrun %s%s%s\n.Nm\n.Cm %s%s%s", group, space, c->name, group, space, c->name);
    mdoc_operands(out, c->operands);
    buf_char(out, '\n');
    mdoc_usage(out, c->options);
    buf_text(out, ".Pp\n");
    write_sentence(out, c->summary);
    if (c->detail != NULL)
        mdoc_text(out, c->detail);
    mdoc_options(out, c->options);
    mdoc_example(out, c->example);
}

static void write_synopsis(struct buf *out) {
    buf_text(out, ".Sh SYNOPSIS\n.Nm\n"
                  ".Op Fl c Ar FILE\n.Op Fl d Ar DATABASE\n.Op Fl -json\n.Op Fl q | Fl v\n"
                  ".Ar COMMAND\n.Op Ar ARGUMENT ...\n"
                  ".Nm\n.Cm help\n.Op Ar COMMAND\n"
                  ".Nm\n.Fl -version\n");
}

static void write_description(struct buf *out) {
    buf_text(out, ".Sh DESCRIPTION\n");
    write_sentence(out, help_purpose);
    buf_text(out, ".Pp\n");
    mdoc_text(
        out,
        "The program stores generations (any call of a model), alone or as batch jobs, runs them against "
        "their models, keeps "
        "the outputs and shows at any time what happened, why, and what to do next. Every "
        "generation that was "
        "accepted ends as completed, failed with a precise reason, or cancelled; none is lost, "
        "none is stuck, and no "
        "committed result is paid for twice.");
    buf_text(out, ".Pp\nOptions and operands stand in any order; behind\n.Fl -\nall are operands.\n");
    mdoc_text(out, help_values);
    buf_text(out, ".Pp\nOptions of all commands:\n");
    mdoc_options(out, command_globals);
}

static void write_files(struct buf *out) {
    buf_text(out, ".Sh FILES\nThe first of these that is found is the configuration; none is fine:\n"
                  ".Bl -bullet -compact\n");
    for (const char *const *place = option_places; *place != NULL; place++) {
        buf_text(out, ".It\n");
        mdoc_text(out, *place);
    }
    buf_text(out, ".El\n.Pp\n");
    mdoc_text(out, "The database is one file, by default genrun.db beside the configuration or, without one, "
                   "$XDG_DATA_HOME/genrun/genrun.db (~/.local/share/genrun/genrun.db). While it is in use, "
                   "files whose names "
                   "end in -wal and -shm belong to it.");
    buf_text(out, ".Pp\n");
    mdoc_text(
        out,
        "Files that were uploaded over HTTP are in the folder data_dir, by default beside the database and "
        "named as it is with .files behind. They are removed when they are deleted or have expired.");
}

static void write_exits(struct buf *out) {
    buf_text(out, ".Sh EXIT STATUS\n");
    mdoc_list_begin(out);
    for (const struct help_exit *e = help_exits; e->brief != NULL; e++) {
        buf_format(out, ".It %d\n", e->code);
        write_sentence(out, e->brief);
        mdoc_text(out, e->detail);
    }
    mdoc_list_end(out);
}

void man_write_program(struct buf *out, const struct command *const *commands) {
    mdoc_begin(out, "GENRUN", "1", "genrun", help_purpose);
    write_synopsis(out);
    write_description(out);
    buf_text(out, ".Sh COMMANDS\n");
    for (; *commands != NULL; commands++)
        write_command(out, *commands);
    buf_text(
        out,
        ".Sh STATES\nA generation is in one of these states; the database refuses every change that is not "
        "told here.\n");
    write_terms(out, "Cm", states);
    buf_text(out, ".Sh ENVIRONMENT\n");
    write_terms(out, "Ev", variables);
    write_files(out);
    write_exits(out);
    buf_text(out, ".Sh EXAMPLES\nTwo prompts, answered by the model that is built in:\n");
    mdoc_example(out, help_example);
    buf_text(out, ".Sh SEE ALSO\n.Xr sqlite3 1 ,\n.Xr genrun.ini 5\n");
}

// ---- genrun.ini(5) ----

static void write_option(struct buf *out, const struct option_info *info) {
    struct buf facts;
    buf_init(&facts, BUF_UNLIMITED);
    option_write_facts(&facts, info);
    buf_char(&facts, '.');
    mdoc_item(out, "Ic", info->name, info->help);
    buf_text(out, ".Pp\nTakes: ");
    mdoc_text(out, buf_borrow(&facts));
    buf_free(&facts);
    if (info->example != NULL)
        mdoc_example(out, info->example);
}

static void write_section(struct buf *out, const char *section) {
    buf_text(out, ".Ss");
    char *name = mem_format("[%s]", section);
    mdoc_word(out, name);
    free(name);
    buf_char(out, '\n');
    if (strchr(section, ' ') != NULL)
        mdoc_text(out, text_starts_with(section, "webhook") ? option_webhooks : option_models);
    mdoc_list_begin(out);
}

static void write_options(struct buf *out) {
    const struct option_info *info;
    const char *section = "";
    for (size_t i = 0; (info = option_at(i)) != NULL; i++) {
        if (strcmp(section, info->section) != 0) {
            if (section[0] != '\0')
                mdoc_list_end(out);
            section = info->section;
            write_section(out, section);
        }
        write_option(out, info);
    }
    mdoc_list_end(out);
}

void man_write_configuration(struct buf *out) {
    mdoc_begin(out, "GENRUN.INI", "5", "genrun.ini", "configuration of genrun");
    buf_text(out, ".Sh DESCRIPTION\nThe configuration of\n.Xr genrun 1 .\n");
    mdoc_text(
        out,
        "It has sections in brackets, and in them options: name = value. A line that begins with # or ; is "
        "a comment. An unknown section or option, a bad value and an option given twice are refused with "
        "file "
        "and line. None of the options is needed.");
    buf_text(out, ".Pp\n");
    for (const char *const *rule = option_rules; *rule != NULL; rule++)
        mdoc_text(out, *rule);
    write_options(out);
    write_files(out);
    buf_text(out, ".Sh EXAMPLES\nA model of OpenAI's, eight requests at a time:\n");
    mdoc_example(out, "[genrun]\n"
                      "default_model = gpt-4o-mini\n\n"
                      "[scheduler]\n"
                      "concurrency = 8\n\n"
                      "[model gpt-4o-mini]\n"
                      "base_url = https://api.openai.com/v1\n"
                      "api_key_env = OPENAI_API_KEY\n");
    buf_text(out, ".Sh SEE ALSO\n.Xr genrun 1\n");
}
