// SPDX-License-Identifier: MIT
// Templates: request texts with {{column}} in them, filled from the columns and
// parameters of an item.
//
// A body that is a JSON object is a whole request body: inside of a string a value is written as text of that
// string, elsewhere as a JSON value. Any other body is a prompt. Blanks inside of the braces do not count. Columns are
// prompt, model, custom_id, topic, tier, type, session_id; every other name is a parameter.
#ifndef GENRUN_BATCH_TEMPLATE_H
#define GENRUN_BATCH_TEMPLATE_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/spec.h"
#include <stdbool.h>

#define TEMPLATE_BODY_MAXIMUM ((size_t)1 << 20)

struct template;

// Takes a body apart. ERR_INVALID, with what is wrong and where in it: empty, not UTF-8, a {{ that is not closed, a
// name that is empty, what begins as a JSON object and is none. The caller frees *out, NULL on failure.
int template_parse(struct template **out, const char *name, const char *body, size_t length,
                   struct err *e) must_check;
void template_free(struct template *template); // NULL is fine

// The memory of what template_fill writes, kept from item to item.
struct template_texts {
    struct buf prompt, parameters;
};
void template_texts_init(struct template_texts *texts);
void template_texts_free(struct template_texts *texts);

// Fills the template from the item and puts the prompt, or the request body, in its place. Parameters that the
// template used are not parameters of the request any more; the others are, and count more than members of the
// same name in a body. ERR_INVALID: a column that the template needs is missing or empty; the item has a prompt that
// the template does not use, or messages beside a prompt. The item's new texts are valid until the next call.
int template_fill(const struct template *template, struct spec *item, struct template_texts *texts,
                  struct err *e) must_check;

#endif
