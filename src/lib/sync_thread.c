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

enum handing { HANDING_NONE, HANDING_ASKED, HANDING_QUEUED, HANDING_DONE };

struct sync_thread {
    genrun *g; // of the loop
    pthread_t id;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_bool ended;
    bool down;    // the loop takes nothing any more
    bool commits; // there were some since the last pass

    // A write under way: asked for by the thread, done by the loop.
    enum handing handing;
    int (*change)(void *what, struct db *db, struct err *e);
    void *what;
    struct host_write write;
    int result;
    struct err err;

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

static int write_by_loop(void *payload, int (*change)(void *what, struct db *db, struct err *e), void *what,
                         struct err *e) {
    struct sync_thread *t = payload;
    int result;
    pthread_mutex_lock(&t->mutex);
    if (t->down) {
        pthread_mutex_unlock(&t->mutex);
        return err_set(e, ERR_CONFLICT, "the runner stops");
    }
    t->change = change;
    t->what = what;
    t->handing = HANDING_ASKED;
    host_wake(t->g);
    while (t->handing != HANDING_DONE)
        pthread_cond_wait(&t->changed, &t->mutex);
    t->handing = HANDING_NONE;
    if ((result = t->result))
        *e = t->err;
    pthread_mutex_unlock(&t->mutex);
    return result;
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

// Until the clock, a commit or the end. Commits do not count while Postgres is away.
static void wait(struct sync_thread *t, int64_t until_ms, bool for_commits) {
    pthread_mutex_lock(&t->mutex);
    while (!atomic_load(&t->ended) && !(for_commits && t->commits)) {
        int64_t now_ms = clock_monotonic_ms();
        if (now_ms >= until_ms)
            break;
        struct timespec until = {until_ms / 1000, (until_ms % 1000) * 1000000L};
        pthread_cond_timedwait(&t->changed, &t->mutex, &until);
    }
    pthread_mutex_unlock(&t->mutex);
}

static int pass(struct sync_thread *t, struct err *e) {
    const struct sync_host host = {write_by_loop, NULL, t};
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

static void *run(void *payload) {
    struct sync_thread *t = payload;
    // On Linux a thread has a niceness of its own. Where it is refused, all are equal.
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    while (!atomic_load(&t->ended)) {
        struct err e = {0};
        int64_t gap_ms = clock_monotonic_ms() + GAP_MS;
        pthread_mutex_lock(&t->mutex);
        t->commits = false;
        pthread_mutex_unlock(&t->mutex);
        tell(t, pass(t, &e), &e);
        int64_t until_ms = clock_monotonic_ms() + wait_ms(t);
        bool well = t->failures == 0;
        wait(t, well && gap_ms < until_ms ? gap_ms : until_ms, false);
        // Most commits are a runner's signs of life, or this thread's own.
        while (well && !atomic_load(&t->ended) && clock_monotonic_ms() < until_ms &&
               !(t->session && sync_has_news(t->session))) {
            wait(t, until_ms, true);
            pthread_mutex_lock(&t->mutex);
            t->commits = false;
            pthread_mutex_unlock(&t->mutex);
        }
    }
    sync_close(t->session);
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
                                       .ended = &t->ended};
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

void sync_thread_stop(struct sync_thread *t) {
    if (!t)
        return;
    atomic_store(&t->ended, true);
    pthread_mutex_lock(&t->mutex);
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

void sync_thread_end(struct sync_thread *t) {
    if (!t)
        return;
    sync_thread_stop(t);
    // What still waits for the loop is not done any more.
    host_write_cancel(t->g, &t->write);
    pthread_mutex_lock(&t->mutex);
    t->down = true;
    if (t->handing == HANDING_ASKED || t->handing == HANDING_QUEUED) {
        t->result = err_set(&t->err, ERR_CONFLICT, "the runner stops");
        t->handing = HANDING_DONE;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->id, NULL);
    free_thread(t);
}
