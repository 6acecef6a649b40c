// SPDX-License-Identifier: MIT
// /v1/batches: OpenAI's Batch API. A batch that was created is answered at once, and its
// file read behind the answer.
#include "base/json.h"
#include "base/log.h"
#include "http/handlers.h"
#include "http/v1_object.h"
#include <stdlib.h>
#include <string.h>

#define TEXT_MOST 256

const struct field v1_batches_query[] = {
    {.name = "after", .kind = FIELD_TEXT, .help = "id of the last one of the page before"},
    {.name = "limit", .kind = FIELD_INTEGER, .least = 1, .most = 100, .help = "rows at most; 20"},
    {.name = NULL},
};
const struct field v1_batches_body[] = {
    {.name = "input_file_id", .kind = FIELD_TEXT, .required = true, .help = "a file with the purpose batch"},
    {.name = "endpoint", .kind = FIELD_TEXT, .required = true, .help = "that every line of it names"},
    {.name = "completion_window",
     .kind = FIELD_TEXT,
     .required = true,
     .help = "24h, any duration from 1h to 7d, or none"},
    {.name = "metadata", .kind = FIELD_OBJECT, .help = "up to 16 strings of your own"},
    {.name = "output_expires_after",
     .kind = FIELD_OBJECT,
     .help = "{anchor: created_at, seconds}: result files are gone so long after the end"},
    {.name = NULL},
};

void v1_batches_prepare(genrun *g, const char *text) {
    (void)text;
    // What was not the file's fault is tried again with the next batch, when its state is asked for, and at the
    // next start.
    int code = genrun_openai_prepare(g);
    if (code)
        log_warn("the file of a batch could not be read now: %s", genrun_message(g));
}

// {"anchor":"created_at","seconds":N}. false: refused, and answered.
static bool read_expiry(struct exchange *x, int64_t *seconds) {
    const cJSON *expiry = json_get(exchange_body(x), "output_expires_after");
    const cJSON *anchor = json_get(expiry, "anchor"), *number = json_get(expiry, "seconds");
    *seconds = 0;
    if (!expiry)
        return true;
    if (!anchor || !number) {
        exchange_error(x, 400, NULL, "missing_required_parameter",
                       anchor ? "output_expires_after.seconds" : "output_expires_after.anchor",
                       "Missing required parameter: 'output_expires_after.%s'.",
                       anchor ? "seconds" : "anchor");
    } else if (!cJSON_IsString(anchor) || strcmp(anchor->valuestring, "created_at") != 0) {
        exchange_error(
            x, 400, NULL, "invalid_value", "output_expires_after.anchor",
            "Invalid value for 'output_expires_after.anchor'. Supported values are: 'created_at'.");
    } else if (!cJSON_IsNumber(number) || number->valuedouble != (double)(int64_t)number->valuedouble) {
        exchange_error(x, 400, NULL, "invalid_type", "output_expires_after.seconds",
                       "Invalid type for 'output_expires_after.seconds': expected an integer.");
    } else {
        *seconds = (int64_t)number->valuedouble;
        *seconds = *seconds ? *seconds : -1; // 0 would be: not given
        return true;
    }
    return false;
}

void v1_batches_create(struct exchange *x, genrun *g) {
    const cJSON *body = exchange_body(x);
    const char *again = exchange_header(x, "x-stainless-retry-count");
    genrun_openai_options options = GENRUN_OPENAI_OPTIONS_INIT;
    genrun_refusal refusal;
    genrun_row *row = NULL;
    size_t length;
    if (!read_expiry(x, &options.output_expires_after))
        return;
    char *metadata = field_raw(exchange_body_text(x, &length), "metadata");
    options.input_file_id = json_text(body, "input_file_id", NULL);
    options.endpoint = json_text(body, "endpoint", NULL);
    options.completion_window = json_text(body, "completion_window", NULL);
    options.metadata = metadata;
    options.asked_by = exchange_key(x);
    options.idempotency_key = exchange_header(x, "Idempotency-Key");
    options.is_again = again && strtol(again, NULL, 10) > 0;
    int code = genrun_openai_create(g, &row, NULL, &options, &refusal);
    free(metadata);
    if (code == GENRUN_INVALID && refusal.code[0]) {
        exchange_error(x, 400, NULL, refusal.code, refusal.param, "%s", genrun_message(g));
        return;
    }
    if (!code)
        exchange_after(x, v1_batches_prepare, "");
    v1_object_answer(x, g, code, row, v1_object_batch);
}

void v1_batches_list(struct exchange *x, genrun *g) {
    struct v1_list list;
    int more = 0;
    v1_object_begin(&list, v1_object_batch);
    int code = genrun_openai_list(g, exchange_query(x, "after"), (int)exchange_query_integer(x, "limit", 0),
                                  &more, v1_object_add, &list);
    v1_object_end(&list, x, g, code, more != 0);
}

void v1_batches_get(struct exchange *x, genrun *g) {
    genrun_row *row = NULL;
    int code = genrun_openai_get(g, &row, exchange_segment(x, "id"));
    if (!code && strcmp(genrun_row_text(row, "status"), "validating") == 0)
        exchange_after(x, v1_batches_prepare, "");
    v1_object_answer(x, g, code, row, v1_object_batch);
}

void v1_batches_cancel(struct exchange *x, genrun *g) {
    genrun_row *row = NULL;
    int code = genrun_openai_cancel(g, &row, exchange_segment(x, "id"));
    v1_object_answer(x, g, code, row, v1_object_batch);
}
