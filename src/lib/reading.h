// SPDX-License-Identifier: MIT
// Inside of src/lib/: a batch file on its way in, with its progress, its notes
// and the chance to interrupt it.
#ifndef GENRUN_LIB_READING_H
#define GENRUN_LIB_READING_H

#include "batch/import.h"
#include "lib/handle.h"
#include "lib/template.h"

struct reading {
    genrun *g;
    FILE *stream;
    const char *name; // for messages and the guess of the format
    genrun_progress progress;
    void *payload; // of progress
    import_each each;
    void *each_payload;
    int64_t lines; // items handed on
    // Its own:
    struct template_set templates;
    int64_t told_ms;
    int64_t size; // of the file in bytes, 0: not known
    bool interrupted;
};

// Reads the stream as the options say, each item handed on, into the handle's error and notes. *format (may be
// NULL) is the name of the format that was used.
int reading_run(struct reading *r, const genrun_batch_options *options, const char **format) must_check;

#endif
