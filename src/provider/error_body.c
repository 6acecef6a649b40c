// SPDX-License-Identifier: MIT
// Unwraps error bodies. Nothing here is trusted: a field of another type than
// expected is not there, text that is no JSON is a message.
#include "provider/error_body.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "provider/classify.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MESSAGE_MAX ((size_t)16 * 1024)

// Names in code, type or status that stand for an HTTP status, for errors that come after a 200.
static const struct {
    const char *name;
    int status;
} name_statuses[] = {
    {"invalid_request_error", 400},
    {"invalid_request", 400},
    {"invalid_argument", 400},
    {"bad_request", 400},
    {"failed_precondition", 400},
    {"out_of_range", 400},
    {"context_length_exceeded", 400},
    {"exceed_context_size_error", 400},
    {"string_above_max_length", 400},
    {"content_filter", 400},
    {"authentication_error", 401},
    {"invalid_api_key", 401},
    {"unauthenticated", 401},
    {"unauthorized", 401},
    {"billing_error", 402},
    {"permission_error", 403},
    {"permission_denied", 403},
    {"forbidden", 403},
    {"not_found_error", 404},
    {"not_found", 404},
    {"model_not_found", 404},
    {"aborted", 409},
    {"request_too_large", 413},
    {"rate_limit_error", 429},
    {"rate_limit_exceeded", 429},
    {"insufficient_quota", 429},
    {"resource_exhausted", 429},
    {"slow_down", 429},
    {"too_many_requests", 429},
    {"api_error", 500},
    {"server_error", 500},
    {"internal_server_error", 500},
    {"internal", 500},
    {"unknown", 500},
    {"not_supported_error", 501},
    {"unimplemented", 501},
    {"bad_gateway", 502},
    {"service_unavailable_error", 503},
    {"server_is_overloaded", 503},
    {"unavailable_error", 503},
    {"unavailable", 503},
    {"timeout_error", 504},
    {"deadline_exceeded", 504},
    {"overloaded_error", 529},
};

static int status_of_name(const char *name) {
    for (size_t i = 0; i < sizeof name_statuses / sizeof name_statuses[0]; i++) {
        if (strcasecmp(name, name_statuses[i].name) == 0)
            return name_statuses[i].status;
    }
    return 0;
}

static int status_of_number(double n) {
    return n >= 400 && n < 600 ? (int)n : 0;
}

// A word of the server's for a fixed field: cut, and without what would break a line.
static void copy_word(char out[64], const char *text) {
    struct buf clean;
    buf_init(&clean, BUF_UNLIMITED);
    text_escape(&clean, text, strnlen(text, 64), 0);
    snprintf(out, 64, "%s", buf_borrow(&clean));
    while (out[0] != '\0' && !text_is_utf8(out, strlen(out))) // cut inside a character
        out[strlen(out) - 1] = '\0';
    buf_free(&clean);
}

// Reads a member that is a string or a number into a word and, where it names one, a status.
static void read_word(const cJSON *object, const char *key, char out[64], int *status) {
    const cJSON *item = json_get(object, key);
    if (cJSON_IsString(item)) {
        copy_word(out, item->valuestring);
        char *end = NULL;
        double n = strtod(item->valuestring, &end);
        if (end != item->valuestring && *end == '\0') {
            *status = *status != 0 ? *status : status_of_number(n);
            return;
        }
        *status = *status != 0 ? *status : status_of_name(item->valuestring);
    } else if (cJSON_IsNumber(item)) {
        snprintf(out, 64, "%.0f",
                 item->valuedouble > 1e15 || item->valuedouble < -1e15 ? 0 : item->valuedouble);
        *status = *status != 0 ? *status : status_of_number(item->valuedouble);
    }
}

static bool contains(const char *text, const char *needle) {
    return text_find_nocase(text, needle) != NULL;
}

// Gemini's error.details[]: RetryInfo, QuotaFailure, ErrorInfo (google.rpc).
static void read_details(const cJSON *details, int64_t now_at, struct error_body *out) {
    const cJSON *detail;
    cJSON_ArrayForEach(detail, details) {
        const char *kind = json_text(detail, "@type", "");
        if (text_ends_with(kind, "RetryInfo")) {
            out->wait_ms = retry_after_parse(json_text(detail, "retryDelay", ""), now_at);
        } else if (text_ends_with(kind, "QuotaFailure")) {
            const cJSON *violation;
            cJSON_ArrayForEach(violation, json_get(detail, "violations")) {
                if (contains(json_text(violation, "quotaId", ""), "PerDay"))
                    out->daily_quota = true;
            }
        } else if (text_ends_with(kind, "ErrorInfo") && out->detail[0] == '\0') {
            copy_word(out->detail, json_text(detail, "reason", ""));
        }
    }
}

static const char *get_header(void *payload, const char *name) {
    const cJSON *header;
    cJSON_ArrayForEach(header, (const cJSON *)payload) {
        if (header->string != NULL && strcasecmp(header->string, name) == 0)
            return cJSON_IsString(header) ? header->valuestring : NULL;
    }
    return NULL;
}

// OpenRouter's error.metadata: why it refused, and the headers of the provider behind it.
static void read_metadata(const cJSON *metadata, int64_t now_at, struct error_body *out) {
    if (metadata == NULL)
        return;
    out->moderation =
        json_get(metadata, "flagged_input") != NULL || cJSON_IsArray(json_get(metadata, "reasons"));
    out->in_flight = contains(json_text(metadata, "limit_source", ""), "in_flight");
    cJSON *headers = (cJSON *)(uintptr_t)json_get(metadata, "headers"); // get_header does not change it
    if (cJSON_IsObject(headers))
        out->wait_ms = retry_after_headers(get_header, headers, now_at);
}

// The first text among the places where servers put it. FastAPI: detail is text or [{"loc":…,"msg":"…"}].
static const char *find_message(const cJSON *object) {
    static const char *const keys[] = {"message", "error_message", "error_description",
                                       "detail",  "msg",           "title"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const cJSON *item = json_get(object, keys[i]);
        if (cJSON_IsArray(item))
            item = json_get(item->child, "msg");
        else if (cJSON_IsObject(item))
            item = json_get(item, "message");
        if (cJSON_IsString(item) && item->valuestring[0] != '\0')
            return item->valuestring;
    }
    return NULL;
}

static char *copy_message(const char *text) {
    return mem_copy_bytes(text, strnlen(text, MESSAGE_MAX));
}

static void read_error_object(const cJSON *error, int64_t now_at, struct error_body *out) {
    read_word(error, "code", out->code, &out->status);
    read_word(error, "type", out->type, &out->status);
    if (out->type[0] == '\0')
        read_word(error, "status", out->type, &out->status);
    if (out->code[0] == '\0')
        read_word(error, "http_code", out->code, &out->status);
    const char *inner = json_text(json_get(error, "innererror"), "code", NULL);
    if (inner != NULL)
        copy_word(out->detail, inner);
    const cJSON *details = json_get(error, "details");
    if (cJSON_IsArray(details)) {
        read_details(details, now_at, out);
    } else if (json_text(details, "error_code", NULL) != NULL) { // Anthropic
        copy_word(out->code, json_text(details, "error_code", ""));
    }
    read_metadata(json_get(error, "metadata"), now_at, out);
    const char *message = find_message(error);
    if (message != NULL)
        out->message = copy_message(message);
    // OpenRouter says only "Provider returned error"; what the provider said stands in metadata.raw
    const char *raw = json_text(json_get(error, "metadata"), "raw", NULL);
    if (raw != NULL && raw[0] != '\0') {
        char *whole =
            mem_format("%s: %.*s", out->message != NULL ? out->message : "provider", (int)MESSAGE_MAX, raw);
        free(out->message);
        out->message = whole;
    }
}

// Reads a JSON value as an error; what has no error in it leaves is_error false.
static void read_json(const cJSON *root, int64_t now_at, struct error_body *out) {
    if (cJSON_IsArray(root)) // Gemini's OpenAI-compatible endpoint
        root = root->child;
    const cJSON *error = json_get(root, "error");
    if (error == NULL && cJSON_IsArray(json_get(root, "errors")))
        error = json_get(root, "errors")->child;
    if (error == NULL && cJSON_IsArray(json_get(root, "choices"))) // OpenRouter, with finish_reason error
        error = json_get(json_get(root, "choices")->child, "error");
    if (cJSON_IsObject(error)) {
        out->is_error = true;
        read_error_object(error, now_at, out);
    } else if (cJSON_IsString(
                   error)) { // Ollama, text-generation-inference (with error_type), xAI (with code)
        out->is_error = true;
        read_word(root, "code", out->code, &out->status);
        read_word(root, "error_type", out->type, &out->status);
        out->message = copy_message(error->valuestring);
    } else if (strcmp(json_text(root, "object", ""), "error") == 0 ||
               strcmp(json_text(root, "type", ""), "error") == 0) {
        out->is_error = true; // vLLM of old: {"object":"error","message":…,"type":…,"code":400}
        read_error_object(root, now_at, out);
    } else if (cJSON_IsObject(root)) { // gateways: {"statusCode":429,"message":"…"}, {"detail":"…"}
        const char *message = find_message(root);
        if (message != NULL)
            out->message = copy_message(message);
        if (json_get(root, "choices") == NULL) {
            int ignored = 0;
            read_word(root, "code", out->code, &ignored);
            read_word(root, "type", out->type, &ignored);
        }
    }
}

// A page of a proxy: its title, else its text without tags.
static char *html_text(const char *body) {
    const char *title = text_find_nocase(body, "<title");
    const char *start = title != NULL ? strchr(title, '>') : NULL;
    if (start != NULL) {
        const char *end = text_find_nocase(start + 1, "</title");
        size_t length = end != NULL ? (size_t)(end - start) - 1 : 0;
        if (length > 0 && strspn(start + 1, " \t\r\n") < length)
            return mem_copy_bytes(start + 1, length < MESSAGE_MAX ? length : MESSAGE_MAX);
    }
    struct buf text;
    buf_init(&text, MESSAGE_MAX);
    bool in_tag = false;
    for (const char *p = body; *p != '\0' && !text.overflow; p++) {
        if (*p == '<' || (*p == '>' && in_tag)) {
            in_tag = *p == '<';
            buf_char(&text, ' ');
        } else if (!in_tag) {
            buf_char(&text, *p);
        }
    }
    return buf_take(&text);
}

// Makes readable what a careful parser refuses but servers send: \u0000, and UTF-8 cut in a character.
static char *mend(const char *body) {
    size_t length = strlen(body);
    char *copy = mem_copy_bytes(body, length);
    for (char *p = copy; (p = strstr(p, "\\u0000")) != NULL; p += 6)
        memcpy(p, "\\ufffd", 6);
    if (!text_is_utf8(copy, length)) {
        for (char *p = copy; *p != '\0'; p++) {
            if ((unsigned char)*p >= 0x80)
                *p = '?';
        }
    }
    return copy;
}

// The JSON of a stream event that still has its field names ("event: error\ndata: {…}").
static const char *skip_event(const char *body) {
    body += strspn(body, " \t\r\n");
    if (text_starts_with(body, "event:")) {
        const char *line = strstr(body, "\ndata:");
        if (line == NULL)
            return body;
        body = line + 1;
    }
    if (text_starts_with(body, "data:"))
        body += 5;
    return body + strspn(body, " \t\r\n");
}

void error_body_read(const char *body, int64_t now_at, struct error_body *out) {
    *out = (struct error_body){.wait_ms = -1};
    body = skip_event(body != NULL ? body : "");
    cJSON *root = NULL;
    char *mended = NULL;
    if (*body == '{' || *body == '[') {
        if (json_parse(body, strlen(body), &root, NULL) != ERR_OK) {
            mended = mend(body);
            if (json_parse(mended, strlen(mended), &root, NULL) != ERR_OK)
                root = NULL;
        }
    }
    if (root != NULL)
        read_json(root, now_at, out);
    if (out->message == NULL)
        out->message = *body == '<' ? html_text(body) : copy_message(out->is_error ? "" : body);
    cJSON_Delete(root);
    free(mended);
}

void error_body_clear(struct error_body *body) {
    free(body->message);
    body->message = NULL;
}
