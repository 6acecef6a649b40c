// SPDX-License-Identifier: MIT
// What the handlers of /api have in common: how rows, pages and changes of state are answered, and the parts of their
// tables of fields that recur.
#ifndef GENRUN_HTTP_API_REPLY_H
#define GENRUN_HTTP_API_REPLY_H

#include "http/exchange.h"
#include "http/field.h"

#define API_LIMIT_MOST 1000
#define API_REASON_MOST 1000
#define API_NUMBER_MOST 9007199254740991 // 2^53 - 1: what JSON tells exactly
// A name from outside, of a person, a session, a model.
#define API_NAME_MOST 200

// Members of tables. Where a list takes a word of its command, it takes the name of the member of the row, too.
#define API_FIELD_MODEL                                                                                      \
    {.name = "modelId", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "of this model"}, {   \
        .name = "model", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "the same"           \
    }
#define API_FIELD_USER                                                                                       \
    {.name = "userId",                                                                                       \
     .kind = FIELD_TEXT,                                                                                     \
     .least = 1,                                                                                             \
     .most = API_NAME_MOST,                                                                                  \
     .help = "of this user; a user's key may leave it out"},                                                 \
    {                                                                                                        \
        .name = "user", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "the same"            \
    }
#define API_FIELD_SESSION                                                                                    \
    {.name = "sessionId", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "of this session"}, \
    {                                                                                                        \
        .name = "session", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "the same"         \
    }
#define API_FIELD_BATCH                                                                                      \
    {.name = "batchId", .kind = FIELD_TEXT, .help = "items of this batch job, in their order"}, {            \
        .name = "batch", .kind = FIELD_TEXT, .help = "the same"                                              \
    }
#define API_FIELD_SINCE                                                                                      \
    { .name = "since", .kind = FIELD_DURATION, .help = "of the last 90s, 5m, 3h, 7d" }
#define API_FIELD_LIMIT                                                                                      \
    {                                                                                                        \
        .name = "limit", .kind = FIELD_INTEGER, .least = 1, .most = API_LIMIT_MOST,                          \
        .help = "rows of a page, 20 by default"                                                              \
    }
#define API_FIELD_ROWS                                                                                       \
    {                                                                                                        \
        .name = "limit", .kind = FIELD_INTEGER, .least = 1, .most = API_LIMIT_MOST,                          \
        .help = "rows, 100 by default"                                                                       \
    }
#define API_FIELD_AFTER                                                                                      \
    { .name = "after", .kind = FIELD_TEXT, .help = "nextCursor of the page before" }
#define API_FIELD_REASON                                                                                     \
    { .name = "reason", .kind = FIELD_TEXT, .most = API_REASON_MOST, .help = "kept, and shown" }
#define API_FIELD_END                                                                                        \
    { .name = NULL }

// The member of the query, or the same by its other name.
const char *api_reply_either(const struct exchange *x, const char *name, const char *other);
// A long page, or one that is far to seek, would keep the loop: it is made on a worker (then true, and the handler is
// called again there).
bool api_reply_is_moved(struct exchange *x, const genrun_filter *filter, bool is_far);
// Those of the members above that the query has.
void api_reply_filter(const struct exchange *x, genrun_filter *filter);

int64_t api_reply_ago(int64_t ms); // the time that long ago
// That of the query's hoursAgo, 24 by default.
int64_t api_reply_hours_ago(const struct exchange *x);

// A page of rows: {"data":[…],"nextCursor":…}. It ends early when it has grown long, so that memory stays flat.
struct api_reply_page {
    struct exchange *exchange;
    struct buf json;
    size_t count;
    bool is_moved; // it grew too long for the loop, and is made anew on a worker
};
void api_reply_page_begin(struct exchange *x, struct api_reply_page *page);
int api_reply_page_row(void *payload, genrun_row *row); // a genrun_each
// Takes the page's content and answers with it. cursor NULL: this was the end.
void api_reply_page_end(struct exchange *x, struct api_reply_page *page, const char *cursor);
// The end of a list function: its rows, or why it failed.
void api_reply_list(struct exchange *x, genrun *g, int code, struct api_reply_page *page);

// A page of the log: the rows behind the query's `after`, its `limit` at most (100). nextCursor null: these are the
// newest; where it is not, there may be more, also behind an empty page. With `before` the other way round, towards the
// beginning of the log.
void api_reply_logs(struct exchange *x, genrun *g, genrun_event_filter *filter);

// Answers with the row, and frees it (NULL is fine when code is not 0); or with why it failed.
void api_reply_row(struct exchange *x, genrun *g, int code, int status, genrun_row *row);

// {"success":true,"status":…,"message":…}
void api_reply_done(struct exchange *x, const char *status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
