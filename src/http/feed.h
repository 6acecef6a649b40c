// SPDX-License-Identifier: MIT
// Live events as server-sent events, without sockets. A ring holds the newest rows of the log as text, and any number
// of readers pull from it at their own pace, so a slow one costs no memory: one that falls behind the ring reads from
// the log itself, in short pages, until it has caught up. Every reader gets each row that its filter lets through
// once, in the order of the commits; where rows that it needs were deleted meanwhile, one event `reset` instead.
//
// A row is sent as `id`, `event` and `data` (its JSON). `batch.created` stands for the events generation.queued of all
// items of the batch job: they have none of their own.
#ifndef GENRUN_HTTP_FEED_H
#define GENRUN_HTTP_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FEED_EVENTS 4096
#define FEED_BYTES ((size_t)4 << 20)
#define FEED_PING_MS                                                                                         \
    15000 // a comment after so long without an event: it finds the dead, and keeps proxies open
#define FEED_RETRY_MS 2000 // how long a client waits before it connects again

struct feed_event { // a row of the log; texts are the caller's
    int64_t id;
    const char *level, *event;
    const char *generation, *batch; // ids; NULL: none
    const char *user;               // NULL: nobody's
    const char *json;
};

struct feed_filter { // NULL: any; texts live as long as the reader
    const char *user, *generation, *batch;
    const char *event; // a name, or a prefix that ends in '.'
    const char *level; // at least this
};

// ---- what is behind the ring ----
enum feed_page {
    FEED_PAGE_READ,
    FEED_PAGE_LATER, // nothing was read: not now
    FEED_PAGE_GONE   // rows after `after` were deleted; *looked is the newest id of the log
};
typedef int (*feed_take)(void *payload, const struct feed_event *event); // non-zero ends the page
// Gives rows after `after` that pass the filter, oldest first, as few as it likes; *looked is the id up to which
// there are no others (not used where `take` ended it). whole: FEED_PAGE_GONE is wanted.
typedef enum feed_page (*feed_source)(void *payload, const struct feed_filter *filter, int64_t after,
                                      bool whole, feed_take take, void *take_payload, int64_t *looked);

// ---- the ring ----
struct feed;
struct feed *feed_new(size_t events, size_t bytes, feed_source source, void *payload);
void feed_free(struct feed *f); // after all its readers; NULL is fine
// Empties the ring: what comes after this id is added from now on.
void feed_begin(struct feed *f, int64_t newest);
// Adds the next row; the oldest ones make room.
void feed_add(struct feed *f, const struct feed_event *event);
// All rows up to this id were added.
void feed_looked(struct feed *f, int64_t looked);
int64_t feed_end(const struct feed *f); // rows up to this id were added
size_t feed_bytes(const struct feed *f);
// From now on readers end when they have given what stands in the log up to this id.
void feed_stop(struct feed *f, int64_t newest);

// ---- readers ----
struct feed_reader {
    struct feed *feed;
    struct feed_filter filter;
    int64_t next;     // the id to look at next
    size_t offset;    // of the text of the row `next` that were given already
    size_t length;    // of that text, when offset > 0
    bool whole;       // rows that were deleted since count
    int64_t given_ms; // when it was given something last
    char note[96];    // what is not a row, on its way out
    size_t note_length, note_offset;
};
// Begins after this id. whole: the client has seen what comes before, so a gap after it is told.
void feed_reader_begin(struct feed_reader *r, struct feed *f, const struct feed_filter *filter, int64_t after,
                       bool whole, int64_t now_ms);
// At once after the begin: tells the client to begin anew, since what it knew is not of this log. Goes on after this
// id.
void feed_reader_reset(struct feed_reader *r, int64_t newest);

enum feed_state {
    FEED_GIVEN, // *length bytes
    FEED_IDLE,  // nothing: call again after feed_add(), and after FEED_PING_MS
    FEED_LATER, // nothing, though there may be something: call again soon
    FEED_END    // nothing any more: the client may connect again
};
// The next bytes, at most `size` (1 or more): whole events, and a part of one that is longer than the room. Reads one
// page from the source at most.
enum feed_state feed_fill(struct feed_reader *r, char *buffer, size_t size, int64_t now_ms, size_t *length);

#endif
