// SPDX-License-Identifier: MIT
// Waiting for work, with its progress on stderr.
#ifndef GENRUN_CLI_WAIT_H
#define GENRUN_CLI_WAIT_H

#include "cli/command.h"

// Wait until a generation, a batch job, has ended; without a runner they run it here. They tell of a
// failure, with type and message, and of an interruption. 0, GENRUN_WORK_FAILED, or the code of what failed.
int wait_generation(struct cli *cli, const char *id);
int wait_batch(struct cli *cli, const char *id);
// Follows a batch job until it has ended, and only looks: it never runs anything.
int wait_watch_batch(struct cli *cli, const char *id);

#endif
