// SPDX-License-Identifier: MIT
// Reads the echo model's script from `parameters`.
#include "provider/script.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DURATION_LIMIT_MS (366 * 24 * INT64_C(3600000))
#define COUNT_LIMIT 1000000000

// The error types of the contract.
static const char *const error_types[] = {
    "RateLimitError",        "AuthenticationError",  "QuotaError",          "TimeoutError",
    "NetworkError",          "ModelGenerationError", "InvalidRequestError", "ContentFilterError",
    "HeartbeatTimeoutError", "RunnerCrashError",     "CommandError",        "CancelledError",
    "ConfigurationError",    "OperatorError",        "DeadlineError",       "InternalError"};
#define ERROR_TYPE_COUNT (sizeof error_types / sizeof *error_types)

// A duration as text ("100ms") or a number of milliseconds.
static int read_duration(const cJSON *object, const char *key, int64_t *ms, struct err *e) {
    const cJSON *item = json_get(object, key);
    if (!item || cJSON_IsNull(item))
        return 0;
    if (cJSON_IsString(item)) {
        if (clock_parse_duration(item->valuestring, ms, e))
            return err_prefix(e, "%s", key);
    } else if (cJSON_IsNumber(item) && item->valuedouble >= 0 &&
               item->valuedouble <= (double)DURATION_LIMIT_MS) {
        *ms = (int64_t)item->valuedouble;
    } else {
        *ms = -1;
    }
    if (*ms < 0 || *ms > DURATION_LIMIT_MS)
        return err_set(e, ERR_INVALID,
                       "%s: not a duration of at most a year: give text such as \"100ms\" or milliseconds",
                       key);
    return 0;
}

// A whole number, as a number or as digits.
static int read_count(const cJSON *object, const char *key, int64_t least, int64_t *count, struct err *e) {
    const cJSON *item = json_get(object, key);
    if (!item || cJSON_IsNull(item))
        return 0;
    double value = NAN;
    if (cJSON_IsNumber(item)) {
        value = item->valuedouble;
    } else if (cJSON_IsString(item) && *item->valuestring) {
        char *end;
        value = strtod(item->valuestring, &end);
        if (*end)
            value = NAN;
    }
    if (!(value >= (double)least && value <= COUNT_LIMIT) || value != floor(value))
        return err_set(e, ERR_INVALID, "%s: not a whole number from %d to %d", key, (int)least, COUNT_LIMIT);
    *count = (int64_t)value;
    return 0;
}

static int read_fail(const cJSON *object, struct script *out, struct err *e) {
    const cJSON *item = json_get(object, "fail");
    if (!item || cJSON_IsNull(item))
        return 0;
    const char *name = cJSON_IsString(item) ? item->valuestring : "";
    for (size_t i = 0; i < ERROR_TYPE_COUNT; i++) {
        if (strcmp(error_types[i], name) == 0) {
            out->fail = error_types[i];
            return 0;
        }
    }
    const char *nearest = text_nearest(name, error_types, ERROR_TYPE_COUNT);
    return err_set(e, ERR_INVALID, "fail: \"%.64s\" is no error type: use one such as %s", name,
                   nearest ? nearest : error_types[0]);
}

static int read_hang(const cJSON *object, struct script *out, struct err *e) {
    const cJSON *item = json_get(object, "hang");
    if (!item || cJSON_IsNull(item))
        return 0;
    const char *name = cJSON_IsString(item) ? item->valuestring : "";
    if (strcmp(name, "connect") == 0)
        out->hang = HANG_CONNECT;
    else if (strcmp(name, "stream") == 0)
        out->hang = HANG_STREAM;
    else
        return err_set(e, ERR_INVALID, "hang: \"%.64s\" is not known: use \"connect\" or \"stream\"", name);
    return 0;
}

// Faults that hit the whole process are only for tests.
static int read_faults(const cJSON *object, struct script *out, struct err *e) {
    out->crash = json_bool(object, "crash", false);
    int rc = read_duration(object, "block", &out->block_ms, e);
    if (rc)
        return rc;
    const char *allowed = getenv("GENRUN_ECHO_FAULTS");
    if ((out->crash || out->block_ms > 0) && !(allowed && strcmp(allowed, "1") == 0))
        return err_set(e, ERR_INVALID,
                       "crash and block take the whole runner down: "
                       "set GENRUN_ECHO_FAULTS=1 in its environment to allow them");
    return 0;
}

// Appends the text of a message's content or of an input: a string, or a list of strings, parts and messages.
static void append_text(struct buf *out, const cJSON *content) {
    if (cJSON_IsString(content)) {
        buf_text(out, content->valuestring);
    } else if (cJSON_IsArray(content)) {
        const cJSON *part;
        cJSON_ArrayForEach(part, content) {
            if (cJSON_IsString(part))
                buf_text(out, part->valuestring);
            else
                buf_text(out, json_text(part, "text", ""));
        }
    }
}

static const cJSON *last_of(const cJSON *array) {
    const cJSON *last = NULL, *item;
    cJSON_ArrayForEach(item, array) {
        last = item;
    }
    return last;
}

static int read_text(const cJSON *body, struct script *out, struct err *e) {
    const cJSON *content = NULL;
    const cJSON *messages = json_get(body, "messages");
    const cJSON *input = json_get(body, "input");
    if (cJSON_IsArray(messages))
        content = json_get(last_of(messages), "content");
    else if (json_get(body, "prompt"))
        content = json_get(body, "prompt");
    else if (cJSON_IsArray(input) && json_get(last_of(input), "content"))
        content = json_get(last_of(input), "content");
    else
        content = input;
    if (!cJSON_IsString(content) && !cJSON_IsArray(content))
        return err_set(e, ERR_INVALID, "there is nothing to echo: give a prompt, messages or input");
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    append_text(&text, content);
    out->text_length = text.length;
    out->text = buf_take(&text);
    return 0;
}

static int read_members(const cJSON *object, struct script *out, struct err *e) {
    int64_t chunks = 1, repeat = 1;
    int rc = read_duration(object, "delay", &out->delay_ms, e);
    if (!rc)
        rc = read_count(object, "chunks", 1, &chunks, e);
    if (!rc)
        rc = read_fail(object, out, e);
    if (!rc)
        rc = read_count(object, "fail_times", 0, &out->fail_times, e);
    if (!rc)
        rc = read_duration(object, "retry_after", &out->retry_after_ms, e);
    if (!rc)
        rc = read_count(object, "repeat", 1, &repeat, e);
    if (!rc)
        rc = read_hang(object, out, e);
    if (!rc)
        rc = read_faults(object, out, e);
    out->chunks = (size_t)chunks;
    out->repeat = (size_t)repeat;
    return rc;
}

int script_read(const char *parameters, bool find_text, struct script *out, struct err *e) {
    *out = (struct script){.chunks = 1, .repeat = 1, .fail_times = -1, .retry_after_ms = -1};
    bool empty = !parameters || !*parameters || strcmp(parameters, "{}") == 0;
    if (empty && !find_text)
        return 0;
    cJSON *object = NULL;
    int rc = json_parse_object(empty ? "{}" : parameters, empty ? 2 : strlen(parameters), &object, e);
    if (rc)
        return err_prefix(e, "parameters");
    rc = read_members(object, out, e);
    if (!rc && find_text)
        rc = read_text(object, out, e);
    cJSON_Delete(object);
    return rc;
}
