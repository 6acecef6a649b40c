// SPDX-License-Identifier: MIT
#include "http/words.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define COMMAND "'genrun "

// What serves for a command; * stands for its argument. The first that fits counts.
static const struct {
    const char *command, *path;
} commands[] = {
    {"batch list", "GET /api/batch-jobs"},
    {"batch retry", "POST /api/batch-jobs/*/retry"},
    {"batch show", "GET /api/batch-jobs/*"},
    {"cancel", "POST /api/generations/*/cancel"},
    {"dismiss --undo", "POST /api/generations/*/dismiss with {\"undo\":true}"},
    {"failures --by type --since 3650d", "GET /api/failures?by=type&since=3650d"},
    {"job cleanup_stuck_generation", "POST /api/admin/jobs/cleanup_stuck_generation"},
    {"job list", "GET /api/jobs"},
    {"list", "GET /api/generations"},
    {"locks release", "POST /api/locks/{name}/release"},
    {"locks", "GET /api/locks"},
    {"models resume", "POST /api/models/*/resume"},
    {"models", "GET /api/models"},
    {"output", "GET /api/generations/*/outputs/0"},
    {"retry", "POST /api/generations/*/retry"},
    {"show", "GET /api/generations/*"},
    {"template list", "GET /api/templates"},
    {"webhook deliveries NAME", "GET /api/webhooks/{name}/deliveries"},
    {"webhook deliveries", "GET /api/webhooks/*/deliveries"},
    // No request does what these do: they are the operator's.
    {"key add", "the operator of the server"},
    {"key list", "the operator of the server"},
    {"run", "the operator of the server"},
    {"template add", "the operator of the server"},
    {"user set", "the operator of the server"},
    {"webhook list", "the operator of the server"},
};

static const char *const phrases[][2] = {
    {"try it with --model echo", "try it with modelId echo"},
    {"name one with --model", "give modelId"},
    {"say --format ", "give format "},
    {" or --format ", " or "},
    {"use another key", "use another clientId"},
};

// Of an item: what the import says of lines.
static const char *const of_items[][2] = {
    {"give each line", "give each item"},
    {"every line", "every item"},
    {"as one JSON object in one line", "as one JSON object"},
};
static const char *const columns[][2] = {{"model", "modelId"},
                                         {"model_id", "modelId"},
                                         {"custom_id", "customId"},
                                         {"template_id", "templateId"},
                                         {"session_id", "sessionId"}};

// Behind what fits at `at`, its place in *found; NULL when nothing does.
static const char *find_phrase(const char *at, const char *const list[][2], size_t count, size_t *found) {
    for (size_t i = 0; i < count; i++)
        if (text_starts_with(at, list[i][0])) {
            *found = i;
            return at + strlen(list[i][0]);
        }
    return NULL;
}

// Appends what serves for the quoted command at `at`; the end of the quote, or NULL: it is no command that is known.
static const char *write_command(struct buf *out, const char *at) {
    const char *end = strchr(at + 1, '\'');
    at += strlen(COMMAND);
    for (size_t i = 0; end && i < sizeof commands / sizeof *commands; i++) {
        size_t length = strlen(commands[i].command);
        if (!text_starts_with(at, commands[i].command) || (at[length] != ' ' && at[length] != '\''))
            continue;
        const char *argument = at + length + (at[length] == ' ');
        for (const char *c = commands[i].path; *c; c++)
            if (*c == '*')
                buf_append(out, argument, (size_t)(end - argument));
            else
                buf_char(out, *c);
        return end + 1;
    }
    return NULL;
}

void words_write(struct buf *out, const char *message) {
    while (*message) {
        size_t found = 0;
        const char *next = text_starts_with(message, COMMAND) ? write_command(out, message) : NULL;
        if (!next && (next = find_phrase(message, phrases, sizeof phrases / sizeof *phrases, &found)))
            buf_text(out, phrases[found][1]);
        if (!next)
            buf_char(out, *message);
        message = next ? next : message + 1;
    }
}

// ---- items ----

bool words_split_line(const char *message, const char *name, int64_t *line, const char **reason) {
    size_t length = strlen(name);
    char *end = NULL;
    if (strncmp(message, name, length) != 0 || message[length] != ':')
        return false;
    *line = strtoll(message + length + 1, &end, 10);
    if (*line <= 0 || !text_starts_with(end, ": "))
        return false;
    *reason = end + 2;
    return true;
}

const char *words_member(const char *column) {
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        if (strcmp(columns[i][0], column) == 0)
            return columns[i][1];
    return column;
}

void words_write_item(struct buf *out, const char *reason, bool openai) {
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    // A column is named where a reason begins: what follows may be the client's own text.
    size_t name = strcspn(reason, " ");
    for (size_t i = 0; !openai && i < sizeof columns / sizeof *columns; i++)
        if (strlen(columns[i][0]) == name && strncmp(reason, columns[i][0], name) == 0) {
            buf_text(&text, columns[i][1]);
            reason += name;
        }
    while (*reason) {
        size_t found = 0;
        char *end = NULL;
        const char *next = find_phrase(reason, of_items, sizeof of_items / sizeof *of_items, &found);
        int64_t line = !next && text_starts_with(reason, "as on line ") ? strtoll(reason + 11, &end, 10) : 0;
        if (next)
            buf_text(&text, of_items[found][1]);
        else if (line > 0)
            buf_format(&text, "as in items[%lld]", (long long)line - 1);
        else
            buf_char(&text, *reason);
        reason = next ? next : line > 0 ? end : reason + 1;
    }
    words_write(out, buf_borrow(&text));
    buf_free(&text);
}
