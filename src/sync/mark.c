// SPDX-License-Identifier: MIT
#include "sync/mark.h"
#include "base/digest.h"
#include "queue/sync.h"
#include <stdio.h>
#include <string.h>

// The row of the log in one digest; "" where retention has removed it.
static int digest_of(struct push *p, int64_t id, char out[DIGEST_HEX_SIZE], struct err *e) {
    sqlite3_stmt *s = db_ask(
        p->db, e,
        "SELECT quote(id) || quote(created_at) || quote(level) || quote(event) || quote(generation_seq) "
        "|| quote(batch_seq) || quote(attempt) || quote(message) || quote(data) FROM event WHERE id = ?1",
        "i", id);
    int step = s ? db_next(p->db, s, e) : -1;
    out[0] = 0;
    if (step > 0)
        digest_text(out, db_text(s, 0));
    db_done(p->db, s);
    return step < 0 ? ERR_DATABASE : 0;
}

int mark_write(struct push *p, int64_t *mark, struct err *e) {
    int64_t newest = 0;
    char number[24], digest[DIGEST_HEX_SIZE];
    int result = db_integer(p->db, e, &newest, 0, QUEUE_SYNC_NEWEST, "");
    if (result || newest == *mark)
        return result;
    *mark = newest;
    snprintf(number, sizeof number, "%lld", (long long)newest);
    result = digest_of(p, newest, digest, e);
    const char *values[] = {p->node, number, digest};
    return result ? result
                  : pg_run(p->pg, NULL, e,
                           "UPDATE genrun_nodes SET log_id = $2::bigint, log_digest = $3 WHERE node = $1", 3,
                           values);
}

// A row that is not here any more was removed by retention, which waits for all readers: it was read, or was gone already
// when the mark was set. Else it never came to be.
static int compare(struct push *p, int64_t id, const char *there, int64_t position, bool *same,
                   struct err *e) {
    char here[DIGEST_HEX_SIZE];
    int64_t newest = 0;
    int result = digest_of(p, id, here, e);
    if (!result)
        result = db_integer(p->db, e, &newest, 0, QUEUE_SYNC_NEWEST, "");
    *same = here[0] ? strcmp(here, there) == 0 : newest >= id && (position >= id || !there[0]);
    return result;
}

int mark_check(struct push *p, int64_t noted, enum mark_says *says, struct err *e) {
    struct pg_result *rows = NULL;
    const char *values[] = {p->node};
    int64_t position = 0;
    bool same = false, behind = false;
    int result = db_integer(p->db, e, &position, 0, "SELECT log_id FROM cursors WHERE name = 'sync'", "");
    if (!result)
        result =
            pg_run(p->pg, &rows, e, "SELECT log_id, log_digest FROM genrun_nodes WHERE node = $1", 1, values);
    if (result)
        return result;
    same = position >= noted;
    if (pg_rows(rows) > 0 && pg_text(rows, 0, 1)) {
        int64_t id = pg_integer(rows, 0, 0, 0);
        result = compare(p, id, pg_text(rows, 0, 1), position, &same, e);
        behind = id < position;
    }
    *says = !same ? MARK_BOX_SET_BACK : behind ? MARK_MIRROR_SET_BACK : MARK_FITS;
    pg_result_free(rows);
    return result;
}
