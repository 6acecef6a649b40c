// SPDX-License-Identifier: MIT
// The end of an attempt: fenced by its token, harmless when repeated, outputs and response with it. And changes by
// people while it runs.
#include "queue_ground.h"

static struct runner_identity me;

static int set_up(void **state) {
    int64_t recovered, failed;
    if (ground_open(state))
        return -1;
    OK(db_begin(db, 1000, &error));
    OK(start_runner(&me, 3, 3, clock_wall_at(), &recovered, &failed));
    OK(db_commit(db, &error));
    return 0;
}

// ---- one attempt ----

struct attempt {
    int64_t seq;
    char token[17], id[ID_SIZE];
    int starts, attempts;
};

static struct attempt start(int64_t seq) {
    const struct claim_scope scope = {.runner_seq = me.seq, .now_at = INT64_MAX / 2, .owner = me.id};
    struct claim claim;
    size_t count = 0;
    OK(db_begin(db, 1000, &error));
    OK(queue_claim_one(db, &scope, seq, &claim, &count, &error));
    OK(db_commit(db, &error));
    assert_int_equal(count, 1);
    struct attempt a = {.seq = claim.seq, .starts = claim.starts, .attempts = claim.attempts};
    memcpy(a.token, claim.token, sizeof a.token);
    memcpy(a.id, claim.id, sizeof a.id);
    claim_clear(&claim);
    return a;
}

static struct attempt started(void) {
    return start(submit("m", NULL, 0));
}

static struct settlement ending(const struct attempt *a, const char *status) {
    return (struct settlement){.seq = a->seq,
                               .token = a->token,
                               .status = status,
                               .now_at = 1000,
                               .input_tokens = -1,
                               .output_tokens = -1};
}

static bool settle(const struct settlement *s) {
    bool landed = false;
    OK(db_begin(db, 1000, &error));
    OK(queue_settle(db, s, &landed, &error));
    OK(db_commit(db, &error));
    check_counts();
    return landed;
}

static const char *events(int64_t seq) {
    return text("SELECT group_concat(substr(event,12)) FROM event WHERE generation_seq=%lld", (long long)seq);
}

static const char *status(int64_t seq) {
    return text("SELECT status FROM generation WHERE seq=%lld", (long long)seq);
}

// ---- ends ----

static void test_completed(void **state) {
    (void)state;
    struct attempt a = started();
    struct settlement s = ending(&a, "completed");
    const struct settle_output outputs[] = {{.mime = "text/plain", .content = "one", .length = 3},
                                            {.mime = "image/png", .content = "\x89PNG\0\1", .length = 6}};
    s.outputs = outputs;
    s.output_count = 2;
    s.input_tokens = 11;
    s.output_tokens = 22;
    s.cost = 0.5;
    s.http_status = 200;
    s.request_id = "req-1";
    s.finish_reason = "stop";
    s.body = "{}";
    s.body_length = 2;
    assert_true(settle(&s));
    assert_string_equal(
        text("SELECT status||starts||attempts||input_tokens||output_tokens||cost||last_step||completed_at"
             " FROM generations"),
        "completed1111220.5outputs:store1000");
    assert_int_equal(number("SELECT claim_token IS NULL AND error_message IS NULL FROM generation"), 1);
    assert_string_equal(text("SELECT group_concat(idx||mime||bytes||typeof(content)||partial) FROM outputs"),
                        "0text/plain3text0,1image/png6blob0");
    assert_string_equal(text("SELECT http_status||request_id||finish_reason||body FROM response"),
                        "200req-1stop{}");
    assert_string_equal(events(a.seq), "queued,processing,completed");
}

static void test_failed(void **state) {
    (void)state;
    struct attempt a = started();
    struct settlement s = ending(&a, "failed");
    s.spent = 1;
    s.error_type = "ContentFilterError";
    s.error_message = "it says \"no\"";
    s.error_detail = "{\"stack\":\"here\",\"code\":\"x\"}";
    s.note = "{\"event\":\"failed\",\"level\":\"error\",\"message\":\"m\",\"data\":{\"a\":1}}";
    assert_true(settle(&s));
    assert_string_equal(text("SELECT status||attempts||error_type||error_message FROM generations"),
                        "failed1ContentFilterErrorit says \"no\"");
    assert_string_equal(
        text("SELECT json_extract(parameters,'$.error')||json_extract(parameters,'$.errorContext.type')"
             "||json_extract(parameters,'$.errorContext.stack')||json_extract(parameters,'$.errorContext."
             "code')"
             " FROM generations"),
        "it says \"no\"ContentFilterErrorherex");
    assert_string_equal(text("SELECT level||message||data FROM event WHERE event='generation.failed'"),
                        "errorm{\"a\":1}");
}

static void test_queued_again(void **state) {
    (void)state;
    struct attempt a = started();
    struct settlement s = ending(&a, "queued");
    s.spent = 1;
    s.run_after_at = 5000;
    s.note = "{\"event\":\"retrying\",\"level\":\"warn\",\"message\":\"later\"}";
    s.cost = 0.25;
    s.last_step = "provider:wait";
    assert_true(settle(&s));
    assert_string_equal(text("SELECT status||attempts||starts||run_after||last_step||cost FROM generations"),
                        "queued115000provider:wait0.25");
    assert_int_equal(number("SELECT completed_at IS NULL AND claim_token IS NULL FROM generation"), 1);
    // The next attempt counts on, with a token of its own.
    struct attempt b = start(a.seq);
    assert_int_equal(b.starts, 2);
    assert_int_equal(b.attempts, 1);
    assert_string_not_equal(a.token, b.token);
    s = ending(&b, "queued");
    s.waiting_since = 777;
    assert_true(settle(&s));
    assert_string_equal(
        text("SELECT attempts||starts||waiting_since||coalesce(run_after,'now') FROM generation"),
        "12777now");
    b = start(a.seq);
    s = ending(&b, "completed");
    s.cost = 0.5;
    assert_true(settle(&s));
    // Costs add up, and nothing waits any more.
    assert_string_equal(text("SELECT attempts||starts||cost||coalesce(waiting_since,'no') FROM generation"),
                        "230.75no");
    assert_string_equal(events(a.seq), "queued,processing,retrying,processing,queued,processing,completed");
}

static void test_unknown_tokens_stay_unknown(void **state) {
    (void)state;
    struct attempt a = started();
    struct settlement s = ending(&a, "queued");
    s.input_tokens = 5;
    assert_true(settle(&s));
    a = start(a.seq);
    s = ending(&a, "queued");
    assert_true(settle(&s));
    assert_int_equal(number("SELECT input_tokens FROM generation WHERE output_tokens IS NULL"), 5);
    a = start(a.seq);
    s = ending(&a, "completed");
    s.output_tokens = 0;
    assert_true(settle(&s));
    assert_int_equal(
        number("SELECT output_tokens FROM generation WHERE input_tokens IS NULL AND cost IS NULL"), 0);
}

// ---- the fence ----

// Everything that a settlement could change.
static int64_t fingerprint(void) {
    return number(
        "SELECT (SELECT count(*)*1000 + sum(starts*100+attempts*10+coalesce(completed_at,0)) FROM generation)"
        " + (SELECT count(*)*7 FROM output) + (SELECT count(*)*13 FROM response)"
        " + (SELECT queued+processing*3+completed*5+failed*7+cancelled*11 FROM totals)");
}

static void test_the_fence(void **state) {
    (void)state;
    static const char *const ends[] = {"completed", "failed", "queued", "cancelled"};
    struct attempt a = started();
    const struct settle_output late = {.mime = "text/plain", .content = "late", .length = 4};
    for (int round = 0; round < 3; round++) {
        // A wrong token; the token of an attempt that lost its row; a row that ended.
        struct attempt stale = a;
        if (round == 0)
            memcpy(stale.token, "0123456789abcdef", sizeof stale.token);
        if (round == 1) {
            struct settlement s = ending(&a, "queued");
            assert_true(settle(&s));
            a = start(a.seq);
        }
        if (round == 2) {
            struct settlement s = ending(&a, "completed");
            assert_true(settle(&s));
        }
        int64_t before = fingerprint();
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            struct settlement s = ending(&stale, ends[i]);
            s.error_type = s.error_message = "x";
            s.spent = 1;
            s.outputs = &late;
            s.output_count = 1;
            s.body = "late";
            s.body_length = 4;
            int64_t dropped = number("SELECT count(*) FROM event WHERE event='generation.dropped'");
            assert_false(settle(&s));
            assert_int_equal(fingerprint(), before);
            assert_int_equal(
                number("SELECT count(*) FROM event WHERE event='generation.dropped' AND level='warn'"
                       " AND generation_seq=%lld",
                       (long long)a.seq),
                dropped + 1);
        }
    }
    assert_string_equal(status(a.seq), "completed");
}

static void test_a_row_that_never_was(void **state) {
    (void)state;
    struct attempt a = {.seq = 4711, .token = "0123456789abcdef"};
    struct settlement s = ending(&a, "completed");
    assert_false(settle(&s));
    assert_int_equal(number("SELECT count(*) FROM generation"), 0);
}

static void test_a_rolled_back_end(void **state) {
    (void)state;
    struct attempt a = started();
    struct settlement s = ending(&a, "completed");
    const struct settle_output output = {.mime = "text/plain", .content = "kept", .length = 4};
    bool landed = false;
    s.outputs = &output;
    s.output_count = 1;
    OK(db_begin(db, 1000, &error));
    OK(queue_settle(db, &s, &landed, &error));
    db_rollback(db);
    assert_string_equal(status(a.seq), "processing");
    assert_int_equal(number("SELECT count(*) FROM output"), 0);
    assert_true(settle(&s));
    assert_string_equal(text("SELECT content FROM outputs"), "kept");
}

// ---- many at once ----

#define MANY 40

struct many {
    struct attempt attempts[MANY];
    struct settlement list[MANY];
    bool landed[MANY];
};

static void start_many(struct many *m) {
    static const struct settle_output output = {.mime = "text/plain", .content = "done", .length = 4};
    for (size_t i = 0; i < MANY; i++) {
        m->attempts[i] = started();
        m->list[i] = ending(&m->attempts[i], "completed");
        m->list[i].first = true;
        m->list[i].outputs = &output;
        m->list[i].output_count = 1;
        m->list[i].input_tokens = (int64_t)i - 1;
        m->list[i].output_tokens = 7;
        m->list[i].cost = i % 2 ? 0.5 : 0;
    }
}

static int settle_many(struct many *m, size_t count) {
    OK(db_begin(db, 1000, &error));
    int result = queue_settle_completed(db, m->list, count, m->landed, &error);
    OK(db_commit(db, &error));
    check_counts();
    return result;
}

static void test_many_at_once(void **state) {
    (void)state;
    static struct many m;
    start_many(&m);
    // Every fifth has lost its row, in three ways.
    OK(queue_change(db, CHANGE_CANCEL, m.attempts[0].seq, "c", &error));
    type("UPDATE generations SET status='queued' WHERE seq=%lld", (long long)m.attempts[5].seq);
    start(m.attempts[5].seq);
    for (size_t i = 10; i < MANY; i += 5)
        memcpy(m.attempts[i].token, "0123456789abcdef", sizeof m.attempts[i].token);
    assert_int_equal(settle_many(&m, MANY), 0);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(m.landed[i], i % 5 != 0);
        assert_string_equal(status(m.attempts[i].seq), i == 0  ? "cancelled"
                                                       : i % 5 ? "completed"
                                                               : "processing");
        assert_int_equal(
            number("SELECT count(*) FROM output WHERE key/1024=%lld", (long long)m.attempts[i].seq),
            i % 5 != 0);
        assert_int_equal(
            number("SELECT count(*) FROM event WHERE generation_seq=%lld AND event='generation.dropped'",
                   (long long)m.attempts[i].seq),
            i % 5 == 0);
    }
    // The same as each by itself would leave.
    assert_string_equal(
        text("SELECT status||starts||attempts||input_tokens||output_tokens||cost||last_step||completed_at"
             " FROM generations WHERE seq=%lld",
             (long long)m.attempts[3].seq),
        "completed11270.5outputs:store1000");
    assert_int_equal(
        number("SELECT cost IS NULL FROM generation WHERE seq=%lld", (long long)m.attempts[2].seq), 1);
    assert_string_equal(events(m.attempts[1].seq), "queued,processing,completed");
    // Repeated, and of none.
    for (size_t count = 0; count <= MANY; count += MANY) {
        assert_int_equal(settle_many(&m, count), 0);
        for (size_t i = 0; i < count; i++)
            assert_false(m.landed[i]);
    }
}

static void test_numbers_of_many(void **state) {
    (void)state;
    static const size_t counts[] = {1, 16, 17, 33};
    static struct many m;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        start_many(&m);
        int64_t before = number("SELECT completed FROM totals");
        assert_int_equal(settle_many(&m, counts[i]), 0);
        assert_int_equal(number("SELECT completed FROM totals"), before + (int64_t)counts[i]);
    }
}

// One of them is refused: nothing of all is done, and the transaction goes on.
static void test_one_of_many_is_refused(void **state) {
    (void)state;
    static struct many m;
    static const char *const refusals[] = {"CREATE TRIGGER refuse BEFORE UPDATE OF status ON generation WHEN "
                                           "NEW.status='completed' AND OLD.seq%40=33"
                                           " BEGIN SELECT RAISE(ABORT,'no'); END",
                                           "CREATE TRIGGER refuse BEFORE INSERT ON output WHEN "
                                           "NEW.key/1024%40=33 BEGIN SELECT RAISE(ABORT,'no'); END"};
    for (size_t i = 0; i < 2; i++) {
        start_many(&m);
        int64_t before = fingerprint(), log = number("SELECT count(*) FROM event");
        type("%s", refusals[i]);
        OK(db_begin(db, 1000, &error));
        assert_int_equal(queue_settle_completed(db, m.list, MANY, m.landed, &error), ERR_CONFLICT);
        assert_true(db_was_refused(db));
        assert_false(sqlite3_get_autocommit(db_handle(db)));
        assert_int_equal(fingerprint(), before);
        assert_int_equal(number("SELECT count(*) FROM event"), log);
        OK(db_commit(db, &error));
        type("DROP TRIGGER refuse");
        assert_int_equal(settle_many(&m, MANY), 0);
        for (size_t n = 0; n < MANY; n++)
            assert_true(m.landed[n]);
    }
}

// ---- outputs of several attempts ----

static const struct settle_output half = {
    .mime = "text/plain", .content = "ha", .length = 2, .partial = true};
static const struct settle_output whole[] = {{.mime = "text/plain", .content = "half", .length = 4},
                                             {.mime = "text/plain", .content = "more", .length = 4}};

static const char *outputs(void) {
    return text("SELECT coalesce(group_concat(content||partial),'none') FROM outputs");
}

static void test_a_later_attempt_replaces(void **state) {
    (void)state;
    struct attempt a = started();
    struct settlement s = ending(&a, "queued");
    s.outputs = &half;
    s.output_count = 1;
    s.http_status = 500;
    s.body = "oops";
    s.body_length = 4;
    assert_true(settle(&s));
    assert_string_equal(outputs(), "ha1");
    // Nothing came: what there was stays.
    a = start(a.seq);
    s = ending(&a, "queued");
    assert_true(settle(&s));
    assert_string_equal(outputs(), "ha1");
    a = start(a.seq);
    s = ending(&a, "completed");
    s.outputs = whole;
    s.output_count = 2;
    s.http_status = 200;
    assert_true(settle(&s));
    assert_string_equal(outputs(), "half0,more0");
    assert_string_equal(text("SELECT http_status||coalesce(body,'-') FROM response"), "200-");
}

static void test_a_result_without_output(void **state) {
    (void)state;
    struct attempt a = started();
    struct settlement s = ending(&a, "queued");
    s.outputs = whole;
    s.output_count = 2;
    assert_true(settle(&s));
    a = start(a.seq);
    s = ending(&a, "completed");
    assert_true(settle(&s));
    assert_string_equal(outputs(), "0"); // an empty one, whole
}

static void test_neighbours_keep_theirs(void **state) {
    (void)state;
    struct attempt a[3] = {started(), started(), started()};
    for (int i = 0; i < 3; i++) {
        struct settlement s = ending(&a[i], "completed");
        s.outputs = whole;
        s.output_count = i == 1 ? 0 : 2;
        assert_true(settle(&s));
    }
    assert_int_equal(number("SELECT count(*) FROM outputs WHERE generation_id='%s'", a[0].id), 2);
    assert_int_equal(number("SELECT count(*) FROM outputs WHERE generation_id='%s'", a[1].id), 1);
    assert_int_equal(number("SELECT count(*) FROM outputs WHERE generation_id='%s'", a[2].id), 2);
}

static void test_odd_outputs(void **state) {
    (void)state;
    const struct settle_output odd[] = {{.mime = "text/plain", .content = NULL, .length = 0},
                                        {.mime = "text/plain", .content = "", .length = 0},
                                        {.mime = "text/plain", .content = "a\0b", .length = 3},
                                        {.mime = "text/plain", .content = "\xff\xfe", .length = 2}};
    struct attempt a = started();
    struct settlement s = ending(&a, "completed");
    s.outputs = odd;
    s.output_count = 4;
    assert_true(settle(&s));
    assert_string_equal(text("SELECT group_concat(bytes||typeof(content)) FROM outputs"),
                        "0text,0text,3blob,2blob");
    assert_int_equal(number("SELECT content=x'610062' FROM outputs WHERE idx=2"), 1);
}

// ---- people meanwhile ----

static void owns(const struct attempt *a, int64_t batch, bool expected, bool cancelled, const char *why) {
    bool is, batch_cancelled;
    char *reason;
    OK(queue_still_owns(db, a->seq, a->token, batch, &is, &batch_cancelled, &reason, &error));
    assert_int_equal(is, expected);
    assert_int_equal(batch_cancelled, cancelled);
    if (why)
        assert_string_equal(reason, why);
    free(reason);
}

static void test_cancelled_meanwhile(void **state) {
    (void)state;
    struct attempt a = started();
    owns(&a, 0, true, false, NULL);
    OK(queue_change(db, CHANGE_CANCEL, a.seq, "enough", &error));
    OK(queue_change(db, CHANGE_CANCEL, a.seq, "again", &error)); // changes nothing
    owns(&a, 0, false, false, "enough");
    // The result comes late: it stays cancelled.
    struct settlement s = ending(&a, "completed");
    s.outputs = whole;
    s.output_count = 2;
    assert_false(settle(&s));
    assert_string_equal(status(a.seq), "cancelled");
    assert_string_equal(outputs(), "none");
    // What had come until then is kept on request.
    s.outputs = &half;
    s.output_count = 1;
    OK(queue_store_partial(db, &s, &error));
    assert_string_equal(outputs(), "ha1");
    assert_string_equal(text("SELECT json_extract(parameters,'$.cancelledReason') FROM generations"),
                        "enough");
    assert_string_equal(events(a.seq), "queued,processing,cancelled,dropped");
}

static void test_typed_by_hand_meanwhile(void **state) {
    (void)state;
    struct {
        const char *set, *why;
    } cases[] = {{"status='cancelled'", "cancelled by hand"},
                 {"status='failed', error_message='mine'", "mine"},
                 {"status='queued'", "it is queued"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct attempt a = started();
        type("UPDATE generations SET %s WHERE seq=%lld", cases[i].set, (long long)a.seq);
        owns(&a, 0, false, false, cases[i].why);
        struct settlement s = ending(&a, "completed");
        assert_false(settle(&s));
        assert_string_not_equal(status(a.seq), "completed");
    }
}

static void test_claimed_anew_meanwhile(void **state) {
    (void)state;
    struct attempt a = started();
    OK(queue_change(db, CHANGE_CANCEL, a.seq, NULL, &error));
    OK(queue_change(db, CHANGE_RETRY, a.seq, NULL, &error));
    struct attempt b = start(a.seq);
    assert_int_equal(b.starts, 2);
    owns(&a, 0, false, false, NULL);
    owns(&b, 0, true, false, NULL);
    // The old attempt leaves nothing with the new one.
    struct settlement s = ending(&a, "cancelled");
    s.outputs = &half;
    s.output_count = 1;
    OK(queue_store_partial(db, &s, &error));
    assert_string_equal(outputs(), "none");
    s = ending(&b, "completed");
    assert_true(settle(&s));
    owns(&b, 0, false, false, NULL);
    // Nor with a result.
    s.outputs = &half;
    s.output_count = 1;
    OK(queue_store_partial(db, &s, &error));
    assert_string_equal(outputs(), "0");
}

static void test_a_batch_cancelled_meanwhile(void **state) {
    (void)state;
    int64_t batch = batch_of("m", 2);
    struct attempt a = start(number("SELECT min(seq) FROM generation"));
    owns(&a, batch, true, false, NULL);
    type("UPDATE batch_jobs SET status='cancelled', paused_reason='too dear'");
    owns(&a, batch, true, true, "too dear");
    struct settlement s = ending(&a, "cancelled");
    s.cancel_reason = "too dear";
    s.outputs = &half;
    s.output_count = 1;
    assert_true(settle(&s));
    assert_string_equal(
        text("SELECT status||coalesce(cancel_reason,'') FROM generation WHERE seq=%lld", (long long)a.seq),
        "cancelledtoo dear");
    assert_string_equal(outputs(), "ha1");
}

static void test_changes_by_people(void **state) {
    (void)state;
    int64_t queued = submit("m", NULL, 0);
    struct attempt running = started(), done = started();
    struct settlement s = ending(&done, "completed");
    assert_true(settle(&s));
    OK(queue_change(db, CHANGE_RETRY, queued, NULL, &error));      // is so already
    OK(queue_change(db, CHANGE_RETRY, running.seq, NULL, &error)); // likewise
    assert_string_equal(status(running.seq), "processing");
    assert_int_equal(queue_change(db, CHANGE_RETRY, done.seq, NULL, &error), ERR_CONFLICT);
    assert_non_null(strstr(error.message, "is completed"));
    assert_int_equal(queue_change(db, CHANGE_CANCEL, done.seq, NULL, &error), ERR_CONFLICT);
    assert_int_equal(queue_change(db, CHANGE_CANCEL, 999, NULL, &error), ERR_NOT_FOUND);
    assert_true(sqlite3_get_autocommit(db_handle(db)));
    // A retry starts the counting of attempts anew, not that of starts.
    OK(queue_change(db, CHANGE_CANCEL, running.seq, NULL, &error));
    type("UPDATE generations SET dismissed_at=5 WHERE seq=%lld", (long long)running.seq);
    OK(queue_change(db, CHANGE_RETRY, running.seq, NULL, &error));
    assert_string_equal(
        text("SELECT status||starts||attempts||coalesce(dismissed_at,'-')||coalesce(completed_at,'-')"
             "||coalesce(cancel_reason,'-') FROM generation WHERE seq=%lld",
             (long long)running.seq),
        "queued10---");
    check_counts();
}

// ---- batch jobs by their items ----

static void end_item(int64_t seq, const char *as) {
    struct attempt a = start(seq);
    struct settlement s = ending(&a, as);
    s.error_type = s.error_message = strcmp(as, "failed") == 0 ? "NetworkError" : NULL;
    assert_true(settle(&s));
}

static void test_a_batch_ends(void **state) {
    (void)state;
    struct {
        const char *ends[2];
        const char *status;
    } cases[] = {{{"completed", "completed"}, "completed"}, {{"completed", "failed"}, "completed"},
                 {{"failed", "completed"}, "completed"},    {{"failed", "failed"}, "failed"},
                 {{"cancelled", "completed"}, "completed"}, {{"cancelled", "failed"}, "failed"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t batch = batch_of("m", 2);
        int64_t first = number("SELECT max(seq)-1 FROM generation");
        assert_string_equal(text("SELECT status FROM batch_job WHERE seq=%lld", (long long)batch), "queued");
        end_item(first, cases[i].ends[0]);
        assert_string_equal(text("SELECT status FROM batch_job WHERE seq=%lld", (long long)batch),
                            "processing");
        end_item(first + 1, cases[i].ends[1]);
        assert_string_equal(text("SELECT status FROM batch_job WHERE seq=%lld", (long long)batch),
                            cases[i].status);
    }
}

static void sweep_all(int64_t now_at) {
    for (bool more = true; more;) {
        OK(db_begin(db, 1000, &error));
        OK(queue_sweep(db, now_at, 100, &more, &error));
        OK(db_commit(db, &error));
    }
}

static void test_a_stopped_batch_is_swept_at_once(void **state) {
    (void)state;
    struct batch_spec spec = {.max_failures = -1, .max_failure_share = -1, .stop_on_error = true};
    submit_batch(&spec, &(struct items){.model = "m", .count = 450}, 1);
    type("UPDATE generation SET run_after=9000000000000 WHERE item_index=449");
    int64_t first = number("SELECT min(seq) FROM generation");
    struct attempt beside = start(first + 1);
    end_item(first, "failed");
    assert_int_equal(number("SELECT count(*) FROM lane WHERE blocked<>16"), 0);
    // In slices, none of which waits a second; the delayed one, too.
    sweep_all(clock_wall_at());
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='cancelled'"
                            " AND cancel_reason='stopped: an item failed and on_error is stop'"),
                     448);
    assert_string_equal(text("SELECT status FROM batch_job"), "processing");
    struct settlement s = ending(&beside, "completed");
    assert_true(settle(&s));
    assert_string_equal(text("SELECT status FROM batch_job"), "failed");
}

static void test_a_cancelled_batch_is_swept_a_second_later(void **state) {
    (void)state;
    batch_of("m", 350);
    type("UPDATE batch_jobs SET status='cancelled', paused_reason='mine'");
    int64_t at = number("SELECT completed_at FROM batch_job");
    bool more;
    OK(db_begin(db, 1000, &error));
    OK(queue_sweep(db, at + 999, 100, &more, &error));
    OK(db_commit(db, &error));
    assert_true(more);
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='queued'"), 350);
    // A person's next statement may fail them with a reason of its own.
    type("UPDATE generations SET status='failed', error_message='own' WHERE seq=1");
    // From then on without a pause.
    sweep_all(at + 1000);
    assert_int_equal(
        number("SELECT count(*) FROM generation WHERE status='cancelled' AND cancel_reason='mine'"), 349);
    assert_string_equal(text("SELECT status FROM batch_job"), "cancelled");
    // Not held up by a clock that was set back.
    batch_of("m", 3);
    type("UPDATE batch_jobs SET status='cancelled' WHERE status='queued'");
    sweep_all(at - 86400000);
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='queued'"), 0);
    check_counts();
}

static void test_overdue(void **state) {
    (void)state;
    int64_t failed = 0, now = 100000000, day = 86400000;
    int64_t old = submit("m", NULL, 0), young = submit("m", NULL, 0), waits = submit("m", NULL, 0);
    int64_t other = submit("n", NULL, 0), later = submit("m", NULL, 0);
    int64_t batch = batch_of("m", 1);
    int64_t suspect = submit("m", NULL, 0);
    type("DROP TRIGGER generation_frozen");
    type("UPDATE generation SET created_at=1");
    type("UPDATE generation SET created_at=%lld WHERE seq=%lld", (long long)now - 5, (long long)young);
    type("UPDATE generation SET created_at=%lld, waiting_since=1 WHERE seq=%lld", (long long)now - 5,
         (long long)waits);
    type("UPDATE generation SET run_after=9000000000000 WHERE seq=%lld", (long long)later);
    type("UPDATE generation SET suspect=1 WHERE seq=%lld", (long long)suspect);
    OK(queue_batch_pause(db, batch, "not now", &error));
    // The model closed too lately for anything.
    OK(queue_fail_overdue(db, "m", now - day + 1, now, day, "why", 100, &failed, &error));
    assert_int_equal(failed, 0);
    OK(queue_fail_overdue(db, "m", now - day, now, day, "why", 1, &failed, &error));
    assert_int_equal(failed, 1);
    OK(queue_fail_overdue(db, "m", now - day, now, day, "why", 100, &failed, &error));
    assert_int_equal(failed, 3);
    OK(queue_fail_overdue(db, "m", now - day, now, day, "why", 100, &failed, &error));
    assert_int_equal(failed, 3);
    assert_int_equal(
        number("SELECT count(*) FROM generation WHERE status='failed' AND error_type='DeadlineError'"
               " AND error_message='why' AND seq IN (%lld,%lld,%lld)",
               (long long)old, (long long)waits, (long long)suspect),
        3);
    assert_string_equal(status(young), "queued");
    assert_string_equal(status(other), "queued");
    assert_string_equal(status(later), "queued");
    check_counts();
}

// ---- signs of life ----

static void test_heartbeats(void **state) {
    (void)state;
    struct attempt a = started(), b = started();
    const struct beat beats[] = {
        {.seq = a.seq,
         .token = a.token,
         .progress_at = 2000,
         .progress_limit_ms = 9,
         .last_step = "provider:stream",
         .output_bytes = 5},
        {.seq = b.seq, .token = "stale", .progress_at = 2000, .last_step = "provider:wait"}};
    type("INSERT INTO locks VALUES ('account:u:1','u','%s',1,2,NULL), ('account:v:1','v','other',1,2,NULL),"
         " ('job:x',NULL,'%s',1,2,NULL)",
         me.id, me.id);
    for (int i = 0; i < 2; i++)
        OK(queue_heartbeat(db, me.seq, 3000 + i, 60000, beats, 2, &error));
    assert_string_equal(
        text("SELECT heartbeat_at||' '||progress_at||' '||progress_limit_ms||last_step||output_bytes"
             " FROM generation_live"),
        "3001 2000 9provider:stream5");
    assert_int_equal(number("SELECT count(*) FROM generation_live"), 1);
    assert_int_equal(number("SELECT heartbeat_at FROM runners"), 3001);
    assert_string_equal(
        text("SELECT last_heartbeat||last_progress||last_step FROM generations WHERE seq=%lld",
             (long long)a.seq),
        "30012000provider:stream");
    // Only its own account locks are renewed.
    assert_string_equal(text("SELECT group_concat(name) FROM locks WHERE expires_at>2"), "account:u:1");
    // With the end the signs of life go.
    struct settlement s = ending(&a, "queued");
    assert_true(settle(&s));
    assert_int_equal(number("SELECT count(*) FROM generation_live"), 0);
    OK(queue_heartbeat(db, me.seq, 4000, 60000, beats, 1, &error));
    assert_int_equal(number("SELECT count(*) FROM generation_live"), 0);
    OK(queue_heartbeat(db, me.seq, 4000, 60000, NULL, 0, &error));
}

static void test_models(void **state) {
    (void)state;
    struct model_state m;
    submit("m", NULL, 0);
    OK(queue_model_state(db, "m", &m, &error));
    assert_string_equal(m.state, "ok");
    m = (struct model_state){.state = "parked",
                             .reason = "no money",
                             .error_type = "QuotaError",
                             .since = 5,
                             .until = 9,
                             .failures = 2,
                             .unstreamed = true};
    for (int i = 0; i < 2; i++) {
        OK(db_begin(db, 1000, &error));
        OK(queue_model_set(db, "m", &m, &error));
        OK(db_commit(db, &error));
    }
    struct model_state read;
    OK(queue_model_state(db, "m", &read, &error));
    assert_string_equal(read.state, "parked");
    assert_string_equal(read.reason, "no money");
    assert_string_equal(read.error_type, "QuotaError");
    assert_true(read.since == 5 && read.until == 9 && read.failures == 2 && read.unstreamed);
    // A resume leaves what was learned of the server.
    OK(queue_model_resume(db, "m", &error));
    OK(queue_model_resume(db, "m", &error));
    OK(queue_model_state(db, "m", &read, &error));
    assert_string_equal(read.state, "ok");
    assert_true(read.since == 0 && read.until == 0 && read.failures == 0 && read.unstreamed &&
                !read.reason[0]);
    assert_string_equal(
        text(
            "SELECT group_concat(event||level||coalesce(message,'')) FROM event WHERE event LIKE 'model.%%'"),
        "model.parkedwarnno money,model.resumedinfo");
    assert_int_equal(queue_model_resume(db, "nobody", &error), ERR_NOT_FOUND);
    assert_true(sqlite3_get_autocommit(db_handle(db)));
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, ground_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_completed),
        T(test_failed),
        T(test_queued_again),
        T(test_unknown_tokens_stay_unknown),
        T(test_the_fence),
        T(test_a_row_that_never_was),
        T(test_a_rolled_back_end),
        T(test_many_at_once),
        T(test_numbers_of_many),
        T(test_one_of_many_is_refused),
        T(test_a_later_attempt_replaces),
        T(test_a_result_without_output),
        T(test_neighbours_keep_theirs),
        T(test_odd_outputs),
        T(test_cancelled_meanwhile),
        T(test_typed_by_hand_meanwhile),
        T(test_claimed_anew_meanwhile),
        T(test_a_batch_cancelled_meanwhile),
        T(test_changes_by_people),
        T(test_a_batch_ends),
        T(test_a_stopped_batch_is_swept_at_once),
        T(test_a_cancelled_batch_is_swept_a_second_later),
        T(test_overdue),
        T(test_heartbeats),
        T(test_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
