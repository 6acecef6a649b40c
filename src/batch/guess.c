// SPDX-License-Identifier: MIT
// The name's ending and the first line must agree; where there is no ending that
// says anything, the line alone decides.
#include "batch/guess.h"

#include "base/json.h"
#include <string.h>
#include <strings.h>

static bool name_ends(const char *name, const char *ending) {
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && strcasecmp(name + length - tail, ending) == 0;
}

static bool is_openai(const cJSON *object) {
    bool is_request = json_get(object, "body") && (json_get(object, "url") || json_get(object, "method"));
    return is_request && (json_get(object, "custom_id") || !json_get(object, "prompt"));
}

// True when one of the line's parts between `delimiter`s is the word prompt, in any letters, with or
// without quotes and blanks around it: a header.
static bool has_prompt_column(const struct buf *line, char delimiter) {
    const char *at = line->data, *end = line->data + line->length;
    while (at <= end) {
        const char *next = memchr(at, delimiter, (size_t)(end - at));
        const char *last = next ? next : end;
        next = last + 1;
        while (at < last && strchr(" \t\"", *at))
            at++;
        while (last > at && strchr(" \t\"", last[-1]))
            last--;
        if (last - at == 6 && strncasecmp(at, "prompt", 6) == 0)
            return true;
        at = next;
    }
    return false;
}

static const char *name_of(char delimiter) {
    return delimiter == ';' ? "semicolons" : "tabs";
}

struct look {
    bool is_json, is_object, is_openai, is_header;
    char first;        // character that is not blank
    char delimiter;    // of the header
    struct err broken; // why it is no JSON
};

static void look(const struct buf *line, struct look *l) {
    static const char delimiters[] = ",;\t";
    *l = (struct look){.first = line->data[strspn(line->data, " \t")]};
    cJSON *value = NULL;
    l->is_json = json_parse(line->data, line->length, &value, &l->broken) == ERR_OK;
    l->is_object = l->is_json && cJSON_IsObject(value);
    l->is_openai = l->is_object && is_openai(value);
    cJSON_Delete(value);
    // "prompt" in quotes is JSON, too.
    if ((l->is_json && l->first != '"') || l->first == '{' || l->first == '[')
        return;
    for (const char *d = delimiters; *d && !l->is_header; d++) {
        l->is_header = has_prompt_column(line, *d);
        l->delimiter = *d;
    }
}

static int guess_by_line(const struct look *l, size_t length, enum import_format *out, bool *unsure,
                         struct err *e) {
    if (l->is_object) {
        *out = l->is_openai ? IMPORT_OPENAI : IMPORT_JSONL;
        return ERR_OK;
    }
    if (l->first == '{')
        return err_in(e, ERR_INVALID, "format",
                      "it starts with { but is not JSON (%s): say --format txt if each line is a prompt",
                      l->broken.message);
    if (l->first == '[' && (l->is_json || length == 1))
        return err_in(e, ERR_INVALID, "format",
                      "a JSON array: write one object in each line, or say --format txt if each line is a "
                      "prompt");
    if (l->is_header && l->delimiter != ',')
        return err_in(e, ERR_INVALID, "format",
                      "it starts like CSV with %s: save it with commas between the columns, or say "
                      "--format txt if each line is a prompt",
                      name_of(l->delimiter));
    *out = l->is_header ? IMPORT_CSV : IMPORT_TEXT;
    *unsure = true;
    return ERR_OK;
}

int guess_format(const char *name, const struct buf *line, enum import_format *out, bool *unsure,
                 struct err *e) {
    struct look l;
    look(line, &l);
    *unsure = false;
    if (name_ends(name, ".tsv"))
        return err_set(e, ERR_INVALID,
                       "format tsv is not known: save it as CSV, with commas between the columns");
    if (name_ends(name, ".csv")) {
        if (l.is_object)
            return err_in(e, ERR_INVALID, "format",
                          "a .csv file with a JSON object: say --format jsonl or openai");
        if (l.is_header && l.delimiter != ',')
            return err_set(e, ERR_INVALID,
                           "the columns are apart by %s: save the file with commas between them",
                           name_of(l.delimiter));
        *out = IMPORT_CSV;
        return ERR_OK;
    }
    if (name_ends(name, ".jsonl") || name_ends(name, ".ndjson") || name_ends(name, ".json")) {
        if (l.is_header)
            return err_in(e, ERR_INVALID, "format",
                          "a JSON file that starts like CSV: say --format csv or --format txt");
        *out = l.is_openai ? IMPORT_OPENAI : IMPORT_JSONL;
        return ERR_OK;
    }
    bool named_text = name_ends(name, ".txt");
    if (named_text && l.is_object)
        return err_in(e, ERR_INVALID, "format",
                      "a .txt file with a JSON object: say --format txt or --format jsonl");
    if (named_text && l.is_header)
        return err_in(e, ERR_INVALID, "format",
                      "a .txt file that starts like CSV: say --format txt or --format csv");
    int rc = guess_by_line(&l, line->length, out, unsure, e);
    *unsure = *unsure && !named_text;
    return rc;
}
