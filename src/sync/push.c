// SPDX-License-Identifier: MIT
#include "sync/push.h"
#include "base/mem.h"
#include "queue/sync.h"
#include "sync/send.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what is fresh there ----

static struct push_fresh *fresh_place(struct push *p, int64_t seq) {
    return &p->fresh[(uint64_t)seq % PUSH_FRESH_ROWS];
}

static void set_fresh(struct push *p, int64_t seq, int64_t version) {
    if (!p->fresh)
        p->fresh = mem_alloc(PUSH_FRESH_ROWS, sizeof *p->fresh);
    *fresh_place(p, seq) = (struct push_fresh){seq, version};
}

static bool is_fresh(struct push *p, int64_t seq, int64_t event_id) {
    if (event_id <= p->at.walked)
        return true;
    return p->fresh && fresh_place(p, seq)->seq == seq && event_id <= fresh_place(p, seq)->version;
}

static bool is_whole(const struct push *p, int64_t batch_seq, int64_t event_id) {
    for (size_t i = 0; i < PUSH_FRESH_BATCHES; i++)
        if (p->whole[i].seq == batch_seq && event_id <= p->whole[i].version)
            return true;
    return false;
}

// ---- a page of the log ----

struct page {
    struct keys generations, outputs, retried, batches, logs;
    struct sync_position next;
    int64_t version; // the log had come so far, or further, when its rows were read
    bool full;
};

static void page_is_there(struct push *p, const struct page *page) {
    for (size_t i = 0; i < page->generations.count; i++)
        set_fresh(p, page->generations.numbers[i], page->version);
    for (size_t i = 0; i < page->batches.count; i++)
        set_fresh(p, -page->batches.numbers[i], page->version);
    if (page->next.batch_seq && page->next.item_index < 0)
        p->whole_version = page->version;
    if (p->at.batch_seq && !page->next.batch_seq) {
        p->whole[p->whole_next++ % PUSH_FRESH_BATCHES] =
            (struct push_fresh){p->at.batch_seq, p->whole_version};
        p->whole_version = 0;
    }
}

static void page_free(struct page *page) {
    keys_free(&page->generations);
    keys_free(&page->outputs);
    keys_free(&page->retried);
    keys_free(&page->batches);
    keys_free(&page->logs);
}

static int find_outputs(struct push *p, int64_t seq, struct keys *outputs, struct err *e) {
    sqlite3_stmt *s =
        db_ask(p->db, e, "SELECT key FROM output WHERE key BETWEEN ?1 AND ?1 + 1023", "i", seq * 1024);
    int step = s ? 1 : -1;
    while (s && (step = db_next(p->db, s, e)) > 0)
        keys_add(outputs, db_int(s, 0), NULL);
    db_done(p->db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

bool push_is_walking(const struct push *p) {
    return p->at.walk == SYNC_WALK_BATCH_JOBS || p->at.walk == SYNC_WALK_GENERATIONS;
}

// Outputs go one by one: one may be large. Later starts may have given fewer of them than earlier ones, and a database that
// was set back knows nothing of some.
static int follow(struct push *p, struct page *page, struct err *e) {
    int result = 0;
    for (size_t i = 0; i < page->generations.count && !result; i++) {
        int64_t starts = 0, seq = page->generations.numbers[i];
        result = db_integer(p->db, e, &starts, 0, "SELECT starts FROM generation WHERE seq = ?1", "i", seq);
        if (!result && (starts > 1 || push_is_walking(p)))
            keys_add(&page->retried, seq, NULL);
        if (!result && starts > 0)
            result = find_outputs(p, seq, &page->outputs, e);
    }
    return result;
}

static int read_events(struct push *p, struct page *page, struct err *e) {
    sqlite3_stmt *s =
        db_ask(p->db, e,
               "SELECT e.id, e.generation_seq, coalesce(e.batch_seq, g.batch_seq), e.event='batch.created' "
               "FROM event e LEFT JOIN generation g ON g.seq = e.generation_seq "
               "WHERE e.id > ?1 ORDER BY e.id LIMIT ?2",
               "ii", p->at.log_id, (int64_t)p->page);
    if (!s)
        return ERR_DATABASE;
    int step;
    while ((step = db_next(p->db, s, e)) > 0) {
        page->next.log_id = db_int(s, 0);
        keys_add(&page->logs, db_int(s, 0), NULL);
        int64_t id = db_int(s, 0), generation = db_int(s, 1), batch = db_int(s, 2);
        if (generation && !is_fresh(p, generation, id) && !(batch && is_whole(p, batch, id)))
            keys_add(&page->generations, generation, NULL);
        if (batch && !is_fresh(p, -batch, id))
            keys_add(&page->batches, batch, NULL);
        page->full = page->logs.count == (size_t)p->page;
        if (db_int(s, 3) && id > p->at.walked) { // its items are the next pages
            page->next.batch_seq = batch;
            page->next.item_index = -1;
            page->full = true;
            break;
        }
    }
    db_done(p->db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

static int read_items(struct push *p, struct page *page, struct err *e) {
    sqlite3_stmt *s =
        db_ask(p->db, e,
               "SELECT seq, item_index FROM generation WHERE batch_seq = ?1 AND item_index > ?2 "
               "ORDER BY item_index LIMIT ?3",
               "iii", p->at.batch_seq, p->at.item_index, (int64_t)p->page);
    if (!s)
        return ERR_DATABASE;
    int step;
    while ((step = db_next(p->db, s, e)) > 0) {
        keys_add(&page->generations, db_int(s, 0), NULL);
        page->next.item_index = db_int(s, 1);
    }
    db_done(p->db, s);
    page->full = true; // what came behind the batch job's creation
    if (page->generations.count < (size_t)p->page)
        page->next.batch_seq = page->next.item_index = 0;
    return step < 0 ? ERR_DATABASE : 0;
}

// ---- the walk through all rows, before the log ----

// A walk brings what the log does not tell any more: once for each mirror, and again when somebody set the position to 0.
static int begin_walk(struct push *p, struct err *e) {
    int64_t newest = 0;
    bool anew = p->at.walk == SYNC_WALK_DONE && p->at.log_id == 0 && p->at.walked == 0;
    if (p->at.walk != SYNC_WALK_NONE && !anew)
        return 0;
    int result = db_integer(p->db, e, &newest, 0, QUEUE_SYNC_NEWEST, "");
    if (!result && newest > 0)
        p->at = (struct sync_position){
            .log_id = p->at.log_id, .walk = SYNC_WALK_BATCH_JOBS, .walk_before = INT64_MAX, .walked = newest};
    return result;
}

// From the newest on: what is new since the walk began is none of its business, and stands in the log. Batch jobs first:
// a rule of the mirror's owner may want them there before their items.
static int read_walk(struct push *p, struct page *page, struct err *e) {
    bool jobs = p->at.walk == SYNC_WALK_BATCH_JOBS;
    struct keys *keys = jobs ? &page->batches : &page->generations;
    sqlite3_stmt *s = db_ask(p->db, e,
                             jobs ? "SELECT seq FROM batch_job WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2"
                                  : "SELECT seq FROM generation WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
                             "ii", p->at.walk_before, (int64_t)p->page);
    int step = s ? 1 : -1;
    while (s && (step = db_next(p->db, s, e)) > 0) {
        keys_add(keys, db_int(s, 0), NULL);
        page->next.walk_before = db_int(s, 0);
    }
    db_done(p->db, s);
    page->full = true;
    if (step < 0 || keys->count == (size_t)p->page)
        return step < 0 ? ERR_DATABASE : 0;
    page->next.walk++;
    page->next.walk_before = jobs ? INT64_MAX : 0;
    // The log begins where retention has left it.
    return jobs ? 0
                : db_integer(p->db, e, &page->next.log_id, 0,
                             "SELECT max(?1, coalesce((SELECT min(id) FROM event),"
                             " (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'event')) - 1)",
                             "i", p->at.log_id);
}

static int read_page(struct push *p, struct page *page, struct err *e) {
    int result = begin_walk(p, e);
    page->next = p->at;
    if (!result)
        result = db_integer(p->db, e, &page->version, 0, QUEUE_SYNC_NEWEST, "");
    if (!result)
        result = db_integer(p->db, e, &p->any_refused, 0, "SELECT 1 FROM sync_refused LIMIT 1", "");
    if (!result)
        result = push_is_walking(p) ? read_walk(p, page, e)
                 : p->at.batch_seq  ? read_items(p, page, e)
                                    : read_events(p, page, e);
    if (page->next.log_id >= page->next.walked && page->next.walk == SYNC_WALK_DONE)
        page->next.walked = 0;
    keys_unique(&page->generations);
    keys_unique(&page->batches);
    return result ? result : follow(p, page, e);
}

// Outputs that are there and not here any more.
static int drop_outputs(struct push *p, const struct keys *generations, struct err *e) {
    struct keys outputs = {0};
    struct buf seqs, ids;
    int result = 0;
    if (generations->count == 0)
        return 0;
    for (size_t i = 0; i < generations->count && !result; i++)
        result = find_outputs(p, generations->numbers[i], &outputs, e);
    buf_init(&seqs, BUF_UNLIMITED);
    buf_init(&ids, BUF_UNLIMITED);
    keys_write_numbers(generations, &seqs);
    keys_write_numbers(&outputs, &ids);
    char first[24], last[24];
    snprintf(first, sizeof first, "%lld", (long long)generations->numbers[0] * 1024);
    snprintf(last, sizeof last, "%lld",
             (long long)generations->numbers[generations->count - 1] * 1024 + 1023);
    const char *values[] = {p->node, buf_borrow(&seqs), buf_borrow(&ids), first, last};
    // Those of a walk are neighbours: one range for all of them.
    if (!result && push_is_walking(p))
        result = pg_run(p->pg, NULL, e,
                        "DELETE FROM outputs o WHERE o.node = $1 AND o.id BETWEEN $4::bigint AND $5::bigint "
                        "AND o.id / 1024 = ANY ($2::bigint[]) AND o.id <> ALL ($3::bigint[])",
                        5, values);
    else if (!result)
        result = pg_run(p->pg, NULL, e,
                        "DELETE FROM outputs o USING unnest($2::bigint[]) s WHERE o.node = $1 "
                        "AND o.id BETWEEN s * 1024 AND s * 1024 + 1023 AND o.id <> ALL ($3::bigint[])",
                        3, values);
    buf_free(&seqs);
    buf_free(&ids);
    keys_free(&outputs);
    return result;
}

static int write_page(struct push *p, const struct page *page, bool careful, struct err *e) {
    int result = pg_begin(p->pg, e);
    p->careful = careful;
    if (!result)
        result = send_keys(p, TABLE_GENERATIONS, &page->generations, e);
    if (!result)
        result = drop_outputs(p, &page->retried, e);
    if (!result)
        result = send_keys(p, TABLE_OUTPUTS, &page->outputs, e);
    if (!result)
        result = send_keys(p, TABLE_BATCH_JOBS, &page->batches, e);
    if (!result)
        result = send_keys(p, TABLE_LOGS, &page->logs, e);
    if (!result)
        result = send_commit(p, true, e);
    p->careful = false;
    if (result)
        send_rollback(p);
    return result;
}

static int drop_outputs_of(struct push *p, const struct keys *generations, size_t i, struct err *e) {
    struct keys one = {0};
    struct err why = {0};
    keys_add(&one, generations->numbers[i], NULL);
    int result = pg_begin(p->pg, &why);
    if (!result)
        result = drop_outputs(p, &one, &why);
    if (!result)
        result = send_commit(p, false, &why);
    if (result)
        send_rollback(p);
    if (result == ERR_INVALID)
        result = send_refused(p, TABLE_GENERATIONS, &one, 0, why.message, e);
    else if (result)
        *e = why;
    keys_free(&one);
    return result;
}

// What the commit refuses. What others may point to goes first.
static int write_apart(struct push *p, const struct page *page, struct err *e) {
    int result = send_apart(p, TABLE_BATCH_JOBS, &page->batches, e);
    if (!result)
        result = send_apart(p, TABLE_GENERATIONS, &page->generations, e);
    for (size_t i = 0; i < page->retried.count && !result; i++)
        result = drop_outputs_of(p, &page->retried, i, e);
    if (!result)
        result = send_apart(p, TABLE_OUTPUTS, &page->outputs, e);
    return result ? result : send_apart(p, TABLE_LOGS, &page->logs, e);
}

// Without savepoints first: they cost a way to the server each, and are needed once in a lifetime.
static int write_patiently(struct push *p, const struct page *page, struct err *e) {
    int result = write_page(p, page, false, e);
    if (result == ERR_INVALID)
        result = write_page(p, page, true, e);
    return result == ERR_INVALID ? write_apart(p, page, e) : result;
}

int push_page(struct push *p, bool *more, struct err *e) {
    struct page page = {0};
    *more = false;
    int result = read_page(p, &page, e);
    bool any = page.generations.count || page.logs.count || memcmp(&page.next, &p->at, sizeof p->at) != 0;
    if (!result && any)
        result = write_patiently(p, &page, e);
    if (!result && any)
        result = p->sink.on_page(p->sink.payload, &page.next, e);
    if (!result) {
        page_is_there(p, &page);
        p->at = page.next;
        *more = page.full;
    }
    page_free(&page);
    return result;
}

int push_rows(struct push *p, size_t table, const struct keys *keys, struct err *e) {
    struct page page = {0};
    struct keys *of_page = table == TABLE_GENERATIONS  ? &page.generations
                           : table == TABLE_OUTPUTS    ? &page.outputs
                           : table == TABLE_BATCH_JOBS ? &page.batches
                                                       : &page.logs;
    for (size_t i = 0; i < keys->count; i++)
        keys_add(of_page, keys->numbers[i], NULL);
    int result = follow(p, &page, e);
    if (!result)
        result = write_patiently(p, &page, e);
    page_free(&page);
    return result;
}

int push_batch(struct push *p, int64_t batch_seq, struct err *e) {
    struct keys one = {0};
    keys_add(&one, batch_seq, NULL);
    int result = push_rows(p, TABLE_BATCH_JOBS, &one, e);
    keys_free(&one);
    return result;
}

int push_live(struct push *p, struct err *e) {
    struct page page = {0};
    sqlite3_stmt *s =
        db_ask(p->db, e, "SELECT seq FROM generation WHERE status='processing' ORDER BY seq", "");
    int step = s ? 1 : -1;
    while (s && (step = db_next(p->db, s, e)) > 0)
        keys_add(&page.generations, db_int(s, 0), NULL);
    db_done(p->db, s);
    int result = step < 0 ? ERR_DATABASE : follow(p, &page, e);
    if (!result && page.generations.count)
        result = write_patiently(p, &page, e);
    page_free(&page);
    return result;
}

void push_forget(struct push *p) {
    free(p->fresh);
    p->fresh = NULL;
    memset(p->whole, 0, sizeof p->whole);
    p->whole_version = 0;
    p->dropped = 0;
    p->mark = 0;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        free(p->digests[i]);
        p->digests[i] = NULL;
    }
}

void push_clear(struct push *p) {
    push_forget(p);
    free(p->retry.key);
    p->retry.key = NULL;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        keys_free(&p->taken[i]);
        free(p->selects[i]);
        free(p->upserts[i]);
    }
}
