// SPDX-License-Identifier: MIT
// Servers like to repeat a wrong key in their error. Whatever of theirs is shown
// or stored goes through here first.
#ifndef GENRUN_PROVIDER_REDACT_H
#define GENRUN_PROVIDER_REDACT_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

// Appends text with everything that looks like a credential replaced by "…": keys with a known prefix
// (sk-…, AIza…), what follows Bearer, Basic, "api key:", "password=" and the like, JSON Web Tokens, and the
// user part of a URL. All other bytes are kept as they are.
void redact_append(struct buf *out, const char *text, size_t length);

// True for the name of a header or variable that holds a secret: Authorization, X-Auth-Token, HF_TOKEN and the like.
bool redact_is_secret_name(const char *name);
// Overwrites with '*' each place in `text` where the value stands. Very short values stand in any text, and stay.
void redact_value(char *text, const char *value);
// Overwrites the beginning of the value at the end of a text that was cut there, with or without an ellipsis behind.
void redact_cut(char *text, const char *value);

#endif
