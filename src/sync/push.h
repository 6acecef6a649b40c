// SPDX-License-Identifier: MIT
// The push: once all rows there are, then what the log says has changed since the last page, read as it is now and written
// to Postgres, one remote transaction a page. At least once, in any order of tries the same result: rows carry the position
// of the log at which they were read, an older one never replaces a newer, and one that is the same is not written again.
#ifndef GENRUN_SYNC_PUSH_H
#define GENRUN_SYNC_PUSH_H

#include "db/db.h"
#include "queue/sync.h"
#include "sync/keys.h"
#include "sync/pg.h"
#include "sync/rowset.h"

// Who keeps what the push finds; each may fail, and the page is then pushed again.
struct push_sink {
    int (*on_page)(void *payload, const struct sync_position *position, struct err *e);
    // Postgres refuses this row and takes the others.
    int (*on_refused)(void *payload, const char *table, const char *key, const char *reason, struct err *e);
    // It has now taken these that it had refused, or they are gone here: their keys, as an array of JSON.
    int (*on_taken)(void *payload, const char *table, const char *keys, struct err *e);
    // These rows of sync_deleted are gone there, from the first place to the last one; drop.h. NULL: it is not used.
    int (*on_dropped)(void *payload, int64_t first, int64_t last, struct err *e);
    void *payload;
};

// What was pushed as it stood when the log had come to `version`: events up to there tell nothing new of it.
struct push_fresh {
    int64_t seq, version;
};
#define PUSH_FRESH_ROWS 16384
#define PUSH_FRESH_BATCHES 64

// A round of second tries for what was refused; retry.h.
struct retry {
    bool thorough;      // however much is refused again: somebody waits for it
    bool on, under_way; // a page is being tried; a round has begun
    int64_t due_ms;     // of the next round; boottime
    int64_t patience;   // refusals that this round may still have
    size_t table;       // where it is: behind this key of this table; NULL: at the table's start
    char *key;
};

struct push {
    struct db *db; // of its own, only read
    struct pg *pg;
    const char *node;
    int page; // events in a page
    struct sync_position at;
    int64_t dropped; // place in sync_deleted that was tried on this connection
    struct push_sink sink;
    bool careful;               // the page was refused: with a savepoint for each statement, down to the row
    int64_t any_refused;        // 1: rows that were refused before are known
    int64_t rows, refused;      // written, and not taken, since the start
    int64_t mark;               // the last one that was written; mark.h
    struct retry retry;         // of what was refused
    char *digests[TABLE_COUNT]; // of the small tables as they were pushed last
    // Lately pushed: generations (batch jobs under the negative of their number), and whole batch jobs with all items.
    struct push_fresh *fresh, whole[PUSH_FRESH_BATCHES];
    size_t whole_next;
    int64_t whole_version;          // of the batch job whose items are being pushed; 0: not known
    struct keys taken[TABLE_COUNT]; // keys, as texts, of what had been refused, until the commit
    char *selects[TABLE_COUNT],
        *upserts[TABLE_COUNT]; // made on first use; SQLite's are cached by their address
};

// The next page; *more: there are others behind it. ERR_REMOTE: the connection or the server; the page is tried
// again with a new one.
int push_page(struct push *p, bool *more, struct err *e) must_check;
bool push_is_walking(const struct push *p); // through all rows, and not at their end
// What is running, for its signs of life.
int push_live(struct push *p, struct err *e) must_check;
// These rows as they are now, generations with their outputs; of one of the tables that belong to the log.
int push_rows(struct push *p, size_t table, const struct keys *keys, struct err *e) must_check;
// A batch job as it is now.
int push_batch(struct push *p, int64_t batch_seq, struct err *e) must_check;
// What it takes for known of the other side may not hold any more: after each new connection.
void push_forget(struct push *p);
void push_clear(struct push *p); // frees what it holds; db and pg are the owner's

#endif
