// SPDX-License-Identifier: MIT
// Claiming: which generation is next. The search walks lanes, never rows, so its
// cost does not depend on how much waits, is parked, paused or delayed.
#include "base/mem.h"
#include "queue/queue.h"
#include <stdio.h>
#include <stdlib.h>

// Singles to one batch item while both wait at one priority: between the half that singles have a right to and
// the three quarters that they must not exceed, so that helpings of several do not break either.
#define SHARE_SINGLES 2
#define CLAIM_ROUNDS 1000 // lanes asked in one call

void claim_clear(struct claim *claim) {
    free(claim->model_id);
    free(claim->user_id);
    free(claim->prompt);
    free(claim->parameters);
    free(claim->endpoint);
    *claim = (struct claim){0};
}

int queue_lane_models(struct db *db, char ***names, size_t *count, struct err *e) {
    int more;
    *names = NULL;
    *count = 0;
    // One index search a model, however many lanes each has.
    sqlite3_stmt *s = db_ask(
        db, e,
        "WITH RECURSIVE m(name) AS (SELECT min(model_id) FROM lane UNION ALL"
        " SELECT (SELECT min(model_id) FROM lane WHERE model_id > m.name) FROM m WHERE m.name IS NOT NULL)"
        " SELECT name FROM m WHERE name IS NOT NULL",
        "");
    if (!s)
        return ERR_DATABASE;
    while ((more = db_next(db, s, e)) == 1) {
        *names = mem_resize(*names, *count + 1, sizeof **names);
        (*names)[(*count)++] = mem_copy(db_text(s, 0));
    }
    db_done(db, s);
    return more < 0 ? ERR_DATABASE : 0;
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

// ---- whose turn ----

struct pick {
    int64_t lane;
    int64_t batch_seq;
    bool has_user;
    size_t model;
    int limit; // the batch's own: how many more it may start
};

struct head {
    bool found;
    int64_t priority;
    bool single, batch;
};

// The best priority below `below` among the models with free slots, and which kinds wait there.
static int find_head(struct db *db, const struct claim_scope *scope, const struct claim_slot *slots,
                     size_t slot_count, int64_t below, struct head *head, struct err *e) {
    *head = (struct head){0};
    for (size_t i = 0; i < slot_count; i++) {
        if (slots[i].free <= 0)
            continue;
        sqlite3_stmt *s;
        if (scope->only_batch)
            s = db_ask(db, e,
                       "SELECT priority, kind FROM lane WHERE batch_seq=?2 AND batch_seq<>0 AND model_id=?1 "
                       "AND blocked=0"
                       " AND ready=1 AND priority<?3 ORDER BY priority DESC LIMIT 1",
                       "tii", slots[i].model_id, scope->only_batch, below);
        else
            s = db_ask(db, e,
                       "SELECT priority, kind FROM lane INDEXED BY lane_open WHERE model_id=? AND blocked=0 "
                       "AND ready=1"
                       " AND priority<? ORDER BY priority DESC, kind LIMIT 1",
                       "ti", slots[i].model_id, below);
        if (!s)
            return ERR_DATABASE;
        int code = db_next(db, s, e);
        int64_t priority = code == 1 ? db_int(s, 0) : 0;
        bool batch = code == 1 && db_int(s, 1) != 0;
        db_done(db, s);
        if (code < 0)
            return ERR_DATABASE;
        if (code == 0 || (head->found && priority < head->priority))
            continue;
        if (!head->found || priority > head->priority)
            *head = (struct head){.found = true, .priority = priority};
        head->single |= !batch;
        head->batch |= batch;
        if (!batch && !scope->only_batch) {
            // A model's head shows its singles first: do batch items wait beside them?
            int64_t beside = 0;
            int result = db_integer(
                db, e, &beside, 0,
                "SELECT 1 FROM lane INDEXED BY lane_open WHERE model_id=? AND blocked=0 AND ready=1"
                " AND priority=? AND kind=1 LIMIT 1",
                "ti", slots[i].model_id, priority);
            if (result)
                return result;
            head->batch |= beside != 0;
        }
    }
    return 0;
}

static int ask_lane(struct db *db, sqlite3_stmt *s, struct pick *pick, bool *found, struct err *e) {
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
static int next_single(struct db *db, const struct claim_scope *scope, const struct claim_turn *turn,
                       const struct claim_slot *slots, size_t slot_count, int64_t priority, struct pick *pick,
                       bool *found, struct err *e) {
    for (size_t step = 1; step <= slot_count; step++) {
        size_t i = (turn->single_model + step) % slot_count;
        if (slots[i].free <= 0)
            continue;
        int64_t account = scope->account_concurrency;
        int result = ask_lane(
            db,
            db_ask(db, e, OPEN_LANE " AND batch_seq=0 AND id>?6" UNLOCKED " ORDER BY id LIMIT 1", "tiiiii",
                   slots[i].model_id, priority, (int64_t)0, account, scope->now_at, slots[i].last_single),
            pick, found, e);
        if (!result && !*found)
            result =
                ask_lane(db,
                         db_ask(db, e, OPEN_LANE " AND batch_seq=0" UNLOCKED " ORDER BY id LIMIT 1", "tiiii",
                                slots[i].model_id, priority, (int64_t)0, account, scope->now_at),
                         pick, found, e);
        if (result || *found) {
            pick->model = i;
            return result;
        }
    }
    return 0;
}

// The next batch in turn over all models; where several models serve it, the models in turn. (A batch has one
// lane for each model and priority: its items share their user.)
static int next_batch(struct db *db, const struct claim_scope *scope, const struct claim_turn *turn,
                      const struct claim_slot *slots, size_t slot_count, int64_t priority, int64_t after,
                      struct pick *pick, bool *found, struct err *e) {
    *found = false;
    for (size_t step = 1; step <= slot_count; step++) {
        size_t i = (turn->batch_model + step) % slot_count;
        struct pick p = {.model = i};
        bool here = false;
        if (slots[i].free <= 0)
            continue;
        int64_t low = scope->only_batch ? scope->only_batch - 1 : after;
        int64_t high = scope->only_batch ? scope->only_batch : INT64_MAX;
        int result = ask_lane(db,
                              db_ask(db, e,
                                     OPEN_LANE " AND batch_seq>?6 AND batch_seq<=?7" UNLOCKED
                                               " ORDER BY batch_seq, id LIMIT 1",
                                     "tiiiiii", slots[i].model_id, priority, (int64_t)1,
                                     (int64_t)scope->account_concurrency, scope->now_at, low, high),
                              &p, &here, e);
        if (result)
            return result;
        if (here && (!*found || p.batch_seq < pick->batch_seq)) {
            *pick = p;
            *found = true;
        }
    }
    return 0;
}

static int batch_limit(struct db *db, struct pick *pick, struct err *e) {
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
static int choose(struct db *db, const struct claim_scope *scope, struct claim_turn *turn,
                  const struct claim_slot *slots, size_t slot_count, struct head *head, struct pick *pick,
                  bool *found, struct err *e) {
    int result = 0;
    *found = false;
    *pick = (struct pick){.limit = INT32_MAX};
    if (head->single && (!head->batch || turn->credit >= 0)) {
        result = next_single(db, scope, turn, slots, slot_count, head->priority, pick, found, e);
        head->single = *found;
    }
    if (!result && !*found && head->batch) {
        result =
            next_batch(db, scope, turn, slots, slot_count, head->priority, turn->batch_seq, pick, found, e);
        if (!result && !*found)
            result = next_batch(db, scope, turn, slots, slot_count, head->priority, 0, pick, found, e);
        if (!result && *found)
            result = batch_limit(db, pick, e);
        head->batch = *found;
    }
    if (!result && !*found && head->single)
        result = next_single(db, scope, turn, slots, slot_count, head->priority, pick, found, e);
    return result;
}

// The next lane to claim from: at the best priority where one can run.
static int next_lane(struct db *db, const struct claim_scope *scope, struct claim_turn *turn,
                     const struct claim_slot *slots, size_t slot_count, struct head *head, struct pick *pick,
                     bool *found, struct err *e) {
    *found = false;
    for (int64_t below = INT64_MAX; !*found; below = head->priority) {
        int result = find_head(db, scope, slots, slot_count, below, head, e);
        if (result || !head->found)
            return result;
        if ((result = choose(db, scope, turn, slots, slot_count, head, pick, found, e)))
            return result;
    }
    return 0;
}

static int smallest(int a, int b, int c) {
    int m = a < b ? a : b;
    return m < c ? m : c;
}

// `taken` were started from the lane: whose turn is it now?
static void pass_turn(struct claim_turn *turn, struct claim_slot *slots, const struct head *head,
                      const struct pick *pick, int taken) {
    if (pick->batch_seq) {
        turn->batch_seq = pick->batch_seq;
        turn->batch_model = pick->model;
    } else {
        turn->single_model = pick->model;
        slots[pick->model].last_single = pick->lane;
    }
    if (head->single && head->batch)
        turn->credit += pick->batch_seq ? SHARE_SINGLES * taken : -taken;
    else
        turn->credit = 0;
}

int queue_claim(struct db *db, const struct claim_scope *scope, struct claim_turn *turn,
                struct claim_slot *slots, size_t slot_count, int free, struct claim *claims, size_t *count,
                struct err *e) {
    // Small helpings keep any hundred starts fair; larger ones save statements when many slots are free.
    int helping = free / 8 < 1 || scope->account_concurrency > 0 ? 1 : free / 8 > 8 ? 8 : free / 8;
    turn->unfinished = false;
    for (int round = 0; free > 0; round++) {
        struct head head = {0};
        struct pick pick = {0};
        bool found;
        size_t taken = 0;
        // Many lanes that turn out to be empty must not make one long transaction.
        if (round == CLAIM_ROUNDS) {
            turn->unfinished = true;
            return 0;
        }
        int result = next_lane(db, scope, turn, slots, slot_count, &head, &pick, &found, e);
        if (result || !found)
            return result;
        // The same batch job again in its turn: it is the only one, and nobody is passed over by serving it at once.
        bool alone = !head.single && pick.batch_seq && pick.batch_seq == turn->batch_seq;
        int limit =
            smallest(alone && scope->account_concurrency == 0 ? free : helping, slots[pick.model].free, free);
        if (pick.limit <= 0)
            return 0;
        if ((result = claim_lane(db, scope, pick.lane, pick.has_user, limit < pick.limit ? limit : pick.limit,
                                 claims, count, &taken, e)))
            return result;
        // A lane that was empty costs nobody a turn: it is asked no more.
        if (taken > 0)
            pass_turn(turn, slots, &head, &pick, (int)taken);
        slots[pick.model].free -= (int)taken;
        free -= (int)taken;
    }
    return 0;
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
