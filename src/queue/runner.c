// SPDX-License-Identifier: MIT
// Runners: who runs work now, and what dead ones left behind. Recovery goes by
// identity, not by age: the caller holds the owner's lock, so whatever is
// processing under another runner is dead.
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/process.h"
#include "queue/queue.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct orphan {
    int64_t seq;
    int64_t runner;
    int attempts;
    int crashes, crashes_alone;
    char end[16]; // crashed, hung, rebooted
    int beside;   // in flight in the same crash, itself counted
};

// Dead runners get their end first: the orphans' fate depends on it.
static int end_dead_runners(struct db *db, int64_t me, const char *boot, int64_t now_at, struct err *e) {
    return db_run(db, e,
                  "UPDATE runners SET stopped_at=?1, end_reason=coalesce(end_reason,"
                  " CASE WHEN boot_id=?2 THEN 'crashed' ELSE 'rebooted' END) WHERE stopped_at IS NULL AND"
                  " seq<>?3",
                  "iti", now_at, boot, me);
}

static int list_orphans(struct db *db, int64_t me, struct orphan **out, size_t *count, struct err *e) {
    int code;
    *out = NULL;
    *count = 0;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT g.seq, g.runner_seq, g.attempts, g.crashes, g.crashes_alone, coalesce(r.end_reason,'crashed')"
        " FROM generation g INDEXED BY generation_processing LEFT JOIN runners r ON r.seq=g.runner_seq"
        " WHERE g.status='processing' AND g.runner_seq IS NOT ?",
        "i", me);
    if (!s)
        return ERR_DATABASE;
    while ((code = db_next(db, s, e)) == 1) {
        *out = mem_resize(*out, *count + 1, sizeof **out);
        struct orphan *o = &(*out)[(*count)++];
        *o = (struct orphan){.seq = db_int(s, 0),
                             .runner = db_int(s, 1),
                             .attempts = (int)db_int(s, 2),
                             .crashes = (int)db_int(s, 3),
                             .crashes_alone = (int)db_int(s, 4)};
        snprintf(o->end, sizeof o->end, "%s", db_text(s, 5));
    }
    db_done(db, s);
    for (size_t i = 0; i < *count; i++)
        for (size_t j = 0; j < *count; j++)
            (*out)[i].beside += (*out)[j].runner == (*out)[i].runner;
    return code < 0 ? ERR_DATABASE : 0;
}

static int requeue_orphan(struct db *db, const struct orphan *o, int spent, const char *type,
                          const char *message, struct err *e) {
    struct buf note;
    bool alone = o->beside == 1;
    bool crashed = strcmp(o->end, "crashed") == 0, hung = strcmp(o->end, "hung") == 0;
    int crashes = o->crashes + ((crashed || hung) && !alone),
        crashes_alone = o->crashes_alone + (crashed && alone);
    bool suspect = crashes + crashes_alone >= 2 || (hung && !spent);
    buf_init(&note, BUF_UNLIMITED);
    buf_text(&note, "{\"event\":\"recovered\",\"level\":\"warn\"");
    json_write_member_text(&note, "message", message);
    json_write_key(&note, "data");
    buf_char(&note, '{');
    json_write_member_text(&note, "type", type);
    json_write_member_text(&note, "runnerEnd", o->end); // a person may have written it
    json_write_member_integer(&note, "inFlight", o->beside);
    json_write_member_integer(&note, "crashes", crashes);
    json_write_member_integer(&note, "crashesAlone", crashes_alone);
    buf_text(&note, "}}");
    int result =
        db_run(db, e,
               "UPDATE generation SET status='queued', claim_token=NULL, run_after=NULL, attempts=attempts+?,"
               " crashes=?, crashes_alone=?, suspect=?, note=? WHERE seq=? AND status='processing'",
               "iiiiti", (int64_t)spent, (int64_t)crashes, (int64_t)crashes_alone, (int64_t)suspect,
               buf_borrow(&note), o->seq);
    buf_free(&note);
    return result;
}

static int fail_orphan(struct db *db, const struct orphan *o, const char *type, const char *message,
                       int64_t now_at, struct err *e) {
    return db_run(db, e,
                  "UPDATE generation SET status='failed', claim_token=NULL, completed_at=?1, "
                  "attempts=attempts+1, note=NULL,"
                  " error_type=?2, error_message=?3, "
                  "error_detail=json_object('action','fail','model',model_id,'attempt',starts,"
                  " 'stack','recovery of a dead runner, model '||model_id||', attempt '||starts),"
                  " crashes_alone=crashes_alone+?4 WHERE seq=?5 AND status='processing'",
                  "ittii", now_at, type, message, (int64_t)(strcmp(o->end, "crashed") == 0), o->seq);
}

// *failed: it was not queued again.
static int recover_orphan(struct db *db, const struct orphan *o, int max_crashes, int max_attempts,
                          int64_t now_at, bool *failed, struct err *e) {
    char message[256];
    bool hung = strcmp(o->end, "hung") == 0;
    bool alone = o->beside == 1, crashed_alone = alone && strcmp(o->end, "crashed") == 0;
    bool spent_all = o->attempts + 1 >= max_attempts;
    *failed = hung ? alone && spent_all : crashed_alone && o->crashes_alone + 1 >= max_crashes;
    if (hung) {
        snprintf(message, sizeof message, "the runner stopped beating and ended itself while this ran");
        if (*failed)
            return fail_orphan(db, o, "HeartbeatTimeoutError", message, now_at, e);
        // The last attempt of a bystander is not spent: alone it shows whether it was the cause.
        return requeue_orphan(db, o, !spent_all, "HeartbeatTimeoutError", message, e);
    }
    if (*failed) {
        snprintf(message, sizeof message,
                 "the runner died %d times while this ran alone: quarantined; retry it by hand",
                 o->crashes_alone + 1);
        return fail_orphan(db, o, "RunnerCrashError", message, now_at, e);
    }
    snprintf(message, sizeof message, "its runner is gone (%s): queued again", o->end);
    return requeue_orphan(db, o, 0, "RunnerCrashError", message, e);
}

int queue_runner_dead(struct db *db, char (**ids)[ID_SIZE], size_t *count, struct err *e) {
    char boot[64];
    int code;
    *ids = NULL;
    *count = 0;
    process_boot(boot, sizeof boot);
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT id FROM runners WHERE boot_id=? AND (stopped_at IS NULL OR seq IN (SELECT runner_seq"
               " FROM generation INDEXED BY generation_processing WHERE status='processing'))",
               "t", boot);
    if (!s)
        return ERR_DATABASE;
    while ((code = db_next(db, s, e)) == 1) {
        *ids = mem_resize(*ids, *count + 1, sizeof **ids);
        snprintf((*ids)[(*count)++], ID_SIZE, "%s", db_text(s, 0));
    }
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_runner_start(struct db *db, struct runner_identity *me, const char *version,
                       int64_t heartbeat_timeout_ms, int64_t now_at, struct err *e) {
    char boot[64], host[256] = "", data[64];
    process_boot(boot, sizeof boot);
    gethostname(host, sizeof host - 1);
    id_make(me->id);
    int result = db_run(db, e,
                        "INSERT INTO runners (id, pid, boot_id, host, version, heartbeat_timeout_ms, "
                        "started_at, heartbeat_at)"
                        " VALUES (?,?,?,?,?,?,?,?)",
                        "tittti"
                        "ii",
                        me->id, (int64_t)getpid(), boot, host, version, heartbeat_timeout_ms, now_at, now_at);
    me->seq = db_last_id(db);
    snprintf(data, sizeof data, "{\"pid\":%ld}", (long)getpid());
    return result ? result : queue_log(db, "info", "runner.started", 0, 0, NULL, data, e);
}

int queue_runner_recover(struct db *db, const struct runner_identity *me, int max_crashes, int max_attempts,
                         int64_t now_at, int64_t *recovered, int64_t *failed, struct err *e) {
    char boot[64];
    struct orphan *orphans = NULL;
    size_t count = 0;
    process_boot(boot, sizeof boot);
    int result = end_dead_runners(db, me->seq, boot, now_at, e);
    if (!result)
        result = list_orphans(db, me->seq, &orphans, &count, e);
    *failed = 0;
    for (size_t i = 0; !result && i < count; i++) {
        bool ended = false;
        result = recover_orphan(db, &orphans[i], max_crashes, max_attempts, now_at, &ended, e);
        *failed += ended;
    }
    if (!result && *failed > 0)
        result = queue_count_ends(db, now_at, 0, *failed, 0, e);
        // Account locks of dead runners end with them.
#define OF_THE_DEAD                                                                                          \
    " FROM locks WHERE name GLOB 'account:*' AND owner IN (SELECT id FROM runners WHERE stopped_at IS NOT "  \
    "NULL)"
    if (!result)
        result = db_run(
            db, e,
            "INSERT INTO event (created_at, level, event, message, data) SELECT ?, 'warn', 'lock.expired',"
            " 'its runner is gone', json_object('name', name, 'userId', user_id, 'reason', "
            "reason)" OF_THE_DEAD,
            "i", now_at);
    if (!result)
        result = db_run(db, e, "DELETE" OF_THE_DEAD, "");
    *recovered = (int64_t)count;
    free(orphans);
    return result;
}

int queue_runner_stop(struct db *db, const struct runner_identity *me, const char *reason, int64_t now_at,
                      struct err *e) {
    int result =
        db_run(db, e, "UPDATE runners SET stopped_at=?, end_reason=? WHERE seq=? AND stopped_at IS NULL",
               "iti", now_at, reason, me->seq);
    return result ? result : queue_log(db, "info", "runner.stopped", 0, 0, reason, NULL, e);
}

int queue_runner_note_gone(struct db *db, int64_t wait_ms, struct err *e) {
    char boot[64];
    int64_t open = 0;
    int result = db_integer(
        db, e, &open, 0, "SELECT 1 FROM runners WHERE stopped_at IS NULL AND end_reason IS NULL LIMIT 1", "");
    if (result || !open)
        return result;
    process_boot(boot, sizeof boot);
    if ((result = db_begin(db, wait_ms, e)))
        return result;
    // stopped_at is left to the next runner: it looks for what they may have left running.
    result = db_run(db, e,
                    "UPDATE runners SET end_reason=CASE WHEN boot_id=? THEN 'crashed' ELSE 'rebooted' END"
                    " WHERE stopped_at IS NULL AND end_reason IS NULL",
                    "t", boot);
    if (!result)
        return db_commit(db, e);
    db_rollback(db);
    return result;
}

int queue_runner_mark_hung(struct db *db, int64_t runner_seq, struct err *e) {
    return db_run(db, e, "UPDATE runners SET end_reason='hung' WHERE seq=? AND stopped_at IS NULL", "i",
                  runner_seq);
}
