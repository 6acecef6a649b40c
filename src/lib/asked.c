// SPDX-License-Identifier: MIT
// What a person asks to be run next, without waiting for it.
#include "lib/handle.h"
#include "lib/host.h"
#include <string.h>

int genrun_process(genrun *g, genrun_row **out, int *asked, const char *id) {
    int64_t seq;
    bool is_asked = false;
    if (out)
        *out = NULL;
    int result = handle_generation(g, id, &seq);
    if (!result)
        result = queue_request_one(g->db, seq, &is_asked, &g->err);
    if (!result && out)
        result = queue_get(g->db, seq, (struct row **)out, &g->err);
    if (asked)
        *asked = !result && is_asked;
    return handle_result(g, result);
}

int genrun_batch_ask_next(genrun *g, char id[GENRUN_ID_SIZE], const char *batch) {
    int64_t batch_seq, seq = 0;
    char status[16];
    id[0] = 0;
    int result = handle_batch(g, batch, &batch_seq);
    if (!result)
        result = queue_request_next(g->db, batch_seq, &seq, &g->err);
    if (!result && seq)
        result = queue_name(g->db, seq, id, status, &g->err);
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

int host_name(genrun *g, char id[GENRUN_ID_SIZE], char status[16], const char *of) {
    int64_t seq;
    int result = handle_generation(g, of, &seq);
    if (!result)
        result = queue_name(g->db, seq, id, status, &g->err);
    return handle_result(g, result);
}

bool host_bound(genrun *g, int64_t bytes) {
    bool was_bounded = g->db && db_was_bounded(g->db);
    if (g->db)
        db_bound(g->db, bytes);
    return was_bounded;
}
