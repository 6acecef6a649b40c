// SPDX-License-Identifier: MIT
// Batch jobs of the public API: built from code or from a file, listed, steered,
// and their results.
#include "base/mem.h"
#include "batch/export.h"
#include "lib/handle.h"
#include "lib/reading.h"
#include "lib/template.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct genrun_batch {
    genrun *g;
    struct batch_writer *writer; // NULL: the client_id was known
    char id[ID_SIZE];
    char *model;
    char *user;
    struct template_set templates;
    char *template_name; // of the batch
};

// "N" or "N%".
static int parse_failures(genrun *g, const char *text, struct batch_spec *out) {
    char *end;
    out->max_failures = -1;
    out->max_failure_share = -1;
    if (!text)
        return 0;
    errno = 0;
    long value = strtol(text, &end, 10);
    bool percent = end != text && strcmp(end, "%") == 0;
    if (end == text || errno || value < 0 || (*end && !percent) || (percent && value > 100) ||
        value > INT32_MAX)
        return err_in(&g->err, ERR_INVALID, "maxFailures",
                      "%s is not a number of failures: use a number such as 10, or a share such as 5%%",
                      text);
    if (percent)
        out->max_failure_share = (double)value / 100.0;
    else
        out->max_failures = value;
    return 0;
}

static int make_spec(genrun *g, const genrun_batch_options *o, struct batch_spec *out) {
    const struct model *model;
    const char *model_id = NULL;
    *out = (struct batch_spec){.name = o->name,
                               .user_id = o->user,
                               .client_id = o->client_id,
                               .priority = o->priority,
                               .concurrency = o->concurrency,
                               .stop_on_error = o->stop_on_error != 0,
                               .max_cost = o->max_cost,
                               .paused = o->paused != 0};
    if (o->concurrency < 0)
        return err_in(&g->err, ERR_INVALID, "concurrency", "concurrency %d is negative: use 1 or more",
                      o->concurrency);
    if (o->priority < -SPEC_PRIORITY_LIMIT || o->priority > SPEC_PRIORITY_LIMIT)
        return err_in(&g->err, ERR_INVALID, "priority", "priority %d is out of range: use -1000 to 1000",
                      o->priority);
    if (o->max_cost < 0)
        return err_in(&g->err, ERR_INVALID, "maxCost",
                      "a budget cannot be negative: give 0 (no limit) or more USD");
    if (o->model) {
        int result = config_model(g->config, o->model, &model_id, &model, &g->err);
        if (result)
            return result;
    }
    out->model_id = model_id;
    int result = handle_user(g, &out->user_id);
    return result ? result : parse_failures(g, o->max_failures, out);
}

static void batch_free(genrun_batch *b) {
    free(b->model);
    free(b->user);
    free(b->template_name);
    template_set_free(&b->templates);
    free(b);
}

int genrun_batch_begin(genrun *g, genrun_batch **out, const genrun_batch_options *options) {
    const genrun_batch_options none = GENRUN_BATCH_OPTIONS_INIT;
    struct batch_spec spec;
    struct batch_writer *writer = NULL;
    char id[ID_SIZE];
    bool known = false;
    *out = NULL;
    g->create = true;
    if (!options)
        options = &none;
    int result = make_spec(g, options, &spec);
    if (!result)
        result = handle_scoped_database(g);
    if (!result)
        result = batch_writer_begin(&writer, g->db, &spec, id, &known, &g->err);
    if (result)
        return handle_result(g, result);
    genrun_batch *b = mem_alloc(1, sizeof *b);
    b->template_name = mem_copy(options->template_id);
    result = template_set_load(&b->templates, g, b->template_name);
    if (result) {
        batch_writer_abandon(writer);
        batch_free(b);
        return handle_result(g, result);
    }
    b->g = g;
    b->writer = writer;
    b->model = mem_copy(options->model);
    b->user = mem_copy(spec.user_id);
    memcpy(b->id, id, ID_SIZE);
    *out = b;
    return 0;
}

int genrun_batch_add(genrun_batch *batch, const genrun_spec *spec) {
    struct spec s;
    genrun *g = batch->g;
    if (!batch->writer)
        return 0; // known already: the first one stands
    int result = handle_spec(g, spec, batch->model, &s);
    if (!result && s.client_id)
        result =
            err_set(&g->err, ERR_INVALID, "an item of a batch job has no client id: give the batch job one");
    // A batch job of a user is that user's as a whole.
    if (!result && s.user_id && batch->user && strcmp(s.user_id, batch->user) != 0)
        result = err_set(&g->err, ERR_INVALID,
                         "the item is of user %s, its batch job of user %s: leave the item's out", s.user_id,
                         batch->user);
    if (!result) {
        s.user_id = s.user_id ? s.user_id : batch->user;
        if (template_set_is_meant(&batch->templates, &s))
            result = template_set_apply(&batch->templates, &s, &g->err);
    }
    if (!result) {
        result = batch_writer_add(batch->writer, &s, &g->err);
    }
    return handle_result(g, result);
}

int genrun_batch_open(genrun_batch *batch, char id[GENRUN_ID_SIZE]) {
    genrun *g = batch->g;
    int result = batch->writer ? batch_writer_open(batch->writer, NULL, &g->err) : 0;
    memcpy(id, batch->id, ID_SIZE);
    batch_free(batch);
    return handle_result(g, result);
}

void genrun_batch_abandon(genrun_batch *batch) {
    if (!batch)
        return;
    batch_writer_abandon(batch->writer);
    batch_free(batch);
}

// ---- from a file ----

struct submission {
    genrun *g;
    struct batch_writer *writer; // NULL: the key is known, and the lines are compared with those of known_id
    const char *known_id;
    const genrun_batch_options *options;
    const char *user;
    int64_t lines;
    // The model of the last line: most files name one.
    char asked[256];
    const char *model_id;
};

static int resolve_model(struct submission *s, const char *name, const char **model_id, struct err *e) {
    const struct model *model;
    if (!name)
        name = s->options->model;
    if (name && s->model_id && strcmp(name, s->asked) == 0) {
        *model_id = s->asked;
        return 0;
    }
    int result = config_model(s->g->config, name, model_id, &model, e);
    if (!result && name && strlen(name) < sizeof s->asked) {
        memcpy(s->asked, name, strlen(name) + 1);
        s->model_id = s->asked;
    }
    return result;
}

static int compare_line(struct submission *s, const struct spec *item, struct err *e) {
    bool same = true;
    int result = batch_compare(s->g->db, s->known_id, item ? s->lines - 1 : s->lines, item, &same, e);
    if (!result && !same)
        result = err_in(
            e, ERR_CONFLICT, "clientId",
            "key %s was used for batch job %s with other prompts, models or parameters: use another key",
            s->options->client_id, s->known_id);
    return result;
}

static int add_line(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    struct submission *s = payload;
    struct spec item = *spec;
    (void)line;
    int result = resolve_model(s, spec->model_id, &item.model_id, e);
    if (result)
        return result;
    item.user_id = s->user;
    s->lines++;
    return s->writer ? batch_writer_add(s->writer, &item, e) : compare_line(s, &item, e);
}

int handle_submit(genrun *g, const char *job, char id[GENRUN_ID_SIZE], int *created, FILE *stream,
                  const char *name, const genrun_batch_options *options, genrun_progress progress,
                  void *payload) {
    const genrun_batch_options none = GENRUN_BATCH_OPTIONS_INIT;
    struct submission s = {.g = g, .options = options ? options : &none};
    struct reading reading = {.g = g,
                              .stream = stream,
                              .name = name,
                              .progress = progress,
                              .payload = payload,
                              .each = add_line,
                              .each_payload = &s};
    struct batch_spec spec;
    const char *format = NULL;
    bool known = false;
    g->create = true;
    int result = make_spec(g, s.options, &spec);
    if (!result)
        result = handle_scoped_database(g);
    if (!result && !spec.name)
        spec.name = name;
    spec.id = job;
    if (!result)
        result = batch_writer_begin(&s.writer, g->db, &spec, id, &known, &g->err);
    if (created)
        *created = !result && !known;
    if (result)
        return handle_result(g, result);
    s.known_id = id;
    s.user = spec.user_id;
    result = reading_run(&reading, s.options, &format);
    if (result) {
        batch_writer_abandon(s.writer);
        return handle_result(g, result);
    }
    return handle_result(g, known ? compare_line(&s, NULL, &g->err)
                                  : batch_writer_open(s.writer, format, &g->err));
}

int genrun_batch_submit(genrun *g, char id[GENRUN_ID_SIZE], int *created, FILE *stream, const char *name,
                        const genrun_batch_options *options, genrun_progress progress, void *payload) {
    return handle_submit(g, NULL, id, created, stream, name, options, progress, payload);
}

// ---- looking and steering ----

int genrun_batch_get(genrun *g, genrun_row **out, const char *id) {
    int64_t seq;
    *out = NULL;
    int result = handle_batch(g, id, &seq);
    if (!result)
        result = queue_batch_get(g->db, seq, (struct row **)out, &g->err);
    return handle_result(g, result);
}

int genrun_batch_list(genrun *g, const genrun_filter *filter, genrun_each each, void *payload) {
    return handle_list(g, filter, queue_batch_list, each, payload);
}

int genrun_batch_items(genrun *g, const char *id, const genrun_filter *filter, genrun_each each,
                       void *payload) {
    struct each e = {each, payload};
    struct filter f;
    int64_t next = 0, seq = 0;
    int result = handle_filter(g, filter, &f);
    if (!result)
        result = handle_batch(g, id, &seq);
    f.batch_seq = seq;
    if (!result)
        result = queue_batch_items(g->db, &f, handle_each_row, &e, &next, &g->err);
    handle_cursor(g, next);
    return handle_result(g, result);
}

int genrun_batch_pause(genrun *g, const char *id, const char *reason) {
    int64_t seq;
    int result = handle_batch(g, id, &seq);
    if (!result)
        result = queue_batch_pause(g->db, seq, reason, &g->err);
    return handle_result(g, result);
}

int genrun_batch_resume(genrun *g, const char *id) {
    int64_t seq;
    int result = handle_batch(g, id, &seq);
    if (!result)
        result = queue_batch_resume(g->db, seq, &g->err);
    return handle_result(g, result);
}

int genrun_batch_cancel(genrun *g, const char *id, const char *reason) {
    int64_t seq;
    int result = handle_batch(g, id, &seq);
    if (!result)
        result = queue_batch_cancel(g->db, seq, reason, &g->err);
    return handle_result(g, result);
}

int genrun_batch_retry(genrun *g, int64_t *changed, const char *id, int dry_run) {
    int64_t seq;
    *changed = 0;
    int result = handle_batch(g, id, &seq);
    if (!result)
        result = queue_batch_retry(g->db, seq, dry_run != 0, changed, &g->err);
    return handle_result(g, result);
}

// ---- results ----

struct results_writer {
    genrun *g;
    FILE *out;
    enum export_format format;
    struct buf line;
    int64_t written;
};

static int write_line(struct results_writer *w, struct err *e) {
    size_t length = w->line.length;
    bool whole = fwrite(buf_borrow(&w->line), 1, length, w->out) == length;
    buf_clear(&w->line);
    return whole ? 0 : err_set(e, ERR_WORK, "the results cannot be written: %s", strerror(errno));
}

static int write_result(void *payload, const struct result *result, struct err *e) {
    struct results_writer *w = payload;
    if (w->g->stop) {
        w->g->stop = 0;
        return err_set(e, ERR_CONFLICT, "interrupted after %lld results", (long long)w->written);
    }
    export_line(&w->line, w->format, result);
    int code = write_line(w, e);
    if (!code)
        w->written++;
    return code;
}

static int choose_format(genrun *g, int64_t seq, const char *format, enum export_format *out) {
    struct row *row = NULL;
    *out = EXPORT_JSONL;
    if (format && !export_format_parse(format, out))
        return err_in(&g->err, ERR_INVALID, "format", "format %s is not known: use openai, jsonl or csv",
                      format);
    if (format)
        return 0;
    int result = queue_batch_get(g->db, seq, &row, &g->err);
    const char *came_as = result ? NULL : row_text(row, "format");
    if (came_as && !export_format_parse(came_as, out))
        *out = EXPORT_JSONL; // lines of text have no columns to tell a failure in
    row_free(row);
    return result;
}

int genrun_batch_results(genrun *g, int64_t *written, const char *id, FILE *out,
                         const genrun_results_options *options) {
    const genrun_results_options none = GENRUN_RESULTS_OPTIONS_INIT;
    struct results_writer w = {.g = g, .out = out};
    int64_t seq;
    if (!options)
        options = &none;
    buf_init(&w.line, BUF_UNLIMITED);
    int result = handle_batch(g, id, &seq);
    if (!result)
        result = choose_format(g, seq, options->format, &w.format);
    if (!result) {
        export_head(&w.line, w.format);
        result = write_line(&w, &g->err);
    }
    if (!result)
        result =
            queue_results(g->db, seq, options->errors != 0, options->by_end != 0, write_result, &w, &g->err);
    if (!result && fflush(out) != 0)
        result = err_set(&g->err, ERR_WORK, "the results cannot be written: %s", strerror(errno));
    if (written)
        *written = w.written;
    buf_free(&w.line);
    return handle_result(g, result);
}
