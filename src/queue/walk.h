// SPDX-License-Identifier: MIT
// Inside of src/queue/: which generations a filter selects, page by page, each page by whichever index
// comes to its end first.
#ifndef GENRUN_QUEUE_WALK_H
#define GENRUN_QUEUE_WALK_H

#include "queue/queue.h"

#define WALK_ROWS 256

struct walk_page {
    int64_t seqs[WALK_ROWS]; // newest first; of a batch job in the order of its items
    size_t count;
    int64_t next; // filter.after of the next page; 0: this is the end
};

// The first `want` (1 to WALK_ROWS) after filter->after. A page is short, even empty, and yet not the end when so
// many rows were passed over that it is time to let others work. filter->status: checked by walk_check_status.
int walk_page(struct db *db, const struct filter *filter, size_t want, struct walk_page *out,
              struct err *e) must_check;
// ERR_INVALID for a status that is neither a state, "stuck" nor NULL.
int walk_check_status(const char *status, struct err *e) must_check;

#endif
