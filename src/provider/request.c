// SPDX-License-Identifier: MIT
// The URL and the body of a request to an OpenAI-compatible server.
#include "provider/request.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *endpoint_of(const struct provider_request *request) {
    if (request->endpoint && *request->endpoint)
        return request->endpoint;
    return request->model->endpoint && *request->model->endpoint ? request->model->endpoint
                                                                 : "/chat/completions";
}

// ---- where to ----

// True when a segment of the path names a version: "v" and a digit.
static bool has_version(const char *path, size_t length) {
    for (size_t i = 0; i + 2 < length; i++) {
        if (path[i] == '/' && path[i + 1] == 'v' && isdigit((unsigned char)path[i + 2]))
            return true;
    }
    return false;
}

// Only what a path may hold: the endpoint comes from whoever submits, the key goes where it points.
static bool is_path(const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7f || strchr("#\\\"<>^`{|}", *text))
            return false;
    }
    return true;
}

// The address without credentials, query and fragment; NULL when it cannot be read.
static char *make_where(const char *url) {
    CURLU *parts = curl_url();
    char *text = NULL, *where = NULL;
    if (parts && !curl_url_set(parts, CURLUPART_URL, url, 0)) {
        curl_url_set(parts, CURLUPART_USER, NULL, 0);
        curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0);
        curl_url_set(parts, CURLUPART_OPTIONS, NULL, 0);
        curl_url_set(parts, CURLUPART_QUERY, NULL, 0);
        curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0);
        if (!curl_url_get(parts, CURLUPART_URL, &text, 0))
            where = mem_copy(text);
    }
    curl_free(text);
    curl_url_cleanup(parts);
    return where;
}

int request_url(const struct provider_request *request, char **url, char **where, struct err *e) {
    const char *base = request->model->base_url, *endpoint = endpoint_of(request);
    *url = *where = NULL;
    if (!base || !*base)
        return err_set(e, ERR_CONFIG, "model %s has no base_url: set it to the address of the server",
                       request->model->name);
    if (strncasecmp(base, "http://", 7) != 0 && strncasecmp(base, "https://", 8) != 0)
        return err_set(e, ERR_CONFIG, "model %s: base_url is not an http or https address: set it to one",
                       request->model->name);
    const char *host = strstr(base, "://") + 3;
    size_t path_at = (size_t)(host - base) + strcspn(host, "/?#");
    size_t base_length = strcspn(base, "?#");
    const char *query = base[base_length] == '?' ? base + base_length : "";
    while (base_length > path_at && base[base_length - 1] == '/')
        base_length--;
    if (!is_path(endpoint)) {
        *where = make_where(base);
        return err_set(e, ERR_INVALID,
                       "the endpoint is not a path of a URL: give one such as /v1/chat/completions");
    }
    if (has_version(base + path_at, base_length - path_at) && text_starts_with(endpoint, "/v1/"))
        endpoint += 3;
    if (*query && strchr(endpoint, '?'))
        return err_set(e, ERR_INVALID, "both base_url and the endpoint have a query: give one of them");
    char *whole =
        mem_format("%.*s%s%s%s", (int)base_length, base, *endpoint == '/' ? "" : "/", endpoint, query);
    *where = make_where(whole);
    if (!*where || path_at == (size_t)(host - base)) {
        free(whole);
        return err_set(e, ERR_CONFIG,
                       "model %s: base_url is not an address: set it to one such as https://host/v1",
                       request->model->name);
    }
    *url = whole;
    return 0;
}

enum request_kind request_kind(const struct provider_request *request) {
    const char *endpoint = endpoint_of(request);
    char *path = mem_copy_bytes(endpoint, strcspn(endpoint, "?"));
    for (size_t length = strlen(path); length && path[length - 1] == '/'; length--)
        path[length - 1] = '\0';
    enum request_kind kind = REQUEST_OTHER;
    if (text_ends_with(path, "/chat/completions") || strcmp(path, "chat/completions") == 0)
        kind = REQUEST_CHAT;
    else if (text_ends_with(path, "/completions") || strcmp(path, "completions") == 0)
        kind = REQUEST_COMPLETIONS;
    else if (text_ends_with(path, "embeddings") || text_ends_with(path, "responses") ||
             text_ends_with(path, "moderations"))
        kind = REQUEST_INPUT;
    free(path);
    return kind;
}

bool request_is_streamed(const struct provider_request *request) {
    return request->model->stream && !request->unstreamed && request_kind(request) == REQUEST_CHAT;
}

// ---- the body ----

// One raw message of a list under construction.
static void write_message(struct buf *out, const char *role, const char *raw, size_t length) {
    buf_text(out, out->data[out->length - 1] == '[' ? "" : ",");
    buf_format(out, "{\"role\":\"%s\",\"content\":", role);
    buf_append(out, raw, length);
    buf_char(out, '}');
}

// The messages: system, those given, the prompt.
static int write_messages(const char *parameters, const char *prompt, struct buf *out, struct err *e) {
    const char *raw;
    size_t length;
    buf_text(out, "\"messages\":[");
    if (json_raw_member(parameters, "system", &raw, &length) && strncmp(raw, "null", 4) != 0) {
        if (*raw != '"' && *raw != '[')
            return err_set(e, ERR_INVALID,
                           "system in the parameters is not a text: give the system message there");
        write_message(out, "system", raw, length);
    }
    if (json_raw_member(parameters, "messages", &raw, &length) && strncmp(raw, "null", 4) != 0) {
        if (*raw != '[')
            return err_set(e, ERR_INVALID,
                           "messages in the parameters is not a list: give a list of messages");
        const char *inner = raw + 1, *end = raw + length - 1;
        while (inner < end && strchr(" \t\r\n", *inner))
            inner++;
        if (inner < end) {
            buf_text(out, out->data[out->length - 1] == '[' ? "" : ",");
            buf_append(out, inner, (size_t)(end - inner));
        }
    }
    struct buf content;
    buf_init(&content, BUF_UNLIMITED);
    json_write_text(&content, prompt);
    write_message(out, "user", content.data, content.length);
    buf_free(&content);
    buf_char(out, ']');
    return 0;
}

// What we say ourselves: the model's name, and how to stream.
static void write_ours(const struct provider_request *request, struct buf *out) {
    const char *name = request->model->remote_name && *request->model->remote_name
                           ? request->model->remote_name
                           : request->model_id;
    buf_text(out, "\"model\":");
    json_write_text(out, name);
    if (request_is_streamed(request))
        buf_text(out, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
}

static int write_prompted(const struct provider_request *request, const char *parameters, struct buf *out,
                          struct err *e) {
    static const char *const with_prompt[] = {"model", "stream", "stream_options", "prompt", NULL};
    static const char *const with_input[] = {"model", "stream", "stream_options", "input", NULL};
    static const char *const with_messages[] = {"model",  "stream",   "stream_options",
                                                "system", "messages", NULL};
    const char *const *ours = with_prompt;
    int rc = 0;
    struct buf rest;
    buf_init(&rest, BUF_UNLIMITED);
    buf_char(out, '{');
    write_ours(request, out);
    buf_char(out, ',');
    switch (request_kind(request)) {
    case REQUEST_CHAT:
        ours = with_messages;
        rc = write_messages(parameters, request->prompt, out, e);
        break;
    case REQUEST_INPUT:
        ours = with_input;
        buf_text(out, "\"input\":");
        json_write_text(out, request->prompt);
        break;
    case REQUEST_COMPLETIONS:
    case REQUEST_OTHER:
        buf_text(out, "\"prompt\":");
        json_write_text(out, request->prompt);
        break;
    }
    if (!rc) {
        // The other members follow with their own closing brace.
        json_object_edit(&rest, parameters, ours, NULL);
        const char *inner = strchr(buf_borrow(&rest), '{') + 1;
        while (strchr(" \t\r\n", *inner) && *inner)
            inner++;
        buf_text(out, *inner == '}' ? "" : ",");
        buf_text(out, inner);
    }
    buf_free(&rest);
    return rc;
}

int request_body(const struct provider_request *request, struct buf *out, struct err *e) {
    const char *parameters = request->parameters && *request->parameters ? request->parameters : "{}";
    cJSON *object = NULL;
    int rc = json_parse_object(parameters, strlen(parameters), &object, e);
    cJSON_Delete(object);
    if (rc)
        return err_prefix(e, "parameters");
    if (request->prompt)
        return write_prompted(request, parameters, out, e);
    static const char *const ours[] = {"model", "stream", "stream_options", NULL};
    struct buf extra;
    buf_init(&extra, BUF_UNLIMITED);
    write_ours(request, &extra);
    json_object_edit(out, parameters, ours, buf_borrow(&extra));
    buf_free(&extra);
    return 0;
}
