// SPDX-License-Identifier: MIT
// Reading the log for each endpoint, sending what is due, and writing down what
// came of it. All state that matters is in the database: killed at any point, a
// process leaves what is sent again.
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "run/webhook_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 4       // on their way to one endpoint
#define AT_ONCE_ALL 16  // and to all
#define LOOK_MS 20      // between two looks at a log in which nothing was for the endpoint
#define LATER_MS 250    // between two looks at an event whose time has not come
#define CURSOR_MS 5000  // a cursor that moves without a delivery is written so often
#define AGAIN_MS 1000   // after trouble with the database
#define CONFIG_MS 60000 // a URL or secret that is missing is looked for again
#define COUNT_MS 1000   // between two counts of many that are pending
#define BURST_MS 1000   // of slack: one message in that time

// ---- pure ----

int64_t webhook_pause_ms(int attempts) {
    static const int64_t seconds[WEBHOOK_ATTEMPTS] = {0,     5,     300,   1800,  7200,
                                                      18000, 36000, 50400, 72000, 86400};
    return attempts > 0 && attempts < WEBHOOK_ATTEMPTS ? seconds[attempts] * 1000 : 0;
}

// "batch.*" and "batch." are all that begin so: no name ends with a dot.
static bool matches(const char *const *patterns, const char *event) {
    for (size_t i = 0; patterns[i]; i++) {
        size_t length = strlen(patterns[i]);
        bool open = length > 0 && strchr("*.", patterns[i][length - 1]);
        size_t fixed = length - (open && patterns[i][length - 1] == '*');
        if (open ? strncmp(patterns[i], event, fixed) == 0 : strcmp(patterns[i], event) == 0)
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
    const struct webhook_place *p = payload;
    return p->config->format == WEBHOOK_OPENAI ? text_starts_with(event, "batch.")
                                               : webhook_wants(p->config, event);
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
        w->list[i].unwinding = true;
    }
    return w;
}

void webhook_going_free(struct webhook_going *g) {
    webhook_send_free(g->send);
    free(g->ids);
    free(g);
}

void webhooks_free(struct webhooks *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->count; i++)
        while (w->list[i].going) {
            struct webhook_going *g = w->list[i].going;
            w->list[i].going = g->next;
            webhook_going_free(g);
        }
    free(w->list);
    free(w);
}

int64_t webhooks_taken(const struct webhooks *w) {
    int64_t taken = 0;
    for (size_t i = 0; i < w->count; i++)
        taken += w->list[i].ends[WEBHOOK_TAKEN];
    return taken;
}

void webhooks_counts(const struct webhooks *w,
                     void (*each)(void *payload, const char *endpoint, const char *result, int64_t count),
                     void *payload) {
    static const char *const results[WEBHOOK_ENDS] = {"taken", "failed",      "held_off",
                                                      "gone",  "unreachable", "blocked"};
    for (size_t i = 0; w && i < w->count; i++)
        for (size_t k = 0; k < WEBHOOK_ENDS; k++)
            each(payload, w->list[i].config->name, results[k], w->list[i].ends[k]);
}

// ---- reading ----

static int open_endpoint(struct webhook_place *p, int64_t now_ms, struct err *e) {
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
    bool more = false;
    int result = delivery_forget_others(w->db, names, w->count, clock_wall_at(), &more, e);
    free(names);
    w->swept = !result && !more;
    return result;
}

// *position moves back before the first event whose time has not come.
static int store(struct webhook_place *p, struct delivery_event *events, size_t count, int64_t *position,
                 bool *later, struct err *e) {
    struct delivery_new list[DELIVERY_PAGE];
    size_t kept = 0;
    int result = 0;
    int64_t now_at = clock_wall_at();
    *later = false;
    for (size_t i = 0; !result && !*later && i < count; i++) {
        struct delivery_new *d = &list[kept];
        struct buf body;
        enum webhook_wish wish = WEBHOOK_NOTHING;
        buf_init(&body, BUF_UNLIMITED);
        *d = (struct delivery_new){events[i].id, events[i].generation_seq, events[i].batch_seq, "", NULL};
        result = p->state.disabled_at
                     ? 0
                     : webhook_body(p->all->db, p->config, &events[i], now_at, d->type, &body, &wish, e);
        if (!result && wish == WEBHOOK_WANTED) {
            d->body = buf_take(&body);
            kept++;
        }
        *later = !result && wish == WEBHOOK_LATER;
        *position = *later ? events[i].id - 1 : *position;
        buf_free(&body);
    }
    int64_t wait_ms = p->config->format == WEBHOOK_SLACK ? BURST_MS : 0;
    if (!result && kept > 0)
        result =
            delivery_store(p->all->db, p->config->name, list, kept, *position, now_at + wait_ms, now_at, e);
    if (!result && kept > 0) {
        p->written = *position;
        p->state.pending += (int64_t)kept;
    }
    for (size_t i = 0; i < kept; i++)
        free(list[i].body);
    return result;
}

// One page of the log.
static int read_log(struct webhook_place *p, int64_t now_ms, struct err *e) {
    struct delivery_event events[DELIVERY_PAGE];
    size_t count = 0;
    int64_t position = p->state.position;
    int result = delivery_scan(p->all->db, &position, wants, p, events, &count, &p->more, e);
    if (result)
        return result;
    bool later = false;
    result = count ? store(p, events, count, &position, &later, e) : 0;
    for (size_t i = 0; i < count; i++)
        delivery_event_clear(&events[i]);
    if (result)
        return result;
    p->state.position = position;
    if (later) {
        p->more = p->looked = false;
        p->look_ms = now_ms + LATER_MS;
    } else if (!p->more) {
        p->look_ms = now_ms + LOOK_MS;
    }
    return 0;
}

static int write_cursor(struct webhook_place *p, int64_t now_ms, struct err *e) {
    if (p->written == p->state.position)
        return 0;
    int result =
        delivery_store(p->all->db, p->config->name, NULL, 0, p->state.position, 0, clock_wall_at(), e);
    if (!result)
        p->written = p->state.position;
    p->cursor_ms = now_ms + CURSOR_MS;
    return result;
}

// Many are not counted at each change of the database.
static int count_many(struct webhook_place *p, int64_t known, struct err *e) {
    int64_t now_ms = clock_monotonic_ms();
    p->uncounted = false;
    if (p->state.pending <= DELIVERY_MANY)
        return 0;
    if (known > DELIVERY_MANY && now_ms < p->count_ms) {
        p->state.pending = known;
        p->uncounted = true;
        return 0;
    }
    p->count_ms = now_ms + COUNT_MS;
    return delivery_count(p->all->db, p->config->name, &p->state.pending, e);
}

int webhook_look(struct webhook_place *p, struct err *e) {
    int64_t position = p->state.position, known = p->state.pending;
    int result = delivery_look(p->all->db, p->config->name, &p->state, e);
    p->state.position = position;
    if (!result)
        result = count_many(p, known, e);
    if (!result)
        result = delivery_next_at(p->all->db, p->config->name, &p->due_at, e);
    p->looked = !result;
    return result;
}

// It has as many as may be: the log keeps the rest.
static bool is_full(const struct webhook_place *p) {
    return p->state.pending >= DELIVERY_PENDING_MAXIMUM;
}

// ---- sending ----

static void on_end(void *payload, struct webhook_send *send) {
    (void)send;
    struct webhook_going *g = payload;
    g->ended = true;
    g->place->all->ended = true;
}

static bool is_going(const struct webhook_place *p, int64_t id) {
    for (const struct webhook_going *g = p->going; g; g = g->next)
        for (size_t i = 0; i < g->count; i++)
            if (g->ids[i] == id)
                return true;
    return false;
}

// Takes over nothing: what cannot be sent now is due again in a minute.
static void begin(struct webhook_place *p, const struct delivery *list, size_t count, int64_t now_ms) {
    struct err e;
    struct buf body;
    struct webhook_going *g = mem_alloc(1, sizeof *g);
    g->place = p;
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
        webhook_going_free(g);
        return;
    }
    g->next = p->going;
    p->going = g;
    p->going_count++;
    p->all->going_count++;
}

static size_t room(const struct webhook_place *p) {
    size_t most = p->config->format == WEBHOOK_SLACK || p->state.away_since ? 1 : AT_ONCE;
    size_t own = p->going_count < most ? most - p->going_count : 0;
    size_t all = p->all->going_count < AT_ONCE_ALL ? AT_ONCE_ALL - p->all->going_count : 0;
    size_t some = own < all ? own : all;
    // One may always be on its way: those to others, which hang, must not delay it.
    return some == 0 && p->going_count == 0 ? 1 : some;
}

// When something may go out, as the wall clock says; 0: not by itself.
static int64_t due_at(const struct webhook_place *p) {
    if (!p->opened || p->unusable || p->state.disabled_at || !p->due_at)
        return 0;
    return p->state.not_before > p->due_at ? p->state.not_before : p->due_at;
}

static int send_due(struct webhook_place *p, int64_t now_ms, struct err *e) {
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

// ---- turns ----

static bool has_to_drop(const struct webhook_place *p) {
    return p->opened && p->state.disabled_at && p->state.pending > 0;
}

static int drop(struct webhook_place *p, struct err *e) {
    int64_t dropped = 0;
    int result = delivery_drop(p->all->db, p->config->name, clock_wall_at(), &dropped, e);
    p->state.pending = dropped ? p->state.pending - dropped : 0;
    return result;
}

// A jump of the clock under a runner moves all delays along (runner.c); this is for one that came while nobody looked.
static int unwind(struct webhook_place *p, struct err *e) {
    int64_t changed = 0;
    int result = delivery_unwind(p->all->db, p->config->name, clock_wall_at(), &changed, e);
    p->unwinding = result || changed > 0;
    p->looked = false;
    return result;
}

static int turn_endpoint(struct webhook_place *p, int64_t now_ms, struct err *e) {
    int result = 0;
    if (!p->opened || (p->unusable && now_ms >= p->config_ms))
        result = open_endpoint(p, now_ms, e);
    if (!result && p->unwinding)
        result = unwind(p, e);
    bool counts = p->uncounted && is_full(p) && now_ms >= p->count_ms;
    if (!result && (counts || (!p->looked && now_ms >= p->look_ms))) {
        result = webhook_look(p, e);
        p->more = !result || p->more;
    }
    if (!result && p->more && !is_full(p)) {
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
        result = webhook_settle(w, &e);
    for (size_t i = 0; !result && i < w->count; i++)
        result = turn_endpoint(&w->list[i], now_ms, &e);
    if (result)
        log_debug("webhooks wait for the database: %s", e.message);
    if (result)
        w->again_ms = now_ms + AGAIN_MS;
}

static int64_t endpoint_due_ms(const struct webhook_place *p, int64_t now_ms) {
    int64_t due_ms = INT64_MAX, at = due_at(p);
    if (!p->opened)
        return now_ms;
    if (p->unusable)
        due_ms = p->config_ms;
    if (!p->looked)
        due_ms = least(due_ms, p->look_ms);
    if ((p->more && !is_full(p)) || has_to_drop(p) || p->unwinding)
        due_ms = now_ms;
    if (p->uncounted && is_full(p))
        due_ms = least(due_ms, p->count_ms);
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
    if (!w->swept)
        return false;
    for (size_t i = 0; i < w->count; i++) {
        const struct webhook_place *p = &w->list[i];
        bool sends = due_at(p) > 0 && due_at(p) <= soon_at;
        if (!p->opened || !p->looked || p->going || sends || has_to_drop(p) || p->unwinding ||
            (p->more && !is_full(p)))
            return false;
    }
    return true;
}
