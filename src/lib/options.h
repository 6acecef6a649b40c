// SPDX-License-Identifier: MIT
// The option table, as the configuration itself uses it: besides the words for
// people (struct option_info) each row says where the value goes and what it may be.
#ifndef GENRUN_LIB_OPTIONS_H
#define GENRUN_LIB_OPTIONS_H

#include "lib/config.h"
#include <stdbool.h>
#include <stdint.h>

#define MODEL_SECTION "model NAME" // the section of the table's rows for models
#define WEBHOOK_SECTION "webhook NAME"

enum option_type {
    OPTION_TEXT,     // char *
    OPTION_PATH,     // char *, made absolute
    OPTION_URL,      // char *, http or https, without a slash at the end
    OPTION_ENDPOINT, // char *, begins with a slash
    OPTION_VARIABLE, // char *, the name of an environment variable
    OPTION_PROVIDER, // char *, a known provider
    OPTION_LISTEN,   // char *, an address and port to listen on
    OPTION_HOOK,     // char *, http or https, kept as it is and never shown: it may be a secret
    OPTION_NUMBER,   // int
    OPTION_BIG,      // int64_t
    OPTION_DURATION, // int64_t, milliseconds
    OPTION_SIZE,     // size_t, bytes
    OPTION_PRICE,    // double, USD
    OPTION_FLAG,     // bool: choices[1] is true
    OPTION_CHOICE,   // int: index into choices
    OPTION_HEADER,   // header.X of a struct model
    OPTION_STATUS,   // on_status.NNN of a struct model
    OPTION_EXIT,     // on_exit.N of a struct model
    OPTION_COMMAND,  // command, program and folder of a struct model
    OPTION_NAMES,    // char **, names of environment variables
    OPTION_ORIGINS,  // char **, origins of web pages
    OPTION_WORDS,    // char **, words between blanks or commas
    OPTION_EVENTS,   // the same, names of events or what they begin with: batch.*
    OPTION_SECRET    // never taken: tells where a secret belongs
};

struct option {
    struct option_info info;
    enum option_type type;
    size_t offset;   // of the field in struct config; for MODEL_SECTION in struct model, for
                     // WEBHOOK_SECTION in struct webhook_endpoint
    int64_t minimum; // of numbers, durations and sizes
    int64_t maximum;
    const char *const *choices; // NULL-terminated
};

// The row of a name as written ("header.X-Title" finds header.X), NULL when unknown.
const struct option *option_find(const char *section, const char *name);
// The section with an option of exactly this name, for a hint; NULL: none.
const char *option_home(const char *name);
// Appends all such sections: "[scheduler] or [model NAME]".
void option_write_homes(const char *name, struct buf *out);
// The known name nearest to `name` in the section, NULL when none is near.
const char *option_nearest(const char *section, const char *name);
// The row at `index`, NULL past the end.
const struct option *option_row(size_t index);
// The variable that overrides the option; false for options of sections with a name.
bool option_variable(const struct option *option, char *out, size_t size);
// The sections of the table, each once, in its order; NULL past the end.
const char *option_section(size_t index);
// Fills `target`, a struct config, with the presets of all sections without a name; a struct model with
// those of MODEL_SECTION.
void option_preset_config(struct config *target);
void option_preset_model(struct model *target);
void option_preset_webhook(struct webhook_endpoint *target);

// ---- values (value.c; the words in value_words.c) ----

// Where a value comes from, for the paths in it: relative ones are relative to base_file (NULL: the
// current folder).
// Stores `value` in `target`. On refusal false, nothing is stored, and `why` has "what was wrong: what to
// do", beginning with `name` (the option's name as written). Values that may be secrets are not repeated.
bool option_store(const struct option *option, const char *name, const char *value, const char *base_file,
                  void *target, struct buf *why);
// The way back (effective.c): appends the text that option_store() makes this value of; `name` as there. False
// when the field holds none: a text that is not set, a header or status that is not there.
bool option_format(const struct option *option, const char *name, const void *target, struct buf *out);
// Appends a number of bytes with the largest unit that leaves it whole: 16M.
void option_write_size(struct buf *out, int64_t bytes);
// Appends "a, b or c".
void option_write_list(struct buf *out, const char *const *words, size_t count);
// Appends what the option accepts: "duration from 10ms to 1h", "text or json", "path".
void option_describe(const struct option *option, struct buf *out);
// Appends a value in a message: quoted, escaped, cut short; "the value" when it looks like a secret.
void option_quote(struct buf *out, const char *value);
bool option_looks_secret(const char *value);

#endif
