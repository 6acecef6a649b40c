// SPDX-License-Identifier: MIT
// The pages of a reader of the log: put together they are what plain SQL gives, whatever the filter, the size of the
// page and what was deleted; each is short; and a gap is told.
#include "queue_ground.h"

#define ROWS 6000

// Events of 40 generations of three users and none, of two batch jobs with ten items each, and of nobody; some
// generations are gone.
static void fill(void) {
    for (int i = 0; i < 40; i++)
        submit("m", i % 4 ? (const char *[]){"", "ann", "bob", "cid"}[i % 4] : NULL, 0);
    for (int b = 0; b < 2; b++)
        submit_batch(
            &(struct batch_spec){.max_failures = -1, .max_failure_share = -1, .user_id = b ? "ann" : NULL},
            &(struct items){.model = "m", .count = 10}, 1);
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)"
         " INSERT INTO event (created_at, level, event, generation_seq, batch_seq, message)"
         " SELECT 1000+i, CASE r%%4 WHEN 0 THEN 'debug' WHEN 1 THEN 'info' WHEN 2 THEN 'warn' ELSE 'error' "
         "END,"
         " CASE r%%3 WHEN 0 THEN 'lock.expired' WHEN 1 THEN 'generation.failed' ELSE 'generation.retrying' "
         "END, s,"
         " CASE WHEN s IS NULL AND r%%5=0 THEN 1 ELSE (SELECT batch_seq FROM generation WHERE seq=s) END, "
         "'m'||i FROM"
         " (SELECT i, r, CASE WHEN r%%7>0 THEN 1+r%%60 END AS s FROM (SELECT i, (i*2654435761>>7)&1023 AS r "
         "FROM n))",
         ROWS);
    type("UPDATE generations SET status='cancelled' WHERE seq IN (3, 5)");
    type("DELETE FROM generations WHERE seq IN (3, 5)");
}

// ---- what is read ----

static char seen[100000];
static size_t seen_length;
static int64_t seen_rows;

static int note(void *payload, struct row *row) {
    (void)payload;
    seen_length += (size_t)snprintf(seen + seen_length, sizeof seen - seen_length, "%s%s",
                                    seen_rows++ ? "," : "", row_text(row, "id"));
    row_free(row);
    return 0;
}

// All pages from filter.after on; returns their number.
static int read_on(struct event_filter filter, int limit) {
    int pages = 0;
    int64_t oldest, newest;
    seen_length = 0;
    seen_rows = 0;
    seen[0] = 0;
    filter.limit = limit;
    OK(queue_event_range(db, &oldest, &newest, &error));
    while (filter.after < newest) {
        int64_t before = seen_rows, looked;
        OK(queue_event_page(db, &filter, &looked, note, NULL, &error));
        assert_true(seen_rows - before <= limit);
        assert_true(looked > filter.after && looked <= newest);
        filter.after = looked;
        pages++;
    }
    return pages;
}

struct question {
    struct event_filter filter;
    const char *where; // the same in SQL, of the view and of the table
};
#define USER                                                                                                 \
    "(CASE WHEN e.generation_seq IS NULL THEN (SELECT user_id FROM batch_job WHERE seq=e.batch_seq)"         \
    " ELSE (SELECT user_id FROM generation WHERE seq=e.generation_seq) END)"
static const struct question questions[] = {
    {{0}, "1"},
    {{.level = "warn"}, "l.level IN ('warn', 'error')"},
    {{.level = "debug"}, "1"},
    {{.event = "generation.failed"}, "l.event='generation.failed'"},
    {{.event = "generation."}, "l.event GLOB 'generation.*'"},
    {{.event = "nothing."}, "0"},
    {{.user_id = "ann"}, USER "='ann'"},
    {{.user_id = "nobody"}, "0"},
    {{.user_id = "bob", .level = "error", .event = "generation.failed"},
     USER "='bob' AND l.level='error' AND l.event='generation.failed'"},
    {{.generation_seq = 7}, "e.generation_seq=7"},
    {{.generation_seq = 3}, "e.generation_seq=3"},
    {{.generation_seq = 7, .user_id = "ann"}, "0"},
    {{.batch_seq = 1}, "e.batch_seq=1"},
    {{.batch_seq = 2, .user_id = "ann"}, "e.batch_seq=2"},
    {{.batch_seq = 1, .event = "batch."}, "e.batch_seq=1 AND l.event GLOB 'batch.*'"},
    {{.since = 4000}, "l.created_at>=4000"},
};
#define QUESTIONS (sizeof questions / sizeof *questions)

static void compare(const char *when) {
    static char wanted[100000];
    for (size_t i = 0; i < QUESTIONS; i++) {
        char sql[1000];
        for (int64_t after = 0; after < ROWS; after += 2500) {
            struct event_filter filter = questions[i].filter;
            snprintf(sql, sizeof sql,
                     "SELECT coalesce(group_concat(id, ','), '') FROM (SELECT l.id FROM logs l JOIN event e "
                     "ON e.id=l.id"
                     " WHERE e.id>%lld AND %s ORDER BY l.id)",
                     (long long)after, questions[i].where);
            sqlite3_stmt *s = ask(db, sql);
            assert_int_equal(sqlite3_step(s), SQLITE_ROW);
            snprintf(wanted, sizeof wanted, "%s", (const char *)sqlite3_column_text(s, 0));
            sqlite3_finalize(s);
            filter.after = after;
            for (int limit = 7; limit < 2000; limit = limit * 6 + 1) {
                read_on(filter, limit);
                if (strcmp(seen, wanted) != 0)
                    fail_msg("%s, pages of %d after %lld: %s:\n%.300s\n%.300s", when, limit, (long long)after,
                             questions[i].where, seen, wanted);
            }
        }
    }
}

static void test_pages(void **state) {
    (void)state;
    fill();
    compare("whole");
    type("DELETE FROM event WHERE id BETWEEN 100 AND 4000 AND id%%50");
    type("DELETE FROM event WHERE id BETWEEN 4100 AND 5900");
    compare("with gaps");
    type("ANALYZE");
    compare("analyzed");
}

static int keep_two(void *payload, struct row *row) {
    row_free(row);
    return ++*(int *)payload == 2;
}

static int check_user(void *payload, struct row *row) {
    (void)payload;
    assert_string_equal(row_text(row, "_user_id"), "bob");
    assert_null(strstr(row_json(row), "bob"));
    row_free(row);
    return 0;
}

static void test_rows(void **state) {
    int rows = 0;
    int64_t looked;
    (void)state;
    OK(queue_event_range(db, &looked, &looked, &error));
    assert_int_equal(looked, 0);
    fill();
    OK(queue_event_page(db, &(struct event_filter){.limit = 100}, &looked, keep_two, &rows, &error));
    assert_int_equal(rows, 2); // a callback that has enough ends the page
    OK(queue_event_page(db, &(struct event_filter){.limit = 100, .user_id = "bob"}, &looked, check_user, NULL,
                        &error));
    OK(queue_events(db, &(struct event_filter){.limit = 9, .user_id = "bob"}, check_user, NULL, &error));
    assert_int_equal(queue_event_page(db, &(struct event_filter){.limit = 1, .level = "loud"}, &looked, note,
                                      NULL, &error),
                     ERR_INVALID);
    assert_non_null(strstr(error.message, "loud is not a level"));
    // At the end and beyond it there is nothing.
    rows = 0;
    OK(queue_event_page(db, &(struct event_filter){.limit = 1, .after = 1000000}, &looked, keep_two, &rows,
                        &error));
    assert_int_equal(rows, 0);
    assert_int_equal(looked, 1000000);
}

static int drop(void *payload, struct row *row) {
    (void)payload;
    row_free(row);
    return 0;
}

static void whole(int64_t after, const char *user, bool is_whole) {
    int64_t looked;
    int result = queue_event_page(
        db, &(struct event_filter){.after = after, .limit = 50, .user_id = user, .whole = true}, &looked,
        drop, NULL, &error);
    if (result != (is_whole ? 0 : ERR_NOT_FOUND))
        fail_msg("after %lld: %d: %s", (long long)after, result, error.message);
    if (!is_whole)
        assert_non_null(strstr(error.message, "were deleted"));
}

static void test_gaps(void **state) {
    int64_t oldest, newest;
    (void)state;
    fill();
    type("DELETE FROM event WHERE id<10 OR id=300");
    OK(queue_event_range(db, &oldest, &newest, &error));
    assert_int_equal(oldest, 10);
    assert_int_equal(newest, number("SELECT max(id) FROM event"));
    whole(9, NULL, true);
    whole(8, NULL, false);
    whole(0, NULL, false);
    whole(249, NULL, true); // the page ends before the gap
    whole(250, NULL, false);
    whole(299, NULL, false);
    whole(300, NULL, true);
    whole(newest, NULL, true);
    whole(newest - 1, NULL, true);
    // Whose a deleted generation was is not known any more: for a user that is a gap.
    int64_t gone = number("SELECT id FROM event WHERE generation_seq=5 AND id>2000 ORDER BY id LIMIT 1");
    whole(gone - 1, NULL, true);
    whole(gone - 1, "ann", false);
}

// ---- how it is read ----

static char asked[16][2000];
static size_t asked_count;

static int on_statement(unsigned what, void *payload, void *statement, void *text_of_it) {
    (void)what;
    (void)payload;
    (void)text_of_it;
    if (asked_count < 16)
        snprintf(asked[asked_count++], sizeof asked[0], "%s", sqlite3_sql(statement));
    return 0;
}

static void test_plans(void **state) {
    (void)state;
    fill();
    for (int analyzed = 0; analyzed < 2; analyzed++) {
        for (size_t i = 0; i < QUESTIONS; i++) {
            int64_t looked;
            struct event_filter filter = questions[i].filter;
            const char *want = filter.generation_seq
                                   ? "event_generation (generation_seq=? AND id>? AND id<?)"
                                   : "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
            const char *also =
                filter.generation_seq ? "event_generation (generation_seq=? AND rowid>? AND rowid<?)" : want;
            filter.limit = 5;
            filter.after = 100;
            filter.whole = i % 2 > 0 && !filter.user_id;
            asked_count = 0;
            sqlite3_trace_v2(db_handle(db), SQLITE_TRACE_STMT, on_statement, NULL);
            OK(queue_event_page(db, &filter, &looked, drop, NULL, &error));
            sqlite3_trace_v2(db_handle(db), 0, NULL, NULL);
            bool found = false;
            for (size_t a = 0; a < asked_count; a++) {
                char plan[4000] = "";
                size_t length = 0;
                char *explain = mem_format("EXPLAIN QUERY PLAN %s", asked[a]);
                sqlite3_stmt *s = ask(db, explain);
                free(explain);
                while (sqlite3_step(s) == SQLITE_ROW)
                    length += (size_t)snprintf(plan + length, sizeof plan - length, "%s\n",
                                               (const char *)sqlite3_column_text(s, 3));
                sqlite3_finalize(s);
                found |= strstr(plan, want) || strstr(plan, also);
                if (strstr(plan, "SCAN") || strstr(plan, "TEMP B-TREE"))
                    fail_msg("%s: %s\n%s", questions[i].where, asked[a], plan);
                if (!found && a + 1 == asked_count)
                    fail_msg("%s: not by %s: %s", questions[i].where, want, plan);
            }
        }
        type("ANALYZE");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pages, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_rows, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_gaps, ground_open, ground_close),
        cmocka_unit_test_setup_teardown(test_plans, ground_open, ground_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
