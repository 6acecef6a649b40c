// SPDX-License-Identifier: MIT
// Checking against tables of fields. The messages of wrong types are worded as those of OpenAI's API, which
// its clients' users know.
#include "http/field.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_COLUMNS 60            // of what the request says, in a message
#define WHOLE_LAST 9007199254740991 // 2^53 - 1: beyond, a double stands for several numbers

static const struct {
    const char *expected; // in messages
    const char *type;     // in GET /api
} kind_words[] = {
    [FIELD_TEXT] = {"a string", "string"},
    [FIELD_INTEGER] = {"an integer", "integer"},
    [FIELD_NUMBER] = {"a number", "number"},
    [FIELD_FLAG] = {"a boolean", "boolean"},
    [FIELD_OBJECT] = {"an object", "object"},
    [FIELD_LIST] = {"an array", "array"},
    [FIELD_CHOICE] = {"a string", "choice"},
    [FIELD_DURATION] = {"a string with a duration, such as 90s, 5m, 3h or 7d", "duration"},
    [FIELD_TEXTS] = {"an object", "object of strings"},
};

// ---- refusals ----

void field_error_free(struct field_error *error) {
    free(error->message);
    free(error->param);
    *error = (struct field_error){0};
}

// Text from outside, safe for one line of a message; the caller frees it.
static char *shown(const char *text) {
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    text_escape(&out, text, strlen(text), SHOWN_COLUMNS);
    return buf_take(&out);
}

static bool refuse(struct field_error *error, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static bool refuse(struct field_error *error, const char *code, const char *param, const char *format, ...) {
    struct buf message;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buf_init(&message, BUF_UNLIMITED);
    text_escape(&message, line, strlen(line), 0); // also what a cut character leaves
    *error = (struct field_error){buf_take(&message), param != NULL ? shown(param) : NULL, code};
    return false;
}

static bool refuse_type(struct field_error *error, const char *param, const char *expected,
                        const char *given) {
    char *name = shown(param);
    refuse(error, "invalid_type", param, "Invalid type for '%s': expected %s, but got %s instead.", name,
           expected, given);
    free(name);
    return false;
}

static size_t table_length(const struct field *fields) {
    size_t n = 0;
    while (fields != NULL && fields[n].name != NULL)
        n++;
    return n;
}

static const struct field *find(const struct field *fields, const char *name) {
    for (size_t i = 0; i < table_length(fields); i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

// Appends 'a', 'b' or 'c'.
static void write_names(struct buf *out, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        buf_format(out, "%s'%s'", i == 0 ? "" : i + 1 == count ? " or " : ", ", names[i]);
}

static bool refuse_unknown(struct field_error *error, const struct field *fields, const char *name) {
    size_t count = table_length(fields);
    const char **names = mem_alloc(count + 1, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = fields[i].name;
    struct buf known;
    buf_init(&known, BUF_UNLIMITED);
    const char *nearest = text_nearest(name, names, count);
    if (nearest != NULL)
        buf_format(&known, "did you mean '%s'?", nearest);
    else if (count == 0)
        buf_text(&known, "none is taken here.");
    else {
        buf_text(&known, "give ");
        write_names(&known, names, count);
        buf_char(&known, '.');
    }
    char *unknown = shown(name);
    refuse(error, "unknown_parameter", name, "Unknown parameter '%s': %s", unknown, buf_borrow(&known));
    free(unknown);
    buf_free(&known);
    free(names);
    return false;
}

static bool check_required(const struct field *f, bool given, struct field_error *error) {
    return given || !f->required ||
           refuse(error, "missing_required_parameter", f->name, "Missing required parameter: '%s'.", f->name);
}

// ---- values ----

// "a value from 1 to 100", with what the numbers are put behind each.
static void write_range(struct buf *out, const struct field *f, const char *unit) {
    char least[40], most[40];
    if (f->kind == FIELD_DURATION) {
        clock_format_duration(f->least, least, sizeof least);
        clock_format_duration(f->most, most, sizeof most);
    } else {
        snprintf(least, sizeof least, "%lld", (long long)f->least);
        snprintf(most, sizeof most, "%lld", (long long)f->most);
    }
    if (f->most == 0 && f->least > 0)
        buf_format(out, "at least %s%s", least, unit);
    else if (f->least == f->most)
        buf_format(out, "%s%s", least, unit);
    else if (f->least == 0 && *unit != '\0')
        buf_format(out, "at most %s%s", most, unit);
    else
        buf_format(out, "from %s to %s%s", least, most, unit);
}

static bool is_limited(const struct field *f) {
    return f->least != 0 || f->most != 0;
}

static bool refuse_range(const struct field *f, const char *is, const char *unit, struct field_error *error) {
    struct buf range;
    buf_init(&range, BUF_UNLIMITED);
    write_range(&range, f, unit);
    refuse(error, "invalid_value", f->name, "Invalid value for '%s': %s, give %s.", f->name, is,
           buf_borrow(&range));
    buf_free(&range);
    return false;
}

// A number of bytes, of entries or of milliseconds; negative limits belong to numbers alone.
static bool check_amount(const struct field *f, int64_t amount, const char *is, const char *unit,
                         struct field_error *error) {
    bool fits = amount >= f->least && (f->most == 0 || amount <= f->most);
    return !is_limited(f) || fits || refuse_range(f, is, unit, error);
}

static bool check_size(const struct field *f, size_t size, const char *unit, struct field_error *error) {
    char is[64];
    snprintf(is, sizeof is, "it has %zu%s", size, unit);
    return check_amount(f, (int64_t)size, size == 0 ? "it is empty" : is, unit, error);
}

static bool check_number(const struct field *f, double value, struct field_error *error) {
    static const struct field whole = {.kind = FIELD_INTEGER, .least = -WHOLE_LAST, .most = WHOLE_LAST};
    struct field limits = *f;
    if (f->kind == FIELD_INTEGER && value != floor(value))
        return refuse_type(error, f->name, kind_words[f->kind].expected, "a decimal number");
    if (f->kind == FIELD_INTEGER && !is_limited(f)) {
        limits = whole;
        limits.name = f->name;
    }
    if (is_limited(&limits) && limits.most == 0 && limits.least >= 0)
        limits.most = value > (double)WHOLE_LAST ? WHOLE_LAST : INT64_MAX;
    if (!is_limited(&limits) || (value >= (double)limits.least && value <= (double)limits.most))
        return true;
    limits.most = limits.most == INT64_MAX ? 0 : limits.most; // told as it was
    struct buf is;
    buf_init(&is, BUF_UNLIMITED);
    buf_text(&is, "it is ");
    json_write_number(&is, value);
    refuse_range(&limits, buf_borrow(&is), "", error);
    buf_free(&is);
    return false;
}

static bool check_choice(const struct field *f, const char *value, struct field_error *error) {
    size_t count = 0;
    for (; f->choices[count] != NULL; count++)
        if (strcmp(f->choices[count], value) == 0)
            return true;
    struct buf known;
    buf_init(&known, BUF_UNLIMITED);
    write_names(&known, f->choices, count);
    char *given = shown(value);
    refuse(error, "invalid_value", f->name, "Invalid value for '%s': it is '%s', give %s.", f->name, given,
           buf_borrow(&known));
    free(given);
    buf_free(&known);
    return false;
}

static bool check_duration(const struct field *f, const char *value, struct field_error *error) {
    int64_t ms = 0;
    char *given = shown(value), *is = mem_format("it is %s", given);
    bool fine = clock_parse_duration(value, &ms, NULL) == ERR_OK;
    if (!fine)
        refuse(error, "invalid_value", f->name,
               "Invalid value for '%s': '%s' is not a duration, give one such as 90s, 5m, 3h or 7d.", f->name,
               given);
    else
        fine = check_amount(f, ms, is, "", error);
    free(is);
    free(given);
    return fine;
}

// A string of a body or of a query, of one of the kinds that are strings.
static bool check_string(const struct field *f, const char *value, struct field_error *error) {
    switch (f->kind) {
    case FIELD_CHOICE:
        return check_choice(f, value, error);
    case FIELD_DURATION:
        return check_duration(f, value, error);
    default:
        return check_size(f, strlen(value), " bytes", error);
    }
}

// ---- bodies ----

static const char *type_of(const cJSON *item) {
    return cJSON_IsString(item) ? "a string"
           : cJSON_IsNumber(item)
               ? item->valuedouble == floor(item->valuedouble) ? "an integer" : "a decimal number"
           : cJSON_IsBool(item)   ? "a boolean"
           : cJSON_IsObject(item) ? "an object"
           : cJSON_IsArray(item)  ? "an array"
                                  : "null";
}

static bool has_type(enum field_kind kind, const cJSON *item) {
    switch (kind) {
    case FIELD_INTEGER:
    case FIELD_NUMBER:
        return cJSON_IsNumber(item);
    case FIELD_FLAG:
        return cJSON_IsBool(item);
    case FIELD_OBJECT:
    case FIELD_TEXTS:
        return cJSON_IsObject(item);
    case FIELD_LIST:
        return cJSON_IsArray(item);
    case FIELD_TEXT:
    case FIELD_CHOICE:
    case FIELD_DURATION:
        break;
    }
    return cJSON_IsString(item);
}

static bool check_texts(const struct field *f, const cJSON *object, struct field_error *error) {
    const cJSON *member;
    cJSON_ArrayForEach(member, object) {
        if (!cJSON_IsString(member)) {
            char *name = mem_format("%s.%s", f->name, member->string);
            refuse_type(error, name, "a string", type_of(member));
            free(name);
            return false;
        }
    }
    return true;
}

static bool check_item(const struct field *f, const cJSON *item, struct field_error *error) {
    if (!has_type(f->kind, item))
        return refuse_type(error, f->name, kind_words[f->kind].expected, type_of(item));
    switch (f->kind) {
    case FIELD_INTEGER:
    case FIELD_NUMBER:
        return check_number(f, item->valuedouble, error);
    case FIELD_FLAG:
        return true;
    case FIELD_OBJECT:
        return check_size(f, (size_t)cJSON_GetArraySize(item), " members", error);
    case FIELD_LIST:
        return check_size(f, (size_t)cJSON_GetArraySize(item), " entries", error);
    case FIELD_TEXTS:
        return check_size(f, (size_t)cJSON_GetArraySize(item), " members", error) &&
               check_texts(f, item, error);
    case FIELD_TEXT:
    case FIELD_CHOICE:
    case FIELD_DURATION:
        break;
    }
    return check_string(f, item->valuestring, error);
}

static bool check_members(const struct field *fields, cJSON *object, struct field_error *error) {
    for (cJSON *item = object->child, *next; item != NULL; item = next) {
        next = item->next;
        const struct field *f = find(fields, item->string);
        if (f == NULL)
            return refuse_unknown(error, fields, item->string);
        if (cJSON_IsNull(item) && !f->required)
            cJSON_Delete(cJSON_DetachItemViaPointer(object, item));
        else if (!check_item(f, item, error))
            return false;
    }
    for (size_t i = 0; i < table_length(fields); i++)
        if (!check_required(&fields[i], json_get(object, fields[i].name) != NULL, error))
            return false;
    return true;
}

// The parser's message counts bytes; people count lines.
static bool refuse_json(const char *text, size_t length, const struct err *e, struct field_error *error) {
    static const char head[] = "invalid JSON at byte ";
    char *after = NULL;
    if (!text_starts_with(e->message, head))
        return refuse(error, "invalid_json", NULL, "Invalid body: %s.", e->message);
    size_t byte = strtoull(e->message + strlen(head), &after, 10), line = 1, column = 1;
    for (size_t i = 0; i + 1 < byte && i < length; i++) {
        column++;
        if (text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return refuse(error, "invalid_json", NULL, "Invalid JSON at byte %zu (line %zu, column %zu)%s.", byte,
                  line, column, after);
}

// True when the text has more values than may be held as a tree: three bytes, as in "[],", become a hundred there.
static bool has_too_many(const char *text, size_t length) {
    size_t count = 1;
    if (length <= FIELD_VALUES)
        return false;
    for (size_t i = 0; i < length && count <= FIELD_VALUES; i++) {
        if (text[i] == '"')
            for (i++; i < length && text[i] != '"'; i++)
                i += text[i] == '\\';
        else
            count += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return count > FIELD_VALUES;
}

bool field_check_body(const struct field *fields, const char *text, size_t length, cJSON **out,
                      struct field_error *error) {
    struct err e = {0};
    *error = (struct field_error){0};
    *out = NULL;
    if (length == 0) {
        text = "{}";
        length = 2;
    }
    if (has_too_many(text, length))
        return refuse(
            error, "invalid_value", NULL,
            "Invalid body: it has more than %d values, send fewer at once or upload a file of lines.",
            FIELD_VALUES);
    if (json_parse_object(text, length, out, &e) != ERR_OK)
        return refuse_json(text, length, &e, error);
    if (check_members(fields, *out, error))
        return true;
    cJSON_Delete(*out);
    *out = NULL;
    return false;
}

char *field_raw(const char *text, const char *name) {
    const char *start = NULL;
    size_t length = 0;
    if (text == NULL || !json_raw_member(text, name, &start, &length) || *start == 'n')
        return NULL;
    return mem_copy_bytes(start, length);
}

int64_t field_body_integer(const struct field *fields, const cJSON *body, const char *name,
                           int64_t fallback) {
    const struct field *f = find(fields, name);
    int64_t ms = 0;
    if (f != NULL && f->kind == FIELD_DURATION)
        return clock_parse_duration(json_text(body, name, ""), &ms, NULL) == ERR_OK ? ms : fallback;
    return json_integer(body, name, fallback);
}

// ---- queries ----

// The number that a text is by the rules of JSON, NAN when it is none.
static double number_of(const char *text) {
    static const char digits[] = "-0123456789.eE+";
    cJSON *item = NULL;
    bool is_number =
        strspn(text, digits) == strlen(text) && json_parse(text, strlen(text), &item, NULL) == ERR_OK;
    double value = is_number ? item->valuedouble : NAN;
    cJSON_Delete(item);
    return value;
}

static bool check_value(const struct field *f, const char *value, struct field_error *error) {
    double number = 0;
    bool has_kind = true;
    if (*value == '\0')
        return refuse(error, "invalid_value", f->name,
                      "Invalid value for '%s': it is empty, give one or leave the parameter out.", f->name);
    if (f->kind == FIELD_INTEGER || f->kind == FIELD_NUMBER) {
        number = number_of(value);
        has_kind = !isnan(number);
    } else if (f->kind == FIELD_FLAG) {
        has_kind = strcmp(value, "true") == 0 || strcmp(value, "false") == 0;
    }
    if (!has_kind) {
        char *text = shown(value), *given = mem_format("'%s'", text);
        refuse_type(error, f->name, f->kind == FIELD_FLAG ? "true or false" : kind_words[f->kind].expected,
                    given);
        free(given);
        free(text);
        return false;
    }
    if (f->kind == FIELD_FLAG)
        return true;
    return f->kind == FIELD_INTEGER || f->kind == FIELD_NUMBER ? check_number(f, number, error)
                                                               : check_string(f, value, error);
}

bool field_check_query(const struct field *fields, const struct query *query, struct field_error *error) {
    *error = (struct field_error){0};
    for (size_t i = 0; i < query->count; i++) {
        const struct query_pair *pair = &query->pairs[i];
        const struct field *f = find(fields, pair->name);
        if (f == NULL)
            return refuse_unknown(error, fields, pair->name);
        if (!check_value(f, pair->value, error))
            return false;
    }
    for (size_t i = 0; i < table_length(fields); i++)
        if (!check_required(&fields[i], query_get(query, fields[i].name) != NULL, error))
            return false;
    return true;
}

int64_t field_integer(const struct field *fields, const struct query *query, const char *name,
                      int64_t fallback) {
    const struct field *f = find(fields, name);
    const char *value = query_get(query, name);
    int64_t ms = 0;
    if (f == NULL || value == NULL)
        return fallback;
    if (f->kind == FIELD_DURATION)
        return clock_parse_duration(value, &ms, NULL) == ERR_OK ? ms : fallback;
    if (f->kind == FIELD_FLAG)
        return strcmp(value, "true") == 0;
    double number = number_of(value);
    return fabs(number) <= (double)WHOLE_LAST ? (int64_t)number : fallback;
}

// ---- GET /api ----

void field_describe(struct buf *out, const struct field *fields) {
    buf_char(out, '[');
    for (size_t i = 0; i < table_length(fields); i++) {
        const struct field *f = &fields[i];
        buf_text(out, i > 0 ? ",{" : "{");
        json_write_member_text(out, "name", f->name);
        json_write_member_text(out, "type", kind_words[f->kind].type);
        json_write_member_bool(out, "required", f->required);
        if (is_limited(f)) {
            json_write_member_integer(out, "least", f->least);
            if (f->most != 0)
                json_write_member_integer(out, "most", f->most);
        }
        if (f->kind == FIELD_CHOICE) {
            json_write_key(out, "choices");
            buf_char(out, '[');
            for (size_t c = 0; f->choices[c] != NULL; c++) {
                buf_text(out, c > 0 ? "," : "");
                json_write_text(out, f->choices[c]);
            }
            buf_char(out, ']');
        }
        json_write_member_text(out, "help", f->help);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}
