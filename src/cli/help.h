// SPDX-License-Identifier: MIT
// What help and the man page say alike of all commands.
#ifndef GENRUN_CLI_HELP_H
#define GENRUN_CLI_HELP_H

struct help_exit {
    int code;
    const char *brief;
    const char *detail;
};
// In the order of the codes; brief NULL past the end.
extern const struct help_exit help_exits[];

extern const char help_purpose[]; // of the program, in one line without a full stop
extern const char help_values[];  // how ids and durations are written
extern const char help_example[];

#endif
