// SPDX-License-Identifier: MIT
// A specification: what a face hands in for one generation, validated once at
// the edge, before it becomes a row.
#ifndef GENRUN_QUEUE_SPEC_H
#define GENRUN_QUEUE_SPEC_H

#include <stdint.h>

struct spec {
    const char *prompt;     // NULL: parameters is the whole request body
    const char *model_id;   // never NULL once resolved against the configuration
    const char *parameters; // JSON object text, kept byte for byte; NULL: {}
    const char *endpoint;   // such as /v1/embeddings; NULL: the model's
    const char *user_id;
    const char *session_id;
    const char *client_id; // idempotency key
    const char *custom_id;
    const char *topic;
    const char *tier;
    const char *type;
    const char *template_id;
    int priority;         // -1000 to 1000
    int64_t run_after_at; // 0: at once
};

#define SPEC_PRIORITY_LIMIT 1000

#endif
