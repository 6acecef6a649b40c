// SPDX-License-Identifier: MIT
// The door of the queue: everything that is done to generations and batch jobs,
// as short transactions or as parts of the caller's one. All SQL of the domain is
// behind it; it knows no models' wires and no sockets.
#ifndef GENRUN_QUEUE_QUEUE_H
#define GENRUN_QUEUE_QUEUE_H

#include "base/err.h"
#include "base/id.h"
#include "db/db.h"
#include "db/row.h"
#include "queue/result.h"
#include "queue/spec.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How long a slice of a bulk write holds the writer lock, and the gap after it in which others get in.
#define QUEUE_SLICE_MS 20
#define QUEUE_GAP_MS 2

// ---- finding ----
// Turns an id, or its last 8 or more characters, into a sequence number. ERR_NOT_FOUND; ERR_INVALID when
// several fit (the message lists up to 10) or the text cannot be an id.
int queue_find_generation(struct db *db, const char *id, int64_t *seq, struct err *e) must_check;
int queue_find_batch(struct db *db, const char *id, int64_t *seq, struct err *e) must_check;
// The same among those of a user (NULL: of anybody): another's is missing as one that never was, in the same words.
int queue_find_own_generation(struct db *db, const char *user, const char *id, int64_t *seq,
                              struct err *e) must_check;
int queue_find_own_batch(struct db *db, const char *user, const char *id, int64_t *seq,
                         struct err *e) must_check;
// The same for keys of the HTTP API, which have no number: gives the whole id.
int queue_find_key(struct db *db, const char *id, char whole[ID_SIZE], struct err *e) must_check;

// ---- submit.c ----
// Accepts one generation in a transaction of its own. With a client_id known of the same user: the first
// id, *created false; ERR_CONFLICT when that one has another prompt, parameters or model.
int queue_submit(struct db *db, const struct spec *spec, char id[ID_SIZE], bool *created,
                 struct err *e) must_check;

// ---- batch.c ----
struct batch_spec {
    const char *id; // that it gets; NULL: a new one
    const char *name;
    const char *user_id;
    const char *client_id;
    const char *model_id; // of items that named none
    const char *format;
    int priority;
    int concurrency; // 0: no limit of its own
    bool stop_on_error;
    int64_t max_failures;     // -1: any number
    double max_failure_share; // of all items, instead of a number; negative: unset
    double max_cost;          // USD; <= 0: no limit
    bool paused;
};
// A batch being filled: rows are kept in memory up to a slice and written in short transactions, so
// that a slow reader of the input never holds the writer lock.
struct batch_writer;
// *known true: the client_id is of an earlier batch, whose id is in `id`; *out is then NULL.
int batch_writer_begin(struct batch_writer **out, struct db *db, const struct batch_spec *spec,
                       char id[ID_SIZE], bool *known, struct err *e) must_check;
// For a key that is known: is the batch job's item `index` this one; without a spec: has it none from there on.
int batch_compare(struct db *db, const char *id, int64_t index, const struct spec *spec, bool *same,
                  struct err *e);
int batch_writer_add(struct batch_writer *writer, const struct spec *spec, struct err *e) must_check;
// Writes the rest and opens the batch; frees the writer also on failure (then nothing is stored).
int batch_writer_open(struct batch_writer *writer, const char *format, struct err *e) must_check;
void batch_writer_abandon(struct batch_writer *writer); // NULL is fine
// Each in a transaction of its own; harmless when repeated.
int queue_batch_pause(struct db *db, int64_t batch_seq, const char *reason, struct err *e) must_check;
int queue_batch_resume(struct db *db, int64_t batch_seq, struct err *e) must_check;
// Cancels the batch and, in slices, all that has not ended. Inside of a transaction only the batch: with it nothing of
// it is claimed any more, what runs ends, and what waits is swept.
int queue_batch_cancel(struct db *db, int64_t batch_seq, const char *reason, struct err *e) must_check;
// Queues its failed items again, in slices; ERR_CONFLICT when it is cancelled.
int queue_batch_retry(struct db *db, int64_t batch_seq, bool dry_run, int64_t *changed,
                      struct err *e) must_check;

// ---- claim.c: inside the caller's transaction ----
struct claim { // one attempt about to start; texts owned
    int64_t seq;
    char id[ID_SIZE];
    char token[17];
    int starts;            // this one counted
    int attempts;          // spent before
    int64_t batch_seq;     // 0: a single one
    bool suspect;          // must run alone
    int64_t waiting_since; // 0: not waiting
    char *model_id;
    char *user_id; // NULL: none
    char *prompt;  // NULL: parameters is the whole body
    char *parameters;
    char *endpoint;
};
void claim_clear(struct claim *claim);

struct claim_turn {                   // whose turn it is; lives in memory, zeroed at start
    int64_t batch_seq;                // batch served last
    size_t batch_model;               // index of the model that served a batch item last
    size_t single_model;              // and a single one
    bool batch_passed, single_passed; // to them since ready_look()
    int credit;                       // >= 0: a single one is next at equal priority
    bool unfinished;                  // the last call left lanes unasked: call again in the next transaction
    struct ready *ready;              // whose slots are given: what it knows is not asked again; NULL: all is
};
struct claim_slot {
    const char *model_id;
    int free;            // starts this model can take now
    int64_t last_single; // lane of singles served last: its lanes (users) take turns
    void *payload;       // the caller's
};
struct claim_scope {
    int64_t runner_seq;
    int64_t now_at;
    int64_t only_batch;      // 0: any
    int64_t only_generation; // 0: any; for queue_claim_one's caller
    int account_concurrency; // 0: no account locks
    const char *owner;       // the runner's id, for locks
    int64_t lock_ms;         // a lock that nobody renews ends after this
};
// Claims up to `free` generations over the given models, by priority, singles before batch items (two to
// one while both wait), batches and models in turn. Appends to claims[*count]; room for `free` more is given.
int queue_claim(struct db *db, const struct claim_scope *scope, struct claim_turn *turn,
                struct claim_slot *slots, size_t slot_count, int free, struct claim *claims, size_t *count,
                struct err *e) must_check;
// Claims that one, if it is queued, due, and its batch job neither paused nor ended; *count grows by one when it was.
int queue_claim_one(struct db *db, const struct claim_scope *scope, int64_t seq, struct claim *claims,
                    size_t *count, struct err *e) must_check;
// Claims that one because a person asked for it: also while its batch job is paused, and before its time. Its account's
// lock is taken; without one it is not claimed.
int queue_claim_asked(struct db *db, const struct claim_scope *scope, int64_t seq, struct claim *claims,
                      size_t *count, struct err *e) must_check;
// The queued suspect of the model that crashed alone least often and whose batch job is open; *seq 0: none.
int queue_next_suspect(struct db *db, const struct claim_scope *scope, const char *model_id, int64_t *seq,
                       struct err *e) must_check;
// Open lanes of the model may hold something, or a suspect waits for it (or the database cannot tell).
bool queue_model_waits(struct db *db, const char *model_id);
// When the first account lock that another than `owner` holds ends by itself; 0: there is none.
int queue_next_unlock(struct db *db, const char *owner, int64_t now_at, int64_t *at,
                      struct err *e) must_check;
// The model of a generation: mem-allocated, NULL when the generation is gone.
int queue_model_of(struct db *db, int64_t seq, char **model_id, struct err *e) must_check;
// Names of models in order: mem-allocated array of mem-allocated names. Those with open lanes that may hold something;
// those that suspects wait for.
int queue_lane_models(struct db *db, char ***names, size_t *count, struct err *e) must_check;
int queue_suspect_models(struct db *db, char ***names, size_t *count, struct err *e) must_check;

// ---- ready.c: which models have work, remembered from claim to claim ----
// It sees what this connection changes; what others have changed must be told to it. So a claim asks only models with
// open lanes, and of those only what may have changed, however many names were ever used.
struct ready *ready_new(struct db *db); // one for a connection
void ready_free(struct ready *ready);   // NULL is fine
void ready_forget(struct ready *ready); // another connection has written, or a claim was rolled back
// Brought up to date: a slot for each model with open lanes, by name, its payload and last_single as the caller left
// them (NULL, 0 in a new one), and whose turn it is among them. Valid until it is called again.
int ready_look(struct ready *ready, struct claim_turn *turn, struct claim_slot **slots, size_t *count,
               struct err *e) must_check;
// The claim is committed: its turn counts.
void ready_keep_turn(struct ready *ready, struct claim_turn *turn);

// ---- request.c: what a person asked to be run next ----
#define REQUEST_SLICE 16 // requests looked at in one transaction
// Asks for the next queued item of a batch job, in a transaction of its own: callers that race get one each. *seq 0:
// none is left to ask for. ERR_CONFLICT when the batch job is cancelled or stopped, the model of all that waits parked,
// or all that waits to be run alone.
int queue_request_next(struct db *db, int64_t batch_seq, int64_t *seq, struct err *e) must_check;
// Asks for that one, in the same way; asked before: once. *asked false: it is not queued, and nothing is written.
int queue_request_one(struct db *db, int64_t seq, bool *asked, struct err *e) must_check;
// Is the request not served yet?
int queue_request_is_open(struct db *db, int64_t seq, bool *open, struct err *e) must_check;
int queue_request_withdraw(struct db *db, int64_t seq, struct err *e) must_check; // none: fine
struct request {
    int64_t seq; // of the generation
    int64_t requested_at;
    bool is_queued;
};
// The oldest requests within the scope that come after one (all zero: from the first on), at most REQUEST_SLICE.
int queue_requests(struct db *db, const struct claim_scope *scope, const struct request *after,
                   struct request list[REQUEST_SLICE], size_t *count, struct err *e) must_check;

// ---- template.c ----
struct template_row {
    const char *name;
    const char *type; // matches items of this type; NULL: of any
    const char *tier;
    const char *body;
};
// ERR_CONFLICT when one has that name, or that pair of type and tier.
int queue_template_add(struct db *db, const struct template_row *row, char id[ID_SIZE],
                       struct err *e) must_check;
// Rows of id, name, type, tier, bytes, created_at and, where wanted, body, by name.
typedef int (*queue_each)(void *payload, struct row *row); // takes the row; non-zero ends
int queue_template_list(struct db *db, bool with_bodies, queue_each each, void *payload,
                        struct err *e) must_check;
// By name or id: ERR_NOT_FOUND. The row has the body.
int queue_template_get(struct db *db, const char *name, struct row **out, struct err *e) must_check;
int queue_template_remove(struct db *db, const char *name, struct err *e) must_check;

// ---- settle.c: inside the caller's transaction ----
#define QUEUE_OUTPUTS_MAXIMUM 1024 // of one generation (schema: output)
struct settle_output {
    const char *mime;
    const char *content;
    size_t length;
    bool partial;
};
struct settlement {
    int64_t seq;
    const char *token;
    const char *status; // completed, failed, queued, cancelled
    int64_t now_at;
    int64_t run_after_at;  // queued: not before; 0: at once
    bool first;            // its first start: no output of an earlier attempt stands
    int spent;             // attempts to add: 0 or 1
    int64_t waiting_since; // queued by WAIT or PARK: since when; 0: not
    const char *last_step;
    const char *error_type, *error_message;
    const char *error_detail; // JSON object
    const char *cancel_reason;
    const char *note;                    // JSON for the event of a queued one
    int64_t input_tokens, output_tokens; // -1: unknown
    double cost;                         // of this attempt; 0: none
    const struct settle_output *outputs;
    size_t output_count;
    int http_status; // 0: no response row unless body or finish_reason
    const char *request_id, *finish_reason;
    const char *body;
    size_t body_length;
};
// Ends an attempt, fenced by its token. *landed false: the row was no longer this attempt's (cancelled, taken
// over); the result is dropped and the drop logged. Outputs of an attempt that did not complete never
// replace those of a completed one.
int queue_settle(struct db *db, const struct settlement *s, bool *landed, struct err *e) must_check;
// Ends attempts that all completed, as queue_settle does each, with fewer statements. When one is refused nothing of
// it is done (db_was_refused is then true): settle them one by one.
int queue_settle_completed(struct db *db, const struct settlement *list, size_t count, bool *landed,
                           struct err *e) must_check;
// Keeps what an attempt had produced when its row was cancelled or failed under it.
int queue_store_partial(struct db *db, const struct settlement *s, struct err *e) must_check;
// Releases the account lock that a generation of the user holds; not while it is processing.
int queue_release_lock(struct db *db, const char *user_id, const char *generation_id,
                       struct err *e) must_check;

struct beat {
    int64_t seq;
    const char *token;
    int64_t progress_at;
    int64_t progress_limit_ms; // 0: no such clock now
    const char *last_step;
    int64_t output_bytes;
};
// Renews the runner's account locks for lock_ms, too.
int queue_heartbeat(struct db *db, int64_t runner_seq, int64_t now_at, int64_t lock_ms,
                    const struct beat *beats, size_t count, struct err *e) must_check;
// Is the attempt still the row's? *reason (mem-allocated or NULL) tells why it is not; *batch_cancelled: its
// row is, but its batch job was cancelled.
int queue_still_owns(struct db *db, int64_t seq, const char *token, int64_t batch_seq, bool *owns,
                     bool *batch_cancelled, char **reason, struct err *e) must_check;

// ---- schedule.c: inside the caller's transaction ----
// Makes delayed rows that are due claimable (at most 500); *next_at: when the next is due, 0: none.
int queue_promote_due(struct db *db, int64_t now_at, int64_t *next_at, int64_t *promoted,
                      struct err *e) must_check;
// One slice (at most `limit` rows) of: cancelling what waits in cancelled (for a second already) and stopped batches,
// removing batches whose writer died. *more: another slice is needed, or will be.
int queue_sweep(struct db *db, int64_t now_at, int limit, bool *more, struct err *e) must_check;
// Is a batch job being filled? Its writer may die without a word.
int queue_has_unopened(struct db *db, bool *has, struct err *e) must_check;
// One slice of removing batches whose writer died.
int queue_remove_unopened(struct db *db, int64_t now_at, int limit, bool *more, struct err *e) must_check;
// Fails up to `limit` queued rows of a model that have waited longer than max_wait_ms; adds their number to *failed.
int queue_fail_overdue(struct db *db, const char *model_id, int64_t since_at, int64_t now_at,
                       int64_t max_wait_ms, const char *reason, int limit, int64_t *failed,
                       struct err *e) must_check;
// Moves the times of all delayed rows, and since when rows have been waiting for a model, by the jump of the wall
// clock.
int queue_shift_delays(struct db *db, int64_t delta_ms, struct err *e) must_check;

// ---- runner.c ----
struct runner_identity {
    int64_t seq;
    char id[ID_SIZE];
};
// Runners of this boot that are dead, and whose processes may still run: those that never told of their end, and
// those that have work. mem-allocated. The caller holds the owner's lock and is not registered yet.
int queue_runner_dead(struct db *db, char (**ids)[ID_SIZE], size_t *count, struct err *e) must_check;
// Inside the caller's transaction, both. The first registers the new runner. The other takes back what dead ones
// left: requeued, suspects marked, quarantined after max_crashes alone. *recovered counts rows, *failed those of
// them that were failed.
int queue_runner_start(struct db *db, struct runner_identity *me, const char *version,
                       int64_t heartbeat_timeout_ms, int64_t now_at, struct err *e) must_check;
int queue_runner_recover(struct db *db, const struct runner_identity *me, int max_crashes, int max_attempts,
                         int64_t now_at, int64_t *recovered, int64_t *failed, struct err *e) must_check;
int queue_runner_stop(struct db *db, const struct runner_identity *me, const char *reason, int64_t now_at,
                      struct err *e) must_check;
// Writes down that a runner which never told of its end is gone, so that what it held is stuck for everybody; in a
// transaction of its own. The caller holds the owner's lock, or no runner is up for another reason.
int queue_runner_note_gone(struct db *db, int64_t wait_ms, struct err *e) must_check;
// Marks a runner as hung, from a fresh process: the next one spends an attempt for what it held.
int queue_runner_mark_hung(struct db *db, int64_t runner_seq, struct err *e) must_check;

// ---- model.c ----
struct model_state {
    char state[8]; // ok, cooling, parked
    char reason[512];
    char error_type[32];
    int64_t since;
    int64_t until; // 0: a person ends it
    int failures;
    bool unstreamed;
};
int queue_model_state(struct db *db, const char *model_id, struct model_state *out, struct err *e) must_check;
// Inside the caller's transaction; writes the event model.<state> when the state changes.
int queue_model_set(struct db *db, const char *model_id, const struct model_state *state,
                    struct err *e) must_check;

// Those that are not ok, by name: mem-allocated array of mem-allocated names.
struct closed_model {
    char *model_id;
    char state[8];
};
int queue_closed_models(struct db *db, struct closed_model **list, size_t *count, struct err *e) must_check;

// In a transaction of its own: a parked or cooling model is open again. ERR_NOT_FOUND when it is not known.
int queue_model_resume(struct db *db, const char *model_id, struct err *e) must_check;

// ---- change.c: transactions of their own ----
enum change { CHANGE_CANCEL, CHANGE_FAIL, CHANGE_RETRY, CHANGE_RECOVER, CHANGE_DISMISS, CHANGE_UNDISMISS };
// One generation. 0 and nothing written where nothing is left to do (cancelling a cancelled one); ERR_CONFLICT,
// naming the state, when the change is illegal. The reason is that of a cancel or fail.
int queue_change(struct db *db, enum change change, int64_t seq, const char *reason,
                 struct err *e) must_check;
struct filter {
    const char *status; // a state, "stuck", or NULL
    const char *user_id;
    bool own; // the user is who asks: names of others' sessions and projects are left out
    const char *session_id;
    const char *model_id;
    int64_t batch_seq; // 0: any
    const char *error_type;
    int64_t since; // created at or after; 0: always
    int64_t until; // created before; 0: always
    int limit;     // 0: none
    int dismissed; // 1: only what is dismissed, -1: only what is not, 0: either
    int64_t after; // keyset: rows beyond this sequence number; 0: from the start
};
// All that a filter selects and the change leads from, in slices (so not, unless a dry run, inside of a transaction:
// ERR_CONFLICT); without a status failed and cancelled ones are
// dismissed. *changed counts them, also after a failure.
int queue_change_all(struct db *db, enum change change, const struct filter *filter, const char *reason,
                     bool dry_run, int64_t *changed, struct err *e) must_check;
int queue_log(struct db *db, const char *level, const char *event, int64_t generation_seq, int64_t batch_seq,
              const char *message, const char *data, struct err *e) must_check;

// ---- read.c ----
int queue_get(struct db *db, int64_t seq, struct row **out, struct err *e) must_check;
// Its whole id and its state alone: what it was asked may be large.
int queue_name(struct db *db, int64_t seq, char id[ID_SIZE], char status[16], struct err *e) must_check;
// Newest first; items of a batch in their order. *next: keyset to go on, 0 at the end. With a limit a page may be short
// of it, even empty, and not the last: when it would pass over very many rows. Where `each` ends it, *next goes on
// behind the row that it was given last.
int queue_list(struct db *db, const struct filter *filter, queue_each each, void *payload, int64_t *next,
               struct err *e) must_check;
int queue_outputs(struct db *db, int64_t seq, queue_each each, void *payload, struct err *e) must_check;
// One of them, by its place from 0: ERR_NOT_FOUND.
int queue_output(struct db *db, int64_t seq, int64_t index, struct row **out, struct err *e) must_check;
// Whether a generation, or a batch job and all its items, has ended; and in which state.
int queue_ended(struct db *db, bool is_batch, int64_t seq, bool *ended, char status[16],
                struct err *e) must_check;
int queue_batch_get(struct db *db, int64_t seq, struct row **out, struct err *e) must_check;
int queue_batch_list(struct db *db, const struct filter *filter, queue_each each, void *payload,
                     int64_t *next, struct err *e) must_check;
int queue_batch_items(struct db *db, const struct filter *filter, queue_each each, void *payload,
                      int64_t *next, struct err *e) must_check;
struct event_filter {
    int64_t generation_seq, batch_seq; // 0: any
    const char *level, *event;
    int64_t since, after;
    int limit;
    const char *user_id; // NULL: any
    bool whole;          // of a page: ERR_NOT_FOUND when rows that it would have looked at were deleted
};
// Rows of the view `logs`, and _user_id: whose it is. limit > 0 without `after`: the newest so many. May read all of
// the log.
int queue_events(struct db *db, const struct event_filter *filter, queue_each each, void *payload,
                 struct err *e) must_check;
// At most filter->limit rows after filter->after, in short time: a page may be short, even empty, and not the last.
// *looked is the id up to which it looked (also when it fails); where `each` ended it, further than was given.
int queue_event_page(struct db *db, const struct event_filter *filter, int64_t *looked, queue_each each,
                     void *payload, struct err *e) must_check;
// The same before an id, the newest first: *looked is the `before` of the next page, 0 at the beginning of the log.
int queue_event_page_back(struct db *db, const struct event_filter *filter, int64_t before, int64_t *looked,
                          queue_each each, void *payload, struct err *e) must_check;
// The ids of the oldest and the newest row of the log; 0: there is none.
int queue_event_range(struct db *db, int64_t *oldest, int64_t *newest, struct err *e) must_check;
// Inside the caller's transaction: adds what ended now to the minute's throughput.
int queue_count_ends(struct db *db, int64_t now_at, int64_t completed, int64_t failed, double cost,
                     struct err *e) must_check;
int queue_stats(struct db *db, bool runner_is_up, struct row **out, struct err *e) must_check;
int queue_models(struct db *db, queue_each each, void *payload, struct err *e) must_check;
// What still waits, by reason: rows of reason, model_id, count.
int queue_left(struct db *db, queue_each each, void *payload, struct err *e) must_check;
// How many generations of opened batches and singles are queued.
int queue_count_left(struct db *db, int64_t *count, struct err *e) must_check;
int queue_count_open(struct db *db, int64_t *queued, int64_t *processing, struct err *e) must_check;
// Results of a batch: the completed items, or the failed and cancelled ones, by place or by end. Pages by
// itself; no cursor stays open over a call of `each`.
typedef int (*queue_result_each)(void *payload, const struct result *result, struct err *e);
int queue_results(struct db *db, int64_t batch_seq, bool errors, bool by_end, queue_result_each each,
                  void *payload, struct err *e) must_check;

// ---- failures.c ----
// Rows of the view stuck_generations and of `slow?`, the longest running first; behind them what has been running for
// longer than slow_after_ms (negative: none) without being stuck. Of the filter user, session, model, batch and limit hold.
int queue_stuck(struct db *db, const struct filter *filter, int64_t slow_after_ms, queue_each each,
                void *payload, struct err *e) must_check;
// The keyset of what failed: when it ended, and its number.
struct queue_failed_key {
    int64_t at, seq; // seq 0: none
};
// What failed from filter->since to filter->until, newest first, behind `after` (NULL: all). *next: the last one given,
// its seq 0 at the end.
int queue_failures(struct db *db, const struct filter *filter, const struct queue_failed_key *after,
                   queue_each each, void *payload, struct queue_failed_key *next, struct err *e) must_check;
// Counts of it by "model", "user", "type" or "hour".
int queue_failures_by(struct db *db, const struct filter *filter, const char *by, queue_each each,
                      void *payload, struct err *e) must_check;

// ---- people.c ----
enum people { PEOPLE_USER, PEOPLE_SESSION, PEOPLE_PROJECT };
// values: the id, then display_name, username, email of a user; name, project_id, user_id of a session; name, user_id of
// a project. NULL keeps what there was. *out is the row as it is then.
int queue_people_set(struct db *db, enum people which, const char *const values[4], struct row **out,
                     struct err *e) must_check;
// *out is the user's row: ERR_NOT_FOUND when there is none.
int queue_user_get(struct db *db, const char *id, struct row **out, struct err *e) must_check;

#endif
