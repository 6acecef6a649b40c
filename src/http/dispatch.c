// SPDX-License-Identifier: MIT
// The way of a request: which route, who asks, what it brings; then the handler, on the
// loop, in the tick's transaction or on a worker.
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/state.h"
#include "http/worker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define JSON_MAXIMUM (INT64_C(64) << 20) // a body that is held in memory
#define LARGE_BODY ((size_t)256 << 10)   // what is larger is read and stored on a worker, not on the loop
#define SMALL_BODY (INT64_C(64) << 10)   // for what is answered on the loop, which then also reads it
#define BUFFERED_MAXIMUM (INT64_C(256) << 20) // all of them
#define DISCARD_MAXIMUM (INT64_C(64) << 10)   // of a refused body is read, so that the connection can go on

// ---- the route ----

static void not_there(struct exchange *x, const struct buf *allow) {
    struct buf shown;
    buf_init(&shown, 512);
    text_escape(&shown, x->path, strlen(x->path), 200);
    if (allow->length) {
        exchange_answer_header(x, "Allow", buf_borrow(allow));
        exchange_error(x, 405, NULL, "method_not_allowed", NULL, "%s does not take %s: it takes %s",
                       buf_borrow(&shown), x->method, buf_borrow(allow));
    } else {
        exchange_error(x, 404, NULL, "unknown_path", NULL, "there is no %s: GET /api lists what there is",
                       buf_borrow(&shown));
    }
    buf_free(&shown);
}

static bool find_route(struct exchange *x) {
    struct buf allow;
    buf_init(&allow, 256);
    for (size_t i = 0; i < route_count && !x->route; i++) {
        struct path_segments segments;
        if (!x->has_path || !path_match(route_list[i].path, x->path, strlen(x->path), &segments))
            continue;
        if (strcmp(route_list[i].method, x->method) == 0) {
            x->route = &route_list[i];
            x->segments = segments;
        } else {
            bool get = strcmp(route_list[i].method, "GET") == 0;
            buf_format(&allow, "%s%s%s", allow.length ? ", " : "", route_list[i].method, get ? ", HEAD" : "");
            path_segments_free(&segments);
        }
    }
    if (!x->route)
        not_there(x, &allow);
    buf_free(&allow);
    return x->route;
}

// A browser asks before it sends what a page of another origin wants to send.
static void answer_preflight(struct exchange *x) {
    static const char names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ";
    struct buf empty;
    // What clients add of their own, such as x-stainless-os, tells us nothing and harms nothing.
    const char *asked = exchange_header(x, "Access-Control-Request-Headers");
    bool fine = asked && strlen(asked) < 2000 && asked[strspn(asked, names)] == '\0';
    buf_init(&empty, 16);
    exchange_answer_header(x, "Access-Control-Allow-Methods", "GET, POST, DELETE");
    exchange_answer_header(
        x, "Access-Control-Allow-Headers",
        fine ? asked : "Authorization, Content-Type, X-Internal-Secret, Last-Event-ID, Idempotency-Key");
    exchange_answer_header(x, "Access-Control-Max-Age", "600");
    exchange_json(x, 204, &empty);
}

// ---- who asks ----

static const char *get_header(void *payload, const char *name) {
    return exchange_header(payload, name);
}

static bool authenticate(struct exchange *x) {
    const struct auth_request request = {.header = get_header,
                                         .payload = x,
                                         .remote = x->remote,
                                         .method = x->method,
                                         .path = x->path,
                                         .needed = x->route->role};
    struct auth_refusal why = {0};
    if (auth_judge(x->server->auth, x->server->g, &request, &x->who, &why) == AUTH_OK)
        return true;
    exchange_refuse(x, &why);
    return false;
}

// ---- what it brings ----

// application/json itself, not application/jsonl.
static bool is_json(const char *type) {
    size_t length = strlen("application/json");
    return !type || (strncasecmp(type, "application/json", length) == 0 && strchr("; \t", type[length]));
}

static void take_field_error(struct exchange *x, struct field_error *error) {
    exchange_error(x, 400, NULL, error->code, error->param, "%s", error->message);
    field_error_free(error);
}

static bool read_query(struct exchange *x) {
    static const struct field none[] = {{.name = NULL}};
    struct field_error error = {0};
    struct err e;
    if (x->raw_query && query_parse(&x->query, x->raw_query, &e)) {
        exchange_error(x, 400, NULL, "invalid_query", NULL, "%s", e.message);
        return false;
    }
    if (field_check_query(x->route->query ? x->route->query : none, &x->query, &error))
        return true;
    take_field_error(x, &error);
    return false;
}

// false: it was refused, and the exchange has why.
static bool take_upload(struct exchange *x) {
    int status = 0;
    const char *code = NULL;
    const char *why = upload_refused(x->upload, &status, &code);
    if (why)
        exchange_error(x, status, NULL, code, NULL, "%s", why);
    return !why;
}

// Handlers that run on the loop alone must not come to a worker with a large body: what they use is the loop's.
static int64_t body_most(const struct exchange *x) {
    const struct route *r = x->route;
    if (x->upload)
        return x->server->max_body + UPLOAD_FORM_BYTES;
    if (r->kind == ROUTE_READ || r->kind == ROUTE_STREAM || (r->kind == ROUTE_WRITE && !r->body))
        return x->server->max_body < SMALL_BODY ? x->server->max_body : SMALL_BODY;
    return x->server->max_body < JSON_MAXIMUM ? x->server->max_body : JSON_MAXIMUM;
}

// Where the body goes: memory, or a file.
static bool prepare_body(struct exchange *x) {
    const char *type = exchange_header(x, "Content-Type");
    bool has_body = exchange_header(x, "Transfer-Encoding") || exchange_header(x, "Content-Length");
    if (!has_body || !x->route->upload || is_json(type)) {
        if (has_body && x->route->body && type && !is_json(type) &&
            strncasecmp(type, "text/plain", 10) != 0 &&
            strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0 &&
            strncasecmp(type, "application/octet-stream", 24) != 0) {
            exchange_error(x, 415, NULL, "unsupported_media_type", "Content-Type",
                           "the body must be JSON: send Content-Type: application/json");
            return false;
        }
        return true;
    }
    (void)mkdir(x->server->data_dir, 0700); // what fails here fails there, and is told
    x->upload = upload_open(x->server->data_dir, type, x->server->max_body);
    return take_upload(x);
}

static int64_t declared_length(const struct exchange *x) {
    const char *text = exchange_header(x, "Content-Length");
    return text ? strtoll(text, NULL, 10) : exchange_header(x, "Transfer-Encoding") ? -1 : 0;
}

// A refusal before the body has come: a short body is read and thrown away, so that the client, which still
// sends, reads the answer and not a reset; a long one is cut short.
static void refuse(struct exchange *x) {
    int64_t length = declared_length(x);
    if (!x->is_unsound && length >= 0 && length <= DISCARD_MAXIMUM)
        x->discard = true;
    else
        x->stage = STAGE_ANSWER;
}

void dispatch_head(struct exchange *x) {
    x->stage = STAGE_BODY;
    if (!head_check(x) ||
        (strcmp(x->method, "OPTIONS") == 0 && exchange_header(x, "Origin") && (answer_preflight(x), true)) ||
        !find_route(x) || !authenticate(x) || !read_query(x) || !prepare_body(x))
        refuse(x);
}

static void body_too_large(struct exchange *x, int64_t maximum) {
    exchange_error(x, 413, NULL, "body_too_large", NULL, "the body has more than %lld bytes: send less%s",
                   (long long)maximum,
                   maximum == SMALL_BODY     ? ""
                   : maximum == JSON_MAXIMUM ? ", or upload it as a file of JSON lines"
                                             : ", or raise [http] max_body");
    x->discard = true;
}

static void keep_bytes(struct exchange *x, const char *bytes, size_t length) {
    struct server *s = x->server;
    if (s->buffered + (int64_t)length > BUFFERED_MAXIMUM) {
        exchange_error(x, 503, NULL, "busy", NULL,
                       "too many large requests at once: send it again in a moment");
        x->discard = true;
    } else if (buf_append(&x->text, bytes, length)) {
        x->buffered += (int64_t)length;
        s->buffered += (int64_t)length;
    }
}

int64_t dispatch_readable(const struct exchange *x) {
    // A large body of what takes one is read to its end, so that the client reads the answer.
    return x->route && body_most(x) == SMALL_BODY ? SMALL_BODY : x->server->max_body;
}

void dispatch_bytes(struct exchange *x, const char *bytes, size_t length) {
    x->received += (int64_t)length;
    if (x->discard)
        return;
    int64_t maximum = body_most(x);
    if (x->received > maximum)
        body_too_large(x, x->upload ? x->server->max_body : maximum);
    else if (x->upload)
        upload_feed(x->upload, bytes, length);
    else
        keep_bytes(x, bytes, length);
}

static bool read_body(struct exchange *x) {
    static const struct field none[] = {{.name = NULL}};
    struct field_error error = {0};
    if (x->upload)
        upload_finish(x->upload);
    if (x->upload || (x->text.length == 0 && !x->route->body))
        return !x->upload || take_upload(x);
    if (x->text.length == 0)
        buf_text(&x->text, "{}"); // so that what is required is missed
    if (field_check_body(x->route->body ? x->route->body : none, buf_borrow(&x->text), x->text.length,
                         &x->body, &error))
        return true;
    take_field_error(x, &error);
    return false;
}

// ---- the handler ----

static void check_answered(struct exchange *x) {
    if (x->answer.status || x->check)
        return;
    log_error("the handler of %s %s gave no answer", x->route->method, x->route->path);
    exchange_error(x, 500, NULL, "internal_error", NULL,
                   "this request was not answered: tell the makers of genrun");
}

static void call_handler(struct exchange *x, genrun *g) {
    host_scope(g, exchange_user(x));
    bool moved = x->moved;
    x->route->handle(x, g);
    if (host_bound(g, 0)) {
        exchange_forget_answer(x);
        x->moved = true;
    }
    host_scope(g, NULL);
    if (x->moved == moved)
        check_answered(x);
}

static int on_write(void *payload, genrun *g) {
    struct exchange *x = payload;
    call_handler(x, g);
    x->write_refused = x->answer.status >= 400;
    return x->write_refused ? GENRUN_INVALID : GENRUN_OK;
}

static void on_written(void *payload, int result, const char *message) {
    struct exchange *x = payload;
    // What was refused by what is not stored was refused for nothing.
    if (result == GENRUN_DATABASE || (result && !x->write_refused)) {
        exchange_forget_answer(x);
        x->check = NULL;
        x->after = NULL;
        exchange_error(x, 503, NULL, "unavailable", NULL, "nothing was stored: %s", message);
    }
    dispatch_done(x);
}

static void start_after(struct exchange *x) {
    if (x->after)
        worker_after(x->server->worker, x->after, x->after_text);
    x->after = NULL;
}

// Nobody will read it.
static void forget_wait(struct exchange *x) {
    x->check = NULL;
    exchange_error(x, 499, NULL, "client_left", NULL, "the client has left");
}

// False: it waits for nothing, or for nobody.
static bool begin_wait(struct exchange *x) {
    if (!x->check || x->answer.status)
        return false;
    if (x->connection->left)
        forget_wait(x);
    else
        x->server->waiting_count++;
    x->waits = !x->connection->left;
    return x->waits;
}

static void end_wait(struct exchange *x) {
    x->server->waiting_count -= x->waits;
    x->waits = false;
    x->check = NULL;
}

void dispatch_done(struct exchange *x) {
    check_answered(x);
    if (begin_wait(x))
        return; // looked at after the commits to come
    start_after(x);
    x->stage = STAGE_ANSWER;
    server_resume(x);
}

static void on_worker(struct exchange *x);

static void look(struct exchange *x, bool late) {
    struct server *s = x->server;
    host_scope(s->g, exchange_user(x));
    x->late = late;
    host_bound(s->g, LOOP_BYTES);
    x->check(x, s->g, late);
    bool is_large = host_bound(s->g, 0);
    host_scope(s->g, NULL);
    if (is_large) {
        exchange_forget_answer(x);
        s->waiting_count--;
        x->waits = false;
        on_worker(x); // which looks once more
        if (x->stage == STAGE_ANSWER)
            dispatch_done(x);
        return;
    }
    if (late && !x->answer.status)
        exchange_error(x, 504, NULL, "timeout", NULL, "it has not ended yet: ask for its state later");
    if (!x->answer.status)
        return;
    end_wait(x);
    dispatch_done(x);
}

void dispatch_left(struct exchange *x) {
    if (x->streaming && x->suspended) {
        x->stream_ended = true;
        server_resume(x);
    } else if (x->waits) {
        end_wait(x);
        forget_wait(x);
        dispatch_done(x);
    }
}

void dispatch_committed(struct server *s) {
    int64_t now_ms = clock_monotonic_ms();
    for (struct exchange *x = s->exchanges, *next; x && s->waiting_count > 0; x = next) {
        next = x->next;
        if (x->waits)
            look(x, now_ms >= x->wait_until_ms || s->stopping);
    }
}

void dispatch_up(struct server *s) {
    for (size_t i = 0; route_starters[i]; i++)
        worker_after(s->worker, route_starters[i], "");
}

void dispatch_work(struct exchange *x, genrun *g) {
    if (x->check) {
        host_scope(g, exchange_user(x));
        x->check(x, g, x->late);
        host_scope(g, NULL);
    } else if (x->moved || read_body(x))
        call_handler(x, g);
}

static void on_worker(struct exchange *x) {
    x->stage = STAGE_WORK;
    if (worker_add(x->server->worker, x))
        return;
    exchange_error(x, 503, NULL, "busy", NULL, "too many long requests wait: send it again later");
    x->stage = STAGE_ANSWER;
}

static void start_handler(struct exchange *x) {
    struct server *s = x->server;
    x->stage = STAGE_WORK;
    switch (x->route->kind) {
    case ROUTE_READ:
        call_handler(x, s->g);
        if (x->moved) {
            on_worker(x);
        } else if (!begin_wait(x)) {
            start_after(x);
            x->stage = STAGE_ANSWER;
        }
        return;
    case ROUTE_STREAM:
        if (s->stream_count >= s->stream_limit)
            exchange_error(x, 503, NULL, "too_many_streams", NULL,
                           "there are %d streams, as many as [http] max_streams allows: close one",
                           s->stream_count);
        else
            call_handler(x, s->g);
        x->stage = STAGE_ANSWER;
        return;
    case ROUTE_WRITE:
        x->write = (struct host_write){.on_write = on_write, .on_done = on_written, .payload = x};
        host_write(s->g, &x->write);
        return;
    case ROUTE_SLOW:
        return; // never here
    }
}

void dispatch_end(struct exchange *x) {
    if (!x->answer.status && x->server->stopping)
        exchange_error(x, 503, NULL, "stopping", NULL, "the server stops: send it again in a moment");
    if (x->answer.status)
        x->stage = STAGE_ANSWER;
    else if (x->route->kind == ROUTE_SLOW || x->text.length > LARGE_BODY)
        on_worker(x);
    else if (read_body(x))
        start_handler(x);
    else
        x->stage = STAGE_ANSWER;
}
