// SPDX-License-Identifier: MIT
// Uploads: from the stream of a body to a nameless file and the plain fields beside it.
#include "http/upload.h"
#include "base/buf.h"
#include "base/depot.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/multipart.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct upload {
    struct multipart *form; // NULL: the body is the file
    int fd;
    int64_t limit, taken, bytes; // of the file at most, of the body so far, of the file so far
    bool has_file, in_file;
    char *filename, *type;
    struct query fields;
    char *field; // the name of the plain field that is read
    struct buf value;
    int status; // 0: fine so far
    const char *code;
    struct err why;
};

// ---- refusals ----

static int refuse(struct upload *u, int status, const char *code, const char *reason) {
    if (u->status == 0) {
        u->status = status;
        u->code = code;
        err_set(&u->why, ERR_INVALID, "%s", reason);
    }
    return ERR_INVALID;
}

static int refuse_storing(struct upload *u, const char *what, int error) {
    char reason[200];
    log_error("an upload could not be stored: %s (%s)", what, strerror(error));
    snprintf(reason, sizeof reason, "the upload could not be stored, %s (%s): try again when that is mended",
             what, strerror(error));
    return refuse(u, 507, "storage_failed", reason);
}

static int refuse_size(struct upload *u) {
    char reason[160];
    snprintf(reason, sizeof reason, "the upload is too large: a file of at most %lld bytes is taken",
             (long long)u->limit);
    return refuse(u, 413, "file_too_large", reason);
}

// ---- the file ----

// Writes all; 0 or an errno.
static int write_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        }
    }
    return 0;
}

static int append(struct upload *u, const char *bytes, size_t length) {
    if ((int64_t)length > u->limit - u->bytes)
        return refuse_size(u);
    int error = write_all(u->fd, bytes, length);
    if (error != 0)
        return refuse_storing(u, "its file cannot be written", error);
    u->bytes += (int64_t)length;
    return ERR_OK;
}

// ---- what the form's reader finds ----

static int on_part(void *payload, const struct multipart_part *part, struct err *e) {
    struct upload *u = payload;
    char reason[MULTIPART_NAME * 4 + 160], name[MULTIPART_NAME * 4 + 8];
    (void)e;
    text_escape_array(name, sizeof name, part->name, strlen(part->name));
    u->in_file = strcmp(part->name, "file") == 0;
    if (!u->in_file && part->filename != NULL) {
        snprintf(reason, sizeof reason, "the form has a file in its part '%s': name that part 'file'", name);
        return refuse(u, 400, "invalid_form", reason);
    }
    if (u->in_file && u->has_file)
        return refuse(u, 400, "invalid_form", "the form has two parts 'file': send one file at a time");
    if (!u->in_file) {
        u->field = mem_copy(part->name);
        return ERR_OK;
    }
    u->has_file = true;
    u->filename = part->filename != NULL && *part->filename != '\0' ? mem_copy(part->filename) : NULL;
    u->type = mem_copy(part->type);
    return ERR_OK;
}

static int on_bytes(void *payload, const char *bytes, size_t length, struct err *e) {
    struct upload *u = payload;
    char reason[MULTIPART_NAME * 4 + 160];
    (void)e;
    if (u->in_file)
        return append(u, bytes, length);
    if (buf_append(&u->value, bytes, length))
        return ERR_OK;
    snprintf(reason, sizeof reason,
             "the form's field '%s' has more than %d bytes: shorten it, or send it as a file", u->field,
             UPLOAD_FIELD_BYTES);
    return refuse(u, 413, "field_too_large", reason);
}

static int on_part_end(void *payload, struct err *e) {
    struct upload *u = payload;
    char reason[MULTIPART_NAME * 4 + 160];
    struct err why = {0};
    if (u->in_file)
        return ERR_OK;
    size_t length = u->value.length;
    char *value = buf_take(&u->value), *name = u->field;
    u->field = NULL;
    (void)e;
    if (!text_is_utf8(value, length) || memchr(value, 0, length) != NULL) {
        snprintf(reason, sizeof reason,
                 "the form's field '%s' is not UTF-8 text, or holds a NUL: send plain text", name);
        free(name);
        free(value);
        return refuse(u, 400, "invalid_form", reason);
    }
    if (query_add(&u->fields, name, value, &why) == ERR_OK)
        return ERR_OK;
    return refuse(u, 400, "invalid_form", why.message);
}

static int on_end(void *payload, struct err *e) {
    (void)payload;
    (void)e;
    return ERR_OK;
}

// ---- the upload ----

struct upload *upload_open(const char *folder, const char *content_type, int64_t limit) {
    struct upload *u = mem_alloc(1, sizeof *u);
    struct multipart_sink sink = {on_part, on_bytes, on_part_end, on_end, u};
    struct err e = {0};
    u->fd = -1;
    u->limit = limit;
    buf_init(&u->value, UPLOAD_FIELD_BYTES);
    if (!multipart_is(content_type)) {
        u->has_file = true;
        u->type = mem_copy(content_type);
    } else if (multipart_open(&u->form, content_type, &sink, &e) != ERR_OK) {
        refuse(u, 400, "invalid_form", e.message);
        return u;
    }
    if (depot_temporary(folder, &u->fd, &e) != ERR_OK) {
        log_error("an upload could not be stored: %s",
                  e.message); // the client has no business with our folders
        u->fd = -1;
        refuse(u, 507, "storage_failed",
               "the upload could not be stored: try again when what the server's log tells is mended");
    }
    return u;
}

void upload_feed(struct upload *u, const char *bytes, size_t length) {
    struct err e = {0};
    if (u->status != 0)
        return;
    u->taken += (int64_t)length;
    if (u->form == NULL)
        append(u, bytes, length);
    else if (u->taken - UPLOAD_FORM_BYTES > u->limit)
        refuse_size(u);
    else if (multipart_feed(u->form, bytes, length, &e) != ERR_OK)
        refuse(u, 400, "invalid_form", e.message); // unless one of the above has said more
}

void upload_finish(struct upload *u) {
    struct err e = {0};
    if (u->status == 0 && u->form != NULL && multipart_finish(u->form, &e) != ERR_OK)
        refuse(u, 400, "invalid_form", e.message);
    if (u->status == 0 && lseek(u->fd, 0, SEEK_SET) != 0)
        refuse_storing(u, "its file cannot be read", errno);
}

void upload_free(struct upload *u) {
    if (u == NULL)
        return;
    multipart_free(u->form);
    if (u->fd >= 0)
        close(u->fd);
    query_free(&u->fields);
    buf_free(&u->value);
    free(u->filename);
    free(u->type);
    free(u->field);
    free(u);
}

const char *upload_refused(const struct upload *u, int *status, const char **code) {
    if (u->status == 0)
        return NULL;
    if (status != NULL)
        *status = u->status;
    if (code != NULL)
        *code = u->code;
    return u->why.message;
}

int upload_file(struct upload *u) {
    if (!u->has_file || u->status != 0 || lseek(u->fd, 0, SEEK_SET) != 0)
        return -1;
    return u->fd;
}

int64_t upload_bytes(const struct upload *u) {
    return u->bytes;
}

const char *upload_filename(const struct upload *u) {
    return u->filename;
}

const char *upload_type(const struct upload *u) {
    return u->type;
}

const char *upload_field(const struct upload *u, const char *name) {
    return query_get(&u->fields, name);
}

const struct query *upload_fields(const struct upload *u) {
    return &u->fields;
}
