// SPDX-License-Identifier: MIT
#ifdef HAVE_PG
#include "sync/pg.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000
#define TIMEOUT_MS 60000
#define STATE_SIZE 6

struct pg {
    PGconn *conn;
    char *place;
    char *begin; // BEGIN, and what each transaction needs
    int timeout_ms;
    bool broken;
    bool in_trigger;          // the last failure was one in a trigger of somebody's own
    char state[STATE_SIZE];   // SQLSTATE of the last failure
    const atomic_bool *ended; // by its owner; NULL: never
    struct dial_pulse *pulse;
};

struct pg_result {
    PGresult *result;
};

// The server ends a statement that takes longer; without an answer some time later the connection is given up.
static int answer_ms(const struct pg *pg) {
    return pg->timeout_ms + pg->timeout_ms / 4;
}

// One line of what libpq said.
static int fail(struct pg *pg, enum err_code code, const char *message, struct err *e) {
    char *text = mem_copy(message ? message : "no reason given"), *line = text;
    dial_one_line(text);
    line = text_trim(text);
    if (text_starts_with(line, "ERROR:"))
        line = text_trim(line + strlen("ERROR:"));
    int result = err_set(e, code, "Postgres (%s): %s", pg->place, *line ? line : "the connection was lost");
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

static void no_notice(void *payload, const char *message) {
    (void)payload;
    (void)message;
}

// Behind a pooler the next transaction may be another session's, and another client's may be this one's: so all is said
// anew with each BEGIN, in one way there and back, and all of it ends with the transaction (LOCAL, xact). Orders are told
// from the sync's own writes by genrun.writer: left standing in a pooled session it would swallow them.
//
// The lock: two transactions of one box never overlap. Who is killed leaves behind at most one message that is not yet
// carried out, since each waits for its answer. Were that a COMMIT, its transaction has this lock until it is done, and
// the next session's first transaction waits for it and sees all of it; any other message has no COMMIT behind it, and
// nothing comes of it. A transaction that is left open there ends by the timeout of idle ones.
static char *write_begin(const struct pg *pg, const char *schema, const char *node) {
    char *path = PQescapeIdentifier(pg->conn, schema, strlen(schema)), *lock = NULL;
    if (node) {
        char *schema_text = PQescapeLiteral(pg->conn, schema, strlen(schema)),
             *node_text = PQescapeLiteral(pg->conn, node, strlen(node));
        lock = mem_format("; SELECT pg_advisory_xact_lock(hashtext('genrun ' || %s), hashtext(%s))",
                          schema_text, node_text);
        PQfreemem(schema_text);
        PQfreemem(node_text);
    }
    char *begin = mem_format("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path TO %s, pg_temp; "
                             "SET LOCAL genrun.writer TO 'sync'; SET LOCAL timezone TO 'UTC'; "
                             "SET LOCAL statement_timeout TO %d; SET LOCAL lock_timeout TO %d; "
                             "SET LOCAL idle_in_transaction_session_timeout TO %d%s",
                             path, pg->timeout_ms, pg->timeout_ms / 4 * 3, answer_ms(pg), lock ? lock : "");
    PQfreemem(path);
    free(lock);
    return begin;
}

int pg_open(struct pg **out, const struct pg_options *o, struct err *e) {
    struct pg_conn *conn = NULL;
    int timeout_ms = o->timeout_ms ? (int)o->timeout_ms : TIMEOUT_MS;
    *out = NULL;
    int result = dial_connect(&conn, o->dial, o->url, timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS,
                              o->ended, o->pulse, e);
    if (result)
        return result;
    struct pg *pg = mem_alloc(1, sizeof *pg);
    pg->conn = conn;
    pg->place = dial_place(o->url);
    pg->timeout_ms = timeout_ms;
    pg->ended = o->ended;
    pg->pulse = o->pulse;
    PQsetNoticeProcessor(conn, no_notice, NULL);
    // Else sending itself could wait for a silent network. (It fails for a broken connection only, which is found next.)
    (void)PQsetnonblocking(conn, 1);
    pg->begin = write_begin(pg, o->schema, o->node);
    *out = pg;
    return 0;
}

void pg_close(struct pg *pg) {
    if (!pg)
        return;
    PQfinish(pg->conn);
    free(pg->place);
    free(pg->begin);
    free(pg);
}

bool pg_is_up(const struct pg *pg) {
    return !pg->broken;
}

const char *pg_state(const struct pg *pg) {
    return pg->state;
}

// ---- statements ----

// The classes of SQLSTATE that say that the values, not the connection, the rights or the server's state, are wrong.
static bool lies_in_values(const char *state) {
    return state && (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
                     strcmp(state, "54000") == 0 || strcmp(state, "P0001") == 0);
}

// What a person has to mend there: a table, a column, a right that is missing.
static bool lies_in_mirror(const char *state) {
    return state && (strncmp(state, "42", 2) == 0 || strncmp(state, "3F", 2) == 0 ||
                     strncmp(state, "0A", 2) == 0 || strncmp(state, "28", 2) == 0);
}

// The last of the results; NULL when the connection broke or was silent for too long.
static PGresult *finish(struct pg *pg) {
    int64_t until_ms = clock_monotonic_ms() + answer_ms(pg);
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

static int fail_unheard(struct pg *pg, struct err *e) {
    char silence[64];
    snprintf(silence, sizeof silence, "no answer within %d s", (answer_ms(pg) + 999) / 1000);
    pg->broken = true;
    return fail(pg, ERR_REMOTE,
                is_ended(pg)                          ? "ended"
                : PQstatus(pg->conn) == CONNECTION_OK ? silence
                                                      : PQerrorMessage(pg->conn),
                e);
}

// What names the culprit where the message does not: a view or function of somebody's own under our name (42P13, 42P16),
// or a trigger of theirs that fails; the last line of its context is where it was called. NULL: it is not needed.
static const char *culprit(struct pg *pg, const PGresult *result) {
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);
    if (text_starts_with(pg->state, "42P1"))
        return PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    if (!context || !lies_in_mirror(pg->state) || strstr(context, "genrun_"))
        return NULL;
    pg->in_trigger = true;
    const char *last = strrchr(context, '\n');
    return last ? last + 1 : context;
}

static int fail_refused(struct pg *pg, const PGresult *result, struct err *e) {
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE),
               *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(pg->state, sizeof pg->state, "%s", state ? state : "");
    const char *who = culprit(pg, result);
    char *more = who && message ? mem_format("%s: %s", message, who) : NULL;
    int failed = fail(pg,
                      lies_in_values(state)   ? ERR_INVALID
                      : lies_in_mirror(state) ? ERR_CONFIG
                                              : ERR_REMOTE,
                      more ? more : message, e);
    free(more);
    return failed;
}

static int take(struct pg *pg, int sent, struct pg_result **out, struct err *e) {
    pg->state[0] = 0;
    pg->in_trigger = false;
    if (pg->pulse)
        atomic_store(&pg->pulse->since_ms, clock_monotonic_ms());
    PGresult *result = sent ? finish(pg) : NULL;
    if (pg->pulse)
        atomic_store(&pg->pulse->since_ms, 0);
    ExecStatusType status = result ? PQresultStatus(result) : PGRES_FATAL_ERROR;
    int code = 0;
    if (!result || PQstatus(pg->conn) == CONNECTION_BAD)
        code = fail_unheard(pg, e);
    else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY)
        code = fail_refused(pg, result, e);
    if (code || !out) {
        PQclear(result);
        return code;
    }
    *out = mem_alloc(1, sizeof **out);
    (*out)->result = result;
    return 0;
}

static int script(struct pg *pg, const char *sql, struct err *e) {
    return take(pg, PQsendQuery(pg->conn, sql), NULL, e);
}

static int run(struct pg *pg, struct pg_result **out, struct err *e, const char *sql, int count,
               const char *const *values) {
    return take(pg, PQsendQueryParams(pg->conn, sql, count, NULL, values, NULL, NULL, 0), out, e);
}

int pg_run(struct pg *pg, struct pg_result **out, struct err *e, const char *sql, int count,
           const char *const *values) {
    if (out)
        *out = NULL;
    if (PQtransactionStatus(pg->conn) != PQTRANS_IDLE)
        return run(pg, out, e, sql, count, values);
    int result = pg_begin(pg, e);
    if (!result)
        result = run(pg, out, e, sql, count, values);
    if (!result)
        result = pg_commit(pg, e);
    if (result) {
        pg_rollback(pg);
        if (out) {
            pg_result_free(*out);
            *out = NULL;
        }
    }
    return result;
}

int pg_script(struct pg *pg, const char *sql, struct err *e) {
    return script(pg, sql, e);
}

int pg_begin(struct pg *pg, struct err *e) {
    int result = script(pg, pg->begin, e);
    return result && strcmp(pg->state, "55P03") == 0
               ? fail(pg, ERR_REMOTE, "an earlier transaction of this box has not ended there yet", e)
               : result;
}

int pg_commit(struct pg *pg, struct err *e) {
    return script(pg, "COMMIT", e);
}

void pg_rollback(struct pg *pg) {
    struct err e;
    char state[STATE_SIZE];
    bool in_trigger = pg->in_trigger;
    memcpy(state, pg->state, sizeof state);
    if (!pg->broken && PQtransactionStatus(pg->conn) != PQTRANS_IDLE)
        (void)!script(pg, "ROLLBACK", &e);
    memcpy(pg->state, state, sizeof state);
    pg->in_trigger = in_trigger;
}

const char *pg_advice(const struct pg *pg) {
    static const struct {
        const char *state, *advice;
    } known[] = {
        {"42501",
         "the role that syncs must own the mirror's tables, or have their rights and pass their policies"},
        {"42", "run 'genrun sync init'"},
        {"3F", "run 'genrun sync init'"},
        {"25006", "it takes no writes now: look at its disk, or name the primary"},
        {"53100", "free some space there"},
        {"55P03", "somebody's transaction holds it: end that, or wait for it"},
        {"57014", "a statement took longer than [sync] timeout"},
    };
    if (pg->in_trigger)
        return "mend or drop the trigger that calls it";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (text_starts_with(pg->state, known[i].state))
            return known[i].advice;
    return NULL;
}

int pg_is_pooled(struct pg *pg, bool *pooled, struct err *e) {
    struct pg_result *answer = NULL;
    int result = pg_run(pg, &answer, e, "SELECT pg_backend_pid()", 0, NULL);
    *pooled = !result && pg_integer(answer, 0, 0, 0) != PQbackendPID(pg->conn);
    pg_result_free(answer);
    return result;
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
