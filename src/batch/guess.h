// SPDX-License-Identifier: MIT
// Which format a batch file has, by the ending of its name and its first line.
// A doubt is an error: a file that is read in the wrong format would run, and
// cost, before anybody sees it.
#ifndef GENRUN_BATCH_GUESS_H
#define GENRUN_BATCH_GUESS_H

#include "base/buf.h"
#include "base/err.h"
#include "batch/import.h"
#include <stdbool.h>

// Sets *out from the name and the first line that is not blank. *unsure tells that only the line spoke
// for it, and that it could be meant otherwise. ERR_INVALID, with what to do, where both disagree.
int guess_format(const char *name, const struct buf *line, enum import_format *out, bool *unsure,
                 struct err *e) must_check;

#endif
