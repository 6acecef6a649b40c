// SPDX-License-Identifier: MIT
#ifndef GENRUN_SERVE_H
#define GENRUN_SERVE_H

#include "genrun.h"
#include <stdbool.h>

struct cli;

// Runs the queue as genrun_run() does and serves HTTP meanwhile, at `listen` (NULL: where the configuration says, if it
// does), unless http is false. Tells a failure on stderr and returns its code.
int serve_run(struct cli *cli, const genrun_run_options *options, const char *listen, bool http);

#endif
