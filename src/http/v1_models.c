// SPDX-License-Identifier: MIT
// /v1/models: what the configuration serves, by name.
#include "base/mem.h"
#include "http/handlers.h"
#include "http/v1_object.h"
#include <stdlib.h>
#include <string.h>

struct models {
    struct v1_list list;
    const char *wanted; // NULL: all
    struct buf found;
};

static int take(void *payload, genrun_row *row) {
    struct models *m = payload;
    const char *name = genrun_row_text(row, "name");
    // Without a provider it only was used once; "*" is no name to ask for.
    if (!genrun_row_text(row, "provider") || strchr(name, '*'))
        return 0;
    if (!m->wanted)
        return v1_object_add(&m->list, row);
    if (strcmp(name, m->wanted) == 0 && m->found.length == 0)
        v1_object_model(&m->found, row);
    return 0;
}

void v1_models_list(struct exchange *x, genrun *g) {
    struct models m = {.wanted = NULL};
    v1_object_begin(&m.list, v1_object_model);
    int code = genrun_models(g, take, &m);
    v1_object_end(&m.list, x, g, code, false);
}

// Names often have a slash in them, which not every client encodes.
void v1_models_get(struct exchange *x, genrun *g) {
    const char *owner = exchange_segment(x, "owner");
    char *id = mem_format("%s%s%s", owner, *owner ? "/" : "", exchange_segment(x, "id"));
    struct models m = {.wanted = id};
    buf_init(&m.found, BUF_UNLIMITED);
    int code = genrun_models(g, take, &m);
    if (code)
        v1_object_failed(x, g, code);
    else if (m.found.length)
        exchange_json(x, 200, &m.found);
    else
        exchange_error(x, 404, NULL, "model_not_found", "model",
                       "The model '%.200s' does not exist: GET /v1/models lists those that do.", m.wanted);
    buf_free(&m.found);
    free(id);
}
