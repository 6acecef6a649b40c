// SPDX-License-Identifier: MIT
// The library's messages say what to do in the words of the command line. Over HTTP the same advice names paths and
// fields.
#ifndef GENRUN_HTTP_WORDS_H
#define GENRUN_HTTP_WORDS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

// Appends the message, with each 'genrun COMMAND ARGUMENT' and each option in it as what serves instead.
void words_write(struct buf *out, const char *message);

// A message of the import, "NAME:LINE: reason". True: *line is its number and *reason what follows.
bool words_split_line(const char *message, const char *name, int64_t *line, const char **reason);
// Appends a reason of the import about an item of a JSON body, which has no lines; columns are named as that body does,
// unless the item is in OpenAI's form, whose names they are.
void words_write_item(struct buf *out, const char *reason, bool openai);
// The member of an item for a column of a line: customId for custom_id. One that is not renamed is given back.
const char *words_member(const char *column);

#endif
