// SPDX-License-Identifier: MIT
// What a server's list of models says, in the shapes that servers give it. Only
// reads.
#ifndef GENRUN_PROVIDER_MODEL_LIST_H
#define GENRUN_PROVIDER_MODEL_LIST_H

#include "base/buf.h"

enum model_list {
    MODEL_LIST_NONE,  // it is no list of models
    MODEL_LIST_LACKS, // the name is not in it
    MODEL_LIST_PAGED, // the same, but it is only a part of the list
    MODEL_LIST_HAS
};

// Looks for `name` in the body of an answer. The names that are there are appended to `names`, each with a NUL.
enum model_list model_list_find(const char *body, size_t length, const char *name, struct buf *names);
// The one of `names` nearest to `name`, NULL: none is near. The caller frees it.
char *model_list_nearest(const struct buf *names, const char *name);
// "a, b, c and 12 more" for a message; "" when there is none. The caller frees it.
char *model_list_some(const struct buf *names);

#endif
