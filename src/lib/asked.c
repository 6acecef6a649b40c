// SPDX-License-Identifier: MIT
// What a person asks to be run next, without waiting for it.
#include "lib/handle.h"
#include <stdio.h>
#include <string.h>

int genrun_process(genrun *g, genrun_row **out, int *asked, const char *id) {
    int64_t seq;
    bool is_asked = false;
    *out = NULL;
    int result = handle_generation(g, id, &seq);
    if (!result)
        result = queue_request_one(g->db, seq, &is_asked, &g->err);
    if (!result)
        result = queue_get(g->db, seq, (struct row **)out, &g->err);
    if (asked)
        *asked = !result && is_asked;
    return handle_result(g, result);
}

int genrun_batch_ask_next(genrun *g, char id[GENRUN_ID_SIZE], const char *batch) {
    struct row *row = NULL;
    int64_t batch_seq, seq = 0;
    id[0] = 0;
    int result = handle_batch(g, batch, &batch_seq);
    if (!result)
        result = queue_request_next(g->db, batch_seq, &seq, &g->err);
    if (!result && seq)
        result = queue_get(g->db, seq, &row, &g->err);
    if (row)
        snprintf(id, GENRUN_ID_SIZE, "%s", row_text(row, "id"));
    row_free(row);
    return handle_result(g, result);
}

// Asked after every commit while somebody waits: only what the two indexes tell.
int genrun_asked(genrun *g, int *open, const char *id) {
    int64_t seq;
    bool is_open = false, ended;
    char status[16];
    *open = 0;
    int result = handle_generation(g, id, &seq);
    if (!result)
        result = queue_request_is_open(g->db, seq, &is_open, &g->err);
    if (!result)
        result = queue_ended(g->db, false, seq, &ended, status, &g->err);
    if (!result)
        *open = is_open || strcmp(status, "processing") == 0;
    return handle_result(g, result);
}
