// SPDX-License-Identifier: MIT
// The provider `openai`: any server that speaks OpenAI's HTTP API. Chat
// completions are asked to stream where the model allows it, so that progress is
// seen and partial text survives, and are put together again; every other
// endpoint answers in one piece.
#include "provider/provider.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "provider/answer.h"
#include "provider/classify.h"
#include "provider/completion.h"
#include "provider/headers.h"
#include "provider/http.h"
#include "provider/openai_probe.h"
#include "provider/request.h"
#include "provider/sse.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define DONE_GRACE_MS 200 // from [DONE] to the end of the response; then the connection is given up

// How the response's body is taken, decided by its head.
enum mode { MODE_HEAD, MODE_STREAM, MODE_BODY, MODE_ERROR };

struct provider_call {
    struct loop *loop;
    struct provider_request request;
    struct provider_listener listener;
    enum request_kind kind;
    bool asked_stream;
    struct http_call *http;
    struct outcome *outcome;
    struct loop_task first; // tells of the first step, or of a call that could not begin
    struct loop_timer grace;

    enum mode mode;
    struct buf body; // MODE_BODY: all of it; MODE_ERROR: its head
    struct sse sse;
    struct completion *completion;
    bool done; // [DONE] came

    enum provider_step step;
    size_t content_bytes; // not yet told of
};

static void free_call(struct provider_call *call) {
    loop_defer_cancel(call->loop, &call->first);
    loop_timer_clear(call->loop, &call->grace);
    http_free(call->http);
    sse_free(&call->sse);
    completion_free(call->completion);
    buf_free(&call->body);
    outcome_free(call->outcome);
    free(call);
}

// Fails the call with what the server said, unless it failed before.
static void fail(struct provider_call *call, enum failure_kind kind, int http_status, char *message,
                 const char *body, size_t length) {
    if (call->outcome->failure.kind) {
        free(message);
        return;
    }
    answer_fail(call->outcome, kind, http_status, message, body, length);
}

// ---- the stream ----

static bool on_chunk(struct provider_call *call, const char *type, const char *data, size_t length) {
    struct err e;
    cJSON *root = NULL;
    int rc = json_parse(data, length, &root, &e);
    int status = 0;
    size_t content_bytes = 0;
    bool is_error = answer_is_error(root, &status);
    if (is_error || strcmp(type, "error") == 0) {
        fail(call, FAILURE_HTTP, status, mem_copy("the server ended the stream with an error"), data, length);
    } else if (rc) {
        fail(call, FAILURE_BAD_RESPONSE, 0,
             mem_format("the stream has an event that is not JSON: %s", e.message), data, length);
    } else if (!cJSON_IsObject(root)) {
        fail(call, FAILURE_BAD_RESPONSE, 0, mem_copy("the stream has an event that is not an object"), data,
             length);
    } else if (strcmp(json_text(root, "type", ""), "ping") != 0 &&
               (rc = completion_add(call->completion, data, root, &content_bytes, &e))) {
        fail(call, rc == ERR_WORK ? FAILURE_TOO_LARGE : FAILURE_BAD_RESPONSE, 0, mem_copy(e.message), data,
             length);
    }
    call->content_bytes += content_bytes;
    cJSON_Delete(root);
    return !call->outcome->failure.kind;
}

static bool on_event(void *payload, const char *type, const char *data, size_t length) {
    struct provider_call *call = payload;
    if (call->done || !length || strcmp(type, "ping") == 0)
        return true;
    if (text_starts_with(data, "[DONE]")) {
        call->done = true;
        loop_timer_set(call->loop, &call->grace, clock_monotonic_ms() + DONE_GRACE_MS);
        return true;
    }
    return on_chunk(call, type, data, length);
}

// ---- the response ----

static bool header_has(const struct http_call *http, const char *name, const char *word) {
    const char *value = http_header(http, name);
    return value && text_find_nocase(value, word);
}

// Some servers stream without saying so in Content-Type; JSON never begins like an event.
static enum mode choose_mode(const struct provider_call *call, char first) {
    int status = http_status(call->http);
    if (status < 200 || status > 299)
        return MODE_ERROR;
    if (!call->asked_stream)
        return MODE_BODY;
    if (header_has(call->http, "content-type", "text/event-stream"))
        return MODE_STREAM;
    bool is_json = header_has(call->http, "content-type", "json");
    return !is_json && (first == 'd' || first == 'e' || first == ':') ? MODE_STREAM : MODE_BODY;
}

static char *too_large(const struct provider_call *call) {
    return mem_format("the answer is larger than max_output (%zu bytes): raise it or ask for less",
                      call->request.max_output);
}

static bool on_body(void *payload, const char *bytes, size_t length) {
    struct provider_call *call = payload;
    if (!length)
        return true;
    if (call->mode == MODE_HEAD) {
        call->mode = choose_mode(call, *bytes);
        if (call->mode == MODE_ERROR)
            buf_init(&call->body, ANSWER_HEAD_MAXIMUM);
    }
    switch (call->mode) {
    case MODE_HEAD:
        return false;
    case MODE_STREAM:
        if (!sse_feed(&call->sse, bytes, length)) {
            fail(call, FAILURE_TOO_LARGE, 0, too_large(call), NULL, 0);
            return false;
        }
        return true;
    case MODE_BODY:
        if (!buf_append(&call->body, bytes, length)) {
            fail(call, FAILURE_TOO_LARGE, 0, too_large(call), NULL, 0);
            return false;
        }
        return true;
    case MODE_ERROR: {
        // The head is enough; the rest is not waited for.
        size_t room = ANSWER_HEAD_MAXIMUM - call->body.length;
        buf_append(&call->body, bytes, length < room ? length : room);
        return length < room;
    }
    }
    return false;
}

// ---- progress ----

static void tell_progress(void *payload) {
    struct provider_call *call = payload;
    if (call->http && http_is_connected(call->http) && call->step == STEP_CONNECT)
        call->step = STEP_WAIT;
    if (call->content_bytes)
        call->step = STEP_STREAM;
    size_t content_bytes = call->content_bytes;
    call->content_bytes = 0;
    // Last, because the listener may stop the call.
    call->listener.on_progress(call->listener.payload, call->step, content_bytes);
}

// ---- the end ----

static void deliver(struct provider_call *call) {
    struct provider_listener listener = call->listener;
    struct outcome *outcome = call->outcome;
    call->outcome = NULL;
    free_call(call);
    listener.on_end(listener.payload, outcome);
}

static void add_partial(struct provider_call *call) {
    if (completion_is_empty(call->completion))
        return;
    struct buf body;
    buf_init(&body, BUF_UNLIMITED);
    completion_write(call->completion, &body);
    answer_read_partial(buf_borrow(&body), body.length, call->outcome);
    buf_free(&body);
}

// A word that begins with "stream" ("upstream" is another matter).
static bool names_stream(const char *text) {
    const char *at = text;
    while ((at = text_find_nocase(at, "stream"))) {
        if (at == text || !isalnum((unsigned char)at[-1]))
            return true;
        at++;
    }
    return false;
}

static const char *get_header(void *payload, const char *name) {
    return http_header(payload, name);
}

static void judge_error(struct provider_call *call, int status) {
    const char *body = buf_borrow(&call->body);
    char *message = status >= 300 && status <= 399
                        ? mem_format("the server redirects (%d), which is not followed: "
                                     "set base_url to the final address",
                                     status)
                        : mem_format("the server answered %d", status);
    fail(call, FAILURE_HTTP, status, message, body, call->body.length);
    call->outcome->stream_refused = call->asked_stream && status == 400 && names_stream(body);
}

static void judge_stream(struct provider_call *call, CURLcode result, const char *message) {
    if (result == CURLE_OK && !call->outcome->failure.kind && !sse_end(&call->sse))
        fail(call, FAILURE_TOO_LARGE, 0, too_large(call), NULL, 0);
    bool complete = call->done || completion_is_finished(call->completion);
    if (!call->outcome->failure.kind && complete && !completion_is_empty(call->completion)) {
        struct buf body;
        buf_init(&body, BUF_UNLIMITED);
        completion_write(call->completion, &body);
        size_t length = body.length;
        answer_read(call->kind, buf_take(&body), length, call->outcome);
        return;
    }
    if (result != CURLE_OK)
        fail(call, FAILURE_NETWORK, 0, mem_format("the stream broke off: %s", message), NULL, 0);
    else if (completion_is_empty(call->completion))
        fail(call, FAILURE_BAD_RESPONSE, 0, mem_copy("the stream ended without any choice"), NULL, 0);
    else
        fail(call, FAILURE_BAD_RESPONSE, 0, mem_copy("the stream ended without finish_reason and [DONE]"),
             NULL, 0);
    add_partial(call);
}

static void judge_transfer(struct provider_call *call, CURLcode result, const char *message) {
    const char *where = call->outcome->failure.where ? call->outcome->failure.where : "the server";
    bool connected = http_is_connected(call->http);
    if (!connected && (result == CURLE_URL_MALFORMAT || result == CURLE_UNSUPPORTED_PROTOCOL))
        fail(call, FAILURE_CONFIGURATION, 0,
             mem_format("cannot call %s (%s): set base_url to the server's address", where,
                        curl_easy_strerror(result)),
             NULL, 0);
    else if (!connected)
        fail(call, FAILURE_CONNECT, 0, mem_format("cannot connect to %s: %s", where, message), NULL, 0);
    else if (result == CURLE_UNSUPPORTED_PROTOCOL || result == CURLE_WEIRD_SERVER_REPLY)
        fail(call, FAILURE_BAD_RESPONSE, 0, mem_copy("the server does not answer in HTTP: check base_url"),
             NULL, 0);
    else if (http_is_headers_over(call->http))
        fail(call, FAILURE_BAD_RESPONSE, 0, mem_copy("the answer has more than 64 KiB of headers"), NULL, 0);
    else if (result == CURLE_SEND_FAIL_REWIND)
        fail(
            call, FAILURE_NETWORK, 0,
            mem_copy("the server closed a kept connection after the request was sent; it was not sent again"),
            NULL, 0);
    else
        fail(call, FAILURE_NETWORK, 0, mem_format("the connection to %s broke: %s", where, message), NULL, 0);
}

// What the head of the response tells, whatever the end.
static void read_head(struct provider_call *call) {
    struct outcome *outcome = call->outcome;
    outcome->http_status = http_status(call->http);
    const char *id = http_header(call->http, "x-request-id");
    if (!id)
        id = http_header(call->http, "request-id");
    outcome->request_id = mem_copy(id);
    http_mask_secrets(call->http, outcome->request_id);
}

static void judge(struct provider_call *call, CURLcode result, const char *message) {
    read_head(call);
    int status = call->outcome->http_status;
    if (call->mode == MODE_STREAM) {
        judge_stream(call, result, message);
    } else if (call->outcome->failure.kind) {
        // told already
    } else if (status && (status < 200 || status > 299) && !http_is_headers_over(call->http)) {
        judge_error(call, status);
    } else if (result != CURLE_OK) {
        judge_transfer(call, result, message);
    } else {
        size_t length = call->body.length;
        answer_read(call->kind, buf_take(&call->body), length, call->outcome);
    }
    struct failure *failure = &call->outcome->failure;
    http_mask_secrets(call->http, failure->body);
    if (failure->kind == FAILURE_HTTP)
        failure->retry_after_ms = retry_after_headers(get_header, call->http, clock_wall_at());
}

static void on_http_end(void *payload, CURLcode result, const char *message) {
    struct provider_call *call = payload;
    judge(call, result, message);
    deliver(call);
}

// The server keeps the response open after [DONE].
static void on_grace_over(void *payload) {
    on_http_end(payload, CURLE_OK, "");
}

// ---- the beginning ----

static int make_headers(const struct provider_call *call, struct curl_slist **headers, struct err *e) {
    char *idempotency = mem_format("%s-%d", call->request.generation_id, call->request.start);
    const char *const ours[][2] = {
        {"Content-Type", "application/json"},
        {"Accept", call->asked_stream ? "text/event-stream, application/json" : "application/json"},
        {"Idempotency-Key", idempotency},
    };
    int rc = headers_make(headers, call->request.model, ours, sizeof ours / sizeof *ours, true, e);
    free(idempotency);
    return rc;
}

static enum failure_kind kind_of(int rc) {
    return rc == ERR_CONFIG ? FAILURE_CONFIGURATION : rc == ERR_INVALID ? FAILURE_REQUEST : FAILURE_CONNECT;
}

static void send_request(struct provider_call *call) {
    struct err e;
    // Kept connections may all be dead by now (a server that was restarted): a retry does not meet a second one.
    struct http_request http = {.connect_timeout_ms = call->request.model->connect_timeout_ms,
                                .fresh = call->request.start > 1};
    const struct http_listener listener = {
        .on_body = on_body, .on_sign = tell_progress, .on_end = on_http_end, .payload = call};
    struct buf body;
    buf_init(&body, BUF_UNLIMITED);
    int rc = request_url(&call->request, &http.url, &call->outcome->failure.where, &e);
    if (!rc)
        rc = make_headers(call, &http.headers, &e);
    if (!rc)
        rc = request_body(&call->request, &body, &e);
    if (!rc) {
        http.body_length = body.length;
        http.body = buf_take(&body);
        call->http = http_start(call->loop, &http, &listener, &e);
        rc = call->http ? 0 : ERR_REMOTE;
    }
    if (rc)
        answer_fail(call->outcome, kind_of(rc), 0, mem_copy(e.message), NULL, 0);
    http_request_clear(&http);
    buf_free(&body);
}

static void on_first(void *payload) {
    struct provider_call *call = payload;
    if (call->http)
        tell_progress(call);
    else
        deliver(call);
}

static struct provider_call *openai_start(struct loop *loop, const struct provider_request *request,
                                          const struct provider_listener *listener) {
    struct provider_call *call = mem_alloc(1, sizeof *call);
    call->loop = loop;
    call->request = *request;
    if (!call->request.max_output)
        call->request.max_output = BUF_UNLIMITED;
    call->listener = *listener;
    call->kind = request_kind(request);
    call->asked_stream = request_is_streamed(request);
    call->outcome = outcome_new();
    call->first = (struct loop_task){.on_run = on_first, .payload = call};
    call->grace = (struct loop_timer){.on_due = on_grace_over, .payload = call};
    buf_init(&call->body, call->request.max_output);
    sse_init(&call->sse, call->request.max_output, on_event, call);
    call->completion = completion_new(call->request.max_output);
    send_request(call);
    loop_defer(loop, &call->first);
    return call;
}

static struct outcome *openai_stop(struct provider_call *call) {
    if (call->http)
        read_head(call);
    struct outcome *outcome = call->outcome;
    // Only what came counts; a failure not yet told of is forgotten.
    free(outcome->failure.message);
    free(outcome->failure.body);
    outcome->failure.message = outcome->failure.body = NULL;
    outcome->failure.kind = FAILURE_NONE;
    outcome->failure.http_status = 0;
    add_partial(call);
    call->outcome = NULL;
    free_call(call);
    return outcome;
}

static bool openai_is_opaque(const struct provider_call *call) {
    return !call->asked_stream || call->mode == MODE_BODY || call->mode == MODE_ERROR;
}

const struct provider provider_openai = {.name = "openai",
                                         .start = openai_start,
                                         .stop = openai_stop,
                                         .is_opaque = openai_is_opaque,
                                         .probe = openai_probe_start};
