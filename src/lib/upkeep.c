// SPDX-License-Identifier: MIT
// Periodic jobs and locks of the public API.
#include "queue/upkeep.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/handle.h"
#include "run/job.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- jobs ----

struct last_runs {
    struct row **rows;
    size_t count;
};

static int keep(void *payload, struct row *row) {
    struct last_runs *last = payload;
    last->rows = mem_resize(last->rows, last->count + 1, sizeof *last->rows);
    last->rows[last->count++] = row;
    return 0;
}

static void copy_cell(struct row *to, const struct row *from, const char *name, bool is_number) {
    const char *text = from ? row_text(from, name) : NULL;
    if (text && is_number)
        row_add_integer(to, name, row_integer(from, name, 0));
    else
        row_add_text(to, name, text);
}

static struct row *describe(const struct job *job, const struct job_settings *settings,
                            const struct last_runs *last) {
    static const struct {
        const char *name;
        bool is_number;
    } cells[] = {{"started_at", true}, {"ended_at", true},   {"outcome", false},
                 {"found", true},      {"fixed", true},      {"message", false},
                 {"run_by", false},    {"locked_by", false}, {"locked_at", true}};
    const struct row *from = NULL;
    struct row *row = row_new();
    for (size_t i = 0; i < last->count; i++)
        if (strcmp(row_text(last->rows[i], "name"), job->name) == 0)
            from = last->rows[i];
    row_add_text(row, "name", job->name);
    row_add_text(row, "summary", job->summary);
    row_add_integer(row, "every_ms", job->every_ms(settings));
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        copy_cell(row, from, cells[i].name, cells[i].is_number);
    return row;
}

int genrun_jobs(genrun *g, genrun_each each, void *payload) {
    struct each e = {each, payload};
    struct last_runs last = {0};
    int result = handle_whole(g);
    if (result)
        return result;
    result = handle_database(g);
    if (!result)
        result = queue_jobs(g->db, keep, &last, &g->err);
    else if (result == ERR_NOT_FOUND)
        result = 0; // there are jobs before there is a database
    bool ended = false;
    for (size_t i = 0; !result && !ended && job_at(i); i++)
        ended = handle_each_row(&e, describe(job_at(i), &g->config->jobs, &last)) != 0;
    for (size_t i = 0; i < last.count; i++)
        row_free(last.rows[i]);
    free(last.rows);
    return handle_result(g, result);
}

static int unknown_job(genrun *g, const char *name) {
    const char *names[JOB_MOST];
    size_t count = 0;
    for (; job_at(count); count++)
        names[count] = job_at(count)->name;
    const char *nearest = text_nearest(name, names, count);
    return nearest
               ? err_set(&g->err, ERR_INVALID, "there is no job '%s': did you mean '%s'?", name, nearest)
               : err_set(&g->err, ERR_INVALID, "there is no job '%s': 'genrun job list' lists them", name);
}

// Others get in between two slices. What the job waits for longer is a runner's next sign of life.
static int give_way(genrun *g, int64_t pause_ms) {
    const struct timespec gap = {0, QUEUE_GAP_MS * 1000000};
    int64_t end_ms = clock_monotonic_ms() + pause_ms;
    nanosleep(&gap, NULL);
    for (int64_t left_ms = pause_ms; left_ms > 0; left_ms = end_ms - clock_monotonic_ms()) {
        int result = genrun_wait_change(g, left_ms);
        if (result)
            return result;
    }
    return 0;
}

static int run_job(genrun *g, const struct job *job, bool dry_run, struct each *each, struct row **summary) {
    struct job_run *run = NULL;
    bool more = true;
    int64_t pause_ms = 0;
    const struct job_context context = {.db = g->db,
                                        .settings = &g->config->jobs,
                                        .heartbeat_interval_ms = g->config->scheduler.heartbeat_interval_ms,
                                        .dry_run = dry_run,
                                        .count = true,
                                        .each = handle_each_row,
                                        .payload = each,
                                        .sync = handle_sync_job,
                                        .sync_payload = g};
    int result = job_begin(&run, job, &context, &g->err);
    if (result)
        return result;
    while (!result && more)
        if (!(result = job_step(run, handle_runner_is_up(g), &more, &pause_ms, &g->err)) && more)
            result = give_way(g, pause_ms);
    return job_end(run, result, summary, &g->err);
}

int genrun_job(genrun *g, genrun_row **summary, const char *name, int dry_run, genrun_each each,
               void *payload) {
    struct each e = {each, payload};
    struct row *row = NULL;
    const struct job *job = job_find(name);
    int result = handle_outside(g, "a job works in slices: run it outside of the runner's transaction");
    if (!result)
        result = job ? handle_database(g) : unknown_job(g, name);
    if (!result)
        result = run_job(g, job, dry_run != 0, &e, &row);
    if (result || !summary) {
        row_free(row);
        row = NULL;
    }
    if (summary)
        *summary = (genrun_row *)row;
    return handle_result(g, result);
}

// ---- locks ----

int genrun_locks(genrun *g, genrun_each each, void *payload) {
    struct each e = {each, payload};
    int result = handle_database(g);
    if (!result)
        result = queue_locks(g->db, handle_runner_is_up(g), handle_each_row, &e, &g->err);
    return handle_result(g, result);
}

int genrun_lock_release(genrun *g, const char *name, int *live) {
    bool goes_on = false;
    int result = handle_database(g);
    if (!result)
        result = queue_lock_release(g->db, handle_runner_is_up(g), name, &goes_on, &g->err);
    if (live)
        *live = goes_on;
    return handle_result(g, result);
}
