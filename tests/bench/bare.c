// SPDX-License-Identifier: MIT
// The yardstick of `make bench`: the fewest statements that write the same rows as genrun does for a batch
// of echo generations, prepared once, on a database of the same schema without its triggers, with
// synchronous=FULL. No checks, no fence, no fairness, no loop: what SQLite alone can do here.
//
//   bare DATABASE ITEMS CONCURRENCY < prompts
//   bare DATABASE > results
//
// The second form selects what results show of the batch of a database that genrun made and writes it, without
// any format; its times go to stderr.
//
// The first inserts ITEMS prompts (one a line, taken as they are) in transactions of 2,000, then runs them: each
// transaction settles CONCURRENCY of them and claims as many. Prints one JSON object of times in seconds and
// of bytes written to disk.
#include "base/id.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INSERT_SLICE 2000
#define CHECKPOINT_FRAMES 500
#define CONCURRENCY_MAX 1024

static sqlite3 *db;

static void die(const char *what) {
    fprintf(stderr, "bare: %s: %s\n", what, db ? sqlite3_errmsg(db) : "");
    exit(1);
}

static void execute(const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        die(sql);
    }
}

static sqlite3_stmt *prepare(const char *sql) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK) {
        die(sql);
    }
    return statement;
}

// Binds by the letters of `types` (i: int64_t, s: text) and steps to the end.
static void write_row(sqlite3_stmt *statement, const char *types, ...) {
    va_list arguments;
    va_start(arguments, types);
    for (int i = 0; types[i]; i++) {
        if (types[i] == 'i') {
            sqlite3_bind_int64(statement, i + 1, va_arg(arguments, int64_t));
        } else {
            sqlite3_bind_text(statement, i + 1, va_arg(arguments, const char *), -1, SQLITE_STATIC);
        }
    }
    va_end(arguments);
    if (sqlite3_step(statement) != SQLITE_DONE) {
        die(sqlite3_sql(statement));
    }
    sqlite3_reset(statement);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t wall_at(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static long long bytes_written(void) {
    char line[128];
    long long bytes = -1;
    FILE *io = fopen("/proc/self/io", "r");
    while (io && fgets(line, sizeof line, io)) {
        if (sscanf(line, "write_bytes: %lld", &bytes) == 1) {
            break;
        }
    }
    if (io) {
        fclose(io);
    }
    return bytes;
}

// Reads the next line of stdin without its line break; the prompts are this bench's own, so short.
static const char *next_prompt(void) {
    static char line[65536];
    if (!fgets(line, sizeof line, stdin)) {
        die("too few prompts on stdin");
    }
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static void insert_items(int64_t items) {
    sqlite3_stmt *row = prepare("INSERT INTO generation (id, status, lane, model_id, batch_seq, item_index, "
                                "created_at) VALUES (?1, 'queued', 1, 'echo', 1, ?2, ?3)");
    sqlite3_stmt *input =
        prepare("INSERT INTO generation_input (seq, prompt, parameters) VALUES (?1, ?2, '{}')");
    char id[ID_SIZE];
    execute("INSERT INTO batch_job (seq, id, created_at, opened_at) VALUES (1, 'bare', 0, 0);"
            "INSERT OR IGNORE INTO batch_count (batch_seq, opened) VALUES (1, 1);"
            "INSERT INTO lane (id, model_id, user_id, batch_seq, priority) VALUES (1, 'echo', '', 1, 0)");
    for (int64_t i = 0; i < items; i++) {
        if (i % INSERT_SLICE == 0) {
            execute("BEGIN IMMEDIATE");
        }
        id_make(id);
        write_row(row, "sii", id, i, wall_at());
        write_row(input, "is", sqlite3_last_insert_rowid(db), next_prompt());
        if ((i + 1) % INSERT_SLICE == 0 || i + 1 == items) {
            execute("COMMIT");
        }
    }
    sqlite3_finalize(row);
    sqlite3_finalize(input);
}

struct running {
    int64_t seq;
    char token[17];
    char *prompt;
};

struct statements {
    sqlite3_stmt *begin, *commit, *claim, *input, *started, *output, *settle, *ended, *total, *batch;
};

static void prepare_all(struct statements *s) {
    s->begin = prepare("BEGIN IMMEDIATE");
    s->commit = prepare("COMMIT");
    s->claim =
        prepare("UPDATE generation SET status='processing', claim_token=lower(hex(randomblob(8))), "
                "runner_seq=1, starts=starts+1, started_at=?2, last_step='process:claim' WHERE seq IN "
                "(SELECT seq FROM generation INDEXED BY generation_ready WHERE lane=1 AND status='queued' "
                "AND run_after IS NULL AND suspect=0 ORDER BY seq LIMIT ?1) RETURNING seq, claim_token");
    s->input = prepare("SELECT prompt, parameters FROM generation_input WHERE seq=?1");
    s->started = prepare("INSERT INTO event (created_at, level, event, generation_seq, batch_seq, attempt) "
                         "VALUES (?2, 'info', 'generation.processing', ?1, 1, 1)");
    s->output = prepare("INSERT INTO output (key, mime, content, bytes, created_at) "
                        "VALUES (?1 * 1024, 'text/plain', ?2, length(?2), ?3)");
    s->settle = prepare("UPDATE generation SET status='completed', claim_token=NULL, completed_at=?3, "
                        "last_step='outputs:store', attempts=attempts+1, input_tokens=3, output_tokens=3 "
                        "WHERE seq=?1 AND claim_token=?2 AND status='processing'");
    s->ended = prepare("INSERT INTO event (created_at, level, event, generation_seq, batch_seq, attempt) "
                       "VALUES (?2, 'info', 'generation.completed', ?1, 1, 1)");
    s->total =
        prepare("UPDATE batch_count SET queued_items=queued_items+?1, successful_items=successful_items+?2"
                " WHERE batch_seq=0");
    s->batch = prepare("UPDATE batch_count SET successful_items=successful_items+?1, last_activity_at=?2"
                       " WHERE batch_seq=1");
}

static void settle(struct statements *s, struct running *r) {
    write_row(s->output, "isi", r->seq, r->prompt, wall_at());
    write_row(s->settle, "isi", r->seq, r->token, wall_at());
    write_row(s->ended, "ii", r->seq, wall_at());
    free(r->prompt);
    r->prompt = NULL;
}

static int claim(struct statements *s, struct running *slots, int wanted) {
    int found = 0;
    sqlite3_bind_int(s->claim, 1, wanted);
    sqlite3_bind_int64(s->claim, 2, wall_at());
    while (sqlite3_step(s->claim) == SQLITE_ROW) {
        slots[found].seq = sqlite3_column_int64(s->claim, 0);
        snprintf(slots[found].token, sizeof slots[found].token, "%s", sqlite3_column_text(s->claim, 1));
        found++;
    }
    if (sqlite3_reset(s->claim) != SQLITE_OK) {
        die("claim");
    }
    for (int i = 0; i < found; i++) {
        struct running *r = &slots[i];
        write_row(s->started, "ii", r->seq, wall_at());
        sqlite3_bind_int64(s->input, 1, r->seq);
        if (sqlite3_step(s->input) != SQLITE_ROW) {
            die("a row without input");
        }
        r->prompt = strdup((const char *)sqlite3_column_text(s->input, 0));
        sqlite3_reset(s->input);
    }
    return found;
}

static void run_items(int64_t items, int concurrency) {
    static struct running slots[CONCURRENCY_MAX];
    struct statements s;
    prepare_all(&s);
    execute("UPDATE batch_count SET queued_items=0");
    int in_flight = 0;
    int64_t completed = 0;
    while (completed < items) {
        write_row(s.begin, "");
        for (int i = 0; i < in_flight; i++) {
            settle(&s, &slots[i]);
        }
        completed += in_flight;
        write_row(s.total, "ii", (int64_t)0, (int64_t)in_flight);
        write_row(s.batch, "ii", (int64_t)in_flight, wall_at());
        in_flight = claim(&s, slots, concurrency);
        write_row(s.commit, "");
    }
}

static void export_items(void) {
    sqlite3_stmt *s =
        prepare("SELECT g.id, i.custom_id, g.status, g.model_id, i.prompt, i.parameters, o.content, "
                "g.input_tokens, g.output_tokens, g.completed_at FROM generation g "
                "JOIN generation_input i ON i.seq=g.seq LEFT JOIN output o ON o.key=g.seq*1024 "
                "WHERE g.batch_seq=1 AND g.status='completed' ORDER BY g.item_index");
    while (sqlite3_step(s) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            const void *bytes = sqlite3_column_text(s, i);
            fwrite(bytes ? bytes : "", 1, (size_t)sqlite3_column_bytes(s, i), stdout);
            putchar('\t');
        }
        putchar('\n');
    }
    sqlite3_finalize(s);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc == 2 && sqlite3_open(argv[1], &db) == SQLITE_OK) {
        double began = now_s();
        export_items();
        fprintf(stderr, "{\"export_s\": %.6f}\n", now_s() - began);
        return 0;
    }
    if (argc != 4) {
        fputs("usage: bare DATABASE [ITEMS CONCURRENCY < prompts]\n", stderr);
        return 2;
    }
    int64_t items = atoll(argv[2]);
    int concurrency = atoi(argv[3]);
    if (items < 1 || concurrency < 1 || concurrency > CONCURRENCY_MAX) {
        fputs("bare: ITEMS and CONCURRENCY (at most 1024) are positive numbers\n", stderr);
        return 2;
    }
    if (sqlite3_open(argv[1], &db) != SQLITE_OK) {
        die(argv[1]);
    }
    execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; "
            "PRAGMA cache_size=-8192; PRAGMA journal_size_limit=8388608");
    sqlite3_wal_autocheckpoint(db, CHECKPOINT_FRAMES);
    double began = now_s();
    insert_items(items);
    double inserted = now_s();
    long long before = bytes_written();
    run_items(items, concurrency);
    double ended = now_s();
    printf("{\"insert_s\": %.6f, \"run_s\": %.6f, \"run_bytes\": %lld}\n", inserted - began, ended - inserted,
           bytes_written() - before);
    return 0;
}
