// SPDX-License-Identifier: MIT
// Inside of src/queue/: whose turn it is. What the lanes of a model offer is asked of the database once and then
// known, until a change of one of its lanes is seen (ready.c); only models that may start something are looked at.
#ifndef GENRUN_QUEUE_TURN_H
#define GENRUN_QUEUE_TURN_H

#include "queue/queue.h"

// The best priority at which open lanes of a model wait, and which kinds wait there; neither: nothing waits.
struct turn_level {
    bool known, single, batch;
    bool locked; // all accounts of the singles are, until the next claim
    int64_t priority;
};
struct turn_window;
struct turn_offer { // of one model; zeroed: unknown
    struct turn_level best;
    struct turn_level lower; // the best one below `below`
    int64_t below;
    struct turn_window *window; // numbers of batch jobs that wait, as far as they were read; owned
    int64_t search, passed;     // in this search its batch jobs up to that number are locked
};
void turn_offer_clear(struct turn_offer *offer);

struct turn_pool { // what one claim chooses from
    struct db *db;
    const struct claim_scope *scope;
    struct claim_turn *turn;
    struct claim_slot *slots;
    struct turn_offer *offers; // as many
    size_t count;
    int64_t searches;
};
struct turn_head {
    bool found;
    int64_t priority, below;
    bool single, batch; // which kinds wait there
};
struct turn_pick {
    int64_t lane;
    int64_t batch_seq;
    bool has_user;
    size_t model;
    int limit; // the batch's own: how many more it may start
};

// Once before the first turn_next() of a claim.
void turn_begin(struct turn_pool *pool);
// The next lane to claim from: at the best priority where one can run.
int turn_next(struct turn_pool *pool, struct turn_head *head, struct turn_pick *pick, bool *found,
              struct err *e) must_check;
// `taken` were started from the lane: whose turn is it now?
void turn_pass(struct turn_pool *pool, const struct turn_head *head, const struct turn_pick *pick, int taken);

#endif
