// SPDX-License-Identifier: MIT
// What the configuration's sections [scheduler], [cleanup], [retention] and [alerts]
// set; defaults and ranges stand in the option table (lib/options.c).
#ifndef GENRUN_RUN_SETTINGS_H
#define GENRUN_RUN_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct run_settings {
    int concurrency;
    int64_t poll_interval_ms;
    int64_t heartbeat_interval_ms;
    int64_t heartbeat_timeout_ms;
    int64_t progress_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t max_runtime_ms;
    int max_attempts;    // the first try counted
    int64_t max_wait_ms; // 0: for ever
    int64_t backoff_min_ms;
    int64_t backoff_max_ms;
    int max_crashes;
    int64_t shutdown_grace_ms;
    int account_concurrency; // 0: off
};

enum webhook_format { WEBHOOK_STANDARD, WEBHOOK_OPENAI, WEBHOOK_SLACK };

struct webhook_endpoint { // [webhook NAME]; lists end in NULL, and are NULL where the option is not set
    char *name;
    char *url;         // may be a secret: never shown
    char *url_env;     // name of the variable that holds it instead
    char **events;     // names, or what they begin with: batch.*
    char *secret_env;  // name of the variable with the signing secret
    char *secret_file; // absolute path of its file
    int format;        // enum webhook_format
    char **models;
    char **users;
    bool is_private; // a host's name may resolve to a private address
    int64_t timeout_ms;
};

// Of the periodic jobs; 0 turns off, unless said otherwise.
struct job_settings {
    int64_t cleanup_every_ms;
    int64_t stuck_after_ms; // 0: at once
    int64_t lock_expiry_ms; // never 0; of account locks, too
    bool requeue;           // what was stuck too long is queued again; else it fails
    int64_t retention_every_ms;
    int64_t completed_after_ms;
    int64_t failed_after_ms; // and cancelled
    int64_t logs_after_ms;
    int64_t alert_stuck_after_ms;
    double alert_failure_rate;               // share of 1
    int64_t sync_every_ms;                   // 0: not configured
    const char *files;                       // the folder of uploaded files; borrowed
    const struct webhook_endpoint *webhooks; // borrowed
    size_t webhook_count;
};

#endif
