// SPDX-License-Identifier: MIT
// The head of a request: what the library lets through and we do not. Two lengths or
// two hosts are how requests are smuggled past a proxy; a foreign Host is how a page
// of another site reaches a server on this machine (DNS rebinding).
#include "base/mem.h"
#include "base/text.h"
#include "http/state.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TOKEN "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Headers that must not stand there twice.
enum { HOST, CONTENT_LENGTH, TRANSFER_ENCODING, ONCE = 8 };
static const char *const once[ONCE] = {
    [HOST] = "Host",
    [CONTENT_LENGTH] = "Content-Length",
    [TRANSFER_ENCODING] = "Transfer-Encoding",
    "Authorization",
    "X-Internal-Secret",
    "Content-Type",
    "Content-Encoding",
    "Origin",
};

struct seen {
    int count[ONCE];
    bool has_bad_name; // "Content-Length " is no length to the library, and may be one to a proxy
};

static enum MHD_Result count_header(void *payload, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    struct seen *seen = payload;
    (void)kind;
    (void)value;
    for (int i = 0; i < ONCE; i++)
        seen->count[i] += strcasecmp(once[i], name) == 0;
    seen->has_bad_name |= !*name || strspn(name, TOKEN) != strlen(name);
    return MHD_YES;
}

// Where the request ends is not sure: nothing more is read of this connection.
static void close_after(struct exchange *x) {
    x->is_unsound = true;
    exchange_answer_header(x, "Connection", "close");
}

static bool check_headers(struct exchange *x) {
    struct seen seen = {0};
    MHD_get_connection_values(x->connection->mhd, MHD_HEADER_KIND, count_header, &seen);
    if (seen.has_bad_name) {
        close_after(x);
        exchange_error(x, 400, NULL, "invalid_header", NULL,
                       "the name of a header is none: write Name: value, without a blank before the colon");
        return false;
    }
    for (int i = 0; i < ONCE; i++)
        if (seen.count[i] > 1) {
            close_after(x);
            exchange_error(x, 400, NULL, "duplicate_header", once[i],
                           "the header %s stands there %d times: send it once", once[i], seen.count[i]);
            return false;
        }
    if (seen.count[CONTENT_LENGTH] && seen.count[TRANSFER_ENCODING]) {
        close_after(x);
        exchange_error(x, 400, NULL, "ambiguous_length", "Content-Length",
                       "Content-Length and Transfer-Encoding exclude each other: send one of them");
        return false;
    }
    return true;
}

static bool check_coding(struct exchange *x) {
    const char *coding = exchange_header(x, "Content-Encoding");
    if (!coding || strcasecmp(coding, "identity") == 0)
        return true;
    exchange_error(x, 415, NULL, "unsupported_content_encoding", "Content-Encoding",
                   "the body is encoded, and nothing is decoded here: send it without Content-Encoding");
    return false;
}

static bool check_length(struct exchange *x) {
    const char *text = exchange_header(x, "Content-Length");
    const char *coding = exchange_header(x, "Transfer-Encoding");
    if (coding && strcasecmp(coding, "chunked") != 0) {
        close_after(x);
        exchange_error(x, 501, NULL, "unknown_transfer_encoding", "Transfer-Encoding",
                       "Transfer-Encoding '%s' is not known here: send chunked, or a Content-Length", coding);
        return false;
    }
    if (text && (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18)) {
        close_after(x);
        exchange_error(x, 400, NULL, "invalid_length", "Content-Length",
                       "Content-Length is not a number of bytes");
        return false;
    }
    // A form has other fields beside its file.
    if (text && strtoll(text, NULL, 10) > x->server->max_body + UPLOAD_FORM_BYTES) {
        exchange_answer_header(x, "Connection", "close");
        exchange_error(x, 413, NULL, "body_too_large", NULL,
                       "the body has %s bytes, and [http] max_body allows %lld: send less, or raise it", text,
                       (long long)x->server->max_body);
        return false;
    }
    return true;
}

// HOST[:PORT] of an URL such as http://host:port/path.
static bool names_authority(const char *url, const char *authority) {
    const char *start = url ? strstr(url, "://") : NULL;
    if (!start)
        return false;
    start += 3;
    size_t length = strcspn(start, "/");
    return strlen(authority) == length && strncasecmp(start, authority, length) == 0;
}

static bool is_own_host(const struct server *s, const char *host) {
    char expected[80];
    const char *const names[] = {"localhost", "127.0.0.1", "[::1]", s->address.host, NULL};
    if (names_authority(s->base_url, host))
        return true;
    // Where keys are needed in any case and no public name is configured, every name may be ours.
    if (!s->address.is_loopback && !s->base_url)
        return true;
    for (const char *const *name = names; *name; name++) {
        snprintf(expected, sizeof expected, "%s:%u", *name, (unsigned)s->address.port);
        if (strcasecmp(host, expected) == 0 || (s->address.port == 80 && strcasecmp(host, *name) == 0))
            return true;
    }
    return false;
}

static bool check_host(struct exchange *x) {
    const char *host = exchange_header(x, "Host");
    if (!host && x->is_old) // it has none, and no browser speaks it
        return true;
    if (!host) {
        exchange_error(x, 400, NULL, "missing_host", "Host",
                       "the request has no Host: send one, as HTTP/1.1 says");
        return false;
    }
    if (is_own_host(x->server, host))
        return true;
    struct buf shown;
    buf_init(&shown, 256);
    text_escape(&shown, host, strlen(host), 64);
    exchange_error(x, 421, NULL, "wrong_host", "Host",
                   "this server is not %s: use its address, or set [http] base_url", buf_borrow(&shown));
    buf_free(&shown);
    return false;
}

static bool is_in_list(char *const *list, const char *origin) {
    for (; list && *list; list++)
        if (strcasecmp(*list, origin) == 0)
            return true;
    return false;
}

// http://HOST:PORT is our own when HOST:PORT is what the request was sent to.
static bool is_own_origin(const struct exchange *x, const char *origin) {
    const char *host = exchange_header(x, "Host");
    return host && names_authority(origin, host);
}

static bool check_origin(struct exchange *x) {
    const char *origin = exchange_header(x, "Origin");
    if (!origin || is_own_origin(x, origin) || is_in_list(x->server->cors_origins, origin))
        return true;
    struct buf shown;
    buf_init(&shown, 512);
    text_escape(&shown, origin, strlen(origin), 80);
    exchange_error(x, 403, NULL, "foreign_origin", "Origin",
                   "pages of %s may not use this server: allow them by [http] cors_origin",
                   buf_borrow(&shown));
    buf_free(&shown);
    return false;
}

void head_allow_origin(struct exchange *x) {
    const char *origin = exchange_header(x, "Origin");
    if (!origin || !is_in_list(x->server->cors_origins, origin))
        return;
    exchange_answer_header(x, "Access-Control-Allow-Origin", origin);
    exchange_answer_header(x, "Access-Control-Expose-Headers",
                           "x-request-id, x-should-retry, Retry-After, Location");
    exchange_answer_header(x, "Vary", "Origin");
}

bool head_check(struct exchange *x) {
    return check_headers(x) && check_length(x) && check_host(x) && check_origin(x) && check_coding(x);
}
