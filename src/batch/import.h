// SPDX-License-Identifier: MIT
// Reads a batch file line by line and turns each line into a specification. All
// of the input is checked here: what is refused is named as "name:line: reason".
#ifndef GENRUN_BATCH_IMPORT_H
#define GENRUN_BATCH_IMPORT_H

#include "base/err.h"
#include "queue/spec.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum import_format { IMPORT_GUESS, IMPORT_OPENAI, IMPORT_JSONL, IMPORT_TEXT };

// "openai", "jsonl", "txt"; false for another name.
bool import_format_parse(const char *name, enum import_format *out);
const char *import_format_name(enum import_format format);

struct import_options {
    enum import_format format;  // IMPORT_GUESS: by the name's ending, then by the first line
    const char *parameters;     // JSON object: defaults merged under every item's own (may be NULL)
    int priority;               // for items that name none
};

// Called for each line with its 1-based number. spec->model_id may be NULL (the batch's model).
// Texts are valid during the call. A non-zero return ends the import with that code; when `e` was
// filled the import puts "name:line: " in front of it.
typedef int (*import_each)(void *payload, const struct spec *spec, int64_t line, struct err *e);

// Returns ERR_INVALID for a refused line, an empty file, a directory, a duplicate custom_id.
// *format_used tells what was guessed, *lines counts the items. Memory does not grow with the file.
int import_lines(FILE *stream, const char *name, const struct import_options *options, import_each each,
                 void *payload, enum import_format *format_used, int64_t *lines, struct err *e) must_check;

#endif
