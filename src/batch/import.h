// SPDX-License-Identifier: MIT
// Reads a batch file line by line and turns each item into a specification. All
// of the input is checked here: what is refused is named as "name:line: reason".
//
// Formats
//   openai  {"custom_id", "method": "POST", "url", "body": {…}}, a request of OpenAI's Batch API. The
//           body is kept byte for byte. Lines may ask for different models. Of other members those
//           named under jsonl (without prompt and model) are columns too, the rest is not looked at.
//   jsonl   {"prompt": …}: model, custom_id, topic, tier, type, template_id, priority and session_id are
//           columns, every other member is a parameter and kept byte for byte. With "messages" in
//           place of "prompt" all that is no column is the request's body.
//   csv     RFC 4180 (batch/csv.h), with commas. The first row is the header: the names that are columns under
//           jsonl are columns here, prompt among them; every other column is a parameter of its name. In a
//           parameter an unquoted cell that is a JSON number, true, false or null is that value, byte for
//           byte (0.7 reaches the model as a number), and whatever else is text; a quoted cell is always
//           text. An empty cell is absent, a quoted empty one is the text "". A row may span lines.
//   txt     every line is a prompt, taken as it is.
// In all of them lines of blanks only are skipped wherever they stand (but within a quoted cell) and counted,
// a BOM is skipped, lines end in LF or CRLF, the last one with or without. A line has at most 64 MiB, also a
// row of csv. A column that is null or "" counts as absent.
//
// The members error, errorContext, cancelledAt and cancelledReason of parameters or of a body are
// genrun's own record of an end, as an exported result has them: they are dropped.
#ifndef GENRUN_BATCH_IMPORT_H
#define GENRUN_BATCH_IMPORT_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/spec.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum import_format { IMPORT_GUESS, IMPORT_OPENAI, IMPORT_JSONL, IMPORT_CSV, IMPORT_TEXT };

#define IMPORT_LINE_MAXIMUM ((size_t)64 << 20)

// "openai", "jsonl", "csv", "txt"; false for another name.
bool import_format_parse(const char *name, enum import_format *out);
const char *import_format_name(enum import_format format); // "guess" for IMPORT_GUESS

struct import_options {
    enum import_format format; // IMPORT_GUESS: by the name's ending and the first line (batch/guess.h)
    // JSON object: defaults merged under every item's own parameters or body (may be NULL). A default
    // is left out where the line has a member of that name, column or not.
    const char *parameters;
    int priority; // for items that name none
    // NULL, or where it is noted, a line each, what was taken for granted and should be known: a format
    // guessed by the first line alone, numbers that are text because of their quotes.
    bool
        prompt_optional; // a template may make the request: an item without prompt and messages is no mistake here
    struct buf *notes;
};

// Called for each item with the 1-based number of its (first) line. spec->model_id may be NULL (the batch's model).
// Texts are valid during the call. A non-zero return ends the import with that code; when `e` was
// filled the import puts "name:line: " in front of it.
typedef int (*import_each)(void *payload, const struct spec *spec, int64_t line, struct err *e);

// Returns ERR_INVALID for a refused line, an empty file, a directory, a duplicate custom_id (found at
// the end: by then `each` has seen every line). *format_used tells what was guessed, *lines counts the
// items. Memory does not grow with the file; beyond 65,536 custom_ids a temporary file is used, and
// ERR_CONFIG says that it could not be written.
int import_lines(FILE *stream, const char *name, const struct import_options *options, import_each each,
                 void *payload, enum import_format *format_used, int64_t *lines, struct err *e) must_check;

#endif
