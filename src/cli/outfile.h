// SPDX-License-Identifier: MIT
// A file that is written whole or not at all: it grows without a name, or under
// another one beside its place, and takes its name when it is complete.
#ifndef GENRUN_CLI_OUTFILE_H
#define GENRUN_CLI_OUTFILE_H

#include "base/err.h"
#include <stdio.h>

struct outfile {
    FILE *stream;
    char *path;      // where it goes; symbolic links resolved
    char *temporary; // its name until then, NULL while it has none
};

// Opens the file for writing. A device or pipe is written as it is. ERR_INVALID when it cannot be made.
int outfile_open(struct outfile *f, const char *path, struct err *e) must_check;
// Completes it in place of what stood there. ERR_WORK when a write failed; then nothing is left behind.
int outfile_commit(struct outfile *f, struct err *e) must_check;
// Gives it up: nothing is left behind, what stood there stays.
void outfile_drop(struct outfile *f);

#endif
