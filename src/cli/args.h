// SPDX-License-Identifier: MIT
// Options and operands of a command line, in any order, read by tables. One table
// entry says what an option is called, what its value must be and what it is for;
// parsing, usage lines and help texts all come from it.
//
//   --name value   --name=value   -x value   -xvalue   -xy (flags)   --  (operands only from here)
//   -              is an operand
#ifndef GENRUN_CLI_ARGS_H
#define GENRUN_CLI_ARGS_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum args_kind {
    ARGS_FLAG,     // no value
    ARGS_TEXT,     // any text that is not empty
    ARGS_LIST,     // any text; may be given several times
    ARGS_CHOICE,   // one of the words of `value`, which stand apart by '|'
    ARGS_INTEGER,  // between minimum and maximum
    ARGS_DECIMAL,  // a number of 0 or more, with a fraction
    ARGS_DURATION, // 90s 5m 3h 7d (base/clock.h)
};

struct args_option {
    const char *name; // without the dashes; NULL ends a table
    char letter;      // of the short form, 0: none
    enum args_kind kind;
    const char *value; // what help calls the value: "FILE", "continue|stop"; NULL for a flag
    const char *help;  // one line, small first letter, no full stop
    int64_t minimum;   // of an integer
    int64_t maximum;
};

// clang-format off
#define ARGS_END {NULL, 0, ARGS_FLAG, NULL, NULL, 0, 0}
// clang-format on

struct args;

// Reads `words` (argc of them, none of them the program's name) by the two tables, of which
// `more` may be NULL. On success *out is to be
// freed by args_free; it borrows the words. ERR_INVALID names what was wrong and, for an
// unknown option, the nearest known one. args_free(NULL) is fine.
int args_parse(struct args **out, const struct args_option *common, const struct args_option *more, int argc,
               char *const *words, struct err *e) must_check;
void args_free(struct args *args);

// What was given. `name` must stand in one of the tables. Of an option given twice the last counts.
bool args_has(const struct args *args, const char *name);
const char *args_text(const struct args *args, const char *name);                  // NULL: not given
int64_t args_integer(const struct args *args, const char *name, int64_t fallback); // durations in ms
double args_decimal(const struct args *args, const char *name, double fallback);
// All values of a list, in order.
const char *const *args_list(const struct args *args, const char *name, size_t *count);

size_t args_operand_count(const struct args *args);
const char *args_operand(const struct args *args, size_t index); // NULL beyond the last

// The index in `words` of the first operand, -1 when there is none: how the command's name is found
// before its own table is known. ERR_INVALID in *e, and -2, for an option that `common` does not have.
int args_first_operand(const struct args_option *common, int argc, char *const *words, struct err *e);

// Appends " [--model M]" for each option of a table, broken into lines of at most `columns`
// that go on under column `indent`; the line already holds `used` columns.
void args_write_usage(struct buf *out, const struct args_option *table, size_t used, size_t indent,
                      size_t columns);
// Appends one aligned line for each option: "  -o, --output FILE  what it is for", wrapped to `columns` (0: not).
void args_write_help(struct buf *out, const struct args_option *table, size_t columns);

#endif
