// SPDX-License-Identifier: MIT
// Reading the log: what a person looks at, newest first in mind, and the short pages of a reader that follows it.
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "queue/queue.h"
#include "queue/rows.h"
#include <string.h>

#define PAGE_ROWS 256
#define LOOK_IDS 1024    // of the log, asked for at once by a reader
#define LOOK_BYTES 65536 // of messages and data, and one row more, held at once
#define LOOK_MS 4        // then a page ends, whatever it found

// Whose an event is: of a generation, of a batch job, or of nobody. A deleted generation is nobody's.
#define EVENT_USER                                                                                           \
    "CASE WHEN generation_seq IS NULL THEN (SELECT b.user_id FROM batch_job b WHERE b.seq=batch_seq)"        \
    " ELSE (SELECT g.user_id FROM generation g WHERE g.seq=generation_seq) END"
#define EVENT_COLUMNS                                                                                        \
    "SELECT id, created_at, level, event, (SELECT g.id FROM generation g WHERE g.seq=generation_seq"         \
    " UNION ALL SELECT t.id FROM generation_tombstone t WHERE t.seq=generation_seq LIMIT 1) AS "             \
    "generation_id,"                                                                                         \
    " (SELECT b.id FROM batch_job b WHERE b.seq=batch_seq) AS batch_job_id, attempt, message, data,"         \
    " " EVENT_USER " AS _user_id "
#define COLUMN_MESSAGE 7 // and data behind it

static int level_rank(const char *level) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(level, levels[i]) == 0)
            return i;
    return -1;
}

// Conditions on event ?2, user ?4 and what stands in the text.
static int event_where(struct buf *sql, const struct event_filter *f, struct err *e) {
    static const char *const at_least[] = {"", " AND level<>'debug'", " AND (level='warn' OR level='error')",
                                           " AND level='error'"};
    if (f->level) {
        int rank = level_rank(f->level);
        if (rank < 0)
            return err_set(e, ERR_INVALID, "%s is not a level: use debug, info, warn or error", f->level);
        buf_text(sql, at_least[rank]);
    }
    if (f->event)
        buf_text(sql,
                 text_ends_with(f->event, ".") ? " AND substr(event, 1, length(?2))=?2" : " AND event=?2");
    if (f->since)
        buf_format(sql, " AND created_at>=%lld", (long long)f->since);
    if (f->generation_seq)
        buf_format(sql, " AND generation_seq=%lld", (long long)f->generation_seq);
    if (f->user_id)
        buf_text(sql, " AND " EVENT_USER "=?4");
    return 0;
}

static void reverse(struct rows *rows) {
    for (size_t i = 0, j = rows->count; i + 1 < j; i++) {
        struct row *held = rows->list[i];
        rows->list[i] = rows->list[--j];
        rows->list[j] = held;
    }
}

static int64_t last_id(const struct rows *rows) {
    return row_integer(rows->list[rows->count - 1], "id", 0);
}

// The log rows of one page, from the base table: by the index of the generation, of the batch, or by id.
int queue_events(struct db *db, const struct event_filter *filter, queue_each each, void *payload,
                 struct err *e) {
    struct buf sql;
    struct rows rows;
    int64_t after = filter->after;
    // The newest `limit` rows: taken in descending order and given in ascending order.
    bool newest = filter->limit > 0 && after == 0;
    int64_t left = filter->limit > 0 ? filter->limit : INT64_MAX;
    buf_init(&sql, 8192);
    buf_text(&sql, EVENT_COLUMNS "FROM (");
    // Of a batch job: the newest ones by its items, and all of them, or what is new since a look before, by id.
    if (filter->batch_seq && !newest)
        buf_format(&sql, "SELECT * FROM event WHERE batch_seq=%lld", (long long)filter->batch_seq);
    else if (filter->batch_seq)
        buf_format(&sql,
                   "SELECT * FROM event WHERE batch_seq=%lld AND generation_seq IS NULL UNION ALL SELECT e.* "
                   "FROM generation g"
                   " JOIN event e ON e.generation_seq=g.seq WHERE g.batch_seq=%lld",
                   (long long)filter->batch_seq, (long long)filter->batch_seq);
    else
        buf_text(&sql, "SELECT * FROM event");
    buf_text(&sql, ") WHERE id>?1 AND ?2 IS ?2 AND ?4 IS ?4");
    int result = event_where(&sql, filter, e);
    buf_format(&sql, " ORDER BY id %s LIMIT ?3", newest ? "DESC" : "ASC");
    while (!result && left > 0) {
        int64_t want = newest ? left : left < PAGE_ROWS ? left : PAGE_ROWS;
        sqlite3_stmt *s =
            db_ask_text(db, e, buf_borrow(&sql), "itit", after, filter->event, want, filter->user_id);
        result = rows_take(db, s, &rows, e);
        db_drop(db, s);
        if (result || rows.count == 0)
            break;
        if (newest)
            reverse(&rows);
        after = last_id(&rows);
        left -= (int64_t)rows.count;
        bool go_on = rows_give(&rows, each, payload);
        bool last = newest || (int64_t)rows.count < want;
        rows_free(&rows);
        if (!go_on || last)
            break;
    }
    buf_free(&sql);
    return result;
}

// ---- pages of a reader ----

int queue_event_range(struct db *db, int64_t *oldest, int64_t *newest, struct err *e) {
    int result = db_integer(db, e, oldest, 0, "SELECT min(id) FROM event", "");
    return result ? result : db_integer(db, e, newest, 0, "SELECT max(id) FROM event", "");
}

struct look {
    struct db *db;
    const struct event_filter *filter;
    struct buf sql;
    int64_t newest;
    int64_t looked; // up to this id
    int64_t left;   // rows that are still wanted
};

// Ids are given without gaps, so a gap is what retention deleted. What cannot be told to be of the user because its
// generation was deleted is a gap in what the user sees.
static int check_whole(struct look *l, int64_t after, struct err *e) {
    int64_t count = 0;
    if (!l->filter->whole || l->looked <= after)
        return 0;
    int result =
        l->filter->user_id
            ? db_integer(l->db, e, &count, 0,
                         "SELECT count(*) FROM event WHERE id>? AND id<=? AND (generation_seq IS NULL"
                         " OR EXISTS (SELECT 1 FROM generation g WHERE g.seq=generation_seq))",
                         "ii", after, l->looked)
            : db_integer(l->db, e, &count, 0, "SELECT count(*) FROM event WHERE id>? AND id<=?", "ii", after,
                         l->looked);
    if (!result && count < l->looked - after)
        return err_set(e, ERR_NOT_FOUND,
                       "log rows after %lld were deleted since: begin anew, at %lld or later",
                       (long long)after, (long long)l->newest);
    return result;
}

// As rows_take(), but for what would be much; *full tells whether there may be more.
static int take_some(struct db *db, sqlite3_stmt *s, int64_t want, struct rows *out, bool *full,
                     struct err *e) {
    int64_t bytes = 0;
    int code = s ? 0 : -1;
    *out = (struct rows){0};
    *full = false;
    while (s && !*full && (code = db_next(db, s, e)) == 1) {
        if (!out->list)
            out->list = mem_alloc(PAGE_ROWS, sizeof *out->list);
        out->list[out->count++] = row_copy(s);
        bytes += sqlite3_column_bytes(s, COLUMN_MESSAGE) + sqlite3_column_bytes(s, COLUMN_MESSAGE + 1);
        *full = (int64_t)out->count == want || bytes >= LOOK_BYTES;
    }
    if (code < 0)
        rows_free(out);
    return code < 0 ? ERR_DATABASE : 0;
}

// The next ids, and what of them is wanted; l->looked goes on.
static int look(struct look *l, struct rows *rows, struct err *e) {
    const struct event_filter *f = l->filter;
    int64_t after = l->looked;
    bool by_index = f->generation_seq && !f->whole;
    int64_t end = by_index || l->newest - after <= LOOK_IDS ? l->newest : after + LOOK_IDS;
    int64_t want = l->left < PAGE_ROWS ? l->left : PAGE_ROWS;
    sqlite3_stmt *s =
        db_ask_text(l->db, e, buf_borrow(&l->sql), "ititi", after, f->event, want, f->user_id, end);
    bool full;
    int result = take_some(l->db, s, want, rows, &full, e);
    db_drop(l->db, s);
    if (result)
        return result;
    l->looked = full ? last_id(rows) : end;
    l->left -= (int64_t)rows->count;
    result = check_whole(l, after, e);
    // What was deleted is passed over at once.
    if (!result && rows->count == 0) {
        int64_t next = 0;
        result = db_integer(l->db, e, &next, 0, "SELECT min(id) FROM event WHERE id>?", "i", l->looked);
        if (next > l->looked && next <= l->newest)
            l->looked = next - 1;
    }
    if (result)
        rows_free(rows);
    return result;
}

int queue_event_page(struct db *db, const struct event_filter *filter, int64_t *looked, queue_each each,
                     void *payload, struct err *e) {
    struct look l = {.db = db, .filter = filter, .looked = filter->after, .left = filter->limit};
    struct rows rows;
    int64_t oldest, end_ms = clock_monotonic_ms() + LOOK_MS;
    buf_init(&l.sql, 8192);
    buf_text(&l.sql, EVENT_COLUMNS "FROM event WHERE id>?1 AND id<=?5 AND ?2 IS ?2 AND ?4 IS ?4");
    int result = event_where(&l.sql, filter, e);
    if (filter->batch_seq) // the plus: not by its index, which leaves the items out
        buf_format(&l.sql, " AND +batch_seq=%lld", (long long)filter->batch_seq);
    buf_text(&l.sql, " ORDER BY id LIMIT ?3");
    // A batch job has no row before that of its making.
    if (!result && filter->batch_seq && filter->after == 0 && !filter->whole)
        result = db_integer(db, e, &l.looked, 0,
                            "SELECT max(0, coalesce(min(id), 1) - 1) FROM event INDEXED BY event_batch"
                            " WHERE batch_seq=? AND generation_seq IS NULL",
                            "i", filter->batch_seq);
    // First the end: what comes after it meanwhile is for the next call.
    if (!result)
        result = queue_event_range(db, &oldest, &l.newest, e);
    bool go_on = true;
    while (!result && go_on && l.left > 0 && l.looked < l.newest) {
        result = look(&l, &rows, e);
        if (result)
            break;
        go_on = rows_give(&rows, each, payload);
        rows_free(&rows);
        go_on = go_on && clock_monotonic_ms() < end_ms;
    }
    *looked = l.looked;
    buf_free(&l.sql);
    return result;
}

// ---- pages towards the beginning ----

// The ids before those that were looked at, and what of them is wanted, the newest first; l->looked goes down.
static int look_back(struct look *l, int64_t floor, struct rows *rows, struct err *e) {
    const struct event_filter *f = l->filter;
    int64_t start = f->generation_seq || l->looked - floor <= LOOK_IDS ? floor : l->looked - LOOK_IDS;
    int64_t want = l->left < PAGE_ROWS ? l->left : PAGE_ROWS, last = 0;
    sqlite3_stmt *s =
        db_ask_text(l->db, e, buf_borrow(&l->sql), "ititi", start, f->event, want, f->user_id, l->looked);
    bool full;
    int result = take_some(l->db, s, want, rows, &full, e);
    db_drop(l->db, s);
    if (result)
        return result;
    l->looked = full ? last_id(rows) : start;
    l->left -= (int64_t)rows->count;
    // What was deleted is passed over at once.
    if (rows->count == 0 && l->looked > floor) {
        result = db_integer(l->db, e, &last, 0, "SELECT max(id) FROM event WHERE id<?", "i", l->looked);
        l->looked = last < floor ? floor : last + 1;
    }
    if (result)
        rows_free(rows);
    return result;
}

int queue_event_page_back(struct db *db, const struct event_filter *filter, int64_t before, int64_t *looked,
                          queue_each each, void *payload, struct err *e) {
    struct look l = {.db = db, .filter = filter, .left = filter->limit};
    struct rows rows;
    int64_t oldest = 0, first = 0, end_ms = clock_monotonic_ms() + LOOK_MS;
    buf_init(&l.sql, 8192);
    buf_text(&l.sql, EVENT_COLUMNS "FROM event WHERE id>=?1 AND id<?5 AND ?2 IS ?2 AND ?4 IS ?4");
    int result = event_where(&l.sql, filter, e);
    if (filter->batch_seq) // the plus: as above
        buf_format(&l.sql, " AND +batch_seq=%lld", (long long)filter->batch_seq);
    buf_text(&l.sql, " ORDER BY id DESC LIMIT ?3");
    if (!result)
        result = queue_event_range(db, &oldest, &l.newest, e);
    if (!result && filter->batch_seq)
        result = db_integer(db, e, &first, 0,
                            "SELECT min(id) FROM event INDEXED BY event_batch"
                            " WHERE batch_seq=? AND generation_seq IS NULL",
                            "i", filter->batch_seq);
    int64_t floor = first > oldest ? first : oldest;
    bool go_on = true;
    l.looked = before <= l.newest ? before : l.newest + 1;
    while (!result && go_on && l.left > 0 && l.looked > floor) {
        result = look_back(&l, floor, &rows, e);
        if (result)
            break;
        go_on = rows_give(&rows, each, payload);
        rows_free(&rows);
        go_on = go_on && clock_monotonic_ms() < end_ms;
    }
    *looked = l.looked > floor ? l.looked : 0;
    buf_free(&l.sql);
    return result;
}
