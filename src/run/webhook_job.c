// SPDX-License-Identifier: MIT
#include "run/webhook_job.h"
#include "base/clock.h"
#include "base/mem.h"
#include "run/webhook.h"
#include <stdio.h>
#include <stdlib.h>

#define EVERY_MS (60 * 60 * 1000)
#define PASS_MS 60000 // a command sends no longer than this
#define WAIT_MS 50

struct pass {
    bool expired;
    struct db *db; // owned by us: NULL, it is not
    struct loop *loop;
    struct webhooks *webhooks;
    int64_t until_ms, changes;
};

int64_t webhook_job_every_ms(const struct job_settings *settings) {
    return settings->webhook_count > 0 ? EVERY_MS : 0;
}

void *webhook_job_begin(struct job_run *run) {
    (void)run;
    return mem_alloc(1, sizeof(struct pass));
}

void webhook_job_end(void *state) {
    struct pass *p = state;
    webhooks_free(p->webhooks);
    loop_close(p->loop);
    if (p->db)
        db_disown(p->db);
    free(p);
}

// False: somebody else sends, or there is nothing to send to; the note says so.
static bool begin_sending(struct job_run *run, struct pass *p, int *result, struct err *e) {
    struct upkeep *u = &run->upkeep;
    const struct job_settings *s = run->context.settings;
    if (s->webhook_count == 0) {
        snprintf(u->note, sizeof u->note, "no endpoint is configured: add a section [webhook NAME]");
        return false;
    }
    if (run->context.by_runner || u->dry_run)
        return false;
    if (u->runner_is_up || db_own(u->db, e) != 0) {
        snprintf(u->note, sizeof u->note, "a runner is up, which sends by itself");
        return false;
    }
    p->db = u->db;
    if ((*result = loop_open(&p->loop, e)))
        return false;
    p->webhooks = webhooks_new(u->db, p->loop, s->webhooks, s->webhook_count);
    p->until_ms = clock_monotonic_ms() + PASS_MS;
    return true;
}

int webhook_job_slice(struct job_run *run, bool *more, struct err *e) {
    struct pass *p = run->state;
    struct upkeep *u = &run->upkeep;
    int64_t changed = 0;
    int result = 0;
    *more = false;
    if (!p->expired && !u->dry_run) {
        result = delivery_expire(u->db, clock_wall_at(), &changed, e);
        p->expired = !result && changed == 0;
        *more = !result && changed > 0;
        if (result || *more)
            return result;
    }
    if (!p->webhooks && !begin_sending(run, p, &result, e))
        return result;
    // Others may write meanwhile: each slice looks anew.
    webhooks_turn(p->webhooks, ++p->changes, clock_monotonic_ms());
    if ((result = loop_wait(p->loop, WAIT_MS, e)))
        return result;
    int64_t now_ms = clock_monotonic_ms();
    webhooks_turn(p->webhooks, p->changes, now_ms);
    *more = !webhooks_are_idle(p->webhooks) && now_ms < p->until_ms;
    snprintf(u->note, sizeof u->note, "%lld message%s taken", (long long)webhooks_taken(p->webhooks),
             webhooks_taken(p->webhooks) == 1 ? " was" : "s were");
    return 0;
}
