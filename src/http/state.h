// SPDX-License-Identifier: MIT
// Inside of src/http/: what an exchange, a connection and the server are. Handlers see exchange.h only.
#ifndef GENRUN_HTTP_STATE_H
#define GENRUN_HTTP_STATE_H

#include "base/buf.h"
#include "http/auth.h"
#include "http/exchange.h"
#include "http/listen.h"
#include "http/path.h"
#include "http/query.h"
#include "http/route.h"
#include "http/server.h"
#include "http/upload.h"
#include "lib/host.h"
#include <microhttpd.h>

struct server;
struct worker;

// ---- connections ----

enum phase {
    PHASE_HEAD, // waiting for a request, or in the middle of its head
    PHASE_BODY, // receiving a body
    PHASE_WORK, // with us: no clock but our own
    PHASE_SEND  // sending the answer
};

struct connection {
    struct server *server;
    struct MHD_Connection *mhd;
    int fd;
    enum phase phase;
    int64_t since_ms;          // of the phase
    int64_t bytes;             // of it: received, or to be sent
    bool served;               // an answer was sent on it before
    bool cut;                  // shut down by us
    bool left;                 // by its client, that sends no more
    struct exchange *exchange; // NULL: between two
    struct connection *next, **back;
};

// ---- exchanges ----

#define LOOP_BYTES ((size_t)128 << 10) // read, and written as JSON, on the loop: some 3 ms

struct answer {
    int status; // 0: none yet
    char *mime;
    struct buf body;   // when neither of the following
    const void *bytes; // of static life
    size_t length;
    int fd; // -1: none
    char *filename;
    struct answer_header {
        char *name, *value;
    } * headers;
    size_t header_count;
};

enum stage {
    STAGE_NEW,    // only its target is known
    STAGE_BODY,   // more of the request is to come
    STAGE_WORK,   // suspended: in a write, on a worker, or waiting
    STAGE_ANSWER, // the answer is there and not sent
    STAGE_SENT
};

struct exchange {
    struct server *server;
    struct connection *connection;
    const struct route *route; // NULL: refused before there was any
    enum stage stage;
    bool suspended;
    bool has_path;   // the target is a path, not an absolute URL or *
    bool moved;      // from the loop to a worker
    bool waits;      // counted among those that wait
    bool discard;    // what comes of the body is thrown away
    bool head_only;  // HEAD
    bool is_old;     // HTTP/1.0
    bool is_unsound; // its end is not sure: no body is waited for
    char id[28];
    char *method, *path, *raw_query;
    char *remote;
    int64_t began_ms;
    struct path_segments segments;
    struct query query;
    struct auth_identity who;
    // The body.
    struct buf text;
    int64_t buffered; // of the server's sum
    int64_t held;     // bytes of the answer, of the server's sum
    cJSON *body;
    struct upload *upload;
    int64_t received;
    // The answer.
    struct answer answer;
    struct host_write write;
    bool write_refused; // the handler answered with an error: its writes are undone
    void (*check)(struct exchange *x, genrun *g, bool late);
    int64_t wait_until_ms;
    bool late;  // that is over
    char *kept; // by the handler, for check
    void (*after)(genrun *g, const char *text);
    char *after_text;
    // A stream.
    bool streaming, stream_ended;
    struct exchange_stream stream;
    int64_t sent_ms;               // when it gave bytes last
    struct exchange *next, **back; // of the server's list of all
    struct exchange *next_job;     // of a worker's queue
};

// `target` is the request line's, as it came.
struct exchange *exchange_new(struct server *server, struct connection *connection, const char *target);
void exchange_set_method(struct exchange *x, const char *method);
void exchange_free(struct exchange *x);
void exchange_forget_answer(struct exchange *x); // as if there had been none
void exchange_refuse(struct exchange *x, const struct auth_refusal *why);

// ---- the server ----

#define ROUTES_MAXIMUM 128

struct server {
    genrun *g;
    struct MHD_Daemon *daemon;
    struct listen_address address;
    int listen_fd, epoll_fd;
    int left_fd; // an epoll descriptor of all connections: ready when clients leave
    struct auth *auth;
    char *data_dir, *base_url;
    char **cors_origins; // borrowed from the configuration
    int64_t max_body, idle_ms;
    int connection_limit, stream_limit;
    int64_t buffered; // bytes of JSON bodies in memory, of all exchanges
    int64_t held;     // bytes of large answers that clients have not taken yet
    struct connection *connections;
    int connection_count;
    struct exchange *exchanges;
    int stream_count, waiting_count;
    struct host_hooks hooks;
    struct host_timer *timer; // each second while there are connections
    struct host_timer *again; // the library has more to do
    struct host_timer *look;  // commits that came close behind others
    bool timing;
    bool pump_again;   // something was resumed or is pending
    int64_t looked_ms; // when streams and those that wait were last told of commits
    bool look_set, stopping;
    int64_t stopping_ms; // when that began
    struct worker *worker;
    struct live *live;
    struct server_use use[ROUTES_MAXIMUM];
    uint64_t cut_count;
};

// connection.c
struct connection *connection_add(struct server *s, struct MHD_Connection *mhd);
void connection_remove(struct connection *c);
void connection_phase(struct connection *c, enum phase phase, int64_t now_ms);
// Notes which clients have left, and tells dispatch of it: the library does not look at connections that are suspended.
void connection_take_left(struct server *s);
// During a stop: requests of which a part is still to come are answered with 503, and cut. They have done nothing.
void connection_drop_halves(struct server *s);
// Ends connections that are too slow, and, near the limit, those that have been idle the longest.
void connection_cut_slow(struct server *s, int64_t now_ms);

// head.c: what the library does not check. false: the exchange has its refusal.
bool head_check(struct exchange *x);
// The headers of CORS for an Origin that is allowed.
void head_allow_origin(struct exchange *x);

// dispatch.c
void dispatch_head(struct exchange *x);                                    // the head is there
void dispatch_bytes(struct exchange *x, const char *bytes, size_t length); // some of the body
int64_t dispatch_readable(
    const struct exchange *x);             // bytes of the body that are read, and thrown away if need be
void dispatch_end(struct exchange *x);     // all of it
void dispatch_up(struct server *s);        // what a former server left is taken up
void dispatch_committed(struct server *s); // those that wait look again
// On a worker's thread: the body is read and the handler called.
void dispatch_work(struct exchange *x, genrun *g);
// The client has left: nobody waits for the answer, or reads the stream.
void dispatch_left(struct exchange *x);
// Back on the loop: the handler is over.
void dispatch_done(struct exchange *x);

// send.c
enum MHD_Result send_answer(struct exchange *x);
enum MHD_Result send_stream(struct exchange *x);
// The answer that an exchange has, straight to the socket: for one that the library would not let answer now.
void send_now(struct exchange *x);

// server.c: an exchange that is suspended goes on.
void server_resume(struct exchange *x);

#endif
