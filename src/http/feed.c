// SPDX-License-Identifier: MIT
#include "http/feed.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct held { // an event in one piece of memory
    struct feed_event event;
    size_t bytes; // of memory
    size_t length;
    char *text;
};

struct feed {
    struct held **ring;
    size_t room, first, count;
    size_t bytes, bytes_maximum;
    int64_t floor, end; // the ring has all rows after the one, up to the other
    int64_t last;       // of a feed that stops; -1: it goes on
    feed_source source;
    void *payload;
    struct buf text; // of one event, while it is made
};

// ---- text ----

static const char *one_line(const char *text) {
    return text[strcspn(text, "\r\n")] ? "log" : text;
}

// A line end in the data would end the field, so each line gets its own.
static void write_event(struct buf *out, const struct feed_event *event) {
    const char *line = event->json;
    buf_clear(out);
    buf_format(out, "id: %lld\nevent: %s\n", (long long)event->id, one_line(event->event));
    for (;;) {
        size_t length = strcspn(line, "\r\n");
        buf_text(out, "data: ");
        buf_append(out, line, length);
        buf_char(out, '\n');
        line += length;
        if (!*line)
            break;
        line += line[0] == '\r' && line[1] == '\n' ? 2 : 1;
    }
    buf_char(out, '\n');
}

// ---- what passes ----

static int rank(const char *level) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(level, levels[i]) == 0)
            return i;
    return 0;
}

static bool is(const char *wanted, const char *text) {
    return !wanted || (text && strcmp(wanted, text) == 0);
}

static bool passes(const struct feed_filter *f, const struct feed_event *e) {
    if (!is(f->user, e->user) || !is(f->batch, e->batch) || !is(f->generation, e->generation))
        return false;
    if (f->level && rank(e->level) < rank(f->level))
        return false;
    return !f->event || strcmp(f->event, e->event) == 0 ||
           (text_ends_with(f->event, ".") && text_starts_with(e->event, f->event));
}

// ---- the ring ----

struct feed *feed_new(size_t events, size_t bytes, feed_source source, void *payload) {
    struct feed *f = mem_alloc(1, sizeof *f);
    *f = (struct feed){.ring = mem_alloc(events, sizeof *f->ring),
                       .room = events,
                       .bytes_maximum = bytes,
                       .last = -1,
                       .source = source,
                       .payload = payload};
    buf_init(&f->text, BUF_UNLIMITED);
    return f;
}

static void drop_oldest(struct feed *f) {
    struct held *h = f->ring[f->first];
    f->floor = h->event.id;
    f->bytes -= h->bytes;
    f->first = (f->first + 1) % f->room;
    f->count--;
    free(h);
}

void feed_free(struct feed *f) {
    if (!f)
        return;
    while (f->count > 0)
        drop_oldest(f);
    buf_free(&f->text);
    free(f->ring);
    free(f);
}

void feed_begin(struct feed *f, int64_t newest) {
    while (f->count > 0)
        drop_oldest(f);
    f->floor = f->end = newest;
}

static const char *put(char **at, const char *text) {
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    const char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

static size_t size_of(const char *text) {
    return text ? strlen(text) + 1 : 0;
}

void feed_add(struct feed *f, const struct feed_event *e) {
    write_event(&f->text, e);
    size_t bytes = sizeof(struct held) + size_of(e->level) + size_of(e->event) + size_of(e->generation) +
                   size_of(e->batch) + size_of(e->user) + f->text.length;
    while (f->count > 0 && (f->count == f->room || f->bytes + bytes > f->bytes_maximum))
        drop_oldest(f);
    f->end = e->id;
    if (bytes > f->bytes_maximum) {
        f->floor = e->id;
        return;
    }
    struct held *h = mem_alloc(1, bytes);
    char *at = (char *)(h + 1);
    h->event = (struct feed_event){.id = e->id,
                                   .level = put(&at, e->level),
                                   .event = put(&at, e->event),
                                   .generation = put(&at, e->generation),
                                   .batch = put(&at, e->batch),
                                   .user = put(&at, e->user)};
    h->bytes = bytes;
    h->length = f->text.length;
    h->text = memcpy(at, buf_borrow(&f->text), f->text.length);
    f->ring[(f->first + f->count++) % f->room] = h;
    f->bytes += bytes;
}

void feed_looked(struct feed *f, int64_t looked) {
    if (looked > f->end)
        f->end = looked;
}

int64_t feed_end(const struct feed *f) {
    return f->end;
}

size_t feed_bytes(const struct feed *f) {
    return f->bytes;
}

void feed_stop(struct feed *f, int64_t newest) {
    f->last = newest;
}

// The place in the ring of the first row with at least this id.
static size_t place_of(const struct feed *f, int64_t id) {
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (f->ring[(f->first + middle) % f->room]->event.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// ---- readers ----

struct filling {
    struct feed_reader *reader;
    char *buffer;
    size_t size, used;
    bool full;   // of a page: no more is taken
    bool broken; // the rest of what was begun is not to be had
};

static void note_reset(struct feed_reader *r, int64_t newest) {
    r->note_length += (size_t)snprintf(r->note + r->note_length, sizeof r->note - r->note_length,
                                       "id: %lld\nevent: reset\ndata: {\"id\":%lld}\n\n", (long long)newest,
                                       (long long)newest);
    r->next = newest + 1;
}

void feed_reader_begin(struct feed_reader *r, struct feed *f, const struct feed_filter *filter, int64_t after,
                       bool whole, int64_t now_ms) {
    *r = (struct feed_reader){
        .feed = f, .filter = *filter, .next = after + 1, .whole = whole, .given_ms = now_ms};
    r->note_length = (size_t)snprintf(r->note, sizeof r->note, "retry: %d\n\n", FEED_RETRY_MS);
}

void feed_reader_reset(struct feed_reader *r, int64_t newest) {
    note_reset(r, newest);
}

// As much of a text from *offset on as there is room for; true when that was the rest.
static bool give(struct filling *fill, const char *text, size_t length, size_t *offset) {
    size_t room = fill->size - fill->used, rest = length - *offset, part = rest < room ? rest : room;
    memcpy(fill->buffer + fill->used, text + *offset, part);
    fill->used += part;
    *offset += part;
    return part == rest;
}

static bool give_note(struct filling *fill) {
    struct feed_reader *r = fill->reader;
    if (!give(fill, r->note, r->note_length, &r->note_offset))
        return false;
    r->note_length = r->note_offset = 0;
    return true;
}

// A row, or the rest of it; false when there is no room for all of it.
static bool give_row(struct filling *fill, int64_t id, const char *text, size_t length) {
    struct feed_reader *r = fill->reader;
    if (r->offset > 0 && (r->next != id || r->length != length)) {
        fill->broken = true;
        return false;
    }
    // A new one only where it fits, or where nothing fits better.
    if (r->offset == 0 && fill->used > 0 && length > fill->size - fill->used) {
        r->next = id;
        return false;
    }
    r->next = id;
    r->length = length;
    if (!give(fill, text, length, &r->offset))
        return false;
    r->next = id + 1;
    r->offset = 0;
    return true;
}

static bool give_ring(struct filling *fill) {
    struct feed_reader *r = fill->reader;
    struct feed *f = r->feed;
    r->whole = true;
    for (size_t i = place_of(f, r->next); i < f->count; i++) {
        const struct held *h = f->ring[(f->first + i) % f->room];
        if (passes(&r->filter, &h->event) && !give_row(fill, h->event.id, h->text, h->length))
            return false;
    }
    if (r->offset > 0) {
        fill->broken = true;
        return false;
    }
    if (r->next <= f->end)
        r->next = f->end + 1;
    return true;
}

static int take(void *payload, const struct feed_event *event) {
    struct filling *fill = payload;
    struct buf *text = &fill->reader->feed->text;
    write_event(text, event);
    fill->full = !give_row(fill, event->id, buf_borrow(text), text->length);
    return fill->full;
}

static enum feed_state give_page(struct filling *fill) {
    struct feed_reader *r = fill->reader;
    struct feed *f = r->feed;
    int64_t looked = r->next - 1;
    enum feed_page page = f->source(f->payload, &r->filter, r->next - 1, r->whole, take, fill, &looked);
    if (page == FEED_PAGE_LATER)
        return FEED_LATER;
    if (fill->full)
        return FEED_GIVEN;
    if (r->offset > 0) {
        fill->broken = true;
        return FEED_END;
    }
    if (page == FEED_PAGE_GONE)
        note_reset(r, looked);
    else if (looked >= r->next)
        r->next = looked + 1;
    return FEED_GIVEN;
}

// Nothing more is to be had at once.
static enum feed_state rest(struct filling *fill, int64_t now_ms) {
    struct feed_reader *r = fill->reader;
    const struct feed *f = r->feed;
    if (f->last >= 0 && r->next > f->last)
        return FEED_END;
    if (now_ms - r->given_ms < FEED_PING_MS)
        return FEED_IDLE;
    r->note_length = (size_t)snprintf(r->note, sizeof r->note, ": ping\n\n");
    give_note(fill);
    return FEED_GIVEN;
}

enum feed_state feed_fill(struct feed_reader *r, char *buffer, size_t size, int64_t now_ms, size_t *length) {
    struct filling fill = {.reader = r, .buffer = buffer, .size = size};
    enum feed_state state = FEED_GIVEN;
    bool more = give_note(&fill);
    // A row that the log had first may have been begun before the ring has it.
    if (more && (r->next <= r->feed->floor || (r->offset > 0 && r->next > r->feed->end))) {
        state = give_page(&fill);
        // What is new in the ring goes into the same bytes.
        more = state == FEED_GIVEN && !fill.full && !fill.broken && give_note(&fill);
    }
    if (more && r->next > r->feed->floor) {
        more = give_ring(&fill);
        if (more && fill.used == 0)
            state = rest(&fill, now_ms);
    }
    *length = fill.broken ? 0 : fill.used;
    if (fill.broken)
        return FEED_END;
    if (fill.used > 0) {
        r->given_ms = now_ms;
        return FEED_GIVEN;
    }
    // A page in which nothing passed: there is more.
    return state == FEED_GIVEN ? FEED_LATER : state;
}
