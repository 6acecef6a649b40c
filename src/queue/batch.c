// SPDX-License-Identifier: MIT
// Batch jobs: filled in short slices, opened last, paused, resumed, cancelled.
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "queue/insert.h"
#include "queue/queue.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Rows held in memory before they are written: enough for one slice of the writer lock.
#define HELD_BYTES (1024 * 1024)
#define HELD_ROWS 4096
#define REMOVED_ROWS 500 // in one slice

struct batch_writer {
    struct db *db;
    int64_t seq;
    int64_t items;
    char id[ID_SIZE];
    bool paused;
    double max_failure_share;
    struct buf texts;  // all texts of the held rows, one after the other
    struct spec *held; // offsets into texts + 1, until resolved by the flush
    size_t held_count;
    int64_t lane; // of the last row
    char lane_model[256];
    int lane_priority;
    char *lane_user;
};

// *dead: a writer that is gone left one of this key, which must be removed first.
static int check_known(struct db *db, const struct batch_spec *spec, char id[ID_SIZE], bool *known,
                       bool *dead, struct err *e) {
    *known = *dead = false;
    if (!spec->client_id)
        return 0;
    sqlite3_stmt *s = db_ask(
        db, e,
        "SELECT id, opened_at IS NOT NULL, writer, coalesce(last_activity_at, created_at) FROM batch_job"
        " JOIN batch_count ON batch_seq=seq"
        " WHERE coalesce(user_id,'')=coalesce(?,'') AND client_id=?",
        "tt", spec->user_id, spec->client_id);
    if (!s)
        return ERR_DATABASE;
    int result = 0;
    int code = db_next(db, s, e);
    if (code < 0)
        result = ERR_DATABASE;
    else if (code == 1 && db_int(s, 1)) {
        *known = true;
        memcpy(id, db_text(s, 0), ID_SIZE);
    } else if (code == 1 &&
               (db_is_null(s, 2) || !process_may_live(db_text(s, 2), clock_wall_at() - db_int(s, 3)))) {
        *dead = true;
    } else if (code == 1) {
        result = err_in(e, ERR_CONFLICT, "clientId",
                        "key %s: a batch job with it is being submitted just now: wait for that one",
                        spec->client_id);
    }
    db_done(db, s);
    return result;
}

int batch_compare(struct db *db, const char *id, int64_t index, const struct spec *spec, bool *same,
                  struct err *e) {
    // Behind the last line (no spec) nothing may follow.
    sqlite3_stmt *s =
        spec ? db_ask(db, e,
                      "SELECT g.model_id IS ?3 AND i.prompt IS ?4 AND i.parameters IS ?5 AND i.endpoint IS ?6"
                      " FROM generation g JOIN generation_input i ON i.seq=g.seq"
                      " WHERE g.batch_seq=(SELECT seq FROM batch_job WHERE id=?1) AND g.item_index=?2",
                      "titttt", id, index, spec->model_id, spec->prompt,
                      spec->parameters ? spec->parameters : "{}", spec->endpoint)
             : db_ask(db, e,
                      "SELECT 0 FROM generation WHERE batch_seq=(SELECT seq FROM batch_job WHERE id=?1)"
                      " AND item_index>=?2 LIMIT 1",
                      "ti", id, index);
    if (!s)
        return ERR_DATABASE;
    int code = db_next(db, s, e);
    *same = code == 1 ? db_int(s, 0) != 0 : !spec;
    db_done(db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

static void gap(void) {
    const struct timespec pause = {0, QUEUE_GAP_MS * 1000000L};
    nanosleep(&pause, NULL);
}

// In slices, each a transaction of its own.
static int remove_unopened(struct db *db, struct err *e) {
    for (bool more = true; more;) {
        int result = db_begin(db, 5000, e);
        if (result)
            return result;
        if ((result = queue_remove_unopened(db, clock_wall_at(), REMOVED_ROWS, &more, e))) {
            db_rollback(db);
            return result;
        }
        if ((result = db_commit(db, e)))
            return result;
        if (more)
            gap();
    }
    return 0;
}

// Begins the transaction in which the batch is made, unless its key is known.
static int begin_unknown(struct db *db, const struct batch_spec *spec, char id[ID_SIZE], bool *known,
                         struct err *e) {
    for (bool dead = true; dead;) {
        int result = db_begin(db, 5000, e);
        if (result)
            return result;
        result = check_known(db, spec, id, known, &dead, e);
        if (result || *known || dead)
            db_rollback(db);
        if (!result && dead)
            result = remove_unopened(db, e);
        if (result || *known)
            return result;
    }
    return 0;
}

int batch_writer_begin(struct batch_writer **out, struct db *db, const struct batch_spec *spec,
                       char id[ID_SIZE], bool *known, struct err *e) {
    char process[128];
    *out = NULL;
    if (db_is_begun(db))
        return err_set(e, ERR_CONFLICT, "a batch job is made in slices, and not inside of a transaction");
    int result = begin_unknown(db, spec, id, known, e);
    if (result || *known)
        return result;
    if (spec->id)
        memcpy(id, spec->id, ID_SIZE);
    else
        id_make(id);
    process_identity(process, sizeof process);
    sqlite3_stmt *s =
        db_ask(db, e,
               "INSERT INTO batch_job (id, name, user_id, client_id, model_id, format, priority, "
               "concurrency, on_error,"
               " max_failures, max_cost, writer, created_at) VALUES (?,?,?,?,?,?,?,nullif(?,0),?,?,?,?,?)",
               "ttttttiitinti", id, spec->name, spec->user_id, spec->client_id, spec->model_id, spec->format,
               (int64_t)spec->priority, (int64_t)spec->concurrency, spec->stop_on_error ? "stop" : "continue",
               spec->max_failures, spec->max_cost, process, clock_wall_at());
    if (!s) {
        db_rollback(db);
        return ERR_DATABASE;
    }
    if (spec->max_failures < 0)
        sqlite3_bind_null(s, 10);
    if (!(spec->max_cost > 0))
        sqlite3_bind_null(s, 11);
    int code = db_next(db, s, e);
    int64_t seq = db_last_id(db);
    db_done(db, s);
    if (code) {
        result = (int)e->code;
        db_rollback(db);
        return result;
    }
    if ((result = db_commit(db, e)))
        return result;
    struct batch_writer *w = mem_alloc(1, sizeof *w);
    w->db = db;
    w->seq = seq;
    w->paused = spec->paused;
    w->max_failure_share = spec->max_failure_share;
    memcpy(w->id, id, ID_SIZE);
    buf_init(&w->texts, BUF_UNLIMITED);
    w->held = mem_alloc(HELD_ROWS, sizeof *w->held);
    *out = w;
    return 0;
}

static const char *hold(struct batch_writer *w, const char *text) {
    if (!text)
        return NULL;
    uintptr_t offset = w->texts.length + 1;
    buf_append(&w->texts, text, strlen(text) + 1);
    return (const char *)offset;
}

static const char *held(const struct batch_writer *w, const char *offset) {
    return offset ? w->texts.data + ((uintptr_t)offset - 1) : NULL;
}

static void resolve(const struct batch_writer *w, struct spec *spec) {
    const char **texts[] = {&spec->prompt,  &spec->model_id,   &spec->parameters, &spec->endpoint,
                            &spec->user_id, &spec->session_id, &spec->client_id,  &spec->custom_id,
                            &spec->topic,   &spec->tier,       &spec->type,       &spec->template_id};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *texts[i] = held(w, *texts[i]);
}

static int find_lane(struct batch_writer *w, const struct spec *spec, struct err *e) {
    bool same_user = spec->user_id ? w->lane_user && strcmp(w->lane_user, spec->user_id) == 0 : !w->lane_user;
    if (w->lane && same_user && w->lane_priority == spec->priority &&
        strcmp(w->lane_model, spec->model_id) == 0)
        return 0;
    w->lane = 0;
    int result = insert_lane(w->db, spec, w->seq, &w->lane, e);
    if (result || strlen(spec->model_id) >= sizeof w->lane_model) {
        w->lane_model[0] = 0;
        return result;
    }
    memcpy(w->lane_model, spec->model_id, strlen(spec->model_id) + 1);
    w->lane_priority = spec->priority;
    free(w->lane_user);
    w->lane_user = mem_copy(spec->user_id);
    return 0;
}

static int check_there(struct batch_writer *w, struct err *e) {
    return db_changes(w->db) == 1 ? 0
                                  : err_set(e, ERR_CONFLICT,
                                            "the unfinished batch job was removed by another process, which "
                                            "took its writer for dead: submit it again");
}

// Writes held rows from *done on, until all are or the slice is over.
static int write_slice(struct batch_writer *w, size_t *done, struct err *e) {
    int64_t now_at = clock_wall_at();
    char id[ID_SIZE];
    size_t first = *done;
    int result = db_begin(w->db, 5000, e);
    if (result)
        return result;
    int64_t end_ms = clock_monotonic_ms() + QUEUE_SLICE_MS;
    w->lane = 0;
    while (!result && *done < w->held_count) {
        const struct spec *spec = &w->held[*done];
        id_make(id);
        if (!(result = find_lane(w, spec, e)))
            result = insert_generation(w->db, spec, id, w->lane, w->seq, w->items + (int64_t)(*done - first),
                                       now_at, e);
        if (++*done % 16 == 0 && clock_monotonic_ms() >= end_ms)
            break;
    }
    int64_t written = (int64_t)(*done - first);
    if (!result)
        result =
            db_run(w->db, e,
                   "UPDATE batch_count SET queued_items=queued_items+?, last_activity_at=? WHERE batch_seq=?",
                   "iii", written, now_at, w->seq);
    if (!result)
        result = check_there(w, e);
    if (result) {
        db_rollback(w->db);
        *done = first;
        return result;
    }
    if ((result = db_commit(w->db, e)))
        *done = first;
    else
        w->items += written;
    return result;
}

static int flush(struct batch_writer *w, struct err *e) {
    size_t done = 0;
    for (size_t i = 0; i < w->held_count; i++)
        resolve(w, &w->held[i]);
    while (done < w->held_count) {
        int result = write_slice(w, &done, e);
        if (result)
            return result;
        gap();
    }
    w->held_count = 0;
    buf_clear(&w->texts);
    return 0;
}

int batch_writer_add(struct batch_writer *writer, const struct spec *spec, struct err *e) {
    struct batch_writer *w = writer;
    struct spec *h = &w->held[w->held_count];
    *h = *spec;
    h->prompt = hold(w, spec->prompt);
    h->model_id = hold(w, spec->model_id);
    h->parameters = hold(w, spec->parameters);
    h->endpoint = hold(w, spec->endpoint);
    h->user_id = hold(w, spec->user_id);
    h->session_id = hold(w, spec->session_id);
    h->client_id = hold(w, spec->client_id);
    h->custom_id = hold(w, spec->custom_id);
    h->topic = hold(w, spec->topic);
    h->tier = hold(w, spec->tier);
    h->type = hold(w, spec->type);
    h->template_id = hold(w, spec->template_id);
    w->held_count++;
    if (w->held_count < HELD_ROWS && w->texts.length < HELD_BYTES)
        return 0;
    return flush(w, e);
}

static void writer_free(struct batch_writer *w) {
    buf_free(&w->texts);
    free(w->held);
    free(w->lane_user);
    free(w);
}

static int open_batch(struct batch_writer *w, const char *format, struct err *e) {
    int64_t now_at = clock_wall_at();
    int64_t limit = -1;
    if (w->max_failure_share >= 0)
        limit = (int64_t)(w->max_failure_share * (double)w->items);
    int result = db_begin(w->db, 5000, e);
    if (result)
        return result;
    if ((limit >= 0 && (result = db_run(w->db, e, "UPDATE batch_job SET max_failures=? WHERE seq=?", "ii",
                                        limit, w->seq))) ||
        (result = db_run(
             w->db, e, "UPDATE batch_job SET opened_at=?, writer=NULL, format=coalesce(?,format) WHERE seq=?",
             "iti", now_at, format, w->seq)) ||
        (result = check_there(w, e)) ||
        (w->paused &&
         (result = db_run(w->db, e,
                          "UPDATE batch_job SET status='paused', paused_reason='submitted as paused'"
                          " WHERE seq=?",
                          "i", w->seq)))) {
        db_rollback(w->db);
        return result;
    }
    return db_commit(w->db, e);
}

int batch_writer_open(struct batch_writer *writer, const char *format, struct err *e) {
    int result = flush(writer, e);
    if (!result && writer->items == 0)
        result = err_set(e, ERR_INVALID, "the batch job has no item: add at least one");
    if (!result)
        result = open_batch(writer, format, e);
    if (result) {
        batch_writer_abandon(writer);
        return result;
    }
    writer_free(writer);
    return 0;
}

void batch_writer_abandon(struct batch_writer *writer) {
    struct err e;
    if (!writer)
        return;
    // Should this fail, the next runner removes the rest: the batch was never opened.
    if (db_run(writer->db, &e, "UPDATE batch_job SET writer=NULL WHERE seq=? AND opened_at IS NULL", "i",
               writer->seq) != 0 ||
        remove_unopened(writer->db, &e) != 0)
        log_debug("the unfinished batch job is left to the next runner: %s", e.message);
    writer_free(writer);
}

// ---- states that a person sets; the view's trigger holds the rules ----

static int set_status(struct db *db, int64_t seq, const char *status, const char *reason, struct err *e) {
    int result = db_begin(db, 5000, e);
    if (result)
        return result;
    // The reason goes in as paused_reason: the view's trigger takes it for a cancel, too.
    result =
        db_run(db, e, "UPDATE batch_jobs SET status=?, paused_reason=coalesce(?,paused_reason) WHERE seq=?",
               "tti", status, reason, seq);
    if (result) {
        db_rollback(db);
        return result;
    }
    return db_commit(db, e);
}

static int status_is(struct db *db, int64_t seq, const char *status, bool *is, struct err *e) {
    int64_t same = 0;
    int result = db_integer(db, e, &same, 0, "SELECT status=? FROM batch_job WHERE seq=?", "ti", status, seq);
    *is = same != 0;
    return result;
}

int queue_batch_pause(struct db *db, int64_t batch_seq, const char *reason, struct err *e) {
    bool is;
    int result = status_is(db, batch_seq, "paused", &is, e);
    if (result || is)
        return result;
    return set_status(db, batch_seq, "paused", reason, e);
}

int queue_batch_resume(struct db *db, int64_t batch_seq, struct err *e) {
    int64_t open = 0;
    int result = db_integer(db, e, &open, 0,
                            "SELECT status='queued' OR status='processing' FROM batch_job WHERE seq=?", "i",
                            batch_seq);
    if (result || open)
        return result;
    return set_status(db, batch_seq, "processing", NULL, e);
}

int queue_batch_cancel(struct db *db, int64_t batch_seq, const char *reason, struct err *e) {
    bool is;
    int64_t changed;
    int result = status_is(db, batch_seq, "cancelled", &is, e);
    if (result)
        return result;
    if (!is && (result = set_status(db, batch_seq, "cancelled", reason, e)))
        return result;
    // In a transaction of the runner's: what waits is cancelled by its sweep.
    if (db_is_begun(db))
        return 0;
    struct filter filter = {.batch_seq = batch_seq};
    return queue_change_all(db, CHANGE_CANCEL, &filter, reason ? reason : "batch job cancelled", false,
                            &changed, e);
}

int queue_batch_retry(struct db *db, int64_t batch_seq, bool dry_run, int64_t *changed, struct err *e) {
    bool is;
    *changed = 0;
    int result = status_is(db, batch_seq, "cancelled", &is, e);
    if (result)
        return result;
    if (is)
        return err_set(e, ERR_CONFLICT,
                       "the batch job is cancelled and its items stay as they are: submit them as a new one");
    const struct filter filter = {.batch_seq = batch_seq, .status = "failed"};
    return queue_change_all(db, CHANGE_RETRY, &filter, NULL, dry_run, changed, e);
}
