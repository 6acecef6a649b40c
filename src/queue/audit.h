// SPDX-License-Identifier: MIT
// The law of the rows, counted again: counters against rows, states against what
// stands beside them, texts without their generation. What the triggers keep is
// asked of the rows themselves, so what went round them is found.
#ifndef GENRUN_QUEUE_AUDIT_H
#define GENRUN_QUEUE_AUDIT_H

#include "db/check.h"

// Tells every difference as a row of check, problem, advice; at most 100 for each rule, and then that there are
// more. Reads every row, in one transaction of the caller's if it is to be one moment.
int audit_rows(struct db *db, check_each each, void *payload, struct err *e) must_check;

#endif
