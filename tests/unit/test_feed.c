// SPDX-License-Identifier: MIT
// The live feed: what its readers get, byte by byte, from the ring and from behind it; and at random, that each gets
// every row that its filter lets through, once and in order, however large the events and however slow the reader.
#include "base/buf.h"
#include "base/mem.h"
#include "http/feed.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka needs the above
#include <cmocka.h>

// ---- the log ----

#define MOST 4000
struct row {
    struct feed_event event;
    char json[6000];
    bool gone;
};
static struct row *rows; // row i has id i + 1
static int64_t count;
static int64_t page_rows = 3, page_ids = 50;
static int later; // so many of the next pages are refused
static int pages;
static unsigned chance_state;

static unsigned chance(unsigned of) {
    chance_state = chance_state * 1664525u + 1013904223u;
    return (chance_state >> 8) % of;
}

static bool is(const char *wanted, const char *text) {
    return !wanted || (text && strcmp(wanted, text) == 0);
}

static bool passes(const struct feed_filter *f, const struct feed_event *e) {
    static const char order[] = "debug info  warn  error ";
    size_t length = f->event ? strlen(f->event) : 0;
    return is(f->user, e->user) && is(f->batch, e->batch) && is(f->generation, e->generation) &&
           (!f->level || strstr(order, e->level) >= strstr(order, f->level)) &&
           (!f->event || strcmp(f->event, e->event) == 0 ||
            (f->event[length - 1] == '.' && strncmp(f->event, e->event, length) == 0));
}

static enum feed_page source(void *payload, const struct feed_filter *filter, int64_t after, bool whole,
                             feed_take take, void *take_payload, int64_t *looked) {
    (void)payload;
    pages++;
    if (later > 0) {
        later--;
        return FEED_PAGE_LATER;
    }
    int64_t given = 0;
    for (int64_t id = after + 1; id <= count && id <= after + page_ids && given < page_rows; id++) {
        const struct row *row = &rows[id - 1];
        if (row->gone && whole) {
            *looked = count;
            return FEED_PAGE_GONE;
        }
        *looked = id;
        if (!row->gone && passes(filter, &row->event)) {
            given++;
            if (take(take_payload, &row->event))
                return FEED_PAGE_READ;
        }
    }
    return FEED_PAGE_READ;
}

static struct row *add(const char *level, const char *event, const char *user, const char *batch,
                       const char *generation) {
    struct row *row = &rows[count++];
    *row = (struct row){.event = {.id = count,
                                  .level = level,
                                  .event = event,
                                  .user = user,
                                  .batch = batch,
                                  .generation = generation,
                                  .json = row->json}};
    snprintf(row->json, sizeof row->json, "{\"id\":%d}", (int)count);
    return row;
}

static int enter(void **state) {
    rows = mem_alloc(MOST, sizeof *rows);
    count = 0;
    page_rows = 3;
    page_ids = 50;
    later = pages = 0;
    *state = feed_new(8, 4096, source, NULL);
    return 0;
}

static int leave(void **state) {
    feed_free(*state);
    free(rows);
    return 0;
}

static void into(struct feed *f, int64_t upto) {
    while (feed_end(f) < upto)
        feed_add(f, &rows[feed_end(f)].event);
}

// What the reader gives at once, as text.
static const char *fill(struct feed_reader *r, size_t size, int64_t now_ms, enum feed_state wanted) {
    static char text[20000];
    size_t length = 99;
    enum feed_state state = feed_fill(r, text, size, now_ms, &length);
    text[length] = 0;
    if (state != wanted)
        fail_msg("state %d: %s", state, text);
    assert_true(length <= size);
    assert_true((length > 0) == (state == FEED_GIVEN));
    return text;
}

#define GIVES(r, text) assert_string_equal(fill(r, 4000, 0, FEED_GIVEN), text)
#define NOTHING(r, state) fill(r, 4000, 0, state)

// ---- cases ----

static void test_text(void **state) {
    struct feed *f = *state;
    struct feed_reader r;
    feed_begin(f, 0);
    feed_reader_begin(&r, f, &(struct feed_filter){0}, 0, false, 0);
    GIVES(&r, "retry: 2000\n\n");
    NOTHING(&r, FEED_IDLE);
    add("info", "generation.completed", "ann", NULL, "g");
    NOTHING(&r, FEED_IDLE);
    into(f, 1);
    GIVES(&r, "id: 1\nevent: generation.completed\ndata: {\"id\":1}\n\n");
    NOTHING(&r, FEED_IDLE);
    // No line end of a row ends a field.
    strcpy(add("info", "odd", NULL, NULL, NULL)->json, "a\nb\r\nc\rd");
    strcpy(add("info", "odd\nid: 7", NULL, NULL, NULL)->json, "\n");
    into(f, 3);
    GIVES(&r,
          "id: 2\nevent: odd\ndata: a\ndata: b\ndata: c\ndata: d\n\nid: 3\nevent: log\ndata: \ndata: \n\n");
    // Quiet for long: a ping, and one again as long after it.
    assert_string_equal(fill(&r, 100, FEED_PING_MS - 1, FEED_IDLE), "");
    assert_string_equal(fill(&r, 100, FEED_PING_MS, FEED_GIVEN), ": ping\n\n");
    fill(&r, 100, FEED_PING_MS + 1, FEED_IDLE);
    fill(&r, 100, 2 * FEED_PING_MS, FEED_GIVEN);
}

static void test_pieces(void **state) {
    struct feed *f = *state;
    struct feed_reader r;
    char all[200] = "";
    feed_begin(f, 0);
    add("info", "x", NULL, NULL, NULL);
    add("info", "y", NULL, NULL, NULL);
    into(f, 2);
    feed_reader_begin(&r, f, &(struct feed_filter){0}, 0, false, 0);
    // Whole events where they fit: 13 bytes of greeting, 31 each.
    assert_string_equal(fill(&r, 50, 0, FEED_GIVEN), "retry: 2000\n\nid: 1\nevent: x\ndata: {\"id\":1}\n\n");
    for (int i = 0; i < 31; i++)
        strcat(all, fill(&r, 1, 0, FEED_GIVEN));
    assert_string_equal(all, "id: 2\nevent: y\ndata: {\"id\":2}\n\n");
    fill(&r, 1, 0, FEED_IDLE);
}

static void test_filters(void **state) {
    static const struct {
        struct feed_filter filter;
        const char *ids;
    } cases[] = {
        {{0}, "1 2 3 4 5 6 "},
        {{.user = "ann"}, "1 3 "},
        {{.user = "an"}, ""},
        {{.batch = "b"}, "3 4 6 "},
        {{.batch = "b", .user = "ann"}, "3 "},
        {{.generation = "g1"}, "1 "},
        {{.event = "generation.failed"}, "1 4 "},
        {{.event = "generation."}, "1 2 3 4 "},
        {{.event = "generation"}, ""},
        {{.event = "batch."}, "6 "},
        {{.level = "debug"}, "1 2 3 4 5 6 "},
        {{.level = "info"}, "1 3 4 5 6 "},
        {{.level = "warn"}, "1 4 5 "},
        {{.level = "error"}, "1 4 "},
    };
    struct feed *f = *state;
    feed_begin(f, 0);
    add("error", "generation.failed", "ann", NULL, "g1");
    add("debug", "generation.queued", "bob", NULL, "g2");
    add("info", "generation.completed", "ann", "b", "g3");
    add("error", "generation.failed", NULL, "b", "g4");
    add("warn", "lock.expired", NULL, NULL, NULL);
    add("info", "batch.completed", "bob", "b", NULL);
    // From the ring and from behind it.
    for (int behind = 0; behind < 2; behind++) {
        if (behind)
            feed_begin(f, 6);
        else
            into(f, 6);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct feed_reader r;
            char ids[100] = "";
            size_t length;
            feed_reader_begin(&r, f, &cases[i].filter, 0, false, 0);
            for (;;) {
                char text[500];
                enum feed_state now = feed_fill(&r, text, sizeof text - 1, 0, &length);
                if (now == FEED_IDLE)
                    break;
                text[length] = 0;
                for (const char *at = text; length && (at = strstr(at, "id: ")); at += 4)
                    strncat(strncat(ids, at + 4, 1), " ", 2);
            }
            if (strcmp(ids, cases[i].ids) != 0)
                fail_msg("case %zu, %s: %s", i, behind ? "behind the ring" : "ring", ids);
        }
    }
}

static void test_behind(void **state) {
    struct feed *f = *state;
    struct feed_reader r;
    feed_begin(f, 0);
    feed_reader_begin(&r, f, &(struct feed_filter){0}, 0, false, 0);
    // Ten rows in a ring of eight: the first two, and one more, come from the log, and what is in the ring with them.
    for (int i = 0; i < 10; i++)
        add("info", "x", NULL, NULL, NULL);
    into(f, 10);
    later = 2;
    GIVES(&r, "retry: 2000\n\n");
    NOTHING(&r, FEED_LATER);
    const char *text = fill(&r, 4000, 0, FEED_GIVEN);
    assert_ptr_equal(strstr(text, "id: 1\n"), text);
    assert_non_null(strstr(text, "id: 10\n"));
    assert_int_equal(strlen(text), 9 * 31 + 33);
    assert_int_equal(pages, 3);
    NOTHING(&r, FEED_IDLE);
    assert_int_equal(pages, 3); // one that has caught up asks the log no more
    // One that is too large for the ring is read from the log, in pieces.
    struct row *row = add("info", "x", NULL, NULL, NULL);
    memset(row->json, 'z', 5000);
    into(f, 11);
    assert_int_equal(feed_bytes(f), 0);
    size_t length = 0;
    for (int i = 0; i < 6; i++)
        length += strlen(fill(&r, 1000, 0, FEED_GIVEN));
    assert_int_equal(length, strlen("id: 11\nevent: x\ndata: \n\n") + 5000);
    NOTHING(&r, FEED_IDLE);
    // Begun in the ring and pushed out of it: the rest comes from the log.
    add("info", "x", NULL, NULL, NULL);
    into(f, 12);
    assert_string_equal(fill(&r, 20, 0, FEED_GIVEN), "id: 12\nevent: x\ndata");
    for (int i = 0; i < 8; i++)
        add("info", "x", NULL, NULL, NULL);
    into(f, 20);
    assert_string_equal(fill(&r, 13, 0, FEED_GIVEN), ": {\"id\":12}\n\n");
}

static void test_gone(void **state) {
    struct feed *f = *state;
    struct feed_reader r;
    for (int i = 0; i < 10; i++)
        add("info", "x", NULL, NULL, NULL);
    rows[3].gone = rows[4].gone = true;
    feed_begin(f, 10);
    feed_reader_begin(&r, f, &(struct feed_filter){0}, 3, true, 0);
    GIVES(&r, "retry: 2000\n\nid: 10\nevent: reset\ndata: {\"id\":10}\n\n");
    NOTHING(&r, FEED_IDLE);
    // One that has seen nothing misses nothing.
    feed_reader_begin(&r, f, &(struct feed_filter){0}, 3, false, 0);
    const char *text = fill(&r, 4000, 0, FEED_GIVEN);
    assert_ptr_equal(strstr(text, "id:"), strstr(text, "id: 6\n"));
    GIVES(&r, "id: 9\nevent: x\ndata: {\"id\":9}\n\nid: 10\nevent: x\ndata: {\"id\":10}\n\n");
    NOTHING(&r, FEED_IDLE);
    // An id that this log has not reached.
    feed_reader_begin(&r, f, &(struct feed_filter){0}, 50, true, 0);
    feed_reader_reset(&r, 10);
    GIVES(&r, "retry: 2000\n\nid: 10\nevent: reset\ndata: {\"id\":10}\n\n");
    add("info", "x", NULL, NULL, NULL);
    into(f, 11);
    assert_non_null(strstr(fill(&r, 4000, 0, FEED_GIVEN), "id: 11\n"));
    // Deleted when half of it was given: only a new connection helps.
    add("info", "x", NULL, NULL, NULL);
    into(f, 12);
    fill(&r, 20, 0, FEED_GIVEN);
    rows[11].gone = true;
    feed_begin(f, 12);
    NOTHING(&r, FEED_END);
}

static void test_stop(void **state) {
    struct feed *f = *state;
    struct feed_reader r;
    feed_begin(f, 0);
    feed_reader_begin(&r, f, &(struct feed_filter){0}, 0, true, 0);
    GIVES(&r, "retry: 2000\n\n");
    add("info", "x", NULL, NULL, NULL);
    feed_stop(f, 1);
    NOTHING(&r, FEED_IDLE); // what is committed comes first
    into(f, 1);
    GIVES(&r, "id: 1\nevent: x\ndata: {\"id\":1}\n\n");
    NOTHING(&r, FEED_END);
}

// ---- at random ----

#define READERS 12

struct client {
    struct feed_reader reader;
    struct feed_filter filter;
    int64_t after;
    struct buf got;
    bool slow;
};

static const char *pick(const char *const *list, unsigned size) {
    return list[chance(size)];
}

static void add_any(void) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    static const char *const events[] = {"generation.completed", "generation.failed", "batch.paused",
                                         "lock.expired"};
    static const char *const users[] = {NULL, "ann", "bob"};
    static const char *const batches[] = {NULL, "b1", "b2"};
    static const char *const generations[] = {NULL, "g1", "g2", "g3"};
    struct row *row =
        add(pick(levels, 4), pick(events, 4), pick(users, 3), pick(batches, 3), pick(generations, 4));
    size_t size = chance(20) ? chance(200) : chance(5900);
    memset(row->json, 'a' + (int)chance(26), size);
    row->json[size] = 0;
}

static void begin_any(struct client *c, struct feed *f) {
    static const char *const events[] = {NULL, NULL, "generation.failed", "generation."};
    static const char *const users[] = {NULL, NULL, "ann", "bob"};
    static const char *const batches[] = {NULL, NULL, NULL, "b1"};
    static const char *const levels[] = {NULL, NULL, "info", "error"};
    c->filter = (struct feed_filter){.event = pick(events, 4),
                                     .user = pick(users, 4),
                                     .batch = pick(batches, 4),
                                     .level = pick(levels, 4)};
    c->after = chance(3) ? feed_end(f) : chance((unsigned)count + 1);
    c->slow = chance(2);
    buf_clear(&c->got);
    feed_reader_begin(&c->reader, f, &c->filter, c->after, c->after > 0, 0);
}

// What a client should have got, of all rows so far.
static void check(const struct client *c) {
    struct buf wanted;
    buf_init(&wanted, BUF_UNLIMITED);
    buf_text(&wanted, "retry: 2000\n\n");
    for (int64_t id = c->after + 1; id <= count; id++)
        if (passes(&c->filter, &rows[id - 1].event))
            buf_format(&wanted, "id: %d\nevent: %s\ndata: %s\n\n", (int)id, rows[id - 1].event.event,
                       rows[id - 1].json);
    if (strcmp(buf_borrow(&wanted), buf_borrow(&c->got)) != 0)
        fail_msg("after %d: %zu bytes instead of %zu", (int)c->after, c->got.length, wanted.length);
    buf_free(&wanted);
}

static enum feed_state pull(struct client *c, size_t most) {
    static char text[8192];
    size_t size = 1 + chance((unsigned)most), length;
    enum feed_state now = feed_fill(&c->reader, text, size, 0, &length);
    assert_true(length <= size);
    assert_int_not_equal(now, FEED_END);
    buf_append(&c->got, text, length);
    return now;
}

static void test_random(void **state) {
    (void)state;
    struct client clients[READERS] = {0};
    struct feed *f = feed_new(64, 8192, source, NULL);
    chance_state = 7;
    page_rows = 5;
    feed_begin(f, 0);
    for (size_t i = 0; i < READERS; i++) {
        buf_init(&clients[i].got, BUF_UNLIMITED);
        begin_any(&clients[i], f);
    }
    for (int step = 0; count < MOST - 40; step++) {
        for (unsigned n = chance(chance(10) ? 6 : 40); n > 0; n--)
            add_any();
        into(f, count - chance((unsigned)(count - feed_end(f)) + 1)); // the ring may come later than the log
        assert_true(feed_bytes(f) <= 8192);
        later = chance(4) == 0;
        for (size_t i = 0; i < READERS; i++)
            for (unsigned n = clients[i].slow ? chance(30) == 0 : chance(5); n > 0; n--)
                pull(&clients[i], chance(5) ? 4096 : 50);
        if (chance(40) == 0) { // one catches up with all, is judged, and another comes
            struct client *c = &clients[chance(READERS)];
            into(f, count);
            while (pull(c, 8000) != FEED_IDLE)
                ;
            check(c);
            begin_any(c, f);
        }
    }
    into(f, count);
    for (size_t i = 0; i < READERS; i++) {
        while (pull(&clients[i], 8000) != FEED_IDLE)
            ;
        check(&clients[i]);
        buf_free(&clients[i].got);
    }
    assert_true(pages > 100); // some were behind
    feed_free(f);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, enter, leave)
    const struct CMUnitTest tests[] = {CASE(test_text),   CASE(test_pieces), CASE(test_filters),
                                       CASE(test_behind), CASE(test_gone),   CASE(test_stop),
                                       CASE(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
