// SPDX-License-Identifier: MIT
#include "queue/turn.h"
#include "base/mem.h"
#include <stdlib.h>

// Singles to one batch item while both wait at one priority: between the half that singles have a right to and
// the three quarters that they must not exceed, so that helpings of several do not break either.
#define SHARE_SINGLES 2
#define WINDOW 8 // numbers read at once

// The batch jobs of one model and priority behind `after`, in order.
struct turn_window {
    int64_t priority, after;
    int64_t batch_seq[WINDOW];
    int count; // WINDOW: there may be more
    bool valid;
};

void turn_offer_clear(struct turn_offer *offer) {
    free(offer->window);
    *offer = (struct turn_offer){0};
}

void turn_begin(struct turn_pool *pool) {
    for (size_t i = 0; i < pool->count; i++) {
        pool->offers[i].best.locked = pool->offers[i].lower.locked = false;
        pool->offers[i].search = 0;
    }
}

// ---- what a model offers ----

static int ask_level(const struct turn_pool *pool, size_t i, int64_t below, struct turn_level *level,
                     struct err *e) {
    const char *model_id = pool->slots[i].model_id;
    sqlite3_stmt *s;
    *level = (struct turn_level){0};
    if (pool->scope->only_batch)
        s = db_ask(pool->db, e,
                   "SELECT priority, kind FROM lane WHERE batch_seq=?2 AND batch_seq<>0 AND model_id=?1 "
                   "AND blocked=0"
                   " AND ready=1 AND priority<?3 ORDER BY priority DESC LIMIT 1",
                   "tii", model_id, pool->scope->only_batch, below);
    else
        s = db_ask(pool->db, e,
                   "SELECT priority, kind FROM lane INDEXED BY lane_open WHERE model_id=? AND blocked=0 "
                   "AND ready=1"
                   " AND priority<? ORDER BY priority DESC, kind LIMIT 1",
                   "ti", model_id, below);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(pool->db, s, e);
    if (code == 1) {
        level->priority = db_int(s, 0);
        level->batch = db_int(s, 1) != 0;
        level->single = !level->batch;
    }
    db_done(pool->db, s);
    if (code < 0)
        return ERR_DATABASE;
    if (level->single) {
        // Its singles come first: do batch items wait beside them?
        int64_t beside = 0;
        int result =
            db_integer(pool->db, e, &beside, 0,
                       "SELECT 1 FROM lane INDEXED BY lane_open WHERE model_id=? AND blocked=0 AND ready=1"
                       " AND priority=? AND kind=1 LIMIT 1",
                       "ti", model_id, level->priority);
        if (result)
            return result;
        level->batch = beside != 0;
    }
    level->known = true;
    return 0;
}

// The best level of the model below `below`; NULL on failure.
static struct turn_level *look(const struct turn_pool *pool, size_t i, int64_t below, struct err *e) {
    struct turn_offer *o = &pool->offers[i];
    if (!o->best.known) {
        o->lower.known = false;
        if (o->window)
            o->window->valid = false;
        if (ask_level(pool, i, INT64_MAX, &o->best, e))
            return NULL;
    }
    if (o->best.priority < below || (!o->best.single && !o->best.batch))
        return &o->best;
    if (!o->lower.known || o->below != below) {
        if (ask_level(pool, i, below, &o->lower, e))
            return NULL;
        o->below = below;
    }
    return &o->lower;
}

// The best priority below `below` among the models with free slots, and which kinds wait there.
static int find_head(const struct turn_pool *pool, int64_t below, struct turn_head *head, struct err *e) {
    *head = (struct turn_head){.below = below};
    for (size_t i = 0; i < pool->count; i++) {
        if (pool->slots[i].free <= 0)
            continue;
        const struct turn_level *level = look(pool, i, below, e);
        if (!level)
            return ERR_DATABASE;
        if ((!level->single && !level->batch) || (head->found && level->priority < head->priority))
            continue;
        if (!head->found || level->priority > head->priority)
            *head = (struct turn_head){.found = true, .priority = level->priority, .below = below};
        head->single |= level->single;
        head->batch |= level->batch;
    }
    return 0;
}

// What slot i offers at the head's priority; NULL: nothing. All levels are known since find_head().
static struct turn_level *level_at(const struct turn_pool *pool, size_t i, const struct turn_head *head) {
    struct turn_offer *o = &pool->offers[i];
    bool nothing = !o->best.single && !o->best.batch;
    struct turn_level *level = nothing || o->best.priority < head->below ? &o->best : &o->lower;
    return pool->slots[i].free > 0 && level->priority == head->priority ? level : NULL;
}

// ---- the lane ----

static int ask_lane(struct db *db, sqlite3_stmt *s, struct turn_pick *pick, bool *found, struct err *e) {
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    *found = code == 1;
    if (*found) {
        pick->lane = db_int(s, 0);
        pick->batch_seq = db_int(s, 1);
        pick->has_user = db_int(s, 2) != 0;
    }
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

// Locked accounts are walked past here: a third of a microsecond each.
#define OPEN_LANE                                                                                            \
    "SELECT id, batch_seq, user_id<>'' FROM lane INDEXED BY lane_open WHERE model_id=?1 AND blocked=0 AND "  \
    "ready=1"                                                                                                \
    " AND priority=?2 AND kind=?3"
// Only numbers after the name: the locks of an account "a:b" are not those of "a".
#define UNLOCKED                                                                                             \
    " AND (?4=0 OR lane.user_id='' OR (SELECT count(*) FROM locks k WHERE k.name BETWEEN "                   \
    "'account:'||lane.user_id||':'"                                                                          \
    " AND 'account:'||lane.user_id||':~' AND k.expires_at>?5"                                                \
    " AND substr(k.name, length(lane.user_id)+10) NOT GLOB '*[^0-9]*') < ?4)"

// The next single lane: models in turn, and within a model its lanes (users) in turn.
static int next_single(const struct turn_pool *pool, const struct turn_head *head, struct turn_pick *pick,
                       bool *found, struct err *e) {
    const struct claim_scope *scope = pool->scope;
    int64_t account = scope->account_concurrency;
    *found = false;
    for (size_t step = 1; step <= pool->count; step++) {
        size_t i = (pool->turn->single_model + step) % pool->count;
        struct turn_level *level = level_at(pool, i, head);
        if (!level || !level->single || level->locked)
            continue;
        const struct claim_slot *slot = &pool->slots[i];
        int result = ask_lane(pool->db,
                              db_ask(pool->db, e,
                                     OPEN_LANE " AND batch_seq=0 AND id>?6" UNLOCKED " ORDER BY id LIMIT 1",
                                     "tiiiii", slot->model_id, head->priority, (int64_t)0, account,
                                     scope->now_at, slot->last_single),
                              pick, found, e);
        if (!result && !*found)
            result =
                ask_lane(pool->db,
                         db_ask(pool->db, e, OPEN_LANE " AND batch_seq=0" UNLOCKED " ORDER BY id LIMIT 1",
                                "tiiii", slot->model_id, head->priority, (int64_t)0, account, scope->now_at),
                         pick, found, e);
        if (result || *found) {
            pick->model = i;
            return result;
        }
        // Within one claim locks only become more.
        level->locked = true;
    }
    return 0;
}

static int read_window(const struct turn_pool *pool, size_t i, int64_t priority, int64_t after,
                       struct err *e) {
    struct turn_offer *o = &pool->offers[i];
    int code;
    if (!o->window)
        o->window = mem_alloc(1, sizeof *o->window);
    struct turn_window *w = o->window;
    *w = (struct turn_window){.priority = priority, .after = after};
    sqlite3_stmt *s =
        db_ask(pool->db, e,
               "SELECT batch_seq FROM lane INDEXED BY lane_open WHERE model_id=? AND blocked=0 AND ready=1"
               " AND priority=? AND kind=1 AND batch_seq>? ORDER BY batch_seq LIMIT ?",
               "tiii", pool->slots[i].model_id, priority, after, (int64_t)WINDOW);
    if (!s)
        return ERR_DATABASE;
    while ((code = db_next(pool->db, s, e)) == 1)
        w->batch_seq[w->count++] = db_int(s, 0);
    db_done(pool->db, s);
    w->valid = code == 0;
    return code < 0 ? ERR_DATABASE : 0;
}

// The model's next batch job behind `after`; 0: there is none.
static int next_of_model(const struct turn_pool *pool, size_t i, int64_t priority, int64_t after,
                         int64_t *batch_seq, struct err *e) {
    const struct turn_window *w = pool->offers[i].window;
    int result = 0;
    *batch_seq = 0;
    if (pool->scope->only_batch) {
        *batch_seq = after < pool->scope->only_batch ? pool->scope->only_batch : 0;
        return 0;
    }
    if (!w || !w->valid || w->priority != priority || after < w->after ||
        (w->count == WINDOW && after >= w->batch_seq[WINDOW - 1])) {
        if ((result = read_window(pool, i, priority, after, e)))
            return result;
        w = pool->offers[i].window;
    }
    for (int k = 0; k < w->count && !*batch_seq; k++)
        if (w->batch_seq[k] > after)
            *batch_seq = w->batch_seq[k];
    return 0;
}

// The first batch job behind `after` over all models; where several models serve it, the first in turn.
static int find_batch(const struct turn_pool *pool, const struct turn_head *head, int64_t after,
                      struct turn_pick *pick, struct err *e) {
    *pick = (struct turn_pick){0};
    for (size_t step = 1; step <= pool->count; step++) {
        size_t i = (pool->turn->batch_model + step) % pool->count;
        const struct turn_level *level = level_at(pool, i, head);
        const struct turn_offer *o = &pool->offers[i];
        int64_t from = o->search == pool->searches && o->passed > after ? o->passed : after, seq;
        if (!level || !level->batch)
            continue;
        int result = next_of_model(pool, i, head->priority, from, &seq, e);
        if (result)
            return result;
        if (seq && (!pick->batch_seq || seq < pick->batch_seq))
            *pick = (struct turn_pick){.model = i, .batch_seq = seq};
    }
    return 0;
}

// The next batch in turn over all models. (A batch has one lane for each model and priority: its items share
// their user.)
static int next_batch(struct turn_pool *pool, const struct turn_head *head, int64_t after,
                      struct turn_pick *pick, bool *found, struct err *e) {
    *found = false;
    pool->searches++;
    for (;;) {
        int result = find_batch(pool, head, after, pick, e);
        int64_t seq = pick->batch_seq;
        if (result || !seq)
            return result;
        result = ask_lane(
            pool->db,
            db_ask(pool->db, e,
                   OPEN_LANE " AND batch_seq>?6 AND batch_seq<=?7" UNLOCKED " ORDER BY batch_seq, id LIMIT 1",
                   "tiiiiii", pool->slots[pick->model].model_id, head->priority, (int64_t)1,
                   (int64_t)pool->scope->account_concurrency, pool->scope->now_at, seq - 1, seq),
            pick, found, e);
        if (result || *found)
            return result;
        // Its account is locked.
        struct turn_offer *o = &pool->offers[pick->model];
        o->search = pool->searches;
        o->passed = seq;
    }
}

static int batch_limit(struct db *db, struct turn_pick *pick, struct err *e) {
    int64_t left = 0;
    int result =
        db_integer(db, e, &left, INT32_MAX,
                   "SELECT max(0, concurrency - processing_items) FROM batch_count WHERE batch_seq=?", "i",
                   pick->batch_seq);
    pick->limit = left > INT32_MAX ? INT32_MAX : (int)left;
    return result;
}

// Of the two kinds that wait at one priority. A kind that waits but cannot run now (all its accounts are
// locked) is struck from the head: it earns no credit meanwhile.
static int choose(struct turn_pool *pool, struct turn_head *head, struct turn_pick *pick, bool *found,
                  struct err *e) {
    int result = 0;
    *found = false;
    *pick = (struct turn_pick){.limit = INT32_MAX};
    if (head->single && (!head->batch || pool->turn->credit >= 0)) {
        result = next_single(pool, head, pick, found, e);
        head->single = *found;
    }
    if (!result && !*found && head->batch) {
        int64_t after = pool->scope->only_batch ? 0 : pool->turn->batch_seq;
        result = next_batch(pool, head, after, pick, found, e);
        if (!result && !*found && after > 0)
            result = next_batch(pool, head, 0, pick, found, e);
        if (!result && *found)
            result = batch_limit(pool->db, pick, e);
        head->batch = *found;
    }
    if (!result && !*found && head->single) {
        *pick = (struct turn_pick){.limit = INT32_MAX};
        result = next_single(pool, head, pick, found, e);
    }
    return result;
}

int turn_next(struct turn_pool *pool, struct turn_head *head, struct turn_pick *pick, bool *found,
              struct err *e) {
    *found = false;
    for (int64_t below = INT64_MAX; !*found; below = head->priority) {
        int result = find_head(pool, below, head, e);
        if (result || !head->found)
            return result;
        if ((result = choose(pool, head, pick, found, e)))
            return result;
    }
    return 0;
}

void turn_pass(struct turn_pool *pool, const struct turn_head *head, const struct turn_pick *pick,
               int taken) {
    struct claim_turn *turn = pool->turn;
    if (pick->batch_seq) {
        turn->batch_seq = pick->batch_seq;
        turn->batch_model = pick->model;
        turn->batch_passed = true;
    } else {
        turn->single_model = pick->model;
        turn->single_passed = true;
        pool->slots[pick->model].last_single = pick->lane;
    }
    if (head->single && head->batch)
        turn->credit += pick->batch_seq ? SHARE_SINGLES * taken : -taken;
    else
        turn->credit = 0;
}
