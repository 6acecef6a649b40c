// SPDX-License-Identifier: MIT
#include "http/session.h"
#include "base/base64.h"
#include "base/id.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define KEPT 64
#define IDLE_MS (INT64_C(12) * 3600 * 1000)
#define RANDOM_BYTES 32

struct entry {
    unsigned char hash[DIGEST_SIZE];
    struct session session; // of SESSION_OF_NOBODY: free
    int64_t seen_ms;
};

struct sessions {
    struct entry list[KEPT];
};

void session_random(char out[SESSION_SIZE], const char *start) {
    unsigned char bytes[RANDOM_BYTES];
    struct buf text;
    buf_init(&text, SESSION_SIZE - 1);
    id_random_bytes(bytes, sizeof bytes);
    buf_text(&text, start);
    base64_url(&text, bytes, sizeof bytes);
    memcpy(out, buf_borrow(&text), text.length + 1);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(text.data, text.capacity);
    buf_free(&text);
}

struct sessions *sessions_new(void) {
    return mem_alloc(1, sizeof(struct sessions));
}

void sessions_free(struct sessions *sessions) {
    free(sessions);
}

void session_begin(struct sessions *sessions, const struct session *session, char value[SESSION_SIZE],
                   int64_t now_ms) {
    struct entry *to = &sessions->list[0];
    for (struct entry *e = sessions->list; e < sessions->list + KEPT && to->session.of != SESSION_OF_NOBODY;
         e++)
        if (e->session.of == SESSION_OF_NOBODY || e->seen_ms < to->seen_ms)
            to = e;
    session_random(value, "");
    digest_sha256(to->hash, value, strlen(value));
    to->session = *session;
    to->seen_ms = now_ms;
}

static struct entry *find(struct sessions *sessions, const char *value, size_t length) {
    unsigned char hash[DIGEST_SIZE];
    digest_sha256(hash, value, length);
    for (struct entry *e = sessions->list; e < sessions->list + KEPT; e++)
        if (e->session.of != SESSION_OF_NOBODY && digest_equal(e->hash, hash, sizeof hash))
            return e;
    return NULL;
}

// The next cookie of our name at or behind *at, which moves on; false: there is no more.
static bool next_cookie(const char **at, const char **value, size_t *length) {
    static const char name[] = SESSION_COOKIE "=";
    while (**at) {
        const char *start = *at + strspn(*at, " \t;");
        size_t n = strcspn(start, ";");
        *at = start + n;
        if (n < sizeof name - 1 || memcmp(start, name, sizeof name - 1) != 0)
            continue;
        *value = start + sizeof name - 1;
        *length = n - (sizeof name - 1);
        while (*length > 0 && ((*value)[*length - 1] == ' ' || (*value)[*length - 1] == '\t'))
            --*length;
        return true;
    }
    return false;
}

struct session session_find(struct sessions *sessions, const char *cookies, bool *named, int64_t now_ms) {
    const char *at = cookies ? cookies : "", *value;
    size_t length;
    *named = false;
    // Other servers of this host may have set one, too.
    while (next_cookie(&at, &value, &length)) {
        struct entry *e = find(sessions, value, length);
        *named = true;
        if (!e)
            continue;
        if (now_ms - e->seen_ms < IDLE_MS) {
            e->seen_ms = now_ms;
            return e->session;
        }
        memset(e, 0, sizeof *e);
    }
    return (struct session){.of = SESSION_OF_NOBODY};
}

void session_end(struct sessions *sessions, const char *cookies) {
    const char *at = cookies ? cookies : "", *value;
    size_t length;
    while (next_cookie(&at, &value, &length)) {
        struct entry *e = find(sessions, value, length);
        if (e)
            memset(e, 0, sizeof *e);
    }
}
