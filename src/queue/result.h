// SPDX-License-Identifier: MIT
// The end of one batch item with everything that a results file shows of it.
#ifndef GENRUN_QUEUE_RESULT_H
#define GENRUN_QUEUE_RESULT_H

#include <stddef.h>
#include <stdint.h>

// The reason for which items are cancelled when the window of their batch (queue/openai.h) is over; in results files
// they have an error code of their own.
#define RESULT_EXPIRED "This request could not be executed before the completion window expired."

struct result {
    const char *id;        // the generation's
    const char *custom_id; // NULL: none was given
    int64_t item_index;    // from 0, in the order of the file
    const char *status;    // completed, failed, cancelled
    const char *model_id;
    const char *prompt;     // NULL when a whole body was given
    const char *parameters; // JSON object text as submitted
    const char *endpoint;   // NULL: chat completions
    int http_status;        // 0: no HTTP response
    const char *request_id; // the server's, NULL when none
    const char *body;       // the response body (JSON as received), NULL when none
    size_t body_length;
    const char *text; // content of the first output, NULL when none
    size_t text_length;
    const char *text_mime;
    int output_count;          // all of them
    const char *error_type;    // failed: an error type of the contract
    const char *error_message; // failed: the message; cancelled: the reason
    int64_t input_tokens;      // -1: unknown
    int64_t output_tokens;
    double cost; // USD; negative: unknown
    const char *finish_reason;
    int64_t completed_at;
};

#endif
