// SPDX-License-Identifier: MIT
// The job cleanup_stuck_generation: counters that do not add up first, since they
// may refuse every change; then work that nobody does, lanes that hide what waits
// in them, times that have passed, and locks that nobody renews. What waits its turn
// and what has a live owner is never touched.
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/upkeep.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 200
#define LATE_MS 60000 // a start that is so long overdue beside a runner was forgotten

enum stage {
    STAGE_COUNT,
    STAGE_STUCK,
    STAGE_LATE,
    STAGE_BLOCKED,
    STAGE_HIDDEN,
    STAGE_SUSPECT,
    STAGE_LOCKS,
    STAGE_END
};

struct cleanup {
    struct upkeep *run;
    struct cleanup_rules rules;
    enum stage stage;
    struct recount *recount;
    struct stuck_list doubts; // beside a live runner: looked at again before they are judged
    int64_t doubts_ms;
    int64_t after; // keyset of the stage
};

struct cleanup *cleanup_new(struct upkeep *run, const struct cleanup_rules *rules) {
    struct cleanup *c = mem_alloc(1, sizeof *c);
    c->run = run;
    c->rules = *rules;
    c->stage = rules->count ? STAGE_COUNT : STAGE_STUCK;
    return c;
}

void cleanup_free(struct cleanup *c) {
    if (!c)
        return;
    recount_free(c->recount);
    stuck_free(&c->doubts);
    free(c);
}

static int step_count(struct cleanup *c, bool *end, struct err *e) {
    bool more = true;
    if (!c->recount)
        c->recount = recount_new(c->run);
    int result = recount_step(c->recount, &more, e);
    *end = !more;
    return result;
}

// ---- work that nobody does ----

static int end_stuck(struct cleanup *c, const struct stuck *k, int64_t now_at, struct err *e) {
    struct upkeep *run = c->run;
    char what[160];
    bool done = false;
    int result = run->dry_run ? 0 : stuck_end(run->db, k, c->rules.requeue, now_at, &done, e);
    if (result)
        return result;
    snprintf(what, sizeof what, "%s: %s", k->what, c->rules.requeue ? "queued again" : "failed");
    if (done || run->dry_run)
        upkeep_tell(run, &(struct finding){.kind = "generation",
                                           .id = k->id,
                                           .user_id = k->user_id,
                                           .what = what,
                                           .since = k->since,
                                           .fixed = done});
    return 0;
}

static const struct stuck *same_in(const struct stuck_list *list, const struct stuck *k) {
    for (size_t i = 0; i < list->count; i++)
        if (list->list[i].seq == k->seq && strcmp(list->list[i].token, k->token) == 0 &&
            list->list[i].beat_at == k->beat_at && list->list[i].progress_at == k->progress_at)
            return &list->list[i];
    return NULL;
}

// Another process's runner lives, and only its signs of life say otherwise: the clock may just have been set, and then
// it beats again at once.
static bool is_doubtful(const struct cleanup *c, const struct stuck *k) {
    return !c->rules.is_live && k->why != STUCK_ORPHAN && !same_in(&c->doubts, k);
}

// Takes from `found` what has been stuck for long enough and is past doubt; *doubt: there was some.
static void select_stuck(struct cleanup *c, struct stuck_list *found, int64_t now_at, bool *doubt) {
    size_t kept = 0;
    *doubt = false;
    for (size_t i = 0; i < found->count; i++) {
        struct stuck *k = &found->list[i];
        bool is_due = now_at - k->since >= c->rules.stuck_after_ms;
        *doubt |= is_due && is_doubtful(c, k);
        if (is_due)
            found->list[kept++] = *k;
        else
            free(k->user_id);
    }
    found->count = kept;
}

static int end_all(struct cleanup *c, const struct stuck_list *list, int64_t now_at, struct err *e) {
    int result = c->run->dry_run ? 0 : upkeep_transaction(c->run, e);
    if (result)
        return result;
    for (size_t i = 0; !result && i < list->count; i++)
        if (!is_doubtful(c, &list->list[i]))
            result = end_stuck(c, &list->list[i], now_at, e);
    if (result)
        db_rollback(c->run->db);
    else if (!c->run->dry_run)
        result = upkeep_commit(c->run, e);
    return result;
}

static int step_stuck(struct cleanup *c, bool *end, struct err *e) {
    struct stuck_list found;
    int64_t now_at = clock_wall_at();
    bool doubt;
    int result = stuck_find(c->run->db, c->run->runner_is_up, &c->rules, now_at, &found, e);
    if (result)
        return result;
    select_stuck(c, &found, now_at, &doubt);
    if (doubt && c->doubts_ms == 0) {
        // A first look: the second one decides. Nothing is done before it, so that all is judged once.
        c->doubts = found;
        c->doubts_ms = clock_monotonic_ms();
        c->run->pause_ms = 2 * c->rules.heartbeat_interval_ms;
        *end = false;
        return 0;
    }
    result = found.count > 0 ? end_all(c, &found, now_at, e) : 0;
    stuck_free(&found);
    *end = true;
    return result;
}

// ---- what waits, and is not found ----

// A repair by one statement: how many rows it changed, told as one finding with the event of `kind`.repaired.
static int tell_repair(struct cleanup *c, const struct finding *f, const char *event, struct err *e) {
    if (!c->run->dry_run) {
        struct buf data;
        buf_init(&data, BUF_UNLIMITED);
        buf_char(&data, '{');
        json_write_member_text(&data, "id", f->id);
        json_write_member_integer(&data, "count", f->count);
        buf_char(&data, '}');
        int result = queue_log(c->run->db, "warn", event, 0, 0, f->what, buf_borrow(&data), e);
        buf_free(&data);
        if (result)
            return result;
    }
    upkeep_tell(c->run, f);
    return 0;
}

static int commit(struct cleanup *c, int result, struct err *e) {
    if (c->run->dry_run)
        return result;
    if (result)
        db_rollback(c->run->db);
    return result ? result : upkeep_commit(c->run, e);
}

// Beside a runner a start that was due a minute ago was forgotten. (Without one, everything waits for a runner.)
static int step_late(struct cleanup *c, bool *end, struct err *e) {
    int64_t late = 0, first = 0, latest = clock_wall_at() - LATE_MS;
    *end = true;
    if (!c->run->runner_is_up)
        return 0;
    int result =
        db_integer(c->run->db, e, &late, 0,
                   "SELECT count(*) FROM (SELECT 1 FROM generation INDEXED BY generation_delayed WHERE"
                   " status='queued' AND run_after IS NOT NULL AND run_after<=? LIMIT ?)",
                   "ii", latest, c->run->dry_run ? (int64_t)-1 : (int64_t)PAGE_ROWS);
    if (!result && late > 0)
        result = db_integer(
            c->run->db, e, &first, 0,
            "SELECT min(run_after) FROM generation INDEXED BY generation_delayed WHERE status='queued'"
            " AND run_after IS NOT NULL",
            "");
    if (result || late == 0 || (!c->run->dry_run && (result = upkeep_transaction(c->run, e))))
        return result;
    if (!c->run->dry_run)
        result = db_run(
            c->run->db, e,
            "UPDATE generation SET run_after=NULL WHERE seq IN (SELECT seq FROM generation INDEXED BY"
            " generation_delayed WHERE status='queued' AND run_after IS NOT NULL AND run_after<=? LIMIT ?)",
            "ii", latest, (int64_t)PAGE_ROWS);
    if (!result)
        result = tell_repair(c,
                             &(struct finding){.kind = "generation",
                                               .what = "the time of their next start has passed",
                                               .since = first,
                                               .count = late,
                                               .fixed = !c->run->dry_run},
                             "generation.due", e);
    *end = c->run->dry_run || late < PAGE_ROWS;
    return commit(c, result, e);
}

struct bad_lane {
    int64_t id, batch_seq;
    char *name; // model, account and batch job
    char *user_id;
    const char *what;
};

static void bad_lanes_free(struct bad_lane *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(list[i].name);
        free(list[i].user_id);
    }
    free(list);
}

static int repair_lane(struct cleanup *c, const char *sql, const struct bad_lane *lane, struct err *e) {
    int result = c->run->dry_run ? 0 : db_run(c->run->db, e, sql, "i", lane->id);
    return result ? result
                  : tell_repair(c,
                                &(struct finding){.kind = "lane",
                                                  .id = lane->name,
                                                  .user_id = lane->user_id,
                                                  .what = lane->what,
                                                  .fixed = !c->run->dry_run},
                                "lane.repaired", e);
}

static struct bad_lane copy_lane(sqlite3_stmt *s) {
    const char *user = db_text(s, 2), *batch = db_text(s, 3);
    return (struct bad_lane){
        .id = db_int(s, 0),
        .batch_seq = db_int(s, 4),
        .name = mem_format("%s%s%s", db_text(s, 1), batch ? " of batch job " : "", batch ? batch : ""),
        .user_id = user && *user ? mem_copy(user) : NULL};
}

// Lanes whose bits are not those of their batch job: paused for ever, or never. Pages of lanes; most are right.
static int step_blocked(struct cleanup *c, bool *end, struct err *e) {
    struct bad_lane *list = NULL;
    size_t count = 0;
    int code = -1;
    int64_t seen = 0;
    sqlite3_stmt *s =
        db_ask(c->run->db, e,
               "SELECT l.id, l.model_id, l.user_id, b.id, l.batch_seq, l.blocked<>coalesce(b.blocked, 0)"
               " AND (l.batch_seq=0 OR b.seq IS NOT NULL)"
               " FROM lane l LEFT JOIN batch_job b ON b.seq=l.batch_seq WHERE l.id>? ORDER BY l.id LIMIT ?",
               "ii", c->after, (int64_t)PAGE_ROWS);
    while (s && (code = db_next(c->run->db, s, e)) == 1) {
        seen++;
        c->after = db_int(s, 0);
        if (!db_int(s, 5))
            continue;
        list = mem_resize(list, count + 1, sizeof *list);
        list[count] = copy_lane(s);
        list[count++].what = "its lane is blocked, or open, against its batch job";
    }
    db_done(c->run->db, s);
    int result = code < 0 ? (int)e->code : 0;
    if (!result && count > 0) {
        result = c->run->dry_run ? 0 : upkeep_transaction(c->run, e);
        bool begun = !result;
        for (size_t i = 0; !result && i < count; i++)
            result = repair_lane(c,
                                 "UPDATE lane SET blocked=coalesce((SELECT blocked FROM batch_job WHERE "
                                 "seq=lane.batch_seq), 0)"
                                 " WHERE id=?",
                                 &list[i], e);
        if (begun)
            result = commit(c, result, e);
    }
    bad_lanes_free(list, count);
    *end = seen < PAGE_ROWS;
    return result;
}

// ---- lanes that hide what waits in them ----

// The first row that could be claimed of the next lane, and whether the claim would find it.
#define HEAD                                                                                                 \
    "SELECT g.lane, g.model_id, coalesce(g.user_id, ''), (SELECT id FROM batch_job WHERE seq=g.batch_seq),"  \
    " coalesce(g.batch_seq, 0), l.id IS NULL, l.ready, (l.model_id, l.user_id, l.batch_seq, l.priority) IS"  \
    " (g.model_id, coalesce(g.user_id, ''), coalesce(g.batch_seq, 0), g.priority), g.seq"                    \
    " FROM generation g INDEXED BY "
#define NEXT_LANE                                                                                            \
    HEAD "generation_ready LEFT JOIN lane l ON l.id=g.lane WHERE g.status='queued' AND g.run_after IS NULL"  \
         " AND g.suspect=0 AND g.lane>? ORDER BY g.lane, g.seq LIMIT 1"
#define NEXT_SUSPECT                                                                                         \
    HEAD "generation_suspect LEFT JOIN lane l ON l.id=g.lane WHERE g.status='queued' AND g.suspect=1"        \
         " AND g.seq>? ORDER BY g.seq LIMIT 1"

// Gives rows of a lane that is not theirs their own; ?1 the first of them. (Their own lane is made ready by a trigger.)
static const char own_lane[] = "INSERT OR IGNORE INTO lane (model_id, user_id, batch_seq, priority) SELECT "
                               "model_id, coalesce(user_id, ''),"
                               " coalesce(batch_seq, 0), priority FROM generation WHERE seq=?1";
static const char move_rows[] =
    "UPDATE generation SET lane=(SELECT l.id FROM lane l JOIN generation h ON h.seq=?1 WHERE "
    "l.model_id=h.model_id"
    " AND l.user_id=coalesce(h.user_id, '') AND l.batch_seq=coalesce(h.batch_seq, 0) AND "
    "l.priority=h.priority)"
    " WHERE seq IN (SELECT g.seq FROM generation h JOIN generation g ON g.lane=h.lane AND g.status='queued'"
    " AND g.model_id=h.model_id AND g.user_id IS h.user_id AND g.batch_seq IS h.batch_seq AND "
    "g.priority=h.priority"
    " WHERE h.seq=?1 AND (g.seq=h.seq OR (g.run_after IS NULL AND g.suspect=0)) LIMIT ?2)";

static int mend_head(struct cleanup *c, struct bad_lane *lane, int64_t seq, bool is_foreign, struct err *e) {
    struct upkeep *run = c->run;
    int64_t moved = 0;
    if (run->dry_run)
        return repair_lane(c, NULL, lane, e);
    int result = upkeep_transaction(run, e);
    if (result)
        return result;
    if (is_foreign) {
        result = db_run(run->db, e, own_lane, "i", seq);
        if (!result)
            result = db_run(run->db, e, move_rows, "ii", seq, (int64_t)PAGE_ROWS);
        moved = db_changes(run->db);
    } else {
        result = db_run(run->db, e, "UPDATE lane SET ready=1 WHERE id=?", "i", lane->id);
    }
    if (!result)
        result = tell_repair(c,
                             &(struct finding){.kind = "lane",
                                               .id = lane->name,
                                               .user_id = lane->user_id,
                                               .what = lane->what,
                                               .count = moved,
                                               .fixed = true},
                             "lane.repaired", e);
    return commit(c, result, e);
}

// One lane (or suspect) with rows after c->after; *end: there is none.
static int look_at_head(struct cleanup *c, const char *sql, bool by_lane, bool *end, struct err *e) {
    struct bad_lane lane = {0};
    bool is_foreign = false, is_bad = false;
    sqlite3_stmt *s = db_ask(c->run->db, e, sql, "i", c->after);
    int code = s ? db_next(c->run->db, s, e) : -1;
    *end = code != 1;
    int64_t seq = 0, key = 0;
    if (code == 1) {
        seq = db_int(s, 8);
        key = by_lane ? db_int(s, 0) : seq;
        is_foreign = db_int(s, 5) || !db_int(s, 7);
        is_bad = is_foreign || (by_lane && !db_int(s, 6));
        if (is_bad)
            lane = copy_lane(s);
    }
    db_done(c->run->db, s);
    if (code < 0)
        return (int)e->code;
    lane.what = is_foreign ? "it waits in a lane that is not its own" : "its lane is marked as empty";
    int result = is_bad ? mend_head(c, &lane, seq, is_foreign, e) : 0;
    // Rows that were moved away may not have been all of them.
    if (!result && (!is_foreign || !by_lane || c->run->dry_run))
        c->after = key;
    free(lane.name);
    free(lane.user_id);
    return result;
}

static int step_heads(struct cleanup *c, bool *end, struct err *e) {
    bool by_lane = c->stage == STAGE_HIDDEN;
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
    int result = 0;
    *end = false;
    while (!result && !*end && clock_monotonic_ms() < end_ms)
        result = look_at_head(c, by_lane ? NEXT_LANE : NEXT_SUSPECT, by_lane, end, e);
    return result;
}

// ---- locks ----

static int step_locks(struct cleanup *c, bool *end, struct err *e) {
    int64_t count = 0, now_at = clock_wall_at();
    *end = true;
    int result = lock_count_lapsed(c->run, now_at, &count, e);
    if (result || count == 0 || (!c->run->dry_run && (result = upkeep_transaction(c->run, e))))
        return result;
    result = commit(c, lock_expire(c->run, now_at, c->run->dry_run ? (int)count : PAGE_ROWS, &count, e), e);
    *end = c->run->dry_run || count < PAGE_ROWS;
    return result;
}

// What waits for a runner is not stuck; but a person may think so.
static int tell_waiting(struct cleanup *c, struct err *e) {
    int64_t queued = 0;
    if (c->run->runner_is_up)
        return 0;
    int result = queue_count_left(c->run->db, &queued, e);
    if (!result && queued > 0)
        snprintf(c->run->note, sizeof c->run->note,
                 "%lld generation%s for a runner, and none is up: start one with 'genrun run'",
                 (long long)queued, queued == 1 ? " waits" : "s wait");
    return result;
}

static int step_stage(struct cleanup *c, struct err *e) {
    static int (*const stages[])(struct cleanup *, bool *, struct err *) = {
        [STAGE_COUNT] = step_count,     [STAGE_STUCK] = step_stuck,  [STAGE_LATE] = step_late,
        [STAGE_BLOCKED] = step_blocked, [STAGE_HIDDEN] = step_heads, [STAGE_SUSPECT] = step_heads,
        [STAGE_LOCKS] = step_locks};
    bool end = false;
    int result = stages[c->stage](c, &end, e);
    if (!result && end) {
        c->stage++;
        c->after = INT64_MIN;
    }
    return result;
}

int cleanup_step(struct cleanup *c, bool *more, struct err *e) {
    int64_t begun_ms = clock_monotonic_ms();
    int result = 0;
    c->run->pause_ms = 0;
    // Stages that find nothing share a slice.
    do
        result = step_stage(c, e);
    while (!result && c->stage != STAGE_END && c->run->pause_ms == 0 &&
           clock_monotonic_ms() - begun_ms < QUEUE_SLICE_MS / 4);
    *more = c->stage != STAGE_END && !c->run->ended;
    return result || *more ? result : tell_waiting(c, e);
}
