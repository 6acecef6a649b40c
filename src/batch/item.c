// SPDX-License-Identifier: MIT
// Lines into items: which members are columns, of what type they must be, and
// what stays as parameters. The tree of a line serves for the checks and the
// columns; parameters and bodies are cut out of its raw text, so big numbers,
// escapes and the order of keys reach the model as they were written.
#include "batch/item.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// ---- members of a line -----------------------------------------------------

static const struct item_column columns[] = {
    {"prompt", ITEM_TEXT, offsetof(struct spec, prompt), false},
    {"model", ITEM_TEXT, offsetof(struct spec, model_id), false},
    {"custom_id", ITEM_TEXT, offsetof(struct spec, custom_id), true},
    {"topic", ITEM_TEXT, offsetof(struct spec, topic), true},
    {"tier", ITEM_TEXT, offsetof(struct spec, tier), true},
    {"type", ITEM_TEXT, offsetof(struct spec, type), true},
    {"template_id", ITEM_TEXT, offsetof(struct spec, template_id), true},
    {"session_id", ITEM_TEXT, offsetof(struct spec, session_id), true},
    {"priority", ITEM_PRIORITY, offsetof(struct spec, priority), true},
    {"error", ITEM_RESULT, 0, false},
    {"errorContext", ITEM_RESULT, 0, false},
    {"cancelledAt", ITEM_RESULT, 0, false},
    {"cancelledReason", ITEM_RESULT, 0, false},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

static const char *const not_parameters[] = {
    "prompt",       "model",       "custom_id",       "topic",    "tier",
    "type",         "template_id", "session_id",      "priority", "error",
    "errorContext", "cancelledAt", "cancelledReason", NULL};
const char *const item_result_keys[ITEM_RESULT_KEYS + 1] = {"error", "errorContext", "cancelledAt",
                                                            "cancelledReason", NULL};

const struct item_column *item_column_find(const char *name) {
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        if (columns[i].name[0] == name[0] && strcmp(columns[i].name, name) == 0)
            return &columns[i];
    return NULL;
}

const char *item_column_misspelt(const char *name) {
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        if (strcasecmp(columns[i].name, name) == 0)
            return strcmp(columns[i].name, name) == 0 ? NULL : columns[i].name;
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
        return err_in(e, ERR_INVALID, value->string, "%s is %s: make it a string", value->string,
                      kind_of(value));
    *out = *value->valuestring ? value->valuestring : NULL;
    return ERR_OK;
}

static int take_column(const struct item_column *column, const cJSON *value, struct spec *spec,
                       struct err *e) {
    if (column->kind == ITEM_TEXT) {
        const char *text = NULL;
        int rc = take_text(value, &text, e);
        memcpy((char *)spec + column->offset, &text, sizeof text);
        return rc;
    }
    if (column->kind == ITEM_RESULT || cJSON_IsNull(value))
        return ERR_OK;
    if (!cJSON_IsNumber(value))
        return err_in(e, ERR_INVALID, "priority", "priority is %s: make it a whole number", kind_of(value));
    double number = value->valuedouble;
    if (!(number >= -SPEC_PRIORITY_LIMIT && number <= SPEC_PRIORITY_LIMIT) || number != (int)number)
        return err_in(e, ERR_INVALID, "priority", "priority is %g: give a whole number from -%d to %d",
                      number, SPEC_PRIORITY_LIMIT, SPEC_PRIORITY_LIMIT);
    spec->priority = (int)number;
    return ERR_OK;
}

// ---- defaults --------------------------------------------------------------

int item_reader_init(struct item_reader *r, const char *text, int priority, struct err *e) {
    memset(r, 0, sizeof *r);
    r->priority = priority;
    buf_init(&r->parameters, BUF_UNLIMITED);
    buf_init(&r->extra, BUF_UNLIMITED);
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
    r->defaults = mem_alloc((size_t)cJSON_GetArraySize(object) + 1, sizeof *r->defaults);
    const cJSON *child = NULL;
    const char *at = NULL, *start = NULL;
    size_t length = 0;
    cJSON_ArrayForEach(child, object) {
        const struct item_column *column = item_column_find(child->string);
        if (!json_next_raw(text, &at, &start, &length))
            break;
        if (column && column->kind == ITEM_RESULT)
            continue;
        json_write_text(&member, child->string);
        buf_char(&member, ':');
        buf_append(&member, start, length);
        if (strcmp(child->string, "stream") == 0 && cJSON_IsTrue(child))
            r->default_stream = true;
        r->defaults[r->default_count].key = mem_copy(child->string);
        r->defaults[r->default_count++].text = buf_take(&member);
    }
    if (r->default_count) {
        json_object_edit(&member, text, item_result_keys, NULL);
        r->default_text = buf_take(&member);
    }
out:
    cJSON_Delete(object);
    buf_free(&member);
    return rc;
}

void item_reader_free(struct item_reader *r) {
    for (size_t i = 0; i < r->default_count; i++) {
        free(r->defaults[i].key);
        free(r->defaults[i].text);
    }
    free(r->defaults);
    free(r->default_text);
    buf_free(&r->parameters);
    buf_free(&r->extra);
}

// Gives the object `text` (parsed as `object`) without the members in `drop` and with those defaults
// that it does not name itself.
static const char *merge(struct item_reader *r, const char *text, const cJSON *object,
                         const char *const *drop) {
    buf_clear(&r->extra);
    for (size_t i = 0; i < r->default_count; i++) {
        if (json_get(object, r->defaults[i].key))
            continue;
        if (r->extra.length)
            buf_char(&r->extra, ',');
        buf_text(&r->extra, r->defaults[i].text);
    }
    buf_clear(&r->parameters);
    json_object_edit(&r->parameters, text, drop, buf_borrow(&r->extra));
    return buf_borrow(&r->parameters);
}

// ---- lines -------------------------------------------------------------------

// The checks of OpenAI's own service, in its order (without: one model and one url for all lines).
static int check_openai(const cJSON *object, struct spec *spec, const cJSON **body, struct err *e) {
    if (!spec->custom_id)
        return err_in(e, ERR_INVALID, "custom_id",
                      "custom_id is missing or empty: every line of the openai format needs one");
    const cJSON *method = json_get(object, "method");
    if (!cJSON_IsString(method) || strcmp(method->valuestring, "POST") != 0)
        return err_in(e, ERR_INVALID, "method", "method is %s: it must be \"POST\"",
                      !method                  ? "missing"
                      : cJSON_IsString(method) ? "another one"
                                               : kind_of(method));
    const cJSON *url = json_get(object, "url");
    if (!cJSON_IsString(url))
        return err_in(e, ERR_INVALID, "url", "url is %s: name the endpoint, such as \"/v1/chat/completions\"",
                      url ? kind_of(url) : "missing");
    if (url->valuestring[0] != '/')
        return err_in(e, ERR_INVALID, "url",
                      "url does not start with /: name the endpoint, such as "
                      "\"/v1/chat/completions\"; the server's address belongs to the model");
    for (const unsigned char *c = (const unsigned char *)url->valuestring; *c; c++)
        if (*c <= ' ' || *c == 0x7f)
            return err_in(e, ERR_INVALID, "url", "url has a blank or control character: write it as %%%02X",
                          *c);
    spec->endpoint = url->valuestring;
    *body = json_get(object, "body");
    if (!cJSON_IsObject(*body))
        return err_in(e, ERR_INVALID, "body", "body is %s: make it the request as an object",
                      *body ? kind_of(*body) : "missing");
    return ERR_OK;
}

// The members of a body that matter here. A key may stand twice in it: the model's server decides what
// that means, except where the answer decides who gets the request or how.
static int check_body(const cJSON *body, struct spec *spec, bool *has_results, struct err *e) {
    const cJSON *child = NULL;
    bool has_model = false;
    *has_results = false;
    cJSON_ArrayForEach(child, body) {
        const struct item_column *column = NULL;
        if (strcmp(child->string, "stream") == 0 && cJSON_IsTrue(child))
            return err_in(e, ERR_INVALID, "body.stream",
                          "body.stream is true: leave it out, a batch gives whole answers");
        if (strcmp(child->string, "model") == 0) {
            if (has_model)
                return err_in(e, ERR_INVALID, "body.model", "body.model stands twice: keep one");
            has_model = true;
            int rc = take_text(child, &spec->model_id, e);
            if (rc)
                return err_in(e, ERR_INVALID, "body.model", "body.%s", e->message);
        } else if ((column = item_column_find(child->string)) && column->kind == ITEM_RESULT) {
            *has_results = true;
        }
    }
    return ERR_OK;
}

int item_read_openai(struct item_reader *r, struct buf *line, const cJSON *object, struct spec *spec,
                     struct err *e) {
    *spec = (struct spec){.priority = r->priority};
    const cJSON *body = NULL;
    const cJSON *child = NULL;
    bool has_results = false;
    cJSON_ArrayForEach(child, object) {
        const struct item_column *column = item_column_find(child->string);
        int rc = column && column->openai ? take_column(column, child, spec, e) : ERR_OK;
        if (rc)
            return rc;
    }
    int rc = check_openai(object, spec, &body, e);
    if (!rc)
        rc = check_body(body, spec, &has_results, e);
    if (rc)
        return rc;
    if (r->default_stream && !json_get(body, "stream"))
        return err_in(e, ERR_INVALID, "parameters",
                      "stream is true in the batch's parameters: leave it out, a batch gives whole answers");
    const char *start = NULL;
    size_t length = 0;
    if (!json_raw_member(line->data, "body", &start, &length))
        return err_in(e, ERR_INVALID, "body", "body is missing: make it the request as an object");
    // The line is ours and at least a } follows the body: end the text there.
    line->data[(size_t)(start - line->data) + length] = '\0';
    spec->parameters = has_results || r->default_count ? merge(r, start, body, item_result_keys) : start;
    return ERR_OK;
}

int item_read_jsonl(struct item_reader *r, const struct buf *line, const cJSON *object, struct spec *spec,
                    struct err *e) {
    *spec = (struct spec){.priority = r->priority};
    const cJSON *child = NULL;
    const cJSON *messages = NULL;
    size_t parameters = 0;
    cJSON_ArrayForEach(child, object) {
        const struct item_column *column = item_column_find(child->string);
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
        return err_in(e, ERR_INVALID, "messages", "messages is %s: make it an array of messages",
                      kind_of(messages));
    if (messages && spec->prompt)
        return err_in(e, ERR_INVALID, "messages", "both prompt and messages are given: keep one of them");
    if (!messages && !spec->prompt && !r->prompt_optional)
        return err_in(e, ERR_INVALID, "prompt",
                      "prompt is missing or empty: give each line a \"prompt\" or \"messages\"");
    if (parameters || r->default_count)
        spec->parameters = merge(r, line->data, object, not_parameters);
    return ERR_OK;
}

int item_read_text(struct item_reader *r, const struct buf *line, struct spec *spec, struct err *e) {
    *spec = (struct spec){.priority = r->priority};
    if (memchr(line->data, '\0', line->length))
        return err_set(e, ERR_INVALID, "a NUL byte: is this a text file? Remove it");
    if (!text_is_utf8(line->data, line->length))
        return err_set(e, ERR_INVALID, "invalid UTF-8: save the file as UTF-8");
    spec->prompt = line->data;
    spec->parameters = r->default_text;
    return ERR_OK;
}
