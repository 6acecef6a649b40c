// SPDX-License-Identifier: MIT
#include "http/exchange.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/mem.h"
#include "http/state.h"
#include "http/words.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_AFTER_S "1" // of what will work again by itself
#define WAITING_MAXIMUM 64

struct exchange *exchange_new(struct server *server, struct connection *connection, const char *target) {
    const char *query = NULL;
    size_t length = 0;
    struct exchange *x = mem_alloc(1, sizeof *x);
    x->server = server;
    x->connection = connection;
    connection->exchange = x;
    x->has_path = path_split(target, &length, &query);
    x->path = mem_copy_bytes(target, x->has_path ? length : strlen(target));
    x->raw_query = mem_copy(query);
    x->began_ms = clock_monotonic_ms();
    memcpy(x->id, "req_", 4);
    id_random_hex(x->id + 4, 10);
    x->answer.fd = -1;
    buf_init(&x->answer.body, BUF_UNLIMITED);
    buf_init(&x->text, BUF_UNLIMITED);
    x->next = server->exchanges;
    x->back = &server->exchanges;
    if (x->next)
        x->next->back = &x->next;
    server->exchanges = x;
    return x;
}

void exchange_set_method(struct exchange *x, const char *method) {
    free(x->method);
    x->head_only = strcmp(method, "HEAD") == 0;
    x->method = mem_copy(x->head_only ? "GET" : method);
}

void exchange_forget_answer(struct exchange *x) {
    struct answer *a = &x->answer;
    for (size_t i = 0; i < a->header_count; i++) {
        free(a->headers[i].name);
        free(a->headers[i].value);
    }
    free(a->headers);
    free(a->mime);
    free(a->filename);
    buf_free(&a->body);
    if (a->fd >= 0)
        close(a->fd);
    *a = (struct answer){.fd = -1};
    buf_init(&a->body, BUF_UNLIMITED);
}

void exchange_free(struct exchange *x) {
    *x->back = x->next;
    if (x->next)
        x->next->back = x->back;
    if (x->connection->exchange == x)
        x->connection->exchange = NULL;
    x->server->buffered -= x->buffered;
    x->server->held -= x->held;
    exchange_forget_answer(x);
    if (x->streaming) {
        x->server->stream_count--;
        x->stream.free_payload(x->stream.payload);
    }
    path_segments_free(&x->segments);
    query_free(&x->query);
    auth_identity_clear(&x->who);
    upload_free(x->upload);
    cJSON_Delete(x->body);
    buf_free(&x->text);
    free(x->method);
    free(x->path);
    free(x->raw_query);
    free(x->remote);
    free(x->after_text);
    free(x->kept);
    free(x);
}

// ---- who asks ----

enum exchange_role exchange_role(const struct exchange *x) {
    return x->who.role;
}

const char *exchange_user(const struct exchange *x) {
    // A user's key without a user, typed into the table: it sees nothing, and not all.
    if (x->who.role == ROLE_USER && !x->who.user)
        return "";
    return x->who.role == ROLE_ADMIN ? NULL : x->who.user;
}

const char *exchange_key(const struct exchange *x) {
    return x->who.name ? x->who.name : "";
}

// ---- the request ----

const char *exchange_segment(const struct exchange *x, const char *name) {
    const char *value = path_segment(&x->segments, name);
    return value ? value : "";
}

const char *exchange_header(const struct exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection->mhd, MHD_HEADER_KIND, name);
}

const char *exchange_query(const struct exchange *x, const char *name) {
    return query_get(&x->query, name);
}

int64_t exchange_query_integer(const struct exchange *x, const char *name, int64_t fallback) {
    return field_integer(x->route->query, &x->query, name, fallback);
}

const cJSON *exchange_body(const struct exchange *x) {
    return x->body;
}

const char *exchange_body_text(const struct exchange *x, size_t *length) {
    *length = x->body ? x->text.length : 0;
    return x->body ? buf_borrow(&x->text) : NULL;
}

struct upload *exchange_upload(struct exchange *x) {
    return x->upload;
}

const char *exchange_data_dir(const struct exchange *x) {
    return x->server->data_dir;
}

struct live *exchange_live(const struct exchange *x) {
    return x->server->live;
}

// ---- the answer ----

void exchange_answer_header(struct exchange *x, const char *name, const char *value) {
    struct answer *a = &x->answer;
    a->headers = mem_resize(a->headers, a->header_count + 1, sizeof *a->headers);
    a->headers[a->header_count].name = mem_copy(name);
    a->headers[a->header_count].value = mem_copy(value);
    a->header_count++;
}

bool exchange_is_answered(const struct exchange *x) {
    return x->answer.status != 0;
}

static void begin(struct exchange *x, int status, const char *mime) {
    free(x->answer.mime);
    x->answer.mime = mem_copy(mime);
    x->answer.status = status;
}

void exchange_json(struct exchange *x, int status, struct buf *json) {
    size_t length = json->length;
    begin(x, status, "application/json");
    buf_free(&x->answer.body);
    if (length) {
        x->answer.body = *json;
        buf_init(json, json->maximum);
    }
}

void exchange_bytes(struct exchange *x, int status, const char *mime, const void *bytes, size_t length) {
    begin(x, status, mime);
    x->answer.bytes = bytes;
    x->answer.length = length;
}

void exchange_text(struct exchange *x, int status, const char *mime, const char *text, size_t length) {
    begin(x, status, mime);
    buf_clear(&x->answer.body);
    buf_append(&x->answer.body, text, length);
}

void exchange_file(struct exchange *x, int fd, const char *mime, const char *filename) {
    begin(x, 200, mime);
    x->answer.fd = fd;
    x->answer.filename = mem_copy(filename);
}

static const char *usual_type(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 429:
        return "rate_limit_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

void exchange_error(struct exchange *x, int status, const char *type, const char *code, const char *param,
                    const char *format, ...) {
    va_list args;
    char message[1200];
    struct buf json;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    buf_init(&json, BUF_UNLIMITED);
    buf_text(&json, "{\"error\":{");
    json_write_member_text(&json, "message", message);
    json_write_member_text(&json, "type", type ? type : usual_type(status));
    json_write_member_text(&json, "param", param);
    json_write_member_text(&json, "code", code);
    buf_text(&json, "}}");
    exchange_json(x, status, &json);
    buf_free(&json);
    if (status == 503 || status == 429) {
        bool told = false;
        for (size_t i = 0; i < x->answer.header_count; i++)
            told |= strcmp(x->answer.headers[i].name, "Retry-After") == 0;
        if (!told)
            exchange_answer_header(x, "Retry-After", RETRY_AFTER_S);
    }
}

void exchange_refuse(struct exchange *x, const struct auth_refusal *why) {
    char seconds[16];
    if (why->retry_after_s > 0) {
        snprintf(seconds, sizeof seconds, "%d", why->retry_after_s);
        exchange_answer_header(x, "Retry-After", seconds);
    }
    if (why->status == 401)
        exchange_answer_header(x, "WWW-Authenticate", "Bearer");
    exchange_error(x, why->status, NULL, why->code, NULL, "%s", why->message);
}

// Some members have two names: the one that the request has.
static const char *name_of(const struct exchange *x, const char *field) {
    static const char *const others[][2] = {
        {"modelId", "model"}, {"userId", "user"}, {"sessionId", "session"}, {"batchId", "batch"}};
    if (!*field)
        return NULL;
    if (strcmp(field, "id") == 0 && !path_segment(&x->segments, "id"))
        return "generationId";
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const char *name = others[i][0], *other = others[i][1];
        const struct query *form = x->upload ? upload_fields(x->upload) : &x->query;
        if (strcmp(field, name) == 0 && !json_get(x->body, name) && !query_get(&x->query, name) &&
            !query_get(form, name) &&
            (json_get(x->body, other) || query_get(&x->query, other) || query_get(form, other)))
            return other;
    }
    return field;
}

void exchange_failed(struct exchange *x, genrun *g, int code) {
    exchange_failed_by(x, g, code, name_of(x, host_field(g)));
}

void exchange_failed_by(struct exchange *x, genrun *g, int code, const char *param) {
    static const struct {
        int status;
        const char *code;
    } answers[] = {
        [GENRUN_OK] = {500, "internal_error"},       [GENRUN_WORK_FAILED] = {500, "internal_error"},
        [GENRUN_INVALID] = {400, "invalid_request"}, [GENRUN_CONFIG] = {400, "invalid_request"},
        [GENRUN_NOT_FOUND] = {404, "not_found"},     [GENRUN_CONFLICT] = {409, "conflict"},
        [GENRUN_DATABASE] = {503, "unavailable"},    [GENRUN_REMOTE] = {503, "unavailable"},
    };
    if (code == GENRUN_CONFLICT)
        exchange_answer_header(x, "x-should-retry", "false");
    struct buf message;
    buf_init(&message, BUF_UNLIMITED);
    words_write(&message, genrun_message(g));
    exchange_error(x, answers[code].status, NULL, answers[code].code, param, "%s", buf_borrow(&message));
    buf_free(&message);
}

// ---- answers that take time ----

bool exchange_move(struct exchange *x) {
    bool moves = !x->moved;
    x->moved = true;
    return moves;
}

void exchange_bound(struct exchange *x, genrun *g) {
    if (!x->moved && x->route->kind == ROUTE_READ)
        host_bound(g, LOOP_BYTES);
}

bool exchange_outgrows(struct exchange *x, size_t bytes) {
    return bytes > LOOP_BYTES && x->route->kind == ROUTE_READ && exchange_move(x);
}

void exchange_wait(struct exchange *x, void (*check)(struct exchange *x, genrun *g, bool late),
                   int64_t wait_ms) {
    if (x->server->waiting_count >= WAITING_MAXIMUM) {
        exchange_error(x, 503, NULL, "too_many_waiting", NULL,
                       "nothing was done: too many others wait for an end, send it again in a moment");
        return;
    }
    x->check = check;
    x->wait_until_ms = clock_monotonic_ms() + wait_ms;
}

void exchange_keep(struct exchange *x, const char *text) {
    free(x->kept);
    x->kept = mem_copy(text);
}

const char *exchange_kept(const struct exchange *x) {
    return x->kept;
}

void exchange_after(struct exchange *x, void (*run)(genrun *g, const char *text), const char *text) {
    x->after = run;
    free(x->after_text);
    x->after_text = mem_copy(text);
}

void exchange_stream(struct exchange *x, const char *mime, const struct exchange_stream *stream) {
    begin(x, 200, mime);
    x->stream = *stream;
    x->sent_ms = clock_monotonic_ms();
    x->streaming = true;
    x->server->stream_count++;
}
