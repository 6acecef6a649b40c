// SPDX-License-Identifier: MIT
// The formats of results. The shape of OpenAI's lines: `response` holds
// what the server answered, good or bad, and `error` is for requests that ended
// without an answer of the server; exactly one of them is not null.
#include "batch/export.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "batch/compact.h"
#include "batch/csv.h"
#include "batch/sheet.h"
#include <math.h>
#include <string.h>
#include <strings.h>

static const char *const format_names[] = {
    [EXPORT_OPENAI] = "openai", [EXPORT_JSONL] = "jsonl", [EXPORT_CSV] = "csv"};

bool export_format_parse(const char *name, enum export_format *out) {
    for (int i = EXPORT_OPENAI; i <= EXPORT_CSV; i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *out = (enum export_format)i;
            return true;
        }
    }
    return false;
}

// ---- what a result holds ---------------------------------------------------

static bool is_status(const struct result *result, const char *status) {
    return result->status && strcmp(result->status, status) == 0;
}

// application/json, with or without parameters, and the +json types.
static bool is_json_mime(const char *mime) {
    if (!mime)
        return false;
    size_t length = strcspn(mime, "; \t");
    if (length == 16 && strncasecmp(mime, "application/json", 16) == 0)
        return true;
    return length > 5 && strncasecmp(mime + length - 5, "+json", 5) == 0;
}

// A NUL has no place in JSON either: half of its readers cut the string there.
static bool is_text(const char *bytes, size_t length) {
    return !memchr(bytes, '\0', length) && text_is_utf8(bytes, length);
}

static void write_base64(struct buf *out, const char *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = (const unsigned char *)bytes;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        unsigned word = (unsigned)at[i] << 16;
        if (left > 1)
            word |= (unsigned)at[i + 1] << 8;
        if (left > 2)
            word |= at[i + 2];
        char four[4] = {digits[word >> 18], digits[word >> 12 & 63], left > 1 ? digits[word >> 6 & 63] : '=',
                        left > 2 ? digits[word & 63] : '='};
        buf_append(out, four, 4);
    }
}

// The generation's id behind a prefix, as OpenAI's ids look: without dashes.
static void write_id(struct buf *out, const char *prefix, const char *id) {
    buf_char(out, '"');
    buf_text(out, prefix);
    for (; id && *id; id++)
        if (*id != '-')
            buf_char(out, *id);
    buf_char(out, '"');
}

// ---- OpenAI ----------------------------------------------------------------

// The code of an error that is no answer of a server. batch_expired, batch_cancelled and
// request_timeout are OpenAI's; it has no others.
static const struct {
    const char *type, *code;
    bool own; // genrun's own verdict, whatever a server answered before
} error_codes[] = {
    {"RateLimitError", "rate_limit_exceeded", false},
    {"AuthenticationError", "authentication_error", false},
    {"QuotaError", "insufficient_quota", false},
    {"TimeoutError", "request_timeout", false},
    {"NetworkError", "connection_error", false},
    {"ModelGenerationError", "model_error", false},
    {"InvalidRequestError", "invalid_request", false},
    {"ContentFilterError", "content_filter", false},
    {"HeartbeatTimeoutError", "runner_stalled", true},
    {"RunnerCrashError", "runner_crashed", true},
    {"CommandError", "command_failed", false},
    {"CancelledError", "batch_cancelled", true},
    {"ConfigurationError", "configuration_error", false},
    {"OperatorError", "failed_by_operator", true},
    {"DeadlineError", "batch_expired", false},
    {"InternalError", "internal_error", false},
};

static const char *error_code(const char *type, bool *own) {
    *own = false;
    for (size_t i = 0; type && i < sizeof error_codes / sizeof *error_codes; i++) {
        if (strcmp(error_codes[i].type, type) == 0) {
            *own = error_codes[i].own;
            return error_codes[i].code;
        }
    }
    return "generation_failed";
}

static const char *error_text(const struct result *result) {
    if (result->error_message && *result->error_message)
        return result->error_message;
    if (is_status(result, "cancelled"))
        return "This request was cancelled before it was completed.";
    return result->error_type ? result->error_type : "The generation failed and no reason was stored.";
}

// A chat completion around the text of a model that speaks another protocol. Bytes that are no text
// become a data: URL.
static void write_completion(struct buf *out, const struct result *result) {
    buf_char(out, '{');
    json_write_key(out, "id");
    write_id(out, "chatcmpl-", result->id);
    json_write_member_text(out, "object", "chat.completion");
    json_write_member_integer(out, "created", result->completed_at / 1000);
    json_write_member_text(out, "model", result->model_id);
    json_write_key(out, "choices");
    buf_text(out, "[{\"index\":0,\"message\":{\"role\":\"assistant\"");
    json_write_key(out, "content");
    if (!result->text) {
        buf_text(out, "null");
    } else if (is_text(result->text, result->text_length)) {
        json_write_bytes(out, result->text, result->text_length);
    } else {
        struct buf url;
        buf_init(&url, BUF_UNLIMITED);
        buf_text(&url, "data:");
        buf_text(&url, result->text_mime ? result->text_mime : "application/octet-stream");
        buf_text(&url, ";base64,");
        write_base64(&url, result->text, result->text_length);
        json_write_bytes(out, url.data, url.length);
        buf_free(&url);
    }
    buf_char(out, '}');
    json_write_member_text(out, "finish_reason", result->finish_reason ? result->finish_reason : "stop");
    buf_text(out, "}]");
    json_write_key(out, "usage");
    if (result->input_tokens >= 0 && result->output_tokens >= 0) {
        buf_char(out, '{');
        json_write_member_integer(out, "prompt_tokens", result->input_tokens);
        json_write_member_integer(out, "completion_tokens", result->output_tokens);
        json_write_member_integer(out, "total_tokens", result->input_tokens + result->output_tokens);
        buf_char(out, '}');
    } else {
        buf_text(out, "null");
    }
    buf_char(out, '}');
}

static void write_completed_body(struct buf *out, const struct result *result) {
    if (result->body && compact_json(out, result->body, result->body_length))
        return;
    if (result->text && is_json_mime(result->text_mime) &&
        compact_json(out, result->text, result->text_length))
        return;
    write_completion(out, result);
}

static void write_failed_body(struct buf *out, const struct result *result) {
    bool has_body = result->body && result->body_length > 0;
    if (has_body && compact_json(out, result->body, result->body_length))
        return;
    buf_text(out, "{\"error\":{\"message\":");
    if (has_body)
        json_write_bytes(out, result->body, result->body_length);
    else
        json_write_text(out, error_text(result));
    buf_text(out, "}}");
}

static void write_openai(struct buf *out, const struct result *result) {
    bool is_completed = is_status(result, "completed");
    bool is_cancelled = is_status(result, "cancelled");
    bool is_own = false;
    bool is_expired = is_cancelled && strcmp(error_text(result), RESULT_EXPIRED) == 0;
    const char *code = is_expired     ? "batch_expired"
                       : is_cancelled ? "batch_cancelled"
                                      : error_code(result->error_type, &is_own);
    // A failed item with a 2xx (cut short, not JSON) is none a reader may take for a good one.
    bool is_refusal = !is_cancelled && !is_own && result->http_status > 0 &&
                      (result->http_status < 200 || result->http_status > 299);
    buf_text(out, "{\"id\":");
    write_id(out, "batch_req_", result->id);
    json_write_key(out, "custom_id");
    if (result->custom_id)
        json_write_text(out, result->custom_id);
    else
        buf_format(out, "\"item-%lld\"", (long long)result->item_index);
    json_write_key(out, "response");
    if (is_completed || is_refusal) {
        buf_char(out, '{');
        json_write_member_integer(out, "status_code",
                                  is_completed && result->http_status <= 0 ? 200 : result->http_status);
        json_write_key(out, "request_id");
        if (result->request_id && *result->request_id)
            json_write_text(out, result->request_id);
        else
            write_id(out, "req_", result->id);
        json_write_key(out, "body");
        if (is_completed)
            write_completed_body(out, result);
        else
            write_failed_body(out, result);
        buf_text(out, "},\"error\":null}\n");
        return;
    }
    buf_text(out, "null,\"error\":{");
    json_write_member_text(out, "code", code);
    json_write_member_text(out, "message", error_text(result));
    buf_text(out, "}}\n");
}

// ---- JSONL -------------------------------------------------------------------

static void write_optional_text(struct buf *out, const char *key, const char *text) {
    if (text)
        json_write_member_text(out, key, text);
}

// The output of a result: bytes that are text, JSON or neither.
struct output {
    const char *bytes; // NULL: none
    size_t length;
    bool is_json; // it says so
};

static struct output output_of(const struct result *result) {
    if (result->text)
        return (struct output){result->text, result->text_length, is_json_mime(result->text_mime)};
    if (result->body && is_status(result, "completed"))
        return (struct output){result->body, result->body_length, true};
    return (struct output){NULL, 0, false};
}

static void write_output(struct buf *out, const struct output *o) {
    if (!is_text(o->bytes, o->length)) {
        json_write_key(out, "output_base64");
        buf_char(out, '"');
        write_base64(out, o->bytes, o->length);
        buf_char(out, '"');
        return;
    }
    json_write_key(out, "output");
    if (!o->is_json || !compact_json(out, o->bytes, o->length))
        json_write_bytes(out, o->bytes, o->length);
}

// The parameters that were submitted, NULL when there are none.
static const char *parameters_of(const struct result *result) {
    return result->parameters && strcmp(result->parameters, "{}") != 0 ? result->parameters : NULL;
}

static void write_jsonl(struct buf *out, const struct result *result) {
    buf_char(out, '{');
    json_write_member_text(out, "id", result->id);
    write_optional_text(out, "custom_id", result->custom_id);
    json_write_member_text(out, "status", result->status);
    write_optional_text(out, "model", result->model_id);
    write_optional_text(out, "prompt", result->prompt);
    const char *parameters = parameters_of(result);
    if (parameters) {
        json_write_key(out, "parameters");
        if (!compact_json(out, parameters, strlen(parameters)))
            json_write_text(out, parameters);
    }
    struct output output = output_of(result);
    if (output.bytes)
        write_output(out, &output);
    // The first stands here; one that has more must not look whole.
    if (result->output_count > 1)
        json_write_member_integer(out, "output_count", result->output_count);
    write_optional_text(out, "error_type", result->error_type);
    write_optional_text(out, "error", result->error_message);
    if (result->input_tokens >= 0)
        json_write_member_integer(out, "input_tokens", result->input_tokens);
    if (result->output_tokens >= 0)
        json_write_member_integer(out, "output_tokens", result->output_tokens);
    if (result->cost >= 0)
        json_write_member_number(out, "cost", result->cost);
    write_optional_text(out, "finish_reason", result->finish_reason);
    if (result->completed_at > 0) {
        char iso[CLOCK_ISO_SIZE];
        clock_format_iso(result->completed_at, iso);
        json_write_member_text(out, "completed_at", iso);
    }
    buf_text(out, "}\n");
}

// ---- CSV -----------------------------------------------------------------------

static void write_text_cell(struct buf *out, const char *text, size_t length) {
    if (text)
        csv_write(out, text, length, length == 0 || sheet_is_value(text, length));
    buf_char(out, ',');
}

static void write_cell(struct buf *out, const char *text) {
    write_text_cell(out, text, text ? strlen(text) : 0);
}

static void write_output_cells(struct buf *out, const struct output *o) {
    if (!o->bytes || is_text(o->bytes, o->length)) {
        write_text_cell(out, o->bytes, o->length);
        buf_char(out, ',');
        return;
    }
    buf_char(out, ',');
    write_base64(out, o->bytes, o->length);
    buf_char(out, ',');
}

static void write_number_cell(struct buf *out, double number) {
    if (isfinite(number) && number >= 0)
        json_write_number(out, number);
    buf_char(out, ',');
}

static void write_csv(struct buf *out, const struct result *result) {
    struct output output = output_of(result);
    write_cell(out, result->id);
    write_cell(out, result->custom_id);
    write_cell(out, result->status);
    write_cell(out, result->model_id);
    write_cell(out, result->prompt);
    write_cell(out, parameters_of(result));
    write_output_cells(out, &output);
    write_number_cell(out, result->output_count > 0 ? result->output_count : -1);
    write_cell(out, result->error_type);
    write_cell(out, result->error_message);
    write_number_cell(out, (double)result->input_tokens);
    write_number_cell(out, (double)result->output_tokens);
    write_number_cell(out, result->cost);
    write_cell(out, result->finish_reason);
    if (result->completed_at > 0) {
        char iso[CLOCK_ISO_SIZE];
        clock_format_iso(result->completed_at, iso);
        buf_text(out, iso);
    }
    buf_char(out, '\n');
}

void export_head(struct buf *out, enum export_format format) {
    if (format == EXPORT_CSV)
        buf_text(
            out,
            "id,custom_id,status,model,prompt,parameters,output,output_base64,output_count,error_type,error,"
            "input_tokens,output_tokens,cost,finish_reason,completed_at\n");
}

void export_line(struct buf *out, enum export_format format, const struct result *result) {
    if (format == EXPORT_OPENAI)
        write_openai(out, result);
    else if (format == EXPORT_JSONL)
        write_jsonl(out, result);
    else
        write_csv(out, result);
}
