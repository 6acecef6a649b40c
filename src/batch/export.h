// SPDX-License-Identifier: MIT
// Writes results: one line an item, as OpenAI's batch output and error lines or
// as plain JSONL.
#ifndef GENRUN_BATCH_EXPORT_H
#define GENRUN_BATCH_EXPORT_H

#include "base/buf.h"
#include "queue/result.h"
#include <stdbool.h>

enum export_format { EXPORT_OPENAI, EXPORT_JSONL };

// "openai", "jsonl"; false for another name.
bool export_format_parse(const char *name, enum export_format *out);

// Appends the result as one line and LF. Bodies and JSON outputs stay byte for byte, but for line
// breaks between their tokens.
//
// openai: {"id","custom_id","response","error"}, the line of OpenAI's batch output and error files. An
// item without custom_id is named "item-" and its index. Where a completed item has no stored
// body, the body is its output when that is JSON, else a chat.completion around it. A failed one
// shows the response when a server's refusal was its end, else an error with a code.
//
// jsonl: {"id","custom_id","status","model","prompt","output","error_type","error","input_tokens",
// "output_tokens","cost","finish_reason","completed_at"}; what is unknown is left out. The output is a
// string, JSON when it is JSON, and "output_base64" when its bytes are not UTF-8 or hold a NUL.
void export_line(struct buf *out, enum export_format format, const struct result *result);

#endif
