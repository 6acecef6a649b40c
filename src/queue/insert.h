// SPDX-License-Identifier: MIT
// Inside of src/queue/: the rows of one new generation, for submit.c and batch.c.
#ifndef GENRUN_QUEUE_INSERT_H
#define GENRUN_QUEUE_INSERT_H

#include "base/err.h"
#include "db/db.h"
#include "queue/spec.h"

// The lane of a specification (made when new), marked ready.
int insert_lane(struct db *db, const struct spec *spec, int64_t batch_seq, int64_t *lane,
                struct err *e) must_check;
// The hot and the cold row. batch_seq 0: a single generation.
int insert_generation(struct db *db, const struct spec *spec, const char *id, int64_t lane, int64_t batch_seq,
                      int64_t item_index, int64_t now_at, struct err *e) must_check;

#endif
