// SPDX-License-Identifier: MIT
// The handle, rows, single generations and looking: most of the body of genrun.h.
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/handle.h"
#include "lib/template.h"
#include "provider/classify.h"
#include "queue/upkeep.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_WAIT_MS 100 // for the writer's lock, to write down that a runner is gone

int handle_result(genrun *g, int result) {
    if (result && g->err.code != (enum err_code)result)
        g->err.code = (enum err_code)result;
    return result;
}

int genrun_open(genrun **out, const genrun_options *options) {
    const genrun_options none = GENRUN_OPTIONS_INIT;
    genrun *g = mem_alloc(1, sizeof *g);
    if (!options)
        options = &none;
    *out = g;
    buf_init(&g->notes, BUF_UNLIMITED);
    g->create = options->create;
    int result = config_load(&g->config, options->config, options->database, &g->err);
    // The database is opened on first use: what is refused before that makes none.
    return handle_result(g, result);
}

void genrun_close(genrun *g) {
    if (!g)
        return;
    runner_close(g->runner, "stopped");
    wake_close(g->wake);
    handle_watch_none(g);
    loop_close(g->loop);
    db_close(g->db);
    if (!g->borrowed)
        config_free(g->config);
    row_free(g->stats);
    buf_free(&g->notes);
    free(g->scope);
    free(g);
}

int handle_outside(genrun *g, const char *message) {
    return g->db && db_is_begun(g->db) ? err_set(&g->err, ERR_CONFLICT, "%s", message) : 0;
}

const char *genrun_message(const genrun *g) {
    return g->err.message;
}

const char *genrun_notes(const genrun *g) {
    return buf_borrow(&g->notes);
}

// ---- rows ----

const char *genrun_row_text(const genrun_row *row, const char *column) {
    return row_text((const struct row *)row, column);
}

const void *genrun_row_bytes(const genrun_row *row, const char *column, size_t *length) {
    return row_bytes((const struct row *)row, column, length);
}

int64_t genrun_row_integer(const genrun_row *row, const char *column, int64_t fallback) {
    return row_integer((const struct row *)row, column, fallback);
}

double genrun_row_number(const genrun_row *row, const char *column, double fallback) {
    return row_number((const struct row *)row, column, fallback);
}

const char *genrun_row_json(genrun_row *row) {
    return row_json((struct row *)row);
}

void genrun_row_free(genrun_row *row) {
    row_free((struct row *)row);
}

int handle_each_row(void *payload, struct row *row) {
    const struct each *each = payload;
    int end = each->call ? each->call(each->payload, (genrun_row *)row) : 0;
    row_free(row);
    return end;
}

// ---- input ----

int handle_text(genrun *g, const char *what, const char *text) {
    if (text && !text_is_utf8(text, strlen(text)))
        return err_set(&g->err, ERR_INVALID, "%s is not valid UTF-8: convert it", what);
    return 0;
}

static int check_texts(genrun *g, const genrun_spec *in) {
    const char *const texts[][2] = {{"the prompt", in->prompt}, {"the model", in->model},
                                    {"the user", in->user},     {"the session", in->session},
                                    {"the key", in->client_id}, {"custom_id", in->custom_id},
                                    {"the topic", in->topic},   {"the tier", in->tier},
                                    {"the type", in->type},     {"template_id", in->template_id}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int result = handle_text(g, texts[i][0], texts[i][1]);
        if (result)
            return result;
    }
    return 0;
}

static int check_parameters(genrun *g, const char *parameters) {
    cJSON *tree = NULL;
    struct err e;
    if (!parameters || strcmp(parameters, "{}") == 0)
        return 0;
    int result = json_parse_object(parameters, strlen(parameters), &tree, &e);
    cJSON_Delete(tree);
    return result ? err_in(&g->err, ERR_INVALID, "parameters", "the parameters are not usable: %s", e.message)
                  : 0;
}

int handle_spec(genrun *g, const genrun_spec *in, const char *batch_model, struct spec *out) {
    const struct model *model;
    const char *model_id;
    int result = g->config ? check_texts(g, in) : err_set(&g->err, ERR_CONFIG, HANDLE_NOT_OPEN);
    if (!result)
        result = check_parameters(g, in->parameters);
    if (!result)
        result = config_model(g->config, in->model ? in->model : batch_model, &model_id, &model, &g->err);
    if (result)
        return result;
    if (!in->prompt && !in->parameters && !in->template_id && !in->type && !in->tier)
        return err_in(&g->err, ERR_INVALID, "prompt",
                      "there is neither a prompt nor a request body: give a prompt");
    if (in->priority < -SPEC_PRIORITY_LIMIT || in->priority > SPEC_PRIORITY_LIMIT)
        return err_in(&g->err, ERR_INVALID, "priority", "priority %d is out of range: use -1000 to 1000",
                      in->priority);
    if (in->delay_ms < 0)
        return err_in(&g->err, ERR_INVALID, "delay",
                      "a delay cannot be negative: give 0 or more milliseconds");
    if (in->endpoint && in->endpoint[0] != '/')
        return err_in(&g->err, ERR_INVALID, "endpoint",
                      "endpoint %s must begin with /: write it as in /v1/embeddings", in->endpoint);
    *out = (struct spec){.prompt = in->prompt,
                         .model_id = model_id,
                         .parameters = in->parameters,
                         .endpoint = in->endpoint,
                         .user_id = in->user,
                         .session_id = in->session,
                         .client_id = in->client_id,
                         .custom_id = in->custom_id,
                         .topic = in->topic,
                         .tier = in->tier,
                         .type = in->type,
                         .template_id = in->template_id,
                         .priority = in->priority,
                         .run_after_at = in->delay_ms > 0 ? clock_wall_at() + in->delay_ms : 0};
    return 0;
}

// The names under which a failed or cancelled generation shows its end are genrun's, not request parameters.
static char *without_end_names(const char *parameters) {
    static const char *const names[] = {"error", "errorContext", "cancelledAt", "cancelledReason", NULL};
    struct buf out;
    if (!parameters || (!strstr(parameters, "rror") && !strstr(parameters, "ancelled")))
        return NULL;
    buf_init(&out, BUF_UNLIMITED);
    json_object_edit(&out, parameters, names, NULL);
    return buf_take(&out);
}

int genrun_submit(genrun *g, char id[GENRUN_ID_SIZE], int *created, const genrun_spec *spec) {
    struct spec s;
    struct template_set templates = {0};
    bool made = false;
    char *parameters = NULL;
    g->create = true;
    int result = handle_spec(g, spec, NULL, &s);
    if (!result)
        result = handle_user(g, &s.user_id);
    if (!result)
        result = handle_scoped_database(g);
    if (!result && template_set_is_meant(&templates, &s)) {
        result = template_set_load(&templates, g, NULL);
        if (!result)
            result = template_set_apply(&templates, &s, &g->err);
    }
    if (!result) {
        parameters = without_end_names(s.parameters);
        if (parameters)
            s.parameters = parameters;
        result = queue_submit(g->db, &s, id, &made, &g->err);
    }
    if (created)
        *created = made;
    free(parameters);
    template_set_free(&templates);
    return handle_result(g, result);
}

// ---- looking ----

static int add_wait(genrun *g, int64_t seq, bool runner_is_up, struct row *row) {
    char *reason = NULL;
    int result =
        queue_waits_for(g->db, seq, g->config->scheduler.account_concurrency, runner_is_up, &reason, &g->err);
    if (!result)
        row_add_text(row, "waits_for", reason);
    free(reason);
    return result;
}

int genrun_get(genrun *g, genrun_row **out, const char *id) {
    int64_t seq;
    *out = NULL;
    int result = handle_generation(g, id, &seq);
    bool runner_is_up = !result && handle_runner_is_up(g);
    if (!result)
        result = queue_get(g->db, seq, (struct row **)out, &g->err);
    if (!result)
        result = add_wait(g, seq, runner_is_up, (struct row *)*out);
    if (result) {
        row_free((struct row *)*out);
        *out = NULL;
    }
    return handle_result(g, result);
}

static int check_error_type(genrun *g, const char *type) {
    const char *nearest = NULL;
    if (!type || classify_knows(type, &nearest))
        return 0;
    return nearest ? err_in(&g->err, ERR_INVALID, "type", "unknown error type '%s': did you mean '%s'?", type,
                            nearest)
                   : err_in(&g->err, ERR_INVALID, "type",
                            "unknown error type '%s': 'genrun failures --by type --since 3650d' lists those "
                            "that occur",
                            type);
}

int handle_filter(genrun *g, const genrun_filter *in, struct filter *out) {
    int result = handle_scoped_database(g);
    *out = (struct filter){.user_id = g->scope, .own = g->scope != NULL};
    if (result || !in)
        return result;
    if (in->limit < 0)
        return err_in(&g->err, ERR_INVALID, "limit", "limit %d is negative: use a positive number",
                      in->limit);
    if ((result = handle_text(g, "the user", in->user)) ||
        (result = handle_text(g, "the session", in->session)) ||
        (result = handle_text(g, "the model", in->model)) || (result = check_error_type(g, in->error_type)))
        return result;
    if (in->status && strcmp(in->status, "stuck") == 0)
        (void)handle_runner_is_up(g);
    *out = (struct filter){.status = in->status,
                           .user_id = in->user,
                           .own = g->scope != NULL,
                           .session_id = in->session,
                           .model_id = in->model,
                           .error_type = in->error_type,
                           .since = in->since,
                           .until = in->until,
                           .limit = in->limit};
    if ((result = handle_user(g, &out->user_id)) || (result = handle_parse_cursor(g, in->after, &out->after)))
        return result;
    if (in->batch && (result = handle_batch(g, in->batch, &out->batch_seq)))
        err_field(&g->err, "batchId");
    return result;
}

int handle_list(genrun *g, const genrun_filter *filter, handle_lister lister, genrun_each each,
                void *payload) {
    struct each e = {each, payload};
    struct filter f;
    int64_t next = 0;
    int result = handle_filter(g, filter, &f);
    if (!result && f.limit == 0)
        f.limit = HANDLE_LIST_ROWS;
    if (!result)
        result = lister(g->db, &f, handle_each_row, &e, &next, &g->err);
    handle_cursor(g, next);
    return handle_result(g, result);
}

int genrun_list(genrun *g, const genrun_filter *filter, genrun_each each, void *payload) {
    return handle_list(g, filter, queue_list, each, payload);
}

int genrun_outputs(genrun *g, const char *id, genrun_each each, void *payload) {
    struct each e = {each, payload};
    int64_t seq;
    int result = handle_generation(g, id, &seq);
    if (!result)
        result = queue_outputs(g->db, seq, handle_each_row, &e, &g->err);
    return handle_result(g, result);
}

int genrun_output(genrun *g, genrun_row **out, const char *id, int index) {
    int64_t seq;
    *out = NULL;
    int result = handle_generation(g, id, &seq);
    if (!result)
        result = queue_output(g->db, seq, index, (struct row **)out, &g->err);
    return handle_result(g, result);
}

struct output_writer {
    FILE *out;
    int64_t count;
    bool failed;
};

static int write_content(void *payload, struct row *row) {
    struct output_writer *w = payload;
    size_t length;
    const void *content = row_bytes(row, "content", &length);
    w->count++;
    if (length > 0 && fwrite(content, 1, length, w->out) != length)
        w->failed = true;
    row_free(row);
    return w->failed;
}

static int no_output(genrun *g, int64_t seq, const char *id) {
    bool ended;
    char status[16];
    int result = queue_ended(g->db, false, seq, &ended, status, &g->err);
    if (result)
        return result;
    return err_set(&g->err, ERR_NOT_FOUND,
                   "generation %s is %s and has no output%s: 'genrun show %s' tells more", id, status,
                   ended ? "" : " yet", id);
}

int genrun_write_output(genrun *g, const char *id, FILE *out) {
    struct output_writer w = {.out = out};
    int64_t seq;
    int result = handle_generation(g, id, &seq);
    if (!result)
        result = queue_outputs(g->db, seq, write_content, &w, &g->err);
    if (!result && (w.failed || fflush(out) != 0))
        result = err_set(&g->err, ERR_WORK, "the output cannot be written: %s", strerror(errno));
    if (!result && w.count == 0)
        result = no_output(g, seq, id);
    return handle_result(g, result);
}

// ---- events, stats, models ----

#define PAGE_EVENTS 100

bool handle_runner_is_up(genrun *g) {
    struct err e;
    if (db_is_owner(g->db) || db_is_served(g->db))
        return true;
    if (db_own(g->db, &e) != 0)
        return true;
    // Should this fail, what it held is stuck a little later, for want of a heartbeat.
    if (queue_runner_note_gone(g->db, NOTE_WAIT_MS, &e) != 0)
        log_debug("the end of a dead runner could not be written down: %s", e.message);
    db_disown(g->db);
    return false;
}

int genrun_events(genrun *g, const genrun_event_filter *filter, genrun_each each, void *payload) {
    struct each e = {each, payload};
    struct event_filter f = {.level = filter->level,
                             .event = filter->event,
                             .since = filter->since,
                             .after = filter->after,
                             .limit = filter->page && filter->limit <= 0 ? PAGE_EVENTS : filter->limit,
                             .user_id = filter->user,
                             .whole = filter->whole != 0};
    int64_t seq = 0;
    bool is_batch = false;
    int result = handle_user(g, &f.user_id);
    if (!result)
        result = handle_scoped_database(g);
    if (!result && filter->id)
        result = handle_any(g, filter->id, &seq, &is_batch);
    *(is_batch ? &f.batch_seq : &f.generation_seq) = seq;
    if (!result && filter->generation)
        result = handle_generation(g, filter->generation, &f.generation_seq);
    if (!result && filter->batch)
        result = handle_batch(g, filter->batch, &f.batch_seq);
    if (!result && filter->page && filter->before > 0)
        result = queue_event_page_back(g->db, &f, filter->before, &g->looked, handle_each_row, &e, &g->err);
    else if (!result && filter->page)
        result = queue_event_page(g->db, &f, &g->looked, handle_each_row, &e, &g->err);
    else if (!result)
        result = queue_events(g->db, &f, handle_each_row, &e, &g->err);
    return handle_result(g, result);
}

int64_t genrun_event_cursor(const genrun *g) {
    return g->looked;
}

int genrun_event_range(genrun *g, int64_t *oldest, int64_t *newest) {
    *oldest = *newest = 0;
    int result = handle_scoped_database(g);
    return handle_result(g, result ? result : queue_event_range(g->db, oldest, newest, &g->err));
}

int genrun_stats(genrun *g, genrun_row **out) {
    *out = NULL;
    int result = handle_database(g);
    if (!result)
        result = queue_stats(g->db, handle_runner_is_up(g), (struct row **)out, &g->err);
    return handle_result(g, result);
}

int genrun_left(genrun *g, genrun_each each, void *payload) {
    struct each e = {each, payload};
    int result = handle_database(g);
    if (!result)
        result = queue_left(g->db, handle_each_row, &e, &g->err);
    return handle_result(g, result);
}

struct model_names {
    genrun *g;
    struct each each;
    const char **seen; // names of the queue's models
    size_t count;
    bool ended;
};

static void add_time(struct row *row, struct row *from, const char *name) {
    if (from && row_text(from, name))
        row_add_integer(row, name, row_integer(from, name, 0));
    else
        row_add_text(row, name, NULL);
}

// A row of the queue, with the provider that the configuration gives it.
static int give_model(struct model_names *m, struct row *from, const char *name, const struct model *model) {
    struct row *row = row_new();
    row_add_text(row, "name", name);
    row_add_text(row, "provider", model ? model->provider : NULL);
    row_add_text(row, "state", from ? row_text(from, "state") : "ok");
    row_add_text(row, "reason", from ? row_text(from, "reason") : NULL);
    add_time(row, from, "since");
    add_time(row, from, "until");
    if (!m->g->scope) { // counts are of all users
        row_add_integer(row, "running", from ? row_integer(from, "running", 0) : 0);
        row_add_integer(row, "queued", from ? row_integer(from, "queued", 0) : 0);
    }
    return handle_each_row(&m->each, row);
}

static bool is_configured(const struct config *c, const char *name) {
    for (size_t i = 0; i < c->model_count; i++)
        if (strcmp(c->models[i].name, name) == 0)
            return true;
    return false;
}

static int queue_model(void *payload, struct row *row) {
    struct model_names *m = payload;
    const struct config *c = m->g->config;
    const char *name = row_text(row, "name");
    m->seen = mem_resize(m->seen, m->count + 1, sizeof *m->seen);
    m->seen[m->count++] = mem_copy(name);
    // What no section names, somebody has asked for by name: that is theirs to know.
    if (!m->g->scope || is_configured(m->g->config, name))
        m->ended = give_model(m, row, name, model_find(c->models, c->model_count, name)) != 0;
    row_free(row);
    return m->ended;
}

static bool was_seen(const struct model_names *m, const char *name) {
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->seen[i], name) == 0)
            return true;
    return false;
}

int genrun_models(genrun *g, genrun_each each, void *payload) {
    struct model_names m = {.g = g, .each = {each, payload}};
    int result = handle_scoped_database(g);
    // The configured models can be shown before there is a database.
    if (!result)
        result = queue_models(g->db, queue_model, &m, &g->err);
    else if (result == ERR_NOT_FOUND)
        result = 0;
    for (size_t i = 0; !result && !m.ended && i < g->config->model_count; i++)
        if (!was_seen(&m, g->config->models[i].name))
            m.ended = give_model(&m, NULL, g->config->models[i].name, &g->config->models[i]) != 0;
    for (size_t i = 0; i < m.count; i++)
        free((char *)m.seen[i]);
    free(m.seen);
    return handle_result(g, result);
}

int genrun_model_resume(genrun *g, const char *name) {
    int result = handle_whole(g);
    if (result)
        return result;
    result = handle_database(g);
    if (!result)
        result = queue_model_resume(g->db, name, &g->err);
    // One that is configured and was never used is open.
    for (size_t i = 0; result == ERR_NOT_FOUND && i < g->config->model_count; i++)
        if (strcmp(g->config->models[i].name, name) == 0)
            result = 0;
    return handle_result(g, result);
}
