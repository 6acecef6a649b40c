// SPDX-License-Identifier: MIT
// Inside of src/run/: a gate for each model. It tells how many more generations
// the model takes now: concurrency, rate, cool-downs, parking, and a window that
// shrinks when the server is overloaded and grows back with each success.
#ifndef GENRUN_RUN_GATE_H
#define GENRUN_RUN_GATE_H

#include "provider/classify.h"
#include "queue/queue.h"
#include "run/settings.h"

struct gate {
    char *model_id;
    const struct model *model; // NULL: no section serves it any more
    struct model_state state;
    int64_t until_ms; // monotonic: closed until then; 0: open; INT64_MAX: until a person opens it
    int running;
    int window;         // in flight at most while recovering; 0: no such limit
    int waits;          // cool-downs in a row: the exponent of the next
    double starts_left; // token bucket of requests_per_minute
    double tokens_left; // and of tokens_per_minute
    int64_t refilled_ms;
    bool dirty;                   // state to be written in the next tick
    bool told;                    // that it is parked was said
    char stored[8];               // state.state as the database last had it
    int64_t last_single;          // claim_slot.last_single
    struct metrics_model *counts; // NULL: nothing of it has ended yet
};

struct gate_list {
    struct gate **list;
    size_t count;
    const struct model *models; // the configuration; borrowed
    size_t model_count;
};

void gate_list_free(struct gate_list *gates);
// Adds gates for models that have work and none yet, and reads their states again; `restart`: a parked
// model without a set time is given one try. Inside or outside of a transaction.
int gate_list_refresh(struct gate_list *gates, struct db *db, bool restart, int64_t now_ms,
                      struct err *e) must_check;
struct gate *gate_list_find(struct gate_list *gates, const char *model_id);

// Its state was written, and the transaction committed.
void gate_note_stored(struct gate *gate);

// The machine slept for so long: closing times are of the wall clock, the monotonic one stood still.
void gate_slept(struct gate *gate, int64_t gap_ms, int64_t now_ms);

// How many may start now (at most `most`).
int gate_free(struct gate *gate, int most, int64_t now_ms);
// When a gate that is closed now may open: monotonic; INT64_MAX: not by itself.
int64_t gate_opens_ms(struct gate *gate, int64_t now_ms);
void gate_started(struct gate *gate);
// An attempt ended well: the model works. One that ends while the gate is closed was started before that, and
// opens nothing.
void gate_succeeded(struct gate *gate, int64_t tokens, int64_t now_ms);
// An attempt failed; closes the gate as the verdict says. *parked: a retry is to be taken for a wait for the
// server, and spends no attempt.
void gate_failed(struct gate *gate, const struct verdict *verdict, const struct run_settings *settings,
                 int64_t now_ms, int64_t now_at, bool *parked);

#endif
