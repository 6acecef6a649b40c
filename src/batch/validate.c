// SPDX-License-Identifier: MIT
#include "batch/validate.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "batch/import.h"
#include "batch/seen.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_LINES 64 // between two questions whether it is over

static const char *const endpoints[] = {
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings",         "/v1/responses",
    "/v1/moderations",      "/v1/videos",      "/v1/images/generations", "/v1/images/edits",
};

const char *validate_endpoint(size_t at) {
    return at < sizeof endpoints / sizeof *endpoints ? endpoints[at] : NULL;
}

// ---- problems ----

bool validate_add(struct validate_result *result, int64_t line, const char *code, const char *param,
                  const char *format, ...) {
    struct err text;
    char message[sizeof text.message];
    va_list values;
    if (result->count == VALIDATE_PROBLEMS)
        return false;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    // By line: a duplicate is known only at the end of the file.
    size_t at = result->count++;
    for (; at > 0 && result->problems[at - 1].line > line; at--)
        result->problems[at] = result->problems[at - 1];
    result->problems[at] =
        (struct validate_problem){.code = code, .param = param, .line = line, .message = mem_copy(message)};
    return true;
}

void validate_free(struct validate_result *result) {
    for (size_t i = 0; i < result->count; i++) {
        free(result->problems[i].message);
        free(result->problems[i].detail);
    }
    result->count = 0;
}

void validate_write(struct buf *out, const struct validate_result *result) {
    buf_char(out, '[');
    for (size_t i = 0; i < result->count; i++) {
        const struct validate_problem *p = &result->problems[i];
        buf_text(out, i ? ",{" : "{");
        json_write_member_text(out, "code", p->code);
        json_write_member_text(out, "message", p->message);
        json_write_member_text(out, "param", p->param);
        if (p->line)
            json_write_member_integer(out, "line", p->line);
        else
            json_write_member_raw(out, "line", NULL);
        if (p->detail)
            json_write_member_text(out, "detail", p->detail);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

// ---- a line ----

struct check {
    const struct validate_options *options;
    struct validate_result *out;
    struct seen *seen;
    int64_t line;
};

static const char *kind_of(const cJSON *value) {
    if (cJSON_IsString(value))
        return "a string";
    if (cJSON_IsNumber(value))
        return value->valuedouble == (double)(int64_t)value->valuedouble ? "an integer" : "a decimal";
    if (cJSON_IsBool(value))
        return "a boolean";
    if (cJSON_IsArray(value))
        return "an array";
    return cJSON_IsObject(value) ? "an object" : "null";
}

static void missing(struct check *c, const char *param) {
    validate_add(c->out, c->line, "missing_required_parameter", param, "Missing required parameter: '%s'.",
                 param);
}

static void wrong_type(struct check *c, const char *param, const char *expected, const cJSON *value) {
    validate_add(c->out, c->line, "invalid_type", param,
                 "Invalid type for '%s': expected %s, but got %s instead.", param, expected, kind_of(value));
}

// The member as text; NULL, with the problem told, when it is missing or none.
static const char *text_of(struct check *c, const cJSON *object, const char *name) {
    const cJSON *value = json_get(object, name);
    if (!value || cJSON_IsNull(value) || (cJSON_IsString(value) && !*value->valuestring))
        missing(c, name);
    else if (!cJSON_IsString(value))
        wrong_type(c, name, "a string", value);
    else
        return value->valuestring;
    return NULL;
}

static void check_model(struct check *c, const cJSON *body) {
    const cJSON *model = json_get(body, "model");
    bool needed = strcmp(c->options->endpoint, "/v1/moderations") != 0;
    if (!model || cJSON_IsNull(model) || (cJSON_IsString(model) && !*model->valuestring)) {
        if (needed)
            validate_add(c->out, c->line, "invalid_request", "body.model", "Model parameter is required.");
    } else if (!cJSON_IsString(model)) {
        wrong_type(c, "body.model", "a string", model);
    } else if (!c->options->knows_model(c->options->payload, model->valuestring)) {
        validate_add(c->out, c->line, "model_not_found", "body.model",
                     "The provided model '%.200s' is not supported by the Batch API.", model->valuestring);
    }
}

static void check_body(struct check *c, const cJSON *body) {
    bool is_chat = strcmp(c->options->endpoint, "/v1/chat/completions") == 0;
    if (cJSON_IsTrue(json_get(body, "stream")))
        validate_add(c->out, c->line, "streaming_unsupported", "body.stream",
                     "%sStreaming is not supported in the Batch API.", is_chat ? "Chat Completions: " : "");
    check_model(c, body);
    const cJSON *messages = json_get(body, "messages");
    if (is_chat && (!messages || cJSON_IsNull(messages)))
        validate_add(c->out, c->line, "invalid_request", "body.messages", "Messages parameter is required.");
    else if (is_chat && !cJSON_IsArray(messages))
        wrong_type(c, "body.messages", "an array", messages);
}

static int check_object(struct check *c, const cJSON *object, struct err *e) {
    const char *custom_id = text_of(c, object, "custom_id");
    const char *method = text_of(c, object, "method");
    if (method && strcmp(method, "POST") != 0)
        validate_add(c->out, c->line, "invalid_value", "method",
                     "Invalid value: '%.40s'. Supported values are: 'POST'.", method);
    const char *url = text_of(c, object, "url");
    if (url && strcmp(url, c->options->endpoint) != 0)
        validate_add(c->out, c->line, "invalid_url", "url",
                     "The URL provided for this request does not match the batch endpoint.");
    const cJSON *body = json_get(object, "body");
    if (!body || cJSON_IsNull(body))
        missing(c, "body");
    else if (!cJSON_IsObject(body))
        wrong_type(c, "body", "an object", body);
    else
        check_body(c, body);
    return custom_id ? seen_add(c->seen, custom_id, strlen(custom_id), c->line, e) : 0;
}

static int check_line(struct check *c, const struct buf *line, struct err *e) {
    struct err why = {.code = ERR_OK};
    cJSON *object = NULL;
    if (json_parse_object(buf_borrow(line), line->length, &object, &why) != 0) {
        if (validate_add(c->out, c->line, "invalid_json_line", NULL,
                         "This line is not parseable as valid JSON."))
            c->out->problems[c->out->count - 1].detail = mem_copy(why.message);
        return 0;
    }
    int result = check_object(c, object, e);
    cJSON_Delete(object);
    return result;
}

// ---- the file ----

static bool is_blank(const struct buf *line) {
    return strspn(buf_borrow(line), " \t\r") == line->length;
}

// 1 a line, 0 the end, an error below.
static int next_line(struct check *c, FILE *stream, struct buf *line, struct err *e) {
    errno = 0;
    int got = file_read_line(stream, line, NULL);
    c->line += got != 0;
    if (got >= 0) {
        if (c->line == 1 && line->length >= 3 && memcmp(line->data, "\xef\xbb\xbf", 3) == 0)
            buf_drop(line, 3);
        return got;
    }
    if (line->overflow) {
        validate_add(c->out, c->line, "invalid_request", NULL, "This line is longer than %zu MiB: split it.",
                     IMPORT_LINE_MAXIMUM >> 20);
        return 0;
    }
    err_set(e, ERR_DATABASE, "the file cannot be read (%s): check the disk", strerror(errno ? errno : EIO));
    return -1;
}

static int read_lines(struct check *c, FILE *stream, struct buf *line, struct err *e) {
    const struct validate_options *o = c->options;
    int got, result = 0;
    while (!result && c->out->count < VALIDATE_PROBLEMS && (got = next_line(c, stream, line, e)) != 0) {
        if (got < 0)
            return (int)e->code;
        if (c->line % LOOK_LINES == 0 && o->is_over && o->is_over(o->payload)) {
            c->out->over = true;
            return 0;
        }
        if (is_blank(line))
            continue;
        c->out->items++;
        result = check_line(c, line, e);
    }
    return result;
}

static int check_duplicates(struct check *c, struct err *e) {
    int64_t first = 0, second = 0;
    int result = seen_find_duplicate(c->seen, &first, &second, e);
    if (!result && second)
        validate_add(c->out, second, "duplicate_custom_id", "custom_id",
                     "The custom_id for this request is a duplicate of that on line %lld. The custom_id "
                     "parameter must be unique for each request in a batch.",
                     (long long)first);
    return result;
}

int validate_lines(FILE *stream, const struct validate_options *options, struct validate_result *out,
                   struct err *e) {
    struct check c = {.options = options, .out = out, .seen = seen_new(SEEN_IN_MEMORY)};
    struct buf line;
    *out = (struct validate_result){.count = 0};
    buf_init(&line, IMPORT_LINE_MAXIMUM);
    int result = read_lines(&c, stream, &line, e);
    if (!result && !out->over)
        result = check_duplicates(&c, e);
    if (!result && !out->over && out->items == 0 && out->count == 0)
        validate_add(out, 0, "empty_file", NULL,
                     "The input file is empty. Please ensure that the batch contains at least one request.");
    seen_free(c.seen);
    buf_free(&line);
    if (result)
        validate_free(out);
    return result;
}
