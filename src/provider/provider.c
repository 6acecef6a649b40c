// SPDX-License-Identifier: MIT
// The table of providers (a new one is a file and a row here), and the life of an outcome.
#include "provider/provider.h"

#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

static const struct provider *const providers[] = {&provider_openai, &provider_command, &provider_echo};
static const char *const names[] = {"openai", "command", "echo"};
#define PROVIDER_COUNT (sizeof providers / sizeof *providers)
_Static_assert(PROVIDER_COUNT == sizeof names / sizeof *names, "a name for each provider");

const struct provider *provider_find(const char *name) {
    for (size_t i = 0; name && i < PROVIDER_COUNT; i++) {
        if (strcmp(providers[i]->name, name) == 0)
            return providers[i];
    }
    return NULL;
}

const char *const *provider_names(size_t *count) {
    *count = PROVIDER_COUNT;
    return names;
}

const char *provider_step_name(enum provider_step step) {
    switch (step) {
    case STEP_CONNECT:
        return "provider:connect";
    case STEP_WAIT:
        return "provider:wait";
    case STEP_STREAM:
        return "provider:stream";
    }
    return "provider:connect";
}

struct outcome *outcome_new(void) {
    struct outcome *outcome = mem_alloc(1, sizeof *outcome);
    outcome->failure.retry_after_ms = -1;
    outcome->input_tokens = -1;
    outcome->output_tokens = -1;
    return outcome;
}

void outcome_free(struct outcome *outcome) {
    if (!outcome)
        return;
    free(outcome->failure.type);
    free(outcome->failure.message);
    free(outcome->failure.body);
    free(outcome->failure.where);
    for (size_t i = 0; i < outcome->output_count; i++) {
        free(outcome->outputs[i].mime);
        free(outcome->outputs[i].content);
    }
    free(outcome->outputs);
    free(outcome->request_id);
    free(outcome->body);
    free(outcome->finish_reason);
    free(outcome);
}

void outcome_add(struct outcome *outcome, const char *mime, const char *content, size_t length,
                 bool partial) {
    outcome->outputs = mem_resize(outcome->outputs, outcome->output_count + 1, sizeof *outcome->outputs);
    outcome->outputs[outcome->output_count++] =
        (struct outcome_output){.mime = mem_copy(mime),
                                .content = mem_copy_bytes(content, length),
                                .length = length,
                                .partial = partial};
}
