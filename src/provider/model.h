// SPDX-License-Identifier: MIT
// A model: one [model NAME] section of the configuration. Filled by the
// configuration, read by the providers and the runner.
#ifndef GENRUN_PROVIDER_MODEL_H
#define GENRUN_PROVIDER_MODEL_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verdict_action { VERDICT_FAIL, VERDICT_RETRY, VERDICT_WAIT, VERDICT_PARK };

struct model_header {
    char *name;
    char *value;
};

struct model_status_rule { // on_status.NNN=action
    int status;
    enum verdict_action action;
};

struct model {
    char *name;              // the model_id; "*" catches every other name
    char *provider;          // "openai", "echo"
    char *base_url;          // such as https://api.openai.com/v1, no slash at the end
    char *endpoint;          // such as /chat/completions
    char *remote_name;       // the name sent; NULL: the model_id
    char *api_key_env;       // name of a variable
    char *api_key_file;      // absolute path
    int concurrency;         // in flight at most; 0: only the scheduler's limit
    int requests_per_minute; // 0: no limit
    int64_t tokens_per_minute;
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t progress_timeout_ms;
    int64_t max_runtime_ms;
    bool stream;        // ask the server to stream, so that progress is seen
    double price_input; // USD per million tokens
    double price_output;
    double price_request; // USD each
    struct model_header *headers;
    size_t header_count;
    struct model_status_rule *status_rules;
    size_t status_rule_count;
};

// The entry that serves `name`: the one of that name, else "*", else NULL.
const struct model *model_find(const struct model *models, size_t count, const char *name);
// Fills `secret` with the API key of the model, "" when it has none configured. ERR_CONFIG, without
// any value in the message, when the variable or file it names is missing or empty.
struct buf;
int model_api_key(const struct model *model, struct buf *secret, struct err *e) must_check;
void model_clear(struct model *model); // frees what the fields own

#endif
