// SPDX-License-Identifier: MIT
// What this box keeps of its sync with Postgres: how far it has come, what was refused there, which orders typed there
// are done.
#ifndef GENRUN_QUEUE_SYNC_H
#define GENRUN_QUEUE_SYNC_H

#include "base/id.h"
#include "queue/queue.h"

// The newest row that the log ever had: it also counts while retention has left none of it.
#define QUEUE_SYNC_NEWEST "SELECT seq FROM sqlite_sequence WHERE name='event'"

// How far it has come. Before the log is followed, all rows that are there are walked through, from the newest on: what was
// done to them may not stand in the log any more.
struct sync_position {
    int64_t log_id;
    int64_t batch_seq, item_index; // the batch job whose items are on their way; batch_seq 0: none is
    int64_t walk;                  // enum sync_walk
    int64_t walk_before;           // the number of the last row walked through
    int64_t
        walked; // all rows are there as they were when the log stood here, or newer; 0: the log was read so far
};
enum sync_walk { SYNC_WALK_NONE, SYNC_WALK_BATCH_JOBS, SYNC_WALK_GENERATIONS, SYNC_WALK_DONE };

struct sync_state {
    bool begun; // false: it never synced, and all below is empty
    char *node; // what this box is called there, for good
    char database_id[ID_SIZE];
    struct sync_position at;
    int64_t moved_at;      // when it came there
    char session[ID_SIZE]; // the last one that synced; "": none has
    int64_t offline_since; // 0: it is not, as far as is known
    int64_t failed_since;  // Postgres is there, and the sync fails all the same; 0: it does not
    char *reason;          // why either is; NULL: neither is
    int64_t contact_at;    // of an offline one: the last contact; 0: not known
    char *last_error;      // also when it is over; NULL: there was none
    int64_t last_error_at;
    int64_t newest;  // the newest row of the log
    int64_t behind;  // rows of the log, and what is on its way beside them, that are not there yet
    int64_t refused; // rows that Postgres does not take
    bool deletes;    // what is deleted is noted for Postgres
};
int queue_sync_state(struct db *db, struct sync_state *out, struct err *e) must_check;
void queue_sync_state_clear(struct sync_state *state);
bool queue_sync_is_settled(const struct sync_state *state); // something was pushed under its node's name
// The newest runner, by its number, and its heartbeat_timeout; 0: it has stopped, or there never was one.
int queue_sync_runner(struct db *db, int64_t *seq, int64_t *timeout_ms, struct err *e) must_check;
// Rows of sync_refused, the oldest first.
int queue_sync_refusals(struct db *db, queue_each each, void *payload, struct err *e) must_check;

// ---- inside the caller's transaction ----
// Before the first page, after which the node's name stays: from now on the log is kept for this reader.
int queue_sync_begin(struct db *db, const char *node, struct err *e) must_check;
int queue_sync_move(struct db *db, const struct sync_position *to, struct err *e) must_check;
// The mirror has more of this box than the box itself, whose log went on to `newest_there` before it was set back: what is
// done from now on is newer than all of that, and everything goes there anew.
int queue_sync_restored(struct db *db, int64_t newest_there, struct err *e) must_check;
// The mirror was set back: everything goes there anew.
int queue_sync_mirror_restored(struct db *db, struct err *e) must_check;
// From now on what is deleted is noted in sync_deleted, or not.
int queue_sync_set_deletes(struct db *db, bool deletes, struct err *e) must_check;
// Of sync_deleted the rows from the first place to the last one are done, and with them what was refused of theirs; at
// most 10000 of them at once.
int queue_sync_dropped(struct db *db, int64_t first, int64_t last, struct err *e) must_check;
// Postgres does not take this row. What is news goes to the log.
int queue_sync_refuse(struct db *db, const char *table, const char *key, const char *reason,
                      struct err *e) must_check;
// It takes these again: their keys, as an array of JSON.
int queue_sync_taken(struct db *db, const char *table, const char *keys, struct err *e) must_check;
// This session syncs from now on: another one that finds its name knows that it was not alone.
int queue_sync_set_session(struct db *db, const char *session, struct err *e) must_check;

enum sync_health {
    SYNC_WELL,
    SYNC_OFFLINE, // Postgres cannot be reached
    SYNC_FAILING  // it can be reached, and does not let the sync do its work
};
// How it is, and unless it is well for what reason. What is news goes to the log. contact_at: the last contact, 0: not
// known.
int queue_sync_health(struct db *db, enum sync_health health, const char *reason, int64_t contact_at,
                      struct err *e) must_check;

struct sync_order {
    int64_t id, typed_at; // microseconds
    const char *by;       // who typed it
    bool is_batch;        // of a batch job, else of a generation
    const char *target;   // its id
    const char *change;   // JSON: the columns that were changed
};
struct sync_outcome {
    bool applied;
    bool
        gone; // refused since there is no such row any more: nothing here brings the row there back to what it was
    char *reason; // mem-allocated: why it was refused
};
// Carries an order out, in the law of the views here; one that is done already stays as it is. What is refused has changed
// nothing. Whatever came of it is in the log, and the row with it on its way to Postgres again. Free out->reason.
int queue_sync_order(struct db *db, const struct sync_order *order, struct sync_outcome *out,
                     struct err *e) must_check;

#endif
