// SPDX-License-Identifier: MIT
// What is stuck and what failed, and the cursors of lists.
#include "base/text.h"
#include "lib/handle.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ---- cursors ----

// A mark keeps a cursor from being taken for an id or a word, and the other way round.
#define CURSOR_MARK "c_"

int handle_parse_cursor(genrun *g, const char *text, int64_t *after) {
    char *end = NULL;
    long long value = 0;
    *after = 0;
    if (!text)
        return 0;
    errno = 0;
    if (text_starts_with(text, CURSOR_MARK) && isalnum((unsigned char)text[strlen(CURSOR_MARK)]))
        value = strtoll(text + strlen(CURSOR_MARK), &end, 36);
    if (!end || errno || *end || value <= 0)
        return err_in(&g->err, ERR_INVALID, "after",
                      "%s is not a cursor: use the one that the page before gave", text);
    *after = value;
    return 0;
}

static void add_to_cursor(genrun *g, int64_t number) {
    char digits[32];
    size_t n = 0, i = strlen(g->cursor);
    for (int64_t rest = number; rest > 0; rest /= 36)
        digits[n++] = "0123456789abcdefghijklmnopqrstuvwxyz"[rest % 36];
    while (n > 0)
        g->cursor[i++] = digits[--n];
    g->cursor[i] = 0;
}

void handle_cursor(genrun *g, int64_t next) {
    g->cursor[0] = 0;
    if (next <= 0)
        return;
    strcpy(g->cursor, CURSOR_MARK);
    add_to_cursor(g, next);
}

const char *genrun_cursor(const genrun *g) {
    return g->cursor[0] ? g->cursor : NULL;
}

// ---- reports ----

int genrun_stuck(genrun *g, const genrun_filter *filter, int64_t slow_after_ms, genrun_each each,
                 void *payload) {
    struct each e = {each, payload};
    struct filter f;
    int result = handle_filter(g, filter, &f);
    if (!result)
        (void)handle_runner_is_up(g);
    if (!result)
        result = queue_stuck(g->db, &f, slow_after_ms, handle_each_row, &e, &g->err);
    return handle_result(g, result);
}

// "c_TIME.NUMBER": what failed is in the order of its end.
static int parse_failed_cursor(genrun *g, const char *text, struct queue_failed_key *after) {
    char *end = NULL, *last = NULL;
    *after = (struct queue_failed_key){0, 0};
    if (!text)
        return 0;
    errno = 0;
    if (text_starts_with(text, CURSOR_MARK) && isalnum((unsigned char)text[strlen(CURSOR_MARK)]))
        after->at = strtoll(text + strlen(CURSOR_MARK), &end, 36);
    if (end && *end == '.' && isalnum((unsigned char)end[1]))
        after->seq = strtoll(end + 1, &last, 36);
    if (last && !errno && !*last && after->at > 0 && after->seq > 0)
        return 0;
    return err_in(&g->err, ERR_INVALID, "after",
                  "%s is not a cursor of what failed: use the one that the page before gave", text);
}

int genrun_failures(genrun *g, const genrun_filter *filter, const char *by, genrun_each each, void *payload) {
    struct each e = {each, payload};
    genrun_filter unpaged = filter ? *filter : (genrun_filter)GENRUN_FILTER_INIT;
    struct filter f;
    struct queue_failed_key after = {0, 0}, next = {0, 0};
    unpaged.after = NULL;
    int result = handle_filter(g, &unpaged, &f);
    f.dismissed = unpaged.dismissed ? 0 : -1;
    if (!result)
        result = parse_failed_cursor(g, filter ? filter->after : NULL, &after);
    if (!result && by && after.seq)
        result = err_in(&g->err, ERR_INVALID, "after", "counts have no pages: leave the cursor out");
    if (!result && by)
        result = queue_failures_by(g->db, &f, by, handle_each_row, &e, &g->err);
    f.limit = f.limit ? f.limit : HANDLE_LIST_ROWS;
    if (!result && !by)
        result = queue_failures(g->db, &f, &after, handle_each_row, &e, &next, &g->err);
    handle_cursor(g, next.seq ? next.at : 0);
    if (next.seq) {
        memcpy(g->cursor + strlen(g->cursor), ".", 2);
        add_to_cursor(g, next.seq);
    }
    return handle_result(g, result);
}
