// SPDX-License-Identifier: MIT
// The door of the queue for webhooks: events that become deliveries, deliveries on
// their way, and what is known of endpoints (schema/0004_readers.sql).
#ifndef GENRUN_QUEUE_DELIVERY_H
#define GENRUN_QUEUE_DELIVERY_H

#include "queue/queue.h"

#define DELIVERY_PAGE 64               // events that become deliveries in one transaction
#define DELIVERY_BURST 200             // deliveries of one message, at most
#define DELIVERY_PENDING_MAXIMUM 10000 // of an endpoint; beyond them the log keeps what comes
#define DELIVERY_MANY 500              // pending ones, which are not counted at each look
#define DELIVERY_KEPT_ROWS 10000       // of an endpoint, in each of the states that are an end
#define DELIVERY_PAUSE_MAXIMUM_MS (INT64_C(30) * 3600 * 1000) // between two attempts, jitter included
#define DELIVERY_ID_SIZE 37                                   // msg_ and 32 hex digits

// ---- reading the log ----
struct delivery_event {
    int64_t id, created_at, generation_seq, batch_seq, attempt; // 0: none
    char *level, *event, *message, *data;                       // owned; message and data may be NULL
};
void delivery_event_clear(struct delivery_event *event);
// Of rows after *position, those whose name `wants` takes: at most DELIVERY_PAGE. *position moves on to where it looked,
// *more: there is more behind it.
int delivery_scan(struct db *db, int64_t *position, bool (*wants)(void *payload, const char *event),
                  void *payload, struct delivery_event list[DELIVERY_PAGE], size_t *count, bool *more,
                  struct err *e) must_check;
// Whose the event is: a row as `show --json` gives it, without what is long (of a batch of OpenAI's API that never became a
// batch job: some of what /v1/batches shows); NULL when it is of nobody, or gone.
int delivery_subject(struct db *db, const struct delivery_event *event, struct row **out,
                     struct err *e) must_check;
// Has the batch job items of one of these models (ends in NULL)?
int delivery_has_model(struct db *db, int64_t batch_seq, char *const *models, bool *has,
                       struct err *e) must_check;
// The id and status that OpenAI's API has for the event's batch job, or for the one that it names; "" : none.
int delivery_openai(struct db *db, const struct delivery_event *event, char id[48], char status[16],
                    struct err *e) must_check;
struct delivery_new {
    int64_t event_id, generation_seq, batch_seq;
    char type[64];
    char *body; // owned by the caller
};
// In a transaction of its own: the deliveries and the reader's cursor. Those that are there already are passed over.
int delivery_store(struct db *db, const char *endpoint, const struct delivery_new *list, size_t count,
                   int64_t position, int64_t next_at, int64_t now_at, struct err *e) must_check;

// ---- endpoints ----
struct delivery_endpoint {
    int64_t position;    // of its reader
    int64_t disabled_at; // 0: it is not
    int64_t away_since, not_before;
    int64_t pending; // beyond DELIVERY_MANY not counted: one more than that
};
// In a transaction of its own where something is new: an endpoint begins at the end of the log; another URL lifts what
// was known of the old one.
int delivery_open(struct db *db, const char *endpoint, const char *url_digest, int64_t now_at,
                  struct delivery_endpoint *out, struct err *e) must_check;
int delivery_look(struct db *db, const char *endpoint, struct delivery_endpoint *out,
                  struct err *e) must_check;
// How many are pending; beyond DELIVERY_PENDING_MAXIMUM one more than that. Of many it takes up to a millisecond.
int delivery_count(struct db *db, const char *endpoint, int64_t *pending, struct err *e) must_check;
// In transactions of their own, a slice of each: what is not among `names` has its cursor removed and its pending ones
// dropped. *more: there is more to drop.
int delivery_forget_others(struct db *db, const char *const *names, size_t count, int64_t now_at, bool *more,
                           struct err *e) must_check;
// Drops the oldest of what still waits for a disabled endpoint, as many as the loop has time for.
int delivery_drop(struct db *db, const char *endpoint, int64_t now_at, int64_t *dropped,
                  struct err *e) must_check;
// In transactions of their own: ERR_NOT_FOUND when nothing is known of it.
int delivery_enable(struct db *db, const char *endpoint, bool *was_disabled, struct err *e) must_check;

// ---- deliveries ----
struct delivery {
    int64_t id;
    int64_t created_at;
    int attempts;
    char message_id[DELIVERY_ID_SIZE];
    char *body; // owned
};
void delivery_clear(struct delivery *delivery);
// Those that can go out now, the oldest first.
int delivery_due(struct db *db, const char *endpoint, int64_t now_at, size_t limit, struct delivery *list,
                 size_t *count, struct err *e) must_check;
// When the next can go out; 0: none.
int delivery_next_at(struct db *db, const char *endpoint, int64_t *at, struct err *e) must_check;
// Where the clock was set back: what would wait for longer than any pause is due now, a slice, in a transaction of its own.
// *changed: how many; 0: no more.
int delivery_unwind(struct db *db, const char *endpoint, int64_t now_at, int64_t *changed,
                    struct err *e) must_check;
// What came of an attempt, for each of `ids`; inside the caller's transaction.
struct delivery_outcome {
    const char *status; // delivered, failed, or pending: tried again
    bool counts;        // it reached the endpoint, so it spends an attempt
    int64_t next_at;    // of pending
    int http_status;    // 0: none
    const char *error;  // NULL: none
};
int delivery_settle(struct db *db, const int64_t *ids, size_t count, const struct delivery_outcome *outcome,
                    int64_t now_at, struct err *e) must_check;
// Inside the caller's transaction: what is known of the endpoint now. disabled_at: all that is pending is dropped.
struct delivery_state {
    int64_t disabled_at, away_since, not_before; // 0: not
    const char *reason;
    bool took; // a delivery, just now
};
int delivery_endpoint_set(struct db *db, const char *endpoint, const struct delivery_state *state,
                          int64_t now_at, struct err *e) must_check;
// In a transaction of its own, a slice: what waited for 30 days for an endpoint that was away all that time fails, and what ended 30 days ago is removed, as is
// what is beyond the newest DELIVERY_KEPT_ROWS of an endpoint and state.
int delivery_expire(struct db *db, int64_t now_at, int64_t *changed, struct err *e) must_check;
// ---- for people ----
// Row of pending, failed, dropped, state ("ok", "away", "paused", "disabled", "new"), reason, since, last_at, behind (log
// rows not read), oldest_at of an endpoint.
int delivery_endpoint_row(struct db *db, const char *endpoint, int64_t now_at, struct row **out,
                          struct err *e) must_check;
// Is anything known of an endpoint of that name, be it that it is no longer configured?
int delivery_knows(struct db *db, const char *endpoint, bool *known, struct err *e) must_check;
// Which deliveries are looked at: those of one state, or more.
enum delivery_look {
    DELIVERY_ALL,
    DELIVERY_OPEN,
    DELIVERY_PENDING,
    DELIVERY_DELIVERED,
    DELIVERY_FAILED,
    DELIVERY_DROPPED
};
// Rows of id, endpoint, event, status, attempts, next_at (NULL: not by itself), last_status, last_error, created_at,
// ended_at, message_id, log_id (of the event), generation_id, batch_job_id, held: the newest first, those with an id below
// `after` (0: all). DELIVERY_OPEN: what is pending or failed. *next: where the next page begins; 0: this was the last.
int delivery_list(struct db *db, const char *endpoint, enum delivery_look look, int64_t after, int limit,
                  queue_each each, void *payload, int64_t *next, struct err *e) must_check;
// The endpoint of the delivery with that id, or message id. ERR_NOT_FOUND; the caller frees *endpoint.
int delivery_owner(struct db *db, const char *id, char **endpoint, struct err *e) must_check;
// In a transaction of its own: sent again, from the first attempt on. By id or message id, of the endpoint;
// ERR_NOT_FOUND.
int delivery_redeliver(struct db *db, const char *id, const char *endpoint, struct err *e) must_check;
// All that failed or was dropped, of an endpoint or (NULL) of all.
int delivery_redeliver_failed(struct db *db, const char *endpoint, int64_t *count, struct err *e) must_check;

#endif
