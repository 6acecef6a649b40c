// SPDX-License-Identifier: MIT
// Parameters of a generation from the command line: --params with a JSON object
// and --param with single ones, merged.
#ifndef GENRUN_CLI_PARAMS_H
#define GENRUN_CLI_PARAMS_H

#include "base/buf.h"
#include "base/err.h"
#include <stddef.h>

// Appends the object `object` (NULL: {}) with each "K=V" of `pairs` put in, the last of a K winning, also
// over the object's own. V is taken as JSON where it is a number, true, false, null, an object or an array,
// else as a string. Every other byte of the object is kept. ERR_INVALID names what is refused.
int params_merge(struct buf *out, const char *object, const char *const *pairs, size_t count,
                 struct err *e) must_check;

#endif
