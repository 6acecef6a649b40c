// SPDX-License-Identifier: MIT
#include "lib/sync_thread.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "lib/config_sync.h"
#include "lib/host.h"
#include "sync/sync.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define GAP_MS 200 // between two passes at least: commits come in bursts
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS (5 * 60 * 1000)
#define NICE 10 // of the thread: where there are too few cores, the loop has them first

#define SILENT_MS 5000   // a stop waits no longer for a Postgres that does not answer
#define NAMELESS_MS 1000 // nor for a name server
#define LOOK_MS 100
#define ALONE_MS 2000 // for the writer lock

enum handing { HANDING_NONE, HANDING_ASKED, HANDING_QUEUED, HANDING_DONE, HANDING_BACK };

struct sync_thread {
    genrun *g; // of the loop
    pthread_t id;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_bool ended;
    bool alone;    // the loop takes nothing any more
    bool last;     // the runner has ended: one pass more
    bool finished; // the thread
    bool commits;  // there were some since the last pass

    // A write under way: asked for by the thread, done by the loop, or handed back.
    enum handing handing;
    int (*change)(void *what, struct db *db, struct err *e);
    void *what;
    struct host_write write;
    int result;
    struct err err;

    struct db *own; // for its writes when it is alone
    struct dial_pulse pulse;
    struct buf url;
    char *node;
    struct sync_options options;
    struct sync *session;
    int failures;
    bool told; // on stderr, that it fails
};

// ---- writes, handed over to the loop ----

static int on_write(void *payload, genrun *g) {
    struct sync_thread *t = payload;
    int result = t->change(t->what, g->db, &g->err);
    return handle_result(g, result);
}

static void on_done(void *payload, int result, const char *message) {
    struct sync_thread *t = payload;
    pthread_mutex_lock(&t->mutex);
    t->result = result ? err_set(&t->err, (enum err_code)result, "%s", message ? message : "") : 0;
    t->handing = HANDING_DONE;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

void sync_thread_turn(struct sync_thread *t) {
    if (!t)
        return;
    pthread_mutex_lock(&t->mutex);
    bool asked = t->handing == HANDING_ASKED;
    if (asked)
        t->handing = HANDING_QUEUED;
    pthread_mutex_unlock(&t->mutex);
    if (!asked)
        return;
    t->write = (struct host_write){.on_write = on_write, .on_done = on_done, .payload = t};
    host_write(t->g, &t->write);
}

static int write_alone(struct sync_thread *t, int (*change)(void *what, struct db *db, struct err *e),
                       void *what, struct err *e) {
    int result = t->own ? 0 : db_open(&t->own, t->options.database, DB_EXISTING, e);
    if (!result)
        result = db_begin(t->own, ALONE_MS, e);
    if (result)
        return result;
    result = change(what, t->own, e);
    if (!result)
        return db_commit(t->own, e);
    db_rollback(t->own);
    return result;
}

// *done false: the loop does not do it any more.
static int write_by_loop(struct sync_thread *t, int (*change)(void *what, struct db *db, struct err *e),
                         void *what, bool *done, struct err *e) {
    int result = 0;
    pthread_mutex_lock(&t->mutex);
    *done = !t->alone;
    if (*done) {
        t->change = change;
        t->what = what;
        t->handing = HANDING_ASKED;
        host_wake(t->g);
        while (t->handing != HANDING_DONE && t->handing != HANDING_BACK)
            pthread_cond_wait(&t->changed, &t->mutex);
        *done = t->handing == HANDING_DONE;
        t->handing = HANDING_NONE;
        if (*done && (result = t->result))
            *e = t->err;
    }
    pthread_mutex_unlock(&t->mutex);
    return result;
}

static int on_host_write(void *payload, int (*change)(void *what, struct db *db, struct err *e), void *what,
                         struct err *e) {
    bool done = false;
    int result = write_by_loop(payload, change, what, &done, e);
    return done ? result : write_alone(payload, change, what, e);
}

// ---- the thread ----

// Longer each time, and not for all boxes at the same moment.
static int64_t wait_ms(const struct sync_thread *t) {
    int64_t ms = t->g->config->sync.every_ms, most = BACKOFF_MAX_MS > ms ? BACKOFF_MAX_MS : ms;
    if (t->failures == 0)
        return ms;
    if (ms < BACKOFF_MIN_MS && t->failures > 3)
        ms = BACKOFF_MIN_MS;
    for (int i = 1; i < t->failures && ms < most; i++)
        ms *= 2;
    ms = ms < most ? ms : most;
    return ms / 2 + (int64_t)(id_random_u64() % (uint64_t)(ms / 2 + 1));
}

// Until the clock, a commit, the runner's end or its own. Commits do not count while Postgres is away.
static void wait(struct sync_thread *t, int64_t until_ms, bool for_commits) {
    pthread_mutex_lock(&t->mutex);
    while (!atomic_load(&t->ended) && !t->last && !(for_commits && t->commits)) {
        int64_t now_ms = clock_monotonic_ms();
        if (now_ms >= until_ms)
            break;
        struct timespec until = {until_ms / 1000, (until_ms % 1000) * 1000000L};
        pthread_cond_timedwait(&t->changed, &t->mutex, &until);
    }
    pthread_mutex_unlock(&t->mutex);
}

static int pass(struct sync_thread *t, struct err *e) {
    const struct sync_host host = {on_host_write, NULL, NULL, t};
    struct sync_result done;
    int result = t->session ? 0 : sync_open(&t->session, &t->options, &host, e);
    return result ? result : sync_pass(t->session, &done, e);
}

static void tell(struct sync_thread *t, int result, const struct err *e) {
    if (atomic_load(&t->ended))
        return;
    t->failures = result ? t->failures + 1 : 0;
    if (result && !t->told)
        log_warn("sync: %s; it is tried again from time to time", e->message);
    else if (!result && t->told)
        log_info("sync: Postgres is back");
    t->told = result != 0;
}

// Forgets the commits up to now, as the next look at the log finds them. True: the runner has ended.
static bool take_commits(struct sync_thread *t) {
    pthread_mutex_lock(&t->mutex);
    t->commits = false;
    bool last = t->last;
    pthread_mutex_unlock(&t->mutex);
    return last;
}

// Most commits are a runner's signs of life, or this thread's own.
static void wait_for_news(struct sync_thread *t, int64_t gap_ms) {
    int64_t until_ms = clock_monotonic_ms() + wait_ms(t);
    bool well = t->failures == 0;
    wait(t, well && gap_ms < until_ms ? gap_ms : until_ms, false);
    while (well && !atomic_load(&t->ended) && clock_monotonic_ms() < until_ms &&
           !(t->session && sync_has_news(t->session))) {
        wait(t, until_ms, true);
        if (take_commits(t))
            return;
    }
}

static void *run(void *payload) {
    struct sync_thread *t = payload;
    bool last = false;
    // On Linux a thread has a niceness of its own. Where it is refused, all are equal.
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    while (!atomic_load(&t->ended) && !last) {
        struct err e = {0};
        int64_t gap_ms = clock_monotonic_ms() + GAP_MS;
        last = take_commits(t);
        if (last && t->failures > 0)
            break;
        tell(t, pass(t, &e), &e);
        if (!last)
            wait_for_news(t, gap_ms);
    }
    sync_close(t->session);
    db_close(t->own);
    pthread_mutex_lock(&t->mutex);
    t->finished = true;
    pthread_mutex_unlock(&t->mutex);
    host_wake(t->g);
    return NULL;
}

// ---- the loop's side ----

static int start(struct sync_thread *t) {
    sigset_t all, before;
    // Signals are the loop's.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->id, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : err_set(&t->g->err, ERR_CONFIG, "a thread cannot be started: %s", strerror(rc));
}

static void free_thread(struct sync_thread *t) {
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->changed);
    config_wipe(&t->url);
    free(t->node);
    free(t);
}

static struct sync_thread *make(genrun *g) {
    struct sync_thread *t = mem_alloc(1, sizeof *t);
    pthread_condattr_t attributes;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    t->g = g;
    t->node = config_sync_node(g->config);
    buf_init(&t->url, BUF_UNLIMITED);
    return t;
}

int sync_thread_start(struct sync_thread **out, genrun *g) {
    *out = NULL;
    if (!config_sync_is_set(g->config))
        return 0;
    struct sync_thread *t = make(g);
    int result = config_sync_url(g->config, &t->url, &g->err);
    t->options = (struct sync_options){.database = g->config->database,
                                       .url = buf_borrow(&t->url),
                                       .schema = g->config->sync.schema,
                                       .node = t->node,
                                       .node_is_given = g->config->sync.node != NULL,
                                       .page = g->config->sync.batch,
                                       .deletes = g->config->sync.deletes,
                                       .version = GENRUN_VERSION,
                                       .timeout_ms = g->config->sync.timeout_ms,
                                       .every_ms = g->config->sync.every_ms,
                                       .gives_way = true,
                                       .ended = &t->ended,
                                       .pulse = &t->pulse};
    if (!result)
        result = start(t);
    if (result)
        free_thread(t);
    else
        *out = t;
    return result;
}

void sync_thread_commit(struct sync_thread *t) {
    if (!t)
        return;
    pthread_mutex_lock(&t->mutex);
    t->commits = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

void sync_thread_leave(struct sync_thread *t) {
    if (!t)
        return;
    host_write_cancel(t->g, &t->write);
    pthread_mutex_lock(&t->mutex);
    t->alone = true;
    if (t->handing == HANDING_ASKED || t->handing == HANDING_QUEUED)
        t->handing = HANDING_BACK;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

static bool is_finished(struct sync_thread *t) {
    pthread_mutex_lock(&t->mutex);
    bool finished = t->finished;
    pthread_mutex_unlock(&t->mutex);
    return finished;
}

static bool is_silent(struct sync_thread *t, int64_t now_ms) {
    int64_t since_ms = atomic_load(&t->pulse.since_ms);
    return since_ms && now_ms - since_ms > (atomic_load(&t->pulse.naming) ? NAMELESS_MS : SILENT_MS);
}

// Why it is not to be waited for any more; NULL: it is.
static const char *why_leave(struct sync_thread *t, int64_t until_ms) {
    int64_t now_ms = clock_monotonic_ms();
    return t->g->stop > 1         ? "at a second signal"
           : now_ms >= until_ms   ? "at the end of shutdown_grace"
           : is_silent(t, now_ms) ? "as Postgres does not answer"
                                  : NULL;
}

void sync_thread_last(struct sync_thread *t, int64_t until_ms) {
    const char *why = NULL;
    int result = 0;
    if (!t)
        return;
    pthread_mutex_lock(&t->mutex);
    t->last = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
    while (!result && !is_finished(t) && !(why = why_leave(t, until_ms))) {
        struct err ignored;
        result = loop_wait(t->g->loop, LOOK_MS, &ignored);
    }
    if (why)
        log_warn("sync: the last push was left %s: the next run, or 'genrun sync push', brings the rest",
                 why);
}

void sync_thread_end(struct sync_thread *t) {
    if (!t)
        return;
    atomic_store(&t->ended, true);
    sync_thread_leave(t);
    pthread_join(t->id, NULL);
    free_thread(t);
}
