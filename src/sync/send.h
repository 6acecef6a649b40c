// SPDX-License-Identifier: MIT
// Rows sent to Postgres by their keys: read as they are now, written in statements of many, and what is refused found
// out down to the row, told to the sink, and passed over.
#ifndef GENRUN_SYNC_SEND_H
#define GENRUN_SYNC_SEND_H

#include "sync/push.h"

// Reads the rows of so many keys from `from` on as fit into a statement; *to is the first that does not. All in one
// snapshot, at which the log stood at *version; it is given up before anything is sent, since it holds back the log file.
int send_read(struct push *p, size_t table, const struct keys *k, size_t from, size_t *to,
              struct rowset *rows, int64_t *version, struct err *e) must_check;
// Within pg_begin() and pg_commit(). ERR_INVALID: they are refused; with p->careful only by the commit.
int send_keys(struct push *p, size_t table, const struct keys *k, struct err *e) must_check;
// In transactions of their own, smaller and smaller ones, for what is refused by the commit (a deferred constraint).
int send_apart(struct push *p, size_t table, const struct keys *k, struct err *e) must_check;
// Ends what pg_begin() began. `versioned`: rows of the log's time were written, which the mark of this box covers from
// now on. Then it is told what was taken that had been refused before. After a failure: send_rollback().
int send_commit(struct push *p, bool versioned, struct err *e) must_check;
void send_rollback(struct push *p);
// This row is refused: told when it is news.
int send_refused(struct push *p, size_t table, const struct keys *k, size_t i, const char *reason,
                 struct err *e) must_check;

#endif
