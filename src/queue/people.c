// SPDX-License-Identifier: MIT
// The people and places that reports join. What is not given stays as it was.
#include "queue/queue.h"

static const char *const sets[] = {
    [PEOPLE_USER] =
        "INSERT INTO profiles (id, display_name, username, email) VALUES (?1,?2,?3,?4) ON CONFLICT (id)"
        " DO UPDATE SET display_name=coalesce(?2,display_name), username=coalesce(?3,username),"
        " email=coalesce(?4,email) RETURNING id, display_name, username, email",
    [PEOPLE_SESSION] =
        "INSERT INTO sessions (id, name, project_id, user_id) VALUES (?1,?2,?3,?4) ON CONFLICT (id)"
        " DO UPDATE SET name=coalesce(?2,name), project_id=coalesce(?3,project_id),"
        " user_id=coalesce(?4,user_id) RETURNING id, name, project_id, user_id",
    [PEOPLE_PROJECT] = "INSERT INTO projects (id, name, user_id) VALUES (?1,?2,?3) ON CONFLICT (id)"
                       " DO UPDATE SET name=coalesce(?2,name), user_id=coalesce(?3,user_id)"
                       " RETURNING id, name, user_id",
};

int queue_people_set(struct db *db, enum people which, const char *const values[4], struct row **out,
                     struct err *e) {
    *out = NULL;
    sqlite3_stmt *s = db_ask(db, e, sets[which], "tttt", values[0], values[1], values[2], values[3]);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        *out = row_copy(s);
    // The row is written when the statement has come to its end.
    while (code == 1)
        code = db_next(db, s, e);
    db_done(db, s);
    if (code == 0)
        return 0;
    row_free(*out);
    *out = NULL;
    return ERR_DATABASE;
}

int queue_user_get(struct db *db, const char *id, struct row **out, struct err *e) {
    *out = NULL;
    sqlite3_stmt *s =
        db_ask(db, e, "SELECT id, display_name, username, email FROM profiles WHERE id=?", "t", id);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1)
        *out = row_copy(s);
    db_done(db, s);
    if (code < 0)
        return ERR_DATABASE;
    return code == 1
               ? 0
               : err_set(e, ERR_NOT_FOUND, "nothing is known of user %s: 'genrun user set' names users", id);
}
