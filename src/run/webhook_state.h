// SPDX-License-Identifier: MIT
// Inside of src/run/: what webhook.c and webhook_settle.c share.
#ifndef GENRUN_RUN_WEBHOOK_STATE_H
#define GENRUN_RUN_WEBHOOK_STATE_H

#include "run/webhook.h"

struct webhook_place;
struct webhook_going { // a message on its way, or ended and not written down yet
    struct webhook_place *place;
    struct webhook_send *send;
    int64_t *ids;
    size_t count;
    int attempts; // before it
    bool ended;
    struct webhook_going *next;
};

struct webhook_place {
    struct webhooks *all;
    const struct webhook_endpoint *config;
    struct delivery_endpoint state;
    bool opened;
    bool unusable;   // its URL or secret is missing
    bool more;       // the log goes on behind `state.position`
    bool looked;     // since the last change
    int64_t written; // cursor
    int64_t look_ms, cursor_ms, config_ms, burst_ms;
    int64_t due_at;   // wall: the next delivery; 0: none
    int64_t count_ms; // many are pending: counted anew then
    bool uncounted;   // since the last look
    bool unwinding;   // the clock may have been set back since the last process
    int away_count;   // tries since it is away
    struct webhook_going *going;
    size_t going_count;
    int64_t ends[WEBHOOK_ENDS]; // attempts so far, by what came of them
};

struct webhooks {
    struct db *db;
    struct loop *loop;
    struct webhook_place *list;
    size_t count, going_count;
    bool swept;       // what is no longer configured is forgotten
    bool ended;       // something that was on its way has ended
    int64_t changes;  // seen
    int64_t again_ms; // trouble with the database: not before
};

// ---- webhook.c ----
// What others may have changed: enabled, sent again, the times set.
int webhook_look(struct webhook_place *place, struct err *e) must_check;
void webhook_going_free(struct webhook_going *going);

// ---- webhook_settle.c ----
// Writes down all that ended, in one transaction.
int webhook_settle(struct webhooks *webhooks, struct err *e) must_check;

#endif
