// SPDX-License-Identifier: MIT
// Live probes of several models at once.
#ifndef GENRUN_LIB_MODELS_CHECK_H
#define GENRUN_LIB_MODELS_CHECK_H

#include "lib/config.h"
#include "loop/loop.h"
#include "provider/probe.h"

struct models_check_target {
    const struct model *model;
    const char *model_id; // NULL: the section [model *] itself
};
// Takes a look at one result; non-zero ends the list.
typedef int (*models_check_each)(void *payload, const struct models_check_target *target,
                                 const struct probe_result *result);

// Probes all of them in parallel, and gives the results in their order.
int models_check_run(struct loop *loop, const struct models_check_target *targets, size_t count,
                     models_check_each each, void *payload, struct err *e) must_check;
// Every model of the configuration; mem-allocated.
struct models_check_target *models_check_targets(const struct config *config);

#endif
