// SPDX-License-Identifier: MIT
// Cells copied from a statement, looked up by name and written as JSON.
#include "db/row.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cell {
    char *name;
    char *bytes; // NUL-terminated; NULL: a NULL cell
    size_t length;
    int type; // SQLITE_INTEGER, SQLITE_FLOAT, SQLITE_TEXT, SQLITE_BLOB, SQLITE_NULL
    int64_t integer;
    double number;
    bool boolean; // 0 or 1 that JSON shows as false or true
};

// What is copied from a statement stands in one piece of memory, cell by cell: rows are made by the million. Only
// cells that are added by hand have their own.
struct row {
    struct cell *cells;
    size_t count;
    size_t copied; // of them
    char *store;   // names and bytes of those
    char *json;
};

#define NAME_ROOM 24    // of a name in JSON, and its value when that is short
#define SPARE_CELLS 4   // that may be added by hand at no cost
#define INTEGER_SIZE 24 // its text, and the NUL

static void set_name(struct cell *c, char *name, size_t length) {
    c->name = name;
    if (length > 1 && name[length - 1] == '?') {
        name[length - 1] = '\0';
        c->boolean = true;
    }
}

static struct cell *add(struct row *row, const char *name, int type) {
    if (row->count >= row->copied + SPARE_CELLS || !row->copied)
        row->cells = mem_resize(row->cells, row->count + 1, sizeof *row->cells);
    struct cell *c = &row->cells[row->count++];
    *c = (struct cell){.type = type};
    set_name(c, mem_copy(name), strlen(name));
    return c;
}

struct row *row_new(void) {
    return mem_alloc(1, sizeof(struct row));
}

// The type and the bytes of each cell but those of integers, and how much room they need with the names. (Asking for
// the bytes may change what the statement holds, so nothing is asked for twice.)
static size_t measure(sqlite3_stmt *statement, struct cell *cells, int columns) {
    size_t size = 0;
    for (int i = 0; i < columns; i++) {
        struct cell *c = &cells[i];
        *c = (struct cell){.type = sqlite3_column_type(statement, i)};
        size += strlen(sqlite3_column_name(statement, i)) + 1;
        if (c->type == SQLITE_INTEGER) {
            size += INTEGER_SIZE;
        } else if (c->type != SQLITE_NULL) {
            if (c->type == SQLITE_FLOAT)
                c->number = sqlite3_column_double(statement, i);
            if (c->type != SQLITE_BLOB)
                (void)sqlite3_column_text(statement, i);
            c->length = (size_t)sqlite3_column_bytes(statement, i);
            size += c->length + 1;
        }
    }
    return size;
}

static char *copy(char *to, const void *bytes, size_t length) {
    if (length)
        memcpy(to, bytes, length);
    to[length] = '\0';
    return to + length + 1;
}

static size_t write_integer(char out[INTEGER_SIZE], int64_t value) {
    char digits[INTEGER_SIZE];
    size_t n = 0, length = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[n++] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        out[length++] = '-';
    while (n > 0)
        out[length++] = digits[--n];
    out[length] = '\0';
    return length;
}

struct row *row_copy(sqlite3_stmt *statement) {
    struct row *row = row_new();
    int columns = sqlite3_column_count(statement);
    row->count = row->copied = (size_t)columns;
    row->cells = mem_resize(NULL, row->count + SPARE_CELLS, sizeof *row->cells);
    char *at = row->store = mem_resize(NULL, measure(statement, row->cells, columns) + 1, 1);
    for (int i = 0; i < columns; i++) {
        struct cell *c = &row->cells[i];
        const char *name = sqlite3_column_name(statement, i);
        size_t length = strlen(name);
        char *own = at;
        at = copy(at, name, length);
        set_name(c, own, length);
        if (c->type == SQLITE_NULL)
            continue;
        c->bytes = at;
        if (c->type == SQLITE_INTEGER) {
            c->integer = sqlite3_column_int64(statement, i);
            c->length = write_integer(at, c->integer);
            at += c->length + 1;
        } else {
            at = copy(at,
                      c->type == SQLITE_BLOB ? sqlite3_column_blob(statement, i)
                                             : sqlite3_column_text(statement, i),
                      c->length);
        }
    }
    return row;
}

void row_add_text(struct row *row, const char *name, const char *text) {
    struct cell *c = add(row, name, text ? SQLITE_TEXT : SQLITE_NULL);
    if (!text)
        return;
    c->length = strlen(text);
    c->bytes = mem_copy(text);
}

void row_add_integer(struct row *row, const char *name, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    row_add_text(row, name, text);
    row->cells[row->count - 1].type = SQLITE_INTEGER;
    row->cells[row->count - 1].integer = value;
}

void row_add_number(struct row *row, const char *name, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.10g", value);
    row_add_text(row, name, text);
    row->cells[row->count - 1].type = SQLITE_FLOAT;
    row->cells[row->count - 1].number = value;
}

void row_free(struct row *row) {
    if (!row)
        return;
    for (size_t i = row->copied; i < row->count; i++) {
        free(row->cells[i].name);
        free(row->cells[i].bytes);
    }
    free(row->store);
    free(row->cells);
    free(row->json);
    free(row);
}

static const struct cell *find(const struct row *row, const char *name) {
    for (size_t i = 0; i < row->count; i++)
        if (strcmp(row->cells[i].name, name) == 0)
            return &row->cells[i];
    return NULL;
}

size_t row_size(const struct row *row) {
    size_t size = 0;
    for (size_t i = 0; i < row->count; i++)
        size += row->cells[i].length;
    return size;
}

const char *row_text(const struct row *row, const char *name) {
    const struct cell *c = find(row, name);
    return c ? c->bytes : NULL;
}

const void *row_bytes(const struct row *row, const char *name, size_t *length) {
    const struct cell *c = find(row, name);
    *length = c ? c->length : 0;
    return c ? c->bytes : NULL;
}

int64_t row_integer(const struct row *row, const char *name, int64_t fallback) {
    const struct cell *c = find(row, name);
    if (!c || (c->type != SQLITE_INTEGER && c->type != SQLITE_FLOAT))
        return fallback;
    return c->type == SQLITE_INTEGER ? c->integer : (int64_t)c->number;
}

double row_number(const struct row *row, const char *name, double fallback) {
    const struct cell *c = find(row, name);
    if (!c || (c->type != SQLITE_INTEGER && c->type != SQLITE_FLOAT))
        return fallback;
    return c->type == SQLITE_FLOAT ? c->number : (double)c->integer;
}

// Times are known by their names, as everywhere in the schema.
static bool is_time(const char *name) {
    return text_ends_with(name, "_at") || strcmp(name, "last_heartbeat") == 0 ||
           strcmp(name, "last_progress") == 0 || strcmp(name, "latest_failure") == 0 ||
           strcmp(name, "run_after") == 0 || strcmp(name, "until") == 0 || strcmp(name, "since") == 0;
}

static bool is_json(const char *name) {
    return strcmp(name, "parameters") == 0 || strcmp(name, "models") == 0 || strcmp(name, "data") == 0 ||
           strcmp(name, "parked_models") == 0 || strcmp(name, "before") == 0 || strcmp(name, "after") == 0 ||
           strcmp(name, "outputs") == 0;
}

// Names are those of our SQL: letters, digits and underscores, which JSON needs not escape.
static void write_name(struct buf *out, const char *name, bool first) {
    char text[160];
    size_t n = 0;
    if (!first)
        text[n++] = ',';
    text[n++] = '"';
    for (; *name && n < sizeof text - 3; name++) {
        if (*name == '_' && name[1])
            text[n++] = (char)toupper((unsigned char)*++name);
        else
            text[n++] = *name;
    }
    text[n++] = '"';
    text[n++] = ':';
    buf_append(out, text, n);
}

static void write_value(struct buf *out, const struct cell *c) {
    char iso[CLOCK_ISO_SIZE];
    switch (c->type) {
    case SQLITE_NULL:
        buf_append(out, "null", 4);
        break;
    case SQLITE_INTEGER:
        if (c->boolean) {
            buf_text(out, c->integer ? "true" : "false");
        } else if (is_time(c->name)) {
            clock_format_iso(c->integer, iso);
            buf_char(out, '"');
            buf_append(out, iso, sizeof iso - 1);
            buf_char(out, '"');
        } else {
            buf_append(out, c->bytes, c->length);
        }
        break;
    case SQLITE_FLOAT:
        buf_text(out, isfinite(c->number) ? c->bytes : "null");
        break;
    default:
        if (is_json(c->name))
            buf_append(out, c->bytes, c->length);
        else
            json_write_bytes(out, c->bytes, c->length);
    }
}

const char *row_json(struct row *row) {
    if (row->json)
        return row->json;
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    buf_reserve(&out, row_size(row) + row->count * NAME_ROOM);
    buf_char(&out, '{');
    for (size_t i = 0; i < row->count; i++) {
        if (row->cells[i].name[0] == '_')
            continue;
        write_name(&out, row->cells[i].name, out.length == 1);
        write_value(&out, &row->cells[i]);
    }
    buf_char(&out, '}');
    return row->json = buf_take(&out);
}
