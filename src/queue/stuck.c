// SPDX-License-Identifier: MIT
// What is stuck, and why: the one meaning of the word; and what becomes of it.
#include "base/json.h"
#include "base/mem.h"
#include "queue/upkeep.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct present { // the runner that is up; seq 0: none is
    int64_t seq, timeout_ms;
};

static int find_present(struct db *db, bool runner_is_up, struct present *out, struct err *e) {
    *out = (struct present){0};
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT seq, heartbeat_timeout_ms FROM runners WHERE ? AND stopped_at IS NULL "
                             "ORDER BY seq DESC LIMIT 1",
                             "i", (int64_t)runner_is_up);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        *out = (struct present){db_int(s, 0), db_int(s, 1)};
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

static void judge(struct stuck *k, const struct present *present, int64_t now_at) {
    if (k->runner_seq != present->seq) {
        k->why = STUCK_ORPHAN;
        k->since = k->beat_at;
        snprintf(k->what, sizeof k->what, "its runner is gone");
    } else if (k->beat_at + present->timeout_ms < now_at) {
        k->why = STUCK_SILENT;
        k->since = k->beat_at + present->timeout_ms;
        snprintf(k->what, sizeof k->what, "no heartbeat for %lld s", (long long)(now_at - k->beat_at) / 1000);
    } else if (k->limit_ms > 0 && k->progress_at + k->limit_ms < now_at) {
        k->why = STUCK_IDLE;
        k->since = k->progress_at + k->limit_ms;
        snprintf(k->what, sizeof k->what, "no progress for %lld s",
                 (long long)(now_at - k->progress_at) / 1000);
    }
}

static struct stuck copy(sqlite3_stmt *s) {
    struct stuck k = {.seq = db_int(s, 0),
                      .batch_seq = db_int(s, 1),
                      .user_id = mem_copy(db_text(s, 4)),
                      .runner_seq = db_int(s, 5),
                      .beat_at = db_int(s, 6),
                      .progress_at = db_int(s, 7),
                      .limit_ms = db_int(s, 8),
                      .crashed = db_int(s, 9) != 0,
                      .dismissed = db_int(s, 10) != 0};
    snprintf(k.id, sizeof k.id, "%s", db_text(s, 2));
    snprintf(k.token, sizeof k.token, "%s", db_text(s, 3));
    return k;
}

int stuck_find(struct db *db, bool runner_is_up, const struct cleanup_rules *rules, int64_t now_at,
               struct stuck_list *out, struct err *e) {
    struct present present;
    int code = -1;
    *out = (struct stuck_list){0};
    int result = find_present(db, runner_is_up, &present, e);
    if (result)
        return result;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT g.seq, g.batch_seq, g.id, g.claim_token, g.user_id, coalesce(g.runner_seq, -1),"
        " coalesce(l.heartbeat_at, g.started_at), coalesce(l.progress_at, g.started_at), l.progress_limit_ms,"
        " r.stopped_at IS NULL OR r.end_reason='crashed' OR r.end_reason='hung', g.dismissed_at IS NOT NULL"
        " FROM generation g INDEXED BY generation_processing LEFT JOIN generation_live l ON l.seq=g.seq"
        " LEFT JOIN runners r ON r.seq=g.runner_seq WHERE g.status='processing'"
        " ORDER BY g.started_at",
        "");
    while (s && (code = db_next(db, s, e)) == 1) {
        struct stuck k = copy(s);
        if (!rules->is_live || !rules->is_live(rules->payload, k.seq, k.token))
            judge(&k, &present, now_at);
        if (k.why == STUCK_NOT) {
            free(k.user_id);
            continue;
        }
        out->list = mem_resize(out->list, out->count + 1, sizeof *out->list);
        out->list[out->count++] = k;
    }
    db_done(db, s);
    if (code < 0)
        stuck_free(out);
    return code < 0 ? (int)e->code : 0;
}

void stuck_free(struct stuck_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->list[i].user_id);
    free(list->list);
    *list = (struct stuck_list){0};
}

static const char *error_type(const struct stuck *k) {
    return k->why == STUCK_ORPHAN   ? "RunnerCrashError"
           : k->why == STUCK_SILENT ? "HeartbeatTimeoutError"
                                    : "TimeoutError";
}

// A crash of its runner counts as it does when the next runner takes it back: in flight in two, it runs alone.
static int requeue_row(struct db *db, const struct stuck *k, struct err *e) {
    struct buf note;
    buf_init(&note, BUF_UNLIMITED);
    buf_text(&note, "{\"event\":\"recovered\",\"level\":\"warn\"");
    json_write_member_text(&note, "message", k->what);
    json_write_key(&note, "data");
    buf_char(&note, '{');
    json_write_member_text(&note, "type", error_type(k));
    json_write_member_text(&note, "by", "cleanup_stuck_generation");
    buf_text(&note, "}}");
    int result =
        db_run(db, e,
               "UPDATE generation SET status='queued', claim_token=NULL, run_after=NULL, crashes=crashes+?1,"
               " suspect=CASE WHEN ?1>0 AND crashes+?1+crashes_alone>=2 THEN 1 ELSE suspect END, note=?2"
               " WHERE seq=?3 AND claim_token=?4 AND status='processing'",
               "itit", (int64_t)(k->why == STUCK_ORPHAN && k->crashed), buf_borrow(&note), k->seq, k->token);
    buf_free(&note);
    return result;
}

static int fail_row(struct db *db, const struct stuck *k, int64_t now_at, struct err *e) {
    char message[160];
    snprintf(message, sizeof message, "stuck: %s", k->what);
    return db_run(db, e,
                  "UPDATE generation SET status='failed', claim_token=NULL, completed_at=?1, "
                  "attempts=attempts+1, note=NULL,"
                  " waiting_since=NULL, error_type=?2, error_message=?3,"
                  " error_detail=json_object('action','fail','model',model_id,'attempt',starts,"
                  " 'stack','cleanup_stuck_generation, model '||model_id||', attempt '||starts)"
                  " WHERE seq=?4 AND claim_token=?5 AND status='processing'",
                  "ittit", now_at, error_type(k), message, k->seq, k->token);
}

int stuck_end(struct db *db, const struct stuck *k, bool requeue, int64_t now_at, bool *done, struct err *e) {
    int result = requeue ? requeue_row(db, k, e) : fail_row(db, k, now_at, e);
    *done = !result && db_changes(db) == 1;
    if (*done && !requeue)
        result = queue_count_ends(db, now_at, 0, 1, 0, e);
    // Its account is free again with it.
    if (*done && !result && k->user_id)
        result = queue_release_lock(db, k->user_id, k->id, e);
    return result;
}
