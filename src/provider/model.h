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

struct model_status_rule { // on_status.NNN=action, on_exit.N=action
    int status;            // of HTTP, or of a command's exit
    enum verdict_action action;
};

struct model {
    char *name;              // the model_id; "*" catches every other name
    char *provider;          // "openai", "command", "echo"
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

    // provider command
    char **command;   // its words (of text_words), command[0] is `program`; NULL: none
    char *program;    // a name for PATH, or an absolute path
    char *folder;     // where it runs: the configuration's; NULL: where genrun runs
    char **pass_env;  // names of variables it gets besides the usual ones (of text_words); NULL: none
    bool input_json;  // it gets a JSON object on stdin, not the prompt
    bool output_json; // it gives JSON on stdout, not text
    struct model_status_rule *exit_rules;
    size_t exit_rule_count;
};

// The entry that serves `name`: the one of that name, else "*", else NULL.
const struct model *model_find(const struct model *models, size_t count, const char *name);
// Fills `secret` with the API key of the model, "" when it has none configured. ERR_CONFIG, without
// any value in the message, when the variable or file it names is missing or empty.
struct buf;
int model_api_key(const struct model *model, struct buf *secret, struct err *e) must_check;
// The same for whoever does not want the key itself: is it there?
int model_check_key(const struct model *model, struct err *e) must_check;
void model_clear(struct model *model); // frees what the fields own

#endif
