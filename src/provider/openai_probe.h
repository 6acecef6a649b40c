// SPDX-License-Identifier: MIT
// The probe of an OpenAI-compatible server: its list of models says whether it is
// there, takes the key and knows the model. Up to three requests, one after another:
//
//   GET /models, with the key       reachable? key refused? is the name in the list?
//   GET /models/NAME                where the list is without the name (aliases) or too long
//   GET /models, without the key    where it was accepted: some servers show their list to anybody
//
// A 404 to the first one is asked about once more with /v1 in the path, which people forget.
#ifndef GENRUN_PROVIDER_OPENAI_PROBE_H
#define GENRUN_PROVIDER_OPENAI_PROBE_H

#include "provider/probe.h"

struct probe *openai_probe_start(struct loop *loop, const struct model *model, const char *model_id,
                                 probe_end on_end, void *payload);

#endif
