// SPDX-License-Identifier: MIT
// Rows wait here until a block of them is full; then the widths are known and
// they are printed. The widths of a later block are never below those before.
#include "cli/table.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define BLOCK_ROWS 200
#define GAP 2       // columns between cells
#define NARROWEST 6 // to which a column that may be cut is cut
#define ID_SHOWN 8  // the tail of an id

struct cell {
    char *text; // escaped
    enum style style;
};

struct table {
    FILE *out;
    const struct terminal *terminal;
    const struct table_column *columns;
    size_t column_count;
    size_t *widths;     // natural, the widest seen so far
    size_t *shown;      // as they fit the terminal
    bool *left_out;     // columns for which it is too narrow
    struct cell *cells; // of BLOCK_ROWS rows
    size_t cell_count;
    size_t rows;
    bool titled;
};

struct table *table_new(FILE *out, const struct terminal *terminal, const struct table_column *columns,
                        size_t count) {
    struct table *t = mem_alloc(1, sizeof *t);
    t->out = out;
    t->terminal = terminal;
    t->columns = columns;
    t->column_count = count;
    t->widths = mem_alloc(count, sizeof *t->widths);
    t->shown = mem_alloc(count, sizeof *t->shown);
    t->left_out = mem_alloc(count, sizeof *t->left_out);
    t->cells = mem_alloc(count * BLOCK_ROWS, sizeof *t->cells);
    for (size_t i = 0; i < count; i++)
        t->widths[i] = text_width(columns[i].title);
    return t;
}

static void drop_cells(struct table *t) {
    for (size_t i = 0; i < t->cell_count; i++)
        free(t->cells[i].text);
    t->cell_count = 0;
}

void table_free(struct table *t) {
    if (t == NULL)
        return;
    drop_cells(t);
    free(t->widths);
    free(t->shown);
    free(t->left_out);
    free(t->cells);
    free(t);
}

// Takes columns away from the widest that may be cut, one by one, until the line fits; false when all are at
// their narrowest before it does.
static bool narrow_cells(struct table *t) {
    size_t total = 0;
    for (size_t i = 0; i < t->column_count; i++) {
        t->shown[i] = t->left_out[i] ? 0 : t->widths[i];
        total += t->left_out[i] ? 0 : t->widths[i] + (total > 0 ? GAP : 0);
    }
    for (; t->terminal->present && total > t->terminal->width; total--) {
        size_t widest = t->column_count;
        for (size_t i = 0; i < t->column_count; i++)
            if (t->columns[i].cut && t->shown[i] > NARROWEST &&
                (widest == t->column_count || t->shown[i] > t->shown[widest]))
                widest = i;
        if (widest == t->column_count)
            return false;
        t->shown[widest]--;
    }
    return true;
}

// Where that is not enough, the columns that are worth the least leave, from the right. What is then still too
// long is cut at the terminal's edge.
static void fit_widths(struct table *t) {
    for (size_t i = t->column_count; !narrow_cells(t);) {
        while (i > 0 && (t->left_out[i - 1] || t->columns[i - 1].cut != TABLE_LEAVES))
            i--;
        if (i == 0)
            return;
        t->left_out[--i] = true;
    }
}

static void spaces(struct buf *line, size_t count) {
    buf_format(line, "%*s", (int)count, "");
}

static void write_row(struct table *t, const struct cell *cells) {
    struct buf line;
    buf_init(&line, BUF_UNLIMITED);
    size_t room = t->terminal->present ? t->terminal->width : (size_t)-1;
    for (size_t i = 0; i < t->column_count && room > 0; i++) {
        bool last = i + 1 == t->column_count;
        if (t->left_out[i])
            continue;
        size_t width = t->shown[i] < room ? t->shown[i] : room;
        struct buf text;
        buf_init(&text, BUF_UNLIMITED);
        terminal_write_cut(&text, cells[i].text, t->terminal->present ? width : 0);
        size_t used = text_width(buf_borrow(&text));
        size_t pad = used < width ? width - used : 0;
        if (t->columns[i].right)
            spaces(&line, pad);
        buf_format(&line, "%s%s%s", terminal_style(t->terminal, cells[i].style), buf_borrow(&text),
                   terminal_reset(t->terminal, cells[i].style));
        if (!t->columns[i].right && !last)
            spaces(&line, pad);
        buf_free(&text);
        if (!t->terminal->present) {
            if (!last)
                spaces(&line, GAP);
            continue;
        }
        room -= width;
        size_t gap = last ? 0 : room < GAP ? room : GAP;
        spaces(&line, gap);
        room -= gap;
    }
    fprintf(t->out, "%s\n", buf_borrow(&line));
    buf_free(&line);
}

void table_flush(struct table *t) {
    if (t->cell_count == 0)
        return;
    fit_widths(t);
    if (!t->titled) {
        struct cell *titles = mem_alloc(t->column_count, sizeof *titles);
        for (size_t i = 0; i < t->column_count; i++) {
            titles[i].text = mem_copy(t->columns[i].title);
            titles[i].style = STYLE_BOLD;
        }
        write_row(t, titles);
        for (size_t i = 0; i < t->column_count; i++)
            free(titles[i].text);
        free(titles);
        t->titled = true;
    }
    for (size_t i = 0; i + t->column_count <= t->cell_count; i += t->column_count)
        write_row(t, &t->cells[i]);
    drop_cells(t);
}

void table_cell(struct table *t, const char *text, enum style style) {
    size_t column = t->cell_count % t->column_count;
    if (column == 0) {
        if (t->cell_count == t->column_count * BLOCK_ROWS)
            table_flush(t);
        t->rows++;
    }
    if (text == NULL || text[0] == '\0') {
        text = "-";
        style = STYLE_DIM;
    }
    struct buf escaped;
    buf_init(&escaped, BUF_UNLIMITED);
    terminal_write_cut(&escaped, text, t->terminal->width);
    struct cell *c = &t->cells[t->cell_count++];
    c->text = buf_take(&escaped);
    c->style = style;
    size_t width = text_width(c->text);
    if (width > t->widths[column])
        t->widths[column] = width;
}

void table_cell_integer(struct table *t, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    table_cell(t, text, STYLE_PLAIN);
}

void table_cell_id(struct table *t, const char *id) {
    size_t length = id != NULL ? strlen(id) : 0;
    table_cell(t, length > ID_SHOWN ? id + length - ID_SHOWN : id, STYLE_PLAIN);
}

size_t table_rows(const struct table *t) {
    return t->rows;
}
