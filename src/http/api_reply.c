// SPDX-License-Identifier: MIT
#include "http/api_reply.h"
#include "base/clock.h"
#include "base/json.h"
#include <stdarg.h>
#include <stdio.h>

#define PAGE_BYTES ((size_t)4 << 20)
#define LOG_LOOKS 4
#define LOOP_ROWS 100 // some 4 ms

const char *api_reply_either(const struct exchange *x, const char *name, const char *other) {
    const char *value = exchange_query(x, name);
    return value ? value : exchange_query(x, other);
}

void api_reply_filter(const struct exchange *x, genrun_filter *filter) {
    int64_t since_ms = exchange_query_integer(x, "since", 0);
    filter->status = exchange_query(x, "status");
    filter->user = api_reply_either(x, "userId", "user");
    filter->session = api_reply_either(x, "sessionId", "session");
    filter->model = api_reply_either(x, "modelId", "model");
    filter->batch = api_reply_either(x, "batchId", "batch");
    filter->since = since_ms > 0 ? clock_wall_at() - since_ms : 0;
    filter->limit = (int)exchange_query_integer(x, "limit", filter->limit);
    filter->after = exchange_query(x, "after");
}

int64_t api_reply_ago(int64_t ms) {
    return clock_wall_at() - ms;
}

int64_t api_reply_hours_ago(const struct exchange *x) {
    return clock_wall_at() - exchange_query_integer(x, "hoursAgo", 24) * 3600000;
}

bool api_reply_is_moved(struct exchange *x, const genrun_filter *filter, bool is_far) {
    return (is_far || filter->limit > LOOP_ROWS) && exchange_move(x);
}

// ---- pages ----

void api_reply_page_begin(struct exchange *x, struct api_reply_page *page) {
    *page = (struct api_reply_page){.exchange = x};
    buf_init(&page->json, BUF_UNLIMITED);
    buf_text(&page->json, "{\"data\":[");
}

int api_reply_page_row(void *payload, genrun_row *row) {
    struct api_reply_page *page = payload;
    if (page->count++)
        buf_char(&page->json, ',');
    buf_text(&page->json, genrun_row_json(row));
    page->is_moved = exchange_outgrows(page->exchange, page->json.length);
    return page->is_moved || page->json.length > PAGE_BYTES;
}

void api_reply_page_end(struct exchange *x, struct api_reply_page *page, const char *cursor) {
    buf_char(&page->json, ']');
    json_write_member_text(&page->json, "nextCursor", cursor);
    buf_char(&page->json, '}');
    exchange_json(x, 200, &page->json);
    buf_free(&page->json);
}

void api_reply_list(struct exchange *x, genrun *g, int code, struct api_reply_page *page) {
    if (!code && !page->is_moved) {
        api_reply_page_end(x, page, genrun_cursor(g));
        return;
    }
    buf_free(&page->json);
    if (!page->is_moved)
        exchange_failed(x, g, code);
}

struct log_page {
    struct api_reply_page page;
    int64_t last; // row that was taken
    bool full;
};

static int take_log_row(void *payload, genrun_row *row) {
    struct log_page *p = payload;
    p->last = genrun_row_integer(row, "id", 0);
    p->full = api_reply_page_row(&p->page, row) != 0;
    return p->full;
}

// The newest before an id: nextCursor is the `before` of the page that goes on, null at the beginning.
static void answer_back(struct exchange *x, genrun *g, genrun_event_filter *filter) {
    struct log_page p = {.full = false};
    char cursor[32];
    int code = 0;
    api_reply_page_begin(x, &p.page);
    for (int looks = 0; !code && filter->before && looks < LOG_LOOKS && p.page.count == 0; looks++) {
        code = genrun_events(g, filter, take_log_row, &p);
        filter->before = p.full ? p.last : genrun_event_cursor(g);
    }
    if (code) {
        api_reply_list(x, g, code, &p.page);
        return;
    }
    snprintf(cursor, sizeof cursor, "%lld", (long long)filter->before);
    api_reply_page_end(x, &p.page, filter->before ? cursor : NULL);
}

void api_reply_logs(struct exchange *x, genrun *g, genrun_event_filter *filter) {
    struct log_page p = {.full = false};
    char cursor[32];
    int64_t oldest = 0, newest = 0;
    filter->after = exchange_query_integer(x, "after", 0);
    filter->limit = (int)exchange_query_integer(x, "limit", 100);
    filter->before = exchange_query_integer(x, "before", 0);
    filter->page = 1;
    if (filter->before && exchange_query(x, "after")) {
        exchange_error(x, 400, NULL, "invalid_value", "before",
                       "'before' and 'after' exclude each other: give one of them");
        return;
    }
    exchange_bound(x, g);
    if (filter->before) {
        answer_back(x, g, filter);
        return;
    }
    api_reply_page_begin(x, &p.page);
    int code = genrun_event_range(g, &oldest, &newest);
    // Rows of others are passed over in short pages.
    for (int looks = 0; !code && looks < LOG_LOOKS && p.page.count == 0; looks++) {
        code = genrun_events(g, filter, take_log_row, &p);
        filter->after = p.full ? p.last : genrun_event_cursor(g);
    }
    if (code || p.page.is_moved) {
        api_reply_list(x, g, code, &p.page);
        return;
    }
    snprintf(cursor, sizeof cursor, "%lld", (long long)filter->after);
    api_reply_page_end(x, &p.page, filter->after < newest ? cursor : NULL);
}

// ---- one thing ----

void api_reply_row(struct exchange *x, genrun *g, int code, int status, genrun_row *row) {
    struct buf json;
    if (code) {
        exchange_failed(x, g, code);
    } else {
        buf_init(&json, BUF_UNLIMITED);
        buf_text(&json, genrun_row_json(row));
        exchange_json(x, status, &json);
        buf_free(&json);
    }
    genrun_row_free(row);
}

void api_reply_done(struct exchange *x, const char *status, const char *format, ...) {
    char message[512];
    struct buf json;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_bool(&json, "success", true);
    json_write_member_text(&json, "status", status);
    json_write_member_text(&json, "message", message);
    buf_char(&json, '}');
    exchange_json(x, 200, &json);
    buf_free(&json);
}
