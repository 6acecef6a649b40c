// SPDX-License-Identifier: MIT
// Errors as values. Every function that can fail for a reason outside the
// program returns an err_code (0 is success) and, where it takes a `struct err`
// as its last parameter, leaves there one line: what was wrong, and after a
// colon what to do. The lowest function that knows the reason writes it; callers
// pass it on. The numbers are the exit codes of the command line.
#ifndef GENRUN_BASE_ERR_H
#define GENRUN_BASE_ERR_H

enum err_code {
    ERR_OK = 0,
    ERR_WORK = 1,      // the work itself failed: a generation failed or was cancelled
    ERR_INVALID = 2,   // usage, or input that is refused
    ERR_CONFIG = 3,    // the configuration cannot be used
    ERR_NOT_FOUND = 4, // no such row
    ERR_CONFLICT = 5,  // illegal transition, lock held, another runner is up
    ERR_DATABASE = 6,  // the database cannot be used now
    ERR_REMOTE = 7     // a model or another server cannot be reached
};

struct err {
    enum err_code code;
    char message[1024];
    char field[48]; // what is at fault of what was submitted, as the API names it: modelId; "": not known
};

#define must_check __attribute__((warn_unused_result))

// Fills `e` (which may be NULL) with a printf-formatted message and returns
// `code`, so that a failing path reads `return err_set(e, ERR_INVALID, "…")`.
// Control characters are replaced: the message is one line.
int err_set(struct err *e, enum err_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Puts "context: " in front of the message already in `e`; returns its code.
int err_prefix(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The same of what was submitted: `field` is at fault, as the API names it.
int err_in(struct err *e, enum err_code code, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Names the field that is at fault (cut when it is long); returns the error's code.
int err_field(struct err *e, const char *field);

#endif
