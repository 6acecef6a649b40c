// SPDX-License-Identifier: MIT
// What was deleted here is deleted there, with [sync] deletes = yes: the table sync_deleted, in pages, one remote
// transaction each. At least once: a page stays in the table until it is committed there. The log there stays.
#ifndef GENRUN_SYNC_DROP_H
#define GENRUN_SYNC_DROP_H

#include "sync/push.h"

// The next page; *more: there are others behind it. What Postgres refuses to delete is told to the sink, stays in the
// table, and is tried again with the next connection.
int drop_page(struct push *p, bool *more, struct err *e) must_check;
// Was something deleted since the last page?
int drop_has_news(struct push *p, bool *news, struct err *e) must_check;

#endif
