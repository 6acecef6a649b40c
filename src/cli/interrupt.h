// SPDX-License-Identifier: MIT
// SIGINT and SIGTERM during work that stops between two lines. The first one is
// noted and ends a read that waits (EINTR); a second one ends the process.
#ifndef GENRUN_CLI_INTERRUPT_H
#define GENRUN_CLI_INTERRUPT_H

#include <stdbool.h>

void interrupt_begin(void);
bool interrupt_seen(void);
// The signals do again what they did before.
void interrupt_end(void);

#endif
