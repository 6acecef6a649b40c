// SPDX-License-Identifier: MIT
// Changes of state from the command line: of ids, one by one, or of all that a
// filter selects, after asking.
#ifndef GENRUN_CLI_CHANGE_H
#define GENRUN_CLI_CHANGE_H

#include "cli/command.h"
#include <stdint.h>

struct change {
    const char *verb; // "cancel", for questions
    const char *past; // "cancelled", for what is told afterwards
    // One of them; reason is that of --reason, NULL: none was given, or the command has no such option.
    int (*one)(genrun *g, const char *id, const char *reason);
    int (*get)(genrun *g, genrun_row **out, const char *id);
    // All that a filter selects; NULL: the command takes ids only.
    int (*all)(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason, int dry_run);
    bool has_reason;
};

// Does what the operands and options ask for. Of several ids each is tried and the worst code returned.
int change_run(struct cli *cli, const struct change *change);

// clang-format off
// `states` are those that the change leads from.
#define CHANGE_FILTER_OPTIONS(states) \
    {"all", 0, ARGS_FLAG, NULL, "all of them", 0, 0}, \
    ROWS_FILTER_OPTIONS(states), \
    {"type", 0, ARGS_TEXT, "T", "only those with this error type, such as TimeoutError", 0, 0}, \
    {"older-than", 0, ARGS_DURATION, "D", "only those created longer ago", 0, 0}, \
    {"dry-run", 0, ARGS_FLAG, NULL, "only count what would change", 0, 0}, \
    {"yes", 'y', ARGS_FLAG, NULL, "do not ask", 0, 0}
// clang-format on

#endif
