// SPDX-License-Identifier: MIT
// Inside of src/lib/: the templates that a submission may use, and which one an
// item means.
#ifndef GENRUN_LIB_TEMPLATE_H
#define GENRUN_LIB_TEMPLATE_H

#include "batch/template.h"
#include "lib/handle.h"

struct template_entry {
    struct template *template;
    char *id, *name, *type, *tier;
};

struct template_set {
    const char *named; // the one for items that name none; NULL: none
    struct template_entry *list;
    size_t count;
    struct template_texts texts; // of the item filled last
};

// Loads all stored templates; none where there is no database yet. ERR_NOT_FOUND when `named` (may be NULL) is none.
// Whatever this returns, the caller ends with template_set_free.
int template_set_load(struct template_set *set, genrun *g, const char *named) must_check;
void template_set_free(struct template_set *set);
// Fills the item's template, if it has one: the one that it names (by name or id); else the set's; else, when it has
// no request of its own or names the nil UUID, the one of its type and tier. ERR_INVALID when none fits.
int template_set_apply(struct template_set *set, struct spec *item, struct err *e) must_check;
// Can a template be meant by an item that came from code, where parameters alone may be the whole request?
bool template_set_is_meant(const struct template_set *set, const struct spec *item);

#endif
