// SPDX-License-Identifier: MIT
// Inside of src/lib/: what a handle is, and what its functions share.
#ifndef GENRUN_LIB_HANDLE_H
#define GENRUN_LIB_HANDLE_H

#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include "genrun.h"
#include "lib/config.h"
#include "loop/loop.h"
#include "queue/queue.h"
#include "run/runner.h"
#include "run/wake.h"
#include <stdatomic.h>

struct genrun {
    struct config *config; // shared with the handles beside this one, whose `borrowed` is set
    bool borrowed;
    struct db *db;
    struct loop *_Atomic loop; // made with the first run; genrun_stop() wakes it from other threads
    struct runner *runner;     // NULL: not running
    struct err err;            // of the last failure
    bool create;               // the database may be made
    bool own_process;          // the process is the program's own, not a host's
    atomic_int stop;           // how often genrun_stop() was called, until what it ends has ended
    struct watched *watched;   // descriptors of the host
    struct wake *wake;         // notices other processes' writes, for waits without a runner
    char cursor[40];           // of the last list; "" at the end
    int64_t looked;            // up to which id of the log the last page of events looked
    struct buf notes;          // of the last import, for genrun_notes()
    char *scope;               // the user whose own is all that it sees; NULL: it sees all
    struct row *stats;         // as genrun_stats() gives them, kept for a moment
    int64_t stats_ms;          // monotonic: when they are asked for again
};

#define HANDLE_NOT_OPEN "the handle could not be opened: close it and open another"
// Remembers the failure for genrun_message() and returns its code.
int handle_result(genrun *g, int result);
// The loop, made on first use.
int handle_loop(genrun *g) must_check;
// ERR_CONFLICT, with `message`, inside of a transaction of the handle's.
int handle_outside(genrun *g, const char *message) must_check;
// Ends the watch of every descriptor of the host.
void handle_watch_none(genrun *g);
// Opens the database on first use: commands that only look must not make one. For functions that look at more than
// one user's own: within a scope they are refused.
int handle_database(genrun *g) must_check;
// The same for functions that keep to the scope, by means of the four below.
int handle_scoped_database(genrun *g) must_check;
// Finds what an id, or its tail, names within the scope. Nothing else in src/lib/ turns an id into a number.
int handle_generation(genrun *g, const char *id, int64_t *seq) must_check;
int handle_batch(genrun *g, const char *id, int64_t *seq) must_check;
// Either of the two: *is_batch tells which.
int handle_any(genrun *g, const char *id, int64_t *seq, bool *is_batch) must_check;
// The user that something is for: within a scope that one, and no other may be named.
int handle_user(genrun *g, const char **user) must_check;
// Refuses what is not for a scope.
int handle_whole(genrun *g) must_check;
// Does a process own the database and run work? The lock tells, not the row: a dead runner leaves its row behind. That
// one is marked then, so that what it held is stuck for everybody who looks.
bool handle_runner_is_up(genrun *g);
// Checks a specification from outside and resolves its model; the texts stay the caller's.
int handle_spec(genrun *g, const genrun_spec *in, const char *batch_model, struct spec *out) must_check;
// Refuses text that is not UTF-8; `what` names it.
int handle_text(genrun *g, const char *what, const char *text) must_check;
// Refuses a name that is empty, not UTF-8 or has control characters; NULL is fine.
int handle_name(genrun *g, const char *what, const char *text) must_check;
// From the public filter; a batch id is looked up, and the scope is put in.
int handle_filter(genrun *g, const genrun_filter *in, struct filter *out) must_check;
// The row of queue_stats(), at most a second old; older when the database would take long to count. The handle's; NULL:
// not known.
struct row *handle_stats(genrun *g);
// The keyset of a cursor (NULL: 0); and the cursor of the list that has just been given, 0 at its end.
int handle_parse_cursor(genrun *g, const char *text, int64_t *after) must_check;
void handle_cursor(genrun *g, int64_t next);
struct upkeep;
// One pass of the sync, for its job.
int handle_sync_job(void *handle, struct upkeep *upkeep, struct err *e);
#define HANDLE_LIST_ROWS 20 // unless the filter says how many
// A page of generations or of batch jobs; keeps the cursor.
typedef int (*handle_lister)(struct db *db, const struct filter *filter, queue_each each, void *payload,
                             int64_t *next, struct err *e);
int handle_list(genrun *g, const genrun_filter *filter, handle_lister lister, genrun_each each,
                void *payload) must_check;

// Submits a stream as genrun_batch_submit() does; `job` (NULL: a new one) is the id that the batch job gets.
int handle_submit(genrun *g, const char *job, char id[GENRUN_ID_SIZE], int *created, FILE *stream,
                  const char *name, const genrun_batch_options *options, genrun_progress progress,
                  void *payload) must_check;
// The folder of uploaded files.
const char *handle_files(const genrun *g);

// Passes rows of the queue on to a callback of the public API, and frees them.
struct each {
    genrun_each call;
    void *payload;
};
int handle_each_row(void *payload, struct row *row);

#endif
