// SPDX-License-Identifier: MIT
// GET /api/admin/failed-generations: what failed and what is stuck, and whose it is.
#include "base/json.h"
#include "base/mem.h"
#include "http/api_reply.h"
#include "http/handlers.h"
#include <stdlib.h>
#include <string.h>

#define PEOPLE_MOST 1000 // listed; all are counted

static const char *const kinds[] = {"all", "failed", "stuck", NULL};

const struct field api_report_query[] = {
    {.name = "status", .kind = FIELD_CHOICE, .choices = kinds, .help = "all by default"},
    {.name = "hoursAgo",
     .kind = FIELD_INTEGER,
     .least = 1,
     .most = 87600,
     .help = "failed in so many hours, 24 by default"},
    API_FIELD_USER,
    {.name = "limit",
     .kind = FIELD_INTEGER,
     .least = 1,
     .most = API_LIMIT_MOST,
     .help = "generations, 100 by default"},
    API_FIELD_END,
};

struct person {
    char *id; // NULL: nobody
    char *name, *email;
    int64_t count;
};

struct report {
    bool failed, stuck; // what is wanted
    int64_t failed_count, stuck_count;
    struct person *people;
    size_t people_count;
    struct api_reply_page page; // the generations
    size_t room;                // for so many more
};

static struct person *person_of(struct report *r, const char *id) {
    for (size_t i = 0; i < r->people_count; i++)
        if (id ? r->people[i].id && strcmp(r->people[i].id, id) == 0 : !r->people[i].id)
            return &r->people[i];
    if (r->people_count == PEOPLE_MOST)
        return NULL;
    r->people = mem_resize(r->people, r->people_count + 1, sizeof *r->people);
    r->people[r->people_count] = (struct person){.id = mem_copy(id)};
    return &r->people[r->people_count++];
}

static int count_failed(void *payload, genrun_row *row) {
    struct report *r = payload;
    r->failed_count += genrun_row_integer(row, "failure_count", 0);
    return 0;
}

static int add_failed(void *payload, genrun_row *row) {
    struct person *p = person_of(payload, genrun_row_text(row, "user_id"));
    if (!p)
        return 1;
    p->name = mem_copy(genrun_row_text(row, "user_display_name"));
    p->email = mem_copy(genrun_row_text(row, "email"));
    p->count += genrun_row_integer(row, "failure_count", 0);
    return 0;
}

static int take(void *payload, genrun_row *row) {
    struct report *r = payload;
    if (r->room == 0)
        return 1;
    r->room--;
    return api_reply_page_row(&r->page, row);
}

static int add_stuck(void *payload, genrun_row *row) {
    struct report *r = payload;
    struct person *p = person_of(r, genrun_row_text(row, "user_id"));
    if (p)
        p->count++;
    r->stuck_count++;
    (void)take(r, row);
    return 0;
}

// Names of those who have something stuck and nothing failed: few, as what runs is.
static int add_names(struct report *r, genrun *g) {
    int code = 0;
    for (size_t i = 0; !code && i < r->people_count; i++) {
        genrun_row *row = NULL;
        struct person *p = &r->people[i];
        if (!p->id || p->name || p->email)
            continue;
        code = genrun_user_get(g, &row, p->id);
        if (!code) {
            p->name = mem_copy(genrun_row_text(row, "display_name"));
            p->email = mem_copy(genrun_row_text(row, "email"));
        }
        genrun_row_free(row);
        code = code == GENRUN_NOT_FOUND ? 0 : code;
    }
    return code;
}

// What hangs comes first: it is what somebody waits for.
static int collect(struct report *r, genrun *g, genrun_filter *filter) {
    genrun_filter counted = *filter, alone = GENRUN_FILTER_INIT;
    alone.user = filter->user;
    counted.limit = 0;
    int code = r->stuck ? genrun_stuck(g, &alone, -1, add_stuck, r) : 0;
    if (code || !r->failed)
        return code ? code : add_names(r, g);
    if ((code = genrun_failures(g, &counted, "model", count_failed, r)))
        return code;
    counted.limit = PEOPLE_MOST;
    if ((code = genrun_failures(g, &counted, "user", add_failed, r)) || (code = add_names(r, g)))
        return code;
    filter->limit = (int)r->room;
    return r->room ? genrun_failures(g, filter, NULL, take, r) : 0;
}

static int by_count(const void *a, const void *b) {
    const struct person *p = a, *q = b;
    if (p->count != q->count)
        return p->count < q->count ? 1 : -1;
    return strcmp(p->id ? p->id : "", q->id ? q->id : "");
}

static void write_people(struct buf *out, const struct report *r) {
    buf_char(out, '[');
    for (size_t i = 0; i < r->people_count; i++) {
        buf_text(out, i ? ",{" : "{");
        json_write_member_text(out, "userId", r->people[i].id);
        json_write_member_text(out, "displayName", r->people[i].name);
        json_write_member_text(out, "email", r->people[i].email);
        json_write_member_integer(out, "count", r->people[i].count);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static void answer(struct exchange *x, struct report *r) {
    struct buf json;
    if (r->people_count)
        qsort(r->people, r->people_count, sizeof *r->people, by_count);
    buf_init(&json, BUF_UNLIMITED);
    buf_char(&json, '{');
    json_write_member_integer(&json, "total", r->failed_count + r->stuck_count);
    json_write_key(&json, "summary");
    buf_char(&json, '{');
    json_write_member_integer(&json, "failed", r->failed_count);
    json_write_member_integer(&json, "stuck", r->stuck_count);
    buf_char(&json, '}');
    json_write_key(&json, "byUser");
    write_people(&json, r);
    buf_char(&r->page.json, ']');
    json_write_member_raw(&json, "generations", r->page.json.data + strlen("{\"data\":"));
    buf_char(&json, '}');
    exchange_json(x, 200, &json);
    buf_free(&json);
}

void api_report(struct exchange *x, genrun *g) {
    genrun_filter filter = GENRUN_FILTER_INIT;
    const char *status = exchange_query(x, "status");
    struct report r = {.failed = !status || strcmp(status, "stuck") != 0,
                       .stuck = !status || strcmp(status, "failed") != 0,
                       .room = (size_t)exchange_query_integer(x, "limit", 100)};
    filter.user = api_reply_either(x, "userId", "user");
    filter.since = api_reply_hours_ago(x);
    api_reply_page_begin(x, &r.page);
    int code = collect(&r, g, &filter);
    if (code)
        exchange_failed(x, g, code);
    else
        answer(x, &r);
    buf_free(&r.page.json);
    for (size_t i = 0; i < r.people_count; i++) {
        free(r.people[i].id);
        free(r.people[i].name);
        free(r.people[i].email);
    }
    free(r.people);
}
