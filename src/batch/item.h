// SPDX-License-Identifier: MIT
// Turns one line of a batch file into a specification. What the formats are
// stands in batch/import.h.
#ifndef GENRUN_BATCH_ITEM_H
#define GENRUN_BATCH_ITEM_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/spec.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

// What holds for all lines of a file, and the memory that one line after the other uses.
struct item_reader {
    int priority;            // for items that name none
    struct member *defaults; // parameters for items that have none of that name
    size_t default_count;
    bool default_stream; // "stream": true is among them
    char *default_text;  // the defaults as one object, NULL when there are none
    struct buf parameters, extra;
};

// `parameters` (may be NULL) is the JSON object of defaults. Whatever this returns, the caller ends
// with item_reader_free.
int item_reader_init(struct item_reader *r, const char *parameters, int priority, struct err *e) must_check;
void item_reader_free(struct item_reader *r);

// Each fills *spec and returns 0, or ERR_INVALID with what is wrong with the line. The texts of the spec
// are valid as long as `line` and `object`, the line parsed, and until the next call.
// The first writes into the line: the body is ended there.
int item_read_openai(struct item_reader *r, struct buf *line, const cJSON *object, struct spec *spec,
                     struct err *e) must_check;
int item_read_jsonl(struct item_reader *r, const struct buf *line, const cJSON *object, struct spec *spec,
                    struct err *e) must_check;
int item_read_text(struct item_reader *r, const struct buf *line, struct spec *spec,
                   struct err *e) must_check;

#endif
