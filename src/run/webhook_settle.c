// SPDX-License-Identifier: MIT
// What came of messages, written down: taken, tried again, held off, away, gone.
#include "base/clock.h"
#include "base/log.h"
#include "run/webhook_state.h"
#include <stdio.h>
#include <string.h>

#define AWAY_MIN_MS 5000
#define AWAY_MAX_MS (5 * 60 * 1000)
#define HELD_OFF_MS 5000 // where it does not say for how long
#define RETRY_MAXIMUM_MS (INT64_C(24) * 3600 * 1000)

static int64_t jittered(int64_t ms) {
    return ms + (int64_t)(id_random_u64() % (uint64_t)(ms / 5 + 1));
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

enum webhook_end webhook_end(const struct webhook_result *r) {
    if (r->refused)
        return WEBHOOK_BLOCKED;
    if (!r->connected)
        return WEBHOOK_UNREACHABLE;
    if (!*r->error)
        return WEBHOOK_TAKEN;
    if (r->status == 429 || (r->status >= 502 && r->status <= 504))
        return WEBHOOK_HELD_OFF;
    return r->status == 410 ? WEBHOOK_GONE : WEBHOOK_FAILED;
}

static int tell(struct webhook_place *p, const char *level, const char *event, const char *what,
                const char *why, struct err *e) {
    char message[320];
    snprintf(message, sizeof message, "webhook %s %s%s%s", p->config->name, what, why && *why ? ": " : "",
             why ? why : "");
    if (strcmp(level, "info") == 0)
        log_info("%s", message);
    else
        log_warn("%s", message);
    return queue_log(p->all->db, level, event, 0, 0, message, NULL, e);
}

// It could not be reached: nobody is to blame, so nothing is spent, and nothing more is said than once.
static int settle_away(struct webhook_place *p, const struct webhook_going *g, const struct webhook_result *r,
                       int64_t now_at, struct err *e) {
    int64_t pause_ms = AWAY_MIN_MS << (p->away_count < 6 ? p->away_count : 6);
    bool news = p->state.away_since == 0;
    // Of those that were on their way together only one makes the pause longer.
    if (news || p->state.not_before <= now_at) {
        p->away_count++;
        p->state.not_before = now_at + jittered(least(pause_ms, AWAY_MAX_MS));
    }
    p->state.away_since = news ? now_at : p->state.away_since;
    const struct delivery_outcome outcome = {.status = "pending", .next_at = now_at, .error = r->error};
    const struct delivery_state state = {
        .away_since = p->state.away_since, .not_before = p->state.not_before, .reason = r->error};
    int result = delivery_settle(p->all->db, g->ids, g->count, &outcome, now_at, e);
    if (!result)
        result = delivery_endpoint_set(p->all->db, p->config->name, &state, now_at, e);
    return result || !news ? result : tell(p, "warn", "webhook.away", "cannot be reached", r->error, e);
}

static int settle_gone(struct webhook_place *p, const struct webhook_going *g, int64_t now_at,
                       struct err *e) {
    const struct delivery_outcome outcome = {.status = "failed",
                                             .counts = true,
                                             .http_status = 410,
                                             .error = "HTTP 410: the receiver wants no more"};
    const struct delivery_state state = {.disabled_at = now_at,
                                         .reason = "it answered 410: it wants no more events"};
    p->state.disabled_at = now_at;
    int result = delivery_settle(p->all->db, g->ids, g->count, &outcome, now_at, e);
    if (!result)
        result = delivery_endpoint_set(p->all->db, p->config->name, &state, now_at, e);
    return result ? result
                  : tell(p, "warn", "webhook.disabled",
                         "answered 410 and is disabled: 'genrun webhook enable' sends to it again", NULL, e);
}

// Refused, or no good answer: again by the schedule, or when the receiver says.
static int settle_failure(struct webhook_place *p, const struct webhook_going *g,
                          const struct webhook_result *r, int64_t now_at, struct err *e) {
    int64_t pause_ms = jittered(webhook_pause_ms(g->attempts + 1));
    bool last = webhook_pause_ms(g->attempts + 1) == 0;
    int64_t asked_ms = least(r->retry_after_ms, RETRY_MAXIMUM_MS);
    bool held_off = webhook_end(r) == WEBHOOK_HELD_OFF;
    if (held_off && asked_ms <= 0)
        asked_ms = jittered(HELD_OFF_MS);
    const struct delivery_outcome outcome = {.status = last ? "failed" : "pending",
                                             .counts = true,
                                             .next_at = now_at + (asked_ms > pause_ms ? asked_ms : pause_ms),
                                             .http_status = r->status,
                                             .error = r->error};
    int result = delivery_settle(p->all->db, g->ids, g->count, &outcome, now_at, e);
    // A pause that another one on its way was asked for stands.
    if (p->state.not_before <= now_at)
        p->state.not_before = 0;
    if (held_off && asked_ms > 0 && now_at + asked_ms > p->state.not_before)
        p->state.not_before = now_at + asked_ms;
    const struct delivery_state state = {.not_before = p->state.not_before,
                                         .reason = p->state.not_before ? r->error : NULL};
    if (!result)
        result = delivery_endpoint_set(p->all->db, p->config->name, &state, now_at, e);
    return result || !last
               ? result
               : tell(p, "error", "webhook.failed", "did not take an event in all attempts", r->error, e);
}

static int settle_taken(struct webhook_place *p, const struct webhook_going *g,
                        const struct webhook_result *r, int64_t now_at, struct err *e) {
    const struct delivery_outcome outcome = {.status = "delivered", .counts = true, .http_status = r->status};
    const struct delivery_state state = {.not_before = p->state.not_before > now_at ? p->state.not_before : 0,
                                         .took = true};
    int result = delivery_settle(p->all->db, g->ids, g->count, &outcome, now_at, e);
    if (!result)
        result = delivery_endpoint_set(p->all->db, p->config->name, &state, now_at, e);
    return result;
}

static int settle_one(struct webhook_place *p, const struct webhook_going *g, int64_t now_at, struct err *e) {
    const struct webhook_result *r = webhook_send_result(g->send);
    enum webhook_end end = webhook_end(r);
    int result = 0;
    if (end == WEBHOOK_UNREACHABLE)
        return settle_away(p, g, r, now_at, e);
    if (p->state.away_since) {
        p->state.away_since = p->away_count = 0;
        p->state.not_before = 0;
        result = tell(p, "info", "webhook.back", "can be reached again", NULL, e);
    }
    if (result)
        return result;
    if (end == WEBHOOK_TAKEN)
        return settle_taken(p, g, r, now_at, e);
    return end == WEBHOOK_GONE ? settle_gone(p, g, now_at, e) : settle_failure(p, g, r, now_at, e);
}

static void take_out(struct webhook_place *p) {
    struct webhook_going **at = &p->going;
    while (*at) {
        struct webhook_going *g = *at;
        if (!g->ended) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        p->ends[webhook_end(webhook_send_result(g->send))]++;
        p->going_count--;
        p->all->going_count--;
        webhook_going_free(g);
    }
    p->looked = false;
}

int webhook_settle(struct webhooks *w, struct err *e) {
    int64_t now_at = clock_wall_at();
    int result = db_begin(w->db, 50, e);
    if (result)
        return result;
    for (size_t i = 0; i < w->count; i++)
        for (struct webhook_going *g = w->list[i].going; !result && g; g = g->next)
            if (g->ended)
                result = settle_one(&w->list[i], g, now_at, e);
    if (result)
        db_rollback(w->db);
    else
        result = db_commit(w->db, e);
    // What was noted on the way is not so, then.
    struct err ignored;
    for (size_t i = 0; result && i < w->count; i++)
        if (webhook_look(&w->list[i], &ignored) != 0)
            w->list[i].looked = false;
    if (result)
        return result;
    for (size_t i = 0; i < w->count; i++)
        take_out(&w->list[i]);
    w->ended = false;
    return 0;
}
