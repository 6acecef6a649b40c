// SPDX-License-Identifier: MIT
// The import: reads lines, guesses the format by the first of them, hands each on
// as a specification, and says where in the file a refusal belongs.
#include "batch/import.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "batch/item.h"
#include "batch/seen.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct import {
    const char *name;
    enum import_format format;
    struct item_reader reader;
    struct buf line;
    int64_t line_number;
    struct seen *seen;
};

// ---- formats ---------------------------------------------------------------

static const char *const format_names[] = {
    [IMPORT_GUESS] = "guess", [IMPORT_OPENAI] = "openai", [IMPORT_JSONL] = "jsonl", [IMPORT_TEXT] = "txt"};

bool import_format_parse(const char *name, enum import_format *out) {
    for (int i = IMPORT_OPENAI; i <= IMPORT_TEXT; i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *out = (enum import_format)i;
            return true;
        }
    }
    return false;
}

const char *import_format_name(enum import_format format) {
    return format_names[format];
}

static bool is_blank(const struct buf *line) {
    for (size_t i = 0; i < line->length; i++)
        if (line->data[i] != ' ' && line->data[i] != '\t' && line->data[i] != '\r')
            return false;
    return true;
}

static char first_character(const struct buf *line) {
    const char *at = line->data;
    while (*at == ' ' || *at == '\t')
        at++;
    return *at;
}

static int parse_line(struct import *im, cJSON **object, struct err *e) {
    int rc = json_parse_object(im->line.data, im->line.length, object, e);
    if (!rc)
        return ERR_OK;
    char first = first_character(&im->line);
    if (im->line.length < 3 && (first == '{' || first == '['))
        return err_set(e, ERR_INVALID, "a lone %c: write each item as one JSON object in one line", first);
    return rc;
}

// One item: reads the line into a spec, notes its custom_id, hands it on. *refused tells that the line
// is at fault, and not what was done with it.
static int take_line(struct import *im, import_each each, void *payload, bool *refused, struct err *e) {
    struct spec spec;
    cJSON *object = NULL;
    int rc = ERR_OK;
    *refused = true;
    if (im->format == IMPORT_TEXT) {
        rc = item_read_text(&im->reader, &im->line, &spec, e);
    } else {
        rc = parse_line(im, &object, e);
        if (!rc)
            rc = im->format == IMPORT_OPENAI ? item_read_openai(&im->reader, &im->line, object, &spec, e)
                                             : item_read_jsonl(&im->reader, &im->line, object, &spec, e);
    }
    if (rc)
        goto out;
    *refused = false;
    if (spec.custom_id) {
        rc = seen_add(im->seen, spec.custom_id, strlen(spec.custom_id), im->line_number, e);
        if (rc)
            goto out;
    }
    rc = each(payload, &spec, im->line_number, e);
out:
    cJSON_Delete(object);
    return rc;
}

// ---- guessing ------------------------------------------------------------------

static bool name_ends(const char *name, const char *ending) {
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && strcasecmp(name + length - tail, ending) == 0;
}

static enum import_format guess_json(const cJSON *object) {
    bool is_request = json_get(object, "body") && (json_get(object, "url") || json_get(object, "method"));
    return is_request && (json_get(object, "custom_id") || !json_get(object, "prompt")) ? IMPORT_OPENAI
                                                                                        : IMPORT_JSONL;
}

// Decides by the name's ending and the first line that is not blank. A doubt is an error: a file that
// is read in the wrong format would run, and cost, before anybody sees it.
static int guess(struct import *im, struct err *e) {
    const char *name = im->name;
    if (name_ends(name, ".csv"))
        return err_set(e, ERR_INVALID, "format csv is not known: write openai, jsonl or txt");
    bool named_json = name_ends(name, ".jsonl") || name_ends(name, ".ndjson") || name_ends(name, ".json");
    bool named_text = name_ends(name, ".txt");
    char first = first_character(&im->line);
    cJSON *value = NULL;
    struct err ignored = {.code = ERR_OK};
    int rc = ERR_OK;
    bool is_json = json_parse(im->line.data, im->line.length, &value, &ignored) == ERR_OK;
    bool is_object = is_json && cJSON_IsObject(value);
    if (named_json || (is_object && !named_text))
        im->format = is_object ? guess_json(value) : IMPORT_JSONL;
    else if (is_object)
        rc = err_set(e, ERR_INVALID, "a .txt file with a JSON object: say --format txt or --format jsonl");
    else if (first == '{')
        rc = err_set(e, ERR_INVALID,
                     "it starts with { but is not JSON (%s): say --format txt if each line is "
                     "a prompt",
                     ignored.message);
    else if (first == '[' && (is_json || im->line.length == 1))
        rc = err_set(e, ERR_INVALID,
                     "a JSON array: write one object in each line, or say --format txt if each "
                     "line is a prompt");
    else
        im->format = IMPORT_TEXT;
    cJSON_Delete(value);
    return rc;
}

// What the first bytes say when a file is none of the formats.
static int check_magic(const struct buf *line, struct err *e) {
    static const struct {
        const char *bytes;
        size_t length;
        const char *message;
    } magics[] = {
        {"\xff\xfe", 2, "the file is UTF-16: save it as UTF-8"},
        {"\xfe\xff", 2, "the file is UTF-16: save it as UTF-8"},
        {"\x1f\x8b", 2, "the file is compressed (gzip): unpack it first"},
        {"\x28\xb5\x2f\xfd", 4, "the file is compressed (zstd): unpack it first"},
        {"PK\x03\x04", 4, "the file is compressed (zip): unpack it first"},
    };
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (line->length >= magics[i].length && memcmp(line->data, magics[i].bytes, magics[i].length) == 0)
            return err_set(e, ERR_INVALID, "%s", magics[i].message);
    return ERR_OK;
}

// ---- the whole file ----------------------------------------------------------------

// Puts "name:line: " in front; of a very long name only the end, so that the reason stays in.
static int at_line(const struct import *im, int64_t line, struct err *e) {
    const char *name = im->name;
    size_t length = strlen(name);
    const char *cut = "";
    if (length > 255) {
        name += length - 250;
        while ((*name & 0xc0) == 0x80)
            name++;
        cut = "…";
    }
    return line ? err_prefix(e, "%s%s:%lld", cut, name, (long long)line) : err_prefix(e, "%s%s", cut, name);
}

// Reads the next line that is not blank. *more is false at the end.
static int next_line(struct import *im, FILE *stream, bool *more, struct err *e) {
    for (;;) {
        errno = 0;
        int got = file_read_line(stream, &im->line);
        *more = got > 0;
        if (got == 0)
            return ERR_OK;
        im->line_number++;
        if (got < 0 && im->line.overflow)
            return err_set(e, ERR_INVALID, "the line is longer than 64 MiB: split it");
        if (got < 0)
            return err_set(e, ERR_INVALID, "cannot be read (%s): check the file and try again",
                           strerror(errno ? errno : EIO));
        if (im->line_number == 1) {
            int rc = check_magic(&im->line, e);
            if (rc)
                return rc;
            if (im->line.length >= 3 && memcmp(im->line.data, "\xef\xbb\xbf", 3) == 0)
                buf_drop(&im->line, 3);
        }
        if (!is_blank(&im->line))
            return ERR_OK;
    }
}

// Fails with the earliest duplicate.
static int check_duplicates(struct import *im, int64_t *line, struct err *e) {
    int64_t first = 0;
    int rc = seen_find_duplicate(im->seen, &first, line, e);
    if (!rc && *line)
        rc = err_set(e, ERR_INVALID, "custom_id is the same as on line %lld: give each line one of its own",
                     (long long)first);
    return rc ? at_line(im, *line, e) : ERR_OK;
}

static int read_all(struct import *im, FILE *stream, import_each each, void *payload, int64_t *items,
                    struct err *e) {
    struct err duplicate = {.code = ERR_OK};
    int64_t line = 0;
    for (;;) {
        bool more = false;
        bool refused = true;
        int rc = next_line(im, stream, &more, e);
        if (!rc && !more)
            break;
        if (!rc && im->format == IMPORT_GUESS)
            rc = guess(im, e);
        if (!rc)
            rc = take_line(im, each, payload, &refused, e);
        if (rc) {
            if (e->message[0])
                at_line(im, im->line_number, e);
            // A duplicate further up is the first thing wrong with the file.
            if (refused && check_duplicates(im, &line, &duplicate) == ERR_INVALID && line)
                *e = duplicate;
            return rc;
        }
        ++*items;
    }
    if (*items == 0) {
        err_set(e, ERR_INVALID, "empty: it has no item in it; write one in each line");
        return at_line(im, 0, e);
    }
    return check_duplicates(im, &line, e);
}

int import_lines(FILE *stream, const char *name, const struct import_options *options, import_each each,
                 void *payload, enum import_format *format_used, int64_t *lines, struct err *e) {
    struct err own = {.code = ERR_OK};
    struct import im = {.name = name, .format = options->format};
    struct stat status;
    int64_t items = 0;
    if (!e)
        e = &own;
    e->message[0] = '\0';
    buf_init(&im.line, IMPORT_LINE_MAXIMUM);
    im.seen = seen_new(SEEN_IN_MEMORY);
    int rc = item_reader_init(&im.reader, options->parameters, options->priority, e);
    if (rc)
        goto out;
    int fd = fileno(stream); // -1 for a stream over memory
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        err_set(e, ERR_INVALID, "is a directory: name a file in it");
        rc = at_line(&im, 0, e);
        goto out;
    }
    rc = read_all(&im, stream, each, payload, &items, e);
out:
    if (format_used)
        *format_used = im.format;
    if (lines)
        *lines = items;
    item_reader_free(&im.reader);
    buf_free(&im.line);
    seen_free(im.seen);
    return rc;
}
