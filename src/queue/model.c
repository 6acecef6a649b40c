// SPDX-License-Identifier: MIT
// What is remembered of models across restarts.
#include "base/json.h"
#include "base/mem.h"
#include "queue/queue.h"
#include <stdio.h>
#include <string.h>

static void put(char *out, size_t size, const char *text) {
    snprintf(out, size, "%s", text ? text : "");
}

int queue_model_state(struct db *db, const char *model_id, struct model_state *out, struct err *e) {
    *out = (struct model_state){.state = "ok"};
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT state, reason, error_type, since, until, failures, unstreamed FROM model_state"
               " WHERE model_id=?",
               "t", model_id);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1) {
        put(out->state, sizeof out->state, db_text(s, 0));
        put(out->reason, sizeof out->reason, db_text(s, 1));
        put(out->error_type, sizeof out->error_type, db_text(s, 2));
        out->since = db_int(s, 3);
        out->until = db_int(s, 4);
        out->failures = (int)db_int(s, 5);
        out->unstreamed = db_int(s, 6) != 0;
    }
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_model_set(struct db *db, const char *model_id, const struct model_state *state, struct err *e) {
    struct model_state before;
    int result = queue_model_state(db, model_id, &before, e);
    if (result)
        return result;
    result = db_run(
        db, e,
        "INSERT INTO model_state (model_id, state, reason, error_type, since, until, failures, unstreamed)"
        " VALUES (?1,?2,nullif(?3,''),nullif(?4,''),nullif(?5,0),nullif(?6,0),?7,?8)"
        " ON CONFLICT (model_id) DO UPDATE SET state=?2, reason=nullif(?3,''), error_type=nullif(?4,''),"
        " since=nullif(?5,0), until=nullif(?6,0), failures=?7, unstreamed=?8",
        "ttttiiii", model_id, state->state, state->reason, state->error_type, state->since, state->until,
        (int64_t)state->failures, (int64_t)state->unstreamed);
    if (result || strcmp(before.state, state->state) == 0)
        return result;
    struct buf data;
    char event[32];
    buf_init(&data, 8192);
    buf_char(&data, '{');
    json_write_member_text(&data, "model", model_id);
    if (state->error_type[0])
        json_write_member_text(&data, "type", state->error_type);
    if (state->until)
        json_write_member_integer(&data, "until", state->until);
    buf_char(&data, '}');
    snprintf(event, sizeof event, "model.%s", strcmp(state->state, "ok") == 0 ? "resumed" : state->state);
    result = queue_log(db, strcmp(state->state, "ok") == 0 ? "info" : "warn", event, 0, 0, state->reason,
                       buf_borrow(&data), e);
    buf_free(&data);
    return result;
}

int queue_closed_models(struct db *db, struct closed_model **list, size_t *count, struct err *e) {
    size_t room = 0;
    int more;
    *list = NULL;
    *count = 0;
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT model_id, state FROM model_state INDEXED BY model_state_closed WHERE "
                             "state<>'ok' ORDER BY model_id",
                             "");
    if (!s)
        return ERR_DATABASE;
    while ((more = db_next(db, s, e)) == 1) {
        if (*count == room)
            *list = mem_resize(*list, room = 2 * room + 16, sizeof **list);
        struct closed_model *m = &(*list)[(*count)++];
        m->model_id = mem_copy(db_text(s, 0));
        put(m->state, sizeof m->state, db_text(s, 1));
    }
    db_done(db, s);
    return more < 0 ? ERR_DATABASE : 0;
}

int queue_model_resume(struct db *db, const char *model_id, struct err *e) {
    struct model_state state;
    int64_t known = 0;
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = db_integer(
        db, e, &known, 0,
        "SELECT 1 FROM lane WHERE model_id=?1 UNION ALL SELECT 1 FROM model_state WHERE model_id=?1 LIMIT 1",
        "t", model_id);
    if (!result && !known)
        result = err_in(e, ERR_NOT_FOUND, "name", "model %s is not known here: 'genrun models' lists them",
                        model_id);
    if (!result)
        result = queue_model_state(db, model_id, &state, e);
    if (!result) {
        // What was learned of its server stays.
        struct model_state open = {.state = "ok", .unstreamed = state.unstreamed};
        result = queue_model_set(db, model_id, &open, e);
    }
    if (result) {
        db_rollback(db);
        return result;
    }
    return db_commit(db, e);
}
