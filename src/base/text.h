// SPDX-License-Identifier: MIT
// Small things done to text: validity, safe display, nearest names, splitting.
#ifndef GENRUN_BASE_TEXT_H
#define GENRUN_BASE_TEXT_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// True when the bytes are valid UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool text_is_utf8(const char *bytes, size_t length);
// The bytes of the valid UTF-8 character at the start of `bytes` (1 to 4), 0 when there is none.
size_t text_utf8_size(const char *bytes, size_t length);
// As text_utf8_size, and stores its code point.
size_t text_utf8_decode(const char *bytes, size_t length, uint32_t *code_point);
// Appends text for a terminal or log line: C0, DEL and C1 controls and invalid bytes become
// \n, \t, \r, \xNN escapes, line separators and direction overrides \uNNNN. At most `columns`
// columns of a terminal, the last one "…" when cut (0: no limit).
// Escaped text passes through unchanged: escaping twice is harmless.
void text_escape(struct buf *out, const char *bytes, size_t length, size_t columns);
// The same into an array of `size` bytes (at least 4), NUL-terminated; what does not fit is cut
// between characters and ends in "…". Allocates nothing. Returns the length.
size_t text_escape_array(char *out, size_t size, const char *bytes, size_t length);
// The number of terminal columns of valid UTF-8 text (wide characters count 2, combining 0).
size_t text_width(const char *text);
size_t text_char_width(uint32_t code_point);
// The candidate nearest to `name` by edit distance, NULL when none is near enough to suggest.
const char *text_nearest(const char *name, const char *const *candidates, size_t count);
// Splits a line into words as a POSIX shell does (quotes, backslashes; no expansion).
// Returns a NULL-terminated array for text_words_free, or NULL when a quote is left open.
char **text_words(const char *line);
void text_words_free(char **words);
// Removes blanks at both ends, in place; returns the first character kept.
char *text_trim(char *text);
// Takes a message of the form "what was wrong: what to do" apart at its last ": ": returns the first part and
// puts the second one, NULL when there is none, in *advice. The caller frees both.
char *text_take_advice(const char *message, char **advice);
bool text_starts_with(const char *text, const char *prefix);
bool text_ends_with(const char *text, const char *suffix);
// Case-insensitive search of ASCII text; NULL when not found.
const char *text_find_nocase(const char *text, const char *needle);

#endif
