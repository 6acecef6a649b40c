// SPDX-License-Identifier: MIT
// The inner door for the program's own faces: what they need beyond genrun.h. Everything here belongs to the thread
// that runs the handle, inside of host_run() or before it, unless it says otherwise.
#ifndef GENRUN_LIB_HOST_H
#define GENRUN_LIB_HOST_H

#include "genrun.h"
#include "run/write.h"
#include <stdbool.h>
#include <stdint.h>

// The handle belongs to a program whose children are all genrun's own: processes of commands that lose their
// parent become this one's, so that none can flee, and the limit on open files is raised. To be called before
// anything runs.
void host_own_process(genrun *g);

// From now on the handle finds, lists and changes only what belongs to the user, and what it submits is that user's;
// another's is GENRUN_NOT_FOUND as if it never was, another user named is GENRUN_INVALID, and what is nobody's own
// (stats, locks, jobs, people, care of the file) GENRUN_NOT_FOUND. Models and templates can be read. NULL: all.
void host_scope(struct genrun *g, const char *user);

// `genrun --mark-hung DATABASE RUNNER`, run by the watchdog of a hung runner in its own place: writes
// down that it hung. Returns an exit code.
int host_mark_hung(const char *database, const char *runner);

// ---- running ------------------------------------------------------------------

// What a face does around the runner; each may be NULL. They may call everything of the handle but what waits or runs
// (genrun_run, _step, _wait, _wait_change, _job, _batch_process_next) and genrun_close().
struct host_hooks {
    // The runner is up and owns the database. Another result than 0 ends it with that (host_fail() says why), and
    // on_down is not called.
    int (*on_up)(void *payload);
    // Rows of the log may have been added, by this process or another: at most once in a turn of the loop, before
    // on_turn.
    void (*on_commit)(void *payload);
    // At the end of each turn.
    void (*on_turn)(void *payload);
    // A stop began (also that of a drained runner): live work gets shutdown_grace.
    void (*on_stopping)(void *payload);
    // Asked in each turn from then on: the runner ends when it is true, or after shutdown_grace, or at once when told so
    // (a second signal). NULL: it is.
    bool (*is_done)(void *payload);
    // The last call: the runner ends, and the loop does not turn any more.
    void (*on_down)(void *payload);
    void *payload;
};
// genrun_run() with hooks (NULL: none). Same results.
int host_run(genrun *g, const genrun_run_options *options, const struct host_hooks *hooks);
// Remembers a failure for genrun_message() and returns its code.
int host_fail(genrun *g, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// The member of what was submitted that the last failure was about, as the API names it: modelId. "": none, or not known.
const char *host_field(const genrun *g);

// ---- short looks --------------------------------------------------------------

// From now on the handle reads no value of more than so many bytes (0: any): what comes to one fails at once, with
// GENRUN_INVALID. True when something did since the last call.
bool host_bound(genrun *g, int64_t bytes);
// The whole id of a generation and its state, and nothing that may be large.
int host_name(genrun *g, char id[GENRUN_ID_SIZE], char status[16], const char *of);

// ---- writes -------------------------------------------------------------------
// struct host_write is in run/write.h. Its on_write is called inside the next tick's transaction, with the handle, and
// in a savepoint: what it writes is undone when it returns another result than 0, and is on disk when on_done gets 0.
// Many share one commit, and what they submit is claimed in the same tick.
//
// From on_write any function of genrun.h may be called but those that wait, run or work in slices; these refuse with
// GENRUN_CONFLICT there: genrun_run, _step, _wait, _wait_change, _job, _batch_begin (and so _batch_submit),
// _batch_process_next, _batch_retry, and all genrun_*_all without dry_run. (genrun_batch_cancel sets the state, with
// which running items end; the runner cancels what waits, in slices.) Nor may the files be cared for: genrun_check,
// _backup, _vacuum, _migrate. On_write must be short: a slice of 20 ms is shared by all of a tick.

// Queues it for the next tick, which it brings about at once; also while the runner stops. Without a runner on_done is
// called at once, with GENRUN_DATABASE. While another process holds the database it waits up to 5 s.
void host_write(genrun *g, struct host_write *w);
// Forgets it: on_done is not called. What its on_write has written already stays. Not queued: fine.
void host_write_cancel(genrun *g, struct host_write *w);

// ---- time ---------------------------------------------------------------------

// A one-shot timer on the loop; freed by its owner, before the handle is closed. NULL with genrun_message() when the
// system gives no loop.
struct host_timer;
struct host_timer *host_timer_new(genrun *g, void (*on_due)(void *payload), void *payload);
// Arms it, or moves it: on_due is called once, in_ms (0: in the next turn) from now. It may set it again, or free it.
void host_timer_set(struct host_timer *timer, int64_t in_ms);
void host_timer_clear(struct host_timer *timer); // not set: fine
void host_timer_free(struct host_timer *timer);  // NULL is fine

// ---- other threads ------------------------------------------------------------

// Another handle on the same database with the same configuration, for one other thread. Closed with genrun_close(),
// before `g` is. May be called from any thread while `g` is open.
int host_beside(genrun *g, genrun **out);
// Ends the wait that the loop is in: on_turn comes soon. From any thread, and from a signal handler.
void host_wake(genrun *g);

// ---- how it is ----------------------------------------------------------------

// Each reason why this runner is not well, one line each, for people with rights (it may name the database's path). None
// told: it is well.
void host_health(genrun *g, void (*each)(void *payload, const char *reason), void *payload);

enum host_metric_type { HOST_COUNTER, HOST_GAUGE, HOST_BUCKET, HOST_SUM, HOST_COUNT };
struct host_metric {
    const char *name; // of the family: genrun_attempts_total, genrun_commit_seconds
    const char *help;
    enum host_metric_type
        type; // the last three: the lines of a histogram, name_bucket (le), name_sum, name_count
    struct {
        const char *name, *value; // the value is plain text of any kind, not escaped
    } labels[3];                  // the first without a name ends them
    double value;
};
// Everything that is counted, the lines of a family behind each other, and its buckets in ascending order up to "+Inf".
void host_metrics(genrun *g, void (*each)(void *payload, const struct host_metric *metric), void *payload);

// ---- keys of the HTTP API ------------------------------------------------------

struct host_key {
    char id[37];   // "": there is no such key
    char *user;    // NULL: an admin's
    bool is_admin; // its role
    bool is_revoked;
    int64_t last_used_at; // 0: never noted
};
// Could the text be a key at all?
bool host_key_has_form(const char *text);
// What a presented key is, as the database says at this moment: nothing is kept, so that a revocation counts at once.
// A failure is that of the database. Clear *out in any case.
int host_key_find(genrun *g, const char *key, struct host_key *out);
// The same by the key's hash, for who keeps no key.
int host_key_find_hash(genrun *g, const char *hash, struct host_key *out);
void host_key_clear(struct host_key *key);
// For what goes on with a key after it was let in: when a key was revoked last (0: none was), and whether the one with
// this id is still good.
int host_key_revoked_at(genrun *g, int64_t *at);
int host_key_is_good(genrun *g, const char *id, bool *good);
// Notes the use of a key, unless that was noted less than `pause_ms` before. Inside of a host_write.
int host_key_used(genrun *g, const char *id, int64_t now_at, int64_t pause_ms);
// How many keys are good; 0 without a database.
int host_key_count(genrun *g, int64_t *count);
// Writes a row of the log that belongs to no generation. `data` is a JSON object or NULL. Inside of a host_write.
int host_log(genrun *g, const char *level, const char *event, const char *message, const char *data);

#endif
