// SPDX-License-Identifier: MIT
// Reads the body of a 2xx answer of an OpenAI-compatible server into an outcome:
// its outputs, usage and finish_reason, or why it is none (OpenRouter answers 200
// with an error in it; proxies answer 200 with a page).
#ifndef GENRUN_PROVIDER_ANSWER_H
#define GENRUN_PROVIDER_ANSWER_H

#include "provider/request.h"
#include <cjson/cJSON.h>

#define ANSWER_HEAD_MAXIMUM 65536 // what is kept of a body that tells of a failure

// Fills the outcome from a whole body, which it takes (malloced, NUL-terminated). Chat and completions: an output
// a choice, the body beside them; a choice without text but with tool calls gives its message as JSON. Other
// endpoints: the body is the output.
void answer_read(enum request_kind kind, char *body, size_t length, struct outcome *outcome);
// Adds what there is of a chat completion that broke off: its texts as partial outputs, and its usage.
void answer_read_partial(const char *body, size_t length, struct outcome *outcome);

// True when `root` is an answer or a stream's event that tells of an error; *status: the HTTP status that it
// names as its code, 0: none.
bool answer_is_error(const cJSON *root, int *status);

// Makes the outcome a failure. `message` is taken; `body` (may be NULL) is copied, its head at most.
void answer_fail(struct outcome *outcome, enum failure_kind kind, int http_status, char *message,
                 const char *body, size_t length);

#endif
