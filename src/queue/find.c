// SPDX-License-Identifier: MIT
// Ids and their tails.
#include "base/buf.h"
#include "base/text.h"
#include "queue/openai.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static bool can_be_tail(const char *id, size_t length) {
    if (length < ID_TAIL || length >= ID_SIZE)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isxdigit((unsigned char)id[i]) && id[i] != '-')
            return false;
    return true;
}

static void lower(const char *id, char out[ID_SIZE]) {
    size_t i = 0;
    for (; i < ID_SIZE - 1 && id[i]; i++)
        out[i] = (char)tolower((unsigned char)id[i]);
    out[i] = 0;
}

static int list_candidates(const char *what, const char *id, const struct buf *candidates, struct err *e) {
    return err_set(e, ERR_INVALID, "%s %s fits several, give more characters of one of: %s", what, id,
                   buf_borrow(candidates));
}

// A thing that has an id. The columns are seq and id; ?1 is the tail that the index has, ?2 what was typed, ?3 whose it
// must be (NULL: anybody's).
struct kind {
    const char *name;
    const char *list, *show; // the commands that tell of it
    const char *sql;
};
static const struct kind generations = {
    "generation", "list", "show",
    "SELECT g.seq, g.id FROM generation g LEFT JOIN batch_job b ON b.seq = g.batch_seq "
    "WHERE substr(g.id, -8) = ?1 AND substr(g.id, -length(?2)) = ?2 "
    "AND (g.batch_seq IS NULL OR b.opened_at IS NOT NULL) AND (?3 IS NULL OR g.user_id = ?3) LIMIT 10"};
static const struct kind batch_jobs = {
    "batch job", "batch list", "batch show",
    "SELECT seq, id FROM batch_job WHERE substr(id, -8) = ?1 AND substr(id, -length(?2)) = ?2 "
    "AND opened_at IS NOT NULL AND (?3 IS NULL OR user_id = ?3) LIMIT 10"};

static const struct kind keys = {
    "key", "key list", "key list",
    "SELECT 0, id FROM api_keys WHERE substr(id, -8) = ?1 AND substr(id, -length(?2)) = ?2 "
    "AND (?3 IS NULL OR user_id = ?3) LIMIT 10"};

// Nothing has the id: it may be that of the other kind.
static int tell_missing(struct db *db, const struct kind *kind, const char *user, const char *id,
                        const char *key, struct err *e) {
    const struct kind *other = kind == &generations ? &batch_jobs : &generations;
    int64_t seq = 0;
    if (kind == &keys)
        return err_set(e, ERR_NOT_FOUND, "key %s does not exist: 'genrun key list' shows them", id);
    int result = db_integer(db, e, &seq, 0, other->sql, "ttt", key + strlen(key) - ID_TAIL, key, user);
    if (result)
        return result;
    if (seq)
        return err_set(e, ERR_NOT_FOUND, "%s is a %s, not a %s: 'genrun %s %s' tells of it", id, other->name,
                       kind->name, other->show, id);
    return err_set(e, ERR_NOT_FOUND,
                   "%s %s does not exist: 'genrun %s' shows the newest, with the ends of their ids",
                   kind->name, id, kind->list);
}

static int find(struct db *db, const struct kind *kind, const char *user, const char *id, int64_t *seq,
                char whole[ID_SIZE], struct err *e) {
    char key[ID_SIZE];
    struct buf candidates;
    int found = 0, more, result = 0;
    char job[ID_SIZE];
    *seq = 0;
    // The id that OpenAI's API shows of a batch job serves, too.
    if (kind == &batch_jobs && text_starts_with(id, "batch_") && strlen(id) == strlen("batch_") + 32) {
        openai_job_id(id, job);
        id = job;
    }
    size_t length = strlen(id);
    if (!can_be_tail(id, length))
        return err_set(e, ERR_INVALID, "%s is not an id: give a whole id, or its last %d or more characters",
                       id, ID_TAIL);
    lower(id, key);
    sqlite3_stmt *s = db_ask(db, e, kind->sql, "ttt", key + length - ID_TAIL, key, user);
    if (!s)
        return ERR_DATABASE;
    buf_init(&candidates, 1024);
    while ((more = db_next(db, s, e)) == 1) {
        *seq = db_int(s, 0);
        snprintf(whole, ID_SIZE, "%s", db_text(s, 1));
        found++;
        buf_format(&candidates, "%s%s", found > 1 ? " " : "", db_text(s, 1));
    }
    db_done(db, s);
    if (more < 0)
        result = ERR_DATABASE;
    else if (found == 0)
        result = tell_missing(db, kind, user, id, key, e);
    else if (found > 1)
        result = list_candidates(kind->name, id, &candidates, e);
    buf_free(&candidates);
    return result;
}

int queue_find_generation(struct db *db, const char *id, int64_t *seq, struct err *e) {
    char whole[ID_SIZE];
    return find(db, &generations, NULL, id, seq, whole, e);
}

int queue_find_own_generation(struct db *db, const char *user, const char *id, int64_t *seq, struct err *e) {
    char whole[ID_SIZE];
    return find(db, &generations, user, id, seq, whole, e);
}

int queue_find_batch(struct db *db, const char *id, int64_t *seq, struct err *e) {
    char whole[ID_SIZE];
    return find(db, &batch_jobs, NULL, id, seq, whole, e);
}

int queue_find_own_batch(struct db *db, const char *user, const char *id, int64_t *seq, struct err *e) {
    char whole[ID_SIZE];
    return find(db, &batch_jobs, user, id, seq, whole, e);
}

int queue_find_key(struct db *db, const char *id, char whole[ID_SIZE], struct err *e) {
    int64_t seq = 0;
    return find(db, &keys, NULL, id, &seq, whole, e);
}
