// SPDX-License-Identifier: MIT
// Inside of src/run/: what this process has counted since its runner came up. Plain
// numbers in memory; who shows them, and how, is no business of the runner.
#ifndef GENRUN_RUN_METRICS_H
#define GENRUN_RUN_METRICS_H

#include <stddef.h>
#include <stdint.h>

#define METRICS_BOUNDS_MOST 16
struct metrics_histogram {
    const double *bounds;                    // ascending, in seconds, ended by 0
    int64_t counts[METRICS_BOUNDS_MOST + 1]; // each of its own; behind the last bound: what is longer
    double sum;
    int64_t count;
};

struct metrics_ends {
    const char *outcome, *error_type; // literals; error_type "" where there is none
    int64_t count;
};
struct metrics_model {
    char *name;
    struct metrics_ends *ends;
    size_t end_count;
    struct metrics_histogram durations; // of attempts
};

struct metrics {
    struct metrics_model **models; // in the order of their first attempt
    size_t model_count;
    struct metrics_histogram commits; // of transactions that wrote
    struct metrics_histogram turns;   // how long the loop did not wait, from wait to wait
    int64_t claims, heartbeats, checkpoints, checkpoints_put_off;
    int64_t failed_transactions;
    int64_t writes_stored, writes_refused, writes_failed; // of a host
    int64_t stall_ms, stalled_ms; // the last turn beyond the limit: how long, and (monotonic) when; 0: none
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics); // NULL is fine
// The counts of a model; of those beyond the first 1000 all together, as "other". Valid as long as the metrics.
struct metrics_model *metrics_model(struct metrics *metrics, const char *name);
void metrics_note(struct metrics_histogram *histogram, int64_t us);
void metrics_end(struct metrics_model *model, const char *outcome, const char *error_type, int64_t us);

#endif
