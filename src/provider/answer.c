// SPDX-License-Identifier: MIT
// From a body to an outcome.
#include "provider/answer.h"

#include "base/json.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

void answer_fail(struct outcome *outcome, enum failure_kind kind, int http_status, char *message,
                 const char *body, size_t length) {
    struct failure *failure = &outcome->failure;
    free(failure->message);
    free(failure->body);
    failure->kind = kind;
    failure->http_status = http_status;
    failure->message = message;
    failure->body = NULL;
    if (body && length)
        failure->body = mem_copy_bytes(body, length < ANSWER_HEAD_MAXIMUM ? length : ANSWER_HEAD_MAXIMUM);
}

// The status an error's code stands for: a number, or digits.
static int status_of(const cJSON *error) {
    int64_t code = json_integer(error, "code", 0);
    const char *text = json_text(error, "code", "");
    if (!code && strlen(text) == 3 && strspn(text, "0123456789") == 3)
        code = strtol(text, NULL, 10);
    return code >= 400 && code <= 599 ? (int)code : 0;
}

bool answer_is_error(const cJSON *root, int *status) {
    *status = 0;
    if (cJSON_IsArray(root)) // Gemini wraps its errors in a list
        root = root->child;
    const cJSON *error = json_get(root, "error");
    if (cJSON_IsString(error))
        return *error->valuestring != '\0';
    *status = status_of(error);
    return cJSON_IsObject(error) && error->child;
}

// ---- usage ----

static void read_usage(const cJSON *root, struct outcome *outcome) {
    const cJSON *usage = json_get(root, "usage");
    int64_t input = json_integer(usage, "prompt_tokens", json_integer(usage, "input_tokens", -1));
    int64_t output = json_integer(usage, "completion_tokens", json_integer(usage, "output_tokens", -1));
    int64_t total = json_integer(usage, "total_tokens", -1);
    if (output < 0 && input >= 0 && total >= input) // embeddings name no output
        output = total - input;
    if (input >= 0)
        outcome->input_tokens = input;
    if (output >= 0)
        outcome->output_tokens = output;
}

// ---- choices ----

static bool has_calls(const cJSON *message) {
    const cJSON *calls = json_get(message, "tool_calls");
    return (cJSON_IsArray(calls) && calls->child) || cJSON_IsObject(json_get(message, "function_call"));
}

// The text of a message: its content (a text or a list of parts), else its refusal.
static void append_text(const cJSON *message, struct buf *out) {
    const cJSON *content = json_get(message, "content");
    if (cJSON_IsString(content)) {
        buf_text(out, content->valuestring);
    } else if (cJSON_IsArray(content)) {
        const cJSON *part;
        cJSON_ArrayForEach(part, content) {
            buf_text(out, json_text(part, "text", ""));
        }
    }
    if (!out->length)
        buf_text(out, json_text(message, "refusal", ""));
}

static void add_choice(const cJSON *choice, bool partial, struct outcome *outcome) {
    const cJSON *message = json_get(choice, "message");
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    if (cJSON_IsObject(message))
        append_text(message, &text);
    else
        buf_text(&text, json_text(choice, "text", ""));
    if (!text.length && has_calls(message)) {
        char *whole = cJSON_PrintUnformatted(message);
        if (whole)
            outcome_add(outcome, "application/json", whole, strlen(whole), partial);
        cJSON_free(whole);
    } else if (text.length || !partial) {
        outcome_add(outcome, "text/plain", buf_borrow(&text), text.length, partial);
    }
    buf_free(&text);
}

// A choice that ended in an error: OpenRouter says so in the choice.
static const cJSON *failed_choice(const cJSON *choices) {
    const cJSON *choice;
    cJSON_ArrayForEach(choice, choices) {
        if (strcmp(json_text(choice, "finish_reason", ""), "error") == 0)
            return choice;
    }
    return NULL;
}

static void read_choices(const cJSON *root, bool partial, struct outcome *outcome) {
    const cJSON *choice;
    cJSON_ArrayForEach(choice, json_get(root, "choices")) {
        add_choice(choice, partial, outcome);
        if (!outcome->finish_reason)
            outcome->finish_reason = mem_copy(json_text(choice, "finish_reason", NULL));
    }
    read_usage(root, outcome);
}

void answer_read_partial(const char *body, size_t length, struct outcome *outcome) {
    cJSON *root = NULL;
    struct err e;
    if (!json_parse(body, length, &root, &e))
        read_choices(root, true, outcome);
    cJSON_Delete(root);
}

static bool is_chat(enum request_kind kind) {
    return kind == REQUEST_CHAT || kind == REQUEST_COMPLETIONS;
}

// Why the parsed body is no answer; fills the failure and returns true.
static bool is_refused(enum request_kind kind, const cJSON *root, const char *body, size_t length,
                       struct outcome *outcome) {
    int status;
    if (answer_is_error(root, &status)) {
        answer_fail(outcome, FAILURE_HTTP, status,
                    mem_copy("the server answered with success and an error in it"), body, length);
        return true;
    }
    if (!is_chat(kind))
        return false;
    const cJSON *choices = json_get(root, "choices");
    if (!cJSON_IsArray(choices) || !cJSON_IsObject(choices->child)) {
        answer_fail(outcome, FAILURE_BAD_RESPONSE, 0,
                    mem_copy("the answer has no choices: check that base_url is an OpenAI-compatible server"),
                    body, length);
        return true;
    }
    const cJSON *failed = failed_choice(choices);
    if (failed) {
        answer_is_error(failed, &status);
        read_choices(root, true, outcome);
        answer_fail(outcome, FAILURE_HTTP, status, mem_copy("the model ended with finish_reason error"), body,
                    length);
        return true;
    }
    return false;
}

void answer_read(enum request_kind kind, char *body, size_t length, struct outcome *outcome) {
    cJSON *root = NULL;
    struct err e;
    if (json_parse(body, length, &root, &e)) {
        answer_fail(outcome, FAILURE_BAD_RESPONSE, 0,
                    length ? mem_format("the answer is not JSON: %s", e.message)
                           : mem_copy("the answer is empty"),
                    body, length);
    } else if (!is_refused(kind, root, body, length, outcome)) {
        if (is_chat(kind)) {
            read_choices(root, false, outcome);
            outcome->body = body;
            outcome->body_length = length;
        } else {
            read_usage(root, outcome);
            outcome_add(outcome, "application/json", "", 0, false);
            struct outcome_output *output = &outcome->outputs[outcome->output_count - 1];
            free(output->content);
            output->content = body;
            output->length = length;
        }
        body = NULL;
    }
    free(body);
    cJSON_Delete(root);
}
