// SPDX-License-Identifier: MIT
#ifdef HAVE_PG
#include "sync/pg.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include <ctype.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_MS 10000
#define STATEMENT_MS 60000 // the server ends what takes longer
#define ANSWER_MS 75000    // and without an answer the connection is given up

struct pg {
    PGconn *conn;
    char *place;
    bool broken;
    const atomic_bool *ended; // by its owner; NULL: never
};

struct pg_result {
    PGresult *result;
};

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

// libpq's message may quote the string, and with it the password: it is not repeated.
static int read_url(const char *url, PQconninfoOption **out, struct err *e) {
    char *message = NULL;
    *out = PQconninfoParse(url, &message);
    PQfreemem(message);
    return *out ? 0
                : err_set(e, ERR_CONFIG,
                          "the connection string of [sync] cannot be read: write it as "
                          "postgresql://user@host/database");
}

char *pg_place(const char *url) {
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

// One line of what libpq said.
static int fail(struct pg *pg, enum err_code code, const char *what, const char *message, struct err *e) {
    char *text = mem_copy(message ? message : "no reason given"), *line = text;
    for (char *p = text; *p; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    line = text_trim(text);
    if (text_starts_with(line, "ERROR:"))
        line = text_trim(line + strlen("ERROR:"));
    int result = err_set(e, code, "%s (%s): %s", what, pg->place, *line ? line : "the connection was lost");
    free(text);
    return result;
}

static bool is_ended(const struct pg *pg) {
    return pg->ended && atomic_load(pg->ended);
}

// Waits in short pieces, so that its owner's end is seen. False: the time is over, or ended.
static bool wait_for(struct pg *pg, short events, int64_t until_ms) {
    for (;;) {
        struct pollfd fd = {.fd = PQsocket(pg->conn), .events = events};
        int64_t left_ms = until_ms - clock_monotonic_ms();
        if (left_ms <= 0 || is_ended(pg))
            return false;
        if (poll(&fd, 1, left_ms < 100 ? (int)left_ms : 100) > 0)
            return true;
    }
}

static int connect_it(struct pg *pg, struct err *e) {
    int64_t until_ms = clock_monotonic_ms() + CONNECT_MS;
    if (PQstatus(pg->conn) == CONNECTION_BAD)
        return fail(pg, ERR_REMOTE, "cannot connect to Postgres", PQerrorMessage(pg->conn), e);
    for (PostgresPollingStatusType state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK;) {
        if (!wait_for(pg, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ms))
            return fail(pg, ERR_REMOTE, "cannot connect to Postgres",
                        is_ended(pg) ? "ended" : "no answer within 10 s", e);
        state = PQconnectPoll(pg->conn);
        if (state == PGRES_POLLING_FAILED)
            return fail(pg, ERR_REMOTE, "cannot connect to Postgres", PQerrorMessage(pg->conn), e);
    }
    return 0;
}

static void no_notice(void *payload, const char *message) {
    (void)payload;
    (void)message;
}

static int set_up(struct pg *pg, const char *schema, struct err *e) {
    char *quoted = PQescapeIdentifier(pg->conn, schema, strlen(schema));
    char *sql = mem_format(
        "SET search_path TO %s, pg_temp; SET genrun.writer TO 'sync'; SET statement_timeout TO %d; "
        "SET idle_in_transaction_session_timeout TO %d; SET timezone TO 'UTC'; "
        // So that the server, too, notices a box that vanished, and gives its lock to the one that comes back.
        "SET tcp_keepalives_idle TO 30; SET tcp_keepalives_interval TO 10; SET tcp_keepalives_count TO 3; "
        "SELECT set_config(name, '60000', false) FROM pg_settings WHERE name = 'tcp_user_timeout'",
        quoted, STATEMENT_MS, ANSWER_MS);
    int result = pg_script(pg, sql, e);
    PQfreemem(quoted);
    free(sql);
    return result;
}

int pg_open(struct pg **out, const char *url, const char *schema, struct err *e) {
    return pg_open_until(out, url, schema, NULL, e);
}

int pg_open_until(struct pg **out, const char *url, const char *schema, const atomic_bool *ended,
                  struct err *e) {
    PQconninfoOption *given = NULL;
    *out = NULL;
    int result = read_url(url, &given, e);
    if (result)
        return result;
    struct pg *pg = mem_alloc(1, sizeof *pg);
    pg->place = pg_place(url);
    pg->ended = ended;
    pg->conn = start(given);
    PQconninfoFree(given);
    result =
        pg->conn ? connect_it(pg, e) : err_set(e, ERR_REMOTE, "libpq gives no connection: free some memory");
    if (!result) {
        PQsetNoticeProcessor(pg->conn, no_notice, NULL);
        // Else sending itself could wait for a silent network. (It fails for a broken connection only, which is found next.)
        (void)PQsetnonblocking(pg->conn, 1);
        result = set_up(pg, schema, e);
    }
    if (result) {
        pg_close(pg);
        return result;
    }
    *out = pg;
    return 0;
}

void pg_close(struct pg *pg) {
    if (!pg)
        return;
    PQfinish(pg->conn);
    free(pg->place);
    free(pg);
}

// ---- statements ----

// The classes of SQLSTATE that say that the values, not the connection, the rights or the server's state, are wrong.
static bool lies_in_values(const char *state) {
    return state && (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
                     strcmp(state, "54000") == 0 || strcmp(state, "P0001") == 0);
}

// The last of the results; NULL when the connection broke or was silent for too long.
static PGresult *finish(struct pg *pg) {
    int64_t until_ms = clock_monotonic_ms() + ANSWER_MS;
    PGresult *last = NULL;
    for (int flushing = 1; flushing > 0;) {
        flushing = PQflush(pg->conn);
        if (flushing < 0 || (flushing > 0 && !wait_for(pg, POLLIN | POLLOUT, until_ms)))
            return NULL;
        if (flushing > 0 && !PQconsumeInput(pg->conn))
            return NULL;
    }
    for (;;) {
        while (PQisBusy(pg->conn))
            if (!wait_for(pg, POLLIN, until_ms) || !PQconsumeInput(pg->conn)) {
                PQclear(last);
                return NULL;
            }
        PGresult *next = PQgetResult(pg->conn);
        if (!next)
            return last;
        // The first failure is the reason of those behind it.
        if (last && PQresultStatus(last) == PGRES_FATAL_ERROR) {
            PQclear(next);
            continue;
        }
        PQclear(last);
        last = next;
    }
}

static int take(struct pg *pg, int sent, struct pg_result **out, struct err *e) {
    PGresult *result = sent ? finish(pg) : NULL;
    ExecStatusType status = result ? PQresultStatus(result) : PGRES_FATAL_ERROR;
    if (!result || PQstatus(pg->conn) == CONNECTION_BAD) {
        pg->broken = true;
        PQclear(result);
        const char *why = is_ended(pg)                          ? "ended"
                          : PQstatus(pg->conn) == CONNECTION_OK ? "no answer within 75 s"
                                                                : PQerrorMessage(pg->conn);
        return fail(pg, ERR_REMOTE, "Postgres", why, e);
    }
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY) {
        bool refused = lies_in_values(PQresultErrorField(result, PG_DIAG_SQLSTATE));
        int code = fail(pg, refused ? ERR_INVALID : ERR_REMOTE, "Postgres",
                        PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY), e);
        PQclear(result);
        return code;
    }
    if (!out) {
        PQclear(result);
        return 0;
    }
    *out = mem_alloc(1, sizeof **out);
    (*out)->result = result;
    return 0;
}

int pg_run(struct pg *pg, struct pg_result **out, struct err *e, const char *sql, int count,
           const char *const *values) {
    if (out)
        *out = NULL;
    return take(pg, PQsendQueryParams(pg->conn, sql, count, NULL, values, NULL, NULL, 0), out, e);
}

int pg_script(struct pg *pg, const char *sql, struct err *e) {
    return take(pg, PQsendQuery(pg->conn, sql), NULL, e);
}

int pg_begin(struct pg *pg, struct err *e) {
    return pg_script(pg, "BEGIN", e);
}

int pg_commit(struct pg *pg, struct err *e) {
    return pg_script(pg, "COMMIT", e);
}

void pg_rollback(struct pg *pg) {
    struct err e;
    if (!pg->broken && PQtransactionStatus(pg->conn) != PQTRANS_IDLE)
        (void)!pg_script(pg, "ROLLBACK", &e);
}

// ---- results ----

int pg_rows(const struct pg_result *r) {
    return PQntuples(r->result);
}

const char *pg_text(const struct pg_result *r, int row, int column) {
    return PQgetisnull(r->result, row, column) ? NULL : PQgetvalue(r->result, row, column);
}

int64_t pg_integer(const struct pg_result *r, int row, int column, int64_t fallback) {
    const char *text = pg_text(r, row, column);
    return text ? strtoll(text, NULL, 10) : fallback;
}

int64_t pg_changed(const struct pg_result *r) {
    return strtoll(PQcmdTuples(r->result), NULL, 10);
}

void pg_result_free(struct pg_result *r) {
    if (r)
        PQclear(r->result);
    free(r);
}
#endif
