// SPDX-License-Identifier: MIT
// What must not cost more when there is more: the same questions and changes on a small and on a large
// database, counted in steps of SQLite's virtual machine, triggers included. (No times, so no noise.)
#include "queue_ground.h"

#include "queue/upkeep.h"

#define SMALL 2000 // more than a list tries an index for
#define LARGE 24000
#define MOST 32

static int64_t steps;

static int on_profile(unsigned what, void *payload, void *statement, void *time) {
    (void)payload;
    (void)time;
    if (what == SQLITE_TRACE_PROFILE)
        steps += sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
    return 0;
}

// `n` single generations, oldest first: 30 % queued, 40 % completed, 10 % cancelled, 20 % failed long ago; on 3 models
// for 10 users in 5 sessions; two events each. So what a list by state looks for may lie far from where it begins.
static const char fill[] =
    "INSERT INTO lane (id, model_id, user_id, batch_seq, priority) SELECT 1+m.value*10+u.value, 'm'||m.value,"
    " 'u'||u.value, 0, 0 FROM json_each('[0,1,2]') m, json_each('[0,1,2,3,4,5,6,7,8,9]') u;"
    "CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT "
    "i,"
    " CASE WHEN i<%d*3/10 THEN 'queued' WHEN i<%d*7/10 THEN 'completed' WHEN i<%d*8/10 THEN 'cancelled'"
    " ELSE 'failed' END AS s FROM n;"
    "INSERT INTO generation (id, status, lane, model_id, user_id, session_id, completed_at, error_type, "
    "error_message,"
    " cancel_reason, starts, client_id, created_at) SELECT printf('01900000-0000-7000-8000-%%012x', "
    "i*2654435761 & 281474976710655),"
    " s, 1+i%%3*10+i%%10, 'm'||(i%%3), 'u'||(i%%10), 's'||(i%%5), CASE WHEN s<>'queued' THEN 1000+i END,"
    " CASE WHEN s='failed' THEN 'NetworkError' END, CASE WHEN s='failed' THEN 'no' END,"
    " CASE WHEN s='cancelled' THEN 'c' END, 1, 'k'||i, 1000+i FROM n;"
    "INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'p', '{}' FROM generation;"
    "INSERT INTO output (key, mime, content, bytes, created_at) SELECT seq*1024, 'text/plain', 'x', 1, 1 "
    "FROM generation"
    " WHERE status='completed';"
    "INSERT INTO event (created_at, level, event, generation_seq) SELECT 1, 'info', 'generation.queued', seq "
    "FROM generation;"
    "INSERT INTO event (created_at, level, event, generation_seq) SELECT 2, 'info', 'generation.'||status, "
    "seq"
    " FROM generation WHERE status<>'queued';"
    "UPDATE batch_count SET (queued_items, successful_items, cancelled_items, failed_items)=(SELECT "
    "sum(status='queued'),"
    " sum(status='completed'), sum(status='cancelled'), sum(status='failed') FROM generation) WHERE "
    "batch_seq=0;"
    "DROP TABLE n;";

struct world {
    struct runner_identity me;
    struct claim_turn turn;
    struct claim_scope scope;
    struct claim claims[MOST];
    size_t claimed;
    int64_t batch;
    int64_t queued, failed, completed, middle; // rows to ask for and to change
    char middle_id[ID_SIZE];
    char batch_id[ID_SIZE];
};

static struct world w;

// What is the same in both: three batch jobs of 40 items, 30 recent failures, a few delayed, dismissed and running.
static void add_the_same(void) {
    int64_t recovered, failed;
    const int64_t now_at = clock_wall_at();
    for (int i = 0; i < 3; i++)
        w.batch = batch_of("m0", 40);
    for (int i = 0; i < 30; i++)
        type("UPDATE generations SET status='failed' WHERE seq=%lld", (long long)submit("m1", "u1", 0));
    for (int i = 0; i < 10; i++)
        submit_spec(&(struct spec){.prompt = "p", .model_id = "m2", .run_after_at = now_at + 3600000});
    OK(db_begin(db, 1000, &error));
    OK(start_runner(&w.me, 3, 3, now_at, &recovered, &failed));
    OK(db_commit(db, &error));
    w.scope =
        (struct claim_scope){.runner_seq = w.me.seq, .now_at = now_at, .owner = w.me.id, .lock_ms = 60000};
    w.queued = number(
        "SELECT seq FROM generation WHERE status='queued' AND batch_seq IS NULL ORDER BY seq DESC LIMIT 1");
    w.failed = number("SELECT seq FROM generation WHERE status='failed' ORDER BY seq LIMIT 1");
    w.completed = number("SELECT seq FROM generation WHERE status='completed' ORDER BY seq LIMIT 1");
    w.middle = w.completed + 7;
    snprintf(w.middle_id, sizeof w.middle_id, "%s",
             text("SELECT id FROM generation WHERE seq=%lld", (long long)w.middle));
    snprintf(w.batch_id, sizeof w.batch_id, "%s",
             text("SELECT id FROM batch_job WHERE seq=%lld", (long long)w.batch));
    for (int i = 0; i < 5; i++)
        type("DELETE FROM generations WHERE seq=%lld", (long long)w.completed + 20 + i);
}

// ---- what is asked and done; each is one operation of the door or one typed statement ----

static int drop(void *payload, struct row *row) {
    (void)payload;
    row_free(row);
    return 0;
}

static void list(struct filter filter) {
    int64_t next;
    filter.limit = 20;
    OK(queue_list(db, &filter, drop, NULL, &next, &error));
}

static void list_all(void) {
    list((struct filter){0});
}
static void list_user(void) {
    list((struct filter){.user_id = "u3"});
}
static void list_session(void) {
    list((struct filter){.session_id = "s3"});
}
static void list_model(void) {
    list((struct filter){.model_id = "m1"});
}
static void list_batch(void) {
    list((struct filter){.batch_seq = w.batch});
}
static void list_processing(void) {
    list((struct filter){.status = "processing"});
}
static void list_failed(void) {
    list((struct filter){.status = "failed"});
}
static void list_queued(void) {
    list((struct filter){.status = "queued"});
}
static void list_completed(void) {
    list((struct filter){.status = "completed"});
}
static void list_queued_of_user(void) {
    list((struct filter){.status = "queued", .user_id = "u3", .model_id = "m0"});
}
static void list_completed_of_session(void) {
    list((struct filter){.status = "completed", .session_id = "s3"});
}
static void list_failed_of_user(void) {
    list((struct filter){.status = "failed", .user_id = "u1"});
}
static void list_completed_of_batch(void) {
    list((struct filter){.status = "completed", .batch_seq = w.batch});
}
static void list_nothing_of_two(void) {
    list((struct filter){.status = "cancelled", .user_id = "nobody"});
}
static void list_cancelled(void) {
    list((struct filter){.status = "cancelled"});
}
static void list_stuck(void) {
    list((struct filter){.status = "stuck"});
}
static void list_page(void) {
    list((struct filter){.after = w.middle});
}

static void get(void) {
    struct row *row;
    OK(queue_get(db, w.middle, &row, &error));
    row_free(row);
}
static void find(void) {
    int64_t seq;
    OK(queue_find_generation(db, w.middle_id, &seq, &error));
    OK(queue_find_generation(db, w.middle_id + 36 - 8, &seq, &error));
    OK(queue_find_batch(db, w.batch_id + 36 - 8, &seq, &error));
}
static void outputs(void) {
    OK(queue_outputs(db, w.middle, drop, NULL, &error));
}
static void events_of_one(void) {
    OK(queue_events(db, &(struct event_filter){.generation_seq = w.middle, .limit = 20}, drop, NULL, &error));
}
static void events_of_batch(void) {
    OK(queue_events(db, &(struct event_filter){.batch_seq = w.batch, .limit = 20}, drop, NULL, &error));
}
static void events_newest(void) {
    OK(queue_events(db, &(struct event_filter){.limit = 20}, drop, NULL, &error));
}
static void events_after(void) {
    OK(queue_events(db, &(struct event_filter){.after = 100, .limit = 20}, drop, NULL, &error));
}
static void events_page(void) {
    int64_t looked;
    OK(queue_event_page(db, &(struct event_filter){.after = 100, .limit = 20, .whole = true}, &looked, drop,
                        NULL, &error));
}
static void events_page_back(void) {
    int64_t looked;
    const struct event_filter all = {.limit = 20}, batch = {.limit = 20, .batch_seq = w.batch};
    OK(queue_event_page_back(db, &all, INT64_MAX, &looked, drop, NULL, &error));
    OK(queue_event_page_back(db, &batch, INT64_MAX, &looked, drop, NULL, &error));
}
static void events_page_of_one(void) {
    int64_t looked;
    const struct event_filter one = {.generation_seq = w.middle, .limit = 20};
    OK(queue_event_page_back(db, &one, INT64_MAX, &looked, drop, NULL, &error));
    OK(queue_event_page(db, &(struct event_filter){.generation_seq = w.middle, .limit = 20}, &looked, drop,
                        NULL, &error));
}
static void stats(void) {
    struct row *row;
    OK(queue_stats(db, true, &row, &error));
    row_free(row);
}
static void violations(void) {
    int64_t count = -1;
    OK(queue_violations(db, true, clock_wall_at(), &count, &error));
    assert_int_equal(count, 0);
}
static void why_it_waits(void) {
    char *reason;
    OK(queue_waits_for(db, w.queued, 2, true, &reason, &error));
    free(reason);
}
static void alerts(void) {
    const struct cleanup_rules rules = {.heartbeat_interval_ms = 1000};
    OK(queue_check_alerts(db, true, &rules, 600000, 0.9, clock_wall_at(), &error));
}
static void locks(void) {
    OK(queue_locks(db, true, drop, NULL, &error));
}
// Everything of the cleanup but the count of all rows.
static void cleanup(void) {
    const struct cleanup_rules rules = {
        .stuck_after_ms = 600000, .heartbeat_interval_ms = 1000, .requeue = true};
    struct upkeep run = {
        .db = db, .job = "j", .run_by = "test", .by_runner = true, .runner_is_up = true, .lock_ms = 60000};
    bool more = true;
    OK(upkeep_begin(&run, &error));
    struct cleanup *c = cleanup_new(&run, &rules);
    while (more)
        OK(cleanup_step(c, &more, &error));
    cleanup_free(c);
    upkeep_deliver(&run, false);
    assert_int_equal(run.found, 0);
    OK(upkeep_end(&run, 0, &error));
}
static void batches(void) {
    struct row *row;
    int64_t next;
    OK(queue_batch_get(db, w.batch, &row, &error));
    row_free(row);
    OK(queue_batch_list(db, &(struct filter){.limit = 20}, drop, NULL, &next, &error));
    OK(queue_batch_items(db, &(struct filter){.batch_seq = w.batch, .limit = 20}, drop, NULL, &next, &error));
}
static void same_client_id(void) {
    char id[ID_SIZE];
    bool created = true;
    OK(queue_submit(db, &(struct spec){.prompt = "p", .model_id = "m0", .user_id = "u0", .client_id = "k0"},
                    id, &created, &error));
    assert_false(created);
}
static void new_one(void) {
    char id[ID_SIZE];
    bool created;
    OK(queue_submit(db, &(struct spec){.prompt = "p", .model_id = "m0", .user_id = "u0", .priority = -5}, id,
                    &created, &error));
}

static void claim(void) {
    struct claim_slot slots[] = {
        {.model_id = "m0", .free = 8}, {.model_id = "m1", .free = 8}, {.model_id = "m2", .free = 8}};
    int64_t next_at, promoted;
    bool more;
    w.claimed = 0;
    OK(db_begin(db, 1000, &error));
    OK(queue_promote_due(db, w.scope.now_at, &next_at, &promoted, &error));
    OK(queue_sweep(db, w.scope.now_at, 500, &more, &error));
    OK(queue_claim(db, &w.scope, &w.turn, slots, 3, 16, w.claims, &w.claimed, &error));
    OK(db_commit(db, &error));
    assert_int_equal(w.claimed, 16);
}
static void beat(void) {
    struct beat beats[MOST];
    for (size_t i = 0; i < w.claimed; i++)
        beats[i] = (struct beat){.seq = w.claims[i].seq,
                                 .token = w.claims[i].token,
                                 .progress_at = w.scope.now_at,
                                 .last_step = "provider:stream"};
    OK(db_begin(db, 1000, &error));
    OK(queue_heartbeat(db, w.me.seq, w.scope.now_at, 60000, beats, w.claimed, &error));
    OK(db_commit(db, &error));
}
static void still_owned(void) {
    bool owns, cancelled;
    char *reason;
    OK(queue_still_owns(db, w.claims[0].seq, w.claims[0].token, w.claims[0].batch_seq, &owns, &cancelled,
                        &reason, &error));
    assert_true(owns);
    free(reason);
}
static void settle(void) {
    const struct settle_output output = {.mime = "text/plain", .content = "x", .length = 1};
    OK(db_begin(db, 1000, &error));
    for (size_t i = 0; i < w.claimed; i++) {
        bool landed;
        const struct settlement s = {.seq = w.claims[i].seq,
                                     .token = w.claims[i].token,
                                     .status = i % 4 ? "completed" : "failed",
                                     .now_at = w.scope.now_at,
                                     .error_type = "NetworkError",
                                     .error_message = "no",
                                     .outputs = &output,
                                     .output_count = 1,
                                     .input_tokens = -1,
                                     .output_tokens = -1};
        OK(queue_settle(db, &s, &landed, &error));
        assert_true(landed);
    }
    OK(db_commit(db, &error));
    for (size_t i = 0; i < w.claimed; i++)
        claim_clear(&w.claims[i]);
}
static void cancel_one(void) {
    OK(queue_change(db, CHANGE_CANCEL, w.queued, "r", &error));
}
static void retry_one(void) {
    OK(queue_change(db, CHANGE_RETRY, w.failed, NULL, &error));
}
static void runner_start(void) {
    int64_t recovered, failed;
    struct runner_identity other;
    OK(db_begin(db, 1000, &error));
    OK(start_runner(&other, 3, 3, w.scope.now_at, &recovered, &failed));
    OK(db_commit(db, &error));
}
static void pause_batch(void) {
    OK(queue_batch_pause(db, w.batch, "r", &error));
    OK(queue_batch_resume(db, w.batch, &error));
}

static void failures_by(const char *by, int64_t since) {
    const struct filter filter = {.since = since, .limit = 20, .dismissed = -1};
    struct queue_failed_key next = {0, 0};
    if (by)
        OK(queue_failures_by(db, &filter, by, drop, NULL, &error));
    // The page behind it, too.
    for (int page = 0; !by && page < 2; page++)
        OK(queue_failures(db, &filter, &next, drop, NULL, &next, &error));
}
static void failures(void) {
    failures_by(NULL, w.scope.now_at - 60000);
}
static void failures_newest(void) {
    failures_by(NULL, 0);
}
static void failures_by_each(void) {
    failures_by("model", w.scope.now_at - 60000);
    failures_by("user", w.scope.now_at - 60000);
    failures_by("type", w.scope.now_at - 60000);
    failures_by("hour", w.scope.now_at - 60000);
}
static void stuck(void) {
    OK(queue_stuck(db, &(struct filter){0}, 0, drop, NULL, &error));
}
static void recover_none(void) {
    int64_t changed;
    OK(queue_change_all(db, CHANGE_RECOVER, &(struct filter){0}, NULL, false, &changed, &error));
}
static void fail_one(void) {
    OK(queue_change(db, CHANGE_FAIL, w.queued - 1, "r", &error));
}
static void dismiss_one(void) {
    OK(queue_change(db, CHANGE_DISMISS, w.completed + 1, NULL, &error));
}

// ---- typed ----

#define TYPED(name, sql)                                                                                     \
    static void name(void) {                                                                                 \
        sqlite3_stmt *s = ask(db, sql);                                                                      \
        int code;                                                                                            \
        while ((code = sqlite3_step(s)) == SQLITE_ROW)                                                       \
            ;                                                                                                \
        assert_int_equal(code, SQLITE_DONE);                                                                 \
        sqlite3_finalize(s);                                                                                 \
    }

TYPED(typed_recent, "SELECT * FROM recent_generations")
TYPED(typed_stuck, "SELECT * FROM stuck_generations")
TYPED(typed_failure_stats, "SELECT * FROM failure_stats")
TYPED(
    typed_failures,
    "SELECT * FROM failed_generations_view WHERE completed_at>(SELECT max(completed_at)-60000 FROM generation"
    " INDEXED BY generation_failed WHERE status='failed') ORDER BY completed_at DESC LIMIT 20")
TYPED(typed_logs_newest, "SELECT * FROM logs ORDER BY id DESC LIMIT 20")
TYPED(typed_logs_after, "SELECT * FROM logs WHERE id>100 ORDER BY id LIMIT 20")
TYPED(typed_by_user, "SELECT * FROM generations WHERE user_id='u3' ORDER BY seq DESC LIMIT 20")
TYPED(typed_totals, "SELECT * FROM totals")
TYPED(typed_items, "SELECT * FROM batch_items WHERE batch_job_id=(SELECT max(id) FROM batch_jobs)")
TYPED(typed_batch_logs, "SELECT * FROM batch_job_logs WHERE batch_job_id=(SELECT max(id) FROM batch_jobs)")
TYPED(typed_insert, "INSERT INTO generations (prompt, model_id, user_id) VALUES ('p', 'm0', 'u0')")
TYPED(typed_pause, "UPDATE batch_jobs SET status='paused' WHERE seq=1")

#define typed_for_one(format) type(format, w.middle_id)
static void typed_by_id(void) {
    typed_for_one("SELECT * FROM generations WHERE id='%s'");
}
static void typed_outputs(void) {
    typed_for_one("SELECT * FROM outputs WHERE generation_id='%s'");
}
static void typed_output_by_id(void) {
    type("SELECT * FROM outputs WHERE id=%lld", (long long)w.middle * 1024);
}
static void typed_logs(void) {
    typed_for_one("SELECT * FROM logs WHERE generation_id='%s'");
}
static void typed_cancel(void) {
    type("UPDATE generations SET status='cancelled' WHERE seq=%lld", (long long)w.failed);
}
static void typed_delete(void) {
    typed_for_one("DELETE FROM generations WHERE id='%s'");
}

static const struct {
    const char *name;
    void (*run)(void);
} questions[] = {
    {"list", list_all},
    {"list --user", list_user},
    {"list --session", list_session},
    {"list --model", list_model},
    {"list --batch", list_batch},
    {"list --status queued", list_queued},
    {"list --status completed", list_completed},
    {"list --status queued --user --model", list_queued_of_user},
    {"list --status completed --session", list_completed_of_session},
    {"list --status failed --user", list_failed_of_user},
    {"list --status completed --batch", list_completed_of_batch},
    {"list of a user without any", list_nothing_of_two},
    {"list --status processing", list_processing},
    {"list --status failed", list_failed},
    {"list --status cancelled", list_cancelled},
    {"list --status stuck", list_stuck},
    {"list --after", list_page},
    {"show", get},
    {"an id by its tail", find},
    {"output", outputs},
    {"logs of one", events_of_one},
    {"logs of a batch job", events_of_batch},
    {"logs", events_newest},
    {"logs after an id", events_after},
    {"a page of logs", events_page},
    {"a page of the log before an id", events_page_back},
    {"a page of logs of one", events_page_of_one},
    {"stats", stats},
    {"violations", violations},
    {"why one waits", why_it_waits},
    {"alerts", alerts},
    {"locks", locks},
    {"cleanup without a count", cleanup},
    {"batch show, list, items", batches},
    {"submit with a known key", same_client_id},
    {"submit", new_one},
    {"16 claims", claim},
    {"heartbeat", beat},
    {"still owned", still_owned},
    {"list --status processing, 16 of them", list_processing},
    {"typed: stuck_generations, 16 running", typed_stuck},
    {"16 settlements", settle},
    {"failures", failures},
    {"failures, the newest of all", failures_newest},
    {"failures by each", failures_by_each},
    {"stuck", stuck},
    {"recover --all", recover_none},
    {"cancel", cancel_one},
    {"fail", fail_one},
    {"dismiss", dismiss_one},
    {"retry", retry_one},
    {"start of a runner", runner_start},
    {"batch pause and resume", pause_batch},
    {"typed: recent_generations", typed_recent},
    {"typed: stuck_generations", typed_stuck},
    {"typed: failure_stats", typed_failure_stats},
    {"typed: failures of a time", typed_failures},
    {"typed: newest logs", typed_logs_newest},
    {"typed: logs after an id", typed_logs_after},
    {"typed: logs of one", typed_logs},
    {"typed: logs of a batch job", typed_batch_logs},
    {"typed: generation by id", typed_by_id},
    {"typed: generations of a user", typed_by_user},
    {"typed: outputs of one", typed_outputs},
    {"typed: output by id", typed_output_by_id},
    {"typed: totals", typed_totals},
    {"typed: batch_items", typed_items},
    {"typed: insert", typed_insert},
    {"typed: cancel", typed_cancel},
    {"typed: delete", typed_delete},
    {"typed: pause", typed_pause},
};
#define QUESTIONS (sizeof questions / sizeof *questions)

static void measure(int rows, int64_t cost[QUESTIONS]) {
    char sql[sizeof fill + 64];
    assert_int_equal(ground_open(NULL), 0);
    snprintf(sql, sizeof sql, fill, rows - 1, rows, rows, rows);
    memset(&w, 0, sizeof w);
    // From the start: a statement keeps its count until it is asked.
    sqlite3_trace_v2(db_handle(db), SQLITE_TRACE_PROFILE, on_profile, NULL);
    if (sqlite3_exec(db_handle(db), "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db_handle(db), sql, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db_handle(db), "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db_handle(db)));
    add_the_same();
    check_counts();
    for (size_t i = 0; i < QUESTIONS; i++) {
        steps = 0;
        questions[i].run();
        cost[i] = steps;
    }
    sqlite3_trace_v2(db_handle(db), 0, NULL, NULL);
    check_counts();
    ground_close(NULL);
}

static void test_nothing_grows(void **state) {
    int64_t small[QUESTIONS], large[QUESTIONS];
    int grown = 0;
    (void)state;
    measure(SMALL, small);
    measure(LARGE, large);
    for (size_t i = 0; i < QUESTIONS; i++) {
        // Many times the rows: a walk over a tenth of them would show.
        bool grows = large[i] > small[i] + small[i] / 4 + 100;
        grown += grows;
        if (grows || getenv("GENRUN_VERBOSE"))
            print_message("# %s: %lld steps with %d rows, %lld with %d\n", questions[i].name,
                          (long long)small[i], SMALL, (long long)large[i], LARGE);
        assert_true(small[i] > 0);
    }
    assert_int_equal(grown, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_grows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
