// SPDX-License-Identifier: MIT
// Internal to http/multipart: the headers of a form and of its parts, without the stream.
#ifndef GENRUN_HTTP_PART_H
#define GENRUN_HTTP_PART_H

#include "base/err.h"
#include "http/multipart.h"
#include <stddef.h>

// What the headers of a part say; multipart.h tells the members.
struct part_head {
    char *name, *filename, *type;
};

// The boundary of a Content-Type of multipart/form-data; NULL is none.
int part_boundary(const char *content_type, char out[MULTIPART_BOUNDARY + 1], struct err *e) must_check;
// Reads header lines, each with its CRLF, up to the blank line, which is among them. On ERR_OK for
// part_free_head.
int part_read_head(struct part_head *head, const char *lines, size_t length, struct err *e) must_check;
void part_free_head(struct part_head *head);

#endif
