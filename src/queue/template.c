// SPDX-License-Identifier: MIT
// Templates as they are stored: by name, and at most one for each pair of type and tier.
#include "base/clock.h"
#include "queue/queue.h"
#include "queue/rows.h"
#include <string.h>

#define COLUMNS "id, name, type, tier, length(CAST(body AS BLOB)) AS bytes, created_at"

// One that stands in the way: ERR_CONFLICT.
static int check_free(struct db *db, const struct template_row *row, struct err *e) {
    int result = 0;
    sqlite3_stmt *s = db_ask(db, e,
                             "SELECT name, name=?1 FROM templates WHERE name=?1 OR (type IS ?2 AND tier IS ?3"
                             " AND coalesce(?2, ?3) IS NOT NULL) ORDER BY name<>?1 LIMIT 1",
                             "ttt", row->name, row->type, row->tier);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1 && db_int(s, 1))
        result =
            err_set(e, ERR_CONFLICT, "template %s exists: remove it first, or use another name", row->name);
    else if (code == 1)
        result =
            err_set(e, ERR_CONFLICT, "template %s has the type %s and the tier %s already: remove it first",
                    db_text(s, 0), row->type ? row->type : "(any)", row->tier ? row->tier : "(any)");
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : result;
}

int queue_template_add(struct db *db, const struct template_row *row, char id[ID_SIZE], struct err *e) {
    id_make(id);
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = check_free(db, row, e);
    if (!result)
        result = db_run(db, e,
                        "INSERT INTO templates (id, name, type, tier, body, created_at) VALUES (?,?,?,?,?,?)",
                        "ttttti", id, row->name, row->type, row->tier, row->body, clock_wall_at());
    if (result) {
        db_rollback(db);
        return result;
    }
    return db_commit(db, e);
}

int queue_template_list(struct db *db, bool with_bodies, queue_each each, void *payload, struct err *e) {
    return rows_give_all(db,
                         with_bodies
                             ? db_ask(db, e, "SELECT " COLUMNS ", body FROM templates ORDER BY name", "")
                             : db_ask(db, e, "SELECT " COLUMNS " FROM templates ORDER BY name", ""),
                         each, payload, e);
}

static int not_found(const char *name, struct err *e) {
    return err_set(e, ERR_NOT_FOUND, "there is no template %s: 'genrun template list' shows them", name);
}

int queue_template_get(struct db *db, const char *name, struct row **out, struct err *e) {
    *out = NULL;
    sqlite3_stmt *s = db_ask(
        db, e, "SELECT " COLUMNS ", body FROM templates WHERE name=?1 OR id=?1 ORDER BY name<>?1", "t", name);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    if (code == 1)
        *out = row_copy(s);
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : code == 0 ? not_found(name, e) : 0;
}

int queue_template_remove(struct db *db, const char *name, struct err *e) {
    int result = db_run(db, e, "DELETE FROM templates WHERE name=?1 OR id=?1", "t", name);
    return result ? result : db_changes(db) == 0 ? not_found(name, e) : 0;
}
