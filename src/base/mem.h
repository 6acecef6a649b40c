// SPDX-License-Identifier: MIT
// Allocation that does not fail: when memory is gone the handler is called and
// the process ends. Nothing is lost by that: all state that matters is in the
// database, and the next runner recovers it.
#ifndef GENRUN_BASE_MEM_H
#define GENRUN_BASE_MEM_H

#include <stddef.h>

// Zeroed memory for `count` items of `size` bytes; the caller frees it.
void *mem_alloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
// Resizes `p` to `count` items of `size` bytes; new bytes are not cleared.
void *mem_resize(void *p, size_t count, size_t size) __attribute__((returns_nonnull));
// A copy of a string, NULL for NULL; the caller frees it.
char *mem_copy(const char *text);
// A NUL-terminated copy of `length` bytes; the caller frees it.
char *mem_copy_bytes(const void *bytes, size_t length) __attribute__((returns_nonnull));
// A printf-formatted string; the caller frees it.
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
// Called before the process ends for lack of memory; NULL restores the default
// (one line on stderr).
void mem_on_exhausted(void (*handler)(size_t bytes));
// Writes `line` (with its line end) to stderr and ends the process. The only way in which code below the
// commands does so, for what no caller could go on from: no memory, no random numbers.
void mem_give_up(const char *line) __attribute__((noreturn, cold));

#endif
