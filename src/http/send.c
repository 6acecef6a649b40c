// SPDX-License-Identifier: MIT
// Answers on the wire: made of what a handler left in its exchange.
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STREAM_BLOCK 16384
#define LARGE_ANSWER ((size_t)64 << 10)
#define HELD_MAXIMUM (INT64_C(128) << 20) // bytes of large answers in memory, and one more answer

static int bucket_of(int64_t took_ms) {
    static const int64_t up_to_ms[SERVER_BUCKETS - 1] = {1, 2, 5, 10, 25, 50, 100, 250, 1000, 5000, 30000};
    int bucket = 0;
    while (bucket < SERVER_BUCKETS - 1 && took_ms > up_to_ms[bucket])
        bucket++;
    return bucket;
}

// Counts the exchange for GET /metrics.
static void count(const struct exchange *x) {
    if (!x->route)
        return;
    size_t index = (size_t)(x->route - route_list);
    struct server_use *use = &x->server->use[index < ROUTES_MAXIMUM ? index : ROUTES_MAXIMUM - 1];
    int64_t took_ms = clock_monotonic_ms() - x->began_ms;
    use->by_class[x->answer.status / 100 % 6]++;
    use->bucket[bucket_of(took_ms)]++;
    use->seconds += (double)took_ms / 1000;
}

static void add(struct MHD_Response *response, const char *name, const char *value) {
    if (MHD_add_response_header(response, name, value) != MHD_YES)
        log_warn("the header %s of an answer cannot be sent", name);
}

// RFC 6266: names are the clients' own. What does not fit between quotes is an _ there, and all of it follows encoded.
static char *disposition_of(const char *filename) {
    static const char plain[] =
        "!#$&+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"; // RFC 8187, attr-char
    struct buf out;
    bool whole = true;
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "attachment; filename=\"");
    for (const char *c = filename; *c; c++) {
        bool fits = *c >= ' ' && *c < 0x7F && !strchr("\"\\%", *c);
        buf_char(&out, fits ? *c : '_');
        whole &= fits;
    }
    buf_text(&out, whole ? "\"" : "\"; filename*=UTF-8''");
    for (const char *c = filename; *c && !whole; c++) {
        if (strchr(plain, *c))
            buf_char(&out, *c);
        else
            buf_format(&out, "%%%02X", (unsigned char)*c);
    }
    return buf_take(&out);
}

static void add_headers(const struct exchange *x, struct MHD_Response *response) {
    const struct answer *a = &x->answer;
    add(response, "x-request-id", x->id);
    add(response, "X-Content-Type-Options", "nosniff");
    if (a->mime)
        add(response, "Content-Type", a->mime);
    bool cached = false;
    for (size_t i = 0; i < a->header_count; i++) {
        add(response, a->headers[i].name, a->headers[i].value);
        cached |= strcmp(a->headers[i].name, "Cache-Control") == 0;
    }
    if (!cached)
        add(response, "Cache-Control", "no-store");
    if (a->filename) {
        char *disposition = disposition_of(a->filename);
        add(response, "Content-Disposition", disposition);
        free(disposition);
    }
}

// bytes=FROM-TO, FROM- or -LAST of a file of `size` bytes. 1: that part; 0: the whole; -1: none of it is there.
static int parse_range(const char *text, int64_t size, int64_t *from, int64_t *to) {
    char *end = NULL;
    long long first, last = size - 1;
    *from = 0;
    *to = size - 1;
    if (!text || strncmp(text, "bytes=", 6) != 0 || strchr(text, ','))
        return 0;
    text += 6;
    if (*text == '-') {
        last = strtoll(text + 1, &end, 10);
        if (end == text + 1 || *end || last < 0)
            return 0;
        *from = last < size ? size - last : 0;
        return last > 0 && size > 0 ? 1 : -1;
    }
    if (*text < '0' || *text > '9')
        return 0;
    first = strtoll(text, &end, 10);
    if (*end != '-')
        return 0;
    if (end[1]) {
        const char *second = end + 1;
        last = strtoll(second, &end, 10);
        if (end == second || *end || last < first)
            return 0;
    }
    if (first >= size)
        return -1;
    *from = first;
    *to = last < size ? last : size - 1;
    return 1;
}

static struct MHD_Response *file_response(struct exchange *x) {
    struct answer *a = &x->answer;
    struct stat about;
    int64_t from = 0, to = 0;
    char range[96];
    if (fstat(a->fd, &about))
        return NULL;
    int part = parse_range(exchange_header(x, "Range"), about.st_size, &from, &to);
    if (part < 0) {
        snprintf(range, sizeof range, "bytes */%lld", (long long)about.st_size);
        exchange_forget_answer(x);
        exchange_answer_header(x, "Content-Range", range);
        exchange_error(x, 416, NULL, "invalid_range", "Range", "the file has %lld bytes",
                       (long long)about.st_size);
        return MHD_create_response_from_buffer(a->body.length, a->body.data, MHD_RESPMEM_MUST_COPY);
    }
    struct MHD_Response *response =
        MHD_create_response_from_fd_at_offset64((uint64_t)(to - from + 1), a->fd, (uint64_t)from);
    if (!response)
        return NULL;
    a->fd = -1; // the response closes it
    x->connection->bytes = to - from + 1;
    exchange_answer_header(x, "Accept-Ranges", "bytes");
    if (part > 0) {
        snprintf(range, sizeof range, "bytes %lld-%lld/%lld", (long long)from, (long long)to,
                 (long long)about.st_size);
        exchange_answer_header(x, "Content-Range", range);
        a->status = 206;
    }
    return response;
}

static struct MHD_Response *make_response(struct exchange *x) {
    struct answer *a = &x->answer;
    if (a->fd >= 0)
        return file_response(x);
    if (a->bytes) {
        x->connection->bytes = (int64_t)a->length;
        // The library takes it without const and only reads it.
        union {
            const void *in;
            void *out;
        } bytes = {a->bytes};
        return MHD_create_response_from_buffer(a->length, bytes.out, MHD_RESPMEM_PERSISTENT);
    }
    size_t length = a->body.length;
    x->connection->bytes = (int64_t)length;
    if (length == 0)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    char *data = buf_take(&a->body);
    struct MHD_Response *response = MHD_create_response_from_buffer(length, data, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(data);
    return response;
}

// Clients that ask for much and take nothing must not fill the memory.
static void hold_large(struct exchange *x) {
    struct server *s = x->server;
    if (x->answer.body.length <= LARGE_ANSWER)
        return;
    // What was done is told in any case.
    if (s->held < HELD_MAXIMUM || (x->route && x->route->kind == ROUTE_WRITE)) {
        x->held = (int64_t)x->answer.body.length;
        s->held += x->held;
        return;
    }
    exchange_forget_answer(x);
    exchange_error(x, 503, NULL, "busy", NULL,
                   "too many large answers are on their way: ask for less, or again in a moment");
}

enum MHD_Result send_answer(struct exchange *x) {
    int64_t bytes = 0;
    hold_large(x);
    struct MHD_Response *response = make_response(x);
    if (!response)
        return MHD_NO;
    bytes = x->connection->bytes;
    head_allow_origin(x);
    add_headers(x, response);
    enum MHD_Result sent = MHD_queue_response(x->connection->mhd, (unsigned)x->answer.status, response);
    MHD_destroy_response(response);
    connection_phase(x->connection, PHASE_SEND, clock_monotonic_ms());
    x->connection->bytes = bytes;
    x->stage = STAGE_SENT;
    count(x);
    return sent;
}

void send_now(struct exchange *x) {
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    buf_format(&text, "HTTP/1.1 %d %s\r\nx-request-id: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n",
               x->answer.status, MHD_get_reason_phrase_for((unsigned)x->answer.status), x->id, x->answer.mime,
               x->answer.body.length);
    for (size_t i = 0; i < x->answer.header_count; i++)
        buf_format(&text, "%s: %s\r\n", x->answer.headers[i].name, x->answer.headers[i].value);
    buf_text(&text, "Connection: close\r\n\r\n");
    buf_append(&text, x->answer.body.data, x->answer.body.length);
    // What does not fit into the socket's buffer of a client that reads nothing is lost on it.
    (void)!send(x->connection->fd, text.data, text.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_free(&text);
}

// ---- streams ----

// The library asks for more. Without anything the connection is suspended, or it would ask again at once, for ever.
static ssize_t read_stream(void *payload, uint64_t position, char *buffer, size_t size) {
    struct exchange *x = payload;
    struct server *s = x->server;
    (void)position;
    if (x->stream_ended || x->connection->left)
        return MHD_CONTENT_READER_END_OF_STREAM;
    host_scope(s->g, exchange_user(x));
    ssize_t length = x->stream.read(x->stream.payload, s->g, buffer, size);
    host_scope(s->g, NULL);
    if (length < 0) {
        x->stream_ended = true;
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (length == 0) {
        x->suspended = true;
        MHD_suspend_connection(x->connection->mhd);
        return 0;
    }
    x->sent_ms = clock_monotonic_ms();
    return length;
}

enum MHD_Result send_stream(struct exchange *x) {
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x, NULL);
    if (!response)
        return MHD_NO;
    head_allow_origin(x);
    exchange_answer_header(x, "X-Accel-Buffering", "no");
    add_headers(x, response);
    enum MHD_Result sent = MHD_queue_response(x->connection->mhd, (unsigned)x->answer.status, response);
    MHD_destroy_response(response);
    // Its clock is the ping.
    connection_phase(x->connection, PHASE_WORK, clock_monotonic_ms());
    x->stage = STAGE_SENT;
    count(x);
    return sent;
}
