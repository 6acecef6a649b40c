// SPDX-License-Identifier: MIT
// Why a queued generation does not run now: every one that waits has a named reason.
#include "base/clock.h"
#include "base/mem.h"
#include "queue/upkeep.h"
#include <stdlib.h>
#include <string.h>

enum column {
    STATUS,
    RUN_AFTER,
    SUSPECT,
    BATCH_STATUS,
    PAUSED_REASON,
    STOP_REASON,
    AT_LIMIT,
    MODEL_STATE,
    MODEL_REASON,
    USER
};

// The account's lock that ends first, when all of them are held.
static int account_lock(struct db *db, const char *user_id, int account_concurrency, int64_t now_at,
                        char **out, struct err *e) {
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT count(*), name, reason, min(expires_at) FROM locks WHERE name BETWEEN 'account:'||?1||':'"
        " AND 'account:'||?1||':~' AND substr(name, length(?1)+10) NOT GLOB '*[^0-9]*' AND expires_at>?2",
        "ti", user_id, now_at);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1 && db_int(s, 0) >= account_concurrency) {
        char until[CLOCK_ISO_SIZE];
        clock_format_iso(db_int(s, 3), until);
        *out = mem_format("the account's lock %s, held by %s until %s at the latest", db_text(s, 1),
                          db_text(s, 2) ? db_text(s, 2) : "another", until);
    }
    db_done(db, s);
    return code < 0 ? (int)e->code : 0;
}

// What the row itself and its batch job and model say; NULL: nothing holds it.
static char *name_reason(sqlite3_stmt *s, int64_t now_at) {
    const char *batch = db_text(s, BATCH_STATUS), *model = db_text(s, MODEL_STATE);
    if (batch && (strcmp(batch, "paused") == 0 || strcmp(batch, "cancelled") == 0))
        return mem_format("its batch job, which is %s%s%s", batch, db_text(s, PAUSED_REASON) ? ": " : "",
                          db_text(s, PAUSED_REASON) ? db_text(s, PAUSED_REASON) : "");
    if (db_text(s, STOP_REASON))
        return mem_format("its batch job, which is %s", db_text(s, STOP_REASON));
    if (db_int(s, RUN_AFTER) > now_at) {
        char until[CLOCK_ISO_SIZE];
        clock_format_iso(db_int(s, RUN_AFTER), until);
        return mem_format("its time, %s", until);
    }
    if (model && strcmp(model, "ok") != 0)
        return mem_format("its model, which is %s: %s", model,
                          db_text(s, MODEL_REASON) ? db_text(s, MODEL_REASON) : "-");
    if (db_int(s, SUSPECT))
        return mem_copy("a quiet moment: it was in flight in crashes of the runner, and runs alone");
    return db_int(s, AT_LIMIT) ? mem_copy("others of its batch job, whose concurrency is used up") : NULL;
}

int queue_waits_for(struct db *db, int64_t seq, int account_concurrency, bool runner_is_up, char **reason,
                    struct err *e) {
    int64_t now_at = clock_wall_at();
    char *user_id = NULL;
    bool waits = false;
    *reason = NULL;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT g.status, g.run_after, g.suspect, b.status, b.paused_reason, b.stop_reason, b.at_limit,"
        " m.state, m.reason, g.user_id FROM generation g LEFT JOIN batch_job b ON b.seq=g.batch_seq"
        " LEFT JOIN model_state m ON m.model_id=g.model_id WHERE g.seq=?",
        "i", seq);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1 && strcmp(db_text(s, STATUS), "queued") == 0) {
        waits = true;
        *reason = name_reason(s, now_at);
        user_id = mem_copy(db_text(s, USER));
    }
    db_done(db, s);
    int result = code < 0 ? (int)e->code : 0;
    if (waits && !*reason && account_concurrency > 0 && user_id)
        result = account_lock(db, user_id, account_concurrency, now_at, reason, e);
    if (waits && !*reason && !result)
        *reason = mem_copy(runner_is_up ? "its turn" : "a runner: none is up, start one with 'genrun run'");
    free(user_id);
    return result;
}
