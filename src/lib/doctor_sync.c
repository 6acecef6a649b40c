// SPDX-License-Identifier: MIT
// The sync with Postgres: is it configured, can it be reached, how far is it, and what does it hold back. Of the
// connection string only where it leads.
#include "base/clock.h"
#include "base/mem.h"
#include "lib/config_sync.h"
#include "lib/doctor.h"
#include "queue/sync.h"
#include "sync/init.h"
#include "sync/pg.h"
#include <stdlib.h>
#include <string.h>

#define LATE_MS (24LL * 3600 * 1000) // a reader that holds the log back for longer is told of

static int look_there(struct doctor *d, const char *url, struct err *e) {
    struct pg *pg = NULL;
    int version = 0;
    int result = pg_open(&pg, url, d->config->sync.schema, e);
    if (!result)
        result = init_version(pg, d->config->sync.schema, &version, e);
    pg_close(pg);
    if (!result && version != init_newest())
        return err_set(e, ERR_CONFIG,
                       "the mirror in schema %s has version %d, not %d: run 'genrun sync init'",
                       d->config->sync.schema, version, init_newest());
    return result;
}

static void look_here(struct doctor *d, const char *place) {
    struct sync_state state = {0};
    struct err e = {0};
    if (d->db == NULL || queue_sync_state(d->db, &state, &e) != 0 || !state.begun) {
        doctor_tell(d, "sync", DOCTOR_OK, NULL, "%s; nothing was brought there yet", place);
        queue_sync_state_clear(&state);
        return;
    }
    int64_t behind = state.newest - state.at.log_id, still_ms = clock_wall_at() - state.moved_at;
    if (state.refused > 0)
        doctor_tell(d, "sync", DOCTOR_WRONG, "genrun sync status", "%s does not take %lld row%s", place,
                    (long long)state.refused, state.refused == 1 ? "" : "s");
    if (behind > 0 && still_ms > LATE_MS)
        doctor_tell(d, "sync", DOCTOR_WRONG, "genrun sync push",
                    "%s is %lld log rows behind for %lld hours: retention keeps them, and their rows, for it",
                    place, (long long)behind, (long long)(still_ms / 3600000));
    else
        doctor_tell(d, "sync", DOCTOR_OK, NULL, "%s, node %s, %lld log row%s behind", place, state.node,
                    (long long)behind, behind == 1 ? "" : "s");
    queue_sync_state_clear(&state);
}

void doctor_look_at_sync(struct doctor *d, bool offline) {
    struct buf url;
    struct err e = {0};
    if (d->config == NULL)
        return;
    if (!config_sync_is_set(d->config)) {
        doctor_tell(d, "sync", DOCTOR_OK, NULL, "it is not configured ([sync])");
        return;
    }
    buf_init(&url, BUF_UNLIMITED);
    if (config_sync_url(d->config, &url, &e) != 0) {
        doctor_tell_message(d, "sync", DOCTOR_WRONG, e.message);
    } else {
        char *place = pg_place(buf_borrow(&url));
        int result = offline ? 0 : look_there(d, buf_borrow(&url), &e);
        if (result == ERR_CONFIG)
            doctor_tell_message(d, "sync", DOCTOR_WRONG, e.message);
        else if (result)
            doctor_tell(d, "sync", DOCTOR_WRONG, "check the server, the network and the connection string",
                        "%s", e.message);
        look_here(d, place);
        free(place);
    }
    config_wipe(&url);
}
