// SPDX-License-Identifier: MIT
// A list of mistakes, one line each, so that a person hears of all of them in
// one run and not of one at a time.
#ifndef GENRUN_LIB_MISTAKES_H
#define GENRUN_LIB_MISTAKES_H

#include "base/err.h"
#include <stddef.h>

#define MISTAKES_KEPT 64 // texts kept; further ones are counted only

struct mistakes {
    char *lines[MISTAKES_KEPT];
    size_t count; // all, also those whose text is not kept
};

// Adds one line; control characters in it are replaced.
void mistakes_add(struct mistakes *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
// 0 without mistakes. Else ERR_CONFIG, and the message of `e` (may be NULL) is as many lines as fit,
// joined by "\n", the last one "… and N more mistakes" when not all do.
int mistakes_report(const struct mistakes *m, struct err *e) must_check;
void mistakes_clear(struct mistakes *m);

#endif
