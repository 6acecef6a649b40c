// SPDX-License-Identifier: MIT
// One message on its way to an endpoint: one POST, and what came of it.
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "provider/classify.h"
#include "provider/http.h"
#include "run/webhook.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAXIMUM                                                                                         \
    65536 // read of an answer, though nobody wants it: some take it badly when the connection ends
#define WORD_MAXIMUM 40 // of an answer's body, which Slack gives as one word

struct webhook_send {
    struct loop *loop;
    struct loop_timer timer;
    struct http_call *call;
    struct buf answer;
    size_t answered; // bytes of its body
    int format;
    enum http_reach reach;
    int64_t begun_ms, timeout_ms;
    struct webhook_result result;
    void (*on_end)(void *payload, struct webhook_send *send);
    void *payload;
};

static bool on_body(void *payload, const char *bytes, size_t length) {
    struct webhook_send *s = payload;
    buf_append(&s->answer, bytes, length); // what is beyond its maximum is of no interest
    s->answered += length;
    return s->answered <= BODY_MAXIMUM;
}

static void on_sign(void *payload) {
    (void)payload;
}

static const char *get_header(void *payload, const char *name) {
    return http_header(payload, name);
}

// Only a plain word is repeated: a server's page may hold anything.
static const char *answer_word(const struct webhook_send *s) {
    const char *text = buf_borrow(&s->answer);
    bool plain = s->format == WEBHOOK_SLACK && *text && strlen(text) <= WORD_MAXIMUM &&
                 strspn(text, "abcdefghijklmnopqrstuvwxyz_") == strlen(text);
    return plain ? text : NULL;
}

// The head is the answer, also where its body broke off or does not end; a part of a head is none.
static void judge(struct webhook_send *s, const char *message) {
    struct webhook_result *r = &s->result;
    r->status = http_has_head(s->call) ? http_status(s->call) : 0;
    r->connected = http_is_connected(s->call);
    r->refused = http_is_refused(s->call);
    r->retry_after_ms = retry_after_headers(get_header, s->call, clock_wall_at());
    r->took_ms = clock_monotonic_ms() - s->begun_ms;
    const char *word = answer_word(s);
    if (r->refused && s->reach == HTTP_PUBLIC)
        snprintf(r->error, sizeof r->error,
                 "its name leads to an address that is not public: set private = yes if that is meant");
    else if (r->refused)
        snprintf(r->error, sizeof r->error,
                 "its address is link-local, not public, and such are never sent to: give another url");
    else if (http_is_headers_over(s->call))
        snprintf(r->error, sizeof r->error, "an answer with more than 64 KiB of headers");
    else if (r->status >= 300 && r->status < 400)
        snprintf(r->error, sizeof r->error,
                 "HTTP %d, a redirect, which is not followed: set url to where it leads", r->status);
    else if (r->status && (r->status < 200 || r->status > 299))
        snprintf(r->error, sizeof r->error, "HTTP %d%s%s", r->status, word ? " " : "", word ? word : "");
    else if (r->status == 0)
        text_escape_array(r->error, sizeof r->error, message, strlen(message));
}

static void end(struct webhook_send *s, const char *message) {
    loop_timer_clear(s->loop, &s->timer);
    judge(s, message);
    http_free(s->call);
    s->call = NULL;
    s->on_end(s->payload, s);
}

static void on_end(void *payload, CURLcode code, const char *message) {
    (void)code;
    end(payload, message);
}

static void on_timeout(void *payload) {
    struct webhook_send *s = payload;
    char message[64];
    snprintf(message, sizeof message, "no answer within %lld ms", (long long)s->timeout_ms);
    end(s, message);
}

static void add_signature(struct http_request *request, const char *secret, const struct webhook_message *m) {
    int64_t now_s = clock_wall_at() / 1000;
    char timestamp[32];
    struct buf signature;
    buf_init(&signature, BUF_UNLIMITED);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)now_s);
    http_add_header(request, "webhook-id", m->id);
    http_add_header(request, "webhook-timestamp", timestamp);
    if (*secret && webhook_sign(&signature, secret, m->id, now_s, m->body))
        http_add_header(request, "webhook-signature", buf_borrow(&signature));
    buf_free(&signature);
}

static int begin(struct webhook_send *s, const struct webhook_endpoint *w, const char *url,
                 const char *secret, const struct webhook_message *m, struct err *e) {
    const struct http_listener listener = {on_body, on_sign, on_end, s};
    s->reach = w->is_private ? HTTP_NOT_LINK_LOCAL : http_reach_of(url);
    struct http_request request = {.fresh = true,
                                   .reach = s->reach,
                                   .url = mem_copy(url),
                                   .body = mem_copy(m->body),
                                   .body_length = strlen(m->body),
                                   .connect_timeout_ms = w->timeout_ms};
    http_add_header(&request, "Content-Type", "application/json");
    http_add_header(&request, "User-Agent", "genrun-webhook");
    add_signature(&request, secret, m);
    s->call = http_start(s->loop, &request, &listener, e);
    return s->call ? 0 : (int)e->code;
}

int webhook_send_start(struct webhook_send **out, struct loop *loop, const struct webhook_endpoint *w,
                       const struct webhook_message *message,
                       void (*ended)(void *payload, struct webhook_send *send), void *payload,
                       struct err *e) {
    struct buf url, secret;
    *out = NULL;
    buf_init(&url, WEBHOOK_SECRET_MAXIMUM);
    buf_init(&secret, WEBHOOK_SECRET_MAXIMUM);
    int result = webhook_url(w, &url, e);
    if (!result)
        result = webhook_secret(w, &secret, e);
    if (!result) {
        struct webhook_send *s = mem_alloc(1, sizeof *s);
        *s = (struct webhook_send){.loop = loop,
                                   .format = w->format,
                                   .begun_ms = clock_monotonic_ms(),
                                   .timeout_ms = w->timeout_ms,
                                   .on_end = ended,
                                   .payload = payload,
                                   .timer = {.on_due = on_timeout, .payload = s}};
        buf_init(&s->answer, 512);
        result = begin(s, w, buf_borrow(&url), buf_borrow(&secret), message, e);
        if (result)
            webhook_send_free(s);
        else
            loop_timer_set(loop, &s->timer, s->begun_ms + w->timeout_ms);
        *out = result ? NULL : s;
    }
    webhook_wipe(&url);
    webhook_wipe(&secret);
    return result;
}

const struct webhook_result *webhook_send_result(const struct webhook_send *send) {
    return &send->result;
}

void webhook_send_free(struct webhook_send *s) {
    if (!s)
        return;
    loop_timer_clear(s->loop, &s->timer);
    http_free(s->call);
    buf_free(&s->answer);
    free(s);
}
