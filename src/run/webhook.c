// SPDX-License-Identifier: MIT
// Reading the log for each endpoint, sending what is due, and writing down what
// came of it. All state that matters is in the database: killed at any point, a
// process leaves what is sent again.
#include "run/webhook.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 4       // on their way to one endpoint
#define AT_ONCE_ALL 16  // and to all
#define LOOK_MS 20      // between two looks at a log in which nothing was for the endpoint
#define CURSOR_MS 5000  // a cursor that moves without a delivery is written so often
#define AGAIN_MS 1000   // after trouble with the database
#define CONFIG_MS 60000 // a URL or secret that is missing is looked for again
#define AWAY_MIN_MS 5000
#define AWAY_MAX_MS (5 * 60 * 1000)
#define BURST_MS 1000 // of slack: one message in that time
#define RETRY_MAXIMUM_MS (INT64_C(24) * 3600 * 1000)

struct endpoint;
struct going { // a message on its way, or ended and not written down yet
    struct endpoint *endpoint;
    struct webhook_send *send;
    int64_t *ids;
    size_t count;
    int attempts; // before it
    bool ended;
    struct going *next;
};

struct endpoint {
    struct webhooks *all;
    const struct webhook_endpoint *config;
    struct delivery_endpoint state;
    bool opened;
    bool unusable;   // its URL or secret is missing
    bool more;       // the log goes on behind `state.position`
    bool looked;     // since the last change
    int64_t written; // cursor
    int64_t look_ms, cursor_ms, config_ms, burst_ms;
    int64_t due_at; // wall: the next delivery; 0: none
    int away_count; // tries since it is away
    struct going *going;
    size_t going_count;
};

struct webhooks {
    struct db *db;
    struct loop *loop;
    struct endpoint *list;
    size_t count, going_count;
    bool swept;       // what is no longer configured is forgotten
    bool ended;       // something that was on its way has ended
    int64_t changes;  // seen
    int64_t again_ms; // trouble with the database: not before
    int64_t taken;
};

// ---- pure ----

int64_t webhook_pause_ms(int attempts) {
    static const int64_t seconds[WEBHOOK_ATTEMPTS] = {0,     5,     300,   1800,  7200,
                                                      18000, 36000, 50400, 72000, 86400};
    return attempts > 0 && attempts < WEBHOOK_ATTEMPTS ? seconds[attempts] * 1000 : 0;
}

static bool matches(const char *const *patterns, const char *event) {
    for (size_t i = 0; patterns[i]; i++) {
        size_t length = strlen(patterns[i]);
        bool open = length > 0 && patterns[i][length - 1] == '*';
        if (open ? strncmp(patterns[i], event, length - 1) == 0 : strcmp(patterns[i], event) == 0)
            return true;
    }
    return false;
}

bool webhook_wants(const struct webhook_endpoint *endpoint, const char *event) {
    static const char *const usual[] = {"generation.failed", "batch.completed", "alert.*", NULL};
    static const char *const ends[] = {"batch.*", NULL};
    // What tells of webhooks would come back for ever.
    if (text_starts_with(event, "webhook."))
        return false;
    return matches(endpoint->events                     ? (const char *const *)endpoint->events
                   : endpoint->format == WEBHOOK_OPENAI ? ends
                                                        : usual,
                   event);
}

// As the log is looked at: which of OpenAI's events it becomes is seen later.
static bool wants(void *payload, const char *event) {
    const struct endpoint *p = payload;
    return p->config->format == WEBHOOK_OPENAI ? text_starts_with(event, "batch.")
                                               : webhook_wants(p->config, event);
}

static int64_t jittered(int64_t ms) {
    return ms + (int64_t)(id_random_u64() % (uint64_t)(ms / 5 + 1));
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

// ---- life ----

struct webhooks *webhooks_new(struct db *db, struct loop *loop, const struct webhook_endpoint *endpoints,
                              size_t count) {
    struct webhooks *w = mem_alloc(1, sizeof *w);
    w->db = db;
    w->loop = loop;
    w->count = count;
    w->changes = -1;
    w->list = mem_alloc(count ? count : 1, sizeof *w->list);
    for (size_t i = 0; i < count; i++) {
        w->list[i].all = w;
        w->list[i].config = &endpoints[i];
    }
    return w;
}

static void free_going(struct going *g) {
    webhook_send_free(g->send);
    free(g->ids);
    free(g);
}

void webhooks_free(struct webhooks *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->count; i++)
        while (w->list[i].going) {
            struct going *g = w->list[i].going;
            w->list[i].going = g->next;
            free_going(g);
        }
    free(w->list);
    free(w);
}

int64_t webhooks_taken(const struct webhooks *w) {
    return w->taken;
}

// ---- reading ----

static int open_endpoint(struct endpoint *p, int64_t now_ms, struct err *e) {
    struct buf url, secret;
    char digest[33] = "";
    buf_init(&url, WEBHOOK_SECRET_MAXIMUM);
    buf_init(&secret, WEBHOOK_SECRET_MAXIMUM);
    bool unusable = webhook_url(p->config, &url, e) != 0 || webhook_secret(p->config, &secret, e) != 0;
    if (unusable && !p->unusable)
        log_warn("%s; until then its events wait", e->message);
    p->unusable = unusable;
    p->config_ms = now_ms + CONFIG_MS;
    webhook_digest(buf_borrow(&url), digest);
    webhook_wipe(&url);
    webhook_wipe(&secret);
    int result = unusable ? delivery_look(p->all->db, p->config->name, &p->state, e) : 0;
    // Without a URL nothing is known of whether it is another one; what is new begins to be read all the same.
    if (!result && (!unusable || p->state.position < 0))
        result = delivery_open(p->all->db, p->config->name, digest, clock_wall_at(), &p->state, e);
    if (result)
        return result;
    p->opened = true;
    p->written = p->state.position;
    return 0;
}

static int forget_others(struct webhooks *w, struct err *e) {
    const char **names = mem_alloc(w->count + 1, sizeof *names);
    for (size_t i = 0; i < w->count; i++)
        names[i] = w->list[i].config->name;
    int result = delivery_forget_others(w->db, names, w->count, clock_wall_at(), e);
    free(names);
    w->swept = !result;
    return result;
}

static int store(struct endpoint *p, struct delivery_event *events, size_t count, int64_t position,
                 struct err *e) {
    struct delivery_new list[DELIVERY_PAGE];
    size_t kept = 0;
    int result = 0;
    int64_t now_at = clock_wall_at();
    for (size_t i = 0; !result && i < count; i++) {
        struct delivery_new *d = &list[kept];
        struct buf body;
        bool wanted = false;
        buf_init(&body, BUF_UNLIMITED);
        *d = (struct delivery_new){events[i].id, events[i].generation_seq, events[i].batch_seq, "", NULL};
        result = p->state.disabled_at
                     ? 0
                     : webhook_body(p->all->db, p->config, &events[i], d->type, &body, &wanted, e);
        if (!result && wanted) {
            d->body = buf_take(&body);
            kept++;
        }
        buf_free(&body);
    }
    int64_t wait_ms = p->config->format == WEBHOOK_SLACK ? BURST_MS : 0;
    if (!result && kept > 0)
        result =
            delivery_store(p->all->db, p->config->name, list, kept, position, now_at + wait_ms, now_at, e);
    if (!result && kept > 0) {
        p->written = position;
        p->state.pending += (int64_t)kept;
    }
    for (size_t i = 0; i < kept; i++)
        free(list[i].body);
    return result;
}

// One page of the log.
static int read_log(struct endpoint *p, int64_t now_ms, struct err *e) {
    struct delivery_event events[DELIVERY_PAGE];
    size_t count = 0;
    int64_t position = p->state.position;
    int result = delivery_scan(p->all->db, &position, wants, p, events, &count, &p->more, e);
    if (result)
        return result;
    result = count ? store(p, events, count, position, e) : 0;
    for (size_t i = 0; i < count; i++)
        delivery_event_clear(&events[i]);
    if (result)
        return result;
    p->state.position = position;
    if (!p->more)
        p->look_ms = now_ms + LOOK_MS;
    return 0;
}

static int write_cursor(struct endpoint *p, int64_t now_ms, struct err *e) {
    if (p->written == p->state.position)
        return 0;
    int result =
        delivery_store(p->all->db, p->config->name, NULL, 0, p->state.position, 0, clock_wall_at(), e);
    if (!result)
        p->written = p->state.position;
    p->cursor_ms = now_ms + CURSOR_MS;
    return result;
}

// What others may have changed: enabled, sent again, the times set.
static int look(struct endpoint *p, struct err *e) {
    int64_t position = p->state.position;
    int result = delivery_look(p->all->db, p->config->name, &p->state, e);
    p->state.position = position;
    if (!result)
        result = delivery_next_at(p->all->db, p->config->name, &p->due_at, e);
    p->looked = !result;
    return result;
}

// ---- sending ----

static void on_end(void *payload, struct webhook_send *send) {
    (void)send;
    struct going *g = payload;
    g->ended = true;
    g->endpoint->all->ended = true;
}

static bool is_going(const struct endpoint *p, int64_t id) {
    for (const struct going *g = p->going; g; g = g->next)
        for (size_t i = 0; i < g->count; i++)
            if (g->ids[i] == id)
                return true;
    return false;
}

// Takes over nothing: what cannot be sent now is due again in a minute.
static void begin(struct endpoint *p, const struct delivery *list, size_t count, int64_t now_ms) {
    struct err e;
    struct buf body;
    struct going *g = mem_alloc(1, sizeof *g);
    g->endpoint = p;
    g->ids = mem_alloc(count, sizeof *g->ids);
    g->count = count;
    g->attempts = list[0].attempts;
    for (size_t i = 0; i < count; i++)
        g->ids[i] = list[i].id;
    buf_init(&body, BUF_UNLIMITED);
    if (p->config->format == WEBHOOK_SLACK)
        webhook_write_slack(&body, list, count);
    else
        buf_text(&body, list[0].body);
    const struct webhook_message message = {list[0].message_id, buf_borrow(&body)};
    int result = webhook_send_start(&g->send, p->all->loop, p->config, &message, on_end, g, &e);
    buf_free(&body);
    if (result) {
        log_debug("%s", e.message);
        p->unusable = true;
        p->config_ms = now_ms + CONFIG_MS;
        free_going(g);
        return;
    }
    g->next = p->going;
    p->going = g;
    p->going_count++;
    p->all->going_count++;
}

static size_t room(const struct endpoint *p) {
    size_t most = p->config->format == WEBHOOK_SLACK || p->state.away_since ? 1 : AT_ONCE;
    if (p->going_count >= most || p->all->going_count >= AT_ONCE_ALL)
        return 0;
    size_t all = AT_ONCE_ALL - p->all->going_count;
    return most - p->going_count < all ? most - p->going_count : all;
}

// When something may go out, as the wall clock says; 0: not by itself.
static int64_t due_at(const struct endpoint *p) {
    if (!p->opened || p->unusable || p->state.disabled_at || !p->due_at)
        return 0;
    return p->state.not_before > p->due_at ? p->state.not_before : p->due_at;
}

static int send_due(struct endpoint *p, int64_t now_ms, struct err *e) {
    int64_t now_at = clock_wall_at();
    size_t free_slots = room(p), count = 0;
    bool slack = p->config->format == WEBHOOK_SLACK;
    if (free_slots == 0 || due_at(p) == 0 || due_at(p) > now_at || (slack && now_ms < p->burst_ms))
        return 0;
    size_t wanted = slack ? DELIVERY_BURST : free_slots + p->going_count;
    struct delivery *list = mem_alloc(wanted, sizeof *list);
    int result = delivery_due(p->all->db, p->config->name, now_at, wanted, list, &count, e);
    if (!result && slack && count > 0) {
        begin(p, list, count, now_ms);
        p->burst_ms = now_ms + BURST_MS;
    }
    size_t begun = 0;
    for (size_t i = 0; !result && !slack && i < count && begun < free_slots; i++)
        if (!is_going(p, list[i].id)) {
            begin(p, &list[i], 1, now_ms);
            begun++;
        }
    for (size_t i = 0; i < count; i++)
        delivery_clear(&list[i]);
    free(list);
    // All that is due is on its way: the next look comes with an end or a change.
    if (!result && (begun == 0 || p->going_count < AT_ONCE))
        p->due_at = 0;
    return result;
}

// ---- what came of it ----

static int tell(struct endpoint *p, const char *level, const char *event, const char *what, const char *why,
                struct err *e) {
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
static int settle_away(struct endpoint *p, const struct going *g, const struct webhook_result *r,
                       int64_t now_at, struct err *e) {
    int64_t pause_ms = AWAY_MIN_MS << (p->away_count < 6 ? p->away_count : 6);
    bool news = p->state.away_since == 0;
    p->away_count++;
    p->state.away_since = news ? now_at : p->state.away_since;
    p->state.not_before = now_at + jittered(least(pause_ms, AWAY_MAX_MS));
    const struct delivery_outcome outcome = {.status = "pending", .next_at = now_at, .error = r->error};
    const struct delivery_state state = {
        .away_since = p->state.away_since, .not_before = p->state.not_before, .reason = r->error};
    int result = delivery_settle(p->all->db, g->ids, g->count, &outcome, now_at, e);
    if (!result)
        result = delivery_endpoint_set(p->all->db, p->config->name, &state, now_at, e);
    return result || !news ? result : tell(p, "warn", "webhook.away", "cannot be reached", r->error, e);
}

static int settle_gone(struct endpoint *p, const struct going *g, int64_t now_at, struct err *e) {
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
static int settle_failure(struct endpoint *p, const struct going *g, const struct webhook_result *r,
                          int64_t now_at, struct err *e) {
    int64_t pause_ms = jittered(webhook_pause_ms(g->attempts + 1));
    bool last = webhook_pause_ms(g->attempts + 1) == 0;
    int64_t asked_ms = least(r->retry_after_ms, RETRY_MAXIMUM_MS);
    bool held_off = r->status == 429 || r->status == 503;
    const struct delivery_outcome outcome = {.status = last ? "failed" : "pending",
                                             .counts = true,
                                             .next_at = now_at + (asked_ms > pause_ms ? asked_ms : pause_ms),
                                             .http_status = r->status,
                                             .error = r->error};
    int result = delivery_settle(p->all->db, g->ids, g->count, &outcome, now_at, e);
    // A pause that another one on its way was asked for stands.
    if (p->state.not_before <= now_at)
        p->state.not_before = 0;
    if (held_off && now_at + asked_ms > p->state.not_before && asked_ms > 0)
        p->state.not_before = now_at + asked_ms;
    const struct delivery_state state = {.not_before = p->state.not_before,
                                         .reason = p->state.not_before ? r->error : NULL};
    if (!result)
        result = delivery_endpoint_set(p->all->db, p->config->name, &state, now_at, e);
    return result || !last
               ? result
               : tell(p, "error", "webhook.failed", "did not take an event in all attempts", r->error, e);
}

static int settle_taken(struct endpoint *p, const struct going *g, const struct webhook_result *r,
                        int64_t now_at, struct err *e) {
    const struct delivery_outcome outcome = {.status = "delivered", .counts = true, .http_status = r->status};
    const struct delivery_state state = {.not_before = p->state.not_before > now_at ? p->state.not_before : 0,
                                         .took = true};
    int result = delivery_settle(p->all->db, g->ids, g->count, &outcome, now_at, e);
    if (!result)
        result = delivery_endpoint_set(p->all->db, p->config->name, &state, now_at, e);
    p->all->taken += !result;
    return result;
}

static int settle_one(struct endpoint *p, const struct going *g, int64_t now_at, struct err *e) {
    const struct webhook_result *r = webhook_send_result(g->send);
    int result = 0;
    if (!r->connected && !r->refused)
        return settle_away(p, g, r, now_at, e);
    if (p->state.away_since) {
        p->state.away_since = p->away_count = 0;
        p->state.not_before = 0;
        result = tell(p, "info", "webhook.back", "can be reached again", NULL, e);
    }
    if (result)
        return result;
    if (!*r->error)
        return settle_taken(p, g, r, now_at, e);
    // Someone may have disabled it meanwhile.
    if (r->status == 410)
        return settle_gone(p, g, now_at, e);
    return settle_failure(p, g, r, now_at, e);
}

static void take_out(struct endpoint *p) {
    struct going **at = &p->going;
    while (*at) {
        struct going *g = *at;
        if (!g->ended) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        p->going_count--;
        p->all->going_count--;
        free_going(g);
    }
    p->looked = false;
}

// All that ended, in one transaction.
static int settle(struct webhooks *w, struct err *e) {
    int64_t now_at = clock_wall_at();
    int result = db_begin(w->db, 50, e);
    if (result)
        return result;
    for (size_t i = 0; i < w->count; i++)
        for (struct going *g = w->list[i].going; !result && g; g = g->next)
            if (g->ended)
                result = settle_one(&w->list[i], g, now_at, e);
    if (result)
        db_rollback(w->db);
    else
        result = db_commit(w->db, e);
    // What was noted on the way is not so, then.
    struct err ignored;
    for (size_t i = 0; result && i < w->count; i++)
        if (look(&w->list[i], &ignored) != 0)
            w->list[i].looked = false;
    if (result)
        return result;
    for (size_t i = 0; i < w->count; i++)
        take_out(&w->list[i]);
    w->ended = false;
    return 0;
}

// ---- turns ----

static bool has_to_drop(const struct endpoint *p) {
    return p->opened && p->state.disabled_at && p->state.pending > 0;
}

static int drop(struct endpoint *p, struct err *e) {
    int64_t dropped = 0;
    int result = delivery_drop(p->all->db, p->config->name, clock_wall_at(), &dropped, e);
    p->state.pending = dropped ? p->state.pending - dropped : 0;
    return result;
}

static int turn_endpoint(struct endpoint *p, int64_t now_ms, struct err *e) {
    int result = 0;
    if (!p->opened || (p->unusable && now_ms >= p->config_ms))
        result = open_endpoint(p, now_ms, e);
    if (!result && !p->looked && now_ms >= p->look_ms) {
        result = look(p, e);
        p->more = !result || p->more;
    }
    if (!result && p->more && p->state.pending < DELIVERY_PENDING_MAXIMUM) {
        result = read_log(p, now_ms, e);
        if (!result)
            result = delivery_next_at(p->all->db, p->config->name, &p->due_at, e);
    }
    if (!result && now_ms >= p->cursor_ms)
        result = write_cursor(p, now_ms, e);
    if (!result && has_to_drop(p))
        result = drop(p, e);
    return result ? result : send_due(p, now_ms, e);
}

void webhooks_turn(struct webhooks *w, int64_t changes, int64_t now_ms) {
    struct err e = {0};
    if (!w || now_ms < w->again_ms)
        return;
    for (size_t i = 0; changes != w->changes && i < w->count; i++)
        w->list[i].looked = false;
    w->changes = changes;
    w->again_ms = 0;
    int result = w->swept ? 0 : forget_others(w, &e);
    if (!result && w->ended)
        result = settle(w, &e);
    for (size_t i = 0; !result && i < w->count; i++)
        result = turn_endpoint(&w->list[i], now_ms, &e);
    if (result)
        log_debug("webhooks wait for the database: %s", e.message);
    if (result)
        w->again_ms = now_ms + AGAIN_MS;
}

static int64_t endpoint_due_ms(const struct endpoint *p, int64_t now_ms) {
    int64_t due_ms = INT64_MAX, at = due_at(p);
    if (!p->opened)
        return now_ms;
    if (p->unusable)
        due_ms = p->config_ms;
    if (!p->looked)
        due_ms = least(due_ms, p->look_ms);
    if ((p->more && p->state.pending < DELIVERY_PENDING_MAXIMUM) || has_to_drop(p))
        due_ms = now_ms;
    if (p->written != p->state.position)
        due_ms = least(due_ms, p->cursor_ms);
    if (at && room(p) > 0) {
        int64_t left_ms = at - clock_wall_at();
        int64_t send_ms = now_ms + (left_ms > 0 ? left_ms : 0);
        due_ms = least(due_ms,
                       p->config->format == WEBHOOK_SLACK && send_ms < p->burst_ms ? p->burst_ms : send_ms);
    }
    return due_ms;
}

int64_t webhooks_due_ms(const struct webhooks *w) {
    int64_t now_ms = clock_monotonic_ms(), due_ms = INT64_MAX;
    if (!w)
        return INT64_MAX;
    if (w->ended || !w->swept)
        due_ms = now_ms;
    for (size_t i = 0; i < w->count; i++)
        due_ms = least(due_ms, endpoint_due_ms(&w->list[i], now_ms));
    return w->again_ms > due_ms ? w->again_ms : due_ms;
}

bool webhooks_are_idle(const struct webhooks *w) {
    int64_t soon_at = clock_wall_at() + BURST_MS;
    if (!w || w->again_ms)
        return true;
    for (size_t i = 0; i < w->count; i++) {
        const struct endpoint *p = &w->list[i];
        bool sends = due_at(p) > 0 && due_at(p) <= soon_at;
        if (!p->opened || !p->looked || p->going || sends || has_to_drop(p) ||
            (p->more && p->state.pending < DELIVERY_PENDING_MAXIMUM))
            return false;
    }
    return true;
}
