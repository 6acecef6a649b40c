// SPDX-License-Identifier: MIT
// How long the looks at a database take in a process that has it open: median of many, in microseconds, as
// one JSON object. Through the public API, so what is measured is what hosts and commands get.
//
//   look DATABASE ID
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

static void list_newest(genrun *g, const char *id) {
    int rows = 0;
    genrun_filter filter = GENRUN_FILTER_INIT;
    (void)id;
    if (genrun_list(g, &filter, count_row, &rows) || rows == 0) {
        fprintf(stderr, "look: list: %s\n", genrun_message(g));
        exit(1);
    }
}

static void list_status(genrun *g, const char *status) {
    int rows = 0;
    genrun_filter filter = GENRUN_FILTER_INIT;
    filter.status = status;
    if (genrun_list(g, &filter, count_row, &rows)) {
        fprintf(stderr, "look: list of %s: %s\n", status, genrun_message(g));
        exit(1);
    }
}

static void list_failed(genrun *g, const char *id) {
    (void)id;
    list_status(g, "failed");
}

static void list_stuck(genrun *g, const char *id) {
    (void)id;
    list_status(g, "stuck");
}

static void show(genrun *g, const char *id) {
    genrun_row *row = NULL;
    if (genrun_get(g, &row, id)) {
        fprintf(stderr, "look: show: %s\n", genrun_message(g));
        exit(1);
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

static double median_us(genrun *g, void (*look)(genrun *g, const char *id), const char *id) {
    double times[TIMES];
    for (int i = 0; i < TIMES; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        look(g, id);
        clock_gettime(CLOCK_MONOTONIC, &to);
        times[i] = (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
    }
    qsort(times, TIMES, sizeof times[0], compare);
    return times[TIMES / 2];
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*look)(genrun *g, const char *id);
    } looks[] = {{"list", list_newest},
                 {"list failed", list_failed},
                 {"stuck", list_stuck},
                 {"show", show},
                 {"stats", stats}};
    if (argc != 3) {
        fputs("usage: look DATABASE ID\n", stderr);
        return 2;
    }
    genrun *g = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.database = argv[1];
    if (genrun_open(&g, &options)) {
        fprintf(stderr, "look: %s\n", genrun_message(g));
        return 1;
    }
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        printf("%s\"%s\": %.1f", i ? ", " : "{", looks[i].name, median_us(g, looks[i].look, argv[2]));
    }
    puts("}");
    genrun_close(g);
    return 0;
}
