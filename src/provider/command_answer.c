// SPDX-License-Identifier: MIT
// From stdout to an outcome.
#include "provider/command_answer.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "provider/answer.h"
#include "provider/classify.h"
#include <stdlib.h>
#include <string.h>

#define HEAD_COLUMNS 60 // of bad output, in the message
#define MIME_MAXIMUM 127

void command_answer_bytes(const char *bytes, size_t length, bool partial, struct outcome *outcome) {
    bool is_text = text_is_utf8(bytes, length) && !memchr(bytes, '\0', length);
    outcome_add(outcome, is_text ? "text/plain" : "application/octet-stream", bytes, length, partial);
}

// "what: it begins with 'head': advice"; takes `what`.
static void refuse(struct outcome *outcome, char *what, const char *text, size_t length) {
    struct buf head;
    buf_init(&head, BUF_UNLIMITED);
    text_escape(&head, text, length < 4 * HEAD_COLUMNS ? length : 4 * HEAD_COLUMNS, HEAD_COLUMNS);
    char *message = length ? mem_format("%s; it begins with: %s", what, buf_borrow(&head)) : mem_copy(what);
    answer_fail(outcome, FAILURE_BAD_RESPONSE, 0, message, text, length);
    free(what);
    buf_free(&head);
}

// ---- an error that the command tells of ----

static int64_t read_wait(const cJSON *error, int64_t now_at) {
    const cJSON *wait = json_get(error, "retry_after");
    if (cJSON_IsString(wait))
        return retry_after_parse(wait->valuestring, now_at);
    return cJSON_IsNumber(wait) && wait->valuedouble >= 0 && wait->valuedouble < 1e9
               ? (int64_t)(wait->valuedouble * 1000)
               : -1;
}

static void take_error(const cJSON *error, const char *text, size_t length, int64_t now_at,
                       struct outcome *outcome) {
    const char *message = cJSON_IsString(error) ? error->valuestring : json_text(error, "message", "");
    const char *type = json_text(error, "type", "");
    bool is_known = classify_knows(type, NULL);
    if (strspn(message, " \t\r\n") == strlen(message))
        message = "the command told of an error without a message";
    char *told = is_known || !*type ? mem_copy(message) : mem_format("%s: %s", type, message);
    answer_fail(outcome, FAILURE_SCRIPTED, 0, told, text, length);
    free(outcome->failure.type);
    outcome->failure.type = mem_copy(is_known ? type : "CommandError");
    outcome->failure.retry_after_ms = read_wait(error, now_at);
}

static bool is_error(const cJSON *error) {
    return (cJSON_IsString(error) && *error->valuestring) || cJSON_IsObject(error);
}

bool command_answer_error(const char *text, size_t length, int64_t now_at, struct outcome *outcome) {
    cJSON *root = NULL;
    struct err e;
    bool told = !json_parse(text, length, &root, &e) && is_error(json_get(root, "error"));
    if (told)
        take_error(json_get(root, "error"), text, length, now_at, outcome);
    cJSON_Delete(root);
    return told;
}

// ---- its outputs ----

static bool is_mime(const char *mime) {
    const char *slash = strchr(mime, '/');
    for (const char *c = mime; *c; c++)
        if (*c < ' ' || *c > '~')
            return false;
    return slash && slash > mime && slash[1] && strlen(mime) <= MIME_MAXIMUM;
}

// Adds one entry of `outputs`; NULL, or why it is none.
static const char *add_entry(const cJSON *entry, struct outcome *outcome) {
    const cJSON *text = json_get(entry, "text"), *base64 = json_get(entry, "base64");
    const char *mime = json_text(entry, "mime", text ? "text/plain" : "application/octet-stream");
    if (!is_mime(mime))
        return "its mime is none such as image/png";
    if (cJSON_IsString(text) == cJSON_IsString(base64))
        return "it needs either text or base64, a string";
    if (cJSON_IsString(text)) {
        outcome_add(outcome, mime, text->valuestring, strlen(text->valuestring), false);
        return NULL;
    }
    struct buf bytes;
    buf_init(&bytes, BUF_UNLIMITED);
    bool is_base64 = base64_decode(&bytes, base64->valuestring);
    if (is_base64)
        outcome_add(outcome, mime, buf_borrow(&bytes), bytes.length, false);
    buf_free(&bytes);
    return is_base64 ? NULL : "its base64 is none: encode it with padding and without line breaks";
}

static void drop_outputs(struct outcome *outcome) {
    for (; outcome->output_count > 0; outcome->output_count--) {
        free(outcome->outputs[outcome->output_count - 1].mime);
        free(outcome->outputs[outcome->output_count - 1].content);
    }
}

static char *add_entries(const cJSON *outputs, struct outcome *outcome) {
    const cJSON *entry;
    int number = 0;
    if (!cJSON_IsArray(outputs))
        return mem_copy("the command's outputs are no list: write a list of {mime, text or base64}");
    cJSON_ArrayForEach(entry, outputs) {
        const char *why = add_entry(entry, outcome);
        number++;
        if (why) {
            drop_outputs(outcome);
            return mem_format("entry %d of the command's outputs cannot be used: %s", number, why);
        }
    }
    return NULL;
}

static void read_usage(const cJSON *root, struct outcome *outcome) {
    const cJSON *usage = json_get(root, "usage");
    int64_t input = json_integer(usage, "input_tokens", json_integer(usage, "prompt_tokens", -1));
    int64_t output = json_integer(usage, "output_tokens", json_integer(usage, "completion_tokens", -1));
    outcome->input_tokens = input >= 0 ? input : -1;
    outcome->output_tokens = output >= 0 ? output : -1;
    outcome->finish_reason = mem_copy(json_text(root, "finish_reason", NULL));
}

// An object with an output, outputs or error is an envelope.
static void read_envelope(const cJSON *root, const char *text, size_t length, int64_t now_at,
                          struct outcome *outcome) {
    const cJSON *output = json_get(root, "output"), *outputs = json_get(root, "outputs");
    const char *raw = NULL;
    char *why = NULL;
    size_t raw_length = 0;
    read_usage(root, outcome);
    if (is_error(json_get(root, "error"))) {
        take_error(json_get(root, "error"), text, length, now_at, outcome);
    } else if (output && outputs) {
        refuse(outcome, mem_copy("the command gave both output and outputs: write one of them"), text,
               length);
    } else if (outputs) {
        why = add_entries(outputs, outcome);
        if (why)
            refuse(outcome, why, text, length);
    } else if (cJSON_IsString(output)) {
        outcome_add(outcome, "text/plain", output->valuestring, strlen(output->valuestring), false);
    } else if (json_raw_member(text, "output", &raw, &raw_length)) {
        outcome_add(outcome, "application/json", raw, raw_length, false);
    }
}

static bool is_envelope(const cJSON *root) {
    return json_get(root, "output") || json_get(root, "outputs") || is_error(json_get(root, "error"));
}

void command_answer_json(const char *text, size_t length, int64_t now_at, struct outcome *outcome) {
    cJSON *root = NULL, *object = NULL;
    struct err e;
    if (json_parse(text, length, &root, &e))
        refuse(outcome,
               length ? mem_format("the command's output is not one JSON value: %s", e.message)
                      : mem_copy("the command wrote nothing, not even JSON: see output = json"),
               text, length);
    else if (!is_envelope(root))
        outcome_add(outcome, "application/json", text, length, false);
    else if (json_parse_object(text, length, &object, &e)) // a name that stands twice
        refuse(outcome, mem_format("the command's output cannot be used: %s", e.message), text, length);
    else
        read_envelope(root, text, length, now_at, outcome);
    cJSON_Delete(root);
    cJSON_Delete(object);
}
