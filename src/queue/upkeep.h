// SPDX-License-Identifier: MIT
// The door of the queue for periodic jobs: cleanup, retention, alerts, and the
// locks and reports that they share. Everything works in slices of at most
// QUEUE_SLICE_MS, so that neither the loop nor another writer waits for it.
#ifndef GENRUN_QUEUE_UPKEEP_H
#define GENRUN_QUEUE_UPKEEP_H

#include "queue/queue.h"

// ---- upkeep.c: one run of a job ----
struct upkeep {
    struct db *db;
    const char *job;    // its name
    const char *run_by; // "runner" or "command"
    bool by_runner;     // what finds nothing is then not written down
    bool dry_run;       // nothing is written at all
    bool lockless;      // something else sees to it that it is done once; only its failures are written down
    bool runner_is_up;  // some process owns the database and runs work; asked anew for each slice
    int64_t lock_ms;    // expiry of the job's lock, renewed by each slice that writes
    queue_each each;    // told of each finding; may be NULL
    void *payload;
    // Set by the run.
    char owner[160]; // this process, as the lock names it
    bool locked;
    bool ended; // `each` wants no more
    int64_t started_at;
    int64_t found, fixed;
    struct row **told; // findings on their way to `each`, which is not called inside of a transaction
    size_t told_count, sure_count; // of them, those whose transaction was committed
    int64_t pause_ms;              // the next slice makes sense only after this; 0: at once
    char note[256];                // for people: what else is to be known, such as what waits for a runner
};
// Begins a run: ERR_CONFLICT when another process that lives is at it, saying which and since when. A command takes
// the lock at once, a runner only with the first thing that it has to write.
int upkeep_begin(struct upkeep *run, struct err *e) must_check;
// A transaction of a slice, with the job's lock taken or renewed in it. ERR_CONFLICT when it was lost, or another got
// it first. Ends with upkeep_commit, or db_rollback.
int upkeep_transaction(struct upkeep *run, struct err *e) must_check;
int upkeep_commit(struct upkeep *run, struct err *e) must_check;
// Ends the run: gives the lock back and writes down what came of it (`result` and its message) where that is worth it.
// Returns `result`, or what went wrong with the end.
int upkeep_end(struct upkeep *run, int result, struct err *e);
// Ends it before its end: only the lock is given back.
void upkeep_abandon(struct upkeep *run);

// One thing that was found. Everything but kind and what may be NULL or 0.
struct finding {
    const char *kind;           // generation, batch, totals, lane, lock, event
    const char *id;             // of a generation or batch job, or a name
    const char *user_id;        // the account
    const char *what;           // what is wrong
    const char *before, *after; // counters, JSON objects
    int64_t since;              // 0: unknown
    int64_t count;              // things that it stands for
    bool fixed;
};
// Takes it down; inside of a transaction it counts only when that is committed.
void upkeep_tell(struct upkeep *run, const struct finding *finding);
// After a slice: counts what was told and hands it to `each`; when the slice failed, only what was committed.
void upkeep_deliver(struct upkeep *run, bool failed);
// The jobs' last runs: rows of name, started_at, ended_at, outcome, found, fixed, message, run_by, locked_by, locked_at.
int queue_jobs(struct db *db, queue_each each, void *payload, struct err *e) must_check;

// ---- lock.c ----
// Rows of name, user_id, owner, acquired_at, expires_at, reason, "live?" (its owner lives).
int queue_locks(struct db *db, bool runner_is_up, queue_each each, void *payload, struct err *e) must_check;
// In a transaction of its own: takes the lock from its owner. *live: of work that goes on without it. ERR_NOT_FOUND
// with the nearest name.
int queue_lock_release(struct db *db, bool runner_is_up, const char *name, bool *live,
                       struct err *e) must_check;
// Names of locks whose time is over and that nobody renews; those of the runner that is up are its own business.
// Removes up to `limit` of them; *removed counts them. Inside the caller's transaction, unless it is a dry run.
int lock_count_lapsed(struct upkeep *run, int64_t now_at, int64_t *count, struct err *e) must_check;
int lock_expire(struct upkeep *run, int64_t now_at, int limit, int64_t *removed, struct err *e) must_check;
// job:<name> for a process: taken or renewed, inside the caller's transaction; ERR_CONFLICT when another process that
// lives has it.
int lock_job(struct db *db, const char *job, const char *owner, const char *reason, int64_t now_at,
             int64_t lock_ms, bool renew, struct err *e) must_check;
// The same question without writing.
int lock_job_is_free(struct db *db, const char *job, const char *owner, int64_t now_at, int64_t lock_ms,
                     struct err *e) must_check;
int lock_job_release(struct db *db, const char *job, const char *owner, struct err *e) must_check;

// ---- cleanup.c ----
struct cleanup_rules {
    int64_t stuck_after_ms;
    int64_t heartbeat_interval_ms;
    bool requeue;
    bool count; // count all rows, and repair counters that do not add up
    // In the runner: is this attempt in its hands? NULL elsewhere.
    bool (*is_live)(void *payload, int64_t seq, const char *token);
    void *payload;
};
struct cleanup;
struct cleanup *cleanup_new(struct upkeep *run, const struct cleanup_rules *rules);
void cleanup_free(struct cleanup *cleanup); // NULL is fine
// One slice; *more: call again.
int cleanup_step(struct cleanup *cleanup, bool *more, struct err *e) must_check;

// ---- stuck.c: processing rows that nobody works on ----
enum stuck_why { STUCK_NOT, STUCK_ORPHAN, STUCK_SILENT, STUCK_IDLE };
struct stuck {
    int64_t seq, batch_seq;
    char id[ID_SIZE];
    char token[17];
    char *user_id;
    int64_t runner_seq;
    int64_t beat_at, progress_at;
    int64_t limit_ms; // its clock for progress; 0: none
    bool crashed;     // its runner did not end by itself
    bool dismissed;
    enum stuck_why why;
    int64_t since; // stuck since then
    char what[96];
};
struct stuck_list {
    struct stuck *list;
    size_t count;
};
// All processing rows that are stuck, by the one meaning of the word: their owner is not the runner that is up, or no
// heartbeat, or no progress past their own clock. What is in the runner's hands (rules->is_live) never is.
int stuck_find(struct db *db, bool runner_is_up, const struct cleanup_rules *rules, int64_t now_at,
               struct stuck_list *out, struct err *e) must_check;
void stuck_free(struct stuck_list *list);
// Queues it again or fails it, fenced by its token, inside the caller's transaction. *done false: it is no longer so.
int stuck_end(struct db *db, const struct stuck *stuck, bool requeue, int64_t now_at, bool *done,
              struct err *e) must_check;

// ---- recount.c: counters against rows ----
struct recount;
struct recount *recount_new(struct upkeep *run);
void recount_free(struct recount *recount); // NULL is fine
int recount_step(struct recount *recount, bool *more, struct err *e) must_check;

// ---- retention.c ----
struct retention_rules {
    int64_t completed_after_ms, failed_after_ms, logs_after_ms; // 0: never
};
struct retention;
struct retention *retention_new(struct upkeep *run, const struct retention_rules *rules);
void retention_free(struct retention *retention); // NULL is fine
int retention_step(struct retention *retention, bool *more, struct err *e) must_check;

// ---- violation.c ----
// How many rows that are not at an end have neither a live owner, nor a time of their next start, nor a named reason
// to wait. Costs by what runs and by lanes with work, not by rows.
int queue_violations(struct db *db, bool runner_is_up, int64_t now_at, int64_t *count,
                     struct err *e) must_check;

// ---- wait.c ----
// Why a queued generation does not run now, in words that go on "waits for": mem-allocated; NULL when it is not queued.
int queue_waits_for(struct db *db, int64_t seq, int account_concurrency, bool runner_is_up, char **reason,
                    struct err *e) must_check;

// ---- alert.c ----
// Says once that a threshold was crossed, and once that it no longer is: events alert.<name>, alert.<name>_over. (A share
// of failures is over when it is below four fifths of failure_rate: hovering about it is no news.)
// Writes, in transactions of its own, only then. 0: that alert is off.
int queue_check_alerts(struct db *db, bool runner_is_up, const struct cleanup_rules *rules,
                       int64_t stuck_after_ms, double failure_rate, int64_t now_at, struct err *e) must_check;

#endif
