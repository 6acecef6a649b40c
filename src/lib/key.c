// SPDX-License-Identifier: MIT
// Keys of the HTTP API: made, listed, revoked, and found again by whoever presents one.
#include "queue/key.h"
#include "base/base64.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/handle.h"
#include "lib/host.h"
#include <stdlib.h>
#include <string.h>

#define KEY_START "gr_"
#define KEY_BYTES 32

static void make_key(char key[GENRUN_KEY_SIZE]) {
    unsigned char bytes[KEY_BYTES];
    struct buf text;
    buf_init(&text, GENRUN_KEY_SIZE - 1);
    id_random_bytes(bytes, sizeof bytes);
    buf_text(&text, KEY_START);
    base64_url(&text, bytes, sizeof bytes);
    memcpy(key, buf_borrow(&text), GENRUN_KEY_SIZE);
    explicit_bzero(bytes, sizeof bytes);
    config_wipe(&text);
}

static int check_role(genrun *g, const char *user, const char *role, bool *is_admin) {
    *is_admin = role ? strcmp(role, "admin") == 0 : user == NULL;
    if (!*is_admin && role && strcmp(role, "user") != 0)
        return err_set(&g->err, ERR_INVALID, "there is no such role: give admin or user");
    if (!*is_admin && !user)
        return err_set(&g->err, ERR_INVALID, "a user's key needs its user: name one, or give the role admin");
    return 0;
}

int genrun_key_add(genrun *g, char key[GENRUN_KEY_SIZE], genrun_row **out, const char *user, const char *role,
                   const char *name) {
    char hash[DIGEST_HEX_SIZE];
    struct row *row = NULL;
    struct key_spec spec = {.hash = hash, .name = name, .user_id = user};
    key[0] = '\0';
    if (out)
        *out = NULL;
    g->create = true;
    int result = handle_name(g, "the user", user);
    if (!result)
        result = handle_name(g, "the name", name);
    if (!result)
        result = check_role(g, user, role, &spec.is_admin);
    if (!result)
        result = handle_database(g);
    if (result)
        return handle_result(g, result);
    make_key(key);
    digest_text(hash, key);
    result = queue_key_add(g->db, &spec, &row, &g->err);
    if (result)
        explicit_bzero(key, GENRUN_KEY_SIZE);
    if (out)
        *out = (genrun_row *)row;
    else
        row_free(row);
    return handle_result(g, result);
}

int genrun_keys(genrun *g, genrun_each each, void *payload) {
    struct each e = {each, payload};
    int result = handle_database(g);
    if (!result)
        result = queue_keys(g->db, handle_each_row, &e, &g->err);
    return handle_result(g, result);
}

int genrun_key_revoke(genrun *g, const char *id) {
    int result = handle_database(g);
    if (!result)
        result = queue_key_revoke(g->db, id, &g->err);
    return handle_result(g, result);
}

// ---- for the server (lib/host.h) ----

bool host_key_has_form(const char *text) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t start = strlen(KEY_START);
    return strlen(text) == GENRUN_KEY_SIZE - 1 && text_starts_with(text, KEY_START) &&
           strspn(text + start, alphabet) == GENRUN_KEY_SIZE - 1 - start;
}

int host_key_find_hash(genrun *g, const char *hash, struct host_key *out) {
    struct key_found found = {0};
    *out = (struct host_key){0};
    int result = handle_scoped_database(g);
    if (result)
        return handle_result(g, result);
    result = queue_key_find(g->db, hash, &found, &g->err);
    if (!result && found.id[0] && digest_equal(found.hash, hash, sizeof found.hash)) {
        memcpy(out->id, found.id, sizeof out->id);
        out->user = found.is_admin ? NULL : mem_copy(found.user_id);
        out->is_admin = found.is_admin;
        out->is_revoked = found.is_revoked;
        out->last_used_at = found.last_used_at;
    }
    key_found_clear(&found);
    return handle_result(g, result);
}

int host_key_find(genrun *g, const char *key, struct host_key *out) {
    char hash[DIGEST_HEX_SIZE];
    *out = (struct host_key){0};
    if (!host_key_has_form(key))
        return 0;
    digest_text(hash, key);
    return host_key_find_hash(g, hash, out);
}

void host_key_clear(struct host_key *key) {
    free(key->user);
    *key = (struct host_key){0};
}

int host_key_revoked_at(genrun *g, int64_t *at) {
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_key_revoked_at(g->db, at, &g->err);
    return handle_result(g, result);
}

int host_key_is_good(genrun *g, const char *id, bool *good) {
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_key_is_good(g->db, id, good, &g->err);
    return handle_result(g, result);
}

int host_key_used(genrun *g, const char *id, int64_t now_at, int64_t pause_ms) {
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_key_used(g->db, id, now_at, pause_ms, &g->err);
    return handle_result(g, result);
}

int host_key_count(genrun *g, int64_t *count) {
    *count = 0;
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_key_count(g->db, count, &g->err);
    return handle_result(g, result == ERR_NOT_FOUND ? 0 : result);
}

int host_log(genrun *g, const char *level, const char *event, const char *message, const char *data) {
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_log(g->db, level, event, 0, 0, message, data, &g->err);
    return handle_result(g, result);
}
