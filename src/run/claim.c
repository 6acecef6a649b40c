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

static int claim_normal(struct runner *r, const struct claim_scope *scope, int room, int64_t now_ms,
                        struct err *e) {
    size_t count = r->gates.count;
    struct claim_slot *slots = mem_alloc(count ? count : 1, sizeof *slots);
    for (size_t i = 0; i < count; i++)
        slots[i] = (struct claim_slot){.model_id = r->gates.list[i]->model_id,
                                       .free = free_of(r, r->gates.list[i], room, now_ms),
                                       .last_single = r->gates.list[i]->last_single};
    int result = queue_claim(r->db, scope, &r->turn, slots, count, room, r->claims, &r->claim_count, e);
    for (size_t i = 0; i < count; i++)
        r->gates.list[i]->last_single = slots[i].last_single;
    free(slots);
    return result;
}

// A suspect of an open model; 0: none.
static int find_suspect(struct runner *r, const struct claim_scope *scope, int64_t now_ms, int64_t *seq,
                        struct err *e) {
    *seq = 0;
    for (size_t i = 0; i < r->gates.count && *seq == 0; i++) {
        if (free_of(r, r->gates.list[i], 1, now_ms) == 0)
            continue;
        int result = queue_next_suspect(r->db, scope, r->gates.list[i]->model_id, seq, e);
        if (result)
            return result;
    }
    return 0;
}

static int claim_only(struct runner *r, const struct claim_scope *scope, int64_t now_ms, struct err *e) {
    char *model_id = NULL;
    int result = queue_model_of(r->db, scope->only_generation, &model_id, e);
    struct gate *gate = model_id ? gate_list_find(&r->gates, model_id) : NULL;
    if (!result && gate && free_of(r, gate, 1, now_ms) > 0)
        result = queue_claim_one(r->db, scope, scope->only_generation, r->claims, &r->claim_count, e);
    free(model_id);
    return result;
}

// When a gate that is closed now opens, there is something to claim again.
void runner_note_gates(struct runner *r, int64_t now_ms) {
    r->gates_open_ms = INT64_MAX;
    for (size_t i = 0; i < r->gates.count; i++) {
        int64_t opens = gate_opens_ms(r->gates.list[i], now_ms);
        if (opens < r->gates_open_ms)
            r->gates_open_ms = opens;
    }
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
    char *model_id = NULL;
    size_t before = r->claim_count;
    int result = queue_model_of(r->db, asked->seq, &model_id, e);
    struct gate *gate = model_id ? gate_list_find(&r->gates, model_id) : NULL;
    bool open = gate && gate->model && gate->until_ms <= now_ms;
    free(model_id);
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
