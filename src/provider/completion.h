// SPDX-License-Identifier: MIT
// Re-assembles streamed chat chunks (chat.completion.chunk) into the one
// chat.completion that an unstreamed call would have given. A delta is by
// definition what is added, so the merge is the one of OpenAI's own client
// (accumulate_delta), whatever the members are called:
//
//   texts of a delta     concatenated (content, refusal, reasoning, function.arguments, audio.data …), but for
//                        those that some servers repeat in every chunk, like role, id and type: the last one
//                        that is not empty wins
//   lists                merged by the index their elements name (choices, tool_calls, reasoning_details), else
//                        appended (logprobs.content, annotations); a tool call with another id under the same
//                        index is another call (Gemini gives all of them 0)
//   objects              merged member by member (function_call, logprobs, audio)
//   everything else      the last value wins (finish_reason, usage), but null never over a value; numbers, lists
//                        and objects at the top of the chunk keep their bytes
#ifndef GENRUN_PROVIDER_COMPLETION_H
#define GENRUN_PROVIDER_COMPLETION_H

#include "base/buf.h"
#include "base/err.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

struct completion;

// `maximum`: bytes kept, at most.
struct completion *completion_new(size_t maximum);
void completion_free(struct completion *completion); // NULL is fine

// Adds one chunk: its text, and the same parsed (an object; parts of the tree may be taken out).
// *content_bytes: how much text it brought. ERR_INVALID when it has not the shape of a chunk, ERR_WORK when
// more is to be kept than the maximum.
int completion_add(struct completion *completion, const char *text, cJSON *chunk, size_t *content_bytes,
                   struct err *e) must_check;
// True when there is a choice and each one has its finish_reason.
bool completion_is_finished(const struct completion *completion);
bool completion_is_empty(const struct completion *completion); // no choice yet
// Appends the chat.completion, as far as it came.
void completion_write(const struct completion *completion, struct buf *out);

#endif
