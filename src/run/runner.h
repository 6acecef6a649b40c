// SPDX-License-Identifier: MIT
// The runner: owns the database, claims generations, starts them with their
// providers, watches their clocks, settles their ends, and recovers what a dead
// runner left. One turn is one pass of the loop and at most one transaction.
#ifndef GENRUN_RUN_RUNNER_H
#define GENRUN_RUN_RUNNER_H

#include "base/err.h"
#include "db/db.h"
#include "loop/loop.h"
#include "provider/model.h"
#include "run/settings.h"
#include <stdbool.h>
#include <stddef.h>

struct runner;
struct genrun;
struct host_write;

struct runner_options {
    const struct run_settings *settings; // borrowed
    const struct job_settings *jobs;     // borrowed
    const struct model *models;          // borrowed
    size_t model_count;
    size_t max_output;
    const char *version;
    int64_t only_batch;             // run the items of this batch job only; 0: all
    int64_t only_generation;        // run this generation only; 0: all
    void (*on_turn)(void *payload); // called in every turn (for a watchdog); may be NULL
    void *payload;
    struct genrun *handle;                               // for the host's writes; NULL: there are none
    const char *(*message)(const struct genrun *handle); // of its last failure
};

// Takes the owner's lock (ERR_CONFLICT when another has it), registers, and requeues what dead runners left.
// db and loop are borrowed and must outlive the runner.
int runner_open(struct runner **out, struct db *db, struct loop *loop, const struct runner_options *options,
                struct err *e) must_check;
// One turn: waits at most max_wait_ms for something to happen and does all that is due. Trouble with the database
// is kept inside, reported in the log and tried again; an error is returned only when going on makes no sense.
int runner_turn(struct runner *runner, int64_t max_wait_ms, struct err *e) must_check;
// Stops claiming; live work gets shutdown_grace (0 with at_once), then goes back to the queue.
void runner_stop(struct runner *runner, bool at_once);
// Stops claiming and gives live work the time it needs: another runner wants the database.
void runner_yield(struct runner *runner);
// Stopping is complete: nothing runs any more.
bool runner_is_stopped(const struct runner *runner);
// Nothing runs, and nothing can start without a person or within wait_ms.
bool runner_is_drained(struct runner *runner, int64_t wait_ms);
// A write of the host's (run/write.h): done in the next tick, which it brings about. It waits for a database that is
// held by another for some seconds, and is served also while the runner stops.
void runner_write(struct runner *runner, struct host_write *write);
void runner_write_cancel(struct runner *runner, struct host_write *write); // not queued: fine
// Grows with everything that may have changed the database, by this connection or another one.
int64_t runner_changes(const struct runner *runner);
struct metrics;
const struct metrics *runner_metrics(const struct runner *runner);
struct webhooks;
const struct webhooks *runner_webhooks(const struct runner *runner); // NULL: it sends none
// The runner as it is at this moment.
struct runner_view {
    int64_t started_at; // wall
    int64_t live, kept; // attempts in flight; ended ones whose end the database has not taken yet
    int64_t writes;     // of the host, that wait
    bool stopping;
    bool left;            // the database was moved, deleted or replaced
    int64_t trouble_ms;   // for so long the database could not be written; 0: it can
    bool trouble_is_lock; // as another process has it
    const char *trouble;  // what was said; valid until the next turn
    int64_t
        stall_ms; // so long the loop stood still in one turn, within the last heartbeat_timeout; 0: it did not
};
void runner_look(const struct runner *runner, struct runner_view *out);
// Models with work, by name: state is ok, cooling or parked.
void runner_models(const struct runner *runner,
                   void (*each)(void *payload, const char *model, const char *state, int running),
                   void *payload);
// In this run.
int64_t runner_completed(const struct runner *runner);
int64_t runner_failed(const struct runner *runner);
int64_t runner_seq(const struct runner *runner);
// Requeues what still runs, marks the end in the database, gives up the lock and frees the runner, in any case.
// ERR_DATABASE when ends could not be written: the next runner takes that work back. NULL is fine.
int runner_end(struct runner *runner, const char *reason, struct err *e) must_check;
// The same; a failure goes to the log.
void runner_close(struct runner *runner, const char *reason);

#endif
