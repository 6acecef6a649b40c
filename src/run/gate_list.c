// SPDX-License-Identifier: MIT
// The gates of all models that have work or are closed; of others some are kept.
#include "base/mem.h"
#include "run/gate.h"
#include <stdlib.h>
#include <string.h>

#define KEPT 1000 // gates, before those that say nothing are forgotten

void gate_list_free(struct gate_list *gates) {
    for (size_t i = 0; i < gates->count; i++) {
        free(gates->list[i]->model_id);
        free(gates->list[i]);
    }
    free(gates->list);
    free(gates->touched);
    free(gates->closed);
    gates->list = gates->touched = gates->closed = NULL;
    gates->count = gates->room = gates->touched_count = gates->touched_room = 0;
    gates->closed_count = gates->closed_room = 0;
}

// The first whose name is not less.
static size_t place_of(const struct gate_list *gates, const char *model_id) {
    size_t from = 0, to = gates->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(gates->list[middle]->model_id, model_id) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

struct gate *gate_list_find(struct gate_list *gates, const char *model_id) {
    size_t i = place_of(gates, model_id);
    return i < gates->count && strcmp(gates->list[i]->model_id, model_id) == 0 ? gates->list[i] : NULL;
}

static struct gate **append(struct gate **list, size_t *count, size_t *room, struct gate *gate) {
    if (*count == *room)
        list = mem_resize(list, *room = 2 * *room + 16, sizeof *list);
    list[(*count)++] = gate;
    return list;
}

void gate_list_touch(struct gate_list *gates, struct gate *gate) {
    if (gate->touched)
        return;
    gate->touched = true;
    gates->touched = append(gates->touched, &gates->touched_count, &gates->touched_room, gate);
}

static int add(struct gate_list *gates, struct db *db, const char *model_id, bool restart, int64_t now_ms,
               struct gate **out, struct err *e) {
    struct gate *gate = mem_alloc(1, sizeof *gate);
    size_t i = place_of(gates, model_id);
    gate->home = gates;
    gate->model_id = mem_copy(model_id);
    gate->model = model_find(gates->models, gates->model_count, model_id);
    gate->refilled_ms = now_ms;
    gate->starts_left = 1;
    gate->tokens_left = 1;
    gates->list = append(gates->list, &gates->count, &gates->room, gate);
    memmove(&gates->list[i + 1], &gates->list[i], (gates->count - 1 - i) * sizeof *gates->list);
    gates->list[i] = gate;
    gate_list_touch(gates, gate);
    *out = gate;
    int result = queue_model_state(db, model_id, &gate->state, e);
    bool earlier = gate->state.since > 0 && gate->state.since < gates->started_at;
    gate_take_stored(gate, restart || earlier, now_ms);
    if (!gate->model)
        gate_close_unserved(gate);
    return result;
}

int gate_list_get(struct gate_list *gates, struct db *db, const char *model_id, int64_t now_ms,
                  struct gate **out, struct err *e) {
    *out = gate_list_find(gates, model_id);
    return *out ? 0 : add(gates, db, model_id, false, now_ms, out, e);
}

// A person may have resumed or parked a model meanwhile: that counts more than what is not yet written here.
static int read_again(struct gate *gate, struct db *db, int64_t now_ms, struct err *e) {
    struct model_state now;
    int result = queue_model_state(db, gate->model_id, &now, e);
    if (result || !gate->model || strcmp(now.state, gate->stored) == 0)
        return result;
    now.unstreamed |= gate->state.unstreamed;
    gate->state = now;
    gate_take_stored(gate, false, now_ms);
    return 0;
}

// Those that the database says are closed, in order: each has a gate after that.
static int see_closed(struct gate_list *gates, struct db *db, bool restart, int64_t now_ms, struct err *e) {
    struct closed_model *closed;
    size_t count;
    int result = queue_closed_models(db, &closed, &count, e);
    gates->looks++;
    for (size_t i = 0; i < count; i++) {
        struct gate *gate = gate_list_find(gates, closed[i].model_id);
        if (!result && !gate)
            result = add(gates, db, closed[i].model_id, restart, now_ms, &gate, e);
        else if (!result && strcmp(closed[i].state, gate->stored) != 0)
            result = read_again(gate, db, now_ms, e);
        if (gate)
            gate->seen = gates->looks;
        free(closed[i].model_id);
    }
    free(closed);
    return result;
}

// Those that were closed, and of which it did not say so any more.
static int see_opened(struct gate_list *gates, struct gate **list, size_t count, struct db *db,
                      int64_t now_ms, struct err *e) {
    int result = 0;
    for (size_t i = 0; i < count && !result; i++)
        if (list[i]->seen != gates->looks && strcmp(list[i]->stored, "ok") != 0)
            result = read_again(list[i], db, now_ms, e);
    return result;
}

static int add_named(struct gate_list *gates, struct db *db, char **names, size_t count, int64_t now_ms,
                     struct err *e) {
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        struct gate *gate = gate_list_find(gates, names[i]);
        if (!result && !gate)
            result = add(gates, db, names[i], true, now_ms, &gate, e);
        free(names[i]);
    }
    free(names);
    return result;
}

int gate_list_refresh(struct gate_list *gates, struct db *db, bool restart, int64_t now_ms, struct err *e) {
    char **names;
    size_t count;
    int result = see_closed(gates, db, restart, now_ms, e);
    if (!result)
        result = see_opened(gates, gates->closed, gates->closed_count, db, now_ms, e);
    // Reading one again touches it: what comes behind was read.
    if (!result)
        result = see_opened(gates, gates->touched, gates->touched_count, db, now_ms, e);
    if (result || !restart)
        return result;
    if ((result = queue_lane_models(db, &names, &count, e)) == 0)
        result = add_named(gates, db, names, count, now_ms, e);
    if (!result && (result = queue_suspect_models(db, &names, &count, e)) == 0)
        result = add_named(gates, db, names, count, now_ms, e);
    return result;
}

// ---- which are closed ----

static bool is_closed(struct gate *gate, int64_t now_ms) {
    return strcmp(gate->state.state, "ok") != 0 || gate_opens_ms(gate, now_ms) != INT64_MAX;
}

static void see_touched(struct gate_list *gates, int64_t now_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < gates->touched_count; i++) {
        struct gate *gate = gates->touched[i];
        if (!gate->closed_place && is_closed(gate, now_ms)) {
            gates->closed = append(gates->closed, &gates->closed_count, &gates->closed_room, gate);
            gate->closed_place = gates->closed_count;
        }
        gates->closed_changed |= gate->closed_place > 0;
        gate->touched = gate->dirty;
        if (gate->dirty)
            gates->touched[kept++] = gate;
    }
    gates->touched_count = kept;
}

void gate_list_sort(struct gate_list *gates, int64_t now_ms) {
    see_touched(gates, now_ms);
    if (!gates->closed_changed && gates->opens_ms > now_ms)
        return;
    size_t kept = 0;
    gates->opens_ms = gates->since_at = INT64_MAX;
    for (size_t i = 0; i < gates->closed_count; i++) {
        struct gate *gate = gates->closed[i];
        int64_t opens_ms = gate_opens_ms(gate, now_ms);
        bool ok = strcmp(gate->state.state, "ok") == 0;
        if (opens_ms < gates->opens_ms)
            gates->opens_ms = opens_ms;
        if (!ok && gate->state.since > 0 && gate->state.since < gates->since_at)
            gates->since_at = gate->state.since;
        gate->closed_place = ok && opens_ms == INT64_MAX ? 0 : kept + 1;
        if (gate->closed_place)
            gates->closed[kept++] = gate;
    }
    gates->closed_count = kept;
    gates->closed_changed = false;
}

int gate_list_store(struct gate_list *gates, struct db *db, struct err *e) {
    for (size_t i = 0; i < gates->touched_count; i++) {
        const struct gate *g = gates->touched[i];
        int result = g->dirty ? queue_model_set(db, g->model_id, &g->state, e) : 0;
        if (result)
            return result;
    }
    return 0;
}

void gate_list_note_stored(struct gate_list *gates) {
    for (size_t i = 0; i < gates->touched_count; i++)
        gate_note_stored(gates->touched[i]);
}

// ---- how many there are ----

bool gate_list_is_long(const struct gate_list *gates) {
    return gates->count > KEPT && gates->count >= gates->trim_at;
}

void gate_list_trim(struct gate_list *gates, int64_t now_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < gates->count; i++) {
        struct gate *g = gates->list[i];
        if (!g->wanted && !g->touched && !g->closed_place && g->attempts == 0 && gate_is_new(g, now_ms)) {
            free(g->model_id);
            free(g);
        } else {
            g->wanted = false;
            gates->list[kept++] = g;
        }
    }
    gates->count = kept;
    gates->trim_at = 2 * kept;
}
