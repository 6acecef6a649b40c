// SPDX-License-Identifier: MIT
// How rows are shown: lists as a table or as JSON lines, and the pieces that
// several commands show alike.
#ifndef GENRUN_CLI_ROWS_H
#define GENRUN_CLI_ROWS_H

#include "cli/command.h"
#include "cli/table.h"
#include <stdint.h>

// A list under way: rows_each is the genrun_each for it.
struct rows {
    struct cli *cli;
    struct table *table;                              // NULL with --json
    void (*fill)(struct rows *rows, genrun_row *row); // adds the cells of one row
    int64_t now;
    size_t count;
};

void rows_begin(struct rows *rows, struct cli *cli, const struct table_column *columns, size_t column_count,
                void (*fill)(struct rows *rows, genrun_row *row));
int rows_each(void *payload, genrun_row *row);
// Prints what is pending and reports `code`, which the list ended with. On a terminal an empty list is told
// of with `nothing`. Returns the code of the command.
int rows_end(struct rows *rows, int code, const char *nothing);
// A page may end early (genrun.h). True when the filter is to be asked again for what is missing of `wanted` rows.
bool rows_go_on(struct rows *rows, int code, genrun_filter *filter, int wanted);
// As rows_end, and tells how to get the next page where there is one.
int rows_end_page(struct rows *rows, int code, const char *nothing);

// Cells.
void rows_cell_status(struct rows *rows, const char *status);
// The state of a generation, and whether it is dismissed.
void rows_cell_state(struct rows *rows, const genrun_row *row);
void rows_cell_age(struct rows *rows, int64_t at);
void rows_cell_time(struct rows *rows, int64_t at);
// From `start` to `end`, or to now where end is 0: "1.2s", "3m20s"; "-" where it did not start.
void rows_cell_took(struct rows *rows, int64_t start, int64_t end);

// Prints one row as JSON and frees it.
void rows_print_json(genrun_row *row);
// Prints one row as JSON in one line.
void rows_write_json(genrun_row *row);
// A JSON list of the rows that a list function gives: rows_collect_each on a buf that has "[" first.
int rows_collect_each(void *payload, genrun_row *row);

// "name:  value" of a detailed view, with the value escaped; nothing for NULL and "".
void rows_field(const struct cli *cli, const char *name, const char *value, enum style style);
void rows_field_integer(const struct cli *cli, const char *name, int64_t value);
void rows_field_time(const struct cli *cli, const char *name, int64_t at);
void rows_heading(const struct cli *cli, const char *text);

// One event as a line: time, level, event, id's tail, message.
void rows_event(const struct cli *cli, genrun_row *row, bool with_id);

// The filter that the options of a list or bulk command give.
// clang-format off
#define ROWS_FILTER_OPTIONS(states) \
    {"status", 0, ARGS_CHOICE, states, "only those in this state", 0, 0}, \
    {"user", 0, ARGS_TEXT, "U", "only those of this user", 0, 0}, \
    {"session", 0, ARGS_TEXT, "S", "only those of this session", 0, 0}, \
    {"model", 0, ARGS_TEXT, "M", "only those of this model", 0, 0}, \
    {"batch", 0, ARGS_TEXT, "B", "only those of this batch job", 0, 0}
// clang-format on
void rows_filter(const struct cli *cli, genrun_filter *filter);
#define ROWS_LIMIT_HIGHEST 1000000000

#endif
