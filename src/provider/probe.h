// SPDX-License-Identifier: MIT
// A live probe: could a call of this model succeed now? Nothing is generated and
// nothing is paid for; the answer is facts and advice, for people.
#ifndef GENRUN_PROVIDER_PROBE_H
#define GENRUN_PROVIDER_PROBE_H

#include "loop/loop.h"
#include "provider/model.h"

#define PROBE_LIMIT_MS 10000 // the longest a probe takes, whatever the model's own limits

enum probe_answer { PROBE_UNKNOWN, PROBE_NO, PROBE_YES };
const char *probe_answer_name(enum probe_answer answer); // unknown, no, yes

struct probe_result {
    bool ok;                     // nothing was found that would keep a call from succeeding
    bool unconfigured;           // the configuration lacks something, so nothing was asked
    enum probe_answer reachable; // an answer came
    enum probe_answer key;       // accepted, or none is needed
    enum probe_answer model;     // known there
    int http_status;             // 0: none
    int64_t latency_ms;          // until the first answer; -1: none came
    char *message;               // what was found: one line, without secrets
    char *advice;                // what to do; NULL: nothing
};
void probe_result_clear(struct probe_result *result); // frees what the fields own

struct probe; // one under way
// Its result; called once from the loop, never from probe_start() itself, and never after probe_stop().
typedef void (*probe_end)(void *payload, const struct probe_result *result);

// Begins a probe, which ends by itself. The model stays valid until then; `model_id` is the name asked for,
// NULL: none in particular (the section [model *]).
struct probe *probe_start(struct loop *loop, const struct model *model, const char *model_id,
                          probe_end on_end, void *payload);
// Ends it without a result. NULL is fine.
void probe_stop(struct probe *probe);

// ---- for providers: a probe is the first member of what one keeps of it ----
struct probe {
    struct loop *loop;
    probe_end on_end;
    void *payload;
    struct probe_result result;
    struct loop_task told;
    void (*release)(struct probe *probe); // frees what the provider added; NULL: nothing
};
// Makes one of `size` bytes, all else zero.
struct probe *probe_new(size_t size, struct loop *loop, probe_end on_end, void *payload);
// Gives the result soon, and frees the probe then: the way to end it, from wherever.
void probe_tell(struct probe *probe);
// Fills in what was found; `message` and `advice` (may be NULL) are taken.
void probe_found(struct probe *probe, bool ok, char *message, char *advice);
// As probe_found, from an error whose message ends in ": what to do".
void probe_found_unconfigured(struct probe *probe, const struct err *e);

#endif
