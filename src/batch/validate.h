// SPDX-License-Identifier: MIT
// The check of a batch file as OpenAI's Batch API makes it, before the import: every
// line, with that service's codes and words, so that its clients can tell what is
// wrong where. What this passes and the import refuses is the import's to tell.
#ifndef GENRUN_BATCH_VALIDATE_H
#define GENRUN_BATCH_VALIDATE_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define VALIDATE_PROBLEMS 100 // kept of a file; with so many the rest of it is not looked at

struct validate_options {
    const char *endpoint; // that every line must name
    bool (*knows_model)(void *payload, const char *name);
    bool (*is_over)(void *payload); // asked now and then: nobody waits for the answer any more; may be NULL
    void *payload;
};

struct validate_problem {
    const char *code;
    const char *param; // NULL: the line as a whole
    int64_t line;      // 0: the file as a whole
    char *message;     // one sentence
    char *detail;      // what more is known, NULL: nothing
};
struct validate_result {
    struct validate_problem problems[VALIDATE_PROBLEMS]; // by line
    size_t count;
    int64_t items;
    bool over; // is_over said so: nothing else holds
};

// Reads the stream to its end. ERR_DATABASE when it cannot be read, ERR_CONFIG when there is no room for the
// temporary file that many custom_ids need. What is wrong with the lines is in *out, for validate_free.
int validate_lines(FILE *stream, const struct validate_options *options, struct validate_result *out,
                   struct err *e) must_check;
void validate_free(struct validate_result *result);
// Appends them as the JSON array that a batch object shows.
void validate_write(struct buf *out, const struct validate_result *result);
// Adds one; the texts are copied, but code and param, which must be of static life. Full: false.
bool validate_add(struct validate_result *result, int64_t line, const char *code, const char *param,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

// Is that one of the endpoints of OpenAI's Batch API? `at` counts them for a message, NULL past the end.
const char *validate_endpoint(size_t at);

#endif
