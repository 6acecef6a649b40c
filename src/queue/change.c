// SPDX-License-Identifier: MIT
// Changes that people ask for, of one generation or of all that a filter selects.
#include "base/buf.h"
#include "base/clock.h"
#include "queue/queue.h"
#include "queue/walk.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SELECTED_ROWS 2048 // looked for at once
#define GROUP_ROWS 64      // changed at once
#define LIST_SIZE (GROUP_ROWS * 21 + 3)

// ---- the changes; of each statement ?1 is the time, ?2 the reason and ?3 the rows, as a JSON list ----

// Many rows in a statement: it costs by the size of the triggers' programs, whatever the number of its rows.
#define ROWS "seq IN (SELECT value FROM json_each(?3))"
#define CANCEL                                                                                               \
    "UPDATE generation SET status='cancelled', claim_token=NULL, completed_at=?1, run_after=NULL, "          \
    "note=NULL, waiting_since=NULL, error_message=NULL, cancel_reason=coalesce(?2,'cancelled')"              \
    " WHERE " ROWS " AND (status='queued' OR status='processing')"
#define FAIL                                                                                                 \
    "UPDATE generation SET status='failed', claim_token=NULL, completed_at=?1, run_after=NULL, note=NULL,"   \
    " waiting_since=NULL, error_type='OperatorError', error_message=coalesce(?2,'failed by hand'),"          \
    " error_detail=json_object('action','fail','model',model_id,'attempt',starts,'stack',"                   \
    "'failed by hand, from '||status||', model '||model_id||', attempt '||starts)"                           \
    " WHERE " ROWS " AND (status='queued' OR status='processing')"
#define RETRY                                                                                                \
    "UPDATE generation SET status='queued', completed_at=NULL, run_after=NULL, "                             \
    "note=json_object('event','queued','message','retried by hand, it was '||status), "                      \
    "waiting_since=NULL, attempts=0, suspect=0, crashes=0, crashes_alone=0, error_type=NULL,"                \
    " error_message=NULL, error_detail=NULL, cancel_reason=NULL, dismissed_at=NULL"                          \
    " WHERE " ROWS " AND (status='failed' OR status='cancelled')"
// An item of a cancelled batch job stays as it is, unless it is named: then that is refused.
#define RETRIED                                                                                              \
    " NOT EXISTS (SELECT 1 FROM batch_job b WHERE b.seq=generation.batch_seq AND b.status='cancelled')"
#define WHY "(SELECT k.why FROM stuck_generations k WHERE k.id=generation.id)"
#define RECOVER                                                                                              \
    "UPDATE generation SET status='queued', claim_token=NULL, run_after=NULL,"                               \
    " note=json_object('event','recovered','level','warn','message','recovered by hand: '||" WHY ","         \
    " 'data',json_object('why'," WHY ")) WHERE " ROWS " AND status='processing' AND " WHY " IS NOT NULL"

struct kind {
    const char *one;       // changes a row, where its state allows it
    const char *many;      // the same where many are selected
    const char *fits;      // what of the selected ones that changes, where it is not all
    const char *past;      // "cancelled"
    const char *states[5]; // from which it leads, in the order in which many are changed
    const char *as_is;     // those in which nothing is left to do
    bool again;            // what comes into such a state meanwhile is changed, too
};

static const struct kind kinds[] = {
    [CHANGE_CANCEL] = {CANCEL, CANCEL, NULL, "cancelled", {"queued", "processing"}, "cancelled", true},
    [CHANGE_FAIL] = {FAIL, FAIL, NULL, "failed", {"queued", "processing"}, "failed", true},
    [CHANGE_RETRY] = {RETRY,
                      RETRY " AND" RETRIED,
                      RETRIED,
                      "retried",
                      {"failed", "cancelled"},
                      "queued processing",
                      false},
    [CHANGE_RECOVER] = {RECOVER, RECOVER, NULL, "recovered", {"stuck"}, "", false},
    [CHANGE_DISMISS] = {"UPDATE generation SET dismissed_at=?1 WHERE " ROWS " AND status<>'queued'"
                        " AND dismissed_at IS NULL",
                        NULL,
                        NULL,
                        "dismissed",
                        {"failed", "cancelled"},
                        "processing completed failed cancelled",
                        false},
    [CHANGE_UNDISMISS] = {"UPDATE generation SET dismissed_at=NULL WHERE " ROWS
                          " AND dismissed_at IS NOT NULL",
                          NULL,
                          NULL,
                          "dismissed",
                          {"failed", "cancelled", "completed", "processing"},
                          "queued processing completed failed cancelled",
                          false},
};

int queue_log(struct db *db, const char *level, const char *event, int64_t generation_seq, int64_t batch_seq,
              const char *message, const char *data, struct err *e) {
    return db_run(db, e,
                  "INSERT INTO event (created_at, level, event, generation_seq, batch_seq, message, data)"
                  " VALUES (?,?,?,nullif(?,0),nullif(?,0),nullif(?,''),?)",
                  "ittiitt", clock_wall_at(), level, event, generation_seq, batch_seq, message, data);
}

// ---- one ----

static int not_stuck(sqlite3_stmt *s, const char *id, const char *status, struct err *e) {
    if (strcmp(status, "queued") == 0)
        return err_set(e, ERR_CONFLICT,
                       "generation %s is queued and not stuck, it waits: 'genrun show %s' tells what for", id,
                       id);
    if (strcmp(status, "completed") == 0)
        return err_set(
            e, ERR_CONFLICT,
            "generation %s is completed and not stuck, it has ended: 'genrun output %s' prints what came", id,
            id);
    if (strcmp(status, "processing") != 0)
        return err_set(e, ERR_CONFLICT,
                       "generation %s is %s and not stuck, it has ended: 'genrun retry %s' queues it again",
                       id, status, id);
    if (!db_is_null(s, 2))
        return err_set(
            e, ERR_CONFLICT,
            "generation %s is processing and dismissed, so it does not count as stuck: 'genrun dismiss "
            "--undo %s' first",
            id, id);
    int64_t now_at = clock_wall_at();
    return err_set(e, ERR_CONFLICT,
                   "generation %s is processing and not stuck, its runner is up, with a heartbeat %lld s and "
                   "progress %lld s ago: 'genrun cancel %s' ends it",
                   id, (long long)(now_at - db_int(s, 3)) / 1000, (long long)(now_at - db_int(s, 4)) / 1000,
                   id);
}

// Why nothing was changed: 0 where nothing was left to do.
static int explain(struct db *db, enum change change, int64_t seq, struct err *e) {
    int result = 0;
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT status, id, dismissed_at, last_heartbeat, last_progress"
                             " FROM generations WHERE seq=?",
                             "i", seq);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1) {
        const char *status = db_text(s, 0), *id = db_text(s, 1);
        if (strstr(kinds[change].as_is, status) != NULL)
            result = 0;
        else if (change == CHANGE_RECOVER)
            result = not_stuck(s, id, status, e);
        else
            result =
                err_set(e, ERR_CONFLICT, "generation %s is %s and cannot be %s: 'genrun show %s' tells more",
                        id, status, kinds[change].past, id);
    } else {
        result = code == 0 ? err_set(e, ERR_NOT_FOUND, "the generation is gone: it was deleted meanwhile")
                           : ERR_DATABASE;
    }
    db_done(db, s);
    return result;
}

int queue_change(struct db *db, enum change change, int64_t seq, const char *reason, struct err *e) {
    char rows[32];
    snprintf(rows, sizeof rows, "[%lld]", (long long)seq);
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = db_run(db, e, kinds[change].one, "itt", clock_wall_at(), reason, rows);
    if (!result && db_changes(db) == 1)
        return db_commit(db, e);
    if (!result)
        result = explain(db, change, seq, e);
    db_rollback(db);
    return result;
}

// ---- all that a filter selects ----

// Others get in between two slices.
static void gap(void) {
    const struct timespec pause = {0, QUEUE_GAP_MS * 1000000L};
    nanosleep(&pause, NULL);
}

// The rows of a group as the statements take them.
static void list_group(const int64_t *rows, size_t count, char list[LIST_SIZE]) {
    size_t length = 1;
    list[0] = '[';
    for (size_t i = 0; i < count; i++)
        length +=
            (size_t)snprintf(list + length, LIST_SIZE - length, "%s%lld", i ? "," : "", (long long)rows[i]);
    snprintf(list + length, LIST_SIZE - length, "]");
}

static int change_group(struct db *db, enum change change, const int64_t *rows, size_t count,
                        const char *reason, int64_t now_at, int64_t *changed, struct err *e) {
    const char *sql = kinds[change].many ? kinds[change].many : kinds[change].one;
    char list[LIST_SIZE];
    list_group(rows, count, list);
    int result = db_run(db, e, sql, "itt", now_at, reason, list);
    *changed += result ? 0 : db_changes(db);
    return result;
}

// One slice from *done on, in a transaction.
static int change_slice(struct db *db, enum change change, const int64_t *rows, size_t count, size_t *done,
                        const char *reason, int64_t *changed, struct err *e) {
    int64_t now_at = clock_wall_at(), slice = 0;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
    do {
        size_t group = count - *done < GROUP_ROWS ? count - *done : GROUP_ROWS;
        result = change_group(db, change, &rows[*done], group, reason, now_at, &slice, e);
        *done += group;
    } while (!result && *done < count && clock_monotonic_ms() < end_ms);
    if (result)
        db_rollback(db);
    else
        result = db_commit(db, e);
    *changed += result ? 0 : slice;
    return result;
}

// Up to `want` rows from filter->after on, which moves behind them; 0 there is the end.
static int select_rows(struct db *db, struct filter *filter, int64_t *rows, size_t want, size_t *count,
                       struct err *e) {
    int result = 0;
    *count = 0;
    do {
        struct walk_page page;
        result = walk_page(db, filter, want - *count < WALK_ROWS ? want - *count : WALK_ROWS, &page, e);
        if (result)
            return result;
        memcpy(&rows[*count], page.seqs, page.count * sizeof *rows);
        *count += page.count;
        filter->after = page.next;
    } while (filter->after && *count < want);
    return result;
}

// How many of the selected rows would be changed.
static int count_fitting(struct db *db, enum change change, const int64_t *rows, size_t count,
                         int64_t *changed, struct err *e) {
    struct buf sql;
    int result = 0;
    if (!kinds[change].fits) {
        *changed += (int64_t)count;
        return 0;
    }
    buf_init(&sql, BUF_UNLIMITED);
    buf_format(&sql, "SELECT count(*) FROM generation WHERE seq IN (SELECT value FROM json_each(?)) AND%s",
               kinds[change].fits);
    for (size_t done = 0; !result && done < count; done += GROUP_ROWS) {
        char list[LIST_SIZE];
        int64_t fitting = 0;
        list_group(&rows[done], count - done < GROUP_ROWS ? count - done : GROUP_ROWS, list);
        result = db_integer(db, e, &fitting, 0, sql.data, "t", list);
        *changed += fitting;
    }
    buf_free(&sql);
    return result;
}

// All of one state.
static int change_state(struct db *db, enum change change, struct filter filter, const char *reason,
                        bool dry_run, int64_t *changed, struct err *e) {
    int64_t rows[SELECTED_ROWS];
    int result = 0;
    do {
        size_t count, want = SELECTED_ROWS;
        if (filter.limit > 0 && filter.limit - *changed < (int64_t)want)
            want = (size_t)(filter.limit - *changed);
        if (want == 0)
            break;
        result = select_rows(db, &filter, rows, want, &count, e);
        if (result || count == 0)
            break;
        if (dry_run)
            result = count_fitting(db, change, rows, count, changed, e);
        for (size_t done = 0; !result && !dry_run && done < count;) {
            result = change_slice(db, change, rows, count, &done, reason, changed, e);
            gap();
        }
    } while (!result && filter.after);
    return result;
}

static bool leads_from(enum change change, const char *status) {
    const char *const *states = kinds[change].states;
    // What is stuck is processing; any end can be dismissed, when it is named.
    if (strcmp(status, "stuck") == 0)
        status = change == CHANGE_RECOVER ? "stuck" : "processing";
    if (change == CHANGE_DISMISS)
        return strcmp(status, "queued") != 0;
    for (; *states; states++)
        if (strcmp(status, *states) == 0)
            return true;
    return false;
}

int queue_change_all(struct db *db, enum change change, const struct filter *filter, const char *reason,
                     bool dry_run, int64_t *changed, struct err *e) {
    const struct kind *kind = &kinds[change];
    struct filter f = *filter;
    int64_t before = -1;
    *changed = 0;
    if (!dry_run && db_is_begun(db))
        return err_set(e, ERR_CONFLICT,
                       "a change of many is made in slices, and not inside of a transaction");
    int result = walk_check_status(f.status, e);
    if (result || (f.status && !leads_from(change, f.status)))
        return result;
    // Those that are there now: none that comes meanwhile, or there may be no end.
    if (!f.batch_seq)
        result = db_integer(db, e, &f.after, 0, "SELECT max(seq)+1 FROM generation", "");
    if (change == CHANGE_DISMISS || change == CHANGE_UNDISMISS)
        f.dismissed = change == CHANGE_DISMISS ? -1 : 1;
    while (!result && before != *changed) {
        before = *changed;
        for (size_t i = 0; !result && (i == 0 || (!filter->status && kind->states[i])); i++) {
            f.status = filter->status ? filter->status : kind->states[i];
            result = change_state(db, change, f, reason, dry_run, changed, e);
        }
        if (!kind->again || filter->status || dry_run)
            break;
    }
    return result;
}
