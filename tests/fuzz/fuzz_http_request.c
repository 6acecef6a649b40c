// SPDX-License-Identifier: MIT
// A request's target on the first line, its body behind it. What fits a pattern is sound and fits again when
// it is written anew; so does a query; a checked body and query hold nothing that the table does not
// allow; and each refusal is one clean line with one of the known codes.
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/field.h"
#include "http/path.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void must(bool holds) {
    if (!holds)
        abort();
}

static const char *const patterns[] = {
    "/",
    "/api/generations",
    "/api/generations/{id}",
    "/api/generations/{id}/cancel",
    "/{a}/{b}/{c}/{d}",
    "/v1/files/{id}/content",
};

static const char *const states[] = {"all", "failed", "stuck", NULL};

static const struct field fields[] = {
    {.name = "prompt", .kind = FIELD_TEXT, .least = 1, .most = 100},
    {.name = "limit", .kind = FIELD_INTEGER, .least = 1, .most = 100},
    {.name = "any", .kind = FIELD_INTEGER},
    {.name = "price", .kind = FIELD_NUMBER, .least = -2, .most = 2},
    {.name = "force", .kind = FIELD_FLAG},
    {.name = "parameters", .kind = FIELD_OBJECT},
    {.name = "items", .kind = FIELD_LIST, .least = 1, .most = 3},
    {.name = "status", .kind = FIELD_CHOICE, .choices = states},
    {.name = "timeout", .kind = FIELD_DURATION, .least = 1, .most = 3600000},
    {.name = "metadata", .kind = FIELD_TEXTS, .most = 2},
    {.name = NULL},
};

static void check_line(const char *text) {
    must(text_is_utf8(text, strlen(text)));
    for (; *text; text++)
        must((unsigned char)*text >= 0x20 && *text != 0x7F);
}

static void check_refusal(struct field_error *error) {
    static const char *const codes[] = {"invalid_json", "invalid_type", "invalid_value", "unknown_parameter",
                                        "missing_required_parameter"};
    bool known = false;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        known = known || strcmp(codes[i], error->code) == 0;
    must(known && *error->message);
    check_line(error->message);
    if (error->param)
        check_line(error->param);
    field_error_free(error);
}

static void write_encoded(struct buf *out, const char *text) {
    for (; *text; text++)
        buf_format(out, "%%%02X", (unsigned char)*text);
}

static void check_path(const char *path, size_t length) {
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct path_segments found, again;
        struct buf anew;
        if (!path_match(patterns[i], path, length, &found)) {
            must(found.count == 0);
            continue;
        }
        buf_init(&anew, BUF_UNLIMITED);
        for (const char *p = patterns[i], *next; *p; p = next) {
            next = *p == '{' ? strchr(p, '}') + 1 : p + 1;
            if (*p == '{') {
                char *name = strndup(p + 1, (size_t)(next - p) - 2);
                const char *value = path_segment(&found, name);
                check_line(value);
                must(*value && strcmp(value, ".") != 0 && !strstr(value, "../") && strcmp(value, "..") != 0);
                write_encoded(&anew, value);
                free(name);
            } else {
                buf_char(&anew, *p);
            }
        }
        must(path_match(patterns[i], anew.data, anew.length, &again) && again.count == found.count);
        for (size_t n = 0; n < found.count; n++)
            must(strcmp(found.list[n].value, again.list[n].value) == 0);
        buf_free(&anew);
        path_segments_free(&again);
        path_segments_free(&found);
    }
}

static void check_query(const char *raw) {
    struct query q, again;
    struct err e = {0};
    struct field_error error;
    if (query_parse(&q, raw, &e) != ERR_OK) {
        must(q.count == 0);
        check_line(e.message);
        return;
    }
    struct buf anew;
    buf_init(&anew, BUF_UNLIMITED);
    for (size_t i = 0; i < q.count; i++) {
        write_encoded(&anew, q.pairs[i].name);
        buf_char(&anew, '=');
        write_encoded(&anew, q.pairs[i].value);
        buf_char(&anew, '&');
    }
    must(query_parse(&again, buf_borrow(&anew), &e) == ERR_OK && again.count == q.count);
    for (size_t i = 0; i < q.count; i++) {
        must(strcmp(again.pairs[i].name, q.pairs[i].name) == 0);
        must(strcmp(again.pairs[i].value, q.pairs[i].value) == 0);
    }
    if (!field_check_query(fields, &q, &error)) {
        check_refusal(&error);
    } else {
        int64_t limit = field_integer(fields, &q, "limit", 1),
                timeout = field_integer(fields, &q, "timeout", 1);
        must(limit >= 1 && limit <= 100 && timeout >= 1 && timeout <= 3600000);
        field_integer(fields, &q, "any", 0);
    }
    query_free(&again);
    query_free(&q);
    buf_free(&anew);
}

static void check_body(const char *text, size_t length) {
    cJSON *body = NULL;
    struct field_error error;
    char *copy = mem_copy_bytes(text, length);
    if (!field_check_body(fields, copy, length, &body, &error)) {
        must(body == NULL);
        check_refusal(&error);
        free(copy);
        return;
    }
    const cJSON *member;
    cJSON_ArrayForEach(member, body) {
        must(!cJSON_IsNull(member));
        char *raw = field_raw(copy, member->string);
        cJSON *again = NULL;
        must(raw && json_parse(raw, strlen(raw), &again, NULL) == ERR_OK);
        char *one = cJSON_PrintUnformatted(member), *other = cJSON_PrintUnformatted(again);
        must(strcmp(one, other) == 0);
        free(one);
        free(other);
        cJSON_Delete(again);
        free(raw);
    }
    int64_t limit = field_body_integer(fields, body, "limit", 1);
    must(limit >= 1 && limit <= 100 && fabs(json_number(body, "price", 0)) <= 2);
    must(!json_get(body, "metadata") || cJSON_GetArraySize(json_get(body, "metadata")) <= 2);
    must(strlen(json_text(body, "prompt", "x")) <= 100 && *json_text(body, "prompt", "x"));
    cJSON_Delete(body);
    free(copy);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    const char *bytes = (const char *)data, *lf = memchr(bytes, '\n', size), *query = NULL;
    size_t line = lf ? (size_t)(lf - bytes) : size, length = 0;
    char *target = strndup(bytes, line);
    if (path_split(target, &length, &query)) {
        check_path(target, length);
        check_query(query);
    }
    check_query(target);
    if (lf)
        check_body(lf + 1, size - line - 1);
    free(target);
    return 0;
}
