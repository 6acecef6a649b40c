// SPDX-License-Identifier: MIT
// The program's own messages: one line each on stderr, as text or JSON, with
// journald's <N> prefix where stderr is the journal. What happens to generations
// goes into the database's log, not here.
#ifndef GENRUN_BASE_LOG_H
#define GENRUN_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_setup(enum log_level level, bool as_json);
bool log_is_on(enum log_level level);
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
