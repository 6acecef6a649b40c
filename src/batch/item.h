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

// A name that is no parameter, and where in a spec its text goes.
enum item_kind { ITEM_TEXT, ITEM_PRIORITY, ITEM_RESULT };
struct item_column {
    const char *name;
    enum item_kind kind;
    size_t offset; // of an ITEM_TEXT in struct spec
    bool openai;   // also taken from a line of the OpenAI format
};
// NULL for the name of a parameter.
const struct item_column *item_column_find(const char *name);
// The column that the name is in other letters (Model, CUSTOM_ID), NULL when there is none.
const char *item_column_misspelt(const char *name);
// Keys of parameters that tell of a result; a request has none of them. Ends with NULL.
#define ITEM_RESULT_KEYS 4
extern const char *const item_result_keys[ITEM_RESULT_KEYS + 1];

// A default for items that have no parameter of that name.
struct item_default {
    char *key;
    char *text; // "key":value
};

// What holds for all lines of a file, and the memory that one line after the other uses.
struct item_reader {
    int priority;         // for items that name none
    bool prompt_optional; // an item may have neither prompt nor messages: a template makes its request
    struct item_default *defaults;
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
