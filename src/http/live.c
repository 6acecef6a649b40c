// SPDX-License-Identifier: MIT
#include "http/live.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/host.h"
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 256
#define TURN_MS 6     // of reading, for the ring and for those behind it each
#define SOON_MS 5     // until there is time again
#define FAILED_MS 250 // until the log is asked again when that failed
#define PING_MS 5000  // how exactly the pings come

struct live {
    genrun *g;
    struct feed *feed;
    struct host_timer *timer;
    struct live_stream *streams;
    void (*wake)(void *payload);
    void *payload;
    int open;
    int64_t woken_ms;
    int64_t reading_ms; // spent since then for streams behind the ring
    bool dirty;         // the log may have more than the ring
    bool later;         // a stream waits for more time
    bool failed;        // the log could not be read
};

struct live_stream {
    struct live *live;
    struct feed_reader reader;
    char *user, *generation, *batch, *event, *level, *key;
    bool revoked; // its key
    struct live_stream *next, **back;
};

// ---- the log ----

static struct feed_event event_of(genrun_row *row) {
    return (struct feed_event){.id = genrun_row_integer(row, "id", 0),
                               .level = genrun_row_text(row, "level"),
                               .event = genrun_row_text(row, "event"),
                               .generation = genrun_row_text(row, "generation_id"),
                               .batch = genrun_row_text(row, "batch_job_id"),
                               .user = genrun_row_text(row, "_user_id"),
                               .json = genrun_row_json(row)};
}

// Whoever listens by a key that was revoked hears no more.
static void end_streams_of(struct live *l, const char *data) {
    cJSON *json = cJSON_Parse(data);
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "keyId"));
    for (struct live_stream *s = l->streams; s && id; s = s->next)
        s->revoked |= text_starts_with(s->key, "key:") && strcmp(s->key + strlen("key:"), id) == 0;
    cJSON_Delete(json);
}

static int add_row(void *payload, genrun_row *row) {
    struct live *l = payload;
    const struct feed_event event = event_of(row);
    feed_add(l->feed, &event);
    if (strcmp(event.event, "key.revoked") == 0)
        end_streams_of(l, genrun_row_text(row, "data"));
    return 0;
}

static bool read_page(struct live *l, const genrun_event_filter *filter, genrun_each each, void *payload,
                      int *code) {
    *code = genrun_events(l->g, filter, each, payload);
    if (*code != GENRUN_OK && *code != GENRUN_NOT_FOUND && !l->failed)
        log_warn("live events wait: %s", genrun_message(l->g));
    l->failed = *code != GENRUN_OK && *code != GENRUN_NOT_FOUND;
    return *code == GENRUN_OK;
}

// What is new goes into the ring.
static void pull(struct live *l) {
    int64_t end_ms = clock_monotonic_ms() + TURN_MS;
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    filter.page = 1;
    filter.limit = PAGE_ROWS;
    while (l->dirty && clock_monotonic_ms() < end_ms) {
        int code;
        filter.after = feed_end(l->feed);
        if (!read_page(l, &filter, add_row, l, &code))
            return;
        feed_looked(l->feed, genrun_event_cursor(l->g));
        l->dirty = feed_end(l->feed) > filter.after;
    }
}

struct page {
    feed_take take;
    void *payload;
};

static int take_row(void *payload, genrun_row *row) {
    const struct page *p = payload;
    const struct feed_event event = event_of(row);
    return p->take(p->payload, &event);
}

static enum feed_page source(void *payload, const struct feed_filter *filter, int64_t after, bool whole,
                             feed_take take, void *take_payload, int64_t *looked) {
    struct live *l = payload;
    struct page page = {take, take_payload};
    genrun_event_filter f = GENRUN_EVENT_FILTER_INIT;
    int64_t began_ms = clock_monotonic_ms(), oldest;
    int code;
    if (l->failed || l->reading_ms >= TURN_MS)
        return FEED_PAGE_LATER;
    f.user = filter->user;
    f.generation = filter->generation;
    f.batch = filter->batch;
    f.event = filter->event;
    f.level = filter->level;
    f.after = after;
    f.page = 1;
    f.limit = PAGE_ROWS;
    f.whole = whole;
    bool read = read_page(l, &f, take_row, &page, &code);
    *looked = genrun_event_cursor(l->g);
    l->reading_ms += clock_monotonic_ms() - began_ms;
    if (read)
        return FEED_PAGE_READ;
    // Deleted: rows of the log, or what was asked for itself.
    if (code == GENRUN_NOT_FOUND && genrun_event_range(l->g, &oldest, looked) == GENRUN_OK)
        return FEED_PAGE_GONE;
    return FEED_PAGE_LATER;
}

// ---- time ----

static void again(struct live *l) {
    if (l->open == 0)
        host_timer_clear(l->timer);
    else
        host_timer_set(l->timer, l->failed ? FAILED_MS : l->dirty || l->later ? SOON_MS : PING_MS);
}

static void turn(struct live *l) {
    l->later = l->failed = false;
    l->reading_ms = 0;
    pull(l);
    l->woken_ms = clock_monotonic_ms();
    // Streams may be read, and may end, in here.
    l->wake(l->payload);
    again(l);
}

static void on_due(void *payload) {
    turn(payload);
}

void live_commit(struct live *l) {
    if (!l || l->open == 0)
        return;
    int64_t passed_ms = clock_monotonic_ms() - l->woken_ms;
    l->dirty = true;
    if (passed_ms >= LIVE_WAKE_MS)
        turn(l);
    else if (!l->failed)
        host_timer_set(l->timer, LIVE_WAKE_MS - passed_ms);
}

void live_stop(struct live *l) {
    int64_t oldest, newest;
    if (genrun_event_range(l->g, &oldest, &newest) != GENRUN_OK)
        newest = feed_end(l->feed);
    feed_stop(l->feed, newest);
    l->dirty = true;
    turn(l);
}

// ---- coming and going ----

struct live *live_new(genrun *g, void (*wake)(void *payload), void *payload) {
    struct live *l = mem_alloc(1, sizeof *l);
    *l = (struct live){.g = g, .wake = wake, .payload = payload};
    l->timer = host_timer_new(g, on_due, l);
    l->feed = feed_new(FEED_EVENTS, FEED_BYTES, source, l);
    return l;
}

void live_free(struct live *l) {
    if (!l)
        return;
    host_timer_free(l->timer);
    feed_free(l->feed);
    free(l);
}

int live_open(struct live *l, struct live_stream **out, genrun *g, const struct live_start *start) {
    int64_t oldest, newest;
    *out = NULL;
    int code = genrun_event_range(g, &oldest, &newest);
    if (code != GENRUN_OK)
        return code;
    if (l->open++ == 0)
        feed_begin(l->feed, newest);
    struct live_stream *s = mem_alloc(1, sizeof *s);
    const struct feed_filter *f = &start->filter;
    *s = (struct live_stream){.live = l,
                              .user = mem_copy(f->user),
                              .generation = mem_copy(f->generation),
                              .batch = mem_copy(f->batch),
                              .event = mem_copy(f->event),
                              .level = mem_copy(f->level),
                              .key = mem_copy(start->key),
                              .next = l->streams,
                              .back = &l->streams};
    if (s->next)
        s->next->back = &s->next;
    l->streams = s;
    const struct feed_filter own = {s->user, s->generation, s->batch, s->event, s->level};
    feed_reader_begin(&s->reader, l->feed, &own, start->after < 0 ? newest : start->after,
                      start->after < 0 || start->seen, clock_monotonic_ms());
    // Of another log: this one was put back from a backup, or begun anew.
    if (start->after > newest)
        feed_reader_reset(&s->reader, newest);
    again(l);
    *out = s;
    return GENRUN_OK;
}

ssize_t live_read(void *stream, genrun *g, char *buffer, size_t size) {
    struct live_stream *s = stream;
    struct live *l = s->live;
    size_t length;
    (void)g;
    if (s->revoked)
        return -1;
    switch (feed_fill(&s->reader, buffer, size, clock_monotonic_ms(), &length)) {
    case FEED_GIVEN:
        return (ssize_t)length;
    case FEED_END:
        return -1;
    case FEED_LATER:
        if (!l->later) {
            l->later = true;
            again(l);
        }
        return 0;
    case FEED_IDLE:
        break;
    }
    return 0;
}

void live_close(void *stream) {
    struct live_stream *s = stream;
    struct live *l = s->live;
    *s->back = s->next;
    if (s->next)
        s->next->back = s->back;
    free(s->key);
    free(s->user);
    free(s->generation);
    free(s->batch);
    free(s->event);
    free(s->level);
    free(s);
    if (--l->open == 0) {
        // Nobody listens: nothing is followed, and the memory is free again.
        feed_begin(l->feed, feed_end(l->feed));
        host_timer_clear(l->timer);
    }
}
