// SPDX-License-Identifier: MIT
// Paths of requests against the patterns of routes, such as /api/generations/{id}/cancel.
#ifndef GENRUN_HTTP_PATH_H
#define GENRUN_HTTP_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define PATH_SEGMENTS 4 // the most {names} of a pattern

struct path_segment {
    const char *name; // in the pattern, without its braces
    size_t name_length;
    char *value; // decoded
};

struct path_segments {
    struct path_segment list[PATH_SEGMENTS];
    size_t count;
};

// Splits a request's target, as it came, at its first '?': the path is its first *path_length bytes, *query what
// follows the '?' (NULL: none). False for what does not begin with one '/' (absolute forms, '*', "//host"), and
// for a '#'.
bool path_split(const char *target, size_t *path_length, const char **query);

// True when the raw path fits the pattern; its {segments} are then in *out, for path_segments_free (which an
// untouched, zeroed one may also be given). A segment is decoded by itself: a %2F in it stays a slash of its
// value. Nothing fits that has an empty segment, a "." or ".." (also behind a %2F), control characters, a bad
// percent or invalid UTF-8. Literal parts fit byte for byte; a slash at the end makes another path.
bool path_match(const char *pattern, const char *path, size_t length, struct path_segments *out);
// The value of {name}; NULL when the pattern has none.
const char *path_segment(const struct path_segments *segments, const char *name);
void path_segments_free(struct path_segments *segments);

#endif
