// SPDX-License-Identifier: MIT
// Generations over HTTP: submitted, listed, looked at, changed, asked to be run next.
#include "base/json.h"
#include "base/text.h"
#include "http/api_reply.h"
#include "http/handlers.h"
#include "lib/host.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INLINE_BYTES ((int64_t)1 << 20) // outputs of so many bytes in all stand in the answer itself

static const char *const states[] = {"queued",    "processing", "completed", "failed",
                                     "cancelled", "stuck",      NULL};

// ---- submitting ----

const struct field api_generations_submit_body[] = {
    {.name = "prompt", .kind = FIELD_TEXT, .help = "the text for the model"},
    {.name = "modelId",
     .kind = FIELD_TEXT,
     .least = 1,
     .most = API_NAME_MOST,
     .help = "default_model without it"},
    {.name = "model", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "the same"},
    {.name = "parameters", .kind = FIELD_OBJECT, .help = "passed on; without a prompt the whole request"},
    {.name = "sessionId",
     .kind = FIELD_TEXT,
     .least = 1,
     .most = API_NAME_MOST,
     .help = "for lists and reports"},
    {.name = "clientId",
     .kind = FIELD_TEXT,
     .least = 1,
     .most = API_NAME_MOST,
     .help = "sent again it creates nothing and gives the first"},
    {.name = "priority", .kind = FIELD_INTEGER, .least = -1000, .most = 1000, .help = "higher first"},
    {.name = "userId",
     .kind = FIELD_TEXT,
     .least = 1,
     .most = API_NAME_MOST,
     .help = "whose it is: for admins"},
    {.name = "delay", .kind = FIELD_DURATION, .help = "not before that time has passed"},
    {.name = "templateId",
     .kind = FIELD_TEXT,
     .least = 1,
     .most = API_NAME_MOST,
     .help = "name or id of a template"},
    {.name = "type", .kind = FIELD_TEXT, .most = API_NAME_MOST},
    {.name = "tier", .kind = FIELD_TEXT, .most = API_NAME_MOST},
    {.name = "topic", .kind = FIELD_TEXT, .most = API_NAME_MOST},
    {.name = "customId", .kind = FIELD_TEXT, .most = API_NAME_MOST, .help = "a name of yours"},
    {.name = "endpoint",
     .kind = FIELD_TEXT,
     .least = 1,
     .most = API_NAME_MOST,
     .help = "such as /v1/embeddings"},
    API_FIELD_END,
};

static void fill_spec(genrun_spec *spec, const cJSON *body, const char *parameters) {
    spec->prompt = json_text(body, "prompt", NULL);
    spec->model = json_text(body, "modelId", json_text(body, "model", NULL));
    spec->parameters = parameters;
    spec->endpoint = json_text(body, "endpoint", NULL);
    spec->user = json_text(body, "userId", NULL);
    spec->session = json_text(body, "sessionId", NULL);
    spec->client_id = json_text(body, "clientId", NULL);
    spec->custom_id = json_text(body, "customId", NULL);
    spec->topic = json_text(body, "topic", NULL);
    spec->tier = json_text(body, "tier", NULL);
    spec->type = json_text(body, "type", NULL);
    spec->template_id = json_text(body, "templateId", NULL);
    spec->priority = (int)json_integer(body, "priority", 0);
    spec->delay_ms = field_body_integer(api_generations_submit_body, body, "delay", 0);
}

static void point_to(struct exchange *x, const char *id) {
    char location[64];
    snprintf(location, sizeof location, "/api/generations/%s", id);
    exchange_answer_header(x, "Location", location);
}

void api_generations_submit(struct exchange *x, genrun *g) {
    genrun_spec spec = GENRUN_SPEC_INIT;
    char id[GENRUN_ID_SIZE];
    int created = 0;
    size_t length = 0;
    struct buf json;
    char *parameters = field_raw(exchange_body_text(x, &length), "parameters");
    fill_spec(&spec, exchange_body(x), parameters);
    int code = genrun_submit(g, id, &created, &spec);
    free(parameters);
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    point_to(x, id);
    if (!created) {
        genrun_row *row = NULL;
        code = genrun_get(g, &row, id);
        api_reply_row(x, g, code, 200, row);
        return;
    }
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_text(&json, "id", id);
    json_write_member_text(&json, "status", "queued");
    json_write_member_text(&json, "clientId", spec.client_id);
    buf_char(&json, '}');
    exchange_json(x, 202, &json);
    buf_free(&json);
}

// ---- lists ----

const struct field api_generations_list_query[] = {
    {.name = "status", .kind = FIELD_CHOICE, .choices = states, .help = "in this state"},
    API_FIELD_USER,
    API_FIELD_SESSION,
    API_FIELD_MODEL,
    API_FIELD_BATCH,
    API_FIELD_SINCE,
    API_FIELD_LIMIT,
    API_FIELD_AFTER,
    API_FIELD_END,
};

void api_generations_list(struct exchange *x, genrun *g) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    struct api_reply_page page;
    api_reply_filter(x, &filter);
    // Two conditions may leave little of very many rows.
    int conditions = (filter.status != NULL) + (filter.user || exchange_user(x)) + (filter.session != NULL) +
                     (filter.model != NULL) + (filter.batch != NULL) + (filter.since != 0);
    if (api_reply_is_moved(x, &filter, conditions > 1 || filter.since))
        return;
    exchange_bound(x, g);
    api_reply_page_begin(x, &page);
    int code = genrun_list(g, &filter, api_reply_page_row, &page);
    api_reply_list(x, g, code, &page);
}

const struct field api_generations_failed_query[] = {
    {.name = "hoursAgo",
     .kind = FIELD_INTEGER,
     .least = 1,
     .most = 87600,
     .help = "of so many hours, 24 by default"},
    API_FIELD_SESSION,
    API_FIELD_MODEL,
    API_FIELD_ROWS,
    API_FIELD_AFTER,
    API_FIELD_END,
};

// What failed, the newest first: of a user's key that user's.
void api_generations_failed(struct exchange *x, genrun *g) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    struct api_reply_page page;
    filter.limit = 100;
    api_reply_filter(x, &filter);
    filter.since = api_reply_hours_ago(x);
    api_reply_page_begin(x, &page);
    int code = genrun_failures(g, &filter, NULL, api_reply_page_row, &page);
    api_reply_list(x, g, code, &page);
}

// ---- one ----

// The outputs of a row, with the content of those that are text, as long as there is room. *moved: they are too much for
// the loop, and the answer is made on a worker.
static int write_outputs(struct buf *out, struct exchange *x, genrun *g, const genrun_row *row, bool *moved) {
    const char *text = genrun_row_text(row, "outputs"), *id = genrun_row_text(row, "id");
    cJSON *list = NULL;
    const cJSON *entry;
    struct err ignored;
    int64_t room = INLINE_BYTES;
    int code = 0;
    buf_char(out, '[');
    if (text && json_parse(text, strlen(text), &list, &ignored))
        list = NULL;
    cJSON_ArrayForEach(entry, list) {
        genrun_row *output = NULL;
        size_t length = 0;
        int64_t bytes = json_integer(entry, "bytes", 0), index = json_integer(entry, "index", 0);
        bool fits = bytes <= room && !code;
        if (fits)
            code = genrun_output(g, &output, id, (int)index);
        const char *content = output ? genrun_row_bytes(output, "content", &length) : NULL;
        bool shown = content && text_is_utf8(content, length) && !memchr(content, 0, length);
        buf_text(out, out->data[out->length - 1] == '[' ? "{" : ",{");
        json_write_member_integer(out, "index", index);
        json_write_member_text(out, "mime", json_text(entry, "mime", NULL));
        json_write_member_integer(out, "bytes", bytes);
        json_write_member_bool(out, "partial", json_bool(entry, "partial", false));
        json_write_key(out, "content");
        if (shown)
            json_write_bytes(out, content, length);
        else
            buf_text(out, "null");
        buf_char(out, '}');
        room -= shown ? bytes : 0;
        genrun_row_free(output);
        if ((*moved = exchange_outgrows(x, out->length)))
            break;
    }
    buf_char(out, ']');
    cJSON_Delete(list);
    return code;
}

void api_generations_get(struct exchange *x, genrun *g) {
    static const char *const without[] = {"outputs", NULL};
    genrun_row *row = NULL;
    struct buf json, outputs;
    bool moved = false;
    exchange_bound(x, g);
    int code = genrun_get(g, &row, exchange_segment(x, "id"));
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    buf_init(&json, BUF_UNLIMITED);
    buf_init(&outputs, BUF_UNLIMITED);
    buf_text(&outputs, "\"outputs\":");
    code = write_outputs(&outputs, x, g, row, &moved);
    if (!moved && !code)
        json_object_edit(&json, genrun_row_json(row), without, buf_borrow(&outputs));
    if (code)
        exchange_failed(x, g, code);
    else if (!moved)
        exchange_json(x, 200, &json);
    buf_free(&json);
    buf_free(&outputs);
    genrun_row_free(row);
}

// The bytes themselves. What a model made may be a page with a script: a browser must not run it as ours.
void api_generations_output(struct exchange *x, genrun *g) {
    genrun_row *row = NULL;
    char *end = NULL;
    size_t length = 0;
    const char *place = exchange_segment(x, "index");
    long index = strtol(place, &end, 10);
    if (*end || end == place || index < 0 || index > 1023) {
        exchange_error(x, 404, NULL, "not_found", NULL, "there is no such output: they are counted from 0");
        return;
    }
    int code = genrun_output(g, &row, exchange_segment(x, "id"), (int)index);
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    const char *content = genrun_row_bytes(row, "content", &length), *mime = genrun_row_text(row, "mime");
    exchange_answer_header(x, "Content-Security-Policy", "sandbox; default-src 'none'");
    exchange_answer_header(x, "Content-Disposition", "attachment");
    exchange_text(x, 200, mime ? mime : "application/octet-stream", content ? content : "", length);
    genrun_row_free(row);
}

const struct field api_generations_logs_query[] = {
    {.name = "after",
     .kind = FIELD_INTEGER,
     .least = 0,
     .most = API_NUMBER_MOST,
     .help = "rows behind this id"},
    {.name = "before",
     .kind = FIELD_INTEGER,
     .least = 1,
     .most = API_NUMBER_MOST,
     .help = "rows before this id instead, the newest first"},
    API_FIELD_ROWS,
    API_FIELD_END,
};

void api_generations_logs(struct exchange *x, genrun *g) {
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.generation = exchange_segment(x, "id");
    api_reply_logs(x, g, &filter);
}

// ---- changes ----

// What it is after a change that went well.
static void tell(struct exchange *x, genrun *g, const char *id, int code, const char *message) {
    char whole[GENRUN_ID_SIZE], status[16];
    if (!code)
        code = host_name(g, whole, status, id);
    if (code)
        exchange_failed(x, g, code);
    else
        api_reply_done(x, status, "generation %s %s", whole, message);
}

const struct field api_generations_reason_body[] = {API_FIELD_REASON, API_FIELD_END};

void api_generations_cancel(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id");
    tell(x, g, id, genrun_cancel(g, id, json_text(exchange_body(x), "reason", NULL)), "is cancelled");
}

void api_generations_fail(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id");
    tell(x, g, id, genrun_fail(g, id, json_text(exchange_body(x), "reason", NULL)), "is failed");
}

void api_generations_retry(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id");
    tell(x, g, id, genrun_retry(g, id), "is queued again");
}

const struct field api_generations_dismiss_body[] = {
    {.name = "undo", .kind = FIELD_FLAG, .help = "take the mark away"}, API_FIELD_END};

void api_generations_dismiss(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id");
    bool undo = json_bool(exchange_body(x), "undo", false);
    tell(x, g, id, genrun_dismiss(g, id, undo), undo ? "counts again" : "is dismissed");
}

void api_generations_recover(struct exchange *x, genrun *g) {
    const char *id = exchange_segment(x, "id");
    tell(x, g, id, genrun_recover(g, id), "is queued again");
}

const struct field api_generations_named_body[] = {
    {.name = "generationId",
     .kind = FIELD_TEXT,
     .least = 1,
     .required = true,
     .help = "its id, or the end of it"},
    API_FIELD_END,
};

void api_generations_recover_named(struct exchange *x, genrun *g) {
    const char *id = json_text(exchange_body(x), "generationId", "");
    tell(x, g, id, genrun_recover(g, id), "is queued again");
}

// ---- run next ----

// Nothing waits for it here: the row tells what becomes of it.
void api_generations_process(struct exchange *x, genrun *g) {
    const char *of = json_text(exchange_body(x), "generationId", "");
    char id[GENRUN_ID_SIZE], status[16];
    struct buf json;
    int asked = 0;
    int code = genrun_process(g, NULL, &asked, of);
    if (!code)
        code = host_name(g, id, status, of);
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    bool skipped = strcmp(status, "cancelled") == 0;
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_bool(&json, "success", true);
    json_write_member_text(&json, "id", id);
    json_write_member_text(&json, "status", status);
    json_write_member_bool(&json, "skipped", skipped);
    json_write_member_text(&json, "message",
                           asked     ? "it runs next"
                           : skipped ? "it is cancelled, and skipped: retry it first"
                                     : "nothing is to be done: it runs, or has ended");
    buf_char(&json, '}');
    point_to(x, id);
    exchange_json(x, asked ? 202 : 200, &json);
    buf_free(&json);
}
