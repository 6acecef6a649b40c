// SPDX-License-Identifier: MIT
#ifdef HAVE_PG
#include "sync/dial.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 100 // an owner's end is seen so soon

// ---- the connection string ----

static bool is_local(const char *host) {
    return !host || !*host || host[0] == '/' || host[0] == '@' || strcmp(host, "localhost") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host)) ||
           strcmp(host, "::1") == 0;
}

static const char *option(const PQconninfoOption *options, const char *name) {
    for (; options->keyword; options++)
        if (strcmp(options->keyword, name) == 0)
            return options->val;
    return NULL;
}

// Every host of a list "a,b".
static bool all_local(const char *hosts) {
    if (!hosts || !*hosts)
        return true;
    char *list = mem_copy(hosts), *rest = list;
    bool local = true;
    for (char *host; (host = strsep(&rest, ","));)
        local &= is_local(host);
    free(list);
    return local;
}

// A bare @ or / in the password of a URL: libpq would take what follows for the host, the port or the database, and it
// would be told as that.
static bool spills_password(const char *url) {
    const char *p = strstr(url, "://");
    if (!text_starts_with(url, "postgres") || !p)
        return false;
    p += strlen("://");
    p += strcspn(p, "@/");
    return *p && memchr(p + 1, '@', strcspn(p + 1, "?")) != NULL;
}

static bool is_fine(const PQconninfoOption *options, const char *url) {
    const char *port = option(options, "port");
    return !spills_password(url) && (!port || strspn(port, "0123456789,") == strlen(port));
}

// libpq's message may quote the string, and with it the password: it is not repeated.
static int read_url(const char *url, PQconninfoOption **out, struct err *e) {
    char *message = NULL;
    *out = PQconninfoParse(url, &message);
    PQfreemem(message);
    if (*out && is_fine(*out, url))
        return 0;
    PQconninfoFree(*out);
    *out = NULL;
    return err_set(
        e, ERR_CONFIG,
        "the connection string of [sync] cannot be read: write it as "
        "postgresql://user:password@host/database, with %%40 for @, %%2F for / and %%25 for %% in the "
        "password, and only options of libpq behind a ?");
}

char *dial_place(const char *url) {
    PQconninfoOption *options = NULL;
    struct err e;
    if (read_url(url, &options, &e))
        return mem_copy("Postgres");
    const char *host = option(options, "host"), *port = option(options, "port"),
               *name = option(options, "dbname");
    char *place = mem_format("%s%s%s/%s", host && *host ? host : "localhost", port && *port ? ":" : "",
                             port ? port : "", name ? name : "");
    PQconninfoFree(options);
    return place;
}

// The place where libpq looks for what is not given.
static const char *given_or(const PQconninfoOption *given, const char *name, const char *variable) {
    const char *value = option(given, name);
    return value ? value : getenv(variable);
}

static bool goes_nowhere_else(const PQconninfoOption *given) {
    const char *host = given_or(given, "host", "PGHOST"),
               *address = given_or(given, "hostaddr", "PGHOSTADDR");
    // A service file may name any host.
    if (!host && !address && given_or(given, "service", "PGSERVICE"))
        return false;
    return all_local(host) && all_local(address);
}

// The certificates that this machine trusts; NULL: libpq's own default, in the home folder.
static const char *trusted(void) {
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return NULL;
}

// What is given, and ours where nothing is.
static PGconn *start(const PQconninfoOption *given) {
    const char *mode = given_or(given, "sslmode", "PGSSLMODE");
    if (!mode)
        mode = goes_nowhere_else(given) ? "prefer" : "verify-full";
    // Only there: with a root certificate sslmode=require verifies, too, which is not what it says.
    const char *root = strncmp(mode, "verify", 6) == 0 && !getenv("PGSSLROOTCERT") ? trusted() : NULL;
    const struct {
        const char *keyword, *value;
    } ours[] = {{"connect_timeout", "10"},     {"application_name", "genrun"},
                {"client_encoding", "UTF8"},   {"keepalives_idle", "30"},
                {"keepalives_interval", "10"}, {"keepalives_count", "3"},
                {"tcp_user_timeout", "60000"}, {"sslmode", mode},
                {"sslrootcert", root}};
    const char *keywords[80], *values[80];
    int n = 0;
    for (const PQconninfoOption *o = given; o->keyword && n < 60; o++)
        if (o->val) {
            keywords[n] = o->keyword;
            values[n++] = o->val;
        }
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (ours[i].value && !option(given, ours[i].keyword)) {
            keywords[n] = ours[i].keyword;
            values[n++] = ours[i].value;
        }
    keywords[n] = values[n] = NULL;
    return PQconnectStartParams(keywords, values, 0);
}

// ---- the thread ----

struct dial {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool shared; // its thread and whoever waits both hold it; the one who goes last frees it
    PQconninfoOption *given;
    int limit_ms;
    atomic_bool left;        // nobody waits for it any more
    atomic_bool naming;      // libpq has not come so far as to have a socket
    atomic_llong stepped_ms; // when it last went on
    bool done, late;         // late: not had within limit_ms
    PGconn *conn;            // when it is done. NULL: there is no memory
};

static void let_go(struct dial *d) {
    pthread_mutex_lock(&d->mutex);
    bool last = !d->shared;
    d->shared = false;
    pthread_mutex_unlock(&d->mutex);
    if (!last)
        return;
    PQfinish(d->conn);
    PQconninfoFree(d->given);
    pthread_mutex_destroy(&d->mutex);
    pthread_cond_destroy(&d->changed);
    free(d);
}

// From the socket on to the connection; false: it is not had in time.
static bool go_on(struct dial *d, PGconn *conn) {
    int64_t until_ms = clock_monotonic_ms() + d->limit_ms;
    for (PostgresPollingStatusType state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK;) {
        struct pollfd fd = {.fd = PQsocket(conn),
                            .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int ready = poll(&fd, 1, LOOK_MS);
        if (atomic_load(&d->left) || clock_monotonic_ms() >= until_ms)
            return false;
        if (ready <= 0)
            continue;
        atomic_store(&d->stepped_ms, clock_monotonic_ms());
        state = PQconnectPoll(conn);
        if (state == PGRES_POLLING_FAILED)
            return true; // which the connection tells
    }
    return true;
}

static void *connect_there(void *payload) {
    struct dial *d = payload;
    PGconn *conn = start(d->given);
    atomic_store(&d->naming, false);
    atomic_store(&d->stepped_ms, clock_monotonic_ms());
    // Whoever left is perhaps about to end the process: TLS is not begun any more.
    bool late = conn && (atomic_load(&d->left) || (PQstatus(conn) != CONNECTION_BAD && !go_on(d, conn)));
    pthread_mutex_lock(&d->mutex);
    d->done = true;
    d->late = late;
    d->conn = conn;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    let_go(d);
    return NULL;
}

static int begin(struct dial **out, const char *url, int limit_ms, struct err *e) {
    PQconninfoOption *given = NULL;
    pthread_condattr_t clock;
    pthread_attr_t detached;
    pthread_t id;
    sigset_t all, before;
    int result = read_url(url, &given, e);
    if (result)
        return result;
    struct dial *d = mem_alloc(1, sizeof *d);
    d->given = given;
    d->limit_ms = limit_ms;
    d->shared = true;
    atomic_store(&d->naming, true);
    atomic_store(&d->stepped_ms, clock_monotonic_ms());
    pthread_mutex_init(&d->mutex, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &clock);
    pthread_condattr_destroy(&clock);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    // Signals are the others'.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&id, &detached, connect_there, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    if (rc == 0) {
        *out = d;
        return 0;
    }
    d->shared = false;
    let_go(d);
    return err_set(e, ERR_REMOTE, "a thread to connect to Postgres cannot be started: %s", strerror(rc));
}

void dial_free(struct dial *dial) {
    if (!dial)
        return;
    atomic_store(&dial->left, true);
    let_go(dial);
}

// ---- the wait for it ----

// True: the thread is done.
static bool await(struct dial *d, int64_t until_ms, const atomic_bool *ended, struct dial_pulse *pulse) {
    pthread_mutex_lock(&d->mutex);
    for (int64_t now_ms; !d->done && (now_ms = clock_monotonic_ms()) < until_ms;) {
        if (pulse) {
            atomic_store(&pulse->since_ms, atomic_load(&d->stepped_ms));
            atomic_store(&pulse->naming, atomic_load(&d->naming));
        }
        if (ended && atomic_load(ended))
            break;
        int64_t next_ms = now_ms + LOOK_MS < until_ms ? now_ms + LOOK_MS : until_ms;
        const struct timespec next = {next_ms / 1000, next_ms % 1000 * 1000000L};
        pthread_cond_timedwait(&d->changed, &d->mutex, &next);
    }
    bool done = d->done;
    pthread_mutex_unlock(&d->mutex);
    if (pulse)
        atomic_store(&pulse->since_ms, 0);
    return done;
}

void dial_one_line(char *text) {
    char *to = text;
    for (const char *p = text; *p; p++)
        if (!strchr("\n\r\t ", *p))
            *to++ = *p;
        else if (to > text && to[-1] != ' ')
            *to++ = ' ';
    *to = 0;
}

static int fail(const char *url, const char *reason, struct err *e) {
    char *place = dial_place(url), *text = mem_copy(reason);
    dial_one_line(text);
    // Some providers are their own authority, which no machine trusts by itself.
    const char *advice =
        strstr(text, "certificate verify failed")
            ? ": give its authority with sslrootcert=FILE in the connection string, or do without "
              "by sslmode=require"
            : "";
    int result =
        err_set(e, ERR_REMOTE, "cannot connect to Postgres (%s): %s%s", place, text_trim(text), advice);
    free(place);
    free(text);
    return result;
}

static int fail_late(const struct dial *d, const char *url, int limit_ms, bool is_ended, struct err *e) {
    char reason[120];
    snprintf(reason, sizeof reason,
             atomic_load(&d->naming) ? "no name server has answered within %d s" : "no answer within %d s",
             (limit_ms + 999) / 1000);
    return fail(url, is_ended ? "ended" : reason, e);
}

int dial_connect(struct pg_conn **out, struct dial **kept, const char *url, int limit_ms,
                 const atomic_bool *ended, struct dial_pulse *pulse, struct err *e) {
    struct dial *d = kept ? *kept : NULL;
    *out = NULL;
    if (kept)
        *kept = NULL;
    // What came while nobody waited may be gone again.
    if (d && await(d, 0, NULL, NULL)) {
        dial_free(d);
        d = NULL;
    }
    int result = d ? 0 : begin(&d, url, limit_ms, e);
    if (result)
        return result;
    bool done = await(d, clock_monotonic_ms() + limit_ms, ended, pulse);
    if (!done) {
        result = fail_late(d, url, limit_ms, ended && atomic_load(ended), e);
        // What got so far as to have a socket sees by itself that nobody waits.
        if (kept && atomic_load(&d->naming)) {
            *kept = d;
            return result;
        }
    } else if (d->late) {
        result = fail_late(d, url, limit_ms, false, e);
    } else if (!d->conn) {
        result = err_set(e, ERR_REMOTE, "libpq gives no connection: free some memory");
    } else if (PQstatus(d->conn) != CONNECTION_OK) {
        result = fail(url, PQerrorMessage(d->conn), e);
    } else {
        *out = d->conn;
        d->conn = NULL;
    }
    dial_free(d);
    return result;
}
#endif
