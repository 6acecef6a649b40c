// SPDX-License-Identifier: MIT
// The objects of OpenAI's API, as its clients expect them: every member there, null
// where there is nothing, times in whole seconds.
#ifndef GENRUN_HTTP_V1_OBJECT_H
#define GENRUN_HTTP_V1_OBJECT_H

#include "base/buf.h"
#include "http/exchange.h"

// Each appends one, from a row of genrun_file_get(), genrun_openai_get() or genrun_models().
void v1_object_file(struct buf *out, const genrun_row *row);
void v1_object_batch(struct buf *out, const genrun_row *row);
void v1_object_model(struct buf *out, const genrun_row *row);

// A list on its way: begun, filled by v1_object_add() as callback, ended with {first_id, last_id, has_more}.
struct v1_list {
    struct buf out;
    void (*write)(struct buf *out, const genrun_row *row);
    char *first, *last;
};
void v1_object_begin(struct v1_list *list, void (*write)(struct buf *out, const genrun_row *row));
int v1_object_add(void *payload, genrun_row *row);
// Answers with it, or with what went wrong, and frees it.
void v1_object_end(struct v1_list *list, struct exchange *x, genrun *g, int code, bool more);

// Answers with one object, or with what went wrong, and frees the row.
void v1_object_answer(struct exchange *x, genrun *g, int code, genrun_row *row,
                      void (*write)(struct buf *out, const genrun_row *row));
// A failure as that API tells it: of what is missing and of conflicts there is no code, and no use in asking again.
void v1_object_failed(struct exchange *x, genrun *g, int code);

#endif
