// SPDX-License-Identifier: MIT
// Writes results: one line an item, as OpenAI's batch output and error lines or
// as plain JSONL.
#ifndef GENRUN_BATCH_EXPORT_H
#define GENRUN_BATCH_EXPORT_H

#include "base/buf.h"
#include "queue/result.h"
#include <stdbool.h>

enum export_format { EXPORT_OPENAI, EXPORT_JSONL };

bool export_format_parse(const char *name, enum export_format *out);
// Appends the result and LF. Bodies stay byte for byte, but for line breaks between JSON tokens.
void export_line(struct buf *out, enum export_format format, const struct result *result);

#endif
