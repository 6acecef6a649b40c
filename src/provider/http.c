// SPDX-License-Identifier: MIT
// One HTTP call; http.h says against what each option stands.
#include "provider/http.h"

#include "base/address.h"
#include "base/mem.h"
#include "provider/redact.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HEADERS_MAXIMUM 65536
#define CONNECT_TIMEOUT_MS 10000
#define IDLE_CONNECTION_S 4L // under the 5 s after which node and uvicorn close an idle connection
#define KEEPALIVE_S 60L      // a server that thinks for minutes is silent: NATs and dead hosts are noticed so

struct http_call {
    struct loop *loop;
    CURL *easy;
    struct http_listener listener;
    struct http_request request;
    size_t body_sent;
    struct buf headers;  // of the last response: name:value NUL …
    size_t headers_seen; // bytes of all header lines, informational responses too
    bool headers_over;
    bool has_head;
    bool out_of_files; // the connection failed on our side
    bool refused;      // an address that it must not reach
    bool connected;
    bool ended_well; // its handle can serve again
    bool in_body;
    struct loop_task sign;
    char message[CURL_ERROR_SIZE];
};

static size_t send_body(char *out, size_t size, size_t count, void *payload) {
    struct http_call *call = payload;
    size_t length = call->request.body_length - call->body_sent;
    if (length > size * count)
        length = size * count;
    memcpy(out, call->request.body + call->body_sent, length);
    call->body_sent += length;
    return length;
}

static size_t receive_body(char *bytes, size_t size, size_t count, void *payload) {
    struct http_call *call = payload;
    call->in_body = true;
    loop_defer(call->loop, &call->sign);
    return call->listener.on_body(call->listener.payload, bytes, size * count) ? size * count : 0;
}

static size_t receive_header(char *line, size_t size, size_t count, void *payload) {
    struct http_call *call = payload;
    size_t length = size * count;
    call->headers_seen += length;
    if (call->headers_seen > HEADERS_MAXIMUM) {
        call->headers_over = true;
        return 0;
    }
    if (call->in_body) // trailers tell nothing
        return length;
    size_t kept = length;
    while (kept && (line[kept - 1] == '\r' || line[kept - 1] == '\n'))
        kept--;
    if (kept >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        buf_clear(&call->headers); // what came before belonged to an informational response
        call->has_head = false;
    } else if (!kept) {
        call->has_head = true;
    } else if (!memchr(line, '\0', kept)) {
        buf_append(&call->headers, line, kept);
        buf_append(&call->headers, "", 1);
    }
    loop_defer(call->loop, &call->sign);
    return length;
}

// The connection stands (a new one or one kept alive), the request goes out next.
static int before_request(void *payload, char *remote, char *local, int remote_port, int local_port) {
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    struct http_call *call = payload;
    call->connected = true;
    loop_defer(call->loop, &call->sign);
    return CURL_PREREQFUNC_OK;
}

static curl_socket_t open_socket(void *payload, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)purpose;
    struct http_call *call = payload;
    enum address_kind kind = address_kind(&address->addr);
    if ((call->request.reach != HTTP_ANYWHERE && kind == ADDRESS_LINK_LOCAL) ||
        (call->request.reach == HTTP_PUBLIC && kind != ADDRESS_PUBLIC)) {
        call->refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    call->out_of_files = fd < 0 && (errno == EMFILE || errno == ENFILE);
    return fd;
}

static void tell_sign(void *payload) {
    struct http_call *call = payload;
    call->listener.on_sign(call->listener.payload);
}

static void transfer_ended(void *payload, CURL *easy, CURLcode result) {
    (void)easy;
    struct http_call *call = payload;
    loop_defer_cancel(call->loop, &call->sign);
    call->ended_well = result == CURLE_OK;
    const char *message = *call->message ? call->message : curl_easy_strerror(result);
    if (call->out_of_files && !call->connected)
        message = "no more open files are allowed here: raise the limit (ulimit -n) or lower concurrency";
    call->listener.on_end(call->listener.payload, result, message);
}

static CURLcode set_up(struct http_call *call) {
    CURL *easy = call->easy;
    const struct http_request *request = &call->request;
    int64_t connect_ms = request->connect_timeout_ms > 0 ? request->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    CURLcode rc = CURLE_OK;
#define SET(option, value)                                                                                   \
    if (!rc)                                                                                                 \
    rc = curl_easy_setopt(easy, option, value)
    SET(CURLOPT_ERRORBUFFER, call->message);
    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    SET(CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_S);
    SET(CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L);
    SET(CURLOPT_FORBID_REUSE, request->reach != HTTP_ANYWHERE ? 1L : 0L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
    SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, call);
    SET(CURLOPT_PREREQFUNCTION, before_request);
    SET(CURLOPT_PREREQDATA, call);
    SET(CURLOPT_HTTPHEADER, request->headers);
    if (request->is_get) {
        SET(CURLOPT_HTTPGET, 1L);
    } else {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
        SET(CURLOPT_READFUNCTION, send_body); // and no SEEKFUNCTION: never sent twice
        SET(CURLOPT_READDATA, call);
    }
    SET(CURLOPT_HEADERFUNCTION, receive_header);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_WRITEFUNCTION, receive_body);
    SET(CURLOPT_WRITEDATA, call);
#undef SET
    return rc;
}

struct http_call *http_start(struct loop *loop, struct http_request *request,
                             const struct http_listener *listener, struct err *e) {
    struct http_call *call = mem_alloc(1, sizeof *call);
    call->loop = loop;
    call->listener = *listener;
    call->request = *request;
    memset(request, 0, sizeof *request);
    buf_init(&call->headers, HEADERS_MAXIMUM * 2);
    call->sign = (struct loop_task){.on_run = tell_sign, .payload = call};
    call->easy = loop_easy_take(loop);
    int rc;
    if (!call->easy) {
        rc = err_set(e, ERR_REMOTE, "libcurl gives no handle: free some memory");
        goto out;
    }
    CURLcode code = set_up(call);
    rc = code ? err_set(e, ERR_REMOTE, "libcurl refuses the request: %s", curl_easy_strerror(code))
              : loop_transfer_add(loop, call->easy, transfer_ended, call, e);
out:
    if (rc) {
        http_free(call);
        call = NULL;
    }
    return call;
}

void http_add_header(struct http_request *request, const char *name, const char *value) {
    char *line = mem_format("%s: %s", name, value);
    request->headers = curl_slist_append(request->headers, line);
    explicit_bzero(line, strlen(line));
    free(line);
}

enum http_reach http_reach_of(const char *url) {
    CURLU *parts = curl_url();
    char *host = NULL;
    bool known = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                 curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    enum http_reach reach = known && address_is_literal(host) ? HTTP_NOT_LINK_LOCAL : HTTP_PUBLIC;
    curl_free(host);
    curl_url_cleanup(parts);
    return reach;
}

void http_request_clear(struct http_request *request) {
    for (struct curl_slist *line = request->headers; line; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(request->headers);
    free(request->url);
    free(request->body);
    memset(request, 0, sizeof *request);
}

void http_free(struct http_call *call) {
    if (!call)
        return;
    loop_defer_cancel(call->loop, &call->sign);
    loop_transfer_remove(call->loop, call->easy);
    // libcurl 8 still wants to rewind on a handle that failed to, through curl_easy_reset and all.
    if (call->ended_well)
        loop_easy_give(call->loop, call->easy);
    else
        curl_easy_cleanup(call->easy);
    http_request_clear(&call->request);
    buf_free(&call->headers);
    free(call);
}

int http_status(const struct http_call *call) {
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

bool http_is_connected(const struct http_call *call) {
    return call->connected;
}

bool http_is_refused(const struct http_call *call) {
    return call->refused && !call->connected;
}

bool http_has_head(const struct http_call *call) {
    return call->has_head && http_status(call) >= 200;
}

bool http_is_headers_over(const struct http_call *call) {
    return call->headers_over;
}

const char *http_header(const struct http_call *call, const char *name) {
    size_t name_length = strlen(name);
    const char *line = buf_borrow(&call->headers), *end = line + call->headers.length;
    for (; line < end; line += strlen(line) + 1) {
        if (strncasecmp(line, name, name_length) == 0 && line[name_length] == ':') {
            const char *value = line + name_length + 1;
            return value + strspn(value, " \t");
        }
    }
    return NULL;
}

static bool is_secret_name(const char *line, size_t length) {
    char *name = mem_copy_bytes(line, length);
    bool secret = redact_is_secret_name(name) && strcasecmp(name, "Idempotency-Key") != 0;
    free(name);
    return secret;
}

void http_mask_secrets(const struct http_call *call, char *text) {
    for (const struct curl_slist *line = call->request.headers; text && line; line = line->next) {
        size_t name_length = strcspn(line->data, ":;");
        if (!line->data[name_length] || !is_secret_name(line->data, name_length))
            continue;
        const char *value = line->data + name_length + 1;
        value += strspn(value, " ");
        const char *word = strrchr(value, ' '); // after "Bearer"
        value = word ? word + 1 : value;
        redact_value(text, value);
    }
}
