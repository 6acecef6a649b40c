// SPDX-License-Identifier: MIT
// Accepting one generation.
#include "base/clock.h"
#include "queue/insert.h"
#include "queue/queue.h"
#include <string.h>

int insert_lane(struct db *db, const struct spec *spec, int64_t batch_seq, int64_t *lane, struct err *e) {
    const char *user = spec->user_id ? spec->user_id : "";
    int result = db_integer(
        db, e, lane, 0, "SELECT id FROM lane WHERE model_id=? AND user_id=? AND batch_seq=? AND priority=?",
        "ttii", spec->model_id, user, batch_seq, (int64_t)spec->priority);
    if (result)
        return result;
    if (*lane)
        return db_run(db, e, "UPDATE lane SET ready=1 WHERE id=? AND ready=0", "i", *lane);
    result = db_run(db, e, "INSERT INTO lane (model_id, user_id, batch_seq, priority) VALUES (?,?,?,?)",
                    "ttii", spec->model_id, user, batch_seq, (int64_t)spec->priority);
    // The trigger lane_inherit ran after the insert; the row id is still the lane's.
    *lane = db_last_id(db);
    return result;
}

int insert_generation(struct db *db, const struct spec *spec, const char *id, int64_t lane, int64_t batch_seq,
                      int64_t item_index, int64_t now_at, struct err *e) {
    sqlite3_stmt *s = db_ask(
        db, e,
        "INSERT INTO generation (id, status, lane, run_after, model_id, user_id, session_id, batch_seq,"
        " item_index, client_id, priority, created_at)"
        " VALUES (?,'queued',?,nullif(?,0),?,?,?,nullif(?,0),?,?,?,?)",
        "tiitttiitii", id, lane, spec->run_after_at, spec->model_id, spec->user_id, spec->session_id,
        batch_seq, item_index, spec->client_id, (int64_t)spec->priority, now_at);
    if (!s)
        return ERR_DATABASE;
    if (!batch_seq)
        sqlite3_bind_null(s, 8);
    int code = db_next(db, s, e);
    db_done(db, s);
    if (code)
        return (int)e->code;
    return db_run(db, e,
                  "INSERT INTO generation_input (seq, prompt, parameters, endpoint, custom_id, topic, tier, "
                  "type, template_id)"
                  " VALUES (?,?,?,?,?,?,?,?,?)",
                  "itttttttt", db_last_id(db), spec->prompt, spec->parameters ? spec->parameters : "{}",
                  spec->endpoint, spec->custom_id, spec->topic, spec->tier, spec->type, spec->template_id);
}

// The earlier generation with the same client id, if it asked for the same.
static int find_known(struct db *db, const struct spec *spec, char id[ID_SIZE], bool *known, struct err *e) {
    *known = false;
    if (!spec->client_id)
        return 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT g.id, g.model_id IS ?3 AND i.prompt IS ?4 AND i.parameters IS ?5 AND i.endpoint IS ?6"
               " FROM generation g JOIN generation_input i ON i.seq=g.seq"
               " WHERE coalesce(g.user_id,'')=coalesce(?1,'') AND g.client_id=?2",
               "tttttt", spec->user_id, spec->client_id, spec->model_id, spec->prompt,
               spec->parameters ? spec->parameters : "{}", spec->endpoint);
    if (!s)
        return ERR_DATABASE;
    int result = 0;
    int code = db_next(db, s, e);
    if (code < 0) {
        result = ERR_DATABASE;
    } else if (code == 1) {
        *known = true;
        memcpy(id, db_text(s, 0), ID_SIZE);
        if (!db_int(s, 1))
            result = err_in(
                e, ERR_CONFLICT, "clientId",
                "key %s was used for generation %s with another prompt, model or parameters: use another key",
                spec->client_id, id);
    }
    db_done(db, s);
    return result;
}

int queue_submit(struct db *db, const struct spec *spec, char id[ID_SIZE], bool *created, struct err *e) {
    bool known = false;
    int64_t lane = 0;
    int64_t now_at = clock_wall_at();
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    if ((result = find_known(db, spec, id, &known, e)) || known) {
        db_rollback(db);
        *created = false;
        return result;
    }
    id_make(id);
    if ((result = insert_lane(db, spec, 0, &lane, e)) ||
        (result = insert_generation(db, spec, id, lane, 0, 0, now_at, e)) ||
        (result =
             db_run(db, e, "UPDATE batch_count SET queued_items=queued_items+1 WHERE batch_seq=0", "")) ||
        (result = db_run(db, e,
                         "INSERT INTO event (created_at, level, event, generation_seq)"
                         " SELECT ?, 'info', 'generation.queued', seq FROM generation WHERE id=?",
                         "it", now_at, id))) {
        db_rollback(db);
        return result;
    }
    *created = true;
    return db_commit(db, e);
}
