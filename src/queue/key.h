// SPDX-License-Identifier: MIT
// The keys of the HTTP API as they are stored: by the hash of each, never the key.
#ifndef GENRUN_QUEUE_KEY_H
#define GENRUN_QUEUE_KEY_H

#include "base/digest.h"
#include "queue/queue.h"

// A key that is found; texts owned.
struct key_found {
    char id[ID_SIZE]; // "": there is none
    char hash[DIGEST_HEX_SIZE];
    char *name;    // NULL: none
    char *user_id; // whose it is; NULL: nobody's
    bool is_admin;
    bool is_revoked;
    int64_t last_used_at; // 0: never noted
};
void key_found_clear(struct key_found *key);

struct key_spec {
    const char *hash; // SHA-256 of the key, hex
    const char *name, *user_id;
    bool is_admin;
};
// In a transaction of its own, with the event key.added. *out is the row as queue_keys() gives it.
int queue_key_add(struct db *db, const struct key_spec *spec, struct row **out, struct err *e) must_check;
// All, oldest first: rows of id, name, role, user_id, created_at, last_used_at, revoked_at.
int queue_keys(struct db *db, queue_each each, void *payload, struct err *e) must_check;
// In a transaction of its own, with the event key.revoked; harmless when repeated. `id` as for generations.
int queue_key_revoke(struct db *db, const char *id, struct err *e) must_check;
// The key of this hash, also a revoked one.
int queue_key_find(struct db *db, const char *hash, struct key_found *out, struct err *e) must_check;
// How many are not revoked.
int queue_key_count(struct db *db, int64_t *count, struct err *e) must_check;
// When one was revoked last; 0: none was.
int queue_key_revoked_at(struct db *db, int64_t *at, struct err *e) must_check;
// The key with this id is there and not revoked.
int queue_key_is_good(struct db *db, const char *id, bool *good, struct err *e) must_check;
// Inside the caller's transaction: notes that it was used, unless that was noted less than `pause_ms` before.
int queue_key_used(struct db *db, const char *id, int64_t now_at, int64_t pause_ms, struct err *e) must_check;

#endif
