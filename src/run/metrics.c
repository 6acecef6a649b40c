// SPDX-License-Identifier: MIT
#include "run/metrics.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define MODELS_MOST 1000 // "other" is beside them

static const double attempt_bounds[] = {0.05, 0.1, 0.25, 0.5, 1,   2.5,  5,    10,
                                        30,   60,  120,  300, 600, 1800, 3600, 0};
static const double short_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                      0.25,   0.5,   1,      2.5,   5,    10,    0};

struct metrics *metrics_new(void) {
    struct metrics *m = mem_alloc(1, sizeof *m);
    m->commits.bounds = m->turns.bounds = short_bounds;
    return m;
}

void metrics_free(struct metrics *m) {
    if (!m)
        return;
    for (size_t i = 0; i < m->model_count; i++) {
        free(m->models[i]->name);
        free(m->models[i]->ends);
        free(m->models[i]);
    }
    free(m->models);
    free(m);
}

static struct metrics_model *find(const struct metrics *m, const char *name) {
    for (size_t i = 0; i < m->model_count; i++)
        if (strcmp(m->models[i]->name, name) == 0)
            return m->models[i];
    return NULL;
}

struct metrics_model *metrics_model(struct metrics *m, const char *name) {
    struct metrics_model *found = find(m, name);
    if (!found && m->model_count >= MODELS_MOST)
        found = find(m, name = "other");
    if (found)
        return found;
    struct metrics_model *model = mem_alloc(1, sizeof *model);
    model->name = mem_copy(name);
    model->durations.bounds = attempt_bounds;
    m->models = mem_resize(m->models, m->model_count + 1, sizeof(struct metrics_model *));
    m->models[m->model_count++] = model;
    return model;
}

void metrics_note(struct metrics_histogram *h, int64_t us) {
    double seconds = us > 0 ? (double)us / 1e6 : 0;
    size_t i = 0;
    while (h->bounds[i] > 0 && seconds > h->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += seconds;
    h->count++;
}

void metrics_end(struct metrics_model *model, const char *outcome, const char *error_type, int64_t us) {
    size_t i = 0;
    // Outcomes and types are of short lists.
    while (i < model->end_count && (strcmp(model->ends[i].outcome, outcome) != 0 ||
                                    strcmp(model->ends[i].error_type, error_type) != 0))
        i++;
    if (i == model->end_count) {
        model->ends = mem_resize(model->ends, i + 1, sizeof *model->ends);
        model->ends[model->end_count++] =
            (struct metrics_ends){.outcome = outcome, .error_type = error_type, .count = 0};
    }
    model->ends[i].count++;
    metrics_note(&model->durations, us);
}
