// SPDX-License-Identifier: MIT
// Alerts: thresholds that are crossed are events, once; which of them are crossed
// now stands in the table `alerts`, so that a restart does not say it again.
#include "base/json.h"
#include "base/mem.h"
#include "queue/upkeep.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_MINUTES 60 // of failure_rate
#define WINDOW_LEAST 10   // fewer ends say nothing
#define RATE_OVER 0.8     // of the limit: a share that hovers about it must not be told again and again
#define BEHIND_MS (INT64_C(24) * 3600 * 1000)

struct alert {
    const char *name; // in the table; its events are alert.<name> and alert.<name>_over
    bool crossed;
    double value;
    char message[256];
};

static int write_crossing(struct db *db, const struct alert *a, int64_t now_at, int64_t wait_ms,
                          struct err *e) {
    char event[64];
    struct buf data;
    int result = db_begin(db, wait_ms, e);
    if (result)
        return result;
    result = a->crossed ? db_run(db, e,
                                 "INSERT INTO alerts (name, since, value, message) VALUES (?1,?2,?3,?4)"
                                 " ON CONFLICT (name) DO NOTHING",
                                 "tint", a->name, now_at, a->value, a->message)
                        : db_run(db, e, "DELETE FROM alerts WHERE name=?", "t", a->name);
    // Another process may have been faster.
    if (result || db_changes(db) == 0) {
        db_rollback(db);
        return result;
    }
    snprintf(event, sizeof event, "alert.%s%s", a->name, a->crossed ? "" : "_over");
    buf_init(&data, 1024);
    buf_char(&data, '{');
    json_write_member_number(&data, "value", a->value);
    buf_char(&data, '}');
    result = queue_log(db, a->crossed ? "error" : "info", event, 0, 0, a->message, buf_borrow(&data), e);
    buf_free(&data);
    if (result)
        db_rollback(db);
    return result ? result : db_commit(db, e);
}

static int find(struct db *db, const char *name, bool *known, struct err *e) {
    int64_t found = 0;
    int result = db_integer(db, e, &found, 0, "SELECT 1 FROM alerts WHERE name=?", "t", name);
    *known = found != 0;
    return result;
}

static int note(struct db *db, const struct alert *a, int64_t now_at, int64_t wait_ms, struct err *e) {
    bool known = false;
    int result = find(db, a->name, &known, e);
    return result || known == a->crossed ? result : write_crossing(db, a, now_at, wait_ms, e);
}

static int look_at_stuck(struct db *db, bool runner_is_up, const struct cleanup_rules *rules,
                         int64_t after_ms, int64_t now_at, struct alert *a, struct err *e) {
    struct stuck_list list;
    int64_t count = 0;
    int result = after_ms > 0 ? stuck_find(db, runner_is_up, rules, now_at, &list, e) : 0;
    if (result || after_ms == 0)
        return result;
    const struct stuck *first = NULL;
    for (size_t i = 0; i < list.count; i++)
        if (!list.list[i].dismissed && now_at - list.list[i].since > after_ms) {
            count++;
            first = first && first->since <= list.list[i].since ? first : &list.list[i];
        }
    a->crossed = count > 0;
    a->value = (double)count;
    if (first)
        snprintf(a->message, sizeof a->message,
                 "%lld generation%s stuck for more than %lld s; the longest: %s, %s", (long long)count,
                 count == 1 ? " is" : "s are", (long long)after_ms / 1000, first->id, first->what);
    else
        snprintf(a->message, sizeof a->message, "no generation is stuck for so long any more");
    stuck_free(&list);
    return 0;
}

static int look_at_failures(struct db *db, double rate, int64_t now_at, struct alert *a, struct err *e) {
    int64_t failed = 0, ended = 0, from = now_at / 60000 - WINDOW_MINUTES;
    int result = rate > 0 ? db_integer(db, e, &failed, 0, "SELECT sum(failed) FROM throughput WHERE minute>?",
                                       "i", from)
                          : 0;
    if (!result && rate > 0)
        result = db_integer(db, e, &ended, 0, "SELECT sum(failed+completed) FROM throughput WHERE minute>?",
                            "i", from);
    double share = ended > 0 ? (double)failed / (double)ended : 0;
    bool known = false;
    if (!result && rate > 0)
        result = find(db, a->name, &known, e);
    a->crossed = rate > 0 && (known ? share > rate * RATE_OVER : ended >= WINDOW_LEAST && share > rate);
    a->value = share;
    snprintf(a->message, sizeof a->message, "%lld of the %lld generations that ended in the last hour failed",
             (long long)failed, (long long)ended);
    return result;
}

// A reader of the log that does not come on holds back what retention would remove: a disk fills by that.
static int look_at_readers(struct db *db, int64_t now_at, struct alert *a, struct err *e) {
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT c.name, v.created_at FROM cursors c JOIN event v"
                             " ON v.id=(SELECT min(id) FROM event WHERE id>c.log_id)"
                             " ORDER BY v.created_at LIMIT 1",
                             "");
    int step = s ? db_next(db, s, e) : -1;
    snprintf(a->message, sizeof a->message, "all readers of the log have come on");
    if (step == 1) {
        int64_t behind_ms = now_at - db_int(s, 1);
        a->crossed = behind_ms > BEHIND_MS;
        a->value = (double)(behind_ms / 3600000);
        if (a->crossed)
            snprintf(
                a->message, sizeof a->message,
                "the reader %.100s of the log is %lld h behind: retention keeps all that it has not read",
                db_text(s, 0), (long long)(behind_ms / 3600000));
    }
    db_done(db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

int queue_check_alerts(struct db *db, bool runner_is_up, const struct cleanup_rules *rules,
                       int64_t stuck_after_ms, double failure_rate, int64_t now_at, struct err *e) {
    int64_t wait_ms = rules->is_live ? 50 : 5000; // of the loop, or of a command
    struct alert stuck = {.name = "stuck", .message = "off"}, failures = {.name = "failure_rate"},
                 readers = {.name = "reader_behind"};
    int result = look_at_stuck(db, runner_is_up, rules, stuck_after_ms, now_at, &stuck, e);
    if (!result)
        result = note(db, &stuck, now_at, wait_ms, e);
    if (!result)
        result = look_at_failures(db, failure_rate, now_at, &failures, e);
    if (!result)
        result = note(db, &failures, now_at, wait_ms, e);
    if (!result)
        result = look_at_readers(db, now_at, &readers, e);
    return result ? result : note(db, &readers, now_at, wait_ms, e);
}
