// SPDX-License-Identifier: MIT
// Webhooks: how endpoints fare, what they were sent, a test, sending again. All on a worker: counting and
// testing take their time.
#include "base/json.h"
#include "base/mem.h"
#include "http/api_reply.h"
#include "http/handlers.h"
#include <stdio.h>
#include <stdlib.h>

void api_webhooks_list(struct exchange *x, genrun *g) {
    struct api_reply_page page;
    api_reply_page_begin(x, &page);
    int code = genrun_webhooks(g, api_reply_page_row, &page);
    if (code)
        api_reply_list(x, g, code, &page);
    else
        api_reply_page_end(x, &page, NULL);
}

static const char *const states[] = {"pending", "delivered", "failed", "dropped", NULL};

const struct field api_webhooks_deliveries_query[] = {
    {.name = "status", .kind = FIELD_CHOICE, .choices = states, .help = "in this state"},
    API_FIELD_LIMIT,
    API_FIELD_AFTER,
    API_FIELD_END,
};

void api_webhooks_deliveries(struct exchange *x, genrun *g) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    struct api_reply_page page;
    filter.status = exchange_query(x, "status");
    filter.limit = (int)exchange_query_integer(x, "limit", 0);
    filter.after = exchange_query(x, "after");
    api_reply_page_begin(x, &page);
    int code = genrun_webhook_history(g, exchange_segment(x, "name"), &filter, api_reply_page_row, &page);
    api_reply_list(x, g, code, &page);
}

void api_webhooks_test(struct exchange *x, genrun *g) {
    genrun_row *row = NULL;
    int code = genrun_webhook_test(g, exchange_segment(x, "name"), &row);
    api_reply_row(x, g, code, 200, row);
}

const struct field api_webhooks_redeliver_body[] = {
    {.name = "id", .kind = FIELD_INTEGER, .least = 1, .most = API_NUMBER_MOST, .help = "this delivery"},
    {.name = "messageId", .kind = FIELD_TEXT, .least = 1, .most = 64, .help = "the one of this message"},
    API_FIELD_END,
};

void api_webhooks_redeliver(struct exchange *x, genrun *g) {
    const cJSON *body = exchange_body(x);
    int64_t number = field_body_integer(api_webhooks_redeliver_body, body, "id", 0), count = 0;
    const char *message = json_text(body, "messageId", NULL);
    char id[32];
    struct buf json;
    if (number && message) {
        exchange_error(x, 400, NULL, "invalid_value", "messageId",
                       "id and messageId both name a delivery: give one");
        return;
    }
    snprintf(id, sizeof id, "%lld", (long long)number);
    int code = genrun_webhook_redeliver(g, number ? id : message, exchange_segment(x, "name"), &count);
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_integer(&json, "count", count);
    buf_char(&json, '}');
    exchange_json(x, 200, &json);
    buf_free(&json);
}

void api_webhooks_enable(struct exchange *x, genrun *g) {
    const char *name = exchange_segment(x, "name");
    struct buf json;
    int code = genrun_webhook_enable(g, name);
    if (code) {
        exchange_failed(x, g, code);
        return;
    }
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_text(&json, "name", name);
    json_write_member_bool(&json, "enabled", true);
    buf_char(&json, '}');
    exchange_json(x, 200, &json);
    buf_free(&json);
}
