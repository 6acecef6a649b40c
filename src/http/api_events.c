// SPDX-License-Identifier: MIT
// GET /api/events: the log as server-sent events.
#include "http/handlers.h"
#include "http/live.h"
#include <stdlib.h>
#include <string.h>

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
const struct field api_events_query[] = {
    {.name = "batchId", .kind = FIELD_TEXT, .most = 64, .help = "only those of this batch job and its items"},
    {.name = "generationId", .kind = FIELD_TEXT, .most = 64, .help = "only those of this generation"},
    {.name = "event",
     .kind = FIELD_TEXT,
     .most = 64,
     .help = "only this one, or all of a kind: generation.failed, batch."},
    {.name = "level", .kind = FIELD_CHOICE, .choices = levels, .help = "only those of at least this level"},
    {.name = "after",
     .kind = FIELD_INTEGER,
     .least = 0,
     .most = INT64_MAX - 1,
     .help =
         "those after this id of the log (0: all), then what comes; the header Last-Event-ID counts more"},
    {.name = NULL},
};

// A whole number of digits, as the ids that this server gave.
static bool parse_id(const char *text, int64_t *id) {
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length > 18 || text[length])
        return false;
    *id = strtoll(text, NULL, 10);
    return true;
}

// A client that comes back says what it saw last; its URL is still that of its first request.
static bool read_start(struct exchange *x, struct live_start *start) {
    const char *last = exchange_header(x, "Last-Event-ID");
    start->after = exchange_query_integer(x, "after", -1);
    start->seen = start->after > 0;
    if (!last || !*last)
        return true;
    if (!parse_id(last, &start->after)) {
        exchange_error(x, 400, NULL, "invalid_value", "Last-Event-ID",
                       "Last-Event-ID is not an id of an event: send the last one that came, or none");
        return false;
    }
    start->seen = true;
    return true;
}

static bool is_event(const char *text) {
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyz_.")] == '\0';
}

// The whole id of what the query names, which must be the caller's; false: answered.
static bool find(struct exchange *x, genrun *g, const char *name,
                 int (*get)(genrun *, genrun_row **, const char *), genrun_row **row, const char **id) {
    const char *given = exchange_query(x, name);
    if (!given)
        return true;
    int code = get(g, row, given);
    if (code != GENRUN_OK) {
        exchange_failed_by(x, g, code, name);
        return false;
    }
    *id = genrun_row_text(*row, "id");
    return true;
}

static void open_stream(struct exchange *x, genrun *g, const struct live_start *start) {
    struct live_stream *stream;
    int code = live_open(exchange_live(x), &stream, g, start);
    if (code != GENRUN_OK) {
        exchange_failed(x, g, code);
        return;
    }
    exchange_answer_header(x, "Cache-Control", "no-cache");
    // The feed pings by itself: it knows when it is between two events.
    exchange_stream(x, "text/event-stream", &(struct exchange_stream){live_read, live_close, stream});
}

void api_events(struct exchange *x, genrun *g) {
    struct live_start start = {0};
    genrun_row *batch = NULL, *generation = NULL;
    start.key = exchange_key(x);
    start.filter.user = exchange_user(x);
    start.filter.event = exchange_query(x, "event");
    start.filter.level = exchange_query(x, "level");
    if (start.filter.event && !is_event(start.filter.event))
        exchange_error(
            x, 400, NULL, "invalid_value", "event",
            "%s is not the name of an event: use one such as generation.failed, or a kind such as batch.",
            start.filter.event);
    else if (read_start(x, &start) && find(x, g, "batchId", genrun_batch_get, &batch, &start.filter.batch) &&
             find(x, g, "generationId", genrun_get, &generation, &start.filter.generation))
        open_stream(x, g, &start);
    genrun_row_free(batch);
    genrun_row_free(generation);
}
