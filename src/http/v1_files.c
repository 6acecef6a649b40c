// SPDX-License-Identifier: MIT
// /v1/files: OpenAI's Files API. Uploads are spooled to disk before these are called.
#include "base/json.h"
#include "base/log.h"
#include "http/handlers.h"
#include "http/upload.h"
#include "http/v1_object.h"
#include <string.h>

#define SECONDS_LEAST 3600
#define SECONDS_MOST 2592000
#define BATCH_FILE_MS                                                                                        \
    (INT64_C(30) * 24 * 3600 * 1000) // as that API keeps files for batches, unless told otherwise

static const char *const purposes[] = {"batch",     "assistants", "fine-tune", "vision",
                                       "user_data", "evals",      NULL};
static const char *const anchors[] = {"created_at", NULL};
static const char *const orders[] = {"asc", "desc", NULL};

static const struct field form[] = {
    {.name = "purpose",
     .kind = FIELD_CHOICE,
     .choices = purposes,
     .required = true,
     .help = "what it is for"},
    {.name = "expires_after[anchor]", .kind = FIELD_CHOICE, .choices = anchors, .help = "from when on"},
    {.name = "expires_after[seconds]",
     .kind = FIELD_INTEGER,
     .least = SECONDS_LEAST,
     .most = SECONDS_MOST,
     .help = "gone after so long"},
    {.name = NULL},
};
const struct field v1_files_query[] = {
    {.name = "purpose", .kind = FIELD_TEXT, .help = "batch, batch_output, …"},
    {.name = "limit", .kind = FIELD_INTEGER, .least = 1, .most = 10000, .help = "rows at most; 10000"},
    {.name = "order", .kind = FIELD_CHOICE, .choices = orders, .help = "by age; desc"},
    {.name = "after", .kind = FIELD_TEXT, .help = "id of the last one of the page before"},
    {.name = NULL},
};

// false: refused, and answered.
static bool check_form(struct exchange *x, const struct upload *u) {
    struct field_error error = {0};
    bool seconds = u && upload_field(u, "expires_after[seconds]");
    bool anchor = u && upload_field(u, "expires_after[anchor]");
    if (!u)
        exchange_error(x, 400, NULL, "invalid_form", NULL,
                       "send the file as multipart/form-data, with the parts file and purpose");
    else if (!field_check_query(form, upload_fields(u), &error))
        exchange_error(x, 400, NULL, error.code, error.param, "%s", error.message);
    else if (seconds != anchor)
        exchange_error(x, 400, NULL, "missing_required_parameter",
                       seconds ? "expires_after[anchor]" : "expires_after[seconds]",
                       "Missing required parameter: 'expires_after[%s]'.", seconds ? "anchor" : "seconds");
    field_error_free(&error);
    return !exchange_is_answered(x);
}

void v1_files_create(struct exchange *x, genrun *g) {
    struct upload *u = exchange_upload(x);
    genrun_file_options options = GENRUN_FILE_OPTIONS_INIT;
    genrun_row *row = NULL;
    if (!check_form(x, u))
        return;
    int fd = upload_file(u);
    if (fd < 0) {
        exchange_error(x, 400, NULL, "missing_required_parameter", "file",
                       "Missing required parameter: 'file'.");
        return;
    }
    options.filename = upload_filename(u);
    options.purpose = upload_field(u, "purpose");
    options.expires_after_ms = strcmp(options.purpose, "batch") == 0 ? BATCH_FILE_MS : 0;
    if (upload_field(u, "expires_after[seconds]"))
        options.expires_after_ms = field_integer(form, upload_fields(u), "expires_after[seconds]", 0) * 1000;
    int code = genrun_file_add(g, &row, fd, &options);
    v1_object_answer(x, g, code, row, v1_object_file);
}

void v1_files_list(struct exchange *x, genrun *g) {
    struct v1_list list;
    int more = 0;
    const char *order = exchange_query(x, "order");
    const genrun_file_filter filter = {.purpose = exchange_query(x, "purpose"),
                                       .after = exchange_query(x, "after"),
                                       .limit = (int)exchange_query_integer(x, "limit", 0),
                                       .ascending = order && strcmp(order, "asc") == 0};
    v1_object_begin(&list, v1_object_file);
    int code = genrun_file_list(g, &filter, &more, v1_object_add, &list);
    v1_object_end(&list, x, g, code, more != 0);
}

void v1_files_get(struct exchange *x, genrun *g) {
    genrun_row *row = NULL;
    int code = genrun_file_get(g, &row, exchange_segment(x, "id"));
    v1_object_answer(x, g, code, row, v1_object_file);
}

void v1_files_delete(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id");
    struct buf out;
    int code = genrun_file_delete(g, id);
    if (code) {
        v1_object_failed(x, g, code);
        return;
    }
    buf_init(&out, BUF_UNLIMITED);
    buf_char(&out, '{');
    json_write_member_text(&out, "id", id);
    json_write_member_text(&out, "object", "file");
    json_write_member_bool(&out, "deleted", true);
    buf_char(&out, '}');
    exchange_json(x, 200, &out);
    buf_free(&out);
}

void v1_files_content(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id");
    genrun_row *row = NULL;
    int fd = -1;
    int code = genrun_file_open(g, &fd, id);
    if (code) {
        v1_object_failed(x, g, code);
        return;
    }
    exchange_file(x, fd, "application/octet-stream",
                  genrun_file_get(g, &row, id) == 0 ? genrun_row_text(row, "filename") : id);
    genrun_row_free(row);
}

void v1_files_start(genrun *g, const char *text) {
    int64_t removed = 0;
    (void)text;
    if (genrun_file_sweep(g, &removed))
        log_warn("what a crash left of uploads was not removed: %s", genrun_message(g));
    else if (removed > 0)
        log_info("removed %lld files that a crash left", (long long)removed);
}
