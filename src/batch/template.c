// SPDX-License-Identifier: MIT
// Taking templates apart, and filling them.
#include "batch/template.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "batch/item.h"
#include <stdlib.h>
#include <string.h>

#define FILLED_MAXIMUM ((size_t)64 << 20) // as a line

// Text, then the value of a column (NULL: the last piece).
struct piece {
    char *text;
    size_t length;
    char *column;
    bool in_string; // the column stands inside of a JSON string
};

struct template {
    char *name; // for messages
    bool is_body;
    struct piece *pieces;
    size_t count;
};

void template_free(struct template *template) {
    if (!template)
        return;
    for (size_t i = 0; i < template->count; i++) {
        free(template->pieces[i].text);
        free(template->pieces[i].column);
    }
    free(template->pieces);
    free(template->name);
    free(template);
}

// ---- taking apart ----

static void add_piece(struct template *t, const char *text, size_t length, char *column, bool in_string) {
    t->pieces = mem_resize(t->pieces, t->count + 1, sizeof *t->pieces);
    t->pieces[t->count++] = (struct piece){
        .text = mem_copy_bytes(text, length), .length = length, .column = column, .in_string = in_string};
}

// Whether a JSON string is open after the text.
static bool is_in_string(bool inside, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (inside && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            inside = !inside;
    }
    return inside;
}

static int line_of(const char *body, const char *at) {
    int line = 1;
    for (; body < at; body++)
        line += *body == '\n';
    return line;
}

static int split(struct template *t, const char *body, size_t length, struct err *e) {
    const char *from = body, *end = body + length;
    bool inside = false;
    for (;;) {
        const char *open = memmem(from, (size_t)(end - from), "{{", 2);
        size_t text = (size_t)((open ? open : end) - from);
        inside = t->is_body && is_in_string(inside, from, text);
        if (!open) {
            add_piece(t, from, text, NULL, false);
            return 0;
        }
        const char *close = memmem(open + 2, (size_t)(end - open - 2), "}}", 2);
        if (!close)
            return err_set(e, ERR_INVALID, "line %d: {{ is not closed: write {{column}}",
                           line_of(body, open));
        char *word = mem_copy_bytes(open + 2, (size_t)(close - open - 2));
        char *column = mem_copy(text_trim(word));
        free(word);
        if (!*column || strpbrk(column, "{}\n")) {
            free(column);
            return err_set(e, ERR_INVALID, "line %d: {{…}} does not name a column: write {{column}}",
                           line_of(body, open));
        }
        add_piece(t, from, text, column, inside);
        from = close + 2;
    }
}

// With something in every hole it must be one JSON object.
static int check_body(const struct template *t, struct err *e) {
    struct buf sample;
    buf_init(&sample, BUF_UNLIMITED);
    for (size_t i = 0; i < t->count; i++) {
        buf_append(&sample, t->pieces[i].text, t->pieces[i].length);
        if (t->pieces[i].column && !t->pieces[i].in_string)
            buf_char(&sample, '0');
    }
    cJSON *object = NULL;
    int result = json_parse_object(buf_borrow(&sample), sample.length, &object, e);
    cJSON_Delete(object);
    buf_free(&sample);
    return result ? err_prefix(e, "it begins as a JSON object, but") : 0;
}

static bool begins_object(const char *body, size_t length) {
    size_t i = strspn(body, " \t\r\n");
    return i < length && body[i] == '{' && (i + 1 == length || body[i + 1] != '{');
}

int template_parse(struct template **out, const char *name, const char *body, size_t length, struct err *e) {
    *out = NULL;
    if (length == 0 || strspn(body, " \t\r\n") == length)
        return err_set(e, ERR_INVALID, "the template is empty: write a text with {{column}} in it");
    if (length > TEMPLATE_BODY_MAXIMUM)
        return err_set(e, ERR_INVALID,
                       "the template is larger than %zu bytes: what is that long belongs to the items",
                       TEMPLATE_BODY_MAXIMUM);
    if (!text_is_utf8(body, length) || memchr(body, '\0', length))
        return err_set(e, ERR_INVALID, "the template is not UTF-8 text: save it as UTF-8");
    struct template *t = mem_alloc(1, sizeof *t);
    t->name = mem_copy(name);
    t->is_body = begins_object(body, length);
    int result = split(t, body, length, e);
    if (!result && t->is_body)
        result = check_body(t, e);
    if (result) {
        template_free(t);
        return result;
    }
    *out = t;
    return 0;
}

// ---- filling ----

void template_texts_init(struct template_texts *texts) {
    buf_init(&texts->prompt, BUF_UNLIMITED);
    buf_init(&texts->parameters, BUF_UNLIMITED);
}

void template_texts_free(struct template_texts *texts) {
    buf_free(&texts->prompt);
    buf_free(&texts->parameters);
}

static const char *column_text(const struct spec *item, const char *name, bool *is_column) {
    const struct {
        const char *name, *text;
    } columns[] = {{"prompt", item->prompt},        {"model", item->model_id}, {"custom_id", item->custom_id},
                   {"topic", item->topic},          {"tier", item->tier},      {"type", item->type},
                   {"session_id", item->session_id}};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        if ((*is_column = strcmp(columns[i].name, name) == 0))
            return columns[i].text;
    return NULL;
}

// Appends text as the inside of a JSON string.
static void write_inside(struct buf *out, const char *text, size_t length) {
    struct buf quoted;
    buf_init(&quoted, BUF_UNLIMITED);
    json_write_bytes(&quoted, text, length);
    buf_append(out, quoted.data + 1, quoted.length - 2);
    buf_free(&quoted);
}

static void write_text(struct buf *out, const struct template *t, const struct piece *piece, const char *text,
                       size_t length) {
    if (!t->is_body)
        buf_append(out, text, length);
    else if (piece->in_string)
        write_inside(out, text, length);
    else
        json_write_bytes(out, text, length);
}

// Appends the value of a parameter: text as text, other JSON as it was written. False: it is missing or empty.
static bool write_parameter(struct buf *out, const struct template *t, const struct piece *piece,
                            const struct spec *item, const cJSON *parameters) {
    const cJSON *value = json_get(parameters, piece->column);
    const char *raw;
    size_t length;
    if (!value || cJSON_IsNull(value) || (cJSON_IsString(value) && !*value->valuestring))
        return false;
    if (cJSON_IsString(value))
        write_text(out, t, piece, value->valuestring, strlen(value->valuestring));
    else if (!json_raw_member(item->parameters, piece->column, &raw, &length))
        return false;
    else if (t->is_body && !piece->in_string)
        buf_append(out, raw, length);
    else
        write_text(out, t, piece, raw, length);
    return true;
}

static int write_pieces(const struct template *t, const struct spec *item, const cJSON *parameters,
                        struct buf *out, struct err *e) {
    for (size_t i = 0; i < t->count; i++) {
        const struct piece *piece = &t->pieces[i];
        bool is_column = false, found = true;
        buf_append(out, piece->text, piece->length);
        if (!piece->column)
            continue;
        const char *text = column_text(item, piece->column, &is_column);
        if (is_column && text)
            write_text(out, t, piece, text, strlen(text));
        else
            found = !is_column && write_parameter(out, t, piece, item, parameters);
        if (!found)
            return err_set(e, ERR_INVALID, "%s is missing or empty: template %s needs it", piece->column,
                           t->name);
    }
    return 0;
}

static bool uses(const struct template *t, const char *column) {
    for (size_t i = 0; i < t->count; i++)
        if (t->pieces[i].column && strcmp(t->pieces[i].column, column) == 0)
            return true;
    return false;
}

// The parameters that the template did not use, as members of an object to be, and the names that a body gives up: theirs
// and those of results.
static void write_rest(const struct template *t, const struct spec *item, const cJSON *parameters,
                       struct buf *members, const char **names) {
    const cJSON *child = NULL;
    size_t count = 0;
    const char *at = NULL, *raw = NULL;
    size_t length = 0;
    cJSON_ArrayForEach(child, parameters) {
        if (!json_next_raw(item->parameters, &at, &raw, &length))
            break;
        if (uses(t, child->string))
            continue;
        if (members->length)
            buf_char(members, ',');
        json_write_text(members, child->string);
        buf_char(members, ':');
        buf_append(members, raw, length);
        names[count++] = child->string;
    }
    memcpy(names + count, item_result_keys, sizeof item_result_keys);
}

static int check_item(const struct template *t, const struct spec *item, const cJSON *parameters,
                      struct err *e) {
    if (item->prompt && !uses(t, "prompt"))
        return err_set(e, ERR_INVALID,
                       "prompt is given, but template %s does not use it: write {{prompt}} into the template "
                       "or leave the prompt out",
                       t->name);
    if (!t->is_body && json_get(parameters, "messages"))
        return err_set(e, ERR_INVALID, "messages are given, but template %s makes a prompt: keep one of them",
                       t->name);
    return 0;
}

// Values are escaped, but a hole may stand where not every value fits: in a name, behind a digit or a backslash.
static int check_filled(const struct template *t, const struct buf *filled, struct err *e) {
    cJSON *object = NULL;
    if (filled->overflow)
        return err_set(e, ERR_INVALID, "template %s, filled, is longer than 64 MiB: give it less", t->name);
    int result = t->is_body ? json_parse_object(filled->data, filled->length, &object, e) : 0;
    cJSON_Delete(object);
    return result ? err_prefix(e, "template %s, filled, is no request", t->name) : 0;
}

int template_fill(const struct template *t, struct spec *item, struct template_texts *texts, struct err *e) {
    cJSON *parameters = NULL;
    struct buf rest, filled;
    int result =
        item->parameters ? json_parse_object(item->parameters, strlen(item->parameters), &parameters, e) : 0;
    if (result)
        return result;
    buf_init(&rest, BUF_UNLIMITED);
    buf_init(&filled, FILLED_MAXIMUM);
    const char **names =
        mem_alloc((size_t)cJSON_GetArraySize(parameters) + 1 + ITEM_RESULT_KEYS, sizeof *names);
    result = check_item(t, item, parameters, e);
    if (!result)
        result = write_pieces(t, item, parameters, &filled, e);
    if (!result)
        result = check_filled(t, &filled, e);
    if (!result) {
        write_rest(t, item, parameters, &rest, names);
        buf_clear(&texts->parameters);
        buf_clear(&texts->prompt);
        json_object_edit(&texts->parameters, t->is_body ? buf_borrow(&filled) : "{}", names,
                         buf_borrow(&rest));
        if (!t->is_body)
            buf_append(&texts->prompt, filled.data, filled.length);
        item->prompt = t->is_body ? NULL : buf_borrow(&texts->prompt);
        item->parameters = buf_borrow(&texts->parameters);
    }
    free(names);
    buf_free(&rest);
    buf_free(&filled);
    cJSON_Delete(parameters);
    return result;
}
