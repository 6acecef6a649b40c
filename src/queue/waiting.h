// SPDX-License-Identifier: MIT
// Inside of src/queue/: queued generations in the order of their numbers, merged from the lanes, from what is delayed
// and from the suspects; an index of all that waits would cost every item a page.
#ifndef GENRUN_QUEUE_WAITING_H
#define GENRUN_QUEUE_WAITING_H

#include "queue/queue.h"

#define WAITING_ROWS 257 // that one merge gives at most

// Does the filter ask for nothing beyond state, user, model and batch job?
bool waiting_tells_all(const struct filter *filter);

struct waiting;
// Of the filter user, model and batch job hold; `down`: from the highest number to the lowest. *out is NULL on failure.
int waiting_open(struct waiting **out, struct db *db, const struct filter *filter, int64_t lowest,
                 int64_t highest, bool down, struct err *e) must_check;
// The next row that waits, of an opened batch job or none; 0: there is no more. To be asked WAITING_ROWS times at most.
int waiting_next(struct waiting *waiting, int64_t *seq, struct err *e) must_check;
void waiting_close(struct waiting *waiting); // NULL is fine

#endif
