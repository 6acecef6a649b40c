// SPDX-License-Identifier: MIT
// Reads what a command wrote to stdout into an outcome: its outputs, usage and
// finish_reason, or the error that it tells of.
#ifndef GENRUN_PROVIDER_COMMAND_ANSWER_H
#define GENRUN_PROVIDER_COMMAND_ANSWER_H

#include "provider/provider.h"

// One output with the bytes as they are: text/plain, or application/octet-stream where they are not text.
void command_answer_bytes(const char *bytes, size_t length, bool partial, struct outcome *outcome);
// `output = json`: exactly one JSON value. What is not is a failure of the kind FAILURE_BAD_RESPONSE; an object
// with an error is one of FAILURE_SCRIPTED.
void command_answer_json(const char *text, size_t length, int64_t now_at, struct outcome *outcome);
// The same for a command that failed: true when the output is an object with an error, which then is the failure.
bool command_answer_error(const char *text, size_t length, int64_t now_at, struct outcome *outcome);

#endif
