// SPDX-License-Identifier: MIT
// Inside of src/queue/: what the rows of a batch job, or all rows, amount to, and
// the difference to what their counters say (drift.c).
#ifndef GENRUN_QUEUE_RECOUNT_H
#define GENRUN_QUEUE_RECOUNT_H

#include "queue/upkeep.h"

struct tally { // what the rows say
    int64_t batch_seq;
    int64_t items[5]; // queued, processing, successful, failed, cancelled
    int64_t rows;
    int64_t places; // the greatest place + 1: so many there were at first
    int64_t input_tokens, output_tokens;
    double cost;
    int64_t started_at; // the first start that is known; 0: none
};

struct drift {
    int64_t batch_seq; // 0: of everything
    char id[ID_SIZE];
    char *user_id;
    int64_t since; // its last activity
    const char *what;
    bool missing; // it has no counters at all
    int64_t kept[5], items[5];
    int64_t input_tokens, output_tokens; // to add
    double cost;                         // to add
    int64_t started_at;                  // where none is kept
    char status[12], expected[12];
};
void drift_clear(struct drift *drift);

// Every batch job with its counters; the columns that drift_of_batch() reads, in this order.
#define DRIFT_OPENED_AT 1
#define DRIFT_BATCHES                                                                                        \
    "SELECT b.seq, b.opened_at, b.id, b.user_id, b.status, b.stop_reason IS NOT NULL, b.swept, b.at_limit,"  \
    " b.concurrency, b.completed_at, c.batch_seq, c.queued_items, c.processing_items, c.successful_items,"   \
    " c.failed_items, c.cancelled_items, c.input_tokens, c.output_tokens, c.actual_cost, c.concurrency,"     \
    " c.opened, c.started_at, coalesce(c.last_activity_at, b.created_at)"                                    \
    " FROM batch_job b LEFT JOIN batch_count c ON c.batch_seq=b.seq"
// Does the batch job that a statement of DRIFT_BATCHES stands on differ from its rows?
bool drift_of_batch(sqlite3_stmt *s, const struct tally *rows, struct drift *out);
int drift_of_all(struct db *db, const struct tally *rows, struct drift *out, bool *differs,
                 struct err *e) must_check;
// Puts it right inside the caller's transaction, and logs it.
int drift_repair(struct db *db, struct drift *drift, struct err *e) must_check;
void drift_tell(struct upkeep *run, const struct drift *drift, bool fixed);

#endif
