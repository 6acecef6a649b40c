// SPDX-License-Identifier: MIT
// The markup of man pages (mdoc(7)), as far as ours use it: text and words made
// safe for it, paragraphs, and the parts that both pages have.
#ifndef GENRUN_CLI_MDOC_H
#define GENRUN_CLI_MDOC_H

#include "base/buf.h"
#include "cli/args.h"

// The first lines of a page: its name and section ("GENRUN", "1") and the line of apropos(1).
void mdoc_begin(struct buf *out, const char *title, const char *section, const char *name,
                const char *summary);
// Appends text as lines of a paragraph. A line break of the text begins a new line, also a new sentence.
void mdoc_text(struct buf *out, const char *text);
// Appends one word of a macro's line, with a blank before it, so that it is taken as nothing but text.
void mdoc_word(struct buf *out, const char *word);
// Appends operands as usage shows them ("FILE|-", "[ID…]") to a macro's line.
void mdoc_operands(struct buf *out, const char *operands);
// Appends " Op Fl -name Ar VALUE" for each option, a line each.
void mdoc_usage(struct buf *out, const struct args_option *table);
// Appends a list of options with what they are for; nothing for an empty table.
void mdoc_options(struct buf *out, const struct args_option *table);
// Appends lines to be shown as they are, indented.
void mdoc_example(struct buf *out, const char *lines);
// Items of a list that mdoc_list_begin and mdoc_list_end enclose: `macro` is how the term looks ("Er", "Ev").
void mdoc_list_begin(struct buf *out);
void mdoc_item(struct buf *out, const char *macro, const char *term, const char *text);
void mdoc_list_end(struct buf *out);

#endif
