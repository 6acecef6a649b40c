// SPDX-License-Identifier: MIT
// Inside of src/run/: what the runner does beside its work, between two ticks: the
// periodic jobs, a slice at a time; alerts; and whether all that is processing is in
// its hands. It reads; it writes only when something is to be done or said.
#ifndef GENRUN_RUN_CHORES_H
#define GENRUN_RUN_CHORES_H

#include "run/runner.h"
#include <stdbool.h>

struct chores;
struct chores *chores_new(int64_t now_ms);
void chores_free(struct chores *chores); // gives up the job under way; NULL is fine
// When something is to be done next: monotonic.
int64_t chores_due_ms(const struct chores *chores);
void chores_turn(struct runner *runner, int64_t now_ms);
// The database refused what must be possible: its counters are looked at now. False when that has just been done, or
// nobody does it here: then it is not they.
bool chores_hurry(struct chores *chores, int64_t now_ms);
// Puts counters right on the spot, before there is a runner: nothing can be taken back while they refuse it.
int chores_mend(struct db *db, const struct job_settings *settings, int64_t *fixed, struct err *e) must_check;

#endif
