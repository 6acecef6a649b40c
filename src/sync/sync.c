// SPDX-License-Identifier: MIT
#include "sync/sync.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/sync.h"
#include "sync/drop.h"
#include "sync/init.h"
#include "sync/mark.h"
#include "sync/order.h"
#include "sync/push.h"
#include "sync/retry.h"
#include "sync/small.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NODE_EVERY_MS 60000 // when nothing else has changed
#define LOCK_LOOK_MS 20
#define LOCK_TOLD_MS 1000
#define SLICE_MS 2000 // of a long way, between looks at the orders

struct sync {
    char *url, *schema, *node, *version;
    char id[ID_SIZE]; // its own
    bool node_is_given, deletes, gives_way;
    int64_t timeout_ms, patience_ms, every_ms;
    const atomic_bool *ended;
    struct dial_pulse *pulse;
    struct dial *dial; // that hangs
    struct sync_host host;
    struct db *db;
    struct pg *pg;
    struct push push;
    enum sync_health health; // as it stands in the database
    char *reason;
    int64_t contact_at;
    int64_t noted_ms;    // when the node's row was written; monotonic
    int64_t noted_at_id; // up to which row of the log
    bool unknown;        // the mirror has forgotten this box, as `sync init` has it do for what was dropped
};

static bool is_ended(const struct sync *s) {
    return s->ended && atomic_load(s->ended);
}

// ---- writing here ----

struct move {
    const struct sync_position *to;
};

static int move(void *what, struct db *db, struct err *e) {
    const struct sync_position *to = ((struct move *)what)->to;
    return queue_sync_move(db, to, e);
}

static int on_page(void *payload, const struct sync_position *position, struct err *e) {
    struct sync *s = payload;
    return s->host.write(s->host.payload, move, &(struct move){position}, e);
}

struct refusal {
    const char *table, *key, *reason;
};

static int refuse(void *what, struct db *db, struct err *e) {
    const struct refusal *r = what;
    return queue_sync_refuse(db, r->table, r->key, r->reason, e);
}

static int on_refused(void *payload, const char *table, const char *key, const char *reason, struct err *e) {
    struct sync *s = payload;
    return s->host.write(s->host.payload, refuse, &(struct refusal){table, key, reason}, e);
}

struct dropped {
    int64_t first, last;
};

static int clear_dropped(void *what, struct db *db, struct err *e) {
    const struct dropped *d = what;
    return queue_sync_dropped(db, d->first, d->last, e);
}

struct taken {
    const char *table, *keys;
};

static int take_back(void *what, struct db *db, struct err *e) {
    const struct taken *t = what;
    return queue_sync_taken(db, t->table, t->keys, e);
}

static int on_taken(void *payload, const char *table, const char *keys, struct err *e) {
    struct sync *s = payload;
    return s->host.write(s->host.payload, take_back, &(struct taken){table, keys}, e);
}

static int on_dropped(void *payload, int64_t first, int64_t last, struct err *e) {
    struct sync *s = payload;
    return s->host.write(s->host.payload, clear_dropped, &(struct dropped){first, last}, e);
}

static int set_deletes(void *what, struct db *db, struct err *e) {
    struct sync *s = what;
    return queue_sync_set_deletes(db, s->deletes, e);
}

static int begin(void *what, struct db *db, struct err *e) {
    return queue_sync_begin(db, what, e);
}

static int set_session(void *what, struct db *db, struct err *e) {
    return queue_sync_set_session(db, what, e);
}

struct health {
    enum sync_health health;
    const char *reason;
    int64_t contact_at;
};

static int note_health(void *what, struct db *db, struct err *e) {
    const struct health *h = what;
    return queue_sync_health(db, h->health, h->reason, h->contact_at, e);
}

// ---- a session ----

int sync_open(struct sync **out, const struct sync_options *o, const struct sync_host *host, struct err *e) {
    struct sync *s = mem_alloc(1, sizeof *s);
    *out = NULL;
    int result = db_open(&s->db, o->database, DB_LOOK, e);
    if (result) {
        free(s);
        return result;
    }
    s->url = mem_copy(o->url);
    s->schema = mem_copy(o->schema);
    s->node = mem_copy(o->node);
    s->version = mem_copy(o->version);
    s->node_is_given = o->node_is_given;
    s->deletes = o->deletes;
    s->timeout_ms = o->timeout_ms;
    s->every_ms = o->every_ms;
    s->gives_way = o->gives_way;
    s->patience_ms = o->patience_ms;
    s->ended = o->ended;
    s->pulse = o->pulse;
    id_make(s->id);
    s->host = *host;
    s->push = (struct push){.db = s->db,
                            .page = o->page,
                            .sink = {on_page, on_refused, on_taken, on_dropped, s},
                            .retry.thorough = !o->ended};
    *out = s;
    return 0;
}

static void disconnect(struct sync *s) {
    pg_close(s->pg);
    s->pg = s->push.pg = NULL;
    push_forget(&s->push); // it may be another mirror, or one from a backup, when it is there again
}

void sync_close(struct sync *s) {
    if (!s)
        return;
    disconnect(s);
    dial_free(s->dial);
    push_clear(&s->push);
    db_close(s->db);
    explicit_bzero(s->url, strlen(s->url));
    free(s->url);
    free(s->schema);
    free(s->node);
    free(s->version);
    free(s->reason);
    free(s);
}

const char *sync_node(const struct sync *s) {
    return s->push.node;
}

bool sync_has_news(struct sync *s) {
    struct err ignored;
    int64_t newest = 0;
    bool deleted = false;
    return (s->deletes && drop_has_news(&s->push, &deleted, &ignored) != 0) || deleted ||
           db_integer(s->db, &ignored, &newest, 0, QUEUE_SYNC_NEWEST, "") != 0 ||
           newest > s->push.at.log_id || s->push.at.batch_seq != 0 || push_is_walking(&s->push);
}

// ---- connecting ----

// Deletes are noted for the mirror from the first session that is to pass them on; and none is kept for one that is not.
static int settle_deletes(struct sync *s, const struct sync_state *state, struct err *e) {
    int64_t any = 1;
    int result = 0;
    if (s->deletes)
        return state->deletes ? 0 : s->host.write(s->host.payload, set_deletes, s, e);
    if (state->deletes)
        result = s->host.write(s->host.payload, set_deletes, s, e);
    while (!result && !(result = db_integer(s->db, e, &any, 0, "SELECT 1 FROM sync_deleted LIMIT 1", "")) &&
           any)
        result = on_dropped(s, 0, INT64_MAX, e);
    return result;
}

// What stands here: the name that was settled counts, where none other is given.
static int take_state(struct sync *s, struct sync_state *state, struct err *e) {
    int result = queue_sync_state(s->db, state, e);
    if (!result && !queue_sync_is_settled(state)) {
        queue_sync_state_clear(state);
        result = s->host.write(s->host.payload, begin, s->node, e);
        if (!result)
            result = queue_sync_state(s->db, state, e);
    }
    if (result)
        return result;
    if (strcmp(state->node, s->node) != 0) {
        if (s->node_is_given)
            return err_set(
                e, ERR_CONFLICT,
                "this box has synced as node %s, and its rows in Postgres carry that name: set node = "
                "%s in [sync], not %s",
                state->node, state->node, s->node);
        free(s->node);
        s->node = mem_copy(state->node);
    }
    s->push.node = s->node;
    s->push.at = state->at;
    s->health = state->offline_since ? SYNC_OFFLINE : state->failed_since ? SYNC_FAILING : SYNC_WELL;
    free(s->reason);
    s->reason = mem_copy(state->reason);
    return settle_deletes(s, state, e);
}

// Another database under this name would mix its rows with ours. *made: the mirror did not know this box; *noted: up to
// where it had read the log, as is noted there. What a box said that the mirror does not know any more goes in the same
// statement, so that no kill can come between.
static int register_node(struct sync *s, const char *database_id, bool *made, int64_t *noted, struct err *e) {
    struct pg_result *rows = NULL;
    const char *values[] = {s->node, database_id, s->version};
    int result = pg_run(s->pg, &rows, e,
                        "WITH forgotten AS (DELETE FROM genrun_told WHERE node = $1 AND NOT EXISTS "
                        "(SELECT 1 FROM genrun_nodes WHERE node = $1)) "
                        "INSERT INTO genrun_nodes AS n (node, database_id, version) VALUES ($1, $2, $3) "
                        "ON CONFLICT (node) DO UPDATE SET version = excluded.version "
                        "WHERE n.database_id = excluded.database_id RETURNING (xmax = 0)::int, sync_version",
                        3, values);
    if (result)
        return result;
    *made = pg_rows(rows) > 0 && pg_integer(rows, 0, 0, 0) != 0;
    *noted = pg_rows(rows) > 0 ? pg_integer(rows, 0, 1, 0) : 0;
    if (pg_rows(rows) == 0)
        result =
            err_set(e, ERR_CONFLICT,
                    "another box, or an earlier database of this one, syncs there as node %s: give this one "
                    "another name (node in [sync])",
                    s->node);
    pg_result_free(rows);
    return result;
}

// A mirror that does not know this box has nothing of it: all is brought there anew.
static int start_anew(struct sync *s, struct err *e) {
    const struct sync_position start = {0};
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        free(s->push.digests[i]);
        s->push.digests[i] = NULL;
    }
    int result = on_page(s, &start, e);
    if (!result)
        s->push.at = start;
    return result;
}

static int restored(void *what, struct db *db, struct err *e) {
    return queue_sync_restored(db, *(int64_t *)what, e);
}

static int mirror_restored(void *what, struct db *db, struct err *e) {
    (void)what;
    return queue_sync_mirror_restored(db, e);
}

// A mirror from a backup has lost what was brought there since.
static int bring_again(struct sync *s, struct err *e) {
    log_warn("sync: the mirror is older than what was brought there: all of it is brought there anew");
    int result = s->host.write(s->host.payload, mirror_restored, NULL, e);
    if (!result)
        s->push.at = (struct sync_position){0};
    return result;
}

// A database that was set back (by a backup, or a loss of power) counts its log again from numbers that are there already.
static int check_position(struct sync *s, int64_t noted, struct err *e) {
    struct pg_result *rows = NULL;
    const char *values[] = {s->node};
    int64_t newest_there = 0;
    enum mark_says says = MARK_FITS;
    int result = mark_check(&s->push, noted, &says, e);
    if (result || says == MARK_FITS)
        return result;
    if (says == MARK_MIRROR_SET_BACK)
        return bring_again(s, e);
    result = pg_run(s->pg, &rows, e,
                    "SELECT greatest((SELECT sync_version FROM genrun_nodes WHERE node = $1), "
                    "(SELECT max(id) FROM logs WHERE node = $1), "
                    "(SELECT max(sync_version) FROM generations WHERE node = $1), "
                    "(SELECT max(sync_version) FROM outputs WHERE node = $1), "
                    "(SELECT max(sync_version) FROM batch_jobs WHERE node = $1))",
                    1, values);
    if (result)
        return result;
    newest_there = pg_integer(rows, 0, 0, noted);
    pg_result_free(rows);
    log_warn(
        "sync: this database is older than what it brought to Postgres: all of it is brought there anew");
    result = s->host.write(s->host.payload, restored, &newest_there, e);
    if (!result)
        s->push.at = (struct sync_position){0};
    return result;
}

static int connect_now(struct sync *s, struct err *e) {
    struct sync_state state = {0};
    bool made = false;
    int64_t noted = 0;
    int version = 0, result = take_state(s, &state, e);
    const struct pg_options options = {.url = s->url,
                                       .schema = s->schema,
                                       .node = s->node,
                                       .timeout_ms = s->timeout_ms,
                                       .ended = s->ended,
                                       .dial = &s->dial,
                                       .pulse = s->pulse};
    if (!result)
        result = pg_open(&s->pg, &options, e);
    s->push.pg = s->pg;
    if (!result && strcmp(state.session, s->id) != 0)
        result = s->host.write(s->host.payload, set_session, s->id, e);
    if (!result)
        result = init_check(s->pg, s->schema, &version, e);
    if (!result)
        result = register_node(s, state.database_id, &made, &noted, e);
    if (!result && made && queue_sync_is_settled(&state))
        result = start_anew(s, e);
    if (!result && !made)
        result = check_position(s, noted, e);
    s->noted_ms = 0;
    queue_sync_state_clear(&state);
    return result;
}

// One session of a database at a time: that of the runner, or of a command. The lock is the box's own, since nothing in
// Postgres outlives a transaction behind a pooler, and it is gone with its process. What a killed session has on its way
// there does no harm to the next one (write_begin() in pg.c: its transaction is over before the next session's first one
// begins). It was
//   a page: its rows are there, with versions that are not newer than what the next session reads, and the position
//     that was not written here has the page pushed again, to no change;
//   deletes, the small tables, the node's row: done before the next session looks or writes there;
//   the outcomes of orders: those orders are not open any more; if they never came there, the orders are fetched
//     again, and the box knows what it has done already;
//   `sync init`: a transaction of its own, done or not, with its own lock.
static int lock(struct sync *s, struct err *e) {
    const struct timespec pause = {0, LOCK_LOOK_MS * 1000000L};
    int64_t since_ms = clock_monotonic_ms();
    bool told = false;
    while (s->gives_way ? db_sync_is_wanted(s->db) || !db_sync_take(s->db, false)
                        : !db_sync_take(s->db, true)) {
        int64_t waited_ms = clock_monotonic_ms() - since_ms;
        if (is_ended(s))
            return err_set(e, ERR_CONFLICT, "the sync was ended");
        if (!told && waited_ms >= LOCK_TOLD_MS && s->host.on_waiting)
            s->host.on_waiting(s->host.payload);
        told |= waited_ms >= LOCK_TOLD_MS;
        if (s->patience_ms && waited_ms >= s->patience_ms)
            return err_set(e, ERR_CONFLICT,
                           "another process has been syncing this database for %lld s: a runner brings all "
                           "by itself, 'genrun sync status' tells how far it is",
                           (long long)s->patience_ms / 1000);
        nanosleep(&pause, NULL);
    }
    return 0;
}

// Another session that was at work meanwhile has moved the position, and what this one knows of the other side is old.
static int settle(struct sync *s, struct err *e) {
    int64_t alone = 0;
    int result = !s->pg ? 0
                        : db_integer(s->db, e, &alone, 0,
                                     "SELECT json_extract(data,'$.session')=? FROM cursors WHERE name='sync'",
                                     "t", s->id);
    if (result)
        return result;
    if (s->pg && !alone)
        disconnect(s);
    return s->pg ? 0 : connect_now(s, e);
}

// ---- a pass ----

// As much as there is time for: who types orders there does not wait until a long way is caught up.
static int push_slice(struct sync *s, bool *more, struct err *e) {
    int64_t until_ms = clock_monotonic_ms() + SLICE_MS;
    int result = 0;
    *more = true;
    while (!result && *more && clock_monotonic_ms() < until_ms)
        result = is_ended(s) ? err_set(e, ERR_CONFLICT, "the sync was ended") : push_page(&s->push, more, e);
    return result;
}

static int drop_slice(struct sync *s, bool *more, struct err *e) {
    int64_t until_ms = clock_monotonic_ms() + SLICE_MS;
    int result = 0;
    *more = s->deletes;
    while (!result && *more && clock_monotonic_ms() < until_ms)
        result = is_ended(s) ? err_set(e, ERR_CONFLICT, "the sync was ended") : drop_page(&s->push, more, e);
    return result;
}

// *more: what came of them is in the log; so the rows, also those that a refusal sets back, go there again.
static int fetch_orders(struct sync *s, struct sync_result *r, bool *more, struct err *e) {
    int count = 0, result;
    do {
        result = order_page(s->pg, s->node, &s->host, &count, &r->applied, &r->denied, e);
        *more |= count > 0;
    } while (!result && count > 0 && !is_ended(s));
    return result;
}

static int note_node(struct sync *s, struct err *e) {
    int64_t runner = 0, timeout_ms = 0, now_ms = clock_monotonic_ms();
    char version[24], seq[24], timeout[24], every[24], told_at[24];
    struct pg_result *answer = NULL;
    if (s->noted_ms && s->noted_at_id == s->push.at.log_id && now_ms - s->noted_ms < NODE_EVERY_MS)
        return 0;
    int result = queue_sync_runner(s->db, &runner, &timeout_ms, e);
    if (result)
        return result;
    snprintf(version, sizeof version, "%lld", (long long)s->push.at.log_id);
    snprintf(seq, sizeof seq, "%lld", (long long)runner);
    snprintf(timeout, sizeof timeout, "%lld", (long long)timeout_ms);
    snprintf(every, sizeof every, "%lld", (long long)s->every_ms);
    snprintf(told_at, sizeof told_at, "%lld", (long long)clock_wall_at());
    const char *values[] = {
        s->node, version, runner ? seq : NULL, timeout_ms ? timeout : NULL, s->every_ms ? every : NULL,
        told_at};
    result =
        pg_run(s->pg, &answer, e,
               "UPDATE genrun_nodes SET sync_version = $2::bigint, runner_seq = $3::bigint, "
               "heartbeat_timeout_ms = $4::bigint, every_ms = $5::bigint, synced_at = clock_timestamp(), "
               "told_at = to_timestamp($6::bigint / 1000.0) WHERE node = $1",
               6, values);
    if (!result) {
        s->noted_ms = now_ms;
        s->noted_at_id = s->push.at.log_id;
        s->unknown = pg_changed(answer) == 0;
    }
    pg_result_free(answer);
    return result;
}

// Told once when it goes away or fails, and once when it is well again.
static int tell(struct sync *s, enum sync_health health, const char *reason, struct err *e) {
    const struct health told = {health, reason, s->contact_at};
    bool same = s->reason && reason && strcmp(s->reason, reason) == 0;
    if (is_ended(s) || (s->health == health && (same || health != SYNC_FAILING)))
        return 0;
    int result = s->host.write(s->host.payload, note_health, (void *)(uintptr_t)&told, e);
    if (result)
        return result;
    s->health = health;
    free(s->reason);
    s->reason = mem_copy(reason);
    return 0;
}

// What Postgres has answered is no silence of Postgres. A deadlock with somebody's statement is nobody's failure.
static void judge(struct sync *s, int result, struct err *e) {
    struct err late;
    bool reached = s->pg && pg_is_up(s->pg);
    const char *advice = reached ? pg_advice(s->pg) : NULL;
    if (result == ERR_DATABASE || (reached && strncmp(pg_state(s->pg), "40", 2) == 0))
        return;
    if (advice) {
        char *message = mem_copy(e->message);
        result = err_set(e, e->code, "%s: %s", message, advice);
        free(message);
    }
    (void)!tell(s, reached || result != ERR_REMOTE ? SYNC_FAILING : SYNC_OFFLINE, e->message, &late);
}

static int pass(struct sync *s, struct sync_result *r, struct err *e) {
    int result = settle(s, e);
    // Deletes go first: an output of a row typed anew under the same id would meet the one that was deleted.
    for (bool more = true, deletes = false, again = false; !result && more; more |= deletes || again) {
        if (!(result = small_push(&s->push, e)) && !(result = retry_page(&s->push, &again, e)) &&
            !(result = drop_slice(s, &deletes, e)) && !(result = push_slice(s, &more, e)) &&
            !(result = push_live(&s->push, e)) && !(result = fetch_orders(s, r, &more, e)))
            result = note_node(s, e);
        // That it is back is a row of the log, too, and goes there with the others.
        if (!result && s->health != SYNC_WELL) {
            result = tell(s, SYNC_WELL, NULL, e);
            more = true;
        }
        if (s->unknown || (s->gives_way && db_sync_is_wanted(s->db)))
            break;
    }
    return result;
}

int sync_pass(struct sync *s, struct sync_result *out, struct err *e) {
    int64_t rows = s->push.rows, refused = s->push.refused;
    struct err late;
    *out = (struct sync_result){0};
    int result = lock(s, e);
    bool had = result == 0;
    if (had)
        result = pass(s, out, e);
    out->rows = s->push.rows - rows;
    out->refused = s->push.refused - refused;
    out->position = s->push.at.log_id;
    if (!result)
        s->contact_at = clock_wall_at();
    if (result && had)
        judge(s, result, e);
    // With the next connection all is brought there anew.
    if ((result && had) || s->unknown)
        disconnect(s);
    s->unknown = false;
    db_sync_give(s->db);
    if (db_integer(s->db, &late, &out->newest, 0, QUEUE_SYNC_NEWEST, "") != 0)
        out->newest = out->position;
    return result;
}
