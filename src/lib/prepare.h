// SPDX-License-Identifier: MIT
// Batches of OpenAI's API whose files a former runner had not read to their end: a runner without HTTP reads them, too,
// on a thread of its own. All but prepare_start may be given NULL, which is a runner that has none to read.
#ifndef GENRUN_LIB_PREPARE_H
#define GENRUN_LIB_PREPARE_H

#include "lib/handle.h"

struct prepare;

// *out NULL: no batch waits for that.
int prepare_start(struct prepare **out, genrun *g) must_check;
// All of them are read, or cannot be read now.
bool prepare_is_done(const struct prepare *p);
// The first ends it soon, the second waits for that and frees it.
void prepare_stop(struct prepare *p);
void prepare_end(struct prepare *p);

#endif
