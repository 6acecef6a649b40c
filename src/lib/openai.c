// SPDX-License-Identifier: MIT
// Batches of OpenAI's API: what a request for one may say, and its way from a file to
// a batch job.
#include "queue/openai.h"
#include "base/clock.h"
#include "base/depot.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "batch/validate.h"
#include "lib/handle.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR_MS (INT64_C(3600) * 1000)
#define WINDOW_LEAST_MS HOUR_MS
#define WINDOW_MOST_MS (7 * 24 * HOUR_MS)
#define AGAIN_MS 120000 // a client that sends its request again has done so within this
#define OUTPUT_LEAST_S 3600
#define OUTPUT_MOST_S 2592000
#define METADATA_PAIRS 16
#define METADATA_KEY 64 // characters
#define METADATA_VALUE 512
#define TEXT_MOST 256 // bytes of keys and ids from outside
#define LIST_DEFAULT 20
#define LIST_MOST 100
#define LOOK_MS 100 // between two looks whether a batch still waits for its file

// ---- the request ----

static int __attribute__((format(printf, 5, 6)))
refuse(genrun *g, genrun_refusal *out, const char *code, const char *param, const char *format, ...) {
    char message[sizeof g->err.message];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    if (out) {
        snprintf(out->code, sizeof out->code, "%s", code);
        snprintf(out->param, sizeof out->param, "%s", param);
    }
    return err_set(&g->err, ERR_INVALID, "%s", message);
}

static int check_endpoint(genrun *g, const char *endpoint, genrun_refusal *out) {
    struct buf list;
    int result = 0;
    buf_init(&list, 1024);
    for (size_t i = 0; validate_endpoint(i); i++) {
        if (strcmp(validate_endpoint(i), endpoint) == 0)
            goto out;
        buf_format(&list, "%s'%s'", i ? ", " : "", validate_endpoint(i));
    }
    result = refuse(g, out, "invalid_value", "endpoint", "Invalid value: '%.200s'. Supported values are: %s.",
                    endpoint, buf_borrow(&list));
out:
    buf_free(&list);
    return result;
}

static int check_window(genrun *g, const char *window, int64_t *ms, genrun_refusal *out) {
    struct err ignored;
    *ms = 0;
    if (strcmp(window, "none") == 0)
        return 0;
    if (clock_parse_duration(window, ms, &ignored) == 0 && *ms >= WINDOW_LEAST_MS && *ms <= WINDOW_MOST_MS)
        return 0;
    return refuse(g, out, "invalid_value", "completion_window",
                  "Invalid value: '%.200s'. Supported values are: '24h', any duration from '1h' to '7d', and "
                  "'none'.",
                  window);
}

static size_t characters(const char *text) {
    size_t count = 0;
    for (; *text; text++)
        count += (*text & 0xc0) != 0x80;
    return count;
}

static const char *kind_of(const cJSON *value) {
    if (cJSON_IsNumber(value))
        return value->valuedouble == (double)(int64_t)value->valuedouble ? "an integer" : "a decimal";
    if (cJSON_IsBool(value))
        return "a boolean";
    return cJSON_IsArray(value) ? "an array" : cJSON_IsObject(value) ? "an object" : "null";
}

static int check_pair(genrun *g, const cJSON *pair, genrun_refusal *out) {
    char param[sizeof out->param];
    size_t length = characters(pair->string);
    if (length > METADATA_KEY)
        return refuse(g, out, "property_name_above_max_length", "metadata",
                      "Invalid property name in 'metadata': property name too long. Expected a property name "
                      "with maximum length %d, but got a property name with length %zu instead.",
                      METADATA_KEY, length);
    snprintf(param, sizeof param, "metadata.%s", pair->string);
    if (!cJSON_IsString(pair))
        return refuse(g, out, "invalid_type", param,
                      "Invalid type for '%s': expected a string, but got %s instead.", param, kind_of(pair));
    length = characters(pair->valuestring);
    if (length > METADATA_VALUE)
        return refuse(g, out, "string_above_max_length", param,
                      "Invalid '%s': string too long. Expected a string with maximum length %d, but got a "
                      "string with length %zu instead.",
                      param, METADATA_VALUE, length);
    return 0;
}

static int check_metadata(genrun *g, const char *metadata, genrun_refusal *out) {
    struct err why;
    cJSON *object = NULL;
    if (!metadata)
        return 0;
    if (json_parse_object(metadata, strlen(metadata), &object, &why) != 0)
        return refuse(g, out, "invalid_type", "metadata",
                      "Invalid type for 'metadata': expected an object: %s.", why.message);
    int result = 0, count = cJSON_GetArraySize(object);
    if (count > METADATA_PAIRS)
        result = refuse(g, out, "object_above_max_properties", "metadata",
                        "Invalid 'metadata': too many properties. Expected an object with at most %d "
                        "properties, but got an object with %d properties instead.",
                        METADATA_PAIRS, count);
    const cJSON *pair = NULL;
    cJSON_ArrayForEach(pair, object) {
        if (!result)
            result = check_pair(g, pair, out);
    }
    cJSON_Delete(object);
    return result;
}

static int check_output(genrun *g, int64_t seconds, genrun_refusal *out) {
    bool below = seconds < OUTPUT_LEAST_S;
    if (seconds == 0 || (!below && seconds <= OUTPUT_MOST_S))
        return 0;
    return refuse(g, out, below ? "integer_below_min_value" : "integer_above_max_value",
                  "output_expires_after.seconds",
                  "Invalid 'output_expires_after.seconds': integer %s value. Expected a value %s %d, but got "
                  "%lld instead.",
                  below ? "below minimum" : "above maximum",
                  below ? ">=" : "<=", below ? OUTPUT_LEAST_S : OUTPUT_MOST_S, (long long)seconds);
}

// Texts that are kept as they came.
static int check_text(genrun *g, const char *name, const char *text, bool needed, genrun_refusal *out) {
    if (needed && (!text || !*text))
        return refuse(g, out, "missing_required_parameter", name, "Missing required parameter: '%s'.", name);
    if (text && strlen(text) > TEXT_MOST)
        return refuse(g, out, "string_above_max_length", name,
                      "Invalid '%s': string too long. Expected a string with maximum length %d.", name,
                      TEXT_MOST);
    if (text && !text_is_utf8(text, strlen(text)))
        return refuse(g, out, "invalid_value", name, "Invalid '%s': not valid UTF-8.", name);
    return 0;
}

static int check_request(genrun *g, const genrun_openai_options *o, int64_t *window_ms, genrun_refusal *out) {
    int result;
    if ((result = check_text(g, "input_file_id", o->input_file_id, true, out)) ||
        (result = check_text(g, "endpoint", o->endpoint, true, out)) ||
        (result = check_text(g, "completion_window", o->completion_window, true, out)) ||
        (result = check_text(g, "Idempotency-Key", o->idempotency_key, false, out)) ||
        (result = check_endpoint(g, o->endpoint, out)) ||
        (result = check_window(g, o->completion_window, window_ms, out)) ||
        (result = check_metadata(g, o->metadata, out)))
        return result;
    return check_output(g, o->output_expires_after, out);
}

int genrun_openai_create(genrun *g, genrun_row **out, int *created, const genrun_openai_options *o,
                         genrun_refusal *refusal) {
    struct openai_spec spec = {.user_id = o->user,
                               .asked_by = o->asked_by ? o->asked_by : "",
                               .input_file_id = o->input_file_id,
                               .endpoint = o->endpoint,
                               .completion_window = o->completion_window,
                               .metadata = o->metadata,
                               .output_expires_after = o->output_expires_after,
                               .idempotency_key = o->idempotency_key,
                               .again_within_ms = o->is_again ? AGAIN_MS : 0};
    char id[OPENAI_ID_SIZE];
    bool made = false;
    *out = NULL;
    if (refusal)
        *refusal = (genrun_refusal){.code = ""};
    g->create = true;
    int result = check_request(g, o, &spec.window_ms, refusal);
    if (!result)
        result = handle_user(g, &spec.user_id);
    if (!result)
        result = handle_scoped_database(g);
    if (!result)
        result = queue_openai_create(g->db, &spec, id, &made, &g->err);
    if (!result)
        result = queue_openai_get(g->db, spec.user_id, id, (struct row **)out, &g->err);
    if (created)
        *created = made;
    return handle_result(g, result);
}

// ---- looking and steering ----

int genrun_openai_get(genrun *g, genrun_row **out, const char *id) {
    *out = NULL;
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_openai_get(g->db, g->scope, id, (struct row **)out, &g->err);
    return handle_result(g, result);
}

int genrun_openai_list(genrun *g, const char *after, int limit, int *more, genrun_each each, void *payload) {
    struct each e = {each, payload};
    bool further = false;
    int result = handle_scoped_database(g);
    if (!result && after && !text_starts_with(after, "batch_"))
        result = err_in(&g->err, ERR_INVALID, "after",
                        "%s is not the id of a batch: use the last one of the page before", after);
    if (!result && (limit < 0 || limit > LIST_MOST))
        result =
            err_in(&g->err, ERR_INVALID, "limit", "limit %d is out of range: use 1 to %d", limit, LIST_MOST);
    if (!result)
        result = queue_openai_list(g->db, g->scope, after, limit ? limit : LIST_DEFAULT, handle_each_row, &e,
                                   &further, &g->err);
    *more = further;
    return handle_result(g, result);
}

int genrun_openai_cancel(genrun *g, genrun_row **out, const char *id) {
    *out = NULL;
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_openai_cancel(g->db, g->scope, id, &g->err);
    if (!result)
        result = queue_openai_get(g->db, g->scope, id, (struct row **)out, &g->err);
    return handle_result(g, result);
}

// ---- from a file to a batch job ----

struct preparation {
    genrun *g;
    struct row *row;
    const char *id;
    FILE *stream;
    int64_t looked_ms;
};

static bool knows_model(void *payload, const char *name) {
    const struct preparation *p = payload;
    const struct model *model;
    const char *model_id;
    struct err ignored;
    return config_model(p->g->config, name, &model_id, &model, &ignored) == 0;
}

// Cancelled or expired meanwhile, or this process is about to end.
static bool is_over(void *payload) {
    struct preparation *p = payload;
    struct err ignored;
    bool waits = true;
    int64_t now_ms = clock_monotonic_ms();
    if (atomic_load(&p->g->stop) > 0)
        return true;
    if (now_ms - p->looked_ms < LOOK_MS)
        return false;
    p->looked_ms = now_ms;
    return queue_openai_is_validating(p->g->db, p->id, &waits, &ignored) == 0 && !waits;
}

static int tell_progress(void *payload, int64_t done, int64_t total, const char *unit) {
    (void)done;
    (void)total;
    (void)unit;
    return is_over(payload);
}

static int refuse_file(struct preparation *p, struct validate_result *found) {
    struct buf errors;
    buf_init(&errors, BUF_UNLIMITED);
    validate_write(&errors, found);
    int result =
        queue_openai_refuse(p->g->db, p->id, buf_borrow(&errors), found->problems[0].message, &p->g->err);
    buf_free(&errors);
    return result;
}

// What the import refuses though the check found nothing wrong: "name:line: reason".
static int refuse_line(struct preparation *p, const char *name) {
    struct validate_result found = {.count = 0};
    const char *reason = p->g->err.message;
    char *end = NULL;
    int64_t line = 0;
    if (text_starts_with(reason, name) && reason[strlen(name)] == ':') {
        line = strtoll(reason + strlen(name) + 1, &end, 10);
        reason = line > 0 && text_starts_with(end, ": ") ? end + 2 : reason;
    }
    validate_add(&found, line, "invalid_request", NULL, "%s", reason);
    int result = refuse_file(p, &found);
    validate_free(&found);
    return result;
}

static int import(struct preparation *p, const char *filename) {
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    char job[GENRUN_ID_SIZE], given[GENRUN_ID_SIZE];
    openai_job_id(p->id, job);
    options.name = filename;
    options.user = row_text(p->row, "user_id");
    options.client_id = p->id;
    options.format = "openai";
    rewind(p->stream);
    int result = handle_submit(p->g, job, given, NULL, p->stream, filename, &options, tell_progress, p);
    return result == ERR_INVALID ? refuse_line(p, filename) : result;
}

static int validate_and_import(struct preparation *p) {
    const struct validate_options options = {.endpoint = row_text(p->row, "endpoint"),
                                             .knows_model = knows_model,
                                             .is_over = is_over,
                                             .payload = p};
    struct validate_result *found = mem_alloc(1, sizeof *found);
    struct row *file = NULL;
    struct err ignored;
    int result = validate_lines(p->stream, &options, found, &p->g->err);
    if (!result && found->over)
        result = err_set(&p->g->err, ERR_CONFLICT, "interrupted: nothing was stored");
    else if (!result && found->count > 0)
        result = refuse_file(p, found);
    else if (!result) {
        const char *id = row_text(p->row, "input_file_id");
        if (queue_file_get(p->g->db, NULL, id, &file, &ignored) != 0)
            file = NULL; // its time is over; its content is here
        result = import(p, file ? row_text(file, "filename") : id);
        row_free(file);
    }
    validate_free(found);
    free(found);
    return result;
}

static int refuse_missing(struct preparation *p) {
    struct validate_result found = {.count = 0};
    validate_add(&found, 0, "invalid_request", "file_id",
                 "Cannot find file %s, or organization %s does not have access to it.",
                 row_text(p->row, "input_file_id"),
                 row_text(p->row, "user_id") ? row_text(p->row, "user_id") : "genrun");
    int result = refuse_file(p, &found);
    validate_free(&found);
    return result;
}

static int prepare(struct preparation *p) {
    int fd = -1;
    int result = queue_openai_get(p->g->db, NULL, p->id, &p->row, &p->g->err);
    if (result || strcmp(row_text(p->row, "status"), "validating") != 0)
        return result;
    result = depot_open(handle_files(p->g), row_text(p->row, "input_file_id"), &fd, &p->g->err);
    if (result)
        return result == ERR_NOT_FOUND ? refuse_missing(p) : result;
    p->stream = fdopen(fd, "r");
    if (!p->stream) {
        close(fd);
        return err_set(&p->g->err, ERR_DATABASE, "the file cannot be read: %s", strerror(errno));
    }
    result = validate_and_import(p);
    fclose(p->stream);
    return result;
}

// Nothing is wrong with what was ended meanwhile.
static int prepare_one(genrun *g, const char *id) {
    struct preparation p = {.g = g, .id = id};
    struct err ignored;
    bool waits = true;
    int result = prepare(&p);
    row_free(p.row);
    if (result && queue_openai_is_validating(g->db, id, &waits, &ignored) == 0 && !waits)
        result = 0;
    return result;
}

int genrun_openai_prepare(genrun *g) {
    char id[OPENAI_ID_SIZE] = "";
    struct err first = {.code = ERR_OK};
    int result = handle_database(g);
    // One that cannot be read now does not hold up the others.
    while (!result && atomic_load(&g->stop) == 0) {
        char after[OPENAI_ID_SIZE];
        memcpy(after, id, sizeof after);
        result = queue_openai_next(g->db, after, id, &g->err);
        if (result || !id[0])
            break;
        if (prepare_one(g, id) != 0 && !first.code)
            first = g->err;
    }
    if (!result && first.code) {
        g->err = first;
        result = (int)first.code;
    }
    return handle_result(g, result);
}
