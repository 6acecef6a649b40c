// SPDX-License-Identifier: MIT
// What the tests of the queue and of the runner share: a fresh database in a
// folder of its own, and short ways to fill it and to look at it.
#ifndef GENRUN_TESTS_QUEUE_GROUND_H
#define GENRUN_TESTS_QUEUE_GROUND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/db.h"
#include "queue/queue.h"
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"

static struct db *db;
static struct err error;
static char folder[64], path[96];

// What must succeed; shows the message when it does not.
#define OK(call)                                                                                             \
    do {                                                                                                     \
        int code_ = (call);                                                                                  \
        if (code_)                                                                                           \
            fail_msg("%s gave %d: %s", #call, code_, error.message);                                         \
    } while (0)

static struct db *open_another(void) {
    struct db *other = NULL;
    OK(db_open(&other, path, DB_CREATE, &error));
    // A test need not survive a power cut.
    assert_int_equal(sqlite3_exec(db_handle(other), "PRAGMA synchronous=OFF", NULL, NULL, NULL), SQLITE_OK);
    return other;
}

static unsigned char *image; // of an empty database
static sqlite3_int64 image_size;

static int ground_open(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.30s/genrun-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/q.db", folder);
    // Made once, and from then on copied: the schema takes its time.
    if (image) {
        FILE *file = fopen(path, "w");
        if (!file || fwrite(image, 1, (size_t)image_size, file) != (size_t)image_size || fclose(file) != 0)
            return -1;
    }
    db = open_another();
    if (!image)
        image = sqlite3_serialize(db_handle(db), "main", &image_size, 0);
    return 0;
}

static int ground_close(void **state) {
    (void)state;
    db_close(db);
    db = NULL;
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char name[400];
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        unlink(name);
    }
    if (d)
        closedir(d);
    return rmdir(folder);
}

// ---- plain SQL, as a person types it ----

static sqlite3_stmt *ask(struct db *on, const char *sql) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db_handle(on), sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db_handle(on)));
    return s;
}

static int64_t number_on(struct db *on, const char *sql) {
    sqlite3_stmt *s = ask(on, sql);
    int code = sqlite3_step(s);
    int64_t value = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : INT64_MIN;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db_handle(on)));
    sqlite3_finalize(s);
    return value;
}

static int64_t __attribute__((format(printf, 1, 2))) number(const char *format, ...) {
    char sql[2048];
    va_list values;
    va_start(values, format);
    vsnprintf(sql, sizeof sql, format, values);
    va_end(values);
    return number_on(db, sql);
}

// The text of one cell; valid until the next call; "" for NULL or no row.
static const char *__attribute__((format(printf, 1, 2))) text(const char *format, ...) {
    static char value[4096];
    char sql[2048];
    va_list values;
    va_start(values, format);
    vsnprintf(sql, sizeof sql, format, values);
    va_end(values);
    sqlite3_stmt *s = ask(db, sql);
    value[0] = 0;
    if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0))
        snprintf(value, sizeof value, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return value;
}

static void __attribute__((format(printf, 2, 3))) type_on(struct db *on, const char *format, ...) {
    char sql[2048];
    char *message = NULL;
    va_list values;
    va_start(values, format);
    vsnprintf(sql, sizeof sql, format, values);
    va_end(values);
    if (sqlite3_exec(db_handle(on), sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

#define type(...) type_on(db, __VA_ARGS__)

// ---- filling ----

// A new runner that finds no process of dead ones; inside a transaction.
static int start_runner(struct runner_identity *me, int max_crashes, int max_attempts, int64_t now_at,
                        int64_t *recovered, int64_t *failed) {
    int result = queue_runner_start(db, me, "test", 60000, now_at, &error);
    return result
               ? result
               : queue_runner_recover(db, me, max_crashes, max_attempts, now_at, recovered, failed, &error);
}

static int64_t submit_spec(const struct spec *spec) {
    char id[ID_SIZE];
    bool created;
    int64_t seq;
    OK(queue_submit(db, spec, id, &created, &error));
    assert_true(created);
    OK(queue_find_generation(db, id, &seq, &error));
    return seq;
}

static int64_t submit(const char *model, const char *user, int priority) {
    return submit_spec(
        &(struct spec){.prompt = "p", .model_id = model, .user_id = user, .priority = priority});
}

struct items {
    const char *model;
    int count;
    int priority;
    const char *parameters;
};

// A batch job with `count` groups of items; returns its sequence number.
static int64_t submit_batch(const struct batch_spec *spec, const struct items *items, size_t count) {
    struct batch_writer *writer = NULL;
    char id[ID_SIZE];
    bool known;
    int64_t seq;
    OK(batch_writer_begin(&writer, db, spec, id, &known, &error));
    assert_false(known);
    for (size_t i = 0; i < count; i++)
        for (int n = 0; n < items[i].count; n++)
            OK(batch_writer_add(writer,
                                &(struct spec){.prompt = "p",
                                               .model_id = items[i].model,
                                               .user_id = spec->user_id,
                                               .priority = items[i].priority,
                                               .parameters = items[i].parameters},
                                &error));
    OK(batch_writer_open(writer, "txt", &error));
    OK(queue_find_batch(db, id, &seq, &error));
    return seq;
}

static int64_t batch_of(const char *model, int count) {
    return submit_batch(&(struct batch_spec){.max_failures = -1, .max_failure_share = -1},
                        &(struct items){.model = model, .count = count}, 1);
}

// ---- judging: counters are counts, and nothing is processing without an owner ----

static void check_counts(void) {
    assert_int_equal(number("SELECT count(*) FROM totals t WHERE t.queued<>(SELECT count(*) FROM generation g"
                            " WHERE g.status='queued' AND NOT EXISTS (SELECT 1 FROM batch_job b WHERE"
                            " b.seq=g.batch_seq AND b.opened_at IS NULL))"
                            " OR t.processing<>(SELECT count(*) FROM generation WHERE status='processing')"
                            " OR t.completed<>(SELECT count(*) FROM generation WHERE status='completed')"
                            " OR t.failed<>(SELECT count(*) FROM generation WHERE status='failed')"
                            " OR t.cancelled<>(SELECT count(*) FROM generation WHERE status='cancelled')"),
                     0);
    assert_int_equal(number("SELECT count(*) FROM batch_jobs b WHERE b.total_items<>"
                            "(SELECT count(*) FROM generation g WHERE g.batch_seq=b.seq)"
                            " OR b.queued_items<>(SELECT count(*) FROM generation g WHERE g.batch_seq=b.seq"
                            " AND g.status='queued')"
                            " OR b.failed_items<>(SELECT count(*) FROM generation g WHERE g.batch_seq=b.seq"
                            " AND g.status='failed')"),
                     0);
}

#endif
