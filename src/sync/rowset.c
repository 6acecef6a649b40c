// SPDX-License-Identifier: MIT
#include "sync/rowset.h"
#include "base/clock.h"
#include <stdlib.h>
#include <string.h>

void rowset_begin(struct rowset *r, const struct table *table) {
    memset(r, 0, sizeof *r);
    r->table = table;
    for (size_t i = 0; i < table_width(table); i++) {
        buf_init(&r->columns[i], BUF_UNLIMITED);
        buf_char(&r->columns[i], '{');
    }
}

void rowset_free(struct rowset *r) {
    for (size_t i = 0; i < table_width(r->table); i++)
        buf_free(&r->columns[i]);
}

// An element in quotes, where only quote and backslash need one in front.
static void add_text(struct buf *out, const char *text, size_t length) {
    buf_char(out, '"');
    for (const char *end = text + length; text < end;) {
        size_t plain = 0;
        while (text + plain < end && text[plain] != '"' && text[plain] != '\\')
            plain++;
        buf_append(out, text, plain);
        text += plain;
        if (text < end) {
            buf_char(out, '\\');
            buf_char(out, *text++);
        }
    }
    buf_char(out, '"');
}

static void add_bytes(struct buf *out, const unsigned char *bytes, size_t length) {
    static const char digits[] = "0123456789abcdef";
    buf_text(out, "\"\\\\x");
    for (size_t i = 0; i < length; i++) {
        const char pair[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
        buf_append(out, pair, 2);
    }
    buf_char(out, '"');
}

#define YEAR_10000 253402300800000
#define ERA_MS (146097 * 86400000LL) // 400 years, after which the calendar is the same

// timestamptz goes on for a long time after the year 9999, with more digits.
static void add_time(struct buf *out, int64_t at) {
    char time[CLOCK_ISO_SIZE];
    int64_t eras = at >= YEAR_10000 ? (at - YEAR_10000) / ERA_MS + 1 : 0;
    clock_format_iso(at - eras * ERA_MS, time);
    if (eras > 0)
        buf_format(out, "%lld%s", strtoll(time, NULL, 10) + 400 * (long long)eras, time + 4);
    else
        buf_text(out, time);
}

static void add_value(struct buf *out, enum column_kind kind, sqlite3_stmt *statement, int i) {
    if (db_is_null(statement, i)) {
        buf_text(out, "NULL");
        return;
    }
    switch (kind) {
    case COLUMN_TIME:
        add_time(out, db_int(statement, i));
        return;
    case COLUMN_INTEGER:
        buf_format(out, "%lld", (long long)db_int(statement, i));
        return;
    case COLUMN_NUMBER:
        buf_format(out, "%.17g", sqlite3_column_double(statement, i));
        return;
    case COLUMN_FLAG:
        buf_char(out, db_int(statement, i) ? 't' : 'f');
        return;
    case COLUMN_BYTES:
        add_bytes(out, sqlite3_column_blob(statement, i), (size_t)sqlite3_column_bytes(statement, i));
        return;
    case COLUMN_TEXT:
    case COLUMN_UUID:
    case COLUMN_JSON:
        add_text(out, db_text(statement, i), (size_t)sqlite3_column_bytes(statement, i));
        return;
    }
}

void rowset_add(struct rowset *r, sqlite3_stmt *statement) {
    int i = 0;
    for (const struct column *c = r->table->columns; c->name; c++, i++) {
        struct buf *out = &r->columns[i];
        size_t before = out->length;
        if (r->count)
            buf_char(out, ',');
        add_value(out, c->kind, statement, i);
        if (out->length > before && memchr(out->data + before, 0, out->length - before))
            r->wrong = c->name;
        r->bytes += out->length - before;
    }
    r->count++;
}

void rowset_values(struct rowset *r, const char **values) {
    for (size_t i = 0; i < table_width(r->table); i++) {
        buf_char(&r->columns[i], '}');
        values[i] = buf_borrow(&r->columns[i]);
    }
}
