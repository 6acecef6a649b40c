// SPDX-License-Identifier: MIT
// How long the looks at two databases take in a process that has them open: medians of many, in microseconds, as
// one JSON object of pairs. Through the public API, so what is measured is what hosts and commands get. They are those of
// bench.py, with rows of each state and failures in the last hour.
//
//   look SMALL ID LARGE ID
#include "genrun.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TIMES 101

static int count_row(void *payload, genrun_row *row) {
    (void)row;
    ++*(int *)payload;
    return 0;
}

static void fail(genrun *g, const char *what) {
    fprintf(stderr, "look: %s: %s\n", what, genrun_message(g));
    exit(1);
}

// A list of 20, of which there must be as many as the filter can find.
static void list(genrun *g, const char *what, genrun_filter filter, int least) {
    int rows = 0;
    if (genrun_list(g, &filter, count_row, &rows))
        fail(g, what);
    if (rows < least) {
        fprintf(stderr, "look: %s: %d rows, %d wanted\n", what, rows, least);
        exit(1);
    }
}

#define LIST(name, what, least, ...)                                                                         \
    static void name(genrun *g, const char *id) {                                                            \
        (void)id;                                                                                            \
        list(g, what, (genrun_filter){__VA_ARGS__}, least);                                                  \
    }

LIST(list_newest, "list", 20, .limit = 0)
LIST(list_queued, "list queued", 20, .status = "queued")
LIST(list_completed, "list completed", 20, .status = "completed")
LIST(list_failed, "list failed", 20, .status = "failed")
LIST(list_cancelled, "list cancelled", 20, .status = "cancelled")
LIST(list_stuck, "list stuck", 0, .status = "stuck")
LIST(list_user, "list of a user", 20, .user = "u3")
LIST(list_session, "list of a session", 20, .session = "s3")
LIST(list_model, "list of a model", 20, .model = "echo")
LIST(list_user_failed, "list failed of a user", 20, .user = "u3", .status = "failed")
LIST(list_user_completed, "list completed of a user", 20, .user = "u3", .status = "completed")
LIST(list_user_queued, "list queued of a user", 20, .user = "u3", .status = "queued")

static void stuck(genrun *g, const char *id) {
    int rows = 0;
    (void)id;
    if (genrun_stuck(g, NULL, 0, count_row, &rows))
        fail(g, "stuck");
}

static int64_t since_at; // the window of the failures

static void failures_by(genrun *g, const char *by) {
    int rows = 0;
    genrun_filter filter = GENRUN_FILTER_INIT;
    filter.since = since_at;
    if (genrun_failures(g, &filter, by, count_row, &rows))
        fail(g, "failures");
    if (rows == 0) {
        fputs("look: there is no failure in the last hour\n", stderr);
        exit(1);
    }
}

#define FAILURES(name, by)                                                                                   \
    static void name(genrun *g, const char *id) {                                                            \
        (void)id;                                                                                            \
        failures_by(g, by);                                                                                  \
    }

FAILURES(failures, NULL)
FAILURES(failures_by_model, "model")
FAILURES(failures_by_user, "user")
FAILURES(failures_by_type, "type")
FAILURES(failures_by_hour, "hour")

static void show(genrun *g, const char *id) {
    genrun_row *row = NULL;
    if (genrun_get(g, &row, id)) {
        fail(g, "show");
    }
    genrun_row_free(row);
}

static void stats(genrun *g, const char *id) {
    genrun_row *row = NULL;
    (void)id;
    if (genrun_stats(g, &row)) {
        fprintf(stderr, "look: stats: %s\n", genrun_message(g));
        exit(1);
    }
    genrun_row_free(row);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct database {
    genrun *g;
    const char *id;
    double times[TIMES];
};

static void open_database(struct database *d, const char *path, const char *id) {
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = path;
    if (genrun_open(&d->g, &options)) {
        fprintf(stderr, "look: %s\n", genrun_message(d->g));
        exit(1);
    }
    d->id = id;
}

static double time_us(const struct database *d, void (*look)(genrun *g, const char *id)) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    look(d->g, d->id);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
}

static double median(double *times) {
    qsort(times, TIMES, sizeof times[0], compare);
    return times[TIMES / 2];
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*look)(genrun *g, const char *id);
    } looks[] = {{"list", list_newest},
                 {"list queued", list_queued},
                 {"list completed", list_completed},
                 {"list failed", list_failed},
                 {"list cancelled", list_cancelled},
                 {"list stuck", list_stuck},
                 {"list of a user", list_user},
                 {"list of a session", list_session},
                 {"list of a model", list_model},
                 {"list queued of a user", list_user_queued},
                 {"list completed of a user", list_user_completed},
                 {"list failed of a user", list_user_failed},
                 {"stuck", stuck},
                 {"failures", failures},
                 {"failures by model", failures_by_model},
                 {"failures by user", failures_by_user},
                 {"failures by type", failures_by_type},
                 {"failures by hour", failures_by_hour},
                 {"show", show},
                 {"stats", stats}};
    struct database small, large;
    if (argc != 5) {
        fputs("usage: look SMALL ID LARGE ID\n", stderr);
        return 2;
    }
    open_database(&small, argv[1], argv[2]);
    open_database(&large, argv[3], argv[4]);
    since_at = (int64_t)time(NULL) * 1000 - 3600000;
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        // In turn, so that a machine that is busy for a while is so for both.
        for (int n = 0; n < TIMES; n++) {
            small.times[n] = time_us(&small, looks[i].look);
            large.times[n] = time_us(&large, looks[i].look);
        }
        printf("%s\"%s\": [%.1f, %.1f]", i ? ", " : "{", looks[i].name, median(small.times),
               median(large.times));
    }
    puts("}");
    genrun_close(small.g);
    genrun_close(large.g);
    return 0;
}
