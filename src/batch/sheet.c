// SPDX-License-Identifier: MIT
// Headers and rows. A name that is only nearly right is refused: as a parameter
// it would be sent to the model, and nobody would see why it changes nothing.
#include "batch/sheet.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "batch/compact.h"
#include <stdlib.h>
#include <string.h>

struct sheet_column {
    char *name;
    const struct item_column *known; // NULL: a parameter
    char *key;                       // of a parameter: "name":
};

bool sheet_is_value(const char *text, size_t length) {
    size_t blanks = 0;
    while (blanks < length && (text[blanks] == ' ' || text[blanks] == '\t'))
        blanks++;
    // Most text is known by its first character.
    return blanks < length && strchr("-0123456789tfn", text[blanks]) && compact_is_json(text, length);
}

// ---- the header ----------------------------------------------------------------

static int check_name(const char *name, size_t number, struct err *e) {
    if (!*name)
        return err_set(e, ERR_INVALID, "column %zu has no name: give each column one in the first row",
                       number);
    if (strchr(" \t", name[0]) || strchr(" \t", name[strlen(name) - 1]))
        return err_set(e, ERR_INVALID,
                       "the name of column %zu (\"%.100s\") has blanks around it: remove them", number, name);
    const char *right = item_column_misspelt(name);
    if (right)
        return err_set(e, ERR_INVALID, "column %zu is named \"%s\": write it %s", number, name, right);
    if (strcmp(name, "messages") == 0)
        return err_set(e, ERR_INVALID,
                       "column messages cannot stand in CSV: use the column prompt, or JSONL");
    return ERR_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The names in order; the caller frees the list.
static const char **sorted_names(const struct sheet *s) {
    const char **names = mem_alloc(s->count, sizeof *names);
    for (size_t i = 0; i < s->count; i++)
        names[i] = s->columns[i].name;
    qsort(names, s->count, sizeof *names, compare_names);
    return names;
}

static int check_names(const struct sheet *s, bool prompt_optional, struct err *e) {
    const char **names = sorted_names(s);
    int rc = ERR_OK;
    bool has_prompt = prompt_optional;
    for (size_t i = 0; !rc && i < s->count; i++) {
        has_prompt = has_prompt || strcmp(names[i], "prompt") == 0;
        if (i > 0 && strcmp(names[i - 1], names[i]) == 0)
            rc = err_set(e, ERR_INVALID, "two columns are named \"%.100s\": keep one", names[i]);
    }
    const char *nearest = text_nearest("prompt", names, s->count);
    if (!rc && !has_prompt && nearest)
        rc = err_set(e, ERR_INVALID, "no column is named prompt: rename \"%.100s\"", nearest);
    else if (!rc && !has_prompt)
        rc = err_set(e, ERR_INVALID, "no column is named prompt: name the columns in the first row");
    free(names);
    return rc;
}

// Spreadsheets of many countries put semicolons where commas belong.
static int check_delimiter(const struct csv *header, struct err *e) {
    const char *text = csv_text(header, 0);
    char found = strchr(text, ';') ? ';' : strchr(text, '\t') ? '\t' : '\0';
    if (header->count > 1 || header->cells[0].quoted || !found)
        return ERR_OK;
    return err_set(e, ERR_INVALID, "the columns are apart by %s: save the file with commas between them",
                   found == ';' ? "semicolons" : "tabs");
}

static size_t find_column(const struct sheet *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->columns[i].name, name) == 0)
            return i;
    return SHEET_NO_COLUMN;
}

int sheet_init(struct sheet *s, const struct csv *header, const struct item_reader *r, struct err *e) {
    *s = (struct sheet){.columns = mem_alloc(header->count, sizeof *s->columns)};
    int rc = check_delimiter(header, e);
    for (size_t i = 0; !rc && i < header->count; i++) {
        const char *name = csv_text(header, i);
        rc = check_name(name, i + 1, e);
        if (rc)
            break;
        struct sheet_column *column = &s->columns[s->count++];
        struct buf key;
        buf_init(&key, BUF_UNLIMITED);
        json_write_text(&key, name);
        buf_char(&key, ':');
        *column = (struct sheet_column){mem_copy(name), item_column_find(name), buf_take(&key)};
    }
    if (!rc)
        rc = check_names(s, r->prompt_optional, e);
    s->default_columns = mem_alloc(r->default_count + 1, sizeof *s->default_columns);
    for (size_t i = 0; i < r->default_count; i++)
        s->default_columns[i] = find_column(s, r->defaults[i].key);
    return rc;
}

void sheet_free(struct sheet *s) {
    for (size_t i = 0; i < s->count; i++) {
        free(s->columns[i].name);
        free(s->columns[i].key);
    }
    free(s->columns);
    free(s->default_columns);
    *s = (struct sheet){.count = 0};
}

// ---- rows ----------------------------------------------------------------------

static bool is_absent(const struct csv_cell *cell) {
    return cell->length == 0 && !cell->quoted;
}

static int take_priority(const char *text, struct spec *spec, struct err *e) {
    char *end = NULL;
    long number = strtol(text, &end, 10);
    if (end == text || *end || number < -SPEC_PRIORITY_LIMIT || number > SPEC_PRIORITY_LIMIT)
        return err_set(e, ERR_INVALID, "priority is %.40s: give a whole number from -%d to %d", text,
                       SPEC_PRIORITY_LIMIT, SPEC_PRIORITY_LIMIT);
    spec->priority = (int)number;
    return ERR_OK;
}

static int take_column(const struct item_column *known, const char *text, struct spec *spec, struct err *e) {
    if (!*text || known->kind == ITEM_RESULT)
        return ERR_OK;
    if (known->kind == ITEM_PRIORITY)
        return take_priority(text, spec, e);
    memcpy((char *)spec + known->offset, &text, sizeof text);
    return ERR_OK;
}

static void begin_member(struct buf *out) {
    buf_char(out, out->length ? ',' : '{');
}

static int take_parameter(struct sheet *s, const struct sheet_column *column, const struct csv *row, size_t i,
                          struct buf *out, struct err *e) {
    const struct csv_cell *cell = &row->cells[i];
    const char *text = csv_text(row, i);
    begin_member(out);
    buf_text(out, column->key);
    bool asked = !cell->quoted || !s->quoted_value;
    bool is_value = asked && sheet_is_value(text, cell->length);
    if (is_value && cell->quoted) {
        s->quoted_value = column->name;
        s->quoted_value_line = row->first_line;
    }
    if (!is_value || cell->quoted) {
        json_write_bytes(out, text, cell->length);
        return ERR_OK;
    }
    cJSON *value = NULL;
    struct err why = {.code = ERR_OK};
    if (json_parse(text, cell->length, &value, &why)) // JSON, but beyond what a number may be
        return err_set(e, ERR_INVALID, "%.100s is a number that is too long or too large: put it in quotes",
                       column->name);
    cJSON_Delete(value);
    buf_append(out, text, cell->length);
    return ERR_OK;
}

static void add_defaults(const struct sheet *s, const struct csv *row, const struct item_reader *r,
                         struct buf *out) {
    for (size_t i = 0; i < r->default_count; i++) {
        size_t column = s->default_columns[i];
        if (column != SHEET_NO_COLUMN && !is_absent(&row->cells[column]))
            continue;
        begin_member(out);
        buf_text(out, r->defaults[i].text);
    }
}

int sheet_read(struct sheet *s, const struct csv *row, struct item_reader *r, struct spec *spec,
               struct err *e) {
    *spec = (struct spec){.priority = r->priority};
    if (row->count != s->count)
        return err_set(e, ERR_INVALID,
                       "%zu cell%s where the header has %zu column%s: complete the row, and put cells with "
                       "commas in quotes",
                       row->count, row->count == 1 ? "" : "s", s->count, s->count == 1 ? "" : "s");
    struct buf *parameters = &r->parameters;
    buf_clear(parameters);
    for (size_t i = 0; i < s->count; i++) {
        const struct sheet_column *column = &s->columns[i];
        if (is_absent(&row->cells[i]))
            continue;
        int rc = column->known ? take_column(column->known, csv_text(row, i), spec, e)
                               : take_parameter(s, column, row, i, parameters, e);
        if (rc)
            return rc;
    }
    if (!spec->prompt && !r->prompt_optional)
        return err_set(e, ERR_INVALID, "prompt is empty: give each row one, or remove the row");
    add_defaults(s, row, r, parameters);
    if (parameters->length) {
        buf_char(parameters, '}');
        spec->parameters = buf_borrow(parameters);
    }
    return ERR_OK;
}
