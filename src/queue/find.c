// SPDX-License-Identifier: MIT
// Ids and their tails.
#include "base/buf.h"
#include "queue/queue.h"
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
    for (; id[i] && i < ID_SIZE - 1; i++)
        out[i] = (char)tolower((unsigned char)id[i]);
    out[i] = 0;
}

static int list_candidates(const char *what, const char *id, const struct buf *candidates, struct err *e) {
    return err_set(e, ERR_INVALID, "%s %s fits several, give more characters of one of: %s", what, id,
                   buf_borrow(candidates));
}

static int find(struct db *db, const char *what, const char *sql, const char *id, int64_t *seq,
                struct err *e) {
    char key[ID_SIZE];
    struct buf candidates;
    int found = 0, more, result = 0;
    size_t length = strlen(id);
    *seq = 0;
    if (!can_be_tail(id, length))
        return err_set(e, ERR_INVALID, "%s is not an id: give a whole id, or its last %d or more characters",
                       id, ID_TAIL);
    lower(id, key);
    sqlite3_stmt *s = db_ask(db, e, sql, "tt", key + length - ID_TAIL, key);
    if (!s)
        return ERR_DATABASE;
    buf_init(&candidates, 1024);
    while ((more = db_next(db, s, e)) == 1) {
        *seq = db_int(s, 0);
        found++;
        buf_format(&candidates, "%s%s", found > 1 ? " " : "", db_text(s, 1));
    }
    db_done(db, s);
    if (more < 0)
        result = ERR_DATABASE;
    else if (found == 0)
        result = err_set(e, ERR_NOT_FOUND, "%s %s does not exist: genrun %s shows the newest", what, id,
                         strcmp(what, "generation") == 0 ? "list" : "batch list");
    else if (found > 1)
        result = list_candidates(what, id, &candidates, e);
    buf_free(&candidates);
    return result;
}

int queue_find_generation(struct db *db, const char *id, int64_t *seq, struct err *e) {
    return find(db, "generation",
                "SELECT g.seq, g.id FROM generation g LEFT JOIN batch_job b ON b.seq = g.batch_seq "
                "WHERE substr(g.id, -8) = ?1 AND substr(g.id, -length(?2)) = ?2 "
                "AND (g.batch_seq IS NULL OR b.opened_at IS NOT NULL) LIMIT 10",
                id, seq, e);
}

int queue_find_batch(struct db *db, const char *id, int64_t *seq, struct err *e) {
    return find(db, "batch job",
                "SELECT seq, id FROM batch_job WHERE substr(id, -8) = ?1 AND substr(id, -length(?2)) = ?2 "
                "AND opened_at IS NOT NULL LIMIT 10",
                id, seq, e);
}
