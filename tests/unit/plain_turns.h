// SPDX-License-Identifier: MIT
// The law of turns as it reads, with nothing remembered: every model is asked each time, and what is chosen is taken
// with the plainest SQL. What the queue does faster must choose the same.
#ifndef GENRUN_TESTS_PLAIN_TURNS_H
#define GENRUN_TESTS_PLAIN_TURNS_H

#include "queue_ground.h"

struct plain_model {
    const char *name;
    int free;
    int64_t last_single;
};
struct plain {
    struct db *on;
    struct claim_scope scope;
    struct plain_model *models;
    size_t count;
    int64_t batch_seq;
    size_t single_model, batch_model;
    int credit;
};
struct plain_pick {
    bool found;
    int64_t lane, batch_seq;
    size_t model;
};

#define PLAIN_OPEN "blocked=0 AND ready=1 AND model_id='%s'"
// Is an account of the lane free (or none needed)?
#define PLAIN_FREE                                                                                           \
    "(%d=0 OR user_id='' OR (SELECT count(*) FROM locks k WHERE k.user_id=lane.user_id AND "                 \
    "k.expires_at>%lld)<%d)"

static int64_t __attribute__((format(printf, 2, 3)))
plain_number(const struct plain *p, const char *format, ...) {
    char sql[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(sql, sizeof sql, format, values);
    va_end(values);
    return number_on(p->on, sql);
}

// The lane of a model at a priority whose number (of kind `key`) comes first behind `after`; 0: none.
static int64_t plain_lane(const struct plain *p, size_t i, int64_t priority, bool batch, const char *key,
                          int64_t after) {
    int account = p->scope.account_concurrency;
    return plain_number(p,
                        "SELECT coalesce((SELECT id FROM lane WHERE " PLAIN_OPEN
                        " AND priority=%lld AND (batch_seq<>0)=%d AND %s>%lld AND (%lld=0 OR "
                        "batch_seq=%lld) AND " PLAIN_FREE " ORDER BY %s, id LIMIT 1), 0)",
                        p->models[i].name, (long long)priority, batch, key, (long long)after,
                        (long long)p->scope.only_batch, (long long)p->scope.only_batch, account,
                        (long long)p->scope.now_at, account, key);
}

static struct plain_pick plain_single(const struct plain *p, int64_t priority) {
    for (size_t step = 1; step <= p->count; step++) {
        size_t i = (p->single_model + step) % p->count;
        if (p->models[i].free <= 0)
            continue;
        int64_t lane = plain_lane(p, i, priority, false, "id", p->models[i].last_single);
        if (!lane)
            lane = plain_lane(p, i, priority, false, "id", 0);
        if (lane)
            return (struct plain_pick){.found = true, .lane = lane, .model = i};
    }
    return (struct plain_pick){0};
}

static struct plain_pick plain_batch(const struct plain *p, int64_t priority, int64_t after) {
    struct plain_pick best = {0};
    for (size_t step = 1; step <= p->count; step++) {
        size_t i = (p->batch_model + step) % p->count;
        int64_t lane = p->models[i].free > 0 ? plain_lane(p, i, priority, true, "batch_seq", after) : 0,
                batch;
        if (!lane)
            continue;
        batch = plain_number(p, "SELECT batch_seq FROM lane WHERE id=%lld", (long long)lane);
        if (!best.found || batch < best.batch_seq)
            best = (struct plain_pick){.found = true, .lane = lane, .batch_seq = batch, .model = i};
    }
    return best;
}

// Does a kind wait at the best priority below `below` of a model? *priority is that one.
static bool plain_waits(const struct plain *p, size_t i, int64_t below, int64_t *priority, bool kinds[2]) {
    char scope[64] = "";
    if (p->scope.only_batch)
        snprintf(scope, sizeof scope, " AND batch_seq=%lld", (long long)p->scope.only_batch);
    *priority = plain_number(p, "SELECT max(priority) FROM lane WHERE " PLAIN_OPEN " AND priority<%lld%s",
                             p->models[i].name, (long long)below, scope);
    int64_t waits = plain_number(p, "SELECT count(*) FROM lane WHERE " PLAIN_OPEN " AND priority<%lld%s",
                                 p->models[i].name, (long long)below, scope);
    for (int batch = 0; batch < 2 && waits; batch++)
        kinds[batch] = plain_number(p,
                                    "SELECT count(*) FROM lane WHERE " PLAIN_OPEN
                                    " AND priority=%lld AND (batch_seq<>0)=%d%s",
                                    p->models[i].name, (long long)*priority, batch, scope) > 0;
    return waits > 0;
}

static struct plain_pick plain_choose(const struct plain *p, bool kinds[2]) {
    struct plain_pick pick = {0};
    for (int64_t below = 100000, best; !pick.found; below = best) {
        bool any = false;
        kinds[0] = kinds[1] = false;
        best = INT64_MIN;
        for (size_t i = 0; i < p->count; i++) {
            bool here[2] = {false, false};
            int64_t priority;
            if (p->models[i].free <= 0 || !plain_waits(p, i, below, &priority, here) ||
                (any && priority < best))
                continue;
            if (!any || priority > best)
                kinds[0] = kinds[1] = false;
            any = true;
            best = priority;
            kinds[0] |= here[0];
            kinds[1] |= here[1];
        }
        if (!any)
            return pick;
        if (kinds[0] && (!kinds[1] || p->credit >= 0)) {
            pick = plain_single(p, best);
            kinds[0] = pick.found;
        }
        if (!pick.found && kinds[1]) {
            pick = plain_batch(p, best, p->scope.only_batch ? 0 : p->batch_seq);
            if (!pick.found)
                pick = plain_batch(p, best, 0);
            kinds[1] = pick.found;
        }
        if (!pick.found && kinds[0])
            pick = plain_single(p, best);
    }
    return pick;
}

// The lowest number of the account's that is free.
static int plain_lock(const struct plain *p, int64_t lane) {
    for (int n = 1; n <= p->scope.account_concurrency; n++) {
        type_on(p->on,
                "INSERT INTO locks (name, user_id, owner, acquired_at, expires_at) SELECT "
                "'account:'||user_id||':%d', user_id, 'plain', 1, %lld FROM lane WHERE id=%lld ON CONFLICT "
                "(name) DO UPDATE SET expires_at=excluded.expires_at WHERE locks.expires_at<=%lld",
                n, (long long)(p->scope.now_at + p->scope.lock_ms), (long long)lane,
                (long long)p->scope.now_at);
        if (number_on(p->on, "SELECT changes()") == 1)
            return n;
    }
    return 0;
}

static size_t plain_take(const struct plain *p, const struct plain_pick *pick, int limit, int64_t *seqs) {
    size_t taken = 0;
    bool locking = p->scope.account_concurrency > 0 &&
                   plain_number(p, "SELECT user_id<>'' FROM lane WHERE id=%lld", (long long)pick->lane);
    int lock = locking ? plain_lock(p, pick->lane) : 0;
    assert_true(!locking || lock);
    limit = locking ? 1 : limit;
    for (; taken < (size_t)limit; taken++) {
        int64_t seq = plain_number(p,
                                   "SELECT coalesce((SELECT min(seq) FROM generation WHERE lane=%lld AND "
                                   "status='queued' AND run_after IS NULL AND suspect=0), 0)",
                                   (long long)pick->lane);
        if (!seq)
            break;
        type_on(p->on,
                "UPDATE generation SET status='processing', claim_token='plain', runner_seq=%lld,"
                " started_at=%lld, starts=starts+1, last_step='process:claim', note=NULL WHERE seq=%lld",
                (long long)p->scope.runner_seq, (long long)p->scope.now_at, (long long)seq);
        seqs[taken] = seq;
    }
    if (taken < (size_t)limit)
        type_on(p->on, "UPDATE lane SET ready=0 WHERE id=%lld", (long long)pick->lane);
    if (locking && !taken)
        type_on(p->on,
                "DELETE FROM locks WHERE name=(SELECT 'account:'||user_id||':%d' FROM lane WHERE id=%lld)",
                lock, (long long)pick->lane);
    return taken;
}

// What a claim of `room` takes, in its order; inside of a transaction of `on`.
static size_t plain_claim(struct plain *p, int room, int64_t *seqs) {
    int accounts = p->scope.account_concurrency;
    int helping = room / 8 < 1 || accounts > 0 ? 1 : room / 8 > 8 ? 8 : room / 8;
    size_t count = 0;
    while (room > 0) {
        bool kinds[2];
        struct plain_pick pick = plain_choose(p, kinds);
        if (!pick.found)
            break;
        bool alone = !kinds[0] && pick.batch_seq && pick.batch_seq == p->batch_seq && accounts == 0;
        int limit = alone ? room : helping;
        limit = limit < p->models[pick.model].free ? limit : p->models[pick.model].free;
        limit = limit < room ? limit : room;
        if (pick.batch_seq) {
            int64_t left =
                plain_number(p,
                             "SELECT coalesce(max(0, concurrency - processing_items), 100000) FROM "
                             "batch_count WHERE batch_seq=%lld",
                             (long long)pick.batch_seq);
            if (left <= 0)
                break;
            limit = limit < left ? limit : (int)left;
        }
        int taken = (int)plain_take(p, &pick, limit, seqs + count);
        count += (size_t)taken;
        room -= taken;
        p->models[pick.model].free -= taken;
        if (taken == 0)
            continue;
        if (pick.batch_seq) {
            p->batch_seq = pick.batch_seq;
            p->batch_model = pick.model;
        } else {
            p->single_model = pick.model;
            p->models[pick.model].last_single = pick.lane;
        }
        p->credit = kinds[0] && kinds[1] ? p->credit + (pick.batch_seq ? 2 * taken : -taken) : 0;
    }
    return count;
}

#endif
