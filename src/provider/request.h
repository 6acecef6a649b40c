// SPDX-License-Identifier: MIT
// What is sent to an OpenAI-compatible server: where to, and the body. Made from
// a request as a value; nothing is sent here.
#ifndef GENRUN_PROVIDER_REQUEST_H
#define GENRUN_PROVIDER_REQUEST_H

#include "base/buf.h"
#include "provider/provider.h"

// What an endpoint speaks, by the end of its path; decides where a prompt goes and how an answer is read.
enum request_kind { REQUEST_CHAT, REQUEST_COMPLETIONS, REQUEST_INPUT, REQUEST_OTHER };

// The URL of the request's endpoint: base_url + endpoint. Where base_url has a version segment (/v1, /v1beta,
// /v4) the endpoint's own /v1 is left out; a query of base_url stays at the end. `where` receives it without
// credentials and query (as far as it can be told, even on failure; the caller frees both).
// ERR_CONFIG: base_url is missing or no http(s) address; ERR_INVALID: the endpoint is none.
int request_url(const struct provider_request *request, char **url, char **where, struct err *e) must_check;
enum request_kind request_kind(const struct provider_request *request);

// True when the server is asked to stream: chat completions of a model that streams, not refused before.
bool request_is_streamed(const struct provider_request *request);
// Appends the body. With a prompt: model, the prompt where the endpoint takes it (chat: a message of the user
// after "system" and "messages" of the parameters), and the other members of the parameters. Without: the
// parameters byte for byte. In both the model's name and the stream options are ours. ERR_INVALID when the
// parameters cannot be sent.
int request_body(const struct provider_request *request, struct buf *out, struct err *e) must_check;

#endif
