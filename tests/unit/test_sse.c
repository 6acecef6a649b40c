// SPDX-License-Identifier: MIT
// Server-sent events: each stream is fed whole, a byte at a time, and split in two at every place.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "provider/sse.h"
#include <stdio.h>
#include <string.h>

static char events[4096];
static int refuse_after; // stop at that event; 0: never

static bool note(void *payload, const char *type, const char *data, size_t length) {
    int *count = payload;
    size_t used = strlen(events);
    assert_int_equal(strlen(data), length);
    snprintf(events + used, sizeof events - used, "[%s|%s]", type, data);
    return ++*count != refuse_after;
}

// Feeds the pieces of `stream` cut at `a`, or single bytes when a is 0.
static void feed(const char *stream, size_t length, size_t a, size_t maximum, bool expect) {
    struct sse sse;
    int count = 0;
    *events = '\0';
    sse_init(&sse, maximum, note, &count);
    bool ok = true;
    if (a) {
        ok = sse_feed(&sse, stream, a) && sse_feed(&sse, stream + a, length - a);
    } else {
        for (size_t i = 0; i < length && ok; i++)
            ok = sse_feed(&sse, stream + i, 1);
    }
    assert_int_equal(ok && sse_end(&sse), expect);
    sse_free(&sse);
}

static void follows_the_grammar(void **state) {
    (void)state;
    const struct {
        const char *stream, *events;
    } cases[] = {
        {"", ""},
        {"\n\n\n", ""},
        {"data: a\n\n", "[|a]"},
        {"data:a\n\ndata:  b\n\n", "[|a][| b]"},
        {"data: a\r\n\r\ndata: b\r\n\r\n", "[|a][|b]"},
        {"data: a\r\rdata: b\r\r", "[|a][|b]"},
        {"data: a\r\n\rdata: b\n\r\n", "[|a][|b]"},
        {"data: one\ndata: two\ndata:\ndata\n\n", "[|one\ntwo\n\n]"},
        {": comment\n\n:\n\ndata: a\n: another\n\n", "[|a]"},
        {"event: error\ndata: x\n\ndata: y\n\n", "[error|x][|y]"},
        {"event: lost\n\ndata: y\n\n", "[|y]"}, // an event without data is none, and its type is forgotten
        {"id: 7\nretry: 10\nother: z\nnocolon\ndata: a\n\n", "[|a]"},
        {"\xef\xbb\xbf"
         "data: a\n\n",
         "[|a]"},
        {"data: a\n\n\xef\xbb\xbf"
         "data: b\n\n",
         "[|a]"}, // a BOM counts at the start only
        {"\xef\xbb"
         "data: a\n\ndata: b\n\n",
         "[|b]"},
        {"data: {\"a\": \"b: c\"}\n\n", "[|{\"a\": \"b: c\"}]"},
        {"data: [DONE]", "[|[DONE]]"}, // closed without the empty line
        {"data: [DONE]\n", "[|[DONE]]"},
        {"data: [DONE]\r", "[|[DONE]]"},
        {"data:\n\n", "[|]"},
        {"data\n\n", "[|]"},
        {" data: a\n\n", ""},
        {"Data: a\n\n", ""},
        {"data: gr\xc3\xbc\xc3\x9f\n\n", "[|gr\xc3\xbc\xc3\x9f]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length = strlen(cases[i].stream);
        for (size_t a = 0; a <= length; a++) {
            feed(cases[i].stream, length, a, 1000, true);
            assert_string_equal(events, cases[i].events);
        }
    }
}

static void a_long_type_is_not_confused(void **state) {
    (void)state;
    char stream[700] = "event: ";
    memset(stream + 7, 'e', 500);
    strncat(stream, "\ndata: a\n\nevent: x\ndata: b\n\n", 100);
    feed(stream, strlen(stream), 0, 1000, true);
    assert_string_equal(events, "[?|a][x|b]");
}

static void more_than_the_maximum_is_refused(void **state) {
    (void)state;
    feed("data: 123\n\n", 11, 0, 9, true);
    feed("data: 1234\n\n", 12, 0, 9, false);
    feed("data: 1234\n\n", 12, 3, 9, false);
    feed(": a long comment\n", 17, 0, 9, false);
    feed("data: 1\ndata: 2\ndata: 3\ndata: 4\n\n", 34, 0, 8, true);
    feed("data: 1\ndata: 2\ndata: 3\ndata: 4\ndata: 5\n\n", 42, 0, 8, false);
}

static void the_receiver_may_stop_it(void **state) {
    (void)state;
    refuse_after = 2;
    feed("data: a\n\ndata: b\n\ndata: c\n\n", 27, 9, 100, false);
    assert_string_equal(events, "[|a][|b]");
    refuse_after = 1;
    feed("data: a", 7, 3, 100, false); // at the end
    refuse_after = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_grammar),
        cmocka_unit_test(a_long_type_is_not_confused),
        cmocka_unit_test(more_than_the_maximum_is_refused),
        cmocka_unit_test(the_receiver_may_stop_it),
    };
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
