// SPDX-License-Identifier: MIT
// Matching of paths. A path that is not sound is simply not found.
#include "http/path.h"
#include "http/query.h"
#include <stdlib.h>
#include <string.h>

bool path_split(const char *target, size_t *path_length, const char **query) {
    if (target[0] != '/' || target[1] == '/' || strchr(target, '#') != NULL)
        return false;
    *path_length = strcspn(target, "?");
    *query = target[*path_length] == '?' ? target + *path_length + 1 : NULL;
    return true;
}

// False for control characters (C0, DEL, C1 in UTF-8), and for parts between slashes that are empty, "." or "..".
static bool is_sound(const char *value) {
    for (const char *c = value; *c != '\0'; c++) {
        unsigned char u = (unsigned char)*c;
        if (u < 0x20 || u == 0x7F || (u == 0xC2 && (unsigned char)c[1] < 0xA0))
            return false;
    }
    for (const char *part = value;; part++) {
        size_t length = strcspn(part, "/");
        if (length == 0 || (length <= 2 && strspn(part, ".") >= length))
            return false;
        part += length;
        if (*part == '\0')
            return true;
    }
}

static bool take_segment(const char *name, size_t name_length, const char *raw, size_t length,
                         struct path_segments *out) {
    const char *why = NULL;
    char *value = length > 0 ? query_decode(raw, length, false, &why) : NULL;
    if (value == NULL || !is_sound(value) || out->count == PATH_SEGMENTS) {
        free(value);
        return false;
    }
    out->list[out->count++] = (struct path_segment){name, name_length, value};
    return true;
}

bool path_match(const char *pattern, const char *path, size_t length, struct path_segments *out) {
    const char *end = path + length;
    *out = (struct path_segments){0};
    while (*pattern != '\0') {
        if (*pattern == '{') {
            size_t name_length = strcspn(pattern, "}") - 1;
            const char *slash = memchr(path, '/', (size_t)(end - path));
            size_t segment = (size_t)((slash != NULL ? slash : end) - path);
            if (!take_segment(pattern + 1, name_length, path, segment, out))
                break;
            pattern += name_length + 2;
            path += segment;
        } else if (path < end && *pattern == *path) {
            pattern++;
            path++;
        } else {
            break;
        }
    }
    if (*pattern == '\0' && path == end)
        return true;
    path_segments_free(out);
    return false;
}

const char *path_segment(const struct path_segments *segments, const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < segments->count; i++) {
        const struct path_segment *s = &segments->list[i];
        if (s->name_length == length && memcmp(s->name, name, length) == 0)
            return s->value;
    }
    return NULL;
}

void path_segments_free(struct path_segments *segments) {
    for (size_t i = 0; i < segments->count; i++)
        free(segments->list[i].value);
    *segments = (struct path_segments){0};
}
