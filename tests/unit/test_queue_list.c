// SPDX-License-Identifier: MIT
// Lists of generations: page by page they give what plain SQL gives, whichever index serves; each filter by its
// index, as SQLite's plans say; and a page that would pass over very many rows ends early and goes on.
#include "queue_ground.h"

// 2,400 single generations of 3 models, 7 users and none, 5 sessions and none, in all states without an order; of the
// queued ones some delayed, some suspect; of the completed ones some with several outputs, of the failed ones some
// with partial ones; some dismissed.
static const char singles[] =
    "INSERT INTO lane (id, model_id, user_id, batch_seq, priority) SELECT 100+m.value*10+u.value, "
    "'m'||m.value,"
    " CASE u.value WHEN 7 THEN '' ELSE 'u'||u.value END, 0, 0 FROM json_each('[0,1,2]') m,"
    " json_each('[0,1,2,3,4,5,6,7]') u;"
    "CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<2399)"
    " SELECT i, (i*2654435761 >> 7) & 1023 AS r FROM n;"
    "INSERT INTO generation (id, status, lane, model_id, user_id, session_id, claim_token, completed_at, "
    "error_type,"
    " error_message, starts, run_after, suspect, dismissed_at, created_at)"
    " SELECT printf('01900000-0000-7000-8000-%012x', i), s, 100+r%3*10+r%8, 'm'||(r%3),"
    " CASE WHEN r%8<7 THEN 'u'||(r%8) END, CASE WHEN r%6<5 THEN 's'||(r%6) END,"
    " CASE s WHEN 'processing' THEN 'x' END, CASE WHEN s<>'queued' AND s<>'processing' THEN 1000+i END,"
    " CASE WHEN s='failed' THEN CASE r%4 WHEN 0 THEN 'NetworkError' ELSE 'TimeoutError' END END,"
    " CASE WHEN s='failed' THEN 'no' END, 1, CASE WHEN s='queued' AND r%5=0 THEN 9000000000000 END,"
    " s='queued' AND r%11=0, CASE WHEN s<>'queued' AND r%7=0 THEN 5 END, 1000+i FROM"
    " (SELECT i, r, CASE WHEN r<300 THEN 'queued' WHEN r<310 THEN 'processing' WHEN r<600 THEN 'completed'"
    "  WHEN r<800 THEN 'failed' ELSE 'cancelled' END AS s FROM n);"
    "INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'p', '{}' FROM generation"
    " WHERE seq NOT IN (SELECT seq FROM generation_input);"
    "INSERT INTO output (key, mime, content, bytes, partial, created_at) SELECT seq*1024+k.value, "
    "'text/plain', 'x', 1,"
    " status='failed', 1 FROM generation, json_each('[0,1,2]') k WHERE batch_seq IS NULL AND "
    "((status='completed' AND"
    " (k.value=0 OR seq%4=0)) OR (status='failed' AND seq%3=0));"
    "DROP TABLE n;";

// Items of a batch job in all states.
static void mix(int64_t batch) {
    type("UPDATE generation SET status='processing', claim_token='x', starts=1, started_at=1 WHERE "
         "batch_seq=%lld"
         " AND item_index%%5>0",
         (long long)batch);
    type("UPDATE generation SET status='completed', claim_token=NULL, completed_at=1 WHERE batch_seq=%lld AND"
         " item_index%%5=2",
         (long long)batch);
    type("INSERT INTO output (key, mime, content, bytes, created_at) SELECT seq*1024, 'text/plain', 'x', 1, "
         "1 FROM"
         " generation WHERE batch_seq=%lld AND item_index%%5=2",
         (long long)batch);
    type("UPDATE generation SET status='failed', claim_token=NULL, completed_at=1, error_type='TimeoutError',"
         " error_message='no' WHERE batch_seq=%lld AND item_index%%5=3",
         (long long)batch);
    type("UPDATE generation SET status='cancelled', claim_token=NULL, completed_at=1 WHERE batch_seq=%lld AND"
         " item_index%%5=4",
         (long long)batch);
}

static int64_t mixed, waiting;
static struct batch_writer *filling; // of a batch job that shows in no list

static int tear_down(void **state) {
    batch_writer_abandon(filling);
    filling = NULL;
    return ground_close(state);
}

static void fill(void) {
    char id[ID_SIZE];
    bool known;
    mixed = batch_of("m0", 700);
    mix(mixed);
    if (sqlite3_exec(db_handle(db), singles, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db_handle(db)));
    waiting = batch_of("m1", 300);
    OK(batch_writer_begin(&filling, db, &(struct batch_spec){.max_failures = -1, .max_failure_share = -1}, id,
                          &known, &error));
    for (int i = 0; i < 600; i++)
        OK(batch_writer_add(
            filling, &(struct spec){.prompt = "p", .model_id = "m2", .run_after_at = i % 2 ? 9 : 0}, &error));
    // A large one, so that they are written.
    char *large = mem_alloc(2000000, 1);
    memset(large, 'p', 1999999);
    OK(batch_writer_add(filling, &(struct spec){.prompt = large, .model_id = "m2"}, &error));
    free(large);
    assert_int_equal(number("SELECT count(*) FROM generation WHERE batch_seq=%lld", (long long)waiting + 1),
                     601);
    submit("m2", "u1", 5);
    type("INSERT INTO runners (id, pid, boot_id, host, version, heartbeat_timeout_ms, started_at, "
         "heartbeat_at)"
         " VALUES ('r', 1, 'b', 'h', 'v', 60000, 1, 1)");
    type("UPDATE generation SET runner_seq=1, started_at=CASE WHEN seq%%2 THEN 9000000000000 ELSE 1 END"
         " WHERE status='processing'");
}

// ---- what is listed ----

static char listed[200000];
static size_t listed_length;
static int64_t listed_rows;

static int note(void *payload, struct row *row) {
    (void)payload;
    listed_length += (size_t)snprintf(listed + listed_length, sizeof listed - listed_length, "%s%s",
                                      listed_rows++ ? "," : "", row_text(row, "id"));
    row_free(row);
    return 0;
}

// All pages; returns their number.
static int list(struct filter filter, int limit) {
    int pages = 0;
    listed_length = 0;
    listed_rows = 0;
    listed[0] = 0;
    filter.limit = limit;
    do {
        int64_t before = listed_rows, next;
        OK(queue_list(db, &filter, note, NULL, &next, &error));
        assert_true(sqlite3_get_autocommit(db_handle(db)));
        assert_true(limit == 0 || listed_rows - before <= limit);
        assert_true(next == 0 || filter.after == 0 ||
                    (filter.batch_seq ? next > filter.after : next < filter.after));
        filter.after = next;
        pages++;
    } while (filter.after);
    return pages;
}

static const char *wanted(const char *where, const char *order) {
    static char *text_;
    char sql[1024];
    snprintf(sql, sizeof sql,
             "SELECT coalesce(group_concat(id), '') FROM (SELECT id FROM generations WHERE %s ORDER BY %s)",
             where, order);
    sqlite3_stmt *s = ask(db, sql);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    free(text_);
    text_ = mem_copy((const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return text_;
}

struct question {
    struct filter filter;
    const char *where;
    const char *plan; // what must stand in a plan of it, one of them where '|' stands between
    bool sorts;       // few rows, or none in order
};

static const struct question questions[] = {
    {{0}, "1", "g USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", false},
    {{.user_id = "u3"}, "user_id='u3'", "generation_user (user_id=? AND seq>? AND seq<?)", false},
    {{.session_id = "s2"}, "session_id='s2'", "generation_session (session_id=? AND seq>? AND seq<?)", false},
    {{.model_id = "m1"}, "model_id='m1'", "generation_model (model_id=? AND seq>? AND seq<?)", false},
    {{.status = "queued"}, "status='queued'", "generation_ready (lane=? AND seq>? AND seq<?)", true},
    {{.status = "processing"}, "status='processing'", "generation_processing", true},
    {{.status = "completed"},
     "status='completed'",
     "o USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
     false},
    {{.status = "failed"}, "status='failed'", "generation_failed_seq (seq>? AND seq<?)", false},
    {{.status = "cancelled"}, "status='cancelled'", "generation_cancelled_seq (seq>? AND seq<?)", false},
    {{.status = "stuck"}, "id IN (SELECT id FROM stuck_generations)", "generation_processing", true},
    {{.status = "queued", .user_id = "u1"},
     "status='queued' AND user_id='u1'",
     "generation_ready (lane=?",
     true},
    {{.status = "queued", .model_id = "m1"},
     "status='queued' AND model_id='m1'",
     "generation_ready (lane=?",
     true},
    {{.status = "queued", .session_id = "s1"},
     "status='queued' AND session_id='s1'",
     "generation_session",
     true},
    {{.status = "queued", .model_id = "m2", .user_id = "u4", .session_id = "s4"},
     "status='queued' AND model_id='m2' AND user_id='u4' AND session_id='s4'",
     "generation_session",
     true},
    {{.status = "queued", .since = 1900},
     "status='queued' AND created_at>=1900",
     "generation_ready (lane=?",
     true},
    {{.status = "failed", .user_id = "u5"},
     "status='failed' AND user_id='u5'",
     "generation_failed_seq",
     false},
    {{.status = "completed", .user_id = "u5", .model_id = "m0"},
     "status='completed' AND user_id='u5' AND model_id='m0'",
     "o USING INTEGER PRIMARY KEY",
     false},
    {{.status = "cancelled", .session_id = "s3", .user_id = "u1", .model_id = "m2"},
     "status='cancelled' AND session_id='s3' AND user_id='u1' AND model_id='m2'",
     "generation_cancelled_seq",
     false},
    {{.status = "failed", .error_type = "NetworkError"},
     "status='failed' AND error_type='NetworkError'",
     "generation_failed_seq",
     false},
    {{.since = 2000, .until = 2200},
     "created_at>=2000 AND created_at<2200",
     "g USING INTEGER PRIMARY KEY",
     false},
    {{.dismissed = 1}, "dismissed_at IS NOT NULL", "g USING INTEGER PRIMARY KEY", false},
    {{.status = "failed", .dismissed = -1},
     "status='failed' AND dismissed_at IS NULL",
     "generation_failed_seq",
     false},
    {{.user_id = "nobody"}, "0", "generation_user", false},
    {{.user_id = "nobody", .status = "queued"}, "0", "generation_ready (lane=?", true},
};

static void test_filters(void **state) {
    static const int limits[] = {0, 20, 7, 255, 256, 257, 1};
    (void)state;
    fill();
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        const char *ids = wanted(questions[i].where, "seq DESC");
        for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
            if (limits[l] == 1 && strlen(ids) > 37 * 200)
                continue;
            list(questions[i].filter, limits[l]);
            if (strcmp(listed, ids) != 0)
                fail_msg("%s, in pages of %d: got %s, wanted %s", questions[i].where, limits[l], listed, ids);
        }
    }
    assert_int_equal(list((struct filter){.status = "failed"}, 0), 1);
}

static void test_items(void **state) {
    static const char *const states[] = {NULL,     "queued",    "processing", "completed",
                                         "failed", "cancelled", "stuck"};
    (void)state;
    fill();
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        for (int limit = 0; limit < 300; limit += 99) {
            char where[200];
            const int64_t batches[] = {mixed, waiting, 99};
            for (size_t b = 0; b < 3; b++) {
                snprintf(where, sizeof where,
                         "batch_job_id=(SELECT id FROM batch_job WHERE seq=%lld) AND %s%s%s",
                         (long long)batches[b],
                         !states[i]                        ? "1"
                         : strcmp(states[i], "stuck") == 0 ? "id IN (SELECT id FROM stuck_generations)"
                                                           : "status='",
                         states[i] && strcmp(states[i], "stuck") != 0 ? states[i] : "",
                         states[i] && strcmp(states[i], "stuck") != 0 ? "'" : "");
                const char *ids = wanted(where, "item_index");
                list((struct filter){.batch_seq = batches[b], .status = states[i]}, limit);
                if (strcmp(listed, ids) != 0)
                    fail_msg("%s, in pages of %d: got %s, wanted %s", where, limit, listed, ids);
            }
        }
    // An item that was deleted is no hole.
    type("DELETE FROM generations WHERE status='completed' AND batch_job_id IS NOT NULL AND item_index%%3=0");
    list((struct filter){.batch_seq = mixed}, 10);
    assert_string_equal(listed, wanted("batch_job_id=(SELECT min(id) FROM batch_jobs)", "item_index"));
}

// ---- by which index ----

static char asked[8][4000];
static size_t asked_count;

static int on_statement(unsigned what, void *payload, void *statement, void *text) {
    (void)payload;
    const char *sql = sqlite3_sql(statement);
    if (what != SQLITE_TRACE_STMT || strncmp(text, "--", 2) == 0 || !strstr(sql, "BETWEEN ?1 AND ?2"))
        return 0;
    for (size_t i = 0; i < asked_count; i++)
        if (strcmp(asked[i], sql) == 0)
            return 0;
    assert_true(asked_count < sizeof asked / sizeof *asked);
    snprintf(asked[asked_count++], sizeof *asked, "%s", sql);
    return 0;
}

static void plan_of(const char *sql, char *out, size_t size) {
    size_t length = 0;
    char *explain = mem_format("EXPLAIN QUERY PLAN %s", sql);
    sqlite3_stmt *s = ask(db, explain);
    free(explain);
    while (sqlite3_step(s) == SQLITE_ROW)
        length +=
            (size_t)snprintf(out + length, size - length, "%s\n", (const char *)sqlite3_column_text(s, 3));
    sqlite3_finalize(s);
}

static void test_plans(void **state) {
    (void)state;
    fill();
    for (int analyzed = 0; analyzed < 2; analyzed++) {
        for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
            char plan[8000] = "";
            bool found = false;
            asked_count = 0;
            sqlite3_trace_v2(db_handle(db), SQLITE_TRACE_STMT, on_statement, NULL);
            // So many that each index is asked.
            list(questions[i].filter, 256);
            sqlite3_trace_v2(db_handle(db), 0, NULL, NULL);
            assert_true(asked_count > 0);
            for (size_t a = 0; a < asked_count; a++) {
                plan_of(asked[a], plan, sizeof plan);
                found |= strstr(plan, questions[i].plan) != NULL;
                if (strstr(plan, "SCAN g\n") || strstr(plan, "SCAN generation\n") ||
                    strstr(plan, "SCAN o\n") || (strstr(plan, "TEMP B-TREE") && !questions[i].sorts))
                    fail_msg("%s: %s\n%s", questions[i].where, asked[a], plan);
            }
            if (!found)
                fail_msg("%s: not by %s:\n%s\n%s", questions[i].where, questions[i].plan, asked[0], plan);
        }
        // A person may type ANALYZE.
        type("ANALYZE");
    }
}

// ---- much to pass over ----

// 60,000 rows, every other one of another user and model: each has many rows, but for three none has both.
static void test_far_between(void **state) {
    (void)state;
    char sql[1500];
    snprintf(
        sql, sizeof sql,
        "INSERT INTO lane (id, model_id, user_id, batch_seq, priority) VALUES (1,'a','u',0,0), "
        "(2,'b','v',0,0),"
        " (3,'b','u',0,0);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60000) INSERT INTO generation "
        "(id,"
        " status, lane, model_id, user_id, completed_at, created_at) SELECT printf('%%036d', i), 'cancelled',"
        " CASE WHEN i%%20000=1 THEN 3 ELSE 1+i%%2 END, CASE WHEN i%%2=1 OR i%%20000=1 THEN 'b' ELSE 'a' END,"
        " CASE WHEN i%%2=0 OR i%%20000=1 THEN 'u' ELSE 'v' END, 5, i FROM n;"
        "INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'p', '{}' FROM generation;");
    if (sqlite3_exec(db_handle(db), sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db_handle(db)));
    const struct filter both = {.user_id = "u", .model_id = "b"};
    int pages = list(both, 20);
    assert_string_equal(listed, wanted("user_id='u' AND model_id='b'", "seq DESC"));
    assert_int_equal(listed_rows, 3);
    print_message("# 3 rows of 60,000 in %d pages\n", pages);
    assert_in_range(pages, 2, 4);
    // Without a limit it goes on by itself.
    assert_int_equal(list(both, 0), 1);
    assert_int_equal(listed_rows, 3);
    // A change goes over all of them.
    int64_t changed;
    OK(queue_change_all(db, CHANGE_DISMISS, &both, NULL, false, &changed, &error));
    assert_int_equal(changed, 3);
}

static void test_unknown_states(void **state) {
    (void)state;
    int64_t next;
    assert_int_equal(queue_list(db, &(struct filter){.status = "done"}, note, NULL, &next, &error),
                     ERR_INVALID);
    assert_non_null(strstr(error.message, "done is not a state: use queued, processing"));
    assert_int_equal(queue_list(db, &(struct filter){.status = "queued' OR '1"}, note, NULL, &next, &error),
                     ERR_INVALID);
    assert_int_equal(queue_batch_list(db, &(struct filter){.status = "stuck"}, note, NULL, &next, &error),
                     ERR_INVALID);
    assert_non_null(strstr(error.message, "not a state of a batch job: use queued, processing, paused"));
}

#define T(test) cmocka_unit_test_setup_teardown(test, ground_open, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_filters), T(test_items), T(test_plans), T(test_far_between), T(test_unknown_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
