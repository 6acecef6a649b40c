// SPDX-License-Identifier: MIT
// Inside of the doctor: what its parts share. Each part looks at one subject and
// tells rows; none changes anything.
#ifndef GENRUN_LIB_DOCTOR_H
#define GENRUN_LIB_DOCTOR_H

#include "lib/handle.h"
#include "queue/health.h"

enum doctor_state { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WRONG };

struct doctor {
    struct each each;
    bool ended; // the receiver wants no more
    int64_t wrong;
    struct config *config; // what could be understood of it; NULL: it cannot be read
    char *database;        // its path; NULL: not known
    struct db *db;         // open for looking; NULL: it cannot be, or there is none
    struct health health;  // when `db` is there
    bool served;           // a runner of the whole queue is up
};

// Tells one row. `advice` may be NULL; the message is printf-formatted.
void doctor_tell(struct doctor *d, const char *check, enum doctor_state state, const char *advice,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));
// Tells a row from "what was wrong: what to do".
void doctor_tell_message(struct doctor *d, const char *check, enum doctor_state state, const char *message);

void doctor_look_at_database(struct doctor *d); // opens it
void doctor_look_at_work(struct doctor *d);     // the runner, what is stuck or parked
void doctor_look_at_http(struct doctor *d);     // who may call
void doctor_look_at_webhooks(struct doctor *d);
void doctor_look_at_sync(struct doctor *d, bool offline);
void doctor_look_at_system(struct doctor *d);
void doctor_look_at_models(struct doctor *d, bool offline);

#endif
