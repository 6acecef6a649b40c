// SPDX-License-Identifier: MIT
// The provider openai against a scripted HTTP server in threads of this program: what goes out, what is made of
// every kind of answer, and that no request goes out twice.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "provider/provider.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- the server ----

enum after { KEEP, CLOSE, HANG };

struct reply {
    const char *head;  // status line and headers, without the empty line; NULL: nothing at all is sent
    const char *body;  // NULL: none
    size_t length;     // of the body; 0: strlen
    bool chunked;      // the body goes as chunks, without the last one when the connection is closed after it
    bool measured;     // Content-Length is added
    size_t piece;      // bytes a write; 0: all
    unsigned pause_us; // between writes
    enum after after;
};

static struct {
    int fd, port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    struct reply replies[8];
    size_t reply_count, request_count, connection_count;
    char *requests[8];
    int request_fds[8]; // over which connection each came
    int connections[512];
    pthread_t threads[512];
} server;

static bool put(int fd, const char *bytes, size_t length, const struct reply *reply) {
    size_t piece = reply->piece ? reply->piece : length;
    while (length) {
        size_t part = piece < length ? piece : length;
        if (send(fd, bytes, part, MSG_NOSIGNAL) != (ssize_t)part)
            return false;
        bytes += part;
        length -= part;
        if (reply->pause_us)
            usleep(reply->pause_us);
    }
    return true;
}

static bool answer(int fd, const struct reply *reply) {
    char line[256];
    size_t length = reply->length ? reply->length : reply->body ? strlen(reply->body) : 0;
    struct reply whole = {0};
    if (!reply->head)
        return true;
    if (!put(fd, reply->head, strlen(reply->head), &whole))
        return false;
    if (reply->measured)
        snprintf(line, sizeof line, "Content-Length: %zu\r\n\r\n", length);
    else
        snprintf(line, sizeof line, "%s\r\n", reply->chunked ? "Transfer-Encoding: chunked\r\n" : "");
    if (!put(fd, line, strlen(line), &whole))
        return false;
    if (!reply->chunked)
        return put(fd, reply->body, length, reply);
    size_t piece = reply->piece ? reply->piece : length;
    for (size_t at = 0; at < length; at += piece) {
        size_t part = length - at < piece ? length - at : piece;
        snprintf(line, sizeof line, "%zx\r\n", part);
        if (!put(fd, line, strlen(line), &whole) || !put(fd, reply->body + at, part, reply) ||
            !put(fd, "\r\n", 2, &whole))
            return false;
    }
    return reply->after != KEEP || put(fd, "0\r\n\r\n", 5, &whole);
}

// Reads one request into the log; false at the end of the connection.
static bool take_request(int fd, struct reply *reply) {
    struct buf text;
    buf_init(&text, 64 << 20);
    size_t whole = 0;
    while (!whole || text.length < whole) {
        char bytes[65536];
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0)
            break;
        buf_append(&text, bytes, (size_t)n);
        const char *end = strstr(text.data, "\r\n\r\n");
        const char *size = end ? strcasestr(text.data, "Content-Length:") : NULL;
        if (size)
            whole = (size_t)(end + 4 - text.data) + strtoul(size + 15, NULL, 10);
    }
    bool got = whole && text.length == whole;
    pthread_mutex_lock(&server.lock);
    if (got) {
        size_t n = server.request_count++;
        *reply = server.replies[n < server.reply_count ? n : server.reply_count - 1];
        if (n < 8) {
            server.requests[n] = buf_take(&text);
            server.request_fds[n] = fd;
        }
    }
    pthread_mutex_unlock(&server.lock);
    buf_free(&text);
    return got;
}

static void *serve(void *payload) {
    int fd = (int)(intptr_t)payload;
    struct reply reply;
    while (take_request(fd, &reply)) {
        bool sent = answer(fd, &reply);
        if (!sent || reply.after == CLOSE)
            break;
        char byte;
        if (reply.after == HANG && recv(fd, &byte, 1, 0) <= 0)
            break;
    }
    shutdown(fd, SHUT_RDWR);
    return NULL;
}

static void *accept_all(void *payload) {
    (void)payload;
    for (;;) {
        int fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC), on = 1;
        if (fd < 0)
            return NULL;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        size_t n = server.connection_count;
        server.connections[n] = fd;
        pthread_create(&server.threads[n], NULL, serve, (void *)(intptr_t)fd);
        server.connection_count++;
    }
}

static void server_start(const struct reply *replies, size_t count) {
    memset(&server, 0, sizeof server);
    pthread_mutex_init(&server.lock, NULL);
    memcpy(server.replies, replies, count * sizeof *replies);
    server.reply_count = count;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(server.fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server.fd, 512), 0);
    getsockname(server.fd, (struct sockaddr *)&address, &size);
    server.port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server.acceptor, NULL, accept_all, NULL), 0);
}

static void server_stop(void) {
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.acceptor, NULL);
    close(server.fd);
    for (size_t i = 0; i < server.connection_count; i++) {
        shutdown(server.connections[i], SHUT_RDWR);
        pthread_join(server.threads[i], NULL);
        close(server.connections[i]);
    }
    for (size_t i = 0; i < 8; i++)
        free(server.requests[i]);
}

// ---- the client ----

static struct loop *loop;
static struct err reason;
static struct model model;
static char base_url[64];
static struct provider_request request;

struct watcher {
    struct provider_call *call;
    struct outcome *outcome;
    int progresses;
    size_t content_bytes, stop_at_bytes;
    enum provider_step last_step;
    bool was_opaque, seen[3];
    struct outcome *stopped;
};

static void progressed(void *payload, enum provider_step step, size_t content_bytes) {
    struct watcher *w = payload;
    assert_null(w->outcome);
    assert_null(w->stopped);
    assert_true(step >= w->last_step); // never back
    w->progresses++;
    w->last_step = step;
    w->seen[step] = true;
    w->content_bytes += content_bytes;
    w->was_opaque = provider_openai.is_opaque(w->call);
    if (w->stop_at_bytes && w->content_bytes >= w->stop_at_bytes)
        w->stopped = provider_openai.stop(w->call);
}

static void ended(void *payload, struct outcome *outcome) {
    struct watcher *w = payload;
    assert_null(w->outcome);
    assert_null(w->stopped);
    w->outcome = outcome;
}

static void begin(struct watcher *w) {
    struct provider_listener listener = {.on_progress = progressed, .on_end = ended, .payload = w};
    w->call = provider_openai.start(loop, &request, &listener);
    assert_non_null(w->call);
    assert_null(w->outcome); // never from start itself
    assert_int_equal(w->progresses, 0);
}

static void wait_for(struct watcher *w) {
    int64_t limit_ms = clock_monotonic_ms() + 20000;
    while (!w->outcome && !w->stopped) {
        assert_int_equal(loop_wait(loop, 1000, &reason), 0);
        assert_true(clock_monotonic_ms() < limit_ms);
    }
}

static struct outcome *run(struct watcher *w) {
    *w = (struct watcher){0};
    begin(w);
    wait_for(w);
    return w->outcome;
}

// A server with one reply, one call to it.
static struct outcome *ask(struct watcher *w, const struct reply *reply) {
    server_start(reply, 1);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/v1", server.port);
    return run(w);
}

static int set_up(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    setenv("http_proxy", "http://127.0.0.1:1", 1); // nobody there, and nobody asks for it
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    setenv("TEST_OPENAI_KEY", "sk-secret-of-test", 1);
    model = (struct model){.name = (char *)"gpt",
                           .provider = (char *)"openai",
                           .base_url = base_url,
                           .api_key_env = (char *)"TEST_OPENAI_KEY",
                           .connect_timeout_ms = 5000,
                           .stream = true};
    request = (struct provider_request){.model = &model,
                                        .model_id = "gpt",
                                        .generation_id = "0190-id",
                                        .start = 1,
                                        .prompt = "Say hello",
                                        .parameters = "{}",
                                        .max_output = 1 << 20};
    return loop_open(&loop, &reason);
}

static int tear_down(void **state) {
    (void)state;
    loop_close(loop);
    return 0;
}

#define OK_STREAM                                                                                            \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nX-Request-Id: req_7\r\n"
#define OK_JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req_8\r\n"
#define CHUNK(delta, finish)                                                                                 \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":17,\"model\":\"gpt-x\","          \
    "\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"
#define USAGE                                                                                                \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":17,\"model\":\"gpt-x\","          \
    "\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n"
#define HELLO                                                                                                \
    CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null")                                               \
    CHUNK("{\"content\":\"Hel\"}", "null") CHUNK("{\"content\":\"lo\"}", "null") CHUNK("{}", "\"stop\"") USAGE
#define HELLO_BODY                                                                                           \
    "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":17,\"model\":\"gpt-x\",\"choices\":[{"        \
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],"   \
    "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}"

static void is_hello(const struct outcome *o) {
    if (o->failure.kind)
        fail_msg("%s", o->failure.message);
    assert_int_equal(o->http_status, 200);
    assert_int_equal(o->output_count, 1);
    assert_string_equal(o->outputs[0].content, "Hello");
    assert_string_equal(o->outputs[0].mime, "text/plain");
    assert_false(o->outputs[0].partial);
    assert_int_equal(o->input_tokens, 9);
    assert_int_equal(o->output_tokens, 2);
    assert_string_equal(o->finish_reason, "stop");
    assert_string_equal(o->body, HELLO_BODY);
    assert_int_equal(o->body_length, strlen(HELLO_BODY));
}

// ---- what goes out, and the good answers ----

static void streams_and_re_assembles(void **state) {
    (void)state;
    struct watcher w;
    struct outcome *o = ask(&w, &(struct reply){OK_STREAM, HELLO "data: [DONE]\n\n", .chunked = true});
    is_hello(o);
    assert_string_equal(o->request_id, "req_7");
    assert_int_equal(server.request_count, 1);
    const char *sent = server.requests[0];
    assert_non_null(strstr(sent, "POST /v1/chat/completions HTTP/1.1\r\n"));
    assert_non_null(strstr(sent, "\r\nAuthorization: Bearer sk-secret-of-test\r\n"));
    assert_non_null(strstr(sent, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(sent, "\r\nUser-Agent: genrun/"));
    assert_non_null(strstr(sent, "\r\nIdempotency-Key: 0190-id-1\r\n"));
    assert_null(strcasestr(sent, "\r\nExpect:"));
    assert_null(strcasestr(sent, "\r\nAccept-Encoding:"));
    assert_string_equal(strstr(sent, "\r\n\r\n") + 4,
                        "{\"model\":\"gpt\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                        "\"messages\":[{\"role\":\"user\",\"content\":\"Say hello\"}]}");
    outcome_free(o);
    server_stop();
}

static void sockets_are_not_inherited(void **state) {
    (void)state;
    struct watcher w;
    struct outcome *o = ask(&w, &(struct reply){OK_STREAM, HELLO "data: [DONE]\n\n", .chunked = true});
    int sockets = 0; // the server's, accepted and listening, and the kept one of the client
    for (int fd = 0; fd < 1024; fd++) {
        struct sockaddr_in address = {0};
        socklen_t size = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, &size) || address.sin_family != AF_INET)
            continue;
        sockets++;
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    assert_int_equal(sockets, 3);
    outcome_free(o);
    server_stop();
}

static void takes_a_stream_in_any_form_and_pieces(void **state) {
    (void)state;
    static const char lf[] = ": OPENROUTER PROCESSING\n\n" HELLO "data: [DONE]\n\n";
    char crlf[2 * sizeof lf], cr[sizeof lf];
    size_t n = 0;
    for (const char *p = lf; *p; p++) {
        if (*p == '\n')
            crlf[n++] = '\r';
        crlf[n++] = *p;
        cr[p - lf] = *p == '\n' ? '\r' : *p;
    }
    crlf[n] = '\0';
    cr[sizeof lf - 1] = '\0';
    const struct reply replies[] = {
        {OK_STREAM, lf, .chunked = true, .piece = 1},
        {OK_STREAM, crlf, .chunked = true, .piece = 7},
        {OK_STREAM, cr, .piece = 3, .after = CLOSE},
        {OK_STREAM, "\xef\xbb\xbf" HELLO "data: [DONE]", .after = CLOSE}, // no empty line at the end
        {OK_STREAM, HELLO, .after = CLOSE},                               // no [DONE], but finish_reason
        {OK_STREAM, HELLO "data: [DONE]\n\n", .chunked = true, .after = CLOSE}, // broken off after [DONE]
        {"HTTP/1.1 200 OK\r\n", HELLO "data: [DONE]\n\n", .measured = true},    // no Content-Type
        {"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" OK_STREAM, HELLO "data: [DONE]\n\n",
         .measured = true},
    };
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct watcher w;
        struct outcome *o = ask(&w, &replies[i]);
        is_hello(o);
        outcome_free(o);
        server_stop();
    }
}

static void a_response_left_open_after_done_ends(void **state) {
    (void)state;
    struct watcher w;
    struct outcome *o = ask(&w, &(struct reply){OK_STREAM, HELLO "data: [DONE]\n\n", .after = HANG});
    is_hello(o);
    outcome_free(o);
    server_stop();
}

static void progress_tells_content_from_signs_of_life(void **state) {
    (void)state;
    static const char stream[] =
        ": ping\n\n" CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null") ": ping\n\n" CHUNK(
            "{\"content\":\"Hello\"}", "null") ": ping\n\n" CHUNK("{}", "\"stop\"") "data: [DONE]\n\n";
    struct watcher w;
    struct outcome *o =
        ask(&w, &(struct reply){OK_STREAM, stream, .chunked = true, .piece = 60, .pause_us = 20000});
    assert_int_equal(o->failure.kind, FAILURE_NONE);
    assert_int_equal(w.content_bytes, 5);
    assert_true(w.seen[STEP_CONNECT] && w.seen[STEP_WAIT] && w.seen[STEP_STREAM]);
    assert_true(w.progresses > 4);
    assert_false(w.was_opaque);
    outcome_free(o);
    server_stop();
}

static void unstreamed_answers_keep_their_bytes(void **state) {
    (void)state;
    static const char body[] =
        " {\"choices\" : [ {\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},"
        "\"finish_reason\":\"content_filter\"}], \"big\":12345678901234567890,"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n";
    for (int streamed = 0; streamed < 2;
         streamed++) { // asked to stream, the server may still answer in one piece
        request.unstreamed = !streamed;
        struct watcher w;
        struct outcome *o =
            // In pieces slow enough to be seen one by one also on a busy machine.
            ask(&w, &(struct reply){OK_JSON, body, .measured = true, .piece = 50, .pause_us = 25000});
        assert_int_equal(o->failure.kind, FAILURE_NONE);
        assert_string_equal(o->body, body);
        assert_int_equal(o->body_length, strlen(body));
        assert_string_equal(o->outputs[0].content, "Hi");
        assert_string_equal(o->finish_reason, "content_filter");
        assert_int_equal(o->input_tokens, 3);
        assert_true(w.was_opaque);
        assert_false(w.seen[STEP_STREAM]);
        assert_true(!strstr(server.requests[0], "\"stream\"") == !streamed);
        outcome_free(o);
        server_stop();
    }
}

static void choices_become_outputs(void **state) {
    (void)state;
    static const char body[] =
        "{\"choices\":[{\"index\":0,\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"t\",\"type\":"
        "\"function\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"},"
        "{\"index\":1,\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
        "\"text\":\"b\"}]}},"
        "{\"index\":2,\"message\":{\"content\":null,\"refusal\":\"I will not\"}},"
        "{\"index\":3,\"message\":{\"content\":\"\"}}]}";
    request.unstreamed = true;
    struct watcher w;
    struct outcome *o = ask(&w, &(struct reply){OK_JSON, body, .measured = true});
    assert_int_equal(o->failure.kind, FAILURE_NONE);
    assert_int_equal(o->output_count, 4);
    assert_string_equal(o->outputs[0].mime, "application/json");
    assert_non_null(strstr(o->outputs[0].content, "\"tool_calls\""));
    assert_string_equal(o->outputs[1].content, "ab");
    assert_string_equal(o->outputs[2].content, "I will not");
    assert_int_equal(o->outputs[3].length, 0);
    assert_string_equal(o->finish_reason, "tool_calls");
    assert_int_equal(o->input_tokens, -1);
    outcome_free(o);
    server_stop();
}

static void other_endpoints_give_their_body(void **state) {
    (void)state;
    static const char body[] = "{\"data\":[{\"embedding\":[0.1,2]}],\"error\":null,"
                               "\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}";
    request.endpoint = "/v1/embeddings";
    struct watcher w;
    struct outcome *o = ask(&w, &(struct reply){OK_JSON, body, .measured = true});
    assert_int_equal(o->failure.kind, FAILURE_NONE);
    assert_int_equal(o->output_count, 1);
    assert_string_equal(o->outputs[0].mime, "application/json");
    assert_string_equal(o->outputs[0].content, body);
    assert_int_equal(o->outputs[0].length, strlen(body));
    assert_null(o->body);
    assert_int_equal(o->input_tokens, 8);
    assert_int_equal(o->output_tokens, 0);
    assert_non_null(strstr(server.requests[0], "POST /v1/embeddings HTTP/1.1\r\n"));
    assert_non_null(strstr(server.requests[0], "{\"model\":\"gpt\",\"input\":\"Say hello\"}"));
    outcome_free(o);
    server_stop();
}

static void headers_of_the_model_go_out_and_win(void **state) {
    (void)state;
    struct model_header headers[] = {{(char *)"authorization", (char *)"Key abc"},
                                     {(char *)"X-Empty", (char *)""},
                                     {(char *)"x-api-key", (char *)"other-secret"}};
    model.headers = headers;
    model.header_count = 3;
    struct watcher w;
    struct outcome *o =
        ask(&w, &(struct reply){"HTTP/1.1 401 Unauthorized\r\n",
                                "{\"error\":{\"message\":\"bad key other-secret\"}}", .measured = true});
    const char *sent = server.requests[0];
    assert_non_null(strstr(sent, "\r\nauthorization: Key abc\r\n"));
    assert_non_null(strstr(sent, "\r\nX-Empty:\r\n"));
    assert_non_null(strstr(sent, "\r\nx-api-key: other-secret\r\n"));
    assert_null(strstr(sent, "Bearer"));
    assert_string_equal(o->failure.body, "{\"error\":{\"message\":\"bad key ************\"}}");
    outcome_free(o);
    server_stop();
    headers[0].value = (char *)"two\r\nlines";
    o = ask(&w, &(struct reply){OK_JSON, "{}", .measured = true});
    assert_int_equal(o->failure.kind, FAILURE_CONFIGURATION);
    assert_null(strstr(o->failure.message, "lines"));
    assert_int_equal(server.request_count, 0);
    outcome_free(o);
    server_stop();
}

// ---- failures ----

static void answers_that_are_none(void **state) {
    (void)state;
#define CUT CHUNK("{\"role\":\"assistant\",\"content\":\"Hel\"}", "null")
    const struct {
        struct reply reply;
        bool unstreamed;
        enum failure_kind kind;
        int status; // of the failure
        const char *partial, *body;
    } cases[] = {
        {{OK_STREAM, CUT, .after = CLOSE}, false, FAILURE_BAD_RESPONSE, 0, "Hel", NULL},
        {{OK_STREAM, CUT, .chunked = true, .after = CLOSE}, false, FAILURE_NETWORK, 0, "Hel", NULL},
        {{OK_STREAM, "data: [DONE]\n\n", .measured = true}, false, FAILURE_BAD_RESPONSE, 0, NULL, NULL},
        {{OK_STREAM, "data: {\"choices\":[]}\n\n", .measured = true},
         false,
         FAILURE_BAD_RESPONSE,
         0,
         NULL,
         NULL},
        {{OK_STREAM, "", .measured = true}, false, FAILURE_BAD_RESPONSE, 0, NULL, NULL},
        {{OK_STREAM, CUT "data: {broken\n\n", .measured = true},
         false,
         FAILURE_BAD_RESPONSE,
         0,
         "Hel",
         "{broken"},
        {{OK_STREAM, CUT "data: 7\n\n", .measured = true}, false, FAILURE_BAD_RESPONSE, 0, "Hel", "7"},
        {{OK_STREAM, CUT "data: {\"choices\":{}}\n\n", .measured = true},
         false,
         FAILURE_BAD_RESPONSE,
         0,
         "Hel",
         "{"},
        {{OK_STREAM, CUT "data: {\"error\":{\"code\":502,\"message\":\"gone\"}}\n\n", .chunked = true},
         false,
         FAILURE_HTTP,
         502,
         "Hel",
         "gone"},
        {{OK_STREAM, CUT "data: {\"error\":{\"code\":\"429\"}}\n\n", .chunked = true},
         false,
         FAILURE_HTTP,
         429,
         "Hel",
         "429"},
        {{OK_STREAM, CUT "data: {\"error\":{\"code\":\"server_error\"},\"choices\":[]}\n\n", .chunked = true,
          .after = HANG},
         false,
         FAILURE_HTTP,
         0,
         "Hel",
         "server_error"},
        {{OK_STREAM, CUT "data: [{\"error\":{\"code\":503}}]\n\n", .measured = true},
         false,
         FAILURE_HTTP,
         503,
         "Hel",
         "503"},
        {{OK_STREAM, CUT "event: error\ndata: {\"type\":\"overloaded_error\"}\n\n", .measured = true},
         false,
         FAILURE_HTTP,
         0,
         "Hel",
         "overloaded_error"},
        {{OK_STREAM, CUT "event: error\ndata: out of memory\n\n", .measured = true},
         false,
         FAILURE_HTTP,
         0,
         "Hel",
         "memory"},
        {{OK_STREAM, CHUNK("{\"content\":\"x\"}", "\"error\""), .measured = true},
         false,
         FAILURE_HTTP,
         0,
         "x",
         "error"},
        {{OK_JSON, "", .measured = true}, true, FAILURE_BAD_RESPONSE, 0, NULL, NULL},
        {{OK_JSON, "<html>busy</html>", .measured = true}, true, FAILURE_BAD_RESPONSE, 0, NULL, "<html>"},
        {{OK_JSON, "<html>busy</html>", .measured = true}, false, FAILURE_BAD_RESPONSE, 0, NULL, "<html>"},
        {{OK_JSON, "{\"choices\":[]}", .measured = true}, true, FAILURE_BAD_RESPONSE, 0, NULL, "choices"},
        {{OK_JSON, "{\"choices\":[7]}", .measured = true}, true, FAILURE_BAD_RESPONSE, 0, NULL, "choices"},
        {{OK_JSON, "[]", .measured = true}, true, FAILURE_BAD_RESPONSE, 0, NULL, "[]"},
        {{OK_JSON, "{\"error\":{\"code\":402,\"message\":\"pay\"}}", .measured = true},
         true,
         FAILURE_HTTP,
         402,
         NULL,
         "pay"},
        {{OK_JSON, "{\"error\":\"model is loading\"}", .measured = true},
         true,
         FAILURE_HTTP,
         0,
         NULL,
         "loading"},
        {{OK_JSON, "{\"error\":{\"code\":200}}", .measured = true}, true, FAILURE_HTTP, 0, NULL, "200"},
        {{OK_JSON,
          "{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"error\",\"error\":{\"code\":"
          "503}}]}",
          .measured = true},
         true,
         FAILURE_HTTP,
         503,
         "a",
         "503"},
        {{OK_JSON "Content-Length: 500\r\n", "{\"choices\":[", .after = CLOSE},
         true,
         FAILURE_NETWORK,
         0,
         NULL,
         NULL},
        {{NULL, .after = CLOSE}, false, FAILURE_NETWORK, 0, NULL, NULL},
        {{"HTTP/1.1 500 Oops\r\n", "", .measured = true}, false, FAILURE_HTTP, 500, NULL, NULL},
        {{"HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n", "cut", .after = CLOSE},
         false,
         FAILURE_HTTP,
         503,
         NULL,
         "cut"},
        {{"HTTP/1.1 204 No Content\r\n", NULL, .after = CLOSE}, true, FAILURE_BAD_RESPONSE, 0, NULL, NULL},
        {{"garbage\r\n", "garbage", .after = CLOSE}, false, FAILURE_BAD_RESPONSE, 0, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request.unstreamed = cases[i].unstreamed;
        struct watcher w;
        struct outcome *o = ask(&w, &cases[i].reply);
        if (o->failure.kind != cases[i].kind)
            fail_msg("case %zu: kind %d: %s", i, o->failure.kind, o->failure.message);
        assert_int_equal(o->failure.http_status, cases[i].status);
        assert_true(o->failure.message && *o->failure.message && !strchr(o->failure.message, '\n'));
        char where[128];
        snprintf(where, sizeof where, "%s/chat/completions", base_url);
        assert_string_equal(o->failure.where, where);
        assert_int_equal(o->output_count, cases[i].partial ? 1 : 0);
        if (cases[i].partial) {
            assert_string_equal(o->outputs[0].content, cases[i].partial);
            assert_true(o->outputs[0].partial);
        }
        if (cases[i].body)
            assert_true(o->failure.body && strstr(o->failure.body, cases[i].body));
        else
            assert_null(o->failure.body);
        assert_null(o->body);
        assert_false(o->stream_refused);
        assert_int_equal(server.request_count, 1);
        outcome_free(o);
        server_stop();
    }
}

static void http_errors_carry_facts(void **state) {
    (void)state;
    struct watcher w;
    struct outcome *o = ask(
        &w, &(struct reply){"HTTP/1.1 429 Slow\r\nRetry-After: 2\r\nX-Request-Id: req_9\r\n",
                            "{\"error\":{\"message\":\"key sk-secret-of-test is over\"}}", .measured = true});
    assert_int_equal(o->failure.kind, FAILURE_HTTP);
    assert_int_equal(o->failure.http_status, 429);
    assert_int_equal(o->http_status, 429);
    assert_int_equal(o->failure.retry_after_ms, 2000);
    assert_string_equal(o->request_id, "req_9");
    assert_string_equal(o->failure.body, "{\"error\":{\"message\":\"key ***************** is over\"}}");
    outcome_free(o);
    server_stop();
}

static void a_400_that_names_stream_is_told(void **state) {
    (void)state;
    const struct {
        const char *head, *body;
        bool unstreamed, refused;
    } cases[] = {
        {"HTTP/1.1 400 Bad\r\n", "{\"error\":\"Unknown parameter: stream_options\"}", false, true},
        {"HTTP/1.1 400 Bad\r\n", "{\"error\":\"Streaming is not supported\"}", false, true},
        {"HTTP/1.1 400 Bad\r\n", "stream", false, true},
        {"HTTP/1.1 400 Bad\r\n", "{\"error\":\"the upstream said no\"}", false, false},
        {"HTTP/1.1 400 Bad\r\n", "{\"error\":\"stream\"}", true, false}, // was not asked to
        {"HTTP/1.1 500 Bad\r\n", "{\"error\":\"stream\"}", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request.unstreamed = cases[i].unstreamed;
        struct watcher w;
        struct outcome *o = ask(&w, &(struct reply){cases[i].head, cases[i].body, .measured = true});
        assert_int_equal(o->failure.kind, FAILURE_HTTP);
        assert_int_equal(o->stream_refused, cases[i].refused);
        outcome_free(o);
        server_stop();
    }
}

static void a_redirect_is_not_followed(void **state) {
    (void)state;
    struct watcher w;
    struct outcome *o =
        ask(&w, &(struct reply){"HTTP/1.1 302 Found\r\nLocation: /v1/elsewhere\r\n", "", .measured = true});
    assert_int_equal(o->failure.kind, FAILURE_HTTP);
    assert_int_equal(o->failure.http_status, 302);
    assert_non_null(strstr(o->failure.message, "base_url"));
    assert_int_equal(server.request_count, 1);
    outcome_free(o);
    server_stop();
}

static void too_much_is_cut_off(void **state) {
    (void)state;
    enum { LENGTH = 600000 };
    char *big = mem_alloc(LENGTH + 1, 1);
    memset(big, ' ', LENGTH);
    char *stream = mem_alloc(LENGTH + 2000, 1);
    size_t n = 0;
    while (n < LENGTH)
        n += (size_t)snprintf(stream + n, 2000, "%s", CUT);
    struct buf head;
    buf_init(&head, BUF_UNLIMITED);
    buf_text(&head, OK_JSON);
    for (int i = 0; i < 700; i++)
        buf_format(&head, "X-Filler-%d: %0100d\r\n", i, 0);
    request.max_output = 4000;
    const struct {
        struct reply reply;
        bool unstreamed;
        enum failure_kind kind;
    } cases[] = {
        {{OK_JSON, big, .measured = true}, true, FAILURE_TOO_LARGE},
        {{OK_JSON, big, .chunked = true, .piece = 30000}, true, FAILURE_TOO_LARGE},
        {{OK_STREAM, stream, .chunked = true}, false, FAILURE_TOO_LARGE},
        {{OK_STREAM, big, .chunked = true}, false, FAILURE_TOO_LARGE}, // one endless line
        {{"HTTP/1.1 500 Big\r\n", big, .measured = true}, false, FAILURE_HTTP},
        {{head.data, "{}", .measured = true}, true, FAILURE_BAD_RESPONSE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request.unstreamed = cases[i].unstreamed;
        struct watcher w;
        struct outcome *o = ask(&w, &cases[i].reply);
        if (o->failure.kind != cases[i].kind)
            fail_msg("case %zu: kind %d: %s", i, o->failure.kind, o->failure.message);
        if (o->failure.kind == FAILURE_HTTP)
            assert_int_equal(strlen(o->failure.body), 65536);
        if (o->failure.kind == FAILURE_TOO_LARGE)
            assert_non_null(strstr(o->failure.message, "max_output (4000 bytes)"));
        outcome_free(o);
        server_stop();
    }
    buf_free(&head);
    free(stream);
    free(big);
}

static void a_request_is_never_sent_twice(void **state) {
    (void)state;
    // The second request comes over the kept connection; the server reads it and closes without a word.
    const struct reply replies[] = {{OK_STREAM, HELLO "data: [DONE]\n\n", .chunked = true},
                                    {NULL, .after = CLOSE},
                                    {OK_STREAM, HELLO "data: [DONE]\n\n", .chunked = true}};
    char *prompt = mem_alloc(300001, 1); // also one that takes several reads
    memset(prompt, 'x', 300000);
    for (int big = 0; big < 2; big++) {
        if (big)
            request.prompt = prompt;
        struct watcher w;
        server_start(replies, 3);
        snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/v1", server.port);
        struct outcome *o = run(&w);
        is_hello(o);
        outcome_free(o);
        o = run(&w);
        assert_int_equal(o->failure.kind, FAILURE_NETWORK);
        outcome_free(o);
        assert_int_equal(server.request_count, 2);
        assert_int_equal(server.request_fds[0], server.request_fds[1]); // it was the kept connection
        o = run(&w);
        is_hello(o);
        outcome_free(o);
        assert_int_equal(server.request_count, 3);
        assert_true(server.request_fds[2] != server.request_fds[1]);
        server_stop();
    }
    free(prompt);
}

static void what_is_not_reached_was_not_executed(void **state) {
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); // bound, not listening: refuses
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    getsockname(fd, (struct sockaddr *)&address, &size);
    snprintf(base_url, sizeof base_url, "http://u:p@127.0.0.1:%d/v1?q=1", ntohs(address.sin_port));
    struct watcher w;
    struct outcome *o = run(&w);
    char where[80];
    snprintf(where, sizeof where, "http://127.0.0.1:%d/v1/chat/completions", ntohs(address.sin_port));
    assert_int_equal(o->failure.kind, FAILURE_CONNECT);
    assert_string_equal(o->failure.where, where);
    assert_null(strstr(o->failure.message, "u:p"));
    assert_int_equal(w.last_step, STEP_CONNECT);
    outcome_free(o);
    close(fd);
    // No TLS at the other end.
    server_start(&(struct reply){OK_JSON, "{}", .measured = true}, 1);
    snprintf(base_url, sizeof base_url, "https://127.0.0.1:%d/v1", server.port);
    w = (struct watcher){0};
    begin(&w);
    while (server.connection_count == 0)
        assert_int_equal(loop_wait(loop, 10, &reason), 0);
    while (loop_wait(loop, 5, &reason) == 0 && !w.seen[STEP_CONNECT])
        continue;
    shutdown(server.connections[0], SHUT_RDWR); // it would wait for a request for ever
    wait_for(&w);
    assert_int_equal(w.outcome->failure.kind, FAILURE_CONNECT);
    outcome_free(w.outcome);
    server_stop();
}

static void what_cannot_be_sent_is_said(void **state) {
    (void)state;
    const struct {
        const char *base, *key_env, *parameters, *endpoint;
        enum failure_kind kind;
        const char *says;
    } cases[] = {
        {NULL, NULL, "{}", NULL, FAILURE_CONFIGURATION, "base_url"},
        {"", NULL, "{}", NULL, FAILURE_CONFIGURATION, "base_url"},
        {"file:///etc/passwd", NULL, "{}", NULL, FAILURE_CONFIGURATION, "base_url"},
        {"http://", NULL, "{}", NULL, FAILURE_CONFIGURATION, "base_url"},
        {"http://a b/", NULL, "{}", NULL, FAILURE_CONFIGURATION, "base_url"},
        {"http://127.0.0.1:1", "TEST_NO_SUCH_KEY", "{}", NULL, FAILURE_CONFIGURATION, "TEST_NO_SUCH_KEY"},
        {"http://127.0.0.1:1", NULL, "{", NULL, FAILURE_REQUEST, "parameters"},
        {"http://127.0.0.1:1", NULL, "{\"messages\":7}", NULL, FAILURE_REQUEST, "messages"},
        {"http://127.0.0.1:1", NULL, "{}", "/v1/x\r\nHost: evil", FAILURE_REQUEST, "endpoint"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model.base_url = (char *)(uintptr_t)cases[i].base;
        model.api_key_env = (char *)(uintptr_t)cases[i].key_env;
        request.parameters = cases[i].parameters;
        request.endpoint = cases[i].endpoint;
        struct watcher w;
        struct outcome *o = run(&w);
        if (o->failure.kind != cases[i].kind)
            fail_msg("case %zu: kind %d: %s", i, o->failure.kind, o->failure.message);
        assert_non_null(strstr(o->failure.message, cases[i].says));
        assert_int_equal(w.progresses, 0);
        outcome_free(o);
    }
}

static void running_out_of_descriptors_is_named(void **state) {
    (void)state;
    server_start(&(struct reply){OK_JSON, "{}", .measured = true}, 1);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/v1", server.port);
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    int lowest = dup(0); // one below every free descriptor
    close(lowest);
    none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    struct watcher w;
    struct outcome *o = run(&w);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(o->failure.kind, FAILURE_CONNECT);
    assert_non_null(strstr(o->failure.message, "open files"));
    outcome_free(o);
    server_stop();
}

// ---- stopping, and many ----

static void stop_gives_what_came(void **state) {
    (void)state;
    struct watcher w = {.stop_at_bytes = 6};
    server_start(
        &(struct reply){OK_STREAM, CUT CUT CUT, .chunked = true, .piece = 50, .pause_us = 300, .after = HANG},
        1);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/v1", server.port);
    begin(&w);
    wait_for(&w); // stopped inside on_progress
    assert_int_equal(w.stopped->failure.kind, FAILURE_NONE);
    assert_int_equal(w.stopped->output_count, 1);
    assert_true(w.stopped->outputs[0].partial);
    assert_int_equal(strncmp(w.stopped->outputs[0].content, "HelHel", 6), 0);
    outcome_free(w.stopped);
    assert_int_equal(loop_transfer_count(loop), 0);
    server_stop();
    // At once, and while waiting for the first byte.
    server_start(&(struct reply){NULL, .after = HANG}, 1);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/v1", server.port);
    for (int wait = 0; wait < 2; wait++) {
        w = (struct watcher){0};
        begin(&w);
        while (wait && !w.seen[STEP_WAIT])
            assert_int_equal(loop_wait(loop, 1000, &reason), 0);
        struct outcome *o = provider_openai.stop(w.call);
        assert_int_equal(o->failure.kind, FAILURE_NONE);
        assert_int_equal(o->output_count, 0);
        outcome_free(o);
        assert_int_equal(loop_wait(loop, 0, &reason), 0);
        assert_int_equal(loop_transfer_count(loop), 0);
    }
    server_stop();
}

static void many_run_at_once_and_connections_are_kept(void **state) {
    (void)state;
    enum { COUNT = 150 };
    static struct watcher watchers[COUNT];
    memset(watchers, 0, sizeof watchers);
    server_start(&(struct reply){OK_STREAM, HELLO "data: [DONE]\n\n", .chunked = true}, 1);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/v1", server.port);
    for (int i = 0; i < COUNT; i++)
        begin(&watchers[i]);
    for (int i = 0; i < COUNT; i++) {
        wait_for(&watchers[i]);
        is_hello(watchers[i].outcome);
        outcome_free(watchers[i].outcome);
    }
    size_t connections = server.connection_count;
    struct watcher w;
    for (int i = 0; i < 5; i++) {
        struct outcome *o = run(&w);
        is_hello(o);
        outcome_free(o);
    }
    assert_int_equal(server.connection_count, connections);
    assert_int_equal(server.request_count, COUNT + 5);
    server_stop();
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(streams_and_re_assembles),
        CASE(sockets_are_not_inherited),
        CASE(takes_a_stream_in_any_form_and_pieces),
        CASE(a_response_left_open_after_done_ends),
        CASE(progress_tells_content_from_signs_of_life),
        CASE(unstreamed_answers_keep_their_bytes),
        CASE(choices_become_outputs),
        CASE(other_endpoints_give_their_body),
        CASE(headers_of_the_model_go_out_and_win),
        CASE(answers_that_are_none),
        CASE(http_errors_carry_facts),
        CASE(a_400_that_names_stream_is_told),
        CASE(a_redirect_is_not_followed),
        CASE(too_much_is_cut_off),
        CASE(a_request_is_never_sent_twice),
        CASE(what_is_not_reached_was_not_executed),
        CASE(what_cannot_be_sent_is_said),
        CASE(running_out_of_descriptors_is_named),
        CASE(stop_gives_what_came),
        CASE(many_run_at_once_and_connections_are_kept),
    };
    return cmocka_run_group_tests_name("openai", tests, NULL, NULL);
}
