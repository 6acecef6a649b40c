// SPDX-License-Identifier: MIT
// A provider is the adapter to one kind of model server. It sees a request as a
// value and gives back an outcome; it knows nothing of queues or databases.
#ifndef GENRUN_PROVIDER_PROVIDER_H
#define GENRUN_PROVIDER_PROVIDER_H

#include "loop/loop.h"
#include "provider/model.h"
#include "provider/probe.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum provider_step { STEP_CONNECT, STEP_WAIT, STEP_STREAM }; // in this order within an attempt
// The public name: provider:connect, provider:wait, provider:stream.
const char *provider_step_name(enum provider_step step);

// What an attempt needs. The texts stay valid until the call ends.
struct provider_request {
    const struct model *model;
    const char *model_id; // the name asked for (differs from model->name under [model *])
    const char *generation_id;
    const char *runner_id;  // what a process of this call is marked with
    int start;              // number of this start, from 1
    const char *prompt;     // NULL: parameters is the whole request body
    const char *parameters; // a JSON object
    const char *endpoint;   // NULL: the model's
    bool unstreamed;        // this model's server refused to stream before
    size_t max_output;      // bytes of a response, beyond it the call fails
};

// Why a call gave no result, before judgement: facts only (classify.h judges).
enum failure_kind {
    FAILURE_NONE,
    FAILURE_HTTP,    // an answer with an error: http_status (0: told inside a 2xx, without a status), body
    FAILURE_CONNECT, // DNS, refused, unreachable, TLS: surely not executed
    FAILURE_NETWORK, // the connection broke after the request was sent
    FAILURE_TIMEOUT, // one of the clocks; `message` says which
    FAILURE_BAD_RESPONSE,  // 2xx, but not what was asked for (not JSON, no choices, cut short)
    FAILURE_TOO_LARGE,     // more than max_output, or than the outputs a generation keeps
    FAILURE_REQUEST,       // the request cannot be built or sent as given
    FAILURE_CONFIGURATION, // the key or address is missing
    FAILURE_SCRIPTED, // the model said the error's type itself: `type` (the echo model, a command's JSON)
    FAILURE_EXIT,     // a command exited with `exit_status`
    FAILURE_SIGNAL,   // a command was killed by signal `exit_status`
    FAILURE_SHORTAGE  // this system gives no process, file or memory for the call
};

struct failure {
    enum failure_kind kind;
    int http_status;        // 0: none
    int exit_status;        // FAILURE_EXIT, FAILURE_SIGNAL
    char *type;             // FAILURE_SCRIPTED: an error type of the contract
    char *message;          // one line, without secrets
    char *body;             // the response body or stream event that told, at most 64 KiB; may be NULL
    int64_t retry_after_ms; // from headers; -1: none given
    char *where;            // URL without credentials or query, or the command
};

struct outcome_output {
    char *mime;
    char *content;
    size_t length;
    bool partial;
};

// The end of a call; fields that do not apply are zero (tokens and cost: -1 unknown).
struct outcome {
    struct failure failure; // kind FAILURE_NONE: success
    struct outcome_output *outputs;
    size_t output_count;
    int http_status;
    char *request_id; // the server's x-request-id
    char *body;       // the whole response body, as an unstreamed call gives it; NULL: the same as outputs[0]
    size_t body_length;
    int64_t input_tokens;
    int64_t output_tokens;
    char *finish_reason;
    bool stream_refused; // the server said 400 to stream: ask unstreamed from now on
};
struct outcome *outcome_new(void);
void outcome_free(struct outcome *outcome); // NULL is fine
// Appends an output (copies the bytes).
void outcome_add(struct outcome *outcome, const char *mime, const char *content, size_t length, bool partial);

struct provider_listener {
    // A step was reached, or content arrived (content_bytes > 0: real progress; 0: only a sign
    // that the connection lives). Called from the loop, once a pass at most; steps never go back, and before
    // the first content none is STEP_STREAM. It may stop the call. A short call may end without any.
    void (*on_progress)(void *payload, enum provider_step step, size_t content_bytes);
    // The call ended; takes the outcome. Called once, from the loop, never from start() itself,
    // and never after stop().
    void (*on_end)(void *payload, struct outcome *outcome);
    void *payload;
};

struct provider_call; // the adapter's own state of one attempt

struct provider {
    const char *name;
    // Begins an attempt. On failure an outcome is still delivered through on_end; it returns NULL only
    // when it could not even do that. Never blocks. `request` (the struct) is copied; its texts are borrowed.
    struct provider_call *(*start)(struct loop *loop, const struct provider_request *request,
                                   const struct provider_listener *listener);
    // Ends an attempt at once: closes the connection, frees the call. Returns what was received so far
    // (outputs marked partial, tokens when known), failure.kind FAILURE_NONE; never NULL. on_end is not called.
    struct outcome *(*stop)(struct provider_call *call);
    // True when the call has no sign of progress before its end (an unstreamed request).
    bool (*is_opaque)(const struct provider_call *call);
    // Begins a probe, as probe_start() says; NULL: this provider cannot be asked.
    struct probe *(*probe)(struct loop *loop, const struct model *model, const char *model_id,
                           probe_end on_end, void *payload);
};

extern const struct provider provider_echo;
extern const struct provider provider_openai;
extern const struct provider provider_command;
// By name; NULL when there is none. `names` of all, for messages.
const struct provider *provider_find(const char *name);
const char *const *provider_names(size_t *count);

#endif
