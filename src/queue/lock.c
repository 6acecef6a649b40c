// SPDX-License-Identifier: MIT
// Locks: who holds which, taking one away by hand, ending what nobody renews,
// and those of periodic jobs. (Account locks are taken by claim.c, with the claim.)
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/text.h"
#include "queue/rows.h"
#include "queue/upkeep.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lock {
    char *name, *user_id, *owner, *reason;
    int64_t acquired_at, expires_at;
    bool of_runner; // its owner is the runner that is up
};

static void lock_clear(struct lock *l) {
    free(l->name);
    free(l->user_id);
    free(l->owner);
    free(l->reason);
    *l = (struct lock){0};
}

#define LOCKS                                                                                                \
    "SELECT name, user_id, owner, reason, acquired_at, expires_at, owner=(SELECT id FROM runners"            \
    " WHERE ?1 AND stopped_at IS NULL ORDER BY seq DESC LIMIT 1) FROM locks"

// Copies the row that a statement of LOCKS stands on.
static struct lock copy(sqlite3_stmt *s) {
    return (struct lock){.name = mem_copy(db_text(s, 0)),
                         .user_id = mem_copy(db_text(s, 1)),
                         .owner = mem_copy(db_text(s, 2)),
                         .reason = mem_copy(db_text(s, 3)),
                         .acquired_at = db_int(s, 4),
                         .expires_at = db_int(s, 5),
                         .of_runner = db_int(s, 6) != 0};
}

static int log_lock(struct db *db, const char *level, const char *event, const struct lock *l,
                    const char *message, struct err *e) {
    struct buf data;
    buf_init(&data, BUF_UNLIMITED);
    buf_char(&data, '{');
    json_write_member_text(&data, "name", l->name);
    if (l->user_id)
        json_write_member_text(&data, "userId", l->user_id);
    if (l->owner)
        json_write_member_text(&data, "owner", l->owner);
    if (l->reason)
        json_write_member_text(&data, "reason", l->reason);
    buf_char(&data, '}');
    int result = queue_log(db, level, event, 0, 0, message, buf_borrow(&data), e);
    buf_free(&data);
    return result;
}

// ---- looking ----

static bool is_job(const char *name) {
    return strncmp(name, "job:", 4) == 0;
}

// Its work goes on: the runner that is up holds it, or a process that may live.
static bool lives(const struct lock *l, int64_t now_at) {
    return l->of_runner || (is_job(l->name) && process_may_live(l->owner, now_at - l->acquired_at));
}

int queue_locks(struct db *db, bool runner_is_up, queue_each each, void *payload, struct err *e) {
    struct lock *list = NULL;
    size_t count = 0;
    int code = -1;
    int64_t now_at = clock_wall_at();
    sqlite3_stmt *s = db_ask(db, e, LOCKS " ORDER BY name", "i", (int64_t)runner_is_up);
    while (s && (code = db_next(db, s, e)) == 1) {
        list = mem_resize(list, count + 1, sizeof *list);
        list[count++] = copy(s);
    }
    db_done(db, s);
    for (size_t i = 0, end = 0; i < count; i++) {
        struct row *row = row_new();
        row_add_text(row, "name", list[i].name);
        row_add_text(row, "user_id", list[i].user_id);
        row_add_text(row, "owner", list[i].owner);
        row_add_integer(row, "acquired_at", list[i].acquired_at);
        row_add_integer(row, "expires_at", list[i].expires_at);
        row_add_text(row, "reason", list[i].reason);
        row_add_integer(row, "live?", lives(&list[i], now_at));
        if (!end && code == 0)
            end = each(payload, row) != 0;
        else
            row_free(row);
        lock_clear(&list[i]);
    }
    free(list);
    return code < 0 ? (int)e->code : 0;
}

// One lock; *found false: there is none of this name.
static int find(struct db *db, bool runner_is_up, const char *name, struct lock *out, bool *found,
                struct err *e) {
    *out = (struct lock){0};
    sqlite3_stmt *s = db_ask(db, e, LOCKS " WHERE name=?2", "it", (int64_t)runner_is_up, name);
    int code = s ? db_next(db, s, e) : -1;
    *found = code == 1;
    if (code == 1)
        *out = copy(s);
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

// ---- releasing by hand ----

struct names {
    const char **list;
    size_t count;
};

static int add_name(void *payload, struct row *row) {
    struct names *n = payload;
    n->list = mem_resize(n->list, n->count + 1, sizeof *n->list);
    n->list[n->count++] = mem_copy(row_text(row, "name"));
    row_free(row);
    return 0;
}

static int unknown(struct db *db, const char *name, struct err *e) {
    struct names n = {0};
    int result = queue_locks(db, false, add_name, &n, e);
    const char *nearest = result ? NULL : text_nearest(name, n.list, n.count);
    if (!result && nearest)
        result = err_in(e, ERR_NOT_FOUND, "name", "no lock is named '%s': did you mean '%s'?", name, nearest);
    else if (!result)
        result = err_in(e, ERR_NOT_FOUND, "name", "no lock is named '%s': 'genrun locks' lists them", name);
    for (size_t i = 0; i < n.count; i++)
        free((char *)n.list[i]);
    free(n.list);
    return result;
}

int queue_lock_release(struct db *db, bool runner_is_up, const char *name, bool *live, struct err *e) {
    struct lock l;
    bool found = false;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = find(db, runner_is_up, name, &l, &found, e);
    if (!result && !found)
        result = unknown(db, name, e);
    *live = found && lives(&l, clock_wall_at());
    if (!result)
        result = db_run(db, e, "DELETE FROM locks WHERE name=?", "t", name);
    if (!result)
        result = log_lock(db, "warn", "lock.released", &l, "released by hand", e);
    lock_clear(&l);
    if (result) {
        db_rollback(db);
        return result;
    }
    return db_commit(db, e);
}

// ---- what nobody renews ----

// The clock may have been set: what the runner that is up holds it renews by itself, and loses only when the generation
// that it was held for does not run any more.
#define LAPSED                                                                                               \
    " WHERE name<>'job:'||?3 AND CASE WHEN owner IS (SELECT id FROM runners WHERE ?1 AND stopped_at IS NULL" \
    " ORDER BY seq DESC LIMIT 1) THEN name GLOB 'account:*' AND NOT EXISTS (SELECT 1 FROM generation g"      \
    " WHERE g.id=reason AND g.status='processing') ELSE expires_at<=?2 END"

int lock_count_lapsed(struct upkeep *run, int64_t now_at, int64_t *count, struct err *e) {
    return db_integer(run->db, e, count, 0, "SELECT count(*) FROM locks" LAPSED, "iit",
                      (int64_t)run->runner_is_up, now_at, run->job);
}

int lock_expire(struct upkeep *run, int64_t now_at, int limit, int64_t *removed, struct err *e) {
    struct lock *list = mem_alloc((size_t)limit, sizeof *list);
    size_t count = 0;
    int code = -1, result = 0;
    sqlite3_stmt *s = db_ask(run->db, e, LOCKS LAPSED " LIMIT ?4", "iiti", (int64_t)run->runner_is_up, now_at,
                             run->job, (int64_t)limit);
    while (s && (code = db_next(run->db, s, e)) == 1)
        list[count++] = copy(s);
    db_done(run->db, s);
    if (code < 0)
        result = (int)e->code;
    for (size_t i = 0; i < count; i++) {
        bool gone = false;
        if (!result && !run->dry_run) {
            result = db_run(run->db, e, "DELETE FROM locks WHERE name=?", "t", list[i].name);
            gone = !result;
        }
        const char *what =
            list[i].of_runner ? "what it was held for does not run" : "expired: nobody renews it";
        if (gone)
            result = log_lock(run->db, "warn", "lock.expired", &list[i], what, e);
        if (!result && (gone || run->dry_run))
            upkeep_tell(run, &(struct finding){.kind = "lock",
                                               .id = list[i].name,
                                               .user_id = list[i].user_id,
                                               .what = what,
                                               .since = list[i].expires_at,
                                               .fixed = gone});
        lock_clear(&list[i]);
    }
    free(list);
    *removed = (int64_t)count;
    return result;
}

// ---- of periodic jobs ----

static int held(const struct lock *l, const char *job, struct err *e) {
    char since[CLOCK_ISO_SIZE];
    clock_format_iso(l->acquired_at, since);
    return err_set(e, ERR_CONFLICT,
                   "job %s is at work already, since %s (%s): wait for its end, 'genrun locks' shows it", job,
                   since, l->reason ? l->reason : l->owner);
}

// A holder that is gone, or let the lock lapse, holds it no more.
static bool holds(const struct lock *l, int64_t now_at, int64_t lock_ms) {
    int64_t silent_ms = now_at - (l->expires_at - lock_ms);
    return l->expires_at > now_at && process_may_live(l->owner, silent_ms);
}

int lock_job_is_free(struct db *db, const char *job, const char *owner, int64_t now_at, int64_t lock_ms,
                     struct err *e) {
    struct lock l;
    bool found;
    char name[96];
    snprintf(name, sizeof name, "job:%s", job);
    int result = find(db, false, name, &l, &found, e);
    if (!result && found && strcmp(l.owner, owner) != 0 && holds(&l, now_at, lock_ms))
        result = held(&l, job, e);
    lock_clear(&l);
    return result;
}

int lock_job(struct db *db, const char *job, const char *owner, const char *reason, int64_t now_at,
             int64_t lock_ms, bool renew, struct err *e) {
    char name[96];
    snprintf(name, sizeof name, "job:%s", job);
    if (renew) {
        int result = db_run(db, e, "UPDATE locks SET expires_at=? WHERE name=? AND owner=?", "itt",
                            now_at + lock_ms, name, owner);
        if (!result && db_changes(db) == 0)
            result = err_set(e, ERR_CONFLICT,
                             "job %s has lost its lock to another or to 'genrun locks release': run it again",
                             job);
        return result;
    }
    struct lock l;
    bool found;
    int result = find(db, false, name, &l, &found, e);
    if (!result && found && holds(&l, now_at, lock_ms))
        result = held(&l, job, e);
    else if (!result && found)
        result =
            log_lock(db, "warn", "lock.expired", &l, "its owner is gone, or did not renew it: taken over", e);
    if (!result)
        result =
            db_run(db, e,
                   "INSERT INTO locks (name, owner, acquired_at, expires_at, reason) VALUES (?1,?2,?3,?4,?5)"
                   " ON CONFLICT (name) DO UPDATE SET owner=?2, acquired_at=?3, expires_at=?4, reason=?5",
                   "ttiit", name, owner, now_at, now_at + lock_ms, reason);
    lock_clear(&l);
    return result;
}

int lock_job_release(struct db *db, const char *job, const char *owner, struct err *e) {
    char name[96];
    snprintf(name, sizeof name, "job:%s", job);
    return db_run(db, e, "DELETE FROM locks WHERE name=? AND owner=?", "tt", name, owner);
}
