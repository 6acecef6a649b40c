// SPDX-License-Identifier: MIT
// What people change, one or many: which rows a filter selects, that a dry run changes nothing, and that the work
// grows with the rows and not with their square.
#include "queue_ground.h"

static int steps;
static int count_step(void *payload) {
    (void)payload;
    steps++;
    return 0;
}

static int64_t change(enum change change, struct filter filter, bool dry_run) {
    int64_t changed = -1;
    OK(queue_change_all(db, change, &filter, "because", dry_run, &changed, &error));
    assert_true(sqlite3_get_autocommit(db_handle(db)));
    check_counts();
    return changed;
}

// Ten rows: of two models, users and sessions, and in all states that can be changed.
static void fill_rows(void) {
    for (int i = 0; i < 10; i++)
        submit_spec(&(struct spec){.prompt = "p",
                                   .model_id = i < 5 ? "m" : "n",
                                   .user_id = i % 2 ? "u" : NULL,
                                   .session_id = i < 8 ? "s" : NULL});
    type("DROP TRIGGER generation_frozen");
    type("UPDATE generation SET created_at=seq*100");
    type("UPDATE generations SET status='failed', error_message='no' WHERE seq IN (1,2,6)");
    type("UPDATE generation SET error_type='NetworkError' WHERE seq=1");
    type("UPDATE generations SET status='cancelled' WHERE seq IN (3,7)");
    type("UPDATE generation SET status='processing', claim_token='x', runner_seq=7 WHERE seq=4");
}

struct selection {
    const char *name;
    enum change change;
    struct filter filter;
    int64_t expected;
};

static const struct selection selections[] = {
    {"all that has not ended", CHANGE_CANCEL, {0}, 5},
    {"all that did not succeed", CHANGE_RETRY, {0}, 5},
    {"queued", CHANGE_CANCEL, {.status = "queued"}, 4},
    {"processing", CHANGE_CANCEL, {.status = "processing"}, 1},
    {"failed cannot be cancelled", CHANGE_CANCEL, {.status = "failed"}, 0},
    {"completed cannot be cancelled", CHANGE_CANCEL, {.status = "completed"}, 0},
    {"stuck", CHANGE_CANCEL, {.status = "stuck"}, 1},
    {"stuck cannot be retried", CHANGE_RETRY, {.status = "stuck"}, 0},
    {"failed", CHANGE_RETRY, {.status = "failed"}, 3},
    {"cancelled", CHANGE_RETRY, {.status = "cancelled"}, 2},
    {"queued cannot be retried", CHANGE_RETRY, {.status = "queued"}, 0},
    {"of a model", CHANGE_CANCEL, {.model_id = "m"}, 2},
    {"of no model there is", CHANGE_CANCEL, {.model_id = "x"}, 0},
    {"of a user", CHANGE_CANCEL, {.user_id = "u"}, 3},
    {"of a session", CHANGE_CANCEL, {.session_id = "s"}, 3},
    {"of a session and a model", CHANGE_CANCEL, {.session_id = "s", .model_id = "n"}, 1},
    {"of a type of error", CHANGE_RETRY, {.error_type = "NetworkError"}, 1},
    {"since", CHANGE_CANCEL, {.since = 900}, 2},
    {"until", CHANGE_CANCEL, {.until = 900}, 3},
    {"in between", CHANGE_CANCEL, {.since = 500, .until = 900}, 2},
    {"so many at most", CHANGE_CANCEL, {.limit = 2}, 2},
    {"of a batch that is not there", CHANGE_CANCEL, {.batch_seq = 99}, 0},
    {"fail all that has not ended", CHANGE_FAIL, {0}, 5},
    {"fail what is queued", CHANGE_FAIL, {.status = "queued"}, 4},
    {"fail what is stuck", CHANGE_FAIL, {.status = "stuck"}, 1},
    {"completed cannot be failed", CHANGE_FAIL, {.status = "completed"}, 0},
    {"recover", CHANGE_RECOVER, {0}, 1},
    {"recover of a user", CHANGE_RECOVER, {.user_id = "u"}, 1},
    {"recover of another model", CHANGE_RECOVER, {.model_id = "n"}, 0},
    {"what is failed is not recovered", CHANGE_RECOVER, {.status = "failed"}, 0},
    {"dismiss", CHANGE_DISMISS, {0}, 5},
    {"dismiss what failed", CHANGE_DISMISS, {.status = "failed"}, 3},
    {"dismiss of a type of error", CHANGE_DISMISS, {.error_type = "NetworkError"}, 1},
    {"dismiss what is stuck", CHANGE_DISMISS, {.status = "stuck"}, 1},
    {"queued cannot be dismissed", CHANGE_DISMISS, {.status = "queued"}, 0},
    {"dismiss some", CHANGE_DISMISS, {.limit = 4}, 4},
};

// What a change leaves behind, in earnest.
static const char *touched_by(enum change change) {
    switch (change) {
    case CHANGE_CANCEL:
        return "SELECT count(*) FROM generation WHERE status='cancelled' AND cancel_reason='because'";
    case CHANGE_FAIL:
        return "SELECT count(*) FROM generation WHERE status='failed' AND error_type='OperatorError' AND "
               "error_message='because'";
    case CHANGE_RETRY:
        return "SELECT count(*) FROM generation WHERE status='queued' AND seq IN (1,2,3,6,7)";
    case CHANGE_RECOVER:
        return "SELECT count(*) FROM generation JOIN event ON generation_seq=seq WHERE status='queued' AND "
               "event='generation.recovered' AND message='recovered by hand: its runner is gone'";
    default:
        return "SELECT count(*) FROM generation WHERE dismissed_at IS NOT NULL";
    }
}

static void test_filters(void **state) {
    (void)state;
    fill_rows();
    for (size_t i = 0; i < sizeof selections / sizeof *selections; i++) {
        const struct selection *s = &selections[i];
        const char *touched = touched_by(s->change);
        print_message("# %s\n", s->name);
        assert_int_equal(change(s->change, s->filter, true), s->expected);
        assert_int_equal(number_on(db, touched), 0);
        // And in earnest.
        assert_int_equal(change(s->change, s->filter, false), s->expected);
        assert_int_equal(number_on(db, touched), s->expected);
        // Repeated it changes no more, but for the next ones up to a limit.
        if (!s->filter.limit)
            assert_int_equal(change(s->change, s->filter, false), 0);
        assert_int_equal(ground_close(state), 0);
        assert_int_equal(ground_open(state), 0);
        fill_rows();
    }
}

static void test_undismiss(void **state) {
    (void)state;
    fill_rows();
    assert_int_equal(change(CHANGE_UNDISMISS, (struct filter){0}, false), 0);
    assert_int_equal(change(CHANGE_DISMISS, (struct filter){0}, false), 5);
    assert_int_equal(change(CHANGE_DISMISS, (struct filter){.status = "stuck"}, false), 1);
    // What is dismissed is not stuck, so it is named by its state.
    assert_int_equal(change(CHANGE_DISMISS, (struct filter){.status = "stuck"}, true), 0);
    assert_int_equal(change(CHANGE_UNDISMISS, (struct filter){.status = "failed"}, true), 3);
    assert_int_equal(change(CHANGE_UNDISMISS, (struct filter){.model_id = "m"}, false), 4);
    assert_int_equal(change(CHANGE_UNDISMISS, (struct filter){0}, false), 2);
    assert_int_equal(number("SELECT count(*) FROM generation WHERE dismissed_at IS NOT NULL"), 0);
    assert_int_equal(number("SELECT count(*) FROM event WHERE event='generation.undismissed'"), 6);
}

// One of each state: what each change makes of it. A message: it is refused; "": nothing is left to do.
static void test_one_of_each_state(void **state) {
    static const char *const states[] = {"queued", "processing", "stuck", "completed", "failed", "cancelled"};
    static const struct {
        enum change change;
        const char *is[6]; // what it is then, or why not
    } cases[] = {
        {CHANGE_CANCEL,
         {"cancelled", "cancelled", "cancelled", "!is completed and cannot be cancelled",
          "!is failed and cannot be cancelled", "cancelled"}},
        {CHANGE_FAIL,
         {"failed", "failed", "failed", "!is completed and cannot be failed", "failed",
          "!is cancelled and cannot be failed"}},
        {CHANGE_RETRY,
         {"queued", "processing", "processing", "!is completed and cannot be retried", "queued", "queued"}},
        {CHANGE_RECOVER,
         {"!is queued and not stuck, it waits: 'genrun show",
          "!is processing and not stuck, its runner is up, with a heartbeat 4 s and progress 4 s ago: "
          "'genrun "
          "cancel",
          "queued", "!is completed and not stuck, it has ended: 'genrun output",
          "!is failed and not stuck, it has ended: 'genrun retry",
          "!is cancelled and not stuck, it has ended: 'genrun retry"}},
        {CHANGE_DISMISS,
         {"!is queued and cannot be dismissed", "processing", "processing", "completed", "failed",
          "cancelled"}},
        {CHANGE_UNDISMISS, {"queued", "processing", "processing", "completed", "failed", "cancelled"}},
    };
    (void)state;
    type("INSERT INTO runners (id, pid, boot_id, host, version, heartbeat_timeout_ms, started_at, "
         "heartbeat_at)"
         " VALUES ('r', 1, 'b', 'h', 'v', 60000, 1, 1)");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int i = 0; i < 6; i++) {
            int64_t seq = submit("m", NULL, 0);
            const char *wanted = cases[c].is[i];
            if (i > 0)
                type("UPDATE generation SET status='processing', claim_token='x', runner_seq=%d, starts=1,"
                     " started_at=%lld WHERE seq=%lld",
                     i == 2 ? 99 : 1, (long long)clock_wall_at() - 4200, (long long)seq);
            if (i > 2)
                type("UPDATE generation SET status='%s', claim_token=NULL, completed_at=1, "
                     "error_type='NetworkError',"
                     " error_message='no' WHERE seq=%lld",
                     states[i], (long long)seq);
            int64_t events = number("SELECT count(*) FROM event");
            int code = queue_change(db, cases[c].change, seq, "because", &error);
            print_message("# %s, change %zu\n", states[i], c);
            assert_true(sqlite3_get_autocommit(db_handle(db)));
            if (*wanted == '!') {
                assert_int_equal(code, ERR_CONFLICT);
                assert_non_null(strstr(error.message, wanted + 1));
                assert_int_equal(number("SELECT count(*) FROM event"), events);
            } else {
                assert_int_equal(code, 0);
                assert_string_equal(text("SELECT status FROM generation WHERE seq=%lld", (long long)seq),
                                    wanted);
            }
            check_counts();
            // Repeated, it changes no more.
            events = number("SELECT count(*) FROM event");
            code = queue_change(db, cases[c].change, seq, "again", &error);
            assert_int_equal(code, *wanted == '!' || cases[c].change == CHANGE_RECOVER ? ERR_CONFLICT : 0);
            assert_int_equal(number("SELECT count(*) FROM event"), events);
        }
}

static void test_failed_by_hand(void **state) {
    (void)state;
    int64_t seq = submit("m", "ann", 0);
    type("UPDATE generation_input SET parameters='{\"keep\":[1]}'");
    OK(queue_change(db, CHANGE_FAIL, seq, "enough", &error));
    assert_string_equal(text("SELECT json_remove(parameters, '$.errorContext.timestamp') FROM generations"),
                        "{\"keep\":[1],\"error\":\"enough\",\"errorContext\":{\"message\":\"enough\","
                        "\"type\":\"OperatorError\","
                        "\"userId\":\"ann\",\"stack\":\"failed by hand, from queued, model m, attempt 0\","
                        "\"action\":\"fail\",\"model\":\"m\",\"attempt\":0}}");
}

static void test_a_dismissed_one_is_not_recovered(void **state) {
    (void)state;
    int64_t seq = submit("m", NULL, 0);
    type("UPDATE generation SET status='processing', claim_token='x', runner_seq=7");
    OK(queue_change(db, CHANGE_DISMISS, seq, NULL, &error));
    assert_int_equal(queue_change(db, CHANGE_RECOVER, seq, NULL, &error), ERR_CONFLICT);
    assert_non_null(strstr(error.message,
                           "is processing and dismissed, so it does not count as stuck: 'genrun "
                           "dismiss --undo"));
    OK(queue_change(db, CHANGE_UNDISMISS, seq, NULL, &error));
    OK(queue_change(db, CHANGE_RECOVER, seq, NULL, &error));
    assert_string_equal(text("SELECT json_extract(data, '$.why') FROM event ORDER BY id DESC"),
                        "its runner is gone");
    // The attempt that it was taken from may come back: its token is gone.
    assert_int_equal(number("SELECT claim_token IS NULL AND attempts=0 FROM generation"), 1);
}

static void test_items(void **state) {
    (void)state;
    int64_t mine = batch_of("m", 1200), other = batch_of("m", 3);
    struct filter filter = {.batch_seq = mine};
    assert_int_equal(change(CHANGE_CANCEL, filter, true), 1200);
    assert_int_equal(change(CHANGE_CANCEL, filter, false), 1200);
    assert_string_equal(text("SELECT status FROM batch_job WHERE seq=%lld", (long long)mine), "failed");
    assert_string_equal(text("SELECT status FROM batch_job WHERE seq=%lld", (long long)other), "queued");
    // A retry opens it again.
    filter.limit = 700;
    assert_int_equal(change(CHANGE_RETRY, filter, false), 700);
    assert_string_equal(text("SELECT status||queued_items FROM batch_jobs WHERE seq=%lld", (long long)mine),
                        "queued700");
}

static void test_a_cancelled_batch(void **state) {
    (void)state;
    int64_t batch = batch_of("m", 3);
    OK(queue_batch_cancel(db, batch, "no more", &error));
    OK(queue_batch_cancel(db, batch, "again", &error));
    assert_string_equal(text("SELECT status||status_reason||cancelled_items FROM batch_jobs"),
                        "cancelledno more3");
    assert_int_equal(number("SELECT count(*) FROM generation WHERE cancel_reason='no more'"), 3);
    // Its items stay as they are.
    assert_int_equal(change(CHANGE_RETRY, (struct filter){.batch_seq = batch}, false), 0);
    assert_int_equal(queue_change(db, CHANGE_RETRY, number("SELECT min(seq) FROM generation"), NULL, &error),
                     ERR_CONFLICT);
    assert_non_null(strstr(error.message, "the batch job of this generation is cancelled"));
    assert_int_equal(queue_batch_resume(db, batch, &error), ERR_CONFLICT);
    assert_int_equal(queue_batch_pause(db, batch, NULL, &error), ERR_CONFLICT);
    assert_true(sqlite3_get_autocommit(db_handle(db)));
}

static void test_pause_and_resume(void **state) {
    (void)state;
    int64_t batch = batch_of("m", 1);
    for (int i = 0; i < 2; i++) {
        OK(queue_batch_pause(db, batch, i ? NULL : "lunch", &error));
        OK(queue_batch_pause(db, batch, "again", &error));
        assert_string_equal(text("SELECT status||paused_reason FROM batch_jobs"),
                            i ? "pausedpaused by hand" : "pausedlunch");
        OK(queue_batch_resume(db, batch, &error));
        OK(queue_batch_resume(db, batch, &error));
        assert_string_equal(text("SELECT status||coalesce(paused_reason,'') FROM batch_jobs"), "queued");
    }
    assert_string_equal(text("SELECT group_concat(event) FROM event"),
                        "batch.created,batch.paused,batch.resumed,batch.paused,batch.resumed");
}

// Steps of the selection alone, of 500 rows and of eight times as many.
static void test_the_work_grows_with_the_rows(void **state) {
    (void)state;
    int cost[2];
    for (int round = 0; round < 2; round++) {
        int64_t batch = batch_of("m", round ? 4000 : 500);
        sqlite3_progress_handler(db_handle(db), 1, count_step, NULL);
        steps = 0;
        int64_t changed = 0;
        const struct filter filter = {.batch_seq = batch};
        OK(queue_change_all(db, CHANGE_CANCEL, &filter, NULL, true, &changed, &error));
        sqlite3_progress_handler(db_handle(db), 0, NULL, NULL);
        assert_int_equal(changed, round ? 4000 : 500);
        cost[round] = steps;
    }
    print_message("# %d steps for 500 items, %d for 4,000\n", cost[0], cost[1]);
    assert_true(cost[1] < 10 * cost[0]);
}

#define T(test) cmocka_unit_test_setup_teardown(test, ground_open, ground_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_filters),
        T(test_undismiss),
        T(test_one_of_each_state),
        T(test_failed_by_hand),
        T(test_a_dismissed_one_is_not_recovered),
        T(test_items),
        T(test_a_cancelled_batch),
        T(test_pause_and_resume),
        T(test_the_work_grows_with_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
