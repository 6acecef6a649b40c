// SPDX-License-Identifier: MIT
// Writes results: one line an item, as OpenAI's batch output and error lines or
// as plain JSONL, or one row an item of a CSV file.
#ifndef GENRUN_BATCH_EXPORT_H
#define GENRUN_BATCH_EXPORT_H

#include "base/buf.h"
#include "queue/result.h"
#include <stdbool.h>

enum export_format { EXPORT_OPENAI, EXPORT_JSONL, EXPORT_CSV };

// "openai", "jsonl", "csv"; false for another name.
bool export_format_parse(const char *name, enum export_format *out);

// Appends what stands before the first result: the header of csv.
void export_head(struct buf *out, enum export_format format);

// Appends the result as one line (of csv: one row) and LF. Bodies and JSON outputs stay byte for byte, but for line
// breaks between their tokens.
//
// openai: {"id","custom_id","response","error"}, the line of OpenAI's batch output and error files. An
// item without custom_id is named "item-" and its index. Where a completed item has no stored
// body, the body is its output when that is JSON, else a chat.completion around it. A failed one
// shows the response when a server's refusal was its end, else an error with a code.
//
// jsonl: {"id","custom_id","status","model","prompt","parameters","output","error_type","error",
// "input_tokens","output_tokens","cost","finish_reason","completed_at"}; what is unknown is left out. The
// parameters are those that were submitted, byte for byte. The output is a string, JSON when it is JSON, and
// "output_base64" when its bytes are not UTF-8 or hold a NUL. It is the first output: where there are more,
// "output_count" says how many.
//
// csv: RFC 4180, but rows end in LF as lines do elsewhere here; a line end within a cell stays as it is. The
// columns are id, custom_id, status, model, prompt, parameters, output, output_base64, output_count,
// error_type, error, input_tokens, output_tokens, cost, finish_reason, completed_at. What is unknown is an empty cell, an empty
// text "". Cells are quoted where they have to be, and text also where it would read as a number, true, false
// or null (batch/sheet.h), so that it comes back as text. Nothing else is changed: a cell that begins with =,
// +, - or @ is data, and stays it; a spreadsheet that computes it must be told to import the column as text.
void export_line(struct buf *out, enum export_format format, const struct result *result);

#endif
