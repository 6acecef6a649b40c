// SPDX-License-Identifier: MIT
// Inside of src/run/: the runner's state, shared by runner.c (turns and time) and
// tick.c (the transaction).
#ifndef GENRUN_RUN_STATE_H
#define GENRUN_RUN_STATE_H

#include "queue/queue.h"
#include "run/attempt.h"
#include "run/chores.h"
#include "run/gate.h"
#include "run/metrics.h"
#include "run/recovery.h"
#include "run/runner.h"
#include "run/wake.h"
#include "run/webhook.h"
#include "run/write.h"

struct ends {
    int64_t completed, failed;
    double cost;
};

struct runner {
    struct runner_options options;
    struct run_settings settings;
    struct db *db;
    struct loop *loop;
    struct wake *wake;
    struct runner_identity me;
    struct recovery recovery;
    struct gate_list gates;
    struct claim_turn turn;
    struct ready *ready;
    struct claim_slot *slots; // of ready's last look
    size_t slot_count;
    struct chores *chores;     // NULL: it runs only what somebody waits for
    struct webhooks *webhooks; // the same
    struct attempt *live;      // in flight
    size_t live_count;
    struct attempt *ended; // to be settled
    size_t ended_count;
    struct claim *claims; // of the tick under way
    size_t claim_count, claim_room;
    bool exclusive; // a suspect runs alone

    struct writes writes; // of the host
    struct metrics *metrics;

    // What the next tick has to do.
    bool changed;     // the database was written beside the tick
    bool foreign;     // and by another connection
    bool claimable;   // there may be something to claim
    bool asked;       // a person may have asked for something to be run next
    bool asked_later; // and it could not start yet
    bool sweeping;    // slices of a sweep are left
    bool wrote;       // the host, in the transaction under way
    bool stopping;
    bool at_once;       // and without patience
    bool left;          // the database is not where it was: nothing is written any more
    int64_t stop_at_ms; // then what still runs is taken back
    int64_t next_beat_ms;
    int64_t next_sweep_ms;
    int64_t next_look_ms; // after the writers of batch jobs that are being filled; INT64_MAX: there are none
    int64_t next_overdue_ms;   // what waits for a closed gate is judged; INT64_MAX: all are open
    int64_t judged_overdue_ms; // was judged last; 0: never
    int64_t next_due_at;       // wall: the next delayed row; 0: none
    int64_t gates_open_ms;     // the next gate opens; INT64_MAX: none by itself
    int64_t unlock_at;         // wall: an account that nobody here generates for is free again; 0: all are
    int64_t suspect_since_ms;  // a suspect waits for a quiet moment since; 0: none

    // Time.
    int64_t started_at; // wall
    int64_t last_commit_us;
    int64_t last_wake_us; // the end of the wait of the last turn
    int64_t last_turn_ms;
    int64_t seen_changes;    // rows changed through this connection up to the last tick
    int64_t foreign_commits; // how often those of other connections were seen
    int64_t clock_offset_ms; // wall - boottime
    int64_t slept_ms;        // boottime - monotonic: how long the machine has been suspended

    // Trouble with the database.
    int64_t retry_at_ms; // not before; 0: no trouble
    int64_t trouble_since_ms;
    int trouble_count;
    bool trouble_told;
    struct err trouble; // the last one
    bool trouble_is_lock;

    int64_t completed, failed; // in this run
    struct ends tick;          // of the transaction under way
    struct ends uncounted;     // committed, but not in the throughput table yet
    int64_t next_count_ms;
    int64_t next_checkpoint_ms;
};

// One transaction with everything that is due; nothing when nothing is.
void runner_tick(struct runner *runner, int64_t now_ms);
// Claims for the free slots, and what a person asked for; inside of a transaction (claim.c).
int runner_claim(struct runner *runner, int64_t now_ms, int64_t now_at, struct err *e) must_check;
// The claim was committed (or all was rolled back), and what was claimed is started.
void runner_keep_claim(struct runner *runner, int64_t now_ms);
void runner_undo_claim(struct runner *runner);
// When a gate that is closed now opens there is something to claim again.
void runner_note_gates(struct runner *runner, int64_t now_ms);
// Writes what ended since the last time into the throughput table; inside of a transaction.
int runner_count_ends(struct runner *runner, int64_t now_at, struct err *e) must_check;
bool runner_has_uncounted(const struct runner *runner);
bool runner_has_work(const struct runner *runner, int64_t now_ms);
int runner_free_slots(const struct runner *runner);

#endif
