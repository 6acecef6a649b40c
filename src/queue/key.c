// SPDX-License-Identifier: MIT
// Keys of the HTTP API: rows of api_keys. A key is found by the index over its hash, which nobody can guess their
// way along: it is that of 256 random bits.
#include "queue/key.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "queue/rows.h"
#include <stdio.h>
#include <stdlib.h>

#define COLUMNS "id, name, role, user_id, created_at, last_used_at, revoked_at"

void key_found_clear(struct key_found *key) {
    free(key->name);
    free(key->user_id);
    *key = (struct key_found){0};
}

// One row by its id; *out NULL when there is none.
static int get(struct db *db, const char *id, struct row **out, struct err *e) {
    sqlite3_stmt *s = db_ask(db, e, "SELECT " COLUMNS " FROM api_keys WHERE id=?", "t", id);
    int code = s ? db_next(db, s, e) : -1;
    *out = code == 1 ? row_copy(s) : NULL;
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

static int log_key(struct db *db, const char *event, const struct row *key, const char *verb, struct err *e) {
    struct buf data, message;
    const char *id = row_text(key, "id"), *name = row_text(key, "name"), *user = row_text(key, "user_id"),
               *role = row_text(key, "role");
    buf_init(&data, BUF_UNLIMITED);
    buf_init(&message, BUF_UNLIMITED);
    buf_char(&data, '{');
    json_write_member_text(&data, "keyId", id);
    json_write_member_text(&data, "role", role);
    if (name)
        json_write_member_text(&data, "name", name);
    if (user)
        json_write_member_text(&data, "userId", user);
    buf_char(&data, '}');
    buf_format(&message, "key %s of role %s%s%s was %s", id, role, user ? " of " : "", user ? user : "",
               verb);
    int result = queue_log(db, "info", event, 0, 0, buf_borrow(&message), buf_borrow(&data), e);
    buf_free(&data);
    buf_free(&message);
    return result;
}

int queue_key_add(struct db *db, const struct key_spec *spec, struct row **out, struct err *e) {
    char id[ID_SIZE];
    *out = NULL;
    id_make(id);
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result =
        db_run(db, e, "INSERT INTO api_keys (id, name, role, user_id, hash, created_at) VALUES (?,?,?,?,?,?)",
               "ttttti", id, spec->name, spec->is_admin ? "admin" : "user", spec->user_id, spec->hash,
               clock_wall_at());
    if (!result)
        result = get(db, id, out, e);
    if (!result && *out)
        result = log_key(db, "key.added", *out, "added", e);
    if (!result)
        result = db_commit(db, e);
    else
        db_rollback(db);
    if (result) {
        row_free(*out);
        *out = NULL;
    }
    return result;
}

int queue_keys(struct db *db, queue_each each, void *payload, struct err *e) {
    return rows_give_all(db, db_ask(db, e, "SELECT " COLUMNS " FROM api_keys ORDER BY id", ""), each, payload,
                         e);
}

// Inside the caller's transaction.
static int revoke(struct db *db, const char *id, struct err *e) {
    char whole[ID_SIZE];
    struct row *row = NULL;
    int result = queue_find_key(db, id, whole, e);
    if (!result)
        result = db_run(db, e, "UPDATE api_keys SET revoked_at=? WHERE id=? AND revoked_at IS NULL", "it",
                        clock_wall_at(), whole);
    if (result || db_changes(db) == 0)
        return result;
    result = get(db, whole, &row, e);
    if (!result && row)
        result = log_key(db, "key.revoked", row, "revoked", e);
    row_free(row);
    return result;
}

int queue_key_revoke(struct db *db, const char *id, struct err *e) {
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    result = revoke(db, id, e);
    if (!result)
        return db_commit(db, e);
    db_rollback(db);
    return result;
}

int queue_key_find(struct db *db, const char *hash, struct key_found *out, struct err *e) {
    *out = (struct key_found){0};
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT id, name, user_id, role='admin', revoked_at, last_used_at, hash FROM api_keys WHERE hash=?",
        "t", hash);
    int code = s ? db_next(db, s, e) : -1;
    if (code == 1) {
        snprintf(out->id, sizeof out->id, "%s", db_text(s, 0));
        out->name = mem_copy(db_text(s, 1));
        out->user_id = mem_copy(db_text(s, 2));
        out->is_admin = db_int(s, 3) != 0;
        out->is_revoked = !db_is_null(s, 4);
        out->last_used_at = db_int(s, 5);
        snprintf(out->hash, sizeof out->hash, "%s", db_text(s, 6));
    }
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

int queue_key_count(struct db *db, int64_t *count, struct err *e) {
    return db_integer(db, e, count, 0, "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL", "");
}

int queue_key_revoked_at(struct db *db, int64_t *at, struct err *e) {
    return db_integer(db, e, at, 0, "SELECT max(revoked_at) FROM api_keys WHERE revoked_at IS NOT NULL", "");
}

int queue_key_is_good(struct db *db, const char *id, bool *good, struct err *e) {
    int64_t count = 0;
    int result = db_integer(db, e, &count, 0,
                            "SELECT count(*) FROM api_keys WHERE id=? AND revoked_at IS NULL", "t", id);
    *good = count > 0;
    return result;
}

int queue_key_used(struct db *db, const char *id, int64_t now_at, int64_t pause_ms, struct err *e) {
    return db_run(
        db, e,
        "UPDATE api_keys SET last_used_at=?1 WHERE id=?2 AND coalesce(last_used_at, 0) NOT BETWEEN ?1-?3"
        " AND ?1",
        "iti", now_at, id, pause_ms);
}
