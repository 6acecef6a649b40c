// SPDX-License-Identifier: MIT
// A reader of multipart/form-data (RFC 7578, RFC 2046) that is fed with the bytes of a body as they come, in pieces
// of any size, and hands them on without keeping them. What it hands on does not depend on the pieces.
#ifndef GENRUN_HTTP_MULTIPART_H
#define GENRUN_HTTP_MULTIPART_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

#define MULTIPART_PARTS 32     // the most of a form
#define MULTIPART_HEADERS 8192 // bytes, of one part
#define MULTIPART_BOUNDARY 70  // characters
#define MULTIPART_NAME 200     // bytes
#define MULTIPART_FILENAME 255 // bytes

struct multipart_part {
    const char *name;     // UTF-8 without control characters
    const char *filename; // its last component alone, control characters escaped; NULL: not given
    const char *type;     // of its Content-Type; NULL: not given
};

// Who is told. Each may refuse by a result other than ERR_OK, with its reason in *e; then nothing more comes.
struct multipart_sink {
    int (*on_part)(void *payload, const struct multipart_part *part, struct err *e); // valid during the call
    int (*on_bytes)(void *payload, const char *bytes, size_t length,
                    struct err *e); // of that part, never none
    int (*on_part_end)(void *payload, struct err *e);
    int (*on_end)(void *payload, struct err *e); // the form is complete
    void *payload;
};

struct multipart;

// True for a Content-Type of multipart/*, which multipart_open then may still refuse.
bool multipart_is(const char *content_type);
// The boundary comes from the request's Content-Type. On ERR_OK *out is for multipart_free; else it is NULL.
int multipart_open(struct multipart **out, const char *content_type, const struct multipart_sink *sink,
                   struct err *e) must_check;
// After an error every later call fails with it again; the rest of the body need not come.
int multipart_feed(struct multipart *m, const char *bytes, size_t length, struct err *e) must_check;
// There are no more bytes: ERR_INVALID when the form is not complete.
int multipart_finish(struct multipart *m, struct err *e) must_check;
void multipart_free(struct multipart *m);

#endif
