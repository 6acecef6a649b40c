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

struct once {
    const char *name;
    int count;
};

static enum MHD_Result count_header(void *payload, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    (void)kind;
    (void)value;
    for (struct once *o = payload; o->name; o++)
        o->count += strcasecmp(o->name, name) == 0;
    return MHD_YES;
}

static bool check_once(struct exchange *x) {
    struct once once[] = {{"Host", 0},
                          {"Content-Length", 0},
                          {"Transfer-Encoding", 0},
                          {"Authorization", 0},
                          {"X-Internal-Secret", 0},
                          {"Content-Type", 0},
                          {"Origin", 0},
                          {NULL, 0}};
    MHD_get_connection_values(x->connection->mhd, MHD_HEADER_KIND, count_header, once);
    for (struct once *o = once; o->name; o++)
        if (o->count > 1) {
            exchange_answer_header(x, "Connection", "close");
            exchange_error(x, 400, NULL, "duplicate_header", o->name,
                           "the header %s stands there %d times: send it once", o->name, o->count);
            return false;
        }
    if (once[1].count && once[2].count) {
        exchange_answer_header(x, "Connection", "close");
        exchange_error(x, 400, NULL, "ambiguous_length", "Content-Length",
                       "Content-Length and Transfer-Encoding exclude each other: send one of them");
        return false;
    }
    return true;
}

static bool check_length(struct exchange *x) {
    const char *text = exchange_header(x, "Content-Length");
    const char *coding = exchange_header(x, "Transfer-Encoding");
    if (coding && strcasecmp(coding, "chunked") != 0) {
        exchange_answer_header(x, "Connection", "close");
        exchange_error(x, 501, NULL, "unknown_transfer_encoding", "Transfer-Encoding",
                       "Transfer-Encoding '%s' is not known here: send chunked, or a Content-Length", coding);
        return false;
    }
    if (text && (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18)) {
        exchange_answer_header(x, "Connection", "close");
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
    if (!host) {
        // HTTP/1.0 has none, and no browser speaks it.
        return true;
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
    exchange_answer_header(x, "Access-Control-Expose-Headers", "x-request-id, Retry-After, Location");
    exchange_answer_header(x, "Vary", "Origin");
}

bool head_check(struct exchange *x) {
    return check_once(x) && check_host(x) && check_origin(x) && check_length(x);
}
