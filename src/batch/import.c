// SPDX-License-Identifier: MIT
// The import: reads lines, has the format guessed by the first of them, hands each
// item on as a specification, and says where in the file a refusal belongs.
#include "batch/import.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "batch/csv.h"
#include "batch/guess.h"
#include "batch/item.h"
#include "batch/seen.h"
#include "batch/sheet.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct import {
    const char *name;
    enum import_format format;
    struct item_reader reader;
    struct buf line;
    const char *ending; // of the line
    int64_t line_number;
    int64_t item_line; // where the item begins that is read, or what is wrong with it
    struct csv csv;
    struct sheet sheet; // without columns until the header was read
    struct seen *seen;
    struct buf *notes;
};

// ---- formats ---------------------------------------------------------------

static const char *const format_names[] = {[IMPORT_GUESS] = "guess",
                                           [IMPORT_OPENAI] = "openai",
                                           [IMPORT_JSONL] = "jsonl",
                                           [IMPORT_CSV] = "csv",
                                           [IMPORT_TEXT] = "txt"};

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
    if (first == '[' && im->line.length >= 3)
        return err_set(e, ERR_INVALID, "a JSON array: write each item as one JSON object in one line");
    if (im->line.length < 3 && (first == '{' || first == '['))
        return err_set(e, ERR_INVALID, "a lone %c: write each item as one JSON object in one line", first);
    return rc;
}

// Takes a line of CSV. *taken: an item is complete; else the header was, or the row goes on.
static int take_csv(struct import *im, struct spec *spec, bool *taken, struct err *e) {
    struct spec line;
    *taken = false;
    int rc = item_read_text(&im->reader, &im->line, &line, e); // the checks are the same
    if (rc)
        return rc;
    rc = csv_take_line(&im->csv, im->line.data, im->line.length, im->ending, im->line_number, e);
    im->item_line = im->csv.first_line;
    if (rc || im->csv.open)
        return rc;
    if (!im->sheet.columns)
        return sheet_init(&im->sheet, &im->csv, &im->reader, e);
    *taken = true;
    return sheet_read(&im->sheet, &im->csv, &im->reader, spec, e);
}

// Takes a line: reads it into a spec, and when an item is complete notes its custom_id and hands it on.
// *refused tells that the line is at fault, and not what was done with it.
static int take_line(struct import *im, import_each each, void *payload, bool *taken, bool *refused,
                     struct err *e) {
    struct spec spec;
    cJSON *object = NULL;
    int rc = ERR_OK;
    *taken = *refused = true;
    im->item_line = im->line_number;
    if (im->format == IMPORT_TEXT) {
        rc = item_read_text(&im->reader, &im->line, &spec, e);
    } else if (im->format == IMPORT_CSV) {
        rc = take_csv(im, &spec, taken, e);
    } else {
        rc = parse_line(im, &object, e);
        if (!rc)
            rc = im->format == IMPORT_OPENAI ? item_read_openai(&im->reader, &im->line, object, &spec, e)
                                             : item_read_jsonl(&im->reader, &im->line, object, &spec, e);
    }
    if (rc || !*taken)
        goto out;
    *refused = false;
    if (spec.custom_id) {
        rc = seen_add(im->seen, spec.custom_id, strlen(spec.custom_id), im->item_line, e);
        if (rc)
            goto out;
    }
    rc = each(payload, &spec, im->item_line, e);
out:
    cJSON_Delete(object);
    return rc;
}

// ---- the whole file ----------------------------------------------------------------

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

// The file may not end inside a quoted cell.
static int check_end(struct import *im, struct err *e) {
    if (!im->csv.open)
        return ERR_OK;
    im->item_line = im->csv.quote_line;
    return err_set(e, ERR_INVALID, "the quote that opens cell %zu is never closed: close it, or double it",
                   im->csv.count);
}

// Reads the next line that is not blank. *more is false at the end.
static int next_line(struct import *im, FILE *stream, bool *more, struct err *e) {
    for (;;) {
        errno = 0;
        int got = file_read_line(stream, &im->line, &im->ending);
        *more = got > 0;
        if (got == 0)
            return check_end(im, e);
        im->item_line = ++im->line_number;
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
        if (im->csv.open || !is_blank(&im->line))
            return ERR_OK;
    }
}

// Fails with the earliest duplicate.
static int check_duplicates(struct import *im, int64_t *line, struct err *e) {
    int64_t first = 0;
    int rc = seen_find_duplicate(im->seen, &first, line, e);
    if (!rc && *line)
        rc = err_in(e, ERR_INVALID, "custom_id",
                    "custom_id is the same as on line %lld: give each line one of its own", (long long)first);
    return rc ? at_line(im, *line, e) : ERR_OK;
}

// The format by name and first line; what only the line spoke for is noted.
static int guess(struct import *im, struct err *e) {
    bool unsure = false;
    int rc = guess_format(im->name, &im->line, &im->format, &unsure, e);
    if (rc || !unsure || !im->notes)
        return rc;
    bool is_csv = im->format == IMPORT_CSV;
    buf_format(im->notes, "%s: read as %s, %s: say --format %s if %s\n", im->name,
               import_format_name(im->format),
               is_csv ? "its first line is a header" : "each line is a prompt", is_csv ? "txt" : "csv",
               is_csv ? "each line is a prompt" : "its first line is a header");
    return ERR_OK;
}

// Reads the next line and what it makes; *more is false at the end of the file.
static int read_one(struct import *im, FILE *stream, import_each each, void *payload, bool *more, bool *taken,
                    bool *refused, struct err *e) {
    *refused = true;
    int rc = next_line(im, stream, more, e);
    if (!rc && *more && im->format == IMPORT_GUESS)
        rc = guess(im, e);
    return rc || !*more ? rc : take_line(im, each, payload, taken, refused, e);
}

static int check_items(const struct import *im, int64_t items, struct err *e) {
    if (items > 0)
        return ERR_OK;
    err_set(e, ERR_INVALID,
            im->sheet.columns ? "empty: it has a header and no row; write each item in one"
                              : "empty: it has no item in it; write one in each line");
    return at_line(im, 0, e);
}

static int read_all(struct import *im, FILE *stream, import_each each, void *payload, int64_t *items,
                    struct err *e) {
    struct err duplicate = {.code = ERR_OK};
    int64_t line = 0;
    for (bool more = true; more;) {
        bool taken = false;
        bool refused = true;
        int rc = read_one(im, stream, each, payload, &more, &taken, &refused, e);
        if (rc) {
            if (e->message[0])
                at_line(im, im->item_line, e);
            // A duplicate further up is the first thing wrong with the file.
            if (refused && check_duplicates(im, &line, &duplicate) == ERR_INVALID && line)
                *e = duplicate;
            return rc;
        }
        *items += taken;
    }
    int rc = check_items(im, *items, e);
    if (!rc)
        rc = check_duplicates(im, &line, e);
    if (!rc && im->notes && im->sheet.quoted_value)
        buf_format(im->notes,
                   "%s:%lld: %s is text because it is in quotes: leave them out for a number, true, false or "
                   "null\n",
                   im->name, (long long)im->sheet.quoted_value_line, im->sheet.quoted_value);
    return rc;
}

int import_lines(FILE *stream, const char *name, const struct import_options *options, import_each each,
                 void *payload, enum import_format *format_used, int64_t *lines, struct err *e) {
    struct err own = {.code = ERR_OK};
    struct import im = {.name = name, .format = options->format, .ending = "", .notes = options->notes};
    struct stat status;
    int64_t items = 0;
    if (!e)
        e = &own;
    e->message[0] = '\0';
    buf_init(&im.line, IMPORT_LINE_MAXIMUM);
    csv_init(&im.csv);
    im.seen = seen_new(SEEN_IN_MEMORY);
    int rc = item_reader_init(&im.reader, options->parameters, options->priority, e);
    im.reader.prompt_optional = options->prompt_optional;
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
    sheet_free(&im.sheet);
    csv_free(&im.csv);
    item_reader_free(&im.reader);
    buf_free(&im.line);
    seen_free(im.seen);
    return rc;
}
