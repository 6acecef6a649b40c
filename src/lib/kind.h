// SPDX-License-Identifier: MIT
// What stands in a model's section and does not go with the kind of its provider:
// it would be passed over in silence.
#ifndef GENRUN_LIB_KIND_H
#define GENRUN_LIB_KIND_H

#include "provider/model.h"

// Calls `tell` for each such option: its name, and "what is wrong: what to do" to stand behind "[model x] has".
typedef void (*kind_tell)(void *payload, const char *option, const char *what);
void kind_check(const struct model *model, kind_tell tell, void *payload);

#endif
