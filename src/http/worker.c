// SPDX-License-Identifier: MIT
#include "http/worker.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/state.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SERVING_THREADS 2
#define THREADS (SERVING_THREADS + 1)
#define JOBS_MAXIMUM 64

struct chore {
    void (*run)(genrun *g, const char *text);
    char *text;
    struct chore *next;
};

struct worker {
    genrun *owner; // the loop's
    void (*on_done)(struct exchange *x);
    pthread_mutex_t mutex;
    pthread_cond_t work; // there is some, or the end has come
    struct exchange *jobs, **jobs_end;
    struct exchange *done;
    struct chore *chores, **chores_end;
    int waiting; // jobs without a thread
    int busy;    // exchanges that are not back on the loop: the loop's own count
    bool ending;
    int event_fd;
    struct thread {
        struct worker *worker;
        genrun *g;
        pthread_t id;
        bool serves, started;
    } threads[THREADS];
};

static void tell(struct worker *w) {
    const uint64_t one = 1;
    // A counter that is full wakes as well.
    (void)!write(w->event_fd, &one, sizeof one);
}

static void serve(struct thread *t) {
    struct worker *w = t->worker;
    struct exchange *x = w->jobs;
    w->jobs = x->next_job;
    if (!w->jobs)
        w->jobs_end = &w->jobs;
    w->waiting--;
    pthread_mutex_unlock(&w->mutex);
    dispatch_work(x, t->g);
    pthread_mutex_lock(&w->mutex);
    x->next_job = w->done;
    w->done = x;
    tell(w);
}

static void do_chore(struct thread *t) {
    struct worker *w = t->worker;
    struct chore *c = w->chores;
    w->chores = c->next;
    if (!w->chores)
        w->chores_end = &w->chores;
    pthread_mutex_unlock(&w->mutex);
    c->run(t->g, c->text);
    free(c->text);
    free(c);
    pthread_mutex_lock(&w->mutex);
}

static void *run(void *payload) {
    struct thread *t = payload;
    struct worker *w = t->worker;
    pthread_mutex_lock(&w->mutex);
    while (!w->ending) {
        if (t->serves && w->jobs)
            serve(t);
        else if (!t->serves && w->chores)
            do_chore(t);
        else
            pthread_cond_wait(&w->work, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

static void take_done(void *payload, int fd, short events) {
    struct worker *w = payload;
    uint64_t count;
    (void)events;
    (void)!read(fd, &count, sizeof count);
    pthread_mutex_lock(&w->mutex);
    struct exchange *x = w->done;
    w->done = NULL;
    pthread_mutex_unlock(&w->mutex);
    while (x) {
        struct exchange *next = x->next_job;
        w->busy--;
        w->on_done(x);
        x = next;
    }
}

// Signals are the loop's: a thread that took one would not wake it.
static int start_thread(struct thread *t, struct err *e) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->id, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    t->started = rc == 0;
    return rc ? err_set(e, ERR_REMOTE, "no thread for long requests (%s): raise the limit on processes",
                        strerror(rc))
              : 0;
}

int worker_open(struct worker **out, genrun *g, void (*on_done)(struct exchange *x), struct err *e) {
    struct worker *w = mem_alloc(1, sizeof *w);
    int result = 0;
    w->owner = g;
    w->on_done = on_done;
    w->jobs_end = &w->jobs;
    w->chores_end = &w->chores;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->work, NULL);
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->event_fd < 0 || genrun_watch(g, w->event_fd, POLLIN, take_done, w))
        result = err_set(e, ERR_REMOTE,
                         "no descriptor for the threads of long requests (%s): raise the limit on open files",
                         strerror(errno));
    for (int i = 0; i < THREADS && !result; i++) {
        struct thread *t = &w->threads[i];
        t->worker = w;
        t->serves = i < SERVING_THREADS;
        if (host_beside(g, &t->g))
            result = err_set(e, ERR_DATABASE, "%s", genrun_message(t->g));
        else
            result = start_thread(t, e);
    }
    if (result)
        worker_close(w);
    *out = result ? NULL : w;
    return result;
}

void worker_close(struct worker *w) {
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->ending = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->mutex);
    for (int i = 0; i < THREADS; i++)
        if (w->threads[i].started)
            genrun_stop(w->threads[i].g); // ends what it waits in
    for (int i = 0; i < THREADS; i++) {
        if (w->threads[i].started)
            pthread_join(w->threads[i].id, NULL);
        genrun_close(w->threads[i].g);
    }
    while (w->chores) {
        struct chore *c = w->chores;
        w->chores = c->next;
        free(c->text);
        free(c);
    }
    if (w->event_fd >= 0) {
        genrun_watch(w->owner, w->event_fd, 0, NULL, NULL);
        close(w->event_fd);
    }
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

bool worker_add(struct worker *w, struct exchange *x) {
    pthread_mutex_lock(&w->mutex);
    bool taken = w->waiting < JOBS_MAXIMUM;
    if (taken) {
        x->next_job = NULL;
        *w->jobs_end = x;
        w->jobs_end = &x->next_job;
        w->waiting++;
        w->busy++;
        pthread_cond_broadcast(&w->work);
    }
    pthread_mutex_unlock(&w->mutex);
    return taken;
}

void worker_after(struct worker *w, void (*after)(genrun *g, const char *text), const char *text) {
    pthread_mutex_lock(&w->mutex);
    const struct chore *waits = w->chores;
    while (waits && (waits->run != after || strcmp(waits->text, text) != 0))
        waits = waits->next;
    if (!waits) {
        struct chore *c = mem_alloc(1, sizeof *c);
        c->run = after;
        c->text = mem_copy(text);
        *w->chores_end = c;
        w->chores_end = &c->next;
        pthread_cond_broadcast(&w->work);
    }
    pthread_mutex_unlock(&w->mutex);
}

int worker_busy(const struct worker *w) {
    return w->busy;
}
