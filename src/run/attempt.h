// SPDX-License-Identifier: MIT
// Inside of src/run/: an attempt in flight, its three clocks, and its end as a
// settlement for the queue.
#ifndef GENRUN_RUN_ATTEMPT_H
#define GENRUN_RUN_ATTEMPT_H

#include "loop/loop.h"
#include "provider/provider.h"
#include "queue/queue.h"
#include "queue/transition.h"
#include "run/gate.h"
#include "run/settings.h"

enum attempt_end {
    END_NONE,      // in flight
    END_OUTCOME,   // the provider gave its outcome
    END_TIMEOUT,   // a clock ran out: the outcome holds what had come
    END_LOST,      // the row is no longer ours: a person cancelled or failed it
    END_CANCELLED, // its batch job was cancelled
    END_STOPPED    // the runner stops: back to the queue
};

struct attempt {
    struct claim claim;
    struct gate *gate;
    const struct provider *provider;
    struct provider_call *call; // NULL before the start and after the end
    enum provider_step step;
    int64_t started_ms; // clocks below are monotonic
    int64_t last_progress_ms;
    int64_t output_bytes;
    enum attempt_end end;
    char *end_reason; // END_LOST, END_CANCELLED
    struct outcome *outcome;
    struct verdict verdict;                // of a failed outcome
    bool parked;                           // a retry that waits for the server
    int write_failures;                    // times that its settlement itself was refused
    bool settled;                          // in the transaction under way
    int64_t ended_us;                      // monotonic
    const char *outcome_name, *error_type; // of the transaction under way, for the metrics: literals
    struct attempt *next;                  // list of its owner
    void (*on_end)(void *payload, struct attempt *attempt);
    void *payload;
};

// Takes the texts of the claim.
struct attempt *attempt_new(struct claim *claim, struct gate *gate);
void attempt_free(struct attempt *attempt);
// Starts the call; ends in END_OUTCOME also when it cannot be started. The runner's id must outlive the attempt.
void attempt_start(struct attempt *attempt, struct loop *loop, const char *runner_id, size_t max_output);
// Ends it from outside, keeping what had come.
void attempt_stop(struct attempt *attempt, enum attempt_end end, const char *reason);
// The clock that runs out first: when (monotonic, INT64_MAX: none) and which.
int64_t attempt_deadline_ms(const struct attempt *attempt, const char **which);
// Ends it with END_TIMEOUT when a clock ran out; true when it did.
bool attempt_expire(struct attempt *attempt, int64_t now_ms);
// Its clocks stood still for so long.
void attempt_shift(struct attempt *attempt, int64_t gap_ms);
// The progress clock that counts now, in ms; 0: none.
int64_t attempt_progress_limit_ms(const struct attempt *attempt);

// What to write of an ended attempt. Texts live in `texts` (initialised by the call, freed by the caller)
// and in the attempt. Not for END_LOST's row, which is not ours any more: only outputs are set then.
struct settlement_texts {
    char *note, *detail, *message, *body;
    struct settle_output *outputs;
};
void settlement_texts_free(struct settlement_texts *texts);
void attempt_settlement(const struct attempt *attempt, const struct run_settings *settings, int64_t now_at,
                        double random, struct settlement *out, struct settlement_texts *texts);

#endif
