// SPDX-License-Identifier: MIT
// The import: reads lines, guesses the format by the first of them, turns each
// into a specification and hands it on. A JSON line is parsed once, for the
// checks and the columns; parameters and bodies are cut out of its raw text, so
// big numbers, escapes and the order of keys reach the model as they were written.
#include "batch/import.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "batch/seen.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct member {
    char *key;
    char *text; // "key":value
};

struct import {
    const char *name;
    const struct import_options *options;
    enum import_format format;
    struct member *defaults;
    size_t default_count;
    bool default_stream; // "stream": true is among them
    char *default_text;  // the defaults as an object, NULL when there are none
    struct buf line, parameters, extra;
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

// ---- members of a line -----------------------------------------------------

enum member_kind { MEMBER_PARAMETER, MEMBER_TEXT, MEMBER_PRIORITY, MEMBER_RESULT };

// The members of a simple line that are no parameters, and where in a spec their text goes.
static const struct column {
    const char *key;
    enum member_kind kind;
    size_t offset;
    bool openai; // also taken from a line of the OpenAI format
} columns[] = {
    {"prompt", MEMBER_TEXT, offsetof(struct spec, prompt), false},
    {"model", MEMBER_TEXT, offsetof(struct spec, model_id), false},
    {"custom_id", MEMBER_TEXT, offsetof(struct spec, custom_id), true},
    {"topic", MEMBER_TEXT, offsetof(struct spec, topic), true},
    {"tier", MEMBER_TEXT, offsetof(struct spec, tier), true},
    {"type", MEMBER_TEXT, offsetof(struct spec, type), true},
    {"template_id", MEMBER_TEXT, offsetof(struct spec, template_id), true},
    {"session_id", MEMBER_TEXT, offsetof(struct spec, session_id), true},
    {"priority", MEMBER_PRIORITY, offsetof(struct spec, priority), true},
    {"error", MEMBER_RESULT, 0, false},
    {"errorContext", MEMBER_RESULT, 0, false},
    {"cancelledAt", MEMBER_RESULT, 0, false},
    {"cancelledReason", MEMBER_RESULT, 0, false},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

static const char *const not_parameters[] = {
    "prompt",       "model",       "custom_id",       "topic",    "tier",
    "type",         "template_id", "session_id",      "priority", "error",
    "errorContext", "cancelledAt", "cancelledReason", NULL};
static const char *const result_keys[] = {"error", "errorContext", "cancelledAt", "cancelledReason", NULL};

static const struct column *column_find(const char *key) {
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        if (columns[i].key[0] == key[0] && strcmp(columns[i].key, key) == 0)
            return &columns[i];
    return NULL;
}

static const char *kind_of(const cJSON *value) {
    if (cJSON_IsString(value))
        return "a string";
    if (cJSON_IsNumber(value))
        return "a number";
    if (cJSON_IsBool(value))
        return "true or false";
    if (cJSON_IsArray(value))
        return "an array";
    if (cJSON_IsObject(value))
        return "an object";
    return "null";
}

static int take_text(const cJSON *value, const char **out, struct err *e) {
    if (cJSON_IsNull(value))
        return ERR_OK;
    if (!cJSON_IsString(value))
        return err_set(e, ERR_INVALID, "%s is %s: make it a string", value->string, kind_of(value));
    *out = *value->valuestring ? value->valuestring : NULL;
    return ERR_OK;
}

static int take_column(const struct column *column, const cJSON *value, struct spec *spec, struct err *e) {
    if (column->kind == MEMBER_TEXT) {
        const char *text = NULL;
        int rc = take_text(value, &text, e);
        memcpy((char *)spec + column->offset, &text, sizeof text);
        return rc;
    }
    if (column->kind == MEMBER_RESULT || cJSON_IsNull(value))
        return ERR_OK;
    if (!cJSON_IsNumber(value))
        return err_set(e, ERR_INVALID, "priority is %s: make it a whole number", kind_of(value));
    double number = value->valuedouble;
    if (!(number >= -SPEC_PRIORITY_LIMIT && number <= SPEC_PRIORITY_LIMIT) || number != (int)number)
        return err_set(e, ERR_INVALID, "priority is %g: give a whole number from -%d to %d", number,
                       SPEC_PRIORITY_LIMIT, SPEC_PRIORITY_LIMIT);
    spec->priority = (int)number;
    return ERR_OK;
}

// ---- defaults --------------------------------------------------------------

// Splits options->parameters into members, so that each can be left out where a line has its own.
static int defaults_load(struct import *im, struct err *e) {
    const char *text = im->options->parameters;
    if (!text)
        return ERR_OK;
    cJSON *object = NULL;
    struct buf member;
    buf_init(&member, BUF_UNLIMITED);
    int rc = json_parse_object(text, strlen(text), &object, e);
    if (rc) {
        rc = err_prefix(e, "the batch's parameters");
        goto out;
    }
    im->defaults = mem_alloc((size_t)cJSON_GetArraySize(object) + 1, sizeof *im->defaults);
    const cJSON *child = NULL;
    cJSON_ArrayForEach(child, object) {
        const struct column *column = column_find(child->string);
        const char *start = NULL;
        size_t length = 0;
        if ((column && column->kind == MEMBER_RESULT) ||
            !json_raw_member(text, child->string, &start, &length))
            continue;
        json_write_text(&member, child->string);
        buf_char(&member, ':');
        buf_append(&member, start, length);
        if (strcmp(child->string, "stream") == 0 && cJSON_IsTrue(child))
            im->default_stream = true;
        im->defaults[im->default_count].key = mem_copy(child->string);
        im->defaults[im->default_count++].text = buf_take(&member);
    }
    if (im->default_count) {
        json_object_edit(&member, text, result_keys, NULL);
        im->default_text = buf_take(&member);
    }
out:
    cJSON_Delete(object);
    buf_free(&member);
    return rc;
}

// Gives the object `text` (parsed as `object`) without the members in `drop` and with those defaults
// that it does not name itself.
static const char *merge(struct import *im, const char *text, const cJSON *object, const char *const *drop) {
    buf_clear(&im->extra);
    for (size_t i = 0; i < im->default_count; i++) {
        if (json_get(object, im->defaults[i].key))
            continue;
        if (im->extra.length)
            buf_char(&im->extra, ',');
        buf_text(&im->extra, im->defaults[i].text);
    }
    buf_clear(&im->parameters);
    json_object_edit(&im->parameters, text, drop, buf_borrow(&im->extra));
    return buf_borrow(&im->parameters);
}

// ---- lines -------------------------------------------------------------------

// The checks of OpenAI's own service, in its order (without: one model and one url for all lines).
static int check_openai(const cJSON *object, struct spec *spec, const cJSON **body, struct err *e) {
    if (!spec->custom_id)
        return err_set(e, ERR_INVALID,
                       "custom_id is missing or empty: every line of the openai format needs one");
    const cJSON *method = json_get(object, "method");
    if (!cJSON_IsString(method) || strcmp(method->valuestring, "POST") != 0)
        return err_set(e, ERR_INVALID, "method is %s: it must be \"POST\"",
                       !method                  ? "missing"
                       : cJSON_IsString(method) ? "another one"
                                                : kind_of(method));
    const cJSON *url = json_get(object, "url");
    if (!cJSON_IsString(url))
        return err_set(e, ERR_INVALID, "url is %s: name the endpoint, such as \"/v1/chat/completions\"",
                       url ? kind_of(url) : "missing");
    if (url->valuestring[0] != '/')
        return err_set(e, ERR_INVALID,
                       "url does not start with /: name the endpoint, such as "
                       "\"/v1/chat/completions\"; the server's address belongs to the model");
    for (const unsigned char *c = (const unsigned char *)url->valuestring; *c; c++)
        if (*c <= ' ' || *c == 0x7f)
            return err_set(e, ERR_INVALID, "url has a blank or control character: write it as %%%02X", *c);
    spec->endpoint = url->valuestring;
    *body = json_get(object, "body");
    if (!cJSON_IsObject(*body))
        return err_set(e, ERR_INVALID, "body is %s: make it the request as an object",
                       *body ? kind_of(*body) : "missing");
    return ERR_OK;
}

// The members of a body that matter here. A key may stand twice in it: the model's server decides what
// that means, except where the answer decides who gets the request or how.
static int check_body(const cJSON *body, struct spec *spec, bool *has_results, struct err *e) {
    const cJSON *child = NULL;
    *has_results = false;
    cJSON_ArrayForEach(child, body) {
        const struct column *column = NULL;
        if (strcmp(child->string, "stream") == 0 && cJSON_IsTrue(child))
            return err_set(e, ERR_INVALID, "body.stream is true: leave it out, a batch gives whole answers");
        if (strcmp(child->string, "model") == 0) {
            if (spec->model_id)
                return err_set(e, ERR_INVALID, "body.model stands twice: keep one");
            int rc = take_text(child, &spec->model_id, e);
            if (rc)
                return err_prefix(e, "body");
        } else if ((column = column_find(child->string)) && column->kind == MEMBER_RESULT) {
            *has_results = true;
        }
    }
    return ERR_OK;
}

static int read_openai(struct import *im, const cJSON *object, struct spec *spec, struct err *e) {
    const cJSON *body = NULL;
    const cJSON *child = NULL;
    bool has_results = false;
    cJSON_ArrayForEach(child, object) {
        const struct column *column = column_find(child->string);
        int rc = column && column->openai ? take_column(column, child, spec, e) : ERR_OK;
        if (rc)
            return rc;
    }
    int rc = check_openai(object, spec, &body, e);
    if (!rc)
        rc = check_body(body, spec, &has_results, e);
    if (rc)
        return rc;
    if (im->default_stream && !json_get(body, "stream"))
        return err_set(e, ERR_INVALID,
                       "stream is true in the batch's parameters: leave it out, a batch gives whole answers");
    const char *start = NULL;
    size_t length = 0;
    if (!json_raw_member(im->line.data, "body", &start, &length))
        return err_set(e, ERR_INVALID, "body is missing: make it the request as an object");
    // The line is ours and at least a } follows the body: end the text there.
    im->line.data[(size_t)(start - im->line.data) + length] = '\0';
    spec->parameters = has_results || im->default_count ? merge(im, start, body, result_keys) : start;
    return ERR_OK;
}

static int read_jsonl(struct import *im, const cJSON *object, struct spec *spec, struct err *e) {
    const cJSON *child = NULL;
    const cJSON *messages = NULL;
    size_t parameters = 0;
    cJSON_ArrayForEach(child, object) {
        const struct column *column = column_find(child->string);
        if (column) {
            int rc = take_column(column, child, spec, e);
            if (rc)
                return rc;
            continue;
        }
        parameters++;
        if (strcmp(child->string, "messages") == 0)
            messages = child;
    }
    if (messages && !cJSON_IsArray(messages))
        return err_set(e, ERR_INVALID, "messages is %s: make it an array of messages", kind_of(messages));
    if (messages && spec->prompt)
        return err_set(e, ERR_INVALID, "both prompt and messages are given: keep one of them");
    if (!messages && !spec->prompt)
        return err_set(e, ERR_INVALID,
                       "prompt is missing or empty: give each line a \"prompt\" or \"messages\"");
    if (parameters || im->default_count)
        spec->parameters = merge(im, im->line.data, object, not_parameters);
    return ERR_OK;
}

static int read_text(struct import *im, struct spec *spec, struct err *e) {
    if (memchr(im->line.data, '\0', im->line.length))
        return err_set(e, ERR_INVALID, "a NUL byte: is this a text file? Remove it");
    if (!text_is_utf8(im->line.data, im->line.length))
        return err_set(e, ERR_INVALID, "invalid UTF-8: save the file as UTF-8");
    spec->prompt = im->line.data;
    spec->parameters = im->default_text;
    return ERR_OK;
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
    if (json_parse_object(im->line.data, im->line.length, object, e) == ERR_OK)
        return ERR_OK;
    char first = first_character(&im->line);
    if (im->line.length < 3 && (first == '{' || first == '['))
        return err_set(e, ERR_INVALID, "a lone %c: write each item as one JSON object in one line", first);
    return err_prefix(e, "not a JSON object");
}

// One item: reads the line into a spec, notes its custom_id, hands it on. *refused tells that the line
// is at fault, and not what was done with it.
static int take_line(struct import *im, import_each each, void *payload, bool *refused, struct err *e) {
    struct spec spec = {.priority = im->options->priority};
    cJSON *object = NULL;
    int rc = ERR_OK;
    *refused = true;
    if (im->format == IMPORT_TEXT) {
        rc = read_text(im, &spec, e);
    } else {
        rc = parse_line(im, &object, e);
        if (!rc)
            rc = im->format == IMPORT_OPENAI ? read_openai(im, object, &spec, e)
                                             : read_jsonl(im, object, &spec, e);
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
    struct import im = {.name = name, .options = options, .format = options->format};
    struct stat status;
    int64_t items = 0;
    if (!e)
        e = &own;
    e->message[0] = '\0';
    buf_init(&im.line, IMPORT_LINE_MAXIMUM);
    buf_init(&im.parameters, BUF_UNLIMITED);
    buf_init(&im.extra, BUF_UNLIMITED);
    im.seen = seen_new(SEEN_IN_MEMORY);
    int rc = defaults_load(&im, e);
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
    for (size_t i = 0; i < im.default_count; i++) {
        free(im.defaults[i].key);
        free(im.defaults[i].text);
    }
    free(im.defaults);
    free(im.default_text);
    buf_free(&im.line);
    buf_free(&im.parameters);
    buf_free(&im.extra);
    seen_free(im.seen);
    return rc;
}
