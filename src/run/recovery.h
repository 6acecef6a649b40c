// SPDX-License-Identifier: MIT
// Inside of src/run/: what dead runners left. First their processes are ended, since two of one generation must
// never run at a time; only when they are gone the rows go back to the queue.
#ifndef GENRUN_RUN_RECOVERY_H
#define GENRUN_RUN_RECOVERY_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct runner;
struct recovery_event;

struct recovery {
    struct leftover *leftover;     // processes that are not gone yet; NULL: none
    bool patient;                  // nothing is claimed until they are
    bool due;                      // the rows are to be taken back in the next transaction
    struct recovery_event *events; // to be written by it
    size_t event_count;
    int64_t recovered, failed; // by the transaction under way
};

// Sends the processes of dead runners SIGKILL; before the new one is registered.
int recovery_begin(struct runner *r, struct err *e) must_check;
bool recovery_has_work(const struct runner *r);
// Something is not back in the queue yet.
bool recovery_goes_on(const struct runner *r);
// Inside a transaction.
int recovery_write(struct runner *r, int64_t now_at, struct err *e) must_check;
// Its commit succeeded.
void recovery_note_written(struct runner *r);
void recovery_end(struct runner *r);

#endif
