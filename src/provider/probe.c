// SPDX-License-Identifier: MIT
// The life of a probe, whatever its provider does.
#include "provider/probe.h"

#include "base/mem.h"
#include "base/text.h"
#include "provider/provider.h"
#include <stdlib.h>
#include <string.h>

const char *probe_answer_name(enum probe_answer answer) {
    return answer == PROBE_YES ? "yes" : answer == PROBE_NO ? "no" : "unknown";
}

void probe_result_clear(struct probe_result *result) {
    free(result->message);
    free(result->advice);
    result->message = result->advice = NULL;
}

static void release(struct probe *probe) {
    loop_defer_cancel(probe->loop, &probe->told);
    if (probe->release)
        probe->release(probe);
    free(probe);
}

static void give(void *payload) {
    struct probe *probe = payload;
    struct probe_result result = probe->result;
    probe_end on_end = probe->on_end;
    void *to = probe->payload;
    release(probe);
    on_end(to, &result);
    probe_result_clear(&result);
}

struct probe *probe_new(size_t size, struct loop *loop, probe_end on_end, void *payload) {
    struct probe *probe = mem_alloc(1, size);
    probe->loop = loop;
    probe->on_end = on_end;
    probe->payload = payload;
    probe->result.latency_ms = -1;
    probe->told = (struct loop_task){.on_run = give, .payload = probe};
    return probe;
}

void probe_tell(struct probe *probe) {
    loop_defer(probe->loop, &probe->told);
}

void probe_found(struct probe *probe, bool ok, char *message, char *advice) {
    probe_result_clear(&probe->result);
    probe->result.ok = ok;
    probe->result.message = message;
    probe->result.advice = advice;
}

void probe_found_unconfigured(struct probe *probe, const struct err *e) {
    char *advice = NULL, *message = text_take_advice(e->message, &advice);
    probe->result.unconfigured = true;
    probe_found(probe, false, message, advice);
}

struct probe *probe_start(struct loop *loop, const struct model *model, const char *model_id,
                          probe_end on_end, void *payload) {
    const struct provider *provider = provider_find(model->provider);
    if (provider && provider->probe)
        return provider->probe(loop, model, model_id, on_end, payload);
    struct probe *probe = probe_new(sizeof *probe, loop, on_end, payload);
    probe_found(probe, true, mem_format("the provider %s cannot be asked", model->provider), NULL);
    probe_tell(probe);
    return probe;
}

void probe_stop(struct probe *probe) {
    if (!probe)
        return;
    probe_result_clear(&probe->result);
    release(probe);
}
