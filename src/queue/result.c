// SPDX-License-Identifier: MIT
// The results of a batch, page by page. A page ends after so many rows or bytes,
// so that memory stays flat whatever the size of the outputs, and its statement
// is done before the first row is handed on.
#include "queue/result.h"
#include "base/buf.h"
#include "base/mem.h"
#include "queue/queue.h"
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 64
#define PAGE_BYTES ((size_t)1 << 20)

#define RESULTS                                                                                              \
    "SELECT g.id, i.custom_id, g.item_index, g.status, g.model_id, i.prompt, i.parameters, i.endpoint,"      \
    " r.http_status, r.request_id, r.body, o.content, o.mime, g.error_type,"                                 \
    " coalesce(g.error_message, g.cancel_reason), g.input_tokens, g.output_tokens, g.cost,"                  \
    " CASE WHEN r.seq IS NULL AND g.status='completed' THEN 'stop' ELSE r.finish_reason END, "               \
    "g.completed_at,"                                                                                        \
    " (SELECT max(key) - g.seq*1024 + 1 FROM output WHERE key BETWEEN g.seq*1024 AND g.seq*1024+1023)"       \
    " FROM generation g"
enum column {
    ID,
    CUSTOM_ID,
    ITEM_INDEX,
    STATUS,
    MODEL_ID,
    PROMPT,
    PARAMETERS,
    ENDPOINT,
    HTTP_STATUS,
    REQUEST_ID,
    BODY,
    TEXT,
    TEXT_MIME,
    ERROR_TYPE,
    ERROR_MESSAGE,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    COST,
    FINISH_REASON,
    COMPLETED_AT,
    OUTPUT_COUNT
};
#define RESULT_TEXTS                                                                                         \
    " JOIN generation_input i ON i.seq=g.seq LEFT JOIN response r ON r.seq=g.seq LEFT JOIN output o ON "     \
    "o.key=g.seq*1024"
#define RESULT_FITS                                                                                          \
    " AND CASE WHEN ?2 THEN g.status='failed' OR g.status='cancelled' ELSE g.status='completed' END"

// A page from a place in the batch on (?1 the batch, ?3 the place), or one result (?1; ?3 and ?4 are not used).
static const char from_place[] =
    RESULTS " INDEXED BY generation_batch" RESULT_TEXTS " WHERE g.batch_seq=?1" RESULT_FITS
            " AND g.item_index>?3 ORDER BY g.item_index LIMIT ?4";
static const char by_number[] =
    RESULTS RESULT_TEXTS " WHERE g.seq=?1" RESULT_FITS " AND ?3 IS ?3 AND ?4 IS ?4";

struct page {
    struct buf bytes;              // all texts of its rows, one after the other
    struct result rows[PAGE_ROWS]; // their texts are offsets into it, plus 1, until it is full
    size_t count;
    bool last; // nothing follows
};

static const char *keep(struct page *p, sqlite3_stmt *s, int column, size_t *length) {
    size_t ignored, offset = p->bytes.length + 1;
    if (!length)
        length = &ignored;
    *length = 0;
    if (db_is_null(s, column))
        return NULL;
    const void *bytes = sqlite3_column_blob(s, column);
    *length = (size_t)sqlite3_column_bytes(s, column);
    buf_append(&p->bytes, bytes, *length);
    buf_char(&p->bytes, '\0');
    return (const char *)(uintptr_t)offset;
}

static int64_t known(sqlite3_stmt *s, int column) {
    return db_is_null(s, column) ? -1 : db_int(s, column);
}

static void take_row(struct page *p, sqlite3_stmt *s) {
    struct result *r = &p->rows[p->count++];
    *r = (struct result){
        .id = keep(p, s, ID, NULL),
        .custom_id = keep(p, s, CUSTOM_ID, NULL),
        .item_index = db_int(s, ITEM_INDEX),
        .status = keep(p, s, STATUS, NULL),
        .model_id = keep(p, s, MODEL_ID, NULL),
        .prompt = keep(p, s, PROMPT, NULL),
        .parameters = keep(p, s, PARAMETERS, NULL),
        .endpoint = keep(p, s, ENDPOINT, NULL),
        .http_status = (int)db_int(s, HTTP_STATUS),
        .request_id = keep(p, s, REQUEST_ID, NULL),
        .text_mime = keep(p, s, TEXT_MIME, NULL),
        .error_type = keep(p, s, ERROR_TYPE, NULL),
        .error_message = keep(p, s, ERROR_MESSAGE, NULL),
        .input_tokens = known(s, INPUT_TOKENS),
        .output_tokens = known(s, OUTPUT_TOKENS),
        .cost = db_is_null(s, COST) ? -1 : sqlite3_column_double(s, COST),
        .finish_reason = keep(p, s, FINISH_REASON, NULL),
        .completed_at = db_int(s, COMPLETED_AT),
        .output_count = (int)db_int(s, OUTPUT_COUNT),
    };
    r->body = keep(p, s, BODY, &r->body_length);
    r->text = keep(p, s, TEXT, &r->text_length);
}

static void resolve(const struct page *p, struct result *r) {
    const char **texts[] = {&r->id,         &r->custom_id,  &r->status,        &r->model_id,     &r->prompt,
                            &r->parameters, &r->endpoint,   &r->request_id,    &r->body,         &r->text,
                            &r->text_mime,  &r->error_type, &r->error_message, &r->finish_reason};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (*texts[i])
            *texts[i] = p->bytes.data + ((uintptr_t)*texts[i] - 1);
}

static int take_page(struct db *db, struct page *p, const char *sql, int64_t key, bool errors, int64_t place,
                     struct err *e) {
    int code = -1;
    p->count = 0;
    buf_clear(&p->bytes);
    sqlite3_stmt *s = db_ask(db, e, sql, "iiii", key, (int64_t)errors, place, (int64_t)PAGE_ROWS);
    while (s && p->count < PAGE_ROWS && p->bytes.length < PAGE_BYTES && (code = db_next(db, s, e)) == 1)
        take_row(p, s);
    db_done(db, s);
    p->last = code == 0;
    for (size_t i = 0; i < p->count; i++)
        resolve(p, &p->rows[i]);
    return code < 0 ? ERR_DATABASE : 0;
}

static int give_page(const struct page *p, queue_result_each each, void *payload, struct err *e) {
    int result = 0;
    for (size_t i = 0; !result && i < p->count; i++)
        result = each(payload, &p->rows[i], e);
    return result;
}

static int give_by_place(struct db *db, struct page *p, int64_t batch_seq, bool errors,
                         queue_result_each each, void *payload, struct err *e) {
    int result = 0;
    int64_t place = -1;
    while (!result && !p->last) {
        result = take_page(db, p, from_place, batch_seq, errors, place, e);
        if (!result && p->count > 0)
            place = p->rows[p->count - 1].item_index;
        if (!result)
            result = give_page(p, each, payload, e);
    }
    return result;
}

// By the log, which alone has one order of all ends: of those in one millisecond, and whatever the clock did
// in between. Where retention took the log the time of the end must do. No index has this order (it would
// cost every item a page), so it is asked for once, as numbers only: who ends meanwhile changes nothing.
static int give_by_end(struct db *db, struct page *p, int64_t batch_seq, bool errors, queue_result_each each,
                       void *payload, struct err *e) {
    int64_t *order = NULL;
    size_t count = 0, room = 0;
    int code = 0;
    sqlite3_stmt *s =
        db_ask(db, e,
               "SELECT g.seq FROM generation g INDEXED BY generation_batch WHERE g.batch_seq=?1" RESULT_FITS
               " ORDER BY coalesce((SELECT max(v.id) FROM event v INDEXED BY event_generation"
               " WHERE v.generation_seq=g.seq AND v.event='generation.' || g.status), 0),"
               " g.completed_at, g.seq",
               "ii", batch_seq, (int64_t)errors);
    while (s && (code = db_next(db, s, e)) == 1) {
        if (count == room)
            order = mem_resize(order, room = room ? room * 2 : 1024, sizeof *order);
        order[count++] = db_int(s, 0);
    }
    db_done(db, s);
    int result = !s || code < 0 ? ERR_DATABASE : 0;
    for (size_t i = 0; !result && i < count; i++) {
        // One that was retried meanwhile is left out.
        result = take_page(db, p, by_number, order[i], errors, 0, e);
        if (!result)
            result = give_page(p, each, payload, e);
    }
    free(order);
    return result;
}

int queue_results(struct db *db, int64_t batch_seq, bool errors, bool by_end, queue_result_each each,
                  void *payload, struct err *e) {
    struct page page = {.last = false};
    buf_init(&page.bytes, BUF_UNLIMITED);
    int result = (by_end ? give_by_end : give_by_place)(db, &page, batch_seq, errors, each, payload, e);
    buf_free(&page.bytes);
    return result;
}
