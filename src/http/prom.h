// SPDX-License-Identifier: MIT
// Writing the text that Prometheus reads (exposition format 0.0.4): a family is told
// once, and all of its samples follow it.
#ifndef GENRUN_HTTP_PROM_H
#define GENRUN_HTTP_PROM_H

#include "base/buf.h"
#include <stddef.h>
#include <stdint.h>

#define PROM_MIME "text/plain; version=0.0.4; charset=utf-8"

struct prom_label {
    const char *name,
        *value; // the value is any text: it is escaped, and bytes that are not UTF-8 are replaced
};

// Begins a family. `type` is counter, gauge or histogram; name and type are ours, help is any text.
void prom_family(struct buf *out, const char *name, const char *type, const char *help);
// One line of the family begun last. `suffix` is "" but for the lines of a histogram: _bucket (whose last label is
// le), _sum, _count.
void prom_sample(struct buf *out, const char *name, const char *suffix, const struct prom_label *labels,
                 size_t label_count, double value);
// All samples of one histogram. `bounds` are the upper limits of the buckets, ascending; `counts` has one number
// more than there are bounds: what fell in each bucket alone, and last what was greater than all.
void prom_histogram(struct buf *out, const char *name, const struct prom_label *labels, size_t label_count,
                    const double *bounds, const uint64_t *counts, size_t bound_count, double sum);

#endif
