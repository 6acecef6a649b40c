// SPDX-License-Identifier: MIT
// Sessions of browsers: what a cookie stands for. They live in memory, as hashes of random values, until the process
// ends, they are not used for 12 hours, or 64 newer ones push them out. Times are monotonic.
#ifndef GENRUN_HTTP_SESSION_H
#define GENRUN_HTTP_SESSION_H

#include "base/digest.h"
#include <stdbool.h>
#include <stdint.h>

#define SESSION_COOKIE "genrun_session"
#define SESSION_SIZE 48 // a random value as text, with its NUL

struct sessions;

// Who a session is. A key is looked up again for each request, so that it can be revoked.
enum session_of { SESSION_OF_NOBODY, SESSION_OF_LINK, SESSION_OF_SECRET, SESSION_OF_KEY };
struct session {
    enum session_of of;
    char key_hash[DIGEST_HEX_SIZE]; // of a key
};

// Writes a random text of 256 bits that begins with `start` (four characters at most).
void session_random(char out[SESSION_SIZE], const char *start);

struct sessions *sessions_new(void);
void sessions_free(struct sessions *sessions);
// Begins one and writes the cookie's value.
void session_begin(struct sessions *sessions, const struct session *session, char value[SESSION_SIZE],
                   int64_t now_ms);
// Which one the header Cookie (NULL: absent) names; of SESSION_OF_NOBODY when none that is known. *named:
// it has a cookie of that name.
struct session session_find(struct sessions *sessions, const char *cookies, bool *named, int64_t now_ms);
void session_end(struct sessions *sessions, const char *cookies);

#endif
