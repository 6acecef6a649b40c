// SPDX-License-Identifier: MIT
// What Postgres has refused is tried again: its rules may have changed, and nothing here would tell. At the start of a
// session, and then every hour. A round that is not thorough ends after so many refusals, and the next one goes on there.
#ifndef GENRUN_SYNC_RETRY_H
#define GENRUN_SYNC_RETRY_H

#include "sync/push.h"

// The next page of a round, when one is due; *more: there are others behind it.
int retry_page(struct push *p, bool *more, struct err *e) must_check;

#endif
