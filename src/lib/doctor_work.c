// SPDX-License-Identifier: MIT
// The runner and its work: is one up, does it beat, what is stuck, what is parked.
#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "lib/doctor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUTURE_MS 60000 // clocks of one machine do not differ by more

static void format_span(int64_t ms, char *out, size_t size) {
    clock_format_duration(ms > 0 ? ms / 1000 * 1000 : 0, out, size);
}

// ---- the runner ----

static void look_at_living_runner(struct doctor *d, int64_t now_at) {
    const struct health *h = &d->health;
    struct process_stat process;
    char up[32], silent[32];
    format_span(now_at - h->started_at, up, sizeof up);
    format_span(now_at - h->heartbeat_at, silent, sizeof silent);
    long long pid = (long long)h->runner_pid;
    if (!h->runner_open) {
        doctor_tell(d, "runner", DOCTOR_NOTE, NULL,
                    "one is starting, or waits for a command that owns the database");
    } else if (h->runner_is_here && process_read((pid_t)h->runner_pid, &process) && process.state == 'T') {
        char *advice = mem_format("kill -CONT %lld lets it go on", pid);
        doctor_tell(d, "runner", DOCTOR_WRONG, advice, "process %lld is stopped by a signal and runs nothing",
                    pid);
        free(advice);
    } else if (h->processing > 0 && now_at - h->heartbeat_at > h->heartbeat_timeout_ms) {
        char *advice = mem_format("kill -KILL %lld and start another, which takes its work back", pid);
        doctor_tell(d, "runner", DOCTOR_WRONG, advice,
                    "process %lld hangs: it has work and has not beaten for %s", pid, silent);
        free(advice);
    } else if (h->processing > 0) {
        doctor_tell(d, "runner", DOCTOR_OK, NULL,
                    "process %lld is up for %s, its last heartbeat was %s ago, %lld in work", pid, up, silent,
                    (long long)h->processing);
    } else {
        doctor_tell(d, "runner", DOCTOR_OK, NULL,
                    "process %lld is up for %s, nothing is in work (it beats only then)", pid, up);
    }
}

// Of no runner of the whole queue: a command that runs what it waits for.
static bool is_alive(const struct health *h) {
    struct process_stat process;
    return h->runner_open && h->runner_is_here && process_read((pid_t)h->runner_pid, &process);
}

static void look_at_runner(struct doctor *d, int64_t now_at) {
    const struct health *h = &d->health;
    if (d->served)
        look_at_living_runner(d, now_at);
    else if (is_alive(h))
        doctor_tell(d, "runner", DOCTOR_NOTE, "'genrun run' runs everything",
                    "none is up; process %lld runs what it waits for", (long long)h->runner_pid);
    else if (h->queued > 0)
        doctor_tell(d, "runner", DOCTOR_NOTE, "start one with 'genrun run'",
                    "none is up, and %lld generation%s", (long long)h->queued,
                    h->queued == 1 ? " waits" : "s wait");
    else
        doctor_tell(d, "runner", DOCTOR_OK, NULL, "none is up, and nothing waits");
}

// ---- what does not go on ----

// What a dead runner held is stuck at once; its row only tells so after heartbeat_timeout.
static void look_at_stuck(struct doctor *d) {
    const struct health *h = &d->health;
    bool orphans = !d->served && !is_alive(h);
    int64_t stuck = orphans ? h->processing : h->stuck;
    if (stuck == 0)
        doctor_tell(d, "stuck", DOCTOR_OK, NULL, "nothing is stuck");
    else
        doctor_tell(
            d, "stuck", DOCTOR_WRONG,
            orphans ? "start a runner with 'genrun run': it takes them back at once"
                    : "'genrun list --status stuck' shows them; end a runner that hangs and start it anew",
            "%lld generation%s stuck%s", (long long)stuck, stuck == 1 ? " is" : "s are",
            orphans ? ": nobody runs them any more" : "");
}

// One that is parked without an end waits for a person.
static int tell_model(void *payload, struct row *row) {
    struct doctor *d = payload;
    const char *name = row_text(row, "name"), *state = row_text(row, "state"),
               *reason = row_text(row, "reason");
    int64_t since_at = row_integer(row, "since", 0), until_at = row_integer(row, "until", 0);
    long long queued = (long long)row_integer(row, "queued", 0);
    char since[CLOCK_ISO_SIZE] = "an unknown time", until[CLOCK_ISO_SIZE] = "";
    if (strcmp(state, "ok") != 0) {
        bool parked = strcmp(state, "parked") == 0;
        char *advice =
            parked ? mem_format("mend that, and 'genrun models resume %s' sends to it again", name) : NULL;
        char *check = mem_format("model %s", name);
        if (since_at > 0)
            clock_format_iso(since_at, since);
        if (until_at > 0)
            clock_format_iso(until_at, until);
        doctor_tell(d, check, parked && until_at == 0 ? DOCTOR_WRONG : DOCTOR_NOTE, advice,
                    "%s since %s%s%s, with %lld in its queue: %s", state, since,
                    until_at > 0 ? ", until " : "", until, queued, reason ? reason : "no reason is known");
        free(advice);
        free(check);
    }
    row_free(row);
    return 0;
}

static void look_at_future(struct doctor *d, int64_t now_at) {
    char newest[CLOCK_ISO_SIZE];
    clock_format_iso(d->health.newest_at, newest);
    if (d->health.newest_at > now_at + FUTURE_MS)
        doctor_tell(d, "clock", DOCTOR_WRONG, "set the clock right; until then ages and delays are wrong",
                    "the newest row is of %s: the clock was set back, or was wrong then", newest);
}

void doctor_look_at_work(struct doctor *d) {
    int64_t now_at = clock_wall_at();
    struct err e = {0};
    if (!d->db)
        return;
    look_at_runner(d, now_at);
    look_at_stuck(d);
    if (queue_models(d->db, tell_model, d, &e) != 0)
        doctor_tell_message(d, "database", DOCTOR_WRONG, e.message);
    look_at_future(d, now_at);
}
