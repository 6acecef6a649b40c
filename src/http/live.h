// SPDX-License-Identifier: MIT
// The live events of a server: follows the log while anybody listens, fills the feed with it, and wakes the streams, at
// most so often. Reading the log takes a few milliseconds of a turn of the loop, whatever the streams need.
#ifndef GENRUN_HTTP_LIVE_H
#define GENRUN_HTTP_LIVE_H

#include "genrun.h"
#include "http/feed.h"
#include <sys/types.h>

#define LIVE_WAKE_MS 20 // commits closer together wake the streams once

struct live;
// `wake` resumes all streams that wait: live_read() is then called for each, in this turn of the loop.
struct live *live_new(genrun *g, void (*wake)(void *payload), void *payload);
void live_free(struct live *l); // after all its streams; NULL is fine
// Rows of the log may have been added.
void live_commit(struct live *l);
// From now on streams end when they have given what is in the log at this moment.
void live_stop(struct live *l);

// ---- a stream ----
struct live_stream;
struct live_start {
    struct feed_filter filter; // ids whole; copied
    int64_t after;             // -1: what comes from now on
    bool seen;                 // the client has seen what comes before `after`
    const char *key;           // exchange_key(): the stream ends when this one is revoked
};
// A code of genrun.h.
int live_open(struct live *l, struct live_stream **out, genrun *g, const struct live_start *start);
// For struct exchange_stream.
ssize_t live_read(void *stream, genrun *g, char *buffer, size_t size);
void live_close(void *stream);

#endif
