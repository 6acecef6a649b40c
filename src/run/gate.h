// SPDX-License-Identifier: MIT
// Inside of src/run/: a gate for each model. It tells how many more generations
// the model takes now: concurrency, rate, cool-downs, parking, and a window that
// shrinks when the server is overloaded and grows back with each success.
#ifndef GENRUN_RUN_GATE_H
#define GENRUN_RUN_GATE_H

#include "provider/classify.h"
#include "queue/queue.h"
#include "run/settings.h"

struct gate_list;

struct gate {
    char *model_id;
    struct gate_list *home;    // NULL: of none
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
    int attempts;                 // that know it: in flight, or their end not written yet
    bool touched;                 // stands in the list of those
    bool wanted;                  // by whoever trims the list
    size_t closed_place;          // among the closed ones, from 1; 0: it is open
    int64_t seen;                 // as closed in the database, by gate_list.looks
};

// Turns look only at gates that something happened to and at closed ones, however many there are.
struct gate_list {
    struct gate **list; // by name
    size_t count, room;
    struct gate **touched; // since the last gate_list_sort()
    size_t touched_count, touched_room;
    struct gate **closed; // for a time or a person, or held back by a rate
    size_t closed_count, closed_room;
    bool closed_changed;
    int64_t opens_ms, since_at; // of the closed ones, by the last gate_list_sort()
    size_t trim_at;
    int64_t looks;
    int64_t started_at;         // wall: what was parked before, without a set time, is given one try
    const struct model *models; // the configuration; borrowed
    size_t model_count;
};

void gate_list_free(struct gate_list *gates);
// Reads the states of models that are closed, or were, and adds gates for those that have none; at the start
// (`restart`) also for all that have work. `restart`: a parked model without a set time is given one try. Inside or
// outside of a transaction.
int gate_list_refresh(struct gate_list *gates, struct db *db, bool restart, int64_t now_ms,
                      struct err *e) must_check;
struct gate *gate_list_find(struct gate_list *gates, const char *model_id); // NULL: it has none
// The model's gate, made if there is none yet.
int gate_list_get(struct gate_list *gates, struct db *db, const char *model_id, int64_t now_ms,
                  struct gate **out, struct err *e) must_check;
// Something happened to the gate that others must see.
void gate_list_touch(struct gate_list *gates, struct gate *gate);
// Sees which gates are closed now: opens_ms is when the first of them opens (INT64_MAX: none by itself), since_at
// since when the work of the one waits that is closed longest (wall; INT64_MAX: that of none).
void gate_list_sort(struct gate_list *gates, int64_t now_ms);
// Writes the changed states; after the commit gate_list_note_stored().
int gate_list_store(struct gate_list *gates, struct db *db, struct err *e) must_check;
void gate_list_note_stored(struct gate_list *gates);
// Many names may come and go: forgets gates that say nothing, but those that are `wanted`. True when it is time for it.
bool gate_list_is_long(const struct gate_list *gates);
void gate_list_trim(struct gate_list *gates, int64_t now_ms);

// Its state was written, and the transaction committed.
void gate_note_stored(struct gate *gate);

// Its state was read from the database.
void gate_take_stored(struct gate *gate, bool restart, int64_t now_ms);
// No section of the configuration serves it.
void gate_close_unserved(struct gate *gate);
// It says no more than one made now would.
bool gate_is_new(struct gate *gate, int64_t now_ms);

// The machine slept for so long: closing times are of the wall clock, the monotonic one stood still.
void gate_slept(struct gate *gate, int64_t gap_ms, int64_t now_ms);
// The wall clock was set: times of the wall move along.
void gate_jumped(struct gate *gate, int64_t jump_ms);

// How many may start now (at most `most`).
int gate_free(struct gate *gate, int most, int64_t now_ms);
// When a gate that is closed now may open: monotonic; INT64_MAX: not by itself.
int64_t gate_opens_ms(struct gate *gate, int64_t now_ms);
void gate_started(struct gate *gate);
// An attempt ended well: the model works. One that ends while the gate is closed was started before that, and
// opens nothing.
void gate_succeeded(struct gate *gate, int64_t tokens, int64_t now_ms);
// Its server refused to stream.
void gate_unstreamed(struct gate *gate);
// An attempt failed; closes the gate as the verdict says. *parked: a retry is to be taken for a wait for the
// server, and spends no attempt.
void gate_failed(struct gate *gate, const struct verdict *verdict, const struct run_settings *settings,
                 int64_t now_ms, int64_t now_at, bool *parked);

#endif
