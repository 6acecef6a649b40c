// SPDX-License-Identifier: MIT
// POST /api/batch-jobs: a batch job from a list of items in JSON, or from an uploaded file of lines. On a worker:
// the lines are written in short slices beside the runner, all of them or none.
#include "base/json.h"
#include "base/text.h"
#include "http/api_reply.h"
#include "http/handlers.h"
#include "http/upload.h"
#include "http/words.h"
#include "lib/host.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PARAMETERS_STORED (INT64_C(4) << 30) // bytes that those of a body may take in all of its items

static const char *const formats[] = {"openai", "jsonl", "csv", "txt", NULL};
static const char *const on_errors[] = {"continue", "stop", NULL};

// Of a body in JSON; for an uploaded file the same in the query or in the form.
#define SUBMIT_FIELDS                                                                                        \
    {.name = "name", .kind = FIELD_TEXT, .most = 1000, .help = "for people"},                                \
        {.name = "modelId",                                                                                  \
         .kind = FIELD_TEXT,                                                                                 \
         .least = 1,                                                                                         \
         .most = API_NAME_MOST,                                                                              \
         .help = "for items that name none"},                                                                \
        {.name = "model", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "the same"},        \
        {.name = "templateId",                                                                               \
         .kind = FIELD_TEXT,                                                                                 \
         .least = 1,                                                                                         \
         .most = API_NAME_MOST,                                                                              \
         .help = "of items that name none"},                                                                 \
        {.name = "clientId",                                                                                 \
         .kind = FIELD_TEXT,                                                                                 \
         .least = 1,                                                                                         \
         .most = API_NAME_MOST,                                                                              \
         .help = "sent again it creates nothing and gives the first"},                                       \
        {.name = "userId",                                                                                   \
         .kind = FIELD_TEXT,                                                                                 \
         .least = 1,                                                                                         \
         .most = API_NAME_MOST,                                                                              \
         .help = "whose it is: for admins"},                                                                 \
        {.name = "concurrency",                                                                              \
         .kind = FIELD_INTEGER,                                                                              \
         .least = 1,                                                                                         \
         .most = 1000000,                                                                                    \
         .help = "items in flight at most"},                                                                 \
        {.name = "onError",                                                                                  \
         .kind = FIELD_CHOICE,                                                                               \
         .choices = on_errors,                                                                               \
         .help = "after the first failed item"},                                                             \
        {.name = "maxFailures",                                                                              \
         .kind = FIELD_TEXT,                                                                                 \
         .least = 1,                                                                                         \
         .most = 20,                                                                                         \
         .help = "\"10\", or a share as \"5%\": more stop it"},                                              \
        {.name = "maxCost", .kind = FIELD_NUMBER, .help = "USD: it pauses when that is reached"},            \
        {.name = "priority", .kind = FIELD_INTEGER, .least = -1000, .most = 1000, .help = "higher first"},   \
        {.name = "paused", .kind = FIELD_FLAG, .help = "started by a person"}, {                             \
        .name = "dryRun", .kind = FIELD_FLAG, .help = "check the items, estimate the cost, store nothing"    \
    }

const struct field api_batch_submit_body[] = {
    SUBMIT_FIELDS,
    {.name = "parameters", .kind = FIELD_OBJECT, .help = "defaults for the items' own"},
    {.name = "items",
     .kind = FIELD_LIST,
     .least = 1,
     .required = true,
     .help = "objects with prompt, modelId, parameters, customId, topic, tier, type, templateId, sessionId, "
             "priority; or prompts"},
    API_FIELD_END,
};

const struct field api_batch_submit_query[] = {
    SUBMIT_FIELDS,
    {.name = "format", .kind = FIELD_CHOICE, .choices = formats, .help = "of a file; guessed without it"},
    API_FIELD_END,
};

// ---- the options: of the body, the form, or the query ----

static const char *option(struct exchange *x, const char *name) {
    const struct upload *upload = exchange_upload(x);
    const char *value = json_text(exchange_body(x), name, NULL);
    if (!value && upload)
        value = upload_field(upload, name);
    return value ? value : exchange_query(x, name);
}

static int64_t option_integer(struct exchange *x, const char *name) {
    const struct upload *upload = exchange_upload(x);
    if (json_get(exchange_body(x), name))
        return field_body_integer(api_batch_submit_body, exchange_body(x), name, 0);
    if (upload && upload_field(upload, name))
        return field_integer(api_batch_submit_query, upload_fields(upload), name, 0);
    return exchange_query_integer(x, name, 0);
}

static double option_number(struct exchange *x, const char *name) {
    const char *text = option(x, name);
    return text ? strtod(text, NULL) : json_number(exchange_body(x), name, 0);
}

static bool option_flag(struct exchange *x, const char *name) {
    return json_bool(exchange_body(x), name, option_integer(x, name) != 0);
}

static void fill_options(struct exchange *x, genrun_batch_options *o) {
    const char *on_error = option(x, "onError"), *model = option(x, "modelId");
    o->name = option(x, "name");
    o->model = model ? model : option(x, "model");
    o->user = option(x, "userId");
    o->client_id = option(x, "clientId");
    o->concurrency = (int)option_integer(x, "concurrency");
    o->stop_on_error = on_error && strcmp(on_error, "stop") == 0;
    o->max_failures = option(x, "maxFailures");
    o->max_cost = option_number(x, "maxCost");
    o->priority = (int)option_integer(x, "priority");
    o->paused = option_flag(x, "paused");
    o->template_id = option(x, "templateId");
}

// ---- items of JSON, as lines ----

// The next entry of a checked array: *at is behind '[' or behind the entry before. False at the end.
static bool next_entry(const char **at, const char **start, size_t *length) {
    const char *p = *at + strspn(*at, " \t\r\n,");
    bool quoted = false;
    int depth = 0;
    if (*p == ']' || !*p)
        return false;
    for (*start = p; *p && (quoted || depth > 0 || (*p != ',' && *p != ']')); p++) {
        if (quoted && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (!quoted)
            depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
    }
    *length = (size_t)(p - *start);
    *at = p;
    return true;
}

static const char *column_of(const char *name) {
    static const char *const names[][2] = {{"modelId", "model"},
                                           {"customId", "custom_id"},
                                           {"templateId", "template_id"},
                                           {"sessionId", "session_id"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i][0]) == 0)
            return names[i][1];
    return name;
}

static void write_one_line(struct buf *out, const char *text, size_t length) {
    size_t begin = out->length;
    buf_append(out, text, length);
    for (size_t i = begin; i < out->length; i++) // a line end stands only between tokens
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
}

// The members of an object, those of its member `parameters` among them.
static void write_members(struct buf *out, const char *text, const cJSON *object, bool inner) {
    const char *at = NULL, *start = NULL;
    size_t length = 0;
    const cJSON *child;
    cJSON_ArrayForEach(child, object) {
        if (!json_next_raw(text, &at, &start, &length))
            return;
        if (!inner && cJSON_IsObject(child) && strcmp(child->string, "parameters") == 0) {
            struct buf parameters;
            buf_init(&parameters, BUF_UNLIMITED);
            buf_append(&parameters, start, length);
            write_members(out, buf_borrow(&parameters), child, true);
            buf_free(&parameters);
            continue;
        }
        json_write_key(out, inner ? child->string : column_of(child->string));
        write_one_line(out, start, length);
    }
}

// member NULL: the item as a whole.
static bool refuse_item(struct exchange *x, int64_t index, const char *member, const char *why) {
    char param[96];
    snprintf(param, sizeof param, "items[%lld]%s%s", (long long)index, member ? "." : "",
             member ? member : "");
    exchange_error(x, 400, NULL, "invalid_value", param, "items[%lld] %s", (long long)index, why);
    return false;
}

// One entry as a line. *openai: it is one of the OpenAI format, which is kept as it is.
static bool write_item(struct exchange *x, struct buf *out, const char *text, int64_t index, bool *openai) {
    cJSON *object = NULL;
    struct err e;
    if (*text == '"') {
        buf_text(out, "{\"prompt\":");
        buf_text(out, text);
        buf_text(out, "}\n");
        return true;
    }
    if (*text != '{')
        return refuse_item(x, index, NULL, "is neither an object nor a string: give objects with a prompt");
    if (json_parse_object(text, strlen(text), &object, &e))
        return refuse_item(x, index, NULL, e.message);
    const char *user = json_get(object, "userId") ? "userId" : "user_id";
    if (json_get(object, user)) {
        cJSON_Delete(object);
        return refuse_item(x, index, user, "names a user: that belongs to the batch job");
    }
    *openai = json_get(object, "url") && json_get(object, "body");
    if (*openai) {
        write_one_line(out, text, strlen(text));
    } else {
        buf_char(out, '{');
        write_members(out, text, object, false);
        buf_char(out, '}');
    }
    buf_char(out, '\n');
    cJSON_Delete(object);
    return true;
}

static bool write_items(struct exchange *x, struct buf *out, const char **format) {
    size_t length = 0;
    const char *at = NULL, *start = NULL;
    struct buf item;
    bool fine = true, openai = false;
    buf_init(&item, BUF_UNLIMITED);
    if (!json_raw_member(exchange_body_text(x, &length), "items", &at, &length))
        return refuse_item(x, 0, NULL, "is missing: give one"); // never: the table asks for it
    at++;
    for (int64_t i = 0; fine && next_entry(&at, &start, &length); i++) {
        buf_clear(&item);
        buf_append(&item, start, length);
        while (item.length > 0 && strchr(" \t\r\n", item.data[item.length - 1]))
            item.data[--item.length] = 0;
        fine = write_item(x, out, buf_borrow(&item), i, &openai);
        if (i == 0)
            *format = openai ? "openai" : "jsonl";
    }
    buf_free(&item);
    return fine;
}

// ---- an uploaded file ----

// A name that lets the format be told where the upload has none of its own.
static const char *name_of(struct exchange *x) {
    static const struct {
        const char *type, *name;
    } names[] = {{"application/jsonl", "upload.jsonl"},
                 {"application/x-ndjson", "upload.jsonl"},
                 {"application/jsonlines", "upload.jsonl"},
                 {"text/csv", "upload.csv"},
                 {"text/plain", "upload.txt"}};
    const struct upload *upload = exchange_upload(x);
    const char *name = upload_filename(upload), *type = upload_type(upload);
    if (name)
        return name;
    if (!type)
        type = exchange_header(x, "Content-Type");
    for (size_t i = 0; type && i < sizeof names / sizeof *names; i++)
        if (strncasecmp(type, names[i].type, strlen(names[i].type)) == 0)
            return names[i].name;
    return "upload";
}

static FILE *open_upload(struct exchange *x) {
    int fd = upload_file(exchange_upload(x)), copy;
    if (fd < 0) {
        exchange_error(x, 400, NULL, "missing_required_parameter", "file",
                       "Missing required parameter: 'file'. Send the lines as a part of that name.");
        return NULL;
    }
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    FILE *in = copy >= 0 ? fdopen(copy, "r") : NULL;
    if (in)
        return in;
    exchange_error(x, 503, NULL, "busy", NULL, "the upload cannot be read (%s): send it again later",
                   strerror(errno));
    if (copy >= 0)
        close(copy);
    return NULL;
}

static bool check_form(struct exchange *x) {
    struct field_error error = {0};
    if (field_check_query(api_batch_submit_query, upload_fields(exchange_upload(x)), &error))
        return true;
    exchange_error(x, 400, NULL, error.code, error.param, "%s", error.message);
    field_error_free(&error);
    return false;
}

// ---- the request ----

static void tell_batch(struct exchange *x, genrun *g, const char *id, bool created) {
    char location[64];
    genrun_row *row = NULL;
    struct buf json, notes;
    int code = genrun_batch_get(g, &row, id);
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    buf_init(&json, BUF_UNLIMITED);
    buf_init(&notes, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_text(&json, "jobId", id);
    words_write(&notes, genrun_notes(g));
    json_write_member_text(&json, "notes", notes.length ? buf_borrow(&notes) : NULL);
    buf_free(&notes);
    buf_char(&json, ',');
    buf_text(&json, genrun_row_json(row) + 1);
    snprintf(location, sizeof location, "/api/batch-jobs/%s", id);
    exchange_answer_header(x, "Location", location);
    exchange_json(x, created ? 202 : 200, &json);
    buf_free(&json);
    genrun_row_free(row);
}

static bool names_model(struct exchange *x, int64_t index) {
    const cJSON *item = cJSON_GetArrayItem(json_get(exchange_body(x), "items"), (int)index);
    return json_get(item, "modelId") || json_get(item, "model");
}

// The member of item `index` that the import calls `column`, under the name that the item gives it.
static const char *member_of(struct exchange *x, int64_t index, const char *column, bool openai) {
    const cJSON *item = cJSON_GetArrayItem(json_get(exchange_body(x), "items"), (int)index);
    const char *name = openai ? column : words_member(column);
    const char *plain = strcmp(name, "modelId") == 0 ? "model" : column;
    return json_get(item, plain) && !json_get(item, name) ? plain : name;
}

// A line of ours is an item of the body.
static void refuse_line(struct exchange *x, int64_t line, const char *column, const char *reason,
                        const char *format) {
    char param[96];
    struct buf text;
    bool openai = format && strcmp(format, "openai") == 0;
    const char *member = *column ? member_of(x, line - 1, column, openai) : "";
    buf_init(&text, BUF_UNLIMITED);
    words_write_item(&text, reason, openai);
    snprintf(param, sizeof param, "items[%lld]%s%s", (long long)line - 1, *member ? "." : "", member);
    exchange_error(x, 400, NULL, "invalid_request", param, "items[%lld]: %s", (long long)line - 1,
                   buf_borrow(&text));
    buf_free(&text);
}

// The import tells where in the file it was: "NAME:LINE: reason".
static void tell_failure(struct exchange *x, genrun *g, int code, const char *name, const char *format) {
    char field[48];
    int64_t line = 0;
    const char *reason = NULL;
    bool of_line = words_split_line(genrun_message(g), name, &line, &reason);
    snprintf(field, sizeof field, "%s", host_field(g));
    // A model that no item names is that of all of them; so is what the file is read as.
    bool common = strcmp(field, "format") == 0 || strcmp(field, "parameters") == 0 ||
                  (of_line && text_starts_with(reason, "no model "));
    if (code == GENRUN_INVALID && of_line && !exchange_upload(x) && !common &&
        (strcmp(field, "modelId") != 0 || names_model(x, line - 1)))
        refuse_line(x, line, field, reason, format);
    else if (code == GENRUN_INVALID && exchange_upload(x) && !common &&
             strncmp(genrun_message(g), name, strlen(name)) == 0)
        exchange_failed_by(x, g, code, "file");
    else
        exchange_failed(x, g, code);
}

static void submit(struct exchange *x, genrun *g, FILE *in, const char *name, genrun_batch_options *options) {
    char id[GENRUN_ID_SIZE];
    int created = 0, code;
    if (option_flag(x, "dryRun")) {
        genrun_row *row = NULL;
        code = genrun_batch_estimate(g, &row, in, name, options, NULL, NULL);
        if (code)
            tell_failure(x, g, code, name, options->format);
        else
            api_reply_row(x, g, code, 200, row);
        return;
    }
    code = genrun_batch_submit(g, id, &created, in, name, options, NULL, NULL);
    if (code)
        tell_failure(x, g, code, name, options->format);
    else
        tell_batch(x, g, id, created != 0);
}

// They are stored with each item: a body of a few megabytes could fill a disk.
static bool check_parameters(struct exchange *x, const char *parameters) {
    int64_t items = cJSON_GetArraySize(json_get(exchange_body(x), "items"));
    int64_t most = items > 0 ? PARAMETERS_STORED / items : 0;
    if (!parameters || !*parameters || (int64_t)strlen(parameters) <= most)
        return true;
    exchange_error(
        x, 400, NULL, "invalid_value", "parameters",
        "Invalid value for 'parameters': they have %zu bytes and are stored with each of %lld items, give "
        "at most %lld bytes.",
        strlen(parameters), (long long)items, (long long)most);
    return false;
}

static void submit_items(struct exchange *x, genrun *g, genrun_batch_options *options) {
    struct buf lines;
    size_t length = 0;
    char *parameters = field_raw(exchange_body_text(x, &length), "parameters");
    buf_init(&lines, BUF_UNLIMITED);
    options->parameters = parameters;
    if (check_parameters(x, parameters) && write_items(x, &lines, &options->format)) {
        FILE *in = fmemopen(lines.data, lines.length, "r");
        if (in) {
            submit(x, g, in, "items", options);
            fclose(in);
        } else {
            exchange_error(x, 503, NULL, "busy", NULL, "the items cannot be read (%s): send them again later",
                           strerror(errno));
        }
    }
    buf_free(&lines);
    free(parameters);
}

void api_batch_submit(struct exchange *x, genrun *g) {
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    if (!exchange_upload(x)) {
        fill_options(x, &options);
        submit_items(x, g, &options);
        return;
    }
    if (!check_form(x))
        return;
    fill_options(x, &options);
    options.format = option(x, "format");
    FILE *in = open_upload(x);
    if (!in)
        return;
    submit(x, g, in, name_of(x), &options);
    fclose(in);
}
