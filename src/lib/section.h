// SPDX-License-Identifier: MIT
// Inside of src/lib/: the names of sections: [http], [model NAME], [webhook NAME].
#ifndef GENRUN_LIB_SECTION_H
#define GENRUN_LIB_SECTION_H

#include "base/buf.h"

// The kind (MODEL_SECTION, WEBHOOK_SECTION) of a section with a name, and that in *name; NULL: it is none.
const char *section_named(const char *section, const char **name);
// The section of this name in the table, when it is one without a NAME; else NULL.
const char *section_plain(const char *section);
// Why such a section cannot have that name, in words that go on "[section] "; NULL: it can.
const char *section_find_bad_name(const char *kind, const char *name);
// Appends "did you mean [http]?" or "the sections are …".
void section_write_hint(struct buf *out, const char *section);

#endif
