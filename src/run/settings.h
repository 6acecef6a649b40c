// SPDX-License-Identifier: MIT
// What the configuration's [scheduler] section sets; defaults and ranges stand in
// the option table (lib/options.c).
#ifndef GENRUN_RUN_SETTINGS_H
#define GENRUN_RUN_SETTINGS_H

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

#endif
