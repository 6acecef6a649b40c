// SPDX-License-Identifier: MIT
// One HTTP call: a POST or GET over libcurl, set up against what was measured to hurt.
// Knows nothing of models: bytes out, headers and bytes in.
//
//   A request is never sent twice    the body goes out by a read callback that cannot seek back, so libcurl
//                                    ends with CURLE_SEND_FAIL_REWIND where it would send a POST again on a
//                                    reused connection that the server closed
//   No thread or resolver blocks     QUICK_EXIT, NOSIGNAL
//   Keys go to the named host only   no redirects, no proxy or netrc of the environment, http and https only
//   Nothing grows without limit      headers are capped here, the body by whoever receives it; no compression
//   Children inherit no socket       sockets are made close-on-exec
//   One call a connection            HTTP/1.1; connections are kept alive for the next call, but not longer idle
//                                    than common servers keep theirs (5 s), lest a call meets a closing one
#ifndef GENRUN_PROVIDER_HTTP_H
#define GENRUN_PROVIDER_HTTP_H

#include "base/buf.h"
#include "loop/loop.h"

struct http_call;

// Which addresses may be connected to: what a name resolves to is looked at when the connection is made.
enum http_reach { HTTP_ANYWHERE, HTTP_NOT_LINK_LOCAL, HTTP_PUBLIC };

// Owned by the call once handed to http_start.
struct http_request {
    bool is_get;           // without a body
    bool fresh;            // on a connection of its own, not a kept one
    enum http_reach reach; // other than anywhere: only with `fresh`
    char *url;
    struct curl_slist *headers; // wiped when freed: they hold the key
    char *body;
    size_t body_length;
    int64_t connect_timeout_ms; // 0 or less: 10 s
};

struct http_listener {
    // Bytes of the response's body; false stops the call. Called inside libcurl: may only look at the call
    // and keep bytes.
    bool (*on_body)(void *payload, const char *bytes, size_t length);
    // The connection stands or bytes came; called from the loop, once a pass at most.
    void (*on_sign)(void *payload);
    // The call ended; `message` is libcurl's reason in words. Free the call afterwards. Never from http_start.
    void (*on_end)(void *payload, CURLcode result, const char *message);
    void *payload;
};

// Takes the request, in any case. NULL with the reason when libcurl refuses.
struct http_call *http_start(struct loop *loop, struct http_request *request,
                             const struct http_listener *listener, struct err *e) must_check;
// Ends a running call (its connection is closed) and frees it. NULL is fine.
void http_free(struct http_call *call);

int http_status(const struct http_call *call);        // of the final response; 0: none yet
bool http_is_connected(const struct http_call *call); // the request may have been sent
bool http_is_refused(const struct http_call *call);   // not connected: `reach` forbids each address there was
bool http_has_head(const struct http_call *call);     // all headers of the final response have come
bool http_is_headers_over(const struct http_call *call); // stopped: the headers were larger than the cap
// The first header of that name of the final response, NULL when there is none.
const char *http_header(const struct http_call *call, const char *name);

// Overwrites with '*' each value of a secret header of the request that stands in `text`: servers repeat keys.
void http_mask_secrets(const struct http_call *call, char *text);

void http_add_header(struct http_request *request, const char *name, const char *value);
// For a URL from outside: an address in it, or localhost, is meant; what a name leads to must be public.
enum http_reach http_reach_of(const char *url);
void http_request_clear(struct http_request *request); // frees what the fields own

#endif
