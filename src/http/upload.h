// SPDX-License-Identifier: MIT
// A body that may be large: its file goes to disk as it comes, into a file without a name, so that nothing is
// left behind however the process ends. Either a form with a part "file", or the bytes themselves.
#ifndef GENRUN_HTTP_UPLOAD_H
#define GENRUN_HTTP_UPLOAD_H

#include "http/query.h"
#include <stddef.h>
#include <stdint.h>

// What a form may take beside its file: a request with a Content-Length of more than the limit and this can be
// refused at once.
#define UPLOAD_FORM_BYTES 2621440
#define UPLOAD_FIELD_BYTES 65536 // the most of one plain field

struct upload;

// `folder`: where the file lives meanwhile, best on the disk where it will be kept. `content_type` may be NULL:
// whatever is no multipart is the file itself. `limit`: the most bytes of the file. Never NULL: what does not
// work is told by upload_refused.
struct upload *upload_open(const char *folder, const char *content_type, int64_t limit);
// The bytes as they come. After a refusal they are thrown away, so that the request can be read to its end.
void upload_feed(struct upload *u, const char *bytes, size_t length);
// The body has ended.
void upload_finish(struct upload *u);
void upload_free(struct upload *u); // NULL is fine; the file is gone with its last descriptor

// Why the upload cannot be used, as one line; NULL: it can so far. *status is 400, 413 or 507 then, *code
// invalid_form, file_too_large, field_too_large or storage_failed. Either may be NULL.
const char *upload_refused(const struct upload *u, int *status, const char **code);

// The file's descriptor, at its begin; -1 when the form has none. It stays the upload's.
int upload_file(struct upload *u);
int64_t upload_bytes(const struct upload *u);        // of the file
const char *upload_filename(const struct upload *u); // without folders, safe to show; NULL: none, or empty
const char *upload_type(const struct upload *u);     // the Content-Type of the file; NULL: none
const char *upload_field(const struct upload *u, const char *name); // a plain field of the form; NULL: absent
// All of them, for field_check_query.
const struct query *upload_fields(const struct upload *u);

#endif
