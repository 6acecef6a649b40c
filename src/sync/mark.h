// SPDX-License-Identifier: MIT
// The mark of this box in the mirror: how far its log had come when its rows were last read, and which row stood there. A
// database that was set back (restored from a backup, or after a loss of power) has another row there, or none.
#ifndef GENRUN_SYNC_MARK_H
#define GENRUN_SYNC_MARK_H

#include "sync/push.h"

// Within the transaction of the rows, after the last of them was read. *mark: the last one that is known to stand there,
// and the one that does after the commit.
int mark_write(struct push *p, int64_t *mark, struct err *e) must_check;
enum mark_says {
    MARK_FITS,
    MARK_BOX_SET_BACK,    // the log here is not the one of which the mark tells
    MARK_MIRROR_SET_BACK, // the mark stands before what was read: no page went without one
};
// noted: the position that is noted there, which decides where no mark is.
int mark_check(struct push *p, int64_t noted, enum mark_says *says, struct err *e) must_check;

#endif
