// SPDX-License-Identifier: MIT
// The yardstick of `make bench` for HTTP: libmicrohttpd on an external epoll loop and SQLite, with nothing around them.
// No keys, no checks, no limits, no JSON parser, no triggers.
//
//   bare_http DATABASE REPLY_BYTES      prints the port, and serves until it is ended
//
//   POST /api/generate      inserts the body as the prompt of a generation, on a schema without triggers the same rows
//                           as genrun does; all that came in a tick in one commit (synchronous=FULL), answered after it
//                           with the id and as many bytes as genrun's answer has
//   GET /api/generations    the 20 newest rows of the view by a prepared SELECT, as JSON
#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECKPOINT_FRAMES 500

struct request {
    struct buf body;
    char id[ID_SIZE];
    struct MHD_Connection *connection;
    struct request *next;
    bool stored;
};

struct server {
    sqlite3 *db;
    sqlite3_stmt *row, *input, *event, *total, *begin, *commit, *list;
    struct MHD_Daemon *daemon;
    struct request *waiting;
    size_t reply_bytes;
};

static void die(const char *what, sqlite3 *db) {
    fprintf(stderr, "bare_http: %s: %s\n", what, db ? sqlite3_errmsg(db) : "");
    exit(1);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
        die(sql, db);
    return s;
}

static void run(struct server *v, sqlite3_stmt *s) {
    if (sqlite3_step(s) != SQLITE_DONE)
        die(sqlite3_sql(s), v->db);
    sqlite3_reset(s);
}

// ---- the writes of a tick ----

static void store(struct server *v, struct request *r) {
    int64_t now_at = clock_wall_at();
    id_make(r->id);
    sqlite3_bind_text(v->row, 1, r->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(v->row, 2, now_at);
    run(v, v->row);
    sqlite3_int64 seq = sqlite3_last_insert_rowid(v->db);
    sqlite3_bind_int64(v->input, 1, seq);
    sqlite3_bind_text(v->input, 2, buf_borrow(&r->body), (int)r->body.length, SQLITE_STATIC);
    run(v, v->input);
    sqlite3_bind_int64(v->event, 1, now_at);
    sqlite3_bind_int64(v->event, 2, seq);
    run(v, v->event);
    run(v, v->total);
}

static void store_all(struct server *v) {
    struct request *list = v->waiting;
    v->waiting = NULL;
    if (!list)
        return;
    run(v, v->begin);
    for (struct request *r = list; r; r = r->next)
        store(v, r);
    run(v, v->commit);
    while (list) {
        struct request *r = list;
        list = r->next;
        r->stored = true;
        MHD_resume_connection(r->connection);
    }
}

// ---- requests ----

static enum MHD_Result answer(struct MHD_Connection *connection, int status, struct buf *json) {
    size_t length = json->length;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, buf_take(json), MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(response, "Content-Type", "application/json");
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_list(struct server *v, struct MHD_Connection *connection) {
    struct buf json;
    const char *comma = "";
    buf_init(&json, BUF_UNLIMITED);
    buf_text(&json, "{\"data\":[");
    while (sqlite3_step(v->list) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(v->list); i++) {
            buf_format(&json, "%s%s\"%s\":", i ? "," : comma, i ? "" : "{", sqlite3_column_name(v->list, i));
            const char *text = (const char *)sqlite3_column_text(v->list, i);
            if (!text)
                buf_text(&json, "null");
            else if (sqlite3_column_type(v->list, i) == SQLITE_TEXT)
                json_write_text(&json, text);
            else
                buf_text(&json, text);
        }
        buf_char(&json, '}');
        comma = ",";
    }
    sqlite3_reset(v->list);
    buf_text(&json, "]}");
    return answer(connection, MHD_HTTP_OK, &json);
}

static enum MHD_Result on_request(void *payload, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **state) {
    struct server *v = payload;
    struct request *r = *state;
    (void)version;
    if (!r) {
        r = calloc(1, sizeof *r);
        buf_init(&r->body, BUF_UNLIMITED);
        *state = r;
        return MHD_YES;
    }
    if (strcmp(method, "GET") == 0 && strcmp(url, "/api/generations") == 0)
        return answer_list(v, connection);
    if (*size > 0) {
        buf_append(&r->body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (!r->stored) {
        r->connection = connection;
        r->next = v->waiting;
        v->waiting = r;
        MHD_suspend_connection(connection);
        return MHD_YES;
    }
    struct buf json;
    buf_init(&json, BUF_UNLIMITED);
    buf_format(&json, "{\"id\":\"%s\",\"status\":\"queued\",\"prompt\":\"", r->id);
    while (json.length + 2 < v->reply_bytes)
        buf_char(&json, 'x');
    buf_text(&json, "\"}");
    return answer(connection, MHD_HTTP_ACCEPTED, &json);
}

static void on_completed(void *payload, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    struct request *r = *state;
    (void)payload;
    (void)connection;
    (void)code;
    if (r)
        buf_free(&r->body);
    free(r);
    *state = NULL;
}

static void open_database(struct server *v, const char *path) {
    if (sqlite3_open(path, &v->db) != SQLITE_OK || sqlite3_busy_timeout(v->db, 10000) != SQLITE_OK ||
        sqlite3_exec(v->db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                     "PRAGMA cache_size=-8192; PRAGMA journal_size_limit=8388608;"
                     "INSERT OR IGNORE INTO lane (id, model_id, user_id, batch_seq, priority)"
                     " VALUES (1, 'held', '', 0, 0)",
                     NULL, NULL, NULL) != SQLITE_OK)
        die(path, v->db);
    sqlite3_wal_autocheckpoint(v->db, CHECKPOINT_FRAMES);
    v->begin = prepare(v->db, "BEGIN IMMEDIATE");
    v->commit = prepare(v->db, "COMMIT");
    v->row = prepare(v->db, "INSERT INTO generation (id, status, lane, model_id, created_at)"
                            " VALUES (?1, 'queued', 1, 'held', ?2)");
    v->input = prepare(v->db, "INSERT INTO generation_input (seq, prompt, parameters) VALUES (?1, ?2, '{}')");
    v->event = prepare(v->db, "INSERT INTO event (created_at, level, event, generation_seq)"
                              " VALUES (?1, 'info', 'generation.queued', ?2)");
    v->total = prepare(v->db, "UPDATE batch_count SET queued_items=queued_items+1 WHERE batch_seq=0");
    v->list = prepare(v->db, "SELECT id, status, prompt, model_id AS modelId, parameters, user_id AS userId, "
                             "session_id AS sessionId,"
                             " batch_job_id AS batchJobId, custom_id AS customId, topic, tier, type, "
                             "template_id AS templateId, endpoint,"
                             " client_id AS clientId, priority, attempts, starts, error_type AS errorType, "
                             "error_message AS errorMessage,"
                             " last_step AS lastStep, last_heartbeat AS lastHeartbeat, last_progress AS "
                             "lastProgress, run_after AS runAfter,"
                             " created_at AS createdAt, started_at AS startedAt, completed_at AS "
                             "completedAt, dismissed_at AS dismissedAt,"
                             " input_tokens AS inputTokens, output_tokens AS outputTokens, cost FROM "
                             "generations ORDER BY seq DESC LIMIT "
                             "20");
}

int main(int argc, char **argv) {
    struct server v = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc != 3) {
        fputs("usage: bare_http DATABASE REPLY_BYTES\n", stderr);
        return 2;
    }
    open_database(&v, argv[1]);
    v.reply_bytes = (size_t)atol(argv[2]);
    v.daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, &v,
                                MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                                NULL, MHD_OPTION_END);
    if (!v.daemon)
        die("the server did not start", NULL);
    printf("%d\n", MHD_get_daemon_info(v.daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    struct pollfd p = {.fd = MHD_get_daemon_info(v.daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                       .events = POLLIN};
    for (;;) {
        MHD_UNSIGNED_LONG_LONG wait_ms = 1000;
        if (MHD_get_timeout(v.daemon, &wait_ms) != MHD_YES || wait_ms > 1000)
            wait_ms = 1000;
        poll(&p, 1, (int)wait_ms);
        MHD_run(v.daemon);
        if (v.waiting) {
            store_all(&v);
            MHD_run(v.daemon);
        }
    }
}
