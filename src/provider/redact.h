// SPDX-License-Identifier: MIT
// Servers like to repeat a wrong key in their error. Whatever of theirs is shown
// or stored goes through here first.
#ifndef GENRUN_PROVIDER_REDACT_H
#define GENRUN_PROVIDER_REDACT_H

#include "base/buf.h"
#include <stddef.h>

// Appends text with everything that looks like a credential replaced by "…": keys with a known prefix
// (sk-…, AIza…), what follows Bearer, Basic, "api key:", "password=" and the like, JSON Web Tokens, and the
// user part of a URL. All other bytes are kept as they are.
void redact_append(struct buf *out, const char *text, size_t length);

#endif
