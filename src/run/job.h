// SPDX-License-Identifier: MIT
// Periodic jobs: one table. A job works in slices, by the runner a slice in a turn,
// by a command slice after slice beside it. To add one: a row in job.c, and in the
// option table what says how often.
#ifndef GENRUN_RUN_JOB_H
#define GENRUN_RUN_JOB_H

#include "queue/upkeep.h"
#include "run/settings.h"

struct job_run;
struct job {
    const char *name;
    const char *summary; // one line, no full stop
    // How often the runner does it; 0: only when asked to.
    int64_t (*every_ms)(const struct job_settings *settings);
    bool lockless;
    // Has it anything to do? NULL: that is what it finds out.
    bool (*is_needed)(struct db *db);
    void *(*begin)(struct job_run *run);
    int (*step)(struct job_run *run, bool *more, struct err *e);
    void (*free)(void *state);
};
#define JOB_MOST 8
// The row at `index`, NULL past the end; the row of a name, NULL when there is none.
const struct job *job_at(size_t index);
const struct job *job_find(const char *name);

struct job_context {
    struct db *db;
    const struct job_settings *settings; // borrowed
    int64_t heartbeat_interval_ms;
    bool by_runner;
    bool dry_run;
    bool count;      // cleanup: count all rows, too
    queue_each each; // of findings; may be NULL
    void *payload;
    bool (*is_live)(void *live, int64_t seq, const char *token); // of the runner; NULL: of a command
    void *live;
    // One pass of the sync with Postgres, which tells in the note what it did; NULL: there is none.
    int (*sync)(void *payload, struct upkeep *upkeep, struct err *e);
    void *sync_payload;
};
struct job_run {
    const struct job *job;
    struct job_context context;
    struct upkeep upkeep;
    void *state;
    bool begun; // had its first slice
};
// Begins a run; ERR_CONFLICT when another process that lives is at it. *out NULL on failure.
int job_begin(struct job_run **out, const struct job *job, const struct job_context *context,
              struct err *e) must_check;
// One slice. *more: another is needed, after *pause_ms. A failure for want of the writer lock (db_was_busy) may be
// tried again.
int job_step(struct job_run *run, bool runner_is_up, bool *more, int64_t *pause_ms, struct err *e) must_check;
// Ends the run, which came to `result`, writes down what is worth it, and frees it. *summary (may be NULL): a row of
// job, dry_run, found, fixed, started_at, ended_at, note, for the caller. Returns `result`, or what went wrong with the end.
int job_end(struct job_run *run, int result, struct row **summary, struct err *e);
// Ends it without a word. NULL is fine.
void job_abandon(struct job_run *run);

#endif
