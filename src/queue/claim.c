// SPDX-License-Identifier: MIT
// Claiming: which generation is next. The search walks lanes, never rows, so its
// cost does not depend on how much waits, is parked, paused or delayed.
#include "base/mem.h"
#include "queue/ready.h"
#include <stdio.h>
#include <stdlib.h>

#define CLAIM_ROUNDS 1000 // lanes asked in one call

void claim_clear(struct claim *claim) {
    free(claim->model_id);
    free(claim->user_id);
    free(claim->prompt);
    free(claim->parameters);
    free(claim->endpoint);
    *claim = (struct claim){0};
}

static char *copy_text(sqlite3_stmt *s, int column) {
    return mem_copy(db_text(s, column));
}

static int load_input(struct db *db, struct claim *c, struct err *e) {
    sqlite3_stmt *s =
        db_ask(db, e, "SELECT prompt, parameters, endpoint FROM generation_input WHERE seq=?", "i", c->seq);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1) {
        c->prompt = copy_text(s, 0);
        c->parameters = copy_text(s, 1);
        c->endpoint = copy_text(s, 2);
    }
    db_done(db, s);
    if (code == 0)
        return err_set(e, ERR_DATABASE, "generation %s has no input: restore a backup", c->id);
    return code < 0 ? ERR_DATABASE : 0;
}

// Reads what a claiming UPDATE … RETURNING gives, then the texts.
static int take_rows(struct db *db, sqlite3_stmt *s, struct claim *claims, size_t *count, size_t *taken,
                     struct err *e) {
    size_t first = *count;
    int code;
    if (!s)
        return ERR_DATABASE;
    while ((code = db_next(db, s, e)) == 1) {
        struct claim *c = &claims[(*count)++];
        *c = (struct claim){.seq = db_int(s, 0),
                            .starts = (int)db_int(s, 3),
                            .attempts = (int)db_int(s, 4),
                            .batch_seq = db_int(s, 5),
                            .model_id = copy_text(s, 6),
                            .user_id = copy_text(s, 7),
                            .waiting_since = db_int(s, 8),
                            .suspect = db_int(s, 9) != 0};
        snprintf(c->id, sizeof c->id, "%s", db_text(s, 1));
        snprintf(c->token, sizeof c->token, "%s", db_text(s, 2));
    }
    db_done(db, s);
    if (code < 0)
        return ERR_DATABASE;
    for (size_t i = first; i < *count; i++) {
        int result = load_input(db, &claims[i], e);
        if (result)
            return result;
    }
    *taken = *count - first;
    return 0;
}

#define CLAIM_SET                                                                                            \
    "UPDATE generation SET status='processing', claim_token=lower(hex(randomblob(8))), runner_seq=?1, "      \
    "started_at=?2,"                                                                                         \
    " starts=starts+1, last_step='process:claim', note=NULL WHERE seq IN ("
#define CLAIM_RETURNING                                                                                      \
    ") RETURNING seq, id, claim_token, starts, attempts, batch_seq, model_id, user_id, waiting_since, "      \
    "suspect"

#define OF_LANE "name=(SELECT 'account:'||user_id||':'||?1 FROM lane WHERE id=?2)"

// One that nobody renewed in time changes its owner.
static int take_lapsed(struct db *db, const struct claim_scope *scope, int64_t lane, int number, bool *lapsed,
                       struct err *e) {
    int result = db_run(
        db, e,
        "INSERT INTO event (created_at, level, event, message, data) SELECT ?3, 'warn', 'lock.expired',"
        " 'nobody renewed it', json_object('name', name, 'userId', user_id, 'owner', owner, 'reason', reason)"
        " FROM locks WHERE " OF_LANE " AND expires_at<=?3",
        "iii", (int64_t)number, lane, scope->now_at);
    *lapsed = !result && db_changes(db) == 1;
    return result || !*lapsed
               ? result
               : db_run(
                     db, e,
                     "UPDATE locks SET owner=?3, acquired_at=?4, expires_at=?5, reason=NULL WHERE " OF_LANE,
                     "iitii", (int64_t)number, lane, scope->owner, scope->now_at,
                     scope->now_at + scope->lock_ms);
}

// Takes the lowest free number of the account's locks; *number 0 when all are held.
static int lock_account(struct db *db, const struct claim_scope *scope, int64_t lane, int *number,
                        struct err *e) {
    *number = 0;
    for (int n = 1; n <= scope->account_concurrency; n++) {
        int result =
            db_run(db, e,
                   "INSERT INTO locks (name, user_id, owner, acquired_at, expires_at)"
                   " SELECT 'account:'||user_id||':'||?1, user_id, ?2, ?3, ?4 FROM lane WHERE id=?5"
                   " ON CONFLICT (name) DO NOTHING",
                   "itiii", (int64_t)n, scope->owner, scope->now_at, scope->now_at + scope->lock_ms, lane);
        bool held = !result && db_changes(db) == 0, lapsed = false;
        if (held)
            result = take_lapsed(db, scope, lane, n, &lapsed, e);
        if (result)
            return result;
        if (!held || lapsed) {
            *number = n;
            return 0;
        }
    }
    return 0;
}

// The lock names what it is held for; without anything it is given back.
static int keep_lock(struct db *db, int64_t lane, int number, const struct claim *claim, struct err *e) {
    if (!claim)
        return db_run(db, e, "DELETE FROM locks WHERE " OF_LANE, "ii", (int64_t)number, lane);
    int result =
        db_run(db, e, "UPDATE locks SET reason=?3 WHERE " OF_LANE, "iit", (int64_t)number, lane, claim->id);
    return result
               ? result
               : db_run(
                     db, e,
                     "INSERT INTO event (created_at, level, event, generation_seq, batch_seq, attempt, data)"
                     " SELECT acquired_at, 'debug', 'lock.acquired', ?3, nullif(?4,0), ?5,"
                     " json_object('name', name, 'userId', user_id, 'owner', owner) FROM locks "
                     "WHERE " OF_LANE,
                     "iiiii", (int64_t)number, lane, claim->seq, claim->batch_seq, (int64_t)claim->starts);
}

static int claim_lane(struct db *db, const struct claim_scope *scope, int64_t lane, bool has_user, int limit,
                      struct claim *claims, size_t *count, size_t *taken, struct err *e) {
    int lock = 0;
    int result = 0;
    *taken = 0;
    if (scope->account_concurrency > 0 && has_user) {
        if ((result = lock_account(db, scope, lane, &lock, e)) || !lock)
            return result;
        limit = 1;
    }
    result = take_rows(db,
                       db_ask(db, e,
                              CLAIM_SET "SELECT seq FROM generation INDEXED BY generation_ready WHERE lane=?3"
                                        " AND status='queued' AND run_after IS NULL AND suspect=0"
                                        " ORDER BY seq LIMIT ?4" CLAIM_RETURNING,
                              "iiii", scope->runner_seq, scope->now_at, lane, (int64_t)limit),
                       claims, count, taken, e);
    // Fewer than asked for: nothing is left in it.
    if (!result && *taken < (size_t)limit)
        result = db_run(db, e, "UPDATE lane SET ready=0 WHERE id=?", "i", lane);
    if (!result && lock)
        result = keep_lock(db, lane, lock, *taken ? &claims[*count - 1] : NULL, e);
    return result;
}

static int smallest(int a, int b, int c) {
    int m = a < b ? a : b;
    return m < c ? m : c;
}

static int claim_turns(struct turn_pool *pool, int free, struct claim *claims, size_t *count, struct err *e) {
    const struct claim_scope *scope = pool->scope;
    struct claim_turn *turn = pool->turn;
    // Small helpings keep any hundred starts fair; larger ones save statements when many slots are free.
    int helping = free / 8 < 1 || scope->account_concurrency > 0 ? 1 : free / 8 > 8 ? 8 : free / 8;
    turn->unfinished = false;
    turn_begin(pool);
    for (int round = 0; free > 0; round++) {
        struct turn_head head = {0};
        struct turn_pick pick = {0};
        bool found;
        size_t taken = 0;
        // Many lanes that turn out to be empty must not make one long transaction.
        if (round == CLAIM_ROUNDS) {
            turn->unfinished = true;
            return 0;
        }
        int result = turn_next(pool, &head, &pick, &found, e);
        if (result || !found)
            return result;
        // The same batch job again in its turn: it is the only one, and nobody is passed over by serving it at once.
        bool alone = !head.single && pick.batch_seq && pick.batch_seq == turn->batch_seq;
        int limit = smallest(alone && scope->account_concurrency == 0 ? free : helping,
                             pool->slots[pick.model].free, free);
        if (pick.limit <= 0)
            return 0;
        if ((result = claim_lane(pool->db, scope, pick.lane, pick.has_user,
                                 limit < pick.limit ? limit : pick.limit, claims, count, &taken, e)) ||
            (result = ready_note(turn->ready, pool, pick.lane, pick.model, e)))
            return result;
        // A lane that was empty costs nobody a turn: it is asked no more.
        if (taken > 0)
            turn_pass(pool, &head, &pick, (int)taken);
        pool->slots[pick.model].free -= (int)taken;
        free -= (int)taken;
    }
    return 0;
}

int queue_claim(struct db *db, const struct claim_scope *scope, struct claim_turn *turn,
                struct claim_slot *slots, size_t slot_count, int room, struct claim *claims, size_t *count,
                struct err *e) {
    struct turn_pool pool = {.db = db, .scope = scope, .turn = turn, .slots = slots, .count = slot_count};
    pool.offers = turn->ready ? ready_offers(turn->ready) : mem_alloc(slot_count + 1, sizeof *pool.offers);
    int result = claim_turns(&pool, room, claims, count, e);
    for (size_t i = 0; !turn->ready && i < slot_count; i++)
        turn_offer_clear(&pool.offers[i]);
    if (!turn->ready)
        free(pool.offers);
    return result;
}

static int claim_seq(struct db *db, const struct claim_scope *scope, int64_t seq, bool asked,
                     struct claim *claims, size_t *count, size_t *taken, struct err *e) {
    return take_rows(
        db,
        db_ask(
            db, e,
            // Bits of the lane but 4: a batch at its own limit opens again by itself. What a person asked for runs
            // also while its batch job is paused (bit 1, which a cancelled one has, too).
            CLAIM_SET "SELECT seq FROM generation g WHERE g.seq=?3 AND g.status='queued'"
                      " AND (?4 OR g.run_after IS NULL OR g.run_after<=?2)"
                      " AND EXISTS (SELECT 1 FROM lane l WHERE l.id=g.lane AND l.blocked & (27 - ?4) = 0)"
                      " AND NOT EXISTS (SELECT 1 FROM batch_job b WHERE b.seq=g.batch_seq AND "
                      "b.status='cancelled')" CLAIM_RETURNING,
            "iiii", scope->runner_seq, scope->now_at, seq, (int64_t)asked),
        claims, count, taken, e);
}

int queue_claim_one(struct db *db, const struct claim_scope *scope, int64_t seq, struct claim *claims,
                    size_t *count, struct err *e) {
    size_t taken;
    return claim_seq(db, scope, seq, false, claims, count, &taken, e);
}

int queue_claim_asked(struct db *db, const struct claim_scope *scope, int64_t seq, struct claim *claims,
                      size_t *count, struct err *e) {
    size_t taken = 0;
    int64_t lane = 0;
    int lock = 0;
    int result = scope->account_concurrency > 0
                     ? db_integer(db, e, &lane, 0,
                                  "SELECT lane FROM generation WHERE seq=? AND user_id IS NOT NULL", "i", seq)
                     : 0;
    if (!result && lane && ((result = lock_account(db, scope, lane, &lock, e)) || !lock))
        return result;
    if (!result)
        result = claim_seq(db, scope, seq, true, claims, count, &taken, e);
    if (!result && lock)
        result = keep_lock(db, lane, lock, taken ? &claims[*count - 1] : NULL, e);
    return result;
}

int queue_next_suspect(struct db *db, const struct claim_scope *scope, const char *model_id, int64_t *seq,
                       struct err *e) {
    return db_integer(
        db, e, seq, 0,
        "SELECT g.seq FROM generation g INDEXED BY generation_suspect WHERE g.status='queued' AND g.suspect=1"
        " AND g.model_id=?1 AND (g.run_after IS NULL OR g.run_after<=?2)"
        " AND (?3=0 OR g.batch_seq=?3)"
        " AND EXISTS (SELECT 1 FROM lane l WHERE l.id=g.lane AND l.blocked & 27 = 0)"
        " ORDER BY g.crashes_alone, g.seq LIMIT 1",
        "tii", model_id, scope->now_at, scope->only_batch);
}

bool queue_model_waits(struct db *db, const char *model_id) {
    struct err e;
    int64_t waits = 0;
    int result = db_integer(
        db, &e, &waits, 0,
        "SELECT EXISTS (SELECT 1 FROM lane INDEXED BY lane_open WHERE model_id=?1 AND blocked=0 AND ready=1)"
        " OR EXISTS (SELECT 1 FROM generation g INDEXED BY generation_suspect JOIN lane l ON l.id=g.lane"
        " WHERE g.status='queued' AND g.suspect=1 AND g.model_id=?1 AND l.blocked & 27 = 0)",
        "t", model_id);
    return result != 0 || waits != 0;
}

int queue_next_unlock(struct db *db, const char *owner, int64_t now_at, int64_t *at, struct err *e) {
    return db_integer(db, e, at, 0,
                      "SELECT min(expires_at) FROM locks WHERE name BETWEEN 'account:' AND 'account:~' AND "
                      "expires_at>?2 AND owner<>?1",
                      "ti", owner, now_at);
}

int queue_model_of(struct db *db, int64_t seq, char **model_id, struct err *e) {
    *model_id = NULL;
    sqlite3_stmt *s = db_ask(db, e, "SELECT model_id FROM generation WHERE seq=?", "i", seq);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1)
        *model_id = copy_text(s, 0);
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}
