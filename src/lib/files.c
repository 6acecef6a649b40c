// SPDX-License-Identifier: MIT
// Files of OpenAI's API: uploaded ones, which lie in the data folder, and the result
// files of batches, which are made when they are read.
#include "base/clock.h"
#include "base/depot.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/handle.h"
#include "queue/openai.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "file-"
#define FILENAME_BYTES 255
#define LIST_MOST 10000

static const char *const purposes[] = {"assistants", "batch", "fine-tune", "vision",
                                       "user_data",  "evals", NULL};

const char *handle_files(const genrun *g) {
    return g->config->data_dir;
}

// ---- adding ----

static int check_options(genrun *g, const genrun_file_options *o) {
    size_t i = 0;
    while (purposes[i] && (!o->purpose || strcmp(purposes[i], o->purpose) != 0))
        i++;
    if (!purposes[i])
        return err_set(
            &g->err, ERR_INVALID,
            "%s is not a purpose of a file: use batch (or assistants, fine-tune, vision, user_data, evals)",
            o->purpose ? o->purpose : "nothing");
    if (o->expires_after_ms < 0)
        return err_set(&g->err, ERR_INVALID, "a file cannot expire before it is there: give 0 or more ms");
    if (o->filename && strlen(o->filename) > FILENAME_BYTES)
        return err_set(&g->err, ERR_INVALID, "the file name is longer than %d bytes: shorten it",
                       FILENAME_BYTES);
    return handle_text(g, "the file name", o->filename);
}

// Stores the content, then the row. *fd keeps the sweep away from the content until both stand.
static int add(genrun *g, int *fd, const char *id, const genrun_file_options *o, const char *user) {
    int64_t now_at = clock_wall_at();
    struct file_row row = {.id = id,
                           .user_id = user,
                           .filename = o->filename && *o->filename ? o->filename : id,
                           .purpose = o->purpose,
                           .created_at = now_at,
                           .expires_at = o->expires_after_ms ? now_at + o->expires_after_ms : 0};
    struct err ignored;
    bool is_ours;
    int result = depot_make(handle_files(g), &g->err);
    if (!result)
        result = depot_own(handle_files(g), g->config->database, true, &is_ours, &g->err);
    if (!result)
        result = depot_keep(handle_files(g), id, fd, &row.bytes, &g->err);
    if (result)
        return result;
    result = queue_file_add(g->db, &row, &g->err);
    if (result && depot_remove(handle_files(g), id, &ignored) != 0)
        log_debug("%s", ignored.message);
    return result;
}

int genrun_file_add(genrun *g, genrun_row **out, int fd, const genrun_file_options *options) {
    const char *user = options->user;
    char id[OPENAI_ID_SIZE];
    *out = NULL;
    g->create = true;
    openai_id_make(PREFIX, id);
    int result = check_options(g, options);
    if (!result)
        result = handle_user(g, &user);
    if (!result)
        result = handle_scoped_database(g);
    int own = result ? -1 : dup(fd);
    if (!result && own < 0)
        result = err_set(&g->err, ERR_INVALID, "descriptor %d cannot be used (%s): open the file again", fd,
                         strerror(errno));
    if (!result)
        result = add(g, &own, id, options, user);
    if (own >= 0)
        close(own);
    if (!result)
        result = queue_file_get(g->db, user, id, (struct row **)out, &g->err);
    return handle_result(g, result);
}

// ---- result files ----

static ssize_t count_bytes(void *payload, const char *bytes, size_t size) {
    (void)bytes;
    *(int64_t *)payload += (int64_t)size;
    return (ssize_t)size;
}

static int write_results(genrun *g, const struct row *row, FILE *out) {
    genrun_results_options options = GENRUN_RESULTS_OPTIONS_INIT;
    options.format = "openai";
    options.errors = row_integer(row, "_errors", 0) != 0;
    return genrun_batch_results(g, NULL, row_text(row, "_batch_job_id"), out, &options);
}

// Counts the bytes of a result file whose size is not known. That of an ended batch job is kept.
static int size_of(genrun *g, const struct row *row, int64_t *bytes) {
    const cookie_io_functions_t functions = {.write = count_bytes};
    struct err ignored;
    *bytes = 0;
    FILE *out = fopencookie(bytes, "w", functions);
    if (!out)
        return err_set(&g->err, ERR_DATABASE, "the results cannot be counted: %s", strerror(errno));
    int result = write_results(g, row, out);
    fclose(out);
    if (!result && row_integer(row, "_ended", 0) &&
        queue_file_size(g->db, row_text(row, "_batch_id"), row_integer(row, "_errors", 0) != 0, *bytes,
                        row_integer(row, "_activity", 0), &ignored) != 0)
        log_debug("the size of a result file is not kept: %s", ignored.message);
    return result;
}

// A row as callers get it: with its size, and without what is of use here only.
static int finish_row(genrun *g, struct row *from, struct row **out) {
    int64_t bytes = row_integer(from, "bytes", -1);
    int result = bytes < 0 ? size_of(g, from, &bytes) : 0;
    struct row *row = row_new();
    row_add_text(row, "id", row_text(from, "id"));
    row_add_text(row, "filename", row_text(from, "filename"));
    row_add_text(row, "purpose", row_text(from, "purpose"));
    row_add_integer(row, "bytes", bytes);
    row_add_integer(row, "created_at", row_integer(from, "created_at", 0));
    if (row_text(from, "expires_at"))
        row_add_integer(row, "expires_at", row_integer(from, "expires_at", 0));
    else
        row_add_text(row, "expires_at", NULL);
    *out = row;
    if (result) {
        row_free(row);
        *out = NULL;
    }
    return result;
}

static int open_results(genrun *g, const struct row *row, int *fd) {
    int result = depot_make(handle_files(g), &g->err);
    if (!result)
        result = depot_temporary(handle_files(g), fd, &g->err);
    int own = result ? -1 : dup(*fd);
    FILE *out = own < 0 ? NULL : fdopen(own, "w");
    if (!result && !out)
        result = err_set(&g->err, ERR_DATABASE, "the results cannot be written: %s", strerror(errno));
    if (!out && own >= 0)
        close(own);
    if (!result)
        result = write_results(g, row, out);
    if (out && fclose(out) != 0 && !result)
        result = err_set(&g->err, ERR_DATABASE, "the results cannot be written: %s", strerror(errno));
    if (!result && lseek(*fd, 0, SEEK_SET) != 0)
        result = err_set(&g->err, ERR_DATABASE, "the results cannot be read: %s", strerror(errno));
    return result;
}

// ---- the public functions ----

static int get(genrun *g, const char *id, struct row **out) {
    int result = handle_scoped_database(g);
    *out = NULL;
    return result ? result : queue_file_get(g->db, g->scope, id, out, &g->err);
}

int genrun_file_get(genrun *g, genrun_row **out, const char *id) {
    struct row *row = NULL;
    *out = NULL;
    int result = get(g, id, &row);
    if (!result)
        result = finish_row(g, row, (struct row **)out);
    row_free(row);
    return handle_result(g, result);
}

struct list {
    struct row **rows;
    size_t count;
};

static int keep(void *payload, struct row *row) {
    struct list *list = payload;
    list->rows = mem_resize(list->rows, list->count + 1, sizeof *list->rows);
    list->rows[list->count++] = row;
    return 0;
}

int genrun_file_list(genrun *g, const genrun_file_filter *filter, int *more, genrun_each each,
                     void *payload) {
    const genrun_file_filter none = GENRUN_FILE_FILTER_INIT;
    struct each e = {each, payload};
    struct list list = {0};
    struct row *row = NULL;
    bool further = false, ended = false;
    if (!filter)
        filter = &none;
    struct file_filter f = {.user_id = g->scope,
                            .purpose = filter->purpose,
                            .after = filter->after,
                            .limit = filter->limit > 0 ? filter->limit : LIST_MOST,
                            .ascending = filter->ascending != 0};
    int result = handle_scoped_database(g);
    if (!result && filter->after && !text_starts_with(filter->after, PREFIX))
        result = err_in(&g->err, ERR_INVALID, "after",
                        "%s is not the id of a file: use the last one of the page before", filter->after);
    if (!result && f.limit > LIST_MOST)
        result = err_in(&g->err, ERR_INVALID, "limit", "limit %lld is too large: use 1 to %d",
                        (long long)f.limit, LIST_MOST);
    if (!result)
        result = queue_file_list(g->db, &f, keep, &list, &further, &g->err);
    for (size_t i = 0; i < list.count; i++) {
        if (!result && !ended && !(result = finish_row(g, list.rows[i], &row)))
            ended = handle_each_row(&e, row) != 0;
        row_free(list.rows[i]);
    }
    free(list.rows);
    *more = further;
    return handle_result(g, result);
}

int genrun_file_open(genrun *g, int *fd, const char *id) {
    struct row *row = NULL;
    *fd = -1;
    int result = get(g, id, &row);
    if (!result)
        result = row_text(row, "_batch_id") ? open_results(g, row, fd)
                                            : depot_open(handle_files(g), id, fd, &g->err);
    row_free(row);
    if (result && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return handle_result(g, result);
}

int genrun_file_delete(genrun *g, const char *id) {
    struct err ignored;
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_file_delete(g->db, g->scope, id, &g->err);
    // Without its row it is gone; what is left on the disk is swept away some time.
    if (!result && depot_remove(handle_files(g), id, &ignored) != 0)
        log_warn("%s", ignored.message);
    return handle_result(g, result);
}

static int is_known(void *payload, const char *name, struct err *e) {
    bool exists = false;
    return queue_file_exists(payload, name, &exists, e) ? -1 : exists;
}

int genrun_file_sweep(genrun *g, int64_t *removed) {
    bool is_ours = false;
    *removed = 0;
    int result = handle_database(g);
    if (!result)
        result = depot_own(handle_files(g), g->config->database, false, &is_ours, &g->err);
    if (!result && is_ours)
        result = depot_sweep(handle_files(g), PREFIX, is_known, g->db, removed, &g->err);
    return handle_result(g, result);
}
