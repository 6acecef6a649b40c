// SPDX-License-Identifier: MIT
// The probe of a command: could its program be started? It is not started, since
// nobody knows what it would do.
#ifndef GENRUN_PROVIDER_COMMAND_PROBE_H
#define GENRUN_PROVIDER_COMMAND_PROBE_H

#include "provider/probe.h"

struct probe *command_probe_start(struct loop *loop, const struct model *model, const char *model_id,
                                  probe_end on_end, void *payload);

#endif
