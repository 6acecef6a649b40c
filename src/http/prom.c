// SPDX-License-Identifier: MIT
#include "http/prom.h"
#include "base/json.h"
#include "base/text.h"
#include <math.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD" // U+FFFD

static void write_text(struct buf *out, const char *text, bool quoted) {
    for (const char *p = text, *end = text + strlen(text); p < end;) {
        size_t size = text_utf8_size(p, (size_t)(end - p));
        if (size == 0) {
            buf_text(out, REPLACEMENT);
            size = 1;
        } else if (*p == '\n') {
            buf_text(out, "\\n");
        } else if (*p == '\\' || (quoted && *p == '"')) {
            buf_char(out, '\\');
            buf_char(out, *p);
        } else {
            buf_append(out, p, size);
        }
        p += size;
    }
}

static void write_value(struct buf *out, double value) {
    buf_char(out, ' ');
    if (isnan(value)) {
        buf_text(out, "NaN");
    } else if (isinf(value)) {
        buf_text(out, value > 0 ? "+Inf" : "-Inf");
    } else {
        json_write_number(out, value);
    }
    buf_char(out, '\n');
}

static void write_label(struct buf *out, size_t number, const char *name, const char *value) {
    buf_format(out, "%s%s=\"", number ? "," : "{", name);
    write_text(out, value, true);
    buf_char(out, '"');
}

void prom_family(struct buf *out, const char *name, const char *type, const char *help) {
    buf_format(out, "# HELP %s ", name);
    write_text(out, help, false);
    buf_format(out, "\n# TYPE %s %s\n", name, type);
}

// A sample of the family's member `suffix`; le (NULL: none) comes as the last label.
static void write_sample(struct buf *out, const char *name, const char *suffix,
                         const struct prom_label *labels, size_t label_count, const char *le, double value) {
    buf_format(out, "%s%s", name, suffix);
    for (size_t i = 0; i < label_count; i++) {
        write_label(out, i, labels[i].name, labels[i].value);
    }
    if (le) {
        write_label(out, label_count, "le", le);
    }
    if (label_count || le) {
        buf_char(out, '}');
    }
    write_value(out, value);
}

void prom_sample(struct buf *out, const char *name, const char *suffix, const struct prom_label *labels,
                 size_t label_count, double value) {
    write_sample(out, name, suffix, labels, label_count, NULL, value);
}

void prom_histogram(struct buf *out, const char *name, const struct prom_label *labels, size_t label_count,
                    const double *bounds, const uint64_t *counts, size_t bound_count, double sum) {
    uint64_t so_far = 0;
    for (size_t i = 0; i <= bound_count; i++) {
        struct buf le;
        buf_init(&le, 40);
        if (i < bound_count) {
            json_write_number(&le, bounds[i]);
        } else {
            buf_text(&le, "+Inf");
        }
        so_far += counts[i];
        write_sample(out, name, "_bucket", labels, label_count, buf_borrow(&le), (double)so_far);
        buf_free(&le);
    }
    write_sample(out, name, "_sum", labels, label_count, NULL, sum);
    write_sample(out, name, "_count", labels, label_count, NULL, (double)so_far);
}
