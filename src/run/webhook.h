// SPDX-License-Identifier: MIT
// Webhooks: events of the log become deliveries, deliveries are sent on the loop.
// Whoever owns the database does it: the runner in its turns, or the job `webhooks`
// without one. Nothing here waits; what is not taken is tried again by schedule.
//
//   webhook.c         reading the log, who may send what now
//   webhook_settle.c  what came of it
//   webhook_send.c    one message on its way: request, answer
//   webhook_body.c    the formats
//   webhook_sign.c    URL, secret and signature
#ifndef GENRUN_RUN_WEBHOOK_H
#define GENRUN_RUN_WEBHOOK_H

#include "loop/loop.h"
#include "queue/delivery.h"
#include "run/settings.h"

// ---- webhook.c ----
struct webhooks;
// All borrowed, and outlive it. Nothing is read or written before the first turn. NULL: there is no endpoint, and was none.
struct webhooks *webhooks_new(struct db *db, struct loop *loop, const struct webhook_endpoint *endpoints,
                              size_t count);
void webhooks_free(struct webhooks *webhooks); // ends what is on its way: it is sent again; NULL is fine
// `changes` grows when the database may have changed. Failures with the database are tried again.
void webhooks_turn(struct webhooks *webhooks, int64_t changes, int64_t now_ms);
int64_t webhooks_due_ms(const struct webhooks *webhooks); // monotonic; NULL: INT64_MAX
// The log is read, and nothing is on its way or could be sent at once. NULL is idle.
bool webhooks_are_idle(const struct webhooks *webhooks);
int64_t webhooks_taken(const struct webhooks *webhooks); // messages that were taken so far
// How many attempts have ended, of each endpoint and by what came of them: taken, failed, held_off, gone, unreachable,
// blocked. NULL: none.
void webhooks_counts(const struct webhooks *webhooks,
                     void (*each)(void *payload, const char *endpoint, const char *result, int64_t count),
                     void *payload);

#define WEBHOOK_ATTEMPTS 10
// The pause after so many attempts, without jitter; 0: there is no further one.
int64_t webhook_pause_ms(int attempts);
// Does the endpoint want an event of this name? webhook.* never.
bool webhook_wants(const struct webhook_endpoint *endpoint, const char *event);

// ---- webhook_body.c ----
#define WEBHOOK_BODY_MAXIMUM 20000 // bytes
// LATER: the batch ends, but has not ended yet; who is told would still see it at work.
enum webhook_wish { WEBHOOK_NOTHING, WEBHOOK_WANTED, WEBHOOK_LATER };
// What is sent for an event: its type and body (of slack: a line). *wish NOTHING: it is not for this endpoint.
int webhook_body(struct db *db, const struct webhook_endpoint *endpoint, const struct delivery_event *event,
                 int64_t now_at, char type[64], struct buf *body, enum webhook_wish *wish,
                 struct err *e) must_check;
// The same for an event and its row (NULL: none), its OpenAI id and status ("": none).
struct webhook_subject {
    struct row *row;
    char openai_id[48], openai_status[16];
};
bool webhook_write_body(const struct webhook_endpoint *endpoint, const struct delivery_event *event,
                        const struct webhook_subject *subject, char type[64], struct buf *body);
// What `webhook test` sends.
void webhook_write_test(const struct webhook_endpoint *endpoint, int64_t now_at, struct buf *body);
// The message of slack from so many lines.
void webhook_write_slack(struct buf *out, const struct delivery *lines, size_t count);

// ---- webhook_settle.c ----
enum webhook_end {
    WEBHOOK_TAKEN,
    WEBHOOK_FAILED,      // another answer, or none
    WEBHOOK_HELD_OFF,    // asked to come later: 429, 502, 503, 504
    WEBHOOK_GONE,        // wants no more: 410
    WEBHOOK_UNREACHABLE, // no connection
    WEBHOOK_BLOCKED,     // an address that must not be reached
    WEBHOOK_ENDS
};
struct webhook_result;
enum webhook_end webhook_end(const struct webhook_result *result);

// ---- webhook_sign.c ----
#define WEBHOOK_SECRET_MAXIMUM 4096
// ERR_CONFIG, without any value, when what is named is missing or cannot be used. The secret is "" where none is named.
int webhook_url(const struct webhook_endpoint *endpoint, struct buf *url, struct err *e) must_check;
int webhook_secret(const struct webhook_endpoint *endpoint, struct buf *secret, struct err *e) must_check;
void webhook_wipe(struct buf *secret); // wipes and frees
// Appends "v1,<base64>". False: the secret begins with whsec_ and is no base64.
bool webhook_sign(struct buf *out, const char *secret, const char *id, int64_t timestamp_s, const char *body);
void webhook_digest(const char *url, char out[33]);

// ---- webhook_send.c ----
struct webhook_send;
struct webhook_result {
    int status;             // of the answer; 0: none
    bool connected;         // it was reached
    bool refused;           // by `reach`
    int64_t retry_after_ms; // -1: not stated
    char error[160];        // without URL and secrets; "": it was taken
    int64_t took_ms;
};
struct webhook_message {
    const char *id, *body; // copied
};
// ERR_CONFIG: URL or secret cannot be used; ERR_REMOTE: libcurl refuses. on_end is called once, from the loop; free it
// then. *out NULL on failure.
int webhook_send_start(struct webhook_send **out, struct loop *loop, const struct webhook_endpoint *endpoint,
                       const struct webhook_message *message,
                       void (*on_end)(void *payload, struct webhook_send *send), void *payload,
                       struct err *e) must_check;
const struct webhook_result *webhook_send_result(const struct webhook_send *send);
void webhook_send_free(struct webhook_send *send); // ends it, too; NULL is fine

#endif
