// SPDX-License-Identifier: MIT
// The sync with Postgres: is it configured, can it be reached, how far is it, and what does it hold back. Of the
// connection string only where it leads.
#include "base/clock.h"
#include "base/mem.h"
#include "lib/config_sync.h"
#include "lib/doctor.h"
#include "lib/sync_look.h"
#include "queue/sync.h"
#include "sync/dial.h"
#include <stdio.h>
#include <stdlib.h>

#define LATE_MS (24LL * 3600 * 1000) // a reader that holds the log back for longer is told of

static void tell_time(char out[CLOCK_ISO_SIZE + 16], const char *what, int64_t at) {
    char time[CLOCK_ISO_SIZE];
    out[0] = 0;
    if (!at)
        return;
    clock_format_iso(at, time);
    snprintf(out, CLOCK_ISO_SIZE + 16, ", %s %s", what, time);
}

// What the last tries came to, where nobody has asked just now.
static void tell_last(struct doctor *d, const struct sync_state *state) {
    char since[CLOCK_ISO_SIZE + 16];
    int64_t since_at = state->offline_since ? state->offline_since : state->failed_since;
    tell_time(since, "since", since_at);
    if (since_at)
        doctor_tell(d, "sync", DOCTOR_WRONG, "genrun sync status", "the last tries failed%s: %s", since,
                    state->reason ? state->reason : "");
}

static void look_here(struct doctor *d, const struct sync_state *state, const char *place,
                      const struct sync_look *there, bool failed) {
    char contact[CLOCK_ISO_SIZE + 16];
    if (!state->begun) {
        doctor_tell(d, "sync", DOCTOR_OK, NULL, "%s; nothing was brought there yet", place);
        return;
    }
    int64_t behind = state->behind, still_ms = clock_wall_at() - state->moved_at;
    tell_time(contact, "last contact", there->synced_at ? there->synced_at : state->contact_at);
    if (!failed)
        tell_last(d, state);
    if (state->refused > 0)
        doctor_tell(d, "sync", DOCTOR_WRONG, "genrun sync status", "%s does not take %lld row%s", place,
                    (long long)state->refused, state->refused == 1 ? "" : "s");
    if (behind > 0 && still_ms > LATE_MS)
        doctor_tell(d, "sync", DOCTOR_WRONG, "genrun sync push",
                    "%s is %lld rows behind for %lld hours: retention keeps them for it", place,
                    (long long)behind, (long long)(still_ms / 3600000));
    else
        doctor_tell(d, "sync", DOCTOR_OK, NULL, "%s, node %s, %lld row%s behind%s", place, state->node,
                    (long long)behind, behind == 1 ? "" : "s", contact);
}

static void look(struct doctor *d, const char *url, bool offline) {
    struct sync_state state = {0};
    struct sync_look there = {0};
    struct err e = {0};
    char *own = config_sync_node(d->config), *place = dial_place(url);
    if (d->db == NULL || queue_sync_state(d->db, &state, &e) != 0)
        state.begun = false;
    int result = offline ? 0 : sync_look(d->config, url, state.begun ? state.node : own, &there, &e);
    if (result == ERR_REMOTE && !there.connected)
        doctor_tell(d, "sync", DOCTOR_WRONG, "check the server, the network and the connection string", "%s",
                    e.message);
    else if (result)
        doctor_tell_message(d, "sync", DOCTOR_WRONG, e.message);
    char *way = mem_format("%s%s", place,
                           !there.connected ? ""
                           : there.pooled   ? " (through a pooler)"
                                            : " (direct)");
    look_here(d, &state, way, &there, result != 0);
    free(way);
    free(place);
    free(own);
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
    if (config_sync_url(d->config, &url, &e) != 0)
        doctor_tell_message(d, "sync", DOCTOR_WRONG, e.message);
    else
        look(d, buf_borrow(&url), offline);
    config_wipe(&url);
}
