// SPDX-License-Identifier: MIT
// What is started next: what a person asked for, a suspect that must run alone, and
// else what the queue's fairness gives to the free slots. Inside of the tick's transaction.
#include "base/clock.h"
#include "base/mem.h"
#include "loop/child.h"
#include "run/state.h"
#include <stdlib.h>

#define SUSPECT_PATIENCE_MS 60000 // so long others may keep a suspect from its quiet moment

// What a model takes now. A stopped process of it counts until it is gone.
static int free_of(const struct runner *r, struct gate *gate, int most, int64_t now_ms) {
    int left = gate_free(gate, most, now_ms);
    int limit = gate->model ? gate->model->concurrency : 0;
    int busy = gate->running + (limit > 0 ? (int)child_dying(r->loop, gate->model) : 0);
    if (limit > 0 && limit - busy < left)
        left = limit - busy;
    return left > 0 ? left : 0;
}

// What each model that has work takes now.
static int look_at_slots(struct runner *r, int room, int64_t now_ms, struct err *e) {
    int result = ready_look(r->ready, &r->turn, &r->slots, &r->slot_count, e);
    for (size_t i = 0; i < r->slot_count && !result; i++) {
        struct claim_slot *slot = &r->slots[i];
        struct gate *gate = slot->payload;
        if (!gate) {
            result = gate_list_get(&r->gates, r->db, slot->model_id, now_ms, &gate, e);
            slot->payload = gate;
            slot->last_single = gate->last_single;
        }
        slot->free = free_of(r, gate, room, now_ms);
    }
    return result;
}

static int claim_normal(struct runner *r, const struct claim_scope *scope, int room, int64_t now_ms,
                        struct err *e) {
    int result = look_at_slots(r, room, now_ms, e);
    return result ? result
                  : queue_claim(r->db, scope, &r->turn, r->slots, r->slot_count, room, r->claims,
                                &r->claim_count, e);
}

void runner_keep_claim(struct runner *r, int64_t now_ms) {
    bool is_long = gate_list_is_long(&r->gates);
    for (size_t i = 0; i < r->slot_count && (is_long || r->turn.single_passed); i++) {
        struct gate *gate = r->slots[i].payload;
        if (!gate)
            continue;
        gate->last_single = r->slots[i].last_single;
        gate->wanted = is_long;
    }
    ready_keep_turn(r->ready, &r->turn);
    if (is_long)
        gate_list_trim(&r->gates, now_ms);
}

void runner_undo_claim(struct runner *r) {
    ready_forget(r->ready);
    for (size_t i = 0; i < r->slot_count; i++) {
        const struct gate *gate = r->slots[i].payload;
        if (gate)
            r->slots[i].last_single = gate->last_single;
    }
}

// A suspect of an open model; 0: none.
static int find_suspect(struct runner *r, const struct claim_scope *scope, int64_t now_ms, int64_t *seq,
                        struct err *e) {
    char **names;
    size_t count;
    int result = queue_suspect_models(r->db, &names, &count, e);
    *seq = 0;
    for (size_t i = 0; i < count; i++) {
        struct gate *gate;
        if (!result && *seq == 0)
            result = gate_list_get(&r->gates, r->db, names[i], now_ms, &gate, e);
        if (!result && *seq == 0 && free_of(r, gate, 1, now_ms) > 0)
            result = queue_next_suspect(r->db, scope, names[i], seq, e);
        free(names[i]);
    }
    free(names);
    return result;
}

// The gate of a generation's model; NULL: the generation is gone.
static int gate_of(struct runner *r, int64_t seq, int64_t now_ms, struct gate **gate, struct err *e) {
    char *model_id = NULL;
    int result = queue_model_of(r->db, seq, &model_id, e);
    *gate = NULL;
    if (!result && model_id)
        result = gate_list_get(&r->gates, r->db, model_id, now_ms, gate, e);
    free(model_id);
    return result;
}

static int claim_only(struct runner *r, const struct claim_scope *scope, int64_t now_ms, struct err *e) {
    struct gate *gate;
    int result = gate_of(r, scope->only_generation, now_ms, &gate, e);
    if (!result && gate && free_of(r, gate, 1, now_ms) > 0)
        result = queue_claim_one(r->db, scope, scope->only_generation, r->claims, &r->claim_count, e);
    return result;
}

// When a gate that is closed now opens, there is something to claim again.
void runner_note_gates(struct runner *r, int64_t now_ms) {
    gate_list_sort(&r->gates, now_ms);
    r->gates_open_ms = r->gates.opens_ms;
    // An account that another holds is a closed gate, too.
    int64_t wait_ms = r->unlock_at - clock_wall_at();
    if (r->unlock_at > 0 && now_ms + wait_ms < r->gates_open_ms)
        r->gates_open_ms = now_ms + (wait_ms > 0 ? wait_ms : 1);
}

static void make_room(struct runner *r, size_t room) {
    if (room <= r->claim_room)
        return;
    r->claims = mem_resize(r->claims, room, sizeof *r->claims);
    r->claim_room = room;
}

// A gate that is closed for a while keeps the request waiting, one that is closed for good, too.
static int claim_one_asked(struct runner *r, const struct claim_scope *scope, const struct request *asked,
                           int64_t now_ms, struct err *e) {
    struct gate *gate;
    size_t before = r->claim_count;
    int result = gate_of(r, asked->seq, now_ms, &gate, e);
    bool open = gate && gate->model && gate->until_ms <= now_ms;
    if (!result && asked->is_queued && open)
        result = queue_claim_asked(r->db, scope, asked->seq, r->claims, &r->claim_count, e);
    // What is no longer queued has nothing left to ask for.
    if (!result && (!asked->is_queued || r->claim_count > before))
        result = queue_request_withdraw(r->db, asked->seq, e);
    return result;
}

// What a person asked for comes first, beside the limits: it waits for no slot.
static int claim_asked(struct runner *r, const struct claim_scope *scope, int64_t now_ms, struct err *e) {
    struct request asked[REQUEST_SLICE], last = {0};
    size_t count = REQUEST_SLICE, claimed = r->claim_count, seen = 0;
    bool any = r->asked || r->asked_later;
    int result = 0;
    r->asked = false;
    if (!any || r->stopping || r->exclusive)
        return 0;
    // As long as none can start, those behind them may.
    while (!result && count == REQUEST_SLICE && r->claim_count == claimed) {
        result = queue_requests(r->db, scope, &last, asked, &count, e);
        for (size_t i = 0; i < count && !result; i++)
            result = claim_one_asked(r, scope, &asked[i], now_ms, e);
        if (count > 0)
            last = asked[count - 1];
        seen += count;
    }
    r->asked_later = seen > r->claim_count - claimed;
    // Those behind a full slice that could start are the next tick's.
    r->asked = count == REQUEST_SLICE && r->claim_count > claimed;
    return result;
}

int runner_claim(struct runner *r, int64_t now_ms, int64_t now_at, struct err *e) {
    int room = runner_free_slots(r);
    int64_t suspect = 0;
    int result = 0;
    const struct claim_scope scope = {.runner_seq = r->me.seq,
                                      .now_at = now_at,
                                      .only_batch = r->options.only_batch,
                                      .only_generation = r->options.only_generation,
                                      .account_concurrency = r->settings.account_concurrency,
                                      .owner = r->me.id,
                                      .lock_ms = r->options.jobs->lock_expiry_ms};
    make_room(r, (size_t)room + REQUEST_SLICE);
    if ((result = claim_asked(r, &scope, now_ms, e)) || room == 0)
        return result;
    size_t asked = r->claim_count;
    if (scope.only_generation) {
        r->claimable = false;
        return asked > 0 ? 0 : claim_only(r, &scope, now_ms, e);
    }
    result = find_suspect(r, &scope, now_ms, &suspect, e);
    if (suspect == 0)
        r->suspect_since_ms = 0;
    else if (r->suspect_since_ms == 0)
        r->suspect_since_ms = now_ms;
    // A suspect runs when nothing else does: at once when nothing else waits, and after some patience nothing
    // else is started until it had its turn.
    bool quiet = suspect && now_ms - r->suspect_since_ms >= SUSPECT_PATIENCE_MS;
    if (!result && !quiet)
        result = claim_normal(r, &scope, room, now_ms, e);
    if (!result && scope.account_concurrency > 0 && r->claim_count - asked < (size_t)room)
        result = queue_next_unlock(r->db, r->me.id, now_at, &r->unlock_at, e);
    // With slots left over, nothing more is to be had until something changes.
    r->claimable = r->claim_count - asked == (size_t)room || (!quiet && r->turn.unfinished);
    if (!result && suspect && r->claim_count == 0 && r->live_count == 0) {
        result = queue_claim_one(r->db, &scope, suspect, r->claims, &r->claim_count, e);
        r->exclusive = !result && r->claim_count > 0;
        r->suspect_since_ms = now_ms;
    }
    return result;
}
