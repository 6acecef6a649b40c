// SPDX-License-Identifier: MIT
// One request and its answer, as handlers see them. A handler reads the request, calls
// functions of genrun.h with the handle it is given, and gives exactly one answer. It
// never sees a socket: the answer is sent later, on the loop, and for a route that
// writes only after the commit.
#ifndef GENRUN_HTTP_EXCHANGE_H
#define GENRUN_HTTP_EXCHANGE_H

#include "base/buf.h"
#include "genrun.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct exchange;
struct upload;
struct live;

// ---- who asks ----

// What a route asks for at least.
enum exchange_role { ROLE_ANYONE, ROLE_USER, ROLE_ADMIN };
enum exchange_role exchange_role(
    const struct exchange *x); // what the credential gives; ROLE_ANYONE without one
// The user that the credential belongs to; NULL for an admin, who sees all.
const char *exchange_user(const struct exchange *x);
// A stable name of the credential: "key:<id>", "secret", "session"; "" without one.
const char *exchange_key(const struct exchange *x);

// ---- the request: all texts live as long as the exchange ----

// The part of the path that {name} of the route stands for, decoded; "" when the route has none.
const char *exchange_segment(const struct exchange *x, const char *name);
const char *exchange_header(const struct exchange *x, const char *name); // NULL: absent
// Members of the query, checked against the route's table; NULL or the fallback when absent. Durations in ms.
const char *exchange_query(const struct exchange *x, const char *name);
int64_t exchange_query_integer(const struct exchange *x, const char *name, int64_t fallback);
// The body's JSON object, checked against the route's table, and its bytes as they came; NULL: there is none.
const cJSON *exchange_body(const struct exchange *x);
const char *exchange_body_text(const struct exchange *x, size_t *length);
// What was uploaded (http/upload.h); NULL when the body was JSON or none. It stays the exchange's.
struct upload *exchange_upload(struct exchange *x);
// Where uploads are kept: [genrun] data_dir.
const char *exchange_data_dir(const struct exchange *x);

// ---- the answer ----

// A header of the answer; to be given before it.
void exchange_answer_header(struct exchange *x, const char *name, const char *value);
// Takes the buffer's content. Status 204 has no body.
void exchange_json(struct exchange *x, int status, struct buf *json);
// Bytes of static life, such as a page of the dashboard.
void exchange_bytes(struct exchange *x, int status, const char *mime, const void *bytes, size_t length);
// Text that is copied.
void exchange_text(struct exchange *x, int status, const char *mime, const char *text, size_t length);
// The content of a file from its start; takes the descriptor. Range is served. filename (may be NULL) is what a
// browser saves it as.
void exchange_file(struct exchange *x, int fd, const char *mime, const char *filename);
// The error object. type NULL: the usual one of the status; code and param may be NULL.
void exchange_error(struct exchange *x, int status, const char *type, const char *code, const char *param,
                    const char *format, ...) __attribute__((format(printf, 6, 7)));
// What a function of genrun.h failed with: GENRUN_INVALID and GENRUN_CONFIG 400, NOT_FOUND 404, CONFLICT 409, DATABASE and REMOTE 503.
// Its advice is given in the words of this API, and `param` is the member that it is about.
void exchange_failed(struct exchange *x, genrun *g, int code);
// The same, of the member `param` of the request.
void exchange_failed_by(struct exchange *x, genrun *g, int code, const char *param);
bool exchange_is_answered(const struct exchange *x);

// ---- answers that take time ----

// Instead of an answer, of a ROUTE_READ that would keep the loop for long: the handler is called again, on a worker.
// false: it is on one already.
bool exchange_move(struct exchange *x);
// What the handler of a ROUTE_READ reads from here on may be large: on the loop nothing larger than is good for it is
// read, and where there is something the handler is called again, on a worker.
void exchange_bound(struct exchange *x, genrun *g);
// Is the answer that grows to so many bytes to be made on a worker? Then the handler ends without one.
bool exchange_outgrows(struct exchange *x, size_t bytes);
// Instead of an answer: `check` is called after the commits of others, with a handle and the scope of the caller,
// until it answers; once more with late = true when wait_ms are over, and then it must. At most 64 wait: beyond that the
// answer is 503 at once (and what was written is undone).
void exchange_wait(struct exchange *x, void (*check)(struct exchange *x, genrun *g, bool late),
                   int64_t wait_ms);
// A text that the exchange keeps for `check`; it is copied. NULL: none was kept.
void exchange_keep(struct exchange *x, const char *text);
const char *exchange_kept(const struct exchange *x);
// After the answer: `run` is called on the thread for such work, one after the other, with a handle of that thread.
// `text` is copied. Not kept over a restart: what it does must be found again by whoever starts.
void exchange_after(struct exchange *x, void (*run)(genrun *g, const char *text), const char *text);

// A stream (server-sent events). `read` gives the next bytes, at most `size`: 0 for nothing now (it is asked again
// after the next commit), -1 for the end. On the loop, with the runner's handle. `free_payload` is called at its end.
struct exchange_stream {
    ssize_t (*read)(void *payload, genrun *g, char *buffer, size_t size);
    void (*free_payload)(void *payload);
    void *payload;
};
// Where handlers of streams find the server's live events (http/live.h).
struct live *exchange_live(const struct exchange *x);
// A client that went away is noticed by the next bytes: whoever gives them pings.
void exchange_stream(struct exchange *x, const char *mime, const struct exchange_stream *stream);

#endif
