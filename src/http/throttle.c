// SPDX-License-Identifier: MIT
#include "http/throttle.h"
#include "base/mem.h"
#include <stdlib.h>

#define ADDRESSES 1024
#define WINDOW_MS 60000
#define LOG_GAP_MS 1000
#define LOG_ROWS 60 // in a window

struct caller {
    struct address_network from;
    bool known, logged;
    int failures;      // in its window
    int64_t began_ms;  // of the window
    int64_t seen_ms;   // last
    int64_t logged_ms; // last, when `logged`
    int64_t left_out;  // since then
};

struct throttle {
    int failures;
    struct caller callers[ADDRESSES];
    bool logging;     // a window of the log has begun
    int64_t rows_ms;  // when it did
    int rows;         // in it
    int64_t left_out; // of callers that were forgotten
};

struct throttle *throttle_new(int failures) {
    struct throttle *t = mem_alloc(1, sizeof *t);
    t->failures = failures;
    return t;
}

void throttle_free(struct throttle *t) {
    free(t);
}

static struct caller *find(struct throttle *t, struct address_network from, int64_t now_ms) {
    struct caller *oldest = &t->callers[0];
    for (struct caller *c = t->callers; c < t->callers + ADDRESSES; c++) {
        if (c->known && c->from.high == from.high && c->from.low == from.low) {
            c->seen_ms = now_ms;
            return c;
        }
        if (oldest->known && (!c->known || c->seen_ms < oldest->seen_ms))
            oldest = c;
    }
    t->left_out += oldest->left_out;
    *oldest = (struct caller){.from = from, .known = true, .began_ms = now_ms, .seen_ms = now_ms};
    return oldest;
}

int throttle_failure(struct throttle *t, struct address_network from, bool is_wrong, int64_t now_ms) {
    struct caller *c = find(t, from, now_ms);
    if (now_ms - c->began_ms >= WINDOW_MS) {
        c->began_ms = now_ms;
        c->failures = 0;
    }
    bool over = t->failures > 0 && c->failures >= t->failures;
    if (is_wrong && !over) // who waits does not wait longer for trying
        c->failures++;
    return over ? (int)((c->began_ms + WINDOW_MS - now_ms + 999) / 1000) : 0;
}

bool throttle_log(struct throttle *t, struct address_network from, int64_t now_ms, int64_t *left_out) {
    struct caller *c = find(t, from, now_ms);
    if (!t->logging || now_ms - t->rows_ms >= WINDOW_MS) {
        t->logging = true;
        t->rows_ms = now_ms;
        t->rows = 0;
    }
    *left_out = 0;
    if (t->rows >= LOG_ROWS || (c->logged && now_ms - c->logged_ms < LOG_GAP_MS)) {
        c->left_out++;
        return false;
    }
    t->rows++;
    *left_out = c->left_out;
    c->left_out = 0;
    c->logged = true;
    c->logged_ms = now_ms;
    return true;
}

int64_t throttle_take_left_out(struct throttle *t) {
    int64_t sum = t->left_out;
    t->left_out = 0;
    for (struct caller *c = t->callers; c < t->callers + ADDRESSES; c++) {
        sum += c->left_out;
        c->left_out = 0;
    }
    return sum;
}
