// SPDX-License-Identifier: MIT
// SQLite tells each row that this connection changes, triggers included. Lanes change seldom (when they become
// empty, or are filled again), so the models of those few are all that must be asked anew.
#include "queue/ready.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define CHANGED_MOST 256 // beyond that everything is read again

struct ready {
    struct db *db;
    struct claim_slot *slots; // by name, which is owned
    struct turn_offer *offers;
    size_t count, room;
    int64_t changed[CHANGED_MOST]; // lanes
    size_t changed_count;
    bool forgotten;                   // which models have work
    char *single_model, *batch_model; // whose turn it was last; NULL: nobody's yet
};

static void on_change(void *payload, int what, const char *base, const char *table, sqlite3_int64 row) {
    struct ready *r = payload;
    (void)what;
    (void)base;
    if (table[0] != 'l' || strcmp(table, "lane") != 0 || r->forgotten)
        return;
    for (size_t i = 0; i < r->changed_count; i++)
        if (r->changed[i] == row)
            return;
    if (r->changed_count == CHANGED_MOST)
        r->forgotten = true;
    else
        r->changed[r->changed_count++] = row;
}

struct ready *ready_new(struct db *db) {
    struct ready *r = mem_alloc(1, sizeof *r);
    r->db = db;
    r->forgotten = true;
    sqlite3_update_hook(db_handle(db), on_change, r);
    return r;
}

static void clear(struct ready *r, size_t i) {
    free((char *)r->slots[i].model_id);
    turn_offer_clear(&r->offers[i]);
}

void ready_free(struct ready *r) {
    if (!r)
        return;
    sqlite3_update_hook(db_handle(r->db), NULL, NULL);
    for (size_t i = 0; i < r->count; i++)
        clear(r, i);
    free(r->slots);
    free(r->offers);
    free(r->single_model);
    free(r->batch_model);
    free(r);
}

void ready_forget(struct ready *r) {
    r->forgotten = true;
}

struct turn_offer *ready_offers(struct ready *r) {
    return r->offers;
}

// ---- names ----

static int take_names(struct db *db, sqlite3_stmt *s, char ***names, size_t *count, struct err *e) {
    size_t room = 0;
    int more;
    *names = NULL;
    *count = 0;
    if (!s)
        return ERR_DATABASE;
    while ((more = db_next(db, s, e)) == 1) {
        if (*count == room)
            *names = mem_resize(*names, room = room ? 2 * room : 16, sizeof **names);
        (*names)[(*count)++] = mem_copy(db_text(s, 0));
    }
    db_done(db, s);
    return more < 0 ? ERR_DATABASE : 0;
}

int queue_lane_models(struct db *db, char ***names, size_t *count, struct err *e) {
    // One index search a model, however many lanes each has.
    return take_names(
        db,
        db_ask(
            db, e,
            "WITH RECURSIVE m(name) AS (SELECT (SELECT model_id FROM lane INDEXED BY lane_open WHERE "
            "blocked=0"
            " AND ready=1 ORDER BY model_id LIMIT 1) UNION ALL SELECT (SELECT model_id FROM lane INDEXED BY "
            "lane_open"
            " WHERE blocked=0 AND ready=1 AND model_id>m.name ORDER BY model_id LIMIT 1) FROM m"
            " WHERE m.name IS NOT NULL) SELECT name FROM m WHERE name IS NOT NULL",
            ""),
        names, count, e);
}

int queue_suspect_models(struct db *db, char ***names, size_t *count, struct err *e) {
    // They are few: what was in flight when a runner ended.
    return take_names(db,
                      db_ask(db, e,
                             "SELECT DISTINCT model_id FROM generation INDEXED BY generation_suspect"
                             " WHERE status='queued' AND suspect=1 ORDER BY model_id",
                             ""),
                      names, count, e);
}

// The first slot whose name is not less.
static size_t place_of(const struct ready *r, const char *name) {
    size_t from = 0, to = r->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(r->slots[middle].model_id, name) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static bool stands_at(const struct ready *r, size_t i, const char *name) {
    return i < r->count && strcmp(r->slots[i].model_id, name) == 0;
}

// ---- what is there ----

static void make_room(struct ready *r, size_t count) {
    if (count <= r->room)
        return;
    r->room = count > 2 * r->room ? count : 2 * r->room;
    r->slots = mem_resize(r->slots, r->room, sizeof *r->slots);
    r->offers = mem_resize(r->offers, r->room, sizeof *r->offers);
}

static void insert(struct ready *r, size_t i, const char *name) {
    make_room(r, r->count + 1);
    memmove(&r->slots[i + 1], &r->slots[i], (r->count - i) * sizeof *r->slots);
    memmove(&r->offers[i + 1], &r->offers[i], (r->count - i) * sizeof *r->offers);
    r->slots[i] = (struct claim_slot){.model_id = mem_copy(name)};
    r->offers[i] = (struct turn_offer){0};
    r->count++;
}

// Models whose lanes are known to hold nothing.
static void drop_empty(struct ready *r) {
    size_t kept = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct turn_level *best = &r->offers[i].best;
        if (best->known && !best->single && !best->batch) {
            clear(r, i);
            continue;
        }
        if (kept != i) {
            r->slots[kept] = r->slots[i];
            r->offers[kept] = r->offers[i];
        }
        kept++;
    }
    r->count = kept;
}

// All is read again; both lists are in order.
static int read_all(struct ready *r, struct err *e) {
    char **names;
    size_t count, old = 0;
    int result = queue_lane_models(r->db, &names, &count, e);
    struct claim_slot *slots = mem_alloc(count + 1, sizeof *slots);
    for (size_t i = 0; !result && i < count; i++) {
        while (old < r->count && strcmp(r->slots[old].model_id, names[i]) < 0)
            old++;
        if (stands_at(r, old, names[i]))
            slots[i] = r->slots[old];
        slots[i].model_id = names[i];
    }
    if (!result) {
        for (size_t i = 0; i < r->count; i++)
            clear(r, i);
        free(r->slots);
        r->slots = slots;
        r->room = count + 1;
        r->offers = mem_resize(r->offers, r->room, sizeof *r->offers);
        memset(r->offers, 0, r->room * sizeof *r->offers);
        r->count = count;
        r->changed_count = 0;
        r->forgotten = false;
    } else {
        for (size_t i = 0; i < count; i++)
            free(names[i]);
        free(slots);
    }
    free(names);
    return result;
}

static void doubt_all(struct turn_offer *offers, size_t count) {
    for (size_t i = 0; i < count; i++)
        offers[i].best.known = false;
}

// Of one changed lane: what was known of its model is in doubt. *left: it is open, and its model has no slot yet.
static int look_at_lane(struct ready *r, int64_t lane, bool may_insert, bool *left, struct err *e) {
    sqlite3_stmt *s =
        db_ask(r->db, e, "SELECT model_id, blocked=0 AND ready=1 FROM lane WHERE id=?", "i", lane);
    int code = s ? db_next(r->db, s, e) : -1;
    *left = false;
    if (code == 0) {
        // It is gone, with its batch job: whose it was is not known any more.
        doubt_all(r->offers, r->count);
    } else if (code == 1) {
        const char *name = db_text(s, 0);
        size_t i = place_of(r, name);
        bool open = db_int(s, 1) != 0, known = stands_at(r, i, name);
        if (known)
            r->offers[i].best.known = false;
        else if (open && may_insert)
            insert(r, i, name);
        *left = open && !known && !may_insert;
    }
    db_done(r->db, s);
    return code < 0 ? ERR_DATABASE : 0;
}

static int look_at_changed(struct ready *r, bool may_insert, struct err *e) {
    size_t kept = 0;
    int result = 0;
    for (size_t i = 0; i < r->changed_count && !result; i++) {
        bool left;
        int64_t lane = r->changed[i];
        result = look_at_lane(r, lane, may_insert, &left, e);
        if (left)
            r->changed[kept++] = lane;
    }
    r->changed_count = kept;
    r->forgotten |= result != 0;
    return result;
}

// The slot after which the next in turn comes.
static size_t turn_after(const struct ready *r, const char *name) {
    size_t i = name ? place_of(r, name) : 0;
    if (r->count == 0 || (name && stands_at(r, i, name)))
        return i;
    return (i + r->count - 1) % r->count;
}

int ready_look(struct ready *r, struct claim_turn *turn, struct claim_slot **slots, size_t *count,
               struct err *e) {
    drop_empty(r);
    int result = r->forgotten ? read_all(r, e) : look_at_changed(r, true, e);
    turn->ready = r;
    turn->single_passed = turn->batch_passed = false;
    turn->single_model = turn_after(r, r->single_model);
    turn->batch_model = turn_after(r, r->batch_model);
    *slots = r->slots;
    *count = r->count;
    return result;
}

static void keep(struct ready *r, char **name, size_t i) {
    if (i >= r->count || (*name && strcmp(*name, r->slots[i].model_id) == 0))
        return;
    free(*name);
    *name = mem_copy(r->slots[i].model_id);
}

void ready_keep_turn(struct ready *r, struct claim_turn *turn) {
    if (turn->single_passed)
        keep(r, &r->single_model, turn->single_model);
    if (turn->batch_passed)
        keep(r, &r->batch_model, turn->batch_model);
    turn->single_passed = turn->batch_passed = false;
}

int ready_note(struct ready *r, struct turn_pool *pool, int64_t lane, size_t model, struct err *e) {
    if (!r || r->forgotten)
        doubt_all(pool->offers, pool->count);
    else if (r->changed_count == 1 && r->changed[0] == lane) {
        pool->offers[model].best.known = false;
        r->changed_count = 0;
    } else
        return look_at_changed(r, false, e);
    return 0;
}
