// SPDX-License-Identifier: MIT
#include "http/v1_object.h"
#include "base/json.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define RESULT_DIGITS 6 // behind "batch_"

static void write_time(struct buf *out, const char *key, int64_t at) {
    if (at > 0)
        json_write_member_integer(out, key, at / 1000);
    else
        json_write_member_raw(out, key, NULL);
}

static int64_t time_of(const genrun_row *row, const char *column) {
    return genrun_row_integer(row, column, 0);
}

// ---- files ----

void v1_object_file(struct buf *out, const genrun_row *row) {
    buf_char(out, '{');
    json_write_member_text(out, "id", genrun_row_text(row, "id"));
    json_write_member_text(out, "object", "file");
    json_write_member_integer(out, "bytes", genrun_row_integer(row, "bytes", 0));
    write_time(out, "created_at", time_of(row, "created_at"));
    write_time(out, "expires_at", time_of(row, "expires_at"));
    json_write_member_text(out, "filename", genrun_row_text(row, "filename"));
    json_write_member_text(out, "purpose", genrun_row_text(row, "purpose"));
    json_write_member_text(out, "status", "processed");
    json_write_member_raw(out, "status_details", NULL);
    buf_char(out, '}');
}

// ---- batches ----

static void write_result_id(struct buf *out, const char *key, const genrun_row *row, const char *count,
                            const char *kind) {
    if (genrun_row_integer(row, count, 0) > 0) {
        char *id = mem_format("file-%s-%s", genrun_row_text(row, "id") + RESULT_DIGITS, kind);
        json_write_member_text(out, key, id);
        free(id);
    } else {
        json_write_member_raw(out, key, NULL);
    }
}

static void write_errors(struct buf *out, const genrun_row *row) {
    const char *errors = genrun_row_text(row, "errors");
    json_write_key(out, "errors");
    if (errors)
        buf_format(out, "{\"object\":\"list\",\"data\":%s}", errors);
    else
        buf_text(out, "null");
}

// Each state is told with the time at which it came; those that it passed keep theirs.
static void write_times(struct buf *out, const genrun_row *row, const char *status) {
    int64_t ended_at = time_of(row, "ended_at"), expired_at = time_of(row, "expired_at");
    int64_t cancelling_at = time_of(row, "cancelling_at");
    bool had_job = genrun_row_text(row, "batch_job_id") != NULL;
    write_time(out, "created_at", time_of(row, "created_at"));
    write_time(out, "in_progress_at", time_of(row, "in_progress_at"));
    write_time(out, "expires_at", time_of(row, "expires_at"));
    write_time(out, "finalizing_at", had_job ? expired_at : 0);
    write_time(out, "completed_at", strcmp(status, "completed") == 0 ? ended_at : 0);
    write_time(out, "failed_at", time_of(row, "failed_at"));
    write_time(out, "expired_at", strcmp(status, "expired") == 0 ? (had_job ? ended_at : expired_at) : 0);
    write_time(out, "cancelling_at", cancelling_at);
    write_time(out, "cancelled_at",
               strcmp(status, "cancelled") == 0 ? (ended_at ? ended_at : cancelling_at) : 0);
}

static void write_usage(struct buf *out, const genrun_row *row) {
    int64_t input = genrun_row_integer(row, "input_tokens", 0);
    int64_t output = genrun_row_integer(row, "output_tokens", 0);
    json_write_key(out, "usage");
    buf_format(out,
               "{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":%lld,"
               "\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%lld}",
               (long long)input, (long long)output, (long long)(input + output));
}

// What that API has no words for.
static void write_own(struct buf *out, const genrun_row *row) {
    const char *job = genrun_row_text(row, "batch_job_id");
    if (!job)
        return;
    bool paused = genrun_row_integer(row, "paused", 0) != 0;
    json_write_key(out, "genrun");
    buf_char(out, '{');
    json_write_member_text(out, "batch_job_id", job);
    json_write_member_bool(out, "paused", paused);
    json_write_member_text(out, "reason", paused ? genrun_row_text(row, "paused_reason") : NULL);
    buf_char(out, '}');
}

void v1_object_batch(struct buf *out, const genrun_row *row) {
    const char *status = genrun_row_text(row, "status");
    buf_char(out, '{');
    json_write_member_text(out, "id", genrun_row_text(row, "id"));
    json_write_member_text(out, "object", "batch");
    json_write_member_text(out, "endpoint", genrun_row_text(row, "endpoint"));
    json_write_member_text(out, "model", genrun_row_text(row, "model"));
    write_errors(out, row);
    json_write_member_text(out, "input_file_id", genrun_row_text(row, "input_file_id"));
    json_write_member_text(out, "completion_window", genrun_row_text(row, "completion_window"));
    json_write_member_text(out, "status", status);
    write_result_id(out, "output_file_id", row, "completed", "output");
    write_result_id(out, "error_file_id", row, "failed", "error");
    write_times(out, row, status);
    json_write_key(out, "request_counts");
    buf_char(out, '{');
    json_write_member_integer(out, "total", genrun_row_integer(row, "total", 0));
    json_write_member_integer(out, "completed", genrun_row_integer(row, "completed", 0));
    json_write_member_integer(out, "failed", genrun_row_integer(row, "failed", 0));
    buf_char(out, '}');
    write_usage(out, row);
    json_write_member_raw(out, "metadata", genrun_row_text(row, "metadata"));
    write_own(out, row);
    buf_char(out, '}');
}

// ---- models ----

void v1_object_model(struct buf *out, const genrun_row *row) {
    buf_char(out, '{');
    json_write_member_text(out, "id", genrun_row_text(row, "name"));
    json_write_member_text(out, "object", "model");
    json_write_member_integer(out, "created", 0); // nobody knows
    json_write_member_text(out, "owned_by", genrun_row_text(row, "provider"));
    buf_char(out, '}');
}

// ---- answers ----

void v1_object_failed(struct exchange *x, genrun *g, int code) {
    if (code == GENRUN_NOT_FOUND) {
        exchange_error(x, 404, NULL, NULL, "id", "%s", genrun_message(g));
    } else if (code == GENRUN_CONFLICT) {
        exchange_answer_header(x, "x-should-retry", "false");
        exchange_error(x, 409, NULL, NULL, NULL, "%s", genrun_message(g));
    } else if (code == GENRUN_CONFIG) {
        exchange_answer_header(x, "x-should-retry", "false"); // nothing that the client could change
        exchange_error(x, 500, NULL, "server_misconfigured", NULL, "%s", genrun_message(g));
    } else {
        exchange_failed(x, g, code);
    }
}

void v1_object_answer(struct exchange *x, genrun *g, int code, genrun_row *row,
                      void (*write)(struct buf *out, const genrun_row *row)) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    if (code) {
        v1_object_failed(x, g, code);
    } else {
        write(&out, row);
        exchange_json(x, 200, &out);
    }
    genrun_row_free(row);
    buf_free(&out);
}

void v1_object_begin(struct v1_list *list, void (*write)(struct buf *out, const genrun_row *row)) {
    *list = (struct v1_list){.write = write};
    buf_init(&list->out, BUF_UNLIMITED);
    buf_text(&list->out, "{\"object\":\"list\",\"data\":[");
}

int v1_object_add(void *payload, genrun_row *row) {
    struct v1_list *list = payload;
    const char *id = genrun_row_text(row, "id");
    if (list->last)
        buf_char(&list->out, ',');
    list->write(&list->out, row);
    free(list->last);
    list->last = mem_copy(id ? id : "");
    if (!list->first)
        list->first = mem_copy(id);
    return 0;
}

void v1_object_end(struct v1_list *list, struct exchange *x, genrun *g, int code, bool more) {
    if (code) {
        v1_object_failed(x, g, code);
    } else {
        buf_char(&list->out, ']');
        json_write_member_text(&list->out, "first_id", list->first);
        json_write_member_text(&list->out, "last_id", list->first ? list->last : NULL);
        json_write_member_bool(&list->out, "has_more", more);
        buf_char(&list->out, '}');
        exchange_json(x, 200, &list->out);
    }
    free(list->first);
    free(list->last);
    buf_free(&list->out);
}
