// SPDX-License-Identifier: MIT
// The scope of a handle: a user whose own generations and batch jobs are all that it finds, lists and changes. Every
// id goes through here.
#include "base/mem.h"
#include "lib/handle.h"
#include "lib/host.h"
#include <stdlib.h>
#include <string.h>

void host_scope(genrun *g, const char *user) {
    if (g->scope && user && strcmp(g->scope, user) == 0)
        return;
    free(g->scope);
    g->scope = mem_copy(user);
}

int handle_whole(genrun *g) {
    return g->scope ? err_set(&g->err, ERR_NOT_FOUND,
                              "there is nothing of that kind for user %s alone: ask as an admin", g->scope)
                    : 0;
}

int handle_scoped_database(genrun *g) {
    if (g->db)
        return 0;
    if (!g->config)
        return err_set(&g->err, ERR_CONFIG, HANDLE_NOT_OPEN);
    return db_open(&g->db, g->config->database, g->create ? DB_CREATE : DB_EXISTING, &g->err);
}

int handle_database(genrun *g) {
    int result = handle_whole(g);
    return result ? result : handle_scoped_database(g);
}

int handle_generation(genrun *g, const char *id, int64_t *seq) {
    int result = handle_scoped_database(g);
    *seq = 0;
    if (!result && (result = queue_find_own_generation(g->db, g->scope, id, seq, &g->err)))
        err_field(&g->err, "id");
    return result;
}

int handle_batch(genrun *g, const char *id, int64_t *seq) {
    int result = handle_scoped_database(g);
    *seq = 0;
    if (!result && (result = queue_find_own_batch(g->db, g->scope, id, seq, &g->err)))
        err_field(&g->err, "id");
    return result;
}

// The same word may name either: a generation is looked for first.
int handle_any(genrun *g, const char *id, int64_t *seq, bool *is_batch) {
    *is_batch = false;
    int result = handle_generation(g, id, seq);
    if (result != ERR_NOT_FOUND)
        return result;
    *is_batch = true;
    result = handle_batch(g, id, seq);
    return result == ERR_NOT_FOUND ? err_set(&g->err, ERR_NOT_FOUND,
                                             "%s is neither a generation nor a batch job: 'genrun list' and "
                                             "'genrun batch list' show their ids",
                                             id)
                                   : result;
}

int handle_user(genrun *g, const char **user) {
    if (!g->scope)
        return 0;
    if (*user && strcmp(*user, g->scope) != 0)
        return err_in(&g->err, ERR_INVALID, "userId", "user %s is not yours to name: leave the user out",
                      *user);
    *user = g->scope;
    return 0;
}
