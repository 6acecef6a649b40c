// SPDX-License-Identifier: MIT
// Deliveries as rows: whatever is asked of them costs the same with a long history, by its index, and how long
// they are kept.
#include "queue_ground.h"

#include "queue/delivery.h"
#include "queue/upkeep.h"

#define SMALL 24000 // delivered; more than are kept
#define LARGE 100000
#define WAITING 300
#define PLANS 4096

// ---- a history ----

// `n` that were taken by two endpoints in turn, then so many of each that failed, were dropped and wait; half of the
// waiting ones behind another of their generation.
static void fill(int taken, int others) {
    type("INSERT INTO endpoint (name, url_digest, updated_at) VALUES ('app', 'x', 1), ('other', 'x', 1)");
    type("INSERT INTO cursors (name, log_id, updated_at) VALUES ('webhook:app', 0, 1), ('webhook:other', 0, "
         "1)");
    type("INSERT INTO event (created_at, level, event) VALUES (1, 'info', 'runner.started')");
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO delivery "
         "(endpoint, event_id,"
         " event, generation_seq, message_id, body, status, next_at, created_at, ended_at) SELECT CASE i%%2 "
         "WHEN 0 THEN 'app'"
         " ELSE 'other' END, i, 'generation.completed', i, 'msg_'||i, '{}', 'delivered', 1, 1000+i, 1000+i "
         "FROM n",
         taken);
    static const char *const states[] = {"failed", "dropped", "pending"};
    for (int k = 0; k < 3; k++)
        type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO delivery "
             "(endpoint,"
             " event_id, event, generation_seq, message_id, body, status, held, next_at, created_at, "
             "ended_at) SELECT"
             " CASE i%%2 WHEN 0 THEN 'app' ELSE 'other' END, 1000000*%d+i, 'generation.completed', i/4, "
             "'msg_%d_'||i,"
             " '{}', '%s', %s, 1, %lld, %s FROM n",
             others, k + 1, k, states[k], k == 2 ? "i%4>1" : "0", (long long)clock_wall_at(),
             k == 2 ? "NULL" : "2");
}

// ---- what is asked and done ----

static int drop_row(void *payload, struct row *row) {
    ++*(int *)payload;
    row_free(row);
    return 0;
}

static void list(enum delivery_look look, int64_t after, int least) {
    int64_t next = 0;
    int count = 0;
    OK(delivery_list(db, "app", look, after, 20, drop_row, &count, &next, &error));
    assert_in_range(count, least, 20);
}
static void list_all(void) {
    list(DELIVERY_ALL, 0, 20);
    list(DELIVERY_ALL, 5000, 20);
}
static void list_open(void) {
    list(DELIVERY_OPEN, 0, 20);
}
static void list_pending(void) {
    list(DELIVERY_PENDING, 0, 20);
}
static void list_delivered(void) {
    list(DELIVERY_DELIVERED, 0, 20);
    list(DELIVERY_DELIVERED, 5000, 20);
}
static void list_failed(void) {
    list(DELIVERY_FAILED, 0, 20);
}
static void list_dropped(void) {
    list(DELIVERY_DROPPED, 0, 20);
}
static void knows(void) {
    bool known = false;
    OK(delivery_knows(db, "app", &known, &error));
    assert_true(known);
    OK(delivery_knows(db, "nobody", &known, &error));
    assert_false(known);
}
static void endpoint(void) {
    struct row *row = NULL;
    OK(delivery_endpoint_row(db, "app", clock_wall_at(), &row, &error));
    assert_true(row_integer(row, "pending", 0) > 0 && row_integer(row, "failed", 0) > 0);
    row_free(row);
}
static void due(void) {
    struct delivery some[4];
    size_t count = 0;
    int64_t at = 0;
    OK(delivery_due(db, "app", clock_wall_at(), 4, some, &count, &error));
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++)
        delivery_clear(&some[i]);
    OK(delivery_next_at(db, "app", &at, &error));
    assert_int_equal(at, 1);
}
static void look(void) {
    struct delivery_endpoint state;
    OK(delivery_look(db, "app", &state, &error));
    assert_true(state.pending > 0);
    OK(delivery_open(db, "app", "x", 1, &state, &error));
}
static int64_t first_due(void) {
    return number("SELECT min(id) FROM delivery INDEXED BY delivery_due WHERE endpoint='app' AND "
                  "status='pending' AND held=0");
}
static void settle(void) {
    const int64_t ids[] = {first_due()};
    const struct delivery_outcome taken = {.status = "delivered", .counts = true, .http_status = 200};
    const struct delivery_outcome again = {.status = "pending", .counts = true, .next_at = 1, .error = "no"};
    OK(db_begin(db, 1000, &error));
    OK(delivery_settle(db, ids, 1, &again, 2000, &error));
    OK(delivery_settle(db, ids, 1, &taken, 2000, &error));
    OK(delivery_endpoint_set(db, "app", &(struct delivery_state){.took = true}, 2000, &error));
    OK(db_commit(db, &error));
}
static bool any(void *payload, const char *event) {
    (void)payload;
    return *event != 0;
}
static void scan_and_store(void) {
    struct delivery_event events[DELIVERY_PAGE];
    int64_t position = 0;
    size_t count = 0;
    bool more = false;
    OK(delivery_scan(db, &position, any, NULL, events, &count, &more, &error));
    char body[] = "{}";
    const struct delivery_new list[] = {
        {5000001, 1, 0, "x.y", body}, {5000002, 0, 1, "x.y", body}, {5000003, 0, 0, "x.y", body}};
    OK(delivery_store(db, "app", list, 3, position, 1, 2000, &error));
    for (size_t i = 0; i < count; i++)
        delivery_event_clear(&events[i]);
}
static void redeliver(void) {
    char id[32];
    snprintf(id, sizeof id, "%lld",
             (long long)number("SELECT max(id) FROM delivery WHERE endpoint='app' AND status='failed'"));
    OK(delivery_redeliver(db, id, "app", &error));
    char *owner = NULL;
    OK(delivery_owner(db, "msg_100", &owner, &error));
    assert_string_equal(owner, "app");
    OK(delivery_redeliver(db, "msg_100", owner, &error));
    free(owner);
    assert_int_equal(delivery_redeliver(db, "msg_102", "other", &error), ERR_NOT_FOUND);
}
static void redeliver_failed(void) {
    int64_t count = 0;
    OK(delivery_redeliver_failed(db, "app", &count, &error));
    assert_true(count > 0);
}
static void drop_some(void) {
    int64_t dropped = 0;
    OK(delivery_drop(db, "app", 3000, &dropped, &error));
    assert_true(dropped > 0);
}
static void unwind(void) {
    int64_t changed = 0;
    OK(delivery_unwind(db, "app", clock_wall_at(), &changed, &error));
    assert_int_equal(changed, 0);
    OK(delivery_unwind(db, "app", -INT64_C(1000000000000), &changed, &error));
    assert_true(changed > 0);
}
static void enable(void) {
    bool was = false;
    OK(delivery_enable(db, "app", &was, &error));
}
static void alerts(void) {
    const struct cleanup_rules rules = {.heartbeat_interval_ms = 1000};
    OK(queue_check_alerts(db, true, &rules, 600000, 0.9, clock_wall_at(), &error));
}
static void expire(void) {
    int64_t changed = 0;
    OK(delivery_expire(db, 4000, &changed, &error));
    assert_true(changed > 0);
}
static void forget(void) {
    const char *const names[] = {"app"};
    bool more = true;
    for (int i = 0; more; i++) {
        OK(delivery_forget_others(db, names, 1, 5000, &more, &error));
        assert_in_range(i, 0, WAITING);
    }
    assert_int_equal(number("SELECT count(*) FROM delivery WHERE status='pending' AND endpoint='other'"), 0);
}

static const struct {
    const char *name;
    void (*run)(void);
} questions[] = {
    {"all deliveries", list_all},
    {"what is pending or failed", list_open},
    {"what is pending", list_pending},
    {"what was taken", list_delivered},
    {"what failed", list_failed},
    {"what was dropped", list_dropped},
    {"a name", knows},
    {"an endpoint", endpoint},
    {"what is due", due},
    {"a look", look},
    {"the end of an attempt", settle},
    {"reading and storing", scan_and_store},
    {"again, one", redeliver},
    {"again, all that failed", redeliver_failed},
    {"a clock set back", unwind},
    {"dropping", drop_some},
    {"enabling", enable},
    {"alerts", alerts},
    {"expiry", expire},
    {"forgetting", forget},
};
#define QUESTIONS (sizeof questions / sizeof *questions)

// ---- cost and plans ----

static int64_t steps;
static char *statements[PLANS];
static size_t statement_count;

static void keep(const char *sql) {
    for (size_t i = 0; i < statement_count; i++)
        if (strcmp(statements[i], sql) == 0)
            return;
    assert_in_range(statement_count, 0, PLANS - 1);
    statements[statement_count++] = mem_copy(sql);
}

static int on_profile(unsigned what, void *payload, void *statement, void *time) {
    (void)payload;
    (void)time;
    if (what == SQLITE_TRACE_PROFILE) {
        steps += sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
        if (strstr(sqlite3_sql(statement), "delivery"))
            keep(sqlite3_sql(statement));
    }
    return 0;
}

// A table that is read from its beginning, or sorted whole.
static void expect_index(const char *sql) {
    char explained[8192];
    snprintf(explained, sizeof explained, "EXPLAIN QUERY PLAN %s", sql);
    sqlite3_stmt *s = ask(db, explained);
    while (sqlite3_step(s) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(s, 3);
        bool walks = strncmp(line, "SCAN delivery", 13) == 0 || strncmp(line, "SCAN d", 7) == 0 ||
                     strncmp(line, "SCAN event", 10) == 0 || strncmp(line, "SCAN generation", 15) == 0;
        if (walks)
            fail_msg("%s\n%s", line, sql);
    }
    sqlite3_finalize(s);
}

static void measure(int taken, bool analyzed, int64_t cost[QUESTIONS]) {
    assert_int_equal(ground_open(NULL), 0);
    fill(taken, WAITING);
    // A person may type it: the plans must stand it.
    if (analyzed)
        type("ANALYZE");
    sqlite3_trace_v2(db_handle(db), SQLITE_TRACE_PROFILE, on_profile, NULL);
    for (size_t i = 0; i < QUESTIONS; i++) {
        steps = 0;
        questions[i].run();
        cost[i] = steps;
    }
    sqlite3_trace_v2(db_handle(db), 0, NULL, NULL);
    for (size_t i = 0; i < statement_count; i++)
        expect_index(statements[i]);
    ground_close(NULL);
}

static void test_a_history_costs_nothing(void **state) {
    int64_t small[QUESTIONS], large[QUESTIONS];
    int grown = 0;
    (void)state;
    measure(SMALL, false, small);
    measure(LARGE, true, large);
    for (size_t i = 0; i < QUESTIONS; i++) {
        bool grows = large[i] > small[i] + small[i] / 4 + 100;
        grown += grows;
        if (grows || getenv("GENRUN_VERBOSE"))
            print_message("# %s: %lld steps with %d rows, %lld with %d\n", questions[i].name,
                          (long long)small[i], SMALL, (long long)large[i], LARGE);
        assert_true(small[i] > 0);
    }
    assert_int_equal(grown, 0);
    assert_true(statement_count > 20);
    while (statement_count > 0)
        free(statements[--statement_count]);
}

// ---- how long they are kept ----

static int64_t expire_all(int64_t now_at) {
    int64_t changed = 1, all = 0;
    for (; changed > 0; all += changed)
        OK(delivery_expire(db, now_at, &changed, &error));
    return all;
}

static void test_kept(void **state) {
    (void)state;
    const int64_t day_ms = INT64_C(24) * 3600 * 1000, now_at = clock_wall_at();
    fill(30000, 40);
    expire_all(4000);
    assert_int_equal(number("SELECT count(*) FROM delivery WHERE endpoint='app' AND status='delivered'"),
                     DELIVERY_KEPT_ROWS);
    assert_int_equal(number("SELECT count(*) FROM delivery WHERE endpoint='other' AND status='delivered'"),
                     DELIVERY_KEPT_ROWS);
    assert_int_equal(number("SELECT min(event_id) FROM delivery WHERE endpoint='app'"), 10002); // the newest
    assert_int_equal(number("SELECT count(*) FROM delivery WHERE status IN ('failed', 'dropped', 'pending')"),
                     120);
    assert_int_equal(expire_all(4000), 0);
    // 30 days after their end they go, and what nobody took has failed.
    expire_all(now_at + 29 * day_ms);
    assert_int_equal(number("SELECT count(*) FROM delivery WHERE status='pending'"), 40);
    assert_int_equal(number("SELECT count(*) FROM delivery"), 40);
    // Only of an endpoint that was away for so long, and was tried lately.
    type("UPDATE endpoint SET away_since=1, updated_at=%lld", (long long)now_at);
    assert_int_equal(expire_all(now_at + 31 * day_ms), 0);
    type("UPDATE endpoint SET away_since=%lld, updated_at=%lld", (long long)(now_at + 5 * day_ms),
         (long long)(now_at + 31 * day_ms));
    assert_int_equal(expire_all(now_at + 31 * day_ms), 0);
    type("UPDATE endpoint SET away_since=1");
    expire_all(now_at + 31 * day_ms);
    assert_int_equal(number("SELECT count(*) FROM delivery WHERE status='failed'"), 40);
    assert_string_equal(text("SELECT DISTINCT last_error FROM delivery"), "nobody took it for 30 days");
    expire_all(now_at + 62 * day_ms);
    assert_int_equal(number("SELECT count(*) FROM delivery"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_history_costs_nothing),
        cmocka_unit_test_setup_teardown(test_kept, ground_open, ground_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
