// SPDX-License-Identifier: MIT
// What operators ask: stats, failures, models, locks, periodic jobs.
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/api_reply.h"
#include "http/handlers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void api_admin_stats(struct exchange *x, genrun *g) {
    genrun_row *row = NULL;
    int code = genrun_stats(g, &row);
    api_reply_row(x, g, code, 200, row);
}

// ---- lists without pages: of what is few ----

typedef int (*lister)(genrun *g, genrun_each each, void *payload);

static void list(struct exchange *x, genrun *g, lister each_of) {
    struct api_reply_page page;
    api_reply_page_begin(x, &page);
    int code = each_of(g, api_reply_page_row, &page);
    if (!code) {
        api_reply_page_end(x, &page, NULL);
        return;
    }
    api_reply_list(x, g, code, &page);
}

void api_admin_models(struct exchange *x, genrun *g) {
    list(x, g, genrun_models);
}

void api_admin_templates(struct exchange *x, genrun *g) {
    list(x, g, genrun_templates);
}

void api_admin_locks(struct exchange *x, genrun *g) {
    list(x, g, genrun_locks);
}

void api_admin_jobs(struct exchange *x, genrun *g) {
    list(x, g, genrun_jobs);
}

// ---- changes ----

void api_admin_model_resume(struct exchange *x, genrun *g) {
    const char *name = exchange_segment(x, "name");
    int code = genrun_model_resume(g, name);
    if (code)
        exchange_failed(x, g, code);
    else
        api_reply_done(x, "ok", "model %s is open", name);
}

void api_admin_lock_release(struct exchange *x, genrun *g) {
    const char *name = exchange_segment(x, "name");
    int live = 0;
    int code = genrun_lock_release(g, name, &live);
    if (code)
        exchange_failed(x, g, code);
    else
        api_reply_done(x, "released",
                       live ? "lock %s is released; its owner is at work and goes on" : "lock %s is released",
                       name);
}

// ---- failures ----

static const char *const groups[] = {"model", "user", "type", "hour", NULL};

const struct field api_admin_failures_query[] = {
    {.name = "since", .kind = FIELD_DURATION, .help = "of the last 90s, 5m, 3h, 7d; 24h by default"},
    API_FIELD_USER,
    API_FIELD_SESSION,
    API_FIELD_MODEL,
    API_FIELD_BATCH,
    {.name = "type", .kind = FIELD_TEXT, .least = 1, .most = API_NAME_MOST, .help = "of this error type"},
    {.name = "by", .kind = FIELD_CHOICE, .choices = groups, .help = "counts of each instead of the failures"},
    {.name = "dismissed", .kind = FIELD_FLAG, .help = "what is dismissed, too"},
    API_FIELD_ROWS,
    API_FIELD_AFTER,
    API_FIELD_END,
};

void api_admin_failures(struct exchange *x, genrun *g) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    struct api_reply_page page;
    filter.limit = 100;
    api_reply_filter(x, &filter);
    if (!filter.since)
        filter.since = api_reply_ago(24 * INT64_C(3600000));
    filter.error_type = exchange_query(x, "type");
    filter.dismissed = (int)exchange_query_integer(x, "dismissed", 0);
    api_reply_page_begin(x, &page);
    int code = genrun_failures(g, &filter, exchange_query(x, "by"), api_reply_page_row, &page);
    api_reply_list(x, g, code, &page);
}

// ---- a job ----

#define FINDINGS_MOST 1000

const struct field api_admin_job_body[] = {{.name = "dryRun", .kind = FIELD_FLAG, .help = "change nothing"},
                                           API_FIELD_END};

static int take_finding(void *payload, genrun_row *row) {
    struct api_reply_page *page = payload;
    if (page->count < FINDINGS_MOST)
        (void)api_reply_page_row(page, row);
    return 0; // the job goes on
}

struct job_names {
    const char *wanted;
    bool known;
    struct buf list;
};

static int take_job(void *payload, genrun_row *row) {
    struct job_names *names = payload;
    const char *name = genrun_row_text(row, "name");
    names->known |= strcmp(name, names->wanted) == 0;
    buf_format(&names->list, "%s%s", names->list.length ? ", " : "", name);
    return 0;
}

// False: there is no such job, and that was answered.
static bool is_job(struct exchange *x, genrun *g, const char *name) {
    struct job_names names = {.wanted = name};
    struct buf shown;
    buf_init(&names.list, BUF_UNLIMITED);
    int code = genrun_jobs(g, take_job, &names);
    if (code) {
        exchange_failed(x, g, code);
    } else if (!names.known) {
        buf_init(&shown, 512);
        text_escape(&shown, name, strlen(name), 80);
        exchange_error(x, 404, NULL, "not_found", "name", "there is no job '%s': the jobs are %s",
                       buf_borrow(&shown), buf_borrow(&names.list));
        buf_free(&shown);
    }
    buf_free(&names.list);
    return !code && names.known;
}

void api_admin_job(struct exchange *x, genrun *g) {
    struct api_reply_page page;
    genrun_row *summary = NULL;
    if (!is_job(x, g, exchange_segment(x, "name")))
        return;
    bool dry_run = json_bool(exchange_body(x), "dryRun", false);
    api_reply_page_begin(x, &page);
    int code = genrun_job(g, &summary, exchange_segment(x, "name"), dry_run, take_finding, &page);
    if (code) {
        buf_free(&page.json);
        exchange_failed(x, g, code);
        return;
    }
    struct buf json;
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&page.json, ']');
    buf_text(&json, genrun_row_json(summary));
    json.data[--json.length] = 0; // its last brace
    json_write_member_raw(&json, "findings", page.json.data + strlen("{\"data\":"));
    buf_char(&json, '}');
    exchange_json(x, 200, &json);
    buf_free(&json);
    buf_free(&page.json);
    genrun_row_free(summary);
}
