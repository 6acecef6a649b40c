// SPDX-License-Identifier: MIT
// Batch jobs over HTTP: listed, looked at, steered, their items, logs and results.
#include "base/json.h"
#include "http/api_reply.h"
#include "http/handlers.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- lists ----

static const char *const states[] = {"queued", "processing", "paused", "completed",
                                     "failed", "cancelled",  NULL};
static const char *const item_states[] = {"queued", "processing", "completed", "failed", "cancelled", NULL};

const struct field api_batches_list_query[] = {
    {.name = "status", .kind = FIELD_CHOICE, .choices = states, .help = "in this state"},
    API_FIELD_USER,
    API_FIELD_MODEL,
    API_FIELD_SINCE,
    API_FIELD_LIMIT,
    API_FIELD_AFTER,
    API_FIELD_END,
};

void api_batches_list(struct exchange *x, genrun *g) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    struct api_reply_page page;
    api_reply_filter(x, &filter);
    // Only those of a user have an index; the others are passed over one by one.
    if (api_reply_is_moved(x, &filter, filter.status || filter.model || filter.since))
        return;
    api_reply_page_begin(x, &page);
    int code = genrun_batch_list(g, &filter, api_reply_page_row, &page);
    api_reply_list(x, g, code, &page);
}

void api_batches_get(struct exchange *x, genrun *g) {
    genrun_row *row = NULL;
    int code = genrun_batch_get(g, &row, exchange_segment(x, "id"));
    api_reply_row(x, g, code, 200, row);
}

const struct field api_batches_items_query[] = {
    {.name = "status", .kind = FIELD_CHOICE, .choices = item_states, .help = "in this state"},
    API_FIELD_LIMIT,
    API_FIELD_AFTER,
    API_FIELD_END,
};

void api_batches_items(struct exchange *x, genrun *g) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    struct api_reply_page page;
    filter.limit = 20;
    api_reply_filter(x, &filter);
    if (api_reply_is_moved(x, &filter, filter.status != NULL))
        return;
    exchange_bound(x, g);
    api_reply_page_begin(x, &page);
    int code = genrun_batch_items(g, exchange_segment(x, "id"), &filter, api_reply_page_row, &page);
    api_reply_list(x, g, code, &page);
}

void api_batches_logs(struct exchange *x, genrun *g) {
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.batch = exchange_segment(x, "id");
    api_reply_logs(x, g, &filter);
}

// ---- results ----

static const char *const formats[] = {"openai", "jsonl", "csv", NULL};
static const char *const orders[] = {"input", "done", NULL};

const struct field api_batches_results_query[] = {
    {.name = "format", .kind = FIELD_CHOICE, .choices = formats, .help = "as it came, without it"},
    {.name = "errors", .kind = FIELD_FLAG, .help = "the failed and cancelled items instead"},
    {.name = "order",
     .kind = FIELD_CHOICE,
     .choices = orders,
     .help = "of the file (input), or as they ended"},
    API_FIELD_END,
};

// A file that is gone with its last descriptor: the results are written before the first byte is sent, so that a
// failure is told as one.
static int open_spool(const char *folder) {
    (void)mkdir(folder, 0700); // what fails here fails below, and is told
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    char *path = NULL;
    if (asprintf(&path, "%s/results-XXXXXX", folder) < 0)
        return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    free(path);
    return fd;
}

static void storage_failed(struct exchange *x) {
    exchange_error(x, 507, "server_error", "storage_failed", NULL,
                   "the results cannot be written to the server's disk (%s): try again later",
                   strerror(errno));
}

static void send_results(struct exchange *x, int fd, const char *format) {
    bool csv = format && strcmp(format, "csv") == 0;
    const char *id = exchange_segment(x, "id");
    char name[96];
    snprintf(name, sizeof name, "%.40s_%s.%s", id,
             exchange_query_integer(x, "errors", 0) ? "errors" : "results", csv ? "csv" : "jsonl");
    exchange_file(x, fd, csv ? "text/csv; charset=utf-8" : "application/jsonl", name);
}

// The format that the results are written in, when none is asked for.
static int find_format(genrun *g, const char *id, char format[16]) {
    genrun_row *row = NULL;
    int code = genrun_batch_get(g, &row, id);
    const char *came_as = code ? NULL : genrun_row_text(row, "format");
    snprintf(format, 16, "%s", came_as ? came_as : "jsonl");
    genrun_row_free(row);
    return code;
}

void api_batches_results(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id"), *order = exchange_query(x, "order");
    genrun_results_options options = GENRUN_RESULTS_OPTIONS_INIT;
    char format[16];
    int code = find_format(g, id, format);
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    options.format = exchange_query(x, "format");
    options.errors = (int)exchange_query_integer(x, "errors", 0);
    options.by_end = order && strcmp(order, "done") == 0;
    int fd = open_spool(exchange_data_dir(x)), copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    FILE *out = copy >= 0 ? fdopen(copy, "w") : NULL;
    if (!out) {
        storage_failed(x);
        if (copy >= 0)
            close(copy);
        if (fd >= 0)
            close(fd);
        return;
    }
    code = genrun_batch_results(g, NULL, id, out, &options);
    bool written = fclose(out) == 0 && code != GENRUN_WORK_FAILED;
    if (code || !written)
        close(fd);
    if (!written)
        storage_failed(x);
    else if (code)
        exchange_failed(x, g, code);
    if (code || !written)
        return;
    send_results(x, fd, options.format ? options.format : format);
}

// ---- steering ----

// What the batch job is after a change that went well.
static void tell(struct exchange *x, genrun *g, int code, const char *message) {
    genrun_row *row = NULL;
    if (!code)
        code = genrun_batch_get(g, &row, exchange_segment(x, "id"));
    if (code)
        exchange_failed(x, g, code);
    else
        api_reply_done(x, genrun_row_text(row, "status"), "batch job %s %s", genrun_row_text(row, "id"),
                       message);
    genrun_row_free(row);
}

const struct field api_batches_reason_body[] = {API_FIELD_REASON, API_FIELD_END};

void api_batches_cancel(struct exchange *x, genrun *g) {
    int code = genrun_batch_cancel(g, exchange_segment(x, "id"), json_text(exchange_body(x), "reason", NULL));
    tell(x, g, code, "is cancelled");
}

void api_batches_pause(struct exchange *x, genrun *g) {
    int code = genrun_batch_pause(g, exchange_segment(x, "id"), json_text(exchange_body(x), "reason", NULL));
    tell(x, g, code, "starts no more items");
}

void api_batches_resume(struct exchange *x, genrun *g) {
    tell(x, g, genrun_batch_resume(g, exchange_segment(x, "id")), "goes on");
}

const struct field api_batches_retry_body[] = {
    {.name = "dryRun", .kind = FIELD_FLAG, .help = "only count the items"}, API_FIELD_END};

void api_batches_retry(struct exchange *x, genrun *g) {
    char message[80];
    int64_t changed = 0;
    bool dry_run = json_bool(exchange_body(x), "dryRun", false);
    int code = genrun_batch_retry(g, &changed, exchange_segment(x, "id"), dry_run);
    snprintf(message, sizeof message, "%s %lld item%s again", dry_run ? "would queue" : "has queued",
             (long long)changed, changed == 1 ? "" : "s");
    tell(x, g, code, message);
}

// ---- one item now ----

#define WAIT_MS 300000 // for the end of its attempt, unless the query says how long

const struct field api_batches_next_query[] = {
    {.name = "wait",
     .kind = FIELD_DURATION,
     .least = 0,
     .most = 3600000,
     .help = "for the end of the attempt, 5m by default"},
    API_FIELD_END,
};

// The status is the item's. `item` may be NULL: none waits.
static void tell_next(struct exchange *x, genrun *g, genrun_row *item, bool ended) {
    genrun_row *batch = NULL;
    struct buf json;
    int code = genrun_batch_get(g, &batch, exchange_segment(x, "id"));
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_integer(&json, "processed", item && ended);
    json_write_member_integer(&json, "remaining", genrun_row_integer(batch, "queued_items", 0));
    json_write_member_text(&json, "status", item ? genrun_row_text(item, "status") : "empty");
    json_write_member_text(&json, "id", item ? genrun_row_text(item, "id") : NULL);
    json_write_member_raw(&json, "item", item ? genrun_row_json(item) : NULL);
    buf_char(&json, '}');
    exchange_json(x, ended ? 200 : 202, &json);
    buf_free(&json);
    genrun_row_free(batch);
}

static void look_at_next(struct exchange *x, genrun *g, bool late) {
    genrun_row *item = NULL;
    int open = 0;
    int code = genrun_asked(g, &open, exchange_kept(x));
    if (!code && open && !late)
        return;
    if (!code)
        code = genrun_get(g, &item, exchange_kept(x));
    if (code)
        exchange_failed(x, g, code);
    else
        tell_next(x, g, item, !open);
    genrun_row_free(item);
}

void api_batches_process_next(struct exchange *x, genrun *g) {
    char id[GENRUN_ID_SIZE];
    int code = genrun_batch_ask_next(g, id, exchange_segment(x, "id"));
    if (code) {
        exchange_failed(x, g, code);
    } else if (!*id) {
        tell_next(x, g, NULL, true);
    } else {
        exchange_keep(x, id);
        exchange_wait(x, look_at_next, exchange_query_integer(x, "wait", WAIT_MS));
    }
}
