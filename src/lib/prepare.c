// SPDX-License-Identifier: MIT
#include "lib/prepare.h"
#include "base/log.h"
#include "base/mem.h"
#include "lib/host.h"
#include "queue/openai.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct prepare {
    genrun *g;      // of the loop
    genrun *beside; // of the thread
    pthread_t id;
    atomic_bool done;
};

static void *run(void *payload) {
    struct prepare *p = payload;
    // What was not a file's fault is tried again by the next runner.
    if (genrun_openai_prepare(p->beside) != 0 && atomic_load(&p->beside->stop) == 0)
        log_warn("the file of a batch could not be read now: %s", genrun_message(p->beside));
    atomic_store(&p->done, true);
    host_wake(p->g);
    return NULL;
}

int prepare_start(struct prepare **out, genrun *g) {
    char id[OPENAI_ID_SIZE];
    sigset_t all, before;
    *out = NULL;
    int result = queue_openai_next(g->db, "", id, &g->err);
    if (result || !id[0])
        return result;
    struct prepare *p = mem_alloc(1, sizeof *p);
    p->g = g;
    if (host_beside(g, &p->beside) != 0) {
        result = err_set(&g->err, p->beside->err.code, "%s", genrun_message(p->beside));
    } else {
        // Signals are the loop's.
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int rc = pthread_create(&p->id, NULL, run, p);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (rc != 0)
            result = err_set(&g->err, ERR_CONFIG, "a thread cannot be started: %s", strerror(rc));
    }
    if (result) {
        genrun_close(p->beside);
        free(p);
    } else {
        *out = p;
    }
    return result;
}

bool prepare_is_done(const struct prepare *p) {
    return !p || atomic_load(&p->done);
}

void prepare_stop(struct prepare *p) {
    if (p)
        genrun_stop(p->beside);
}

void prepare_end(struct prepare *p) {
    if (!p)
        return;
    prepare_stop(p);
    pthread_join(p->id, NULL);
    genrun_close(p->beside);
    free(p);
}
