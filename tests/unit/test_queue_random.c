// SPDX-License-Identifier: MIT
// Random histories of the queue, the same in each run: submits, claims, ends, cancels, retries, pauses, limits,
// delays, crashes of runners, in any order. After each step what is stored must agree with itself, and in the end
// nothing may be left that could have run and was never found.
#include "queue_ground.h"

#define MOST 64
#define STEPS 400

static uint64_t seed;

// xorshift64* (Marsaglia 2003, Vigna 2016): the history must not depend on the C library.
static uint32_t draw(uint32_t below) {
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * 2685821657736338717u) >> 33) % below;
}

static struct runner_identity me;
static struct claim_turn turn;
static struct claim live[MOST];
static size_t live_count;
static int64_t now_at;
static int accounts;

static void begin_runner(void) {
    int64_t recovered, failed;
    OK(db_begin(db, 1000, &error));
    OK(start_runner(&me, 3, 3, now_at, &recovered, &failed));
    OK(db_commit(db, &error));
}

static int64_t any_row(void) {
    int64_t last = number("SELECT coalesce(max(seq),0) FROM generation");
    return last ? 1 + (int64_t)draw((uint32_t)last) : 0;
}

static int64_t any_batch(void) {
    int64_t last = number("SELECT coalesce(max(seq),0) FROM batch_job");
    return last ? 1 + (int64_t)draw((uint32_t)last) : 0;
}

// A refusal (an illegal transition) is as good as a success here; a failure of the database is not.
static void allow(int result) {
    assert_true(result == 0 || result == ERR_CONFLICT || result == ERR_NOT_FOUND);
    assert_true(sqlite3_get_autocommit(db_handle(db)));
}

static void allow_typed(const char *sql) {
    sqlite3_exec(db_handle(db), sql, NULL, NULL, NULL);
    int code = sqlite3_errcode(db_handle(db)) & 0xff;
    if (code != SQLITE_OK && code != SQLITE_CONSTRAINT)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db_handle(db)));
}

// ---- steps ----

static const char *const models[] = {"m", "n", "o"};
static const char *const users[] = {NULL, "u", "v"};

static void do_submit(void) {
    submit_spec(&(struct spec){.prompt = "p",
                               .model_id = models[draw(3)],
                               .user_id = users[draw(3)],
                               .priority = (int)draw(3) - 1,
                               .run_after_at = draw(5) ? 0 : now_at + draw(50)});
}

static void do_submit_batch(void) {
    const struct items items[] = {
        {.model = models[draw(3)], .count = 1 + (int)draw(6), .priority = (int)draw(2)},
        {.model = models[draw(3)], .count = (int)draw(3)}};
    submit_batch(&(struct batch_spec){.user_id = users[draw(3)],
                                      .concurrency = draw(2) ? (int)draw(3) : 0,
                                      .stop_on_error = draw(4) == 0,
                                      .max_failures = draw(3) ? -1 : (int)draw(3),
                                      .max_failure_share = -1,
                                      .max_cost = draw(4) ? 0 : 1.5,
                                      .paused = draw(5) == 0},
                 items, 2);
}

static void do_abandon(void) {
    struct batch_writer *writer;
    char id[ID_SIZE];
    bool known;
    OK(batch_writer_begin(&writer, db, &(struct batch_spec){.max_failures = -1, .max_failure_share = -1}, id,
                          &known, &error));
    for (uint32_t i = draw(4); i > 0; i--)
        OK(batch_writer_add(writer, &(struct spec){.prompt = "p", .model_id = "m"}, &error));
    batch_writer_abandon(writer);
}

static void do_claim(void) {
    struct claim_slot slots[3];
    const struct claim_scope scope = {.runner_seq = me.seq,
                                      .now_at = now_at,
                                      .lock_ms = 60000,
                                      .account_concurrency = accounts,
                                      .owner = me.id};
    int64_t next, promoted;
    int free = (int)draw(12);
    if ((size_t)free > MOST - live_count)
        free = (int)(MOST - live_count);
    for (int i = 0; i < 3; i++)
        slots[i] = (struct claim_slot){.model_id = models[i], .free = (int)draw(8)};
    size_t before = live_count;
    OK(db_begin(db, 1000, &error));
    OK(queue_promote_due(db, now_at, &next, &promoted, &error));
    OK(queue_claim(db, &scope, &turn, slots, 3, free, live, &live_count, &error));
    if (draw(10) == 0) {
        // It does not last: nothing was claimed.
        db_rollback(db);
        while (live_count > before)
            claim_clear(&live[--live_count]);
        return;
    }
    OK(db_commit(db, &error));
    assert_true(live_count - before <= (size_t)free);
}

static void do_end(void) {
    static const char *const ends[] = {"completed", "completed", "failed", "queued", "queued", "cancelled"};
    if (live_count == 0)
        return;
    size_t i = draw((uint32_t)live_count);
    bool landed;
    const char *status = ends[draw(6)];
    struct settlement s = {.seq = live[i].seq,
                           .token = live[i].token,
                           .status = status,
                           .now_at = now_at,
                           .run_after_at = draw(2) ? now_at + draw(30) : 0,
                           .spent = 1,
                           .error_type = "NetworkError",
                           .error_message = "no",
                           .cancel_reason = "so",
                           .input_tokens = draw(9),
                           .output_tokens = -1,
                           .cost = draw(3) ? 0 : 0.5};
    if (strcmp(status, "failed") != 0)
        s.error_type = s.error_message = NULL;
    if (strcmp(status, "queued") != 0)
        s.run_after_at = 0;
    OK(db_begin(db, 1000, &error));
    bool owned = number("SELECT count(*) FROM generation WHERE seq=%lld AND claim_token='%s'",
                        (long long)live[i].seq, live[i].token) == 1;
    OK(queue_settle(db, &s, &landed, &error));
    assert_int_equal(landed, owned);
    if (draw(2)) {
        OK(queue_settle(db, &s, &landed, &error));
        assert_false(landed);
    }
    if (live[i].user_id)
        OK(queue_release_lock(db, live[i].user_id, live[i].id, &error));
    OK(db_commit(db, &error));
    claim_clear(&live[i]);
    live[i] = live[--live_count];
}

static void do_change_many(void) {
    static const char *const states[] = {NULL,     "queued",    "processing", "completed",
                                         "failed", "cancelled", "stuck"};
    const struct filter filter = {.status = states[draw(7)],
                                  .model_id = draw(2) ? models[draw(3)] : NULL,
                                  .user_id = users[draw(3)],
                                  .batch_seq = draw(3) ? 0 : any_batch(),
                                  .limit = (int)draw(4)};
    enum change change = (enum change)draw(CHANGE_UNDISMISS + 1);
    int64_t counted, changed;
    OK(queue_change_all(db, change, &filter, "all", true, &counted, &error));
    OK(queue_change_all(db, change, &filter, "all", false, &changed, &error));
    // Items of a cancelled batch job are counted, but not retried; a cancel may end what another one waits for.
    assert_true(change == CHANGE_RETRY ? changed <= counted : changed == counted);
}

static void do_change(void) {
    int64_t seq = any_row();
    char sql[200];
    if (!seq)
        return;
    switch (draw(9)) {
    case 0:
        allow(queue_change(db, CHANGE_CANCEL, seq, "c", &error));
        return;
    case 1:
    case 2:
        allow(queue_change(db, CHANGE_RETRY, seq, NULL, &error));
        return;
    case 6:
        allow(queue_change(db, CHANGE_FAIL, seq, "f", &error));
        return;
    case 7:
        allow(queue_change(db, draw(2) ? CHANGE_DISMISS : CHANGE_UNDISMISS, seq, NULL, &error));
        return;
    case 8:
        // Silent for long, more often than not.
        if (draw(3))
            type("UPDATE generation SET started_at=1 WHERE seq=%lld AND status='processing'", (long long)seq);
        allow(queue_change(db, CHANGE_RECOVER, seq, NULL, &error));
        return;
    case 3:
        snprintf(sql, sizeof sql, "UPDATE generations SET status='%s' WHERE seq BETWEEN %lld AND %lld",
                 (const char *[]){"queued", "cancelled", "failed", "completed"}[draw(4)], (long long)seq,
                 (long long)seq + 2);
        break;
    case 4:
        snprintf(sql, sizeof sql, "UPDATE generations SET priority=%d WHERE seq=%lld", (int)draw(5) - 2,
                 (long long)seq);
        break;
    default:
        snprintf(sql, sizeof sql, "DELETE FROM generations WHERE seq=%lld", (long long)seq);
    }
    allow_typed(sql);
}

static void do_change_batch(void) {
    int64_t seq = any_batch();
    char sql[200];
    if (!seq)
        return;
    switch (draw(6)) {
    case 0:
        allow(queue_batch_pause(db, seq, "p", &error));
        return;
    case 1:
    case 2:
        allow(queue_batch_resume(db, seq, &error));
        return;
    case 3:
        if (draw(4) == 0)
            allow(queue_batch_cancel(db, seq, "b", &error));
        return;
    case 4:
        snprintf(sql, sizeof sql, "UPDATE batch_jobs SET status='%s' WHERE seq=%lld",
                 (const char *[]){"queued", "processing", "paused", "completed", "cancelled"}[draw(5)],
                 (long long)seq);
        break;
    default:
        snprintf(sql, sizeof sql, "DELETE FROM batch_jobs WHERE seq=%lld", (long long)seq);
    }
    allow_typed(sql);
}

static void do_sweep(void) {
    bool more;
    OK(db_begin(db, 1000, &error));
    OK(queue_sweep(db, clock_wall_at() + (draw(2) ? 5000 : 0), 1 + (int)draw(5), &more, &error));
    OK(db_commit(db, &error));
}

static void do_crash(void) {
    while (live_count > 0)
        claim_clear(&live[--live_count]);
    memset(&turn, 0, sizeof turn);
    if (draw(3) == 0)
        OK(queue_runner_mark_hung(db, me.seq, &error));
    begin_runner();
}

static void do_pass_time(void) {
    now_at += draw(40);
}

// ---- judging ----

static int64_t listed;

static int count_row(void *payload, struct row *row) {
    (void)payload;
    listed++;
    row_free(row);
    return 0;
}

// A list by state has what the counters have.
static void check_lists(void) {
    static const char *const states[] = {"queued", "processing", "completed", "failed", "cancelled"};
    for (int i = 0; i < 5; i++) {
        const struct filter filter = {.status = states[i]};
        int64_t next;
        listed = 0;
        OK(queue_list(db, &filter, count_row, NULL, &next, &error));
        assert_int_equal(next, 0);
        assert_int_equal(listed, number("SELECT %s FROM totals", states[i]));
    }
}

static void check_all(void) {
    static const char *const never[] = {
        // A lane that is marked as empty holds nothing.
        "SELECT count(*) FROM generation g JOIN lane l ON l.id=g.lane WHERE g.status='queued' AND "
        "g.run_after IS NULL"
        " AND g.suspect=0 AND l.ready=0",
        // A row stands in the lane of its model, user, batch job and priority.
        "SELECT count(*) FROM generation g JOIN lane l ON l.id=g.lane WHERE l.model_id<>g.model_id OR"
        " l.user_id<>coalesce(g.user_id,'') OR l.batch_seq<>coalesce(g.batch_seq,0) OR "
        "l.priority<>g.priority",
        // Lanes are closed exactly as their batch job is.
        "SELECT count(*) FROM lane l JOIN batch_job b ON b.seq=l.batch_seq WHERE l.blocked<>b.blocked",
        "SELECT count(*) FROM lane l WHERE l.batch_seq<>0 AND NOT EXISTS (SELECT 1 FROM batch_job WHERE "
        "seq=l.batch_seq)",
        "SELECT count(*) FROM batch_job b JOIN batch_count c ON c.batch_seq=b.seq WHERE b.at_limit<>coalesce("
        "c.processing_items>=b.concurrency, 0)",
        "SELECT count(*) FROM batch_job b JOIN batch_derived d ON d.seq=b.seq WHERE b.status<>d.derived",
        // What is to be swept will be found.
        "SELECT count(*) FROM batch_job b JOIN batch_count c ON c.batch_seq=b.seq WHERE c.queued_items>0 AND "
        "swept=1"
        " AND (b.status='cancelled' OR b.stop_reason IS NOT NULL)",
        // One present runner, and nothing runs under another.
        "SELECT count(*)-1 FROM runners WHERE stopped_at IS NULL",
        "SELECT count(*) FROM generation WHERE status='processing' AND runner_seq<>(SELECT max(seq) FROM "
        "runners)",
        "SELECT count(*) FROM generation WHERE status='processing' AND suspect=1",
        "SELECT count(*) FROM batch_job b JOIN batch_count c ON c.batch_seq=b.seq WHERE "
        "c.processing_items>b.concurrency",
        "SELECT count(*) FROM generation_input i WHERE NOT EXISTS (SELECT 1 FROM generation WHERE seq=i.seq)",
        "SELECT count(*) FROM generation g WHERE NOT EXISTS (SELECT 1 FROM generation_input WHERE seq=g.seq)",
        // Starts are counted, and each is in the log.
        "SELECT count(*) FROM generation g WHERE g.starts<>(SELECT count(*) FROM event WHERE "
        "generation_seq=g.seq"
        " AND event='generation.processing')",
    };
    check_counts();
    check_lists();
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (number_on(db, never[i]) != 0)
            fail_msg("not 0: %s", never[i]);
    // What the runner believes to be running and has not lost is so in the database.
    int64_t mine = 0;
    for (size_t i = 0; i < live_count; i++)
        mine += number(
            "SELECT count(*) FROM generation WHERE seq=%lld AND status='processing' AND claim_token='%s'",
            (long long)live[i].seq, live[i].token);
    assert_int_equal(mine, number("SELECT processing FROM totals"));
    if (accounts)
        assert_int_equal(number("SELECT count(*) FROM (SELECT 1 FROM generation WHERE status='processing' "
                                "AND user_id IS NOT NULL"
                                " GROUP BY user_id HAVING count(*)>%d)",
                                accounts),
                         0);
}

// Everything that can run does, in the end.
static void run_out(void) {
    for (int round = 0; round < 500 && number("SELECT queued+processing FROM totals") > 0; round++) {
        struct claim_slot slots[3];
        const struct claim_scope scope = {.runner_seq = me.seq,
                                          .now_at = now_at,
                                          .lock_ms = 60000,
                                          .account_concurrency = accounts,
                                          .owner = me.id};
        int64_t next, promoted, suspect = 0;
        now_at += 100;
        type("DELETE FROM locks");
        do_sweep();
        for (int i = 0; i < 3; i++)
            slots[i] = (struct claim_slot){.model_id = models[i], .free = MOST};
        OK(db_begin(db, 1000, &error));
        OK(queue_promote_due(db, now_at, &next, &promoted, &error));
        OK(queue_claim(db, &scope, &turn, slots, 3, (int)(MOST - live_count), live, &live_count, &error));
        for (int i = 0; i < 3 && live_count == 0 && !suspect; i++) {
            OK(queue_next_suspect(db, &scope, models[i], &suspect, &error));
            if (suspect)
                OK(queue_claim_one(db, &scope, suspect, live, &live_count, &error));
        }
        while (live_count > 0) {
            bool landed;
            const struct settlement s = {.seq = live[live_count - 1].seq,
                                         .token = live[live_count - 1].token,
                                         .status = "completed",
                                         .now_at = now_at,
                                         .input_tokens = -1,
                                         .output_tokens = -1};
            OK(queue_settle(db, &s, &landed, &error));
            claim_clear(&live[--live_count]);
        }
        OK(db_commit(db, &error));
    }
    // What is left waits for a person.
    assert_int_equal(number("SELECT count(*) FROM generation g WHERE g.status='processing' OR "
                            "(g.status='queued' AND NOT EXISTS"
                            " (SELECT 1 FROM batch_job b WHERE b.seq=g.batch_seq AND b.status='paused'))"),
                     0);
    check_counts();
}

static void test_histories(void **state) {
    (void)state;
    static const struct {
        void (*act)(void);
        uint32_t weight;
    } acts[] = {{do_submit, 14}, {do_submit_batch, 5}, {do_abandon, 1},     {do_claim, 22},
                {do_end, 34},    {do_change, 10},      {do_change_many, 2}, {do_change_batch, 5},
                {do_sweep, 3},   {do_crash, 1},        {do_pass_time, 5}};
    for (uint64_t history = 1; history <= 3; history++) {
        assert_int_equal(ground_close(state), 0);
        assert_int_equal(ground_open(state), 0);
        seed = history * 0x9E3779B97F4A7C15u;
        now_at = clock_wall_at();
        accounts = history == 2 ? 1 : history == 3 ? 2 : 0;
        memset(&turn, 0, sizeof turn);
        begin_runner();
        for (int step = 0; step < STEPS; step++) {
            uint32_t at = draw(100);
            size_t i = 0;
            for (; at >= acts[i].weight; i++)
                at -= acts[i].weight;
            acts[i].act();
            if (step % 20 == 0 || i >= 6)
                check_all();
        }
        check_all();
        run_out();
        print_message("# history %d: %d generations, %d batch jobs, %d events\n", (int)history,
                      (int)number("SELECT count(*) FROM generation"),
                      (int)number("SELECT count(*) FROM batch_job"),
                      (int)number("SELECT count(*) FROM event"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_histories, ground_open, ground_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
