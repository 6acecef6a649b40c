// SPDX-License-Identifier: MIT
// Which generation is next: priorities, turns of batches, models and users, limits and locks; and that what
// cannot run neither blocks what can nor makes the search longer.
#include "queue_ground.h"

#define MOST 512

static struct runner_identity me;
static struct claim_turn turn;
static struct claim_scope scope;

// The models asked, and how many each takes: all that the runner's gates tell the queue.
static struct claim_slot slots[4];
static size_t slot_count;

static void use_models(const char *a, const char *b, int free_each) {
    slot_count = b ? 2 : 1;
    slots[0] = (struct claim_slot){.model_id = a, .free = free_each, .last_single = slots[0].last_single};
    slots[1] = (struct claim_slot){.model_id = b, .free = free_each, .last_single = slots[1].last_single};
}

static int set_up(void **state) {
    int64_t recovered, failed;
    if (ground_open(state))
        return -1;
    memset(&turn, 0, sizeof turn);
    memset(slots, 0, sizeof slots);
    OK(db_begin(db, 1000, &error));
    OK(start_runner(&me, 3, 3, clock_wall_at(), &recovered, &failed));
    OK(db_commit(db, &error));
    scope = (struct claim_scope){
        .runner_seq = me.seq, .now_at = clock_wall_at(), .owner = me.id, .lock_ms = 60000};
    use_models("m", NULL, MOST);
    return 0;
}

// ---- one tick: claim, and end what was claimed ----

static struct claim claims[MOST];
static size_t claimed;

static void claim(int free) {
    claimed = 0;
    OK(db_begin(db, 1000, &error));
    OK(queue_claim(db, &scope, &turn, slots, slot_count, free, claims, &claimed, &error));
    OK(db_commit(db, &error));
    assert_true(claimed <= (size_t)free);
}

static void end_one(size_t i, const char *status) {
    bool landed = false;
    const struct settlement s = {.seq = claims[i].seq,
                                 .token = claims[i].token,
                                 .status = status,
                                 .now_at = scope.now_at,
                                 .error_type = strcmp(status, "failed") == 0 ? "NetworkError" : NULL,
                                 .error_message = strcmp(status, "failed") == 0 ? "no" : NULL,
                                 .input_tokens = -1,
                                 .output_tokens = -1};
    OK(db_begin(db, 1000, &error));
    OK(queue_settle(db, &s, &landed, &error));
    if (claims[i].user_id)
        OK(queue_release_lock(db, claims[i].user_id, claims[i].id, &error));
    OK(db_commit(db, &error));
    assert_true(landed);
}

static void end_all(void) {
    for (size_t i = 0; i < claimed; i++) {
        end_one(i, "completed");
        claim_clear(&claims[i]);
    }
    claimed = 0;
}

static void forget_claims(void) {
    for (size_t i = 0; i < claimed; i++)
        claim_clear(&claims[i]);
    claimed = 0;
}

// ---- a long run, judged by windows ----

struct start {
    int64_t seq, batch_seq;
    char model[16], user[16];
};
static struct start starts[MOST];
static size_t start_count;

// Claims in ticks of `free` until `want` have started; each tick ends what it started.
static void run(size_t want, int free, int free_each) {
    start_count = 0;
    while (start_count < want) {
        for (size_t i = 0; i < slot_count; i++)
            slots[i].free = free_each;
        claim(free);
        assert_true(claimed > 0);
        for (size_t i = 0; i < claimed && start_count < MOST; i++) {
            struct start *s = &starts[start_count++];
            *s = (struct start){.seq = claims[i].seq, .batch_seq = claims[i].batch_seq};
            snprintf(s->model, sizeof s->model, "%s", claims[i].model_id);
            snprintf(s->user, sizeof s->user, "%s", claims[i].user_id ? claims[i].user_id : "");
        }
        end_all();
    }
}

// The fewest starts of a batch (0: singles) in any 100 in a row.
static int least_in_100(int64_t batch_seq) {
    int least = 100;
    assert_true(start_count >= 100);
    for (size_t from = 0; from + 100 <= start_count; from++) {
        int n = 0;
        for (size_t i = from; i < from + 100; i++)
            n += starts[i].batch_seq == batch_seq;
        least = n < least ? n : least;
    }
    return least;
}

static void test_nothing(void **state) {
    (void)state;
    claim(8);
    assert_int_equal(claimed, 0);
    slot_count = 0;
    claim(8);
    assert_int_equal(claimed, 0);
}

static void test_values(void **state) {
    (void)state;
    int64_t seq = submit_spec(&(struct spec){
        .prompt = "hello", .model_id = "m", .parameters = "{\"a\":1}", .endpoint = "/v1/x", .user_id = "u"});
    claim(4);
    assert_int_equal(claimed, 1);
    assert_int_equal(claims[0].seq, seq);
    assert_string_equal(claims[0].prompt, "hello");
    assert_string_equal(claims[0].parameters, "{\"a\":1}");
    assert_string_equal(claims[0].endpoint, "/v1/x");
    assert_string_equal(claims[0].model_id, "m");
    assert_string_equal(claims[0].user_id, "u");
    assert_int_equal(claims[0].starts, 1);
    assert_int_equal(claims[0].attempts, 0);
    assert_int_equal(claims[0].batch_seq, 0);
    assert_int_equal(strlen(claims[0].token), 16);
    assert_string_equal(text("SELECT claim_token FROM generation"), claims[0].token);
    assert_string_equal(text("SELECT last_step FROM generations"), "process:claim");
    assert_int_equal(number("SELECT runner_seq FROM generation"), me.seq);
    check_counts();
    // Claimed once.
    struct claim first = claims[0];
    claim(4);
    assert_int_equal(claimed, 0);
    claim_clear(&first);
}

static void test_priorities(void **state) {
    (void)state;
    use_models("m", "n", MOST);
    int64_t low = submit("m", NULL, -5), normal = submit("m", NULL, 0), high = submit("n", NULL, 7);
    int64_t batch = submit_batch(&(struct batch_spec){.max_failures = -1, .max_failure_share = -1},
                                 &(struct items){.model = "m", .count = 1, .priority = 3}, 1);
    run(4, 1, 1);
    assert_int_equal(starts[0].seq, high);
    assert_int_equal(starts[1].batch_seq, batch); // above a single one of lower priority
    assert_int_equal(starts[2].seq, normal);
    assert_int_equal(starts[3].seq, low);
}

static void test_priority_changed_by_hand(void **state) {
    (void)state;
    submit("m", NULL, 0);
    int64_t second = submit("m", NULL, 0);
    type("UPDATE generations SET priority=9 WHERE seq=%lld", (long long)second);
    run(1, 1, 1);
    assert_int_equal(starts[0].seq, second);
}

static void test_singles_first(void **state) {
    (void)state;
    int64_t batch = batch_of("m", 2);
    int64_t single = submit("m", NULL, 0);
    run(3, 1, 1);
    assert_int_equal(starts[0].seq, single);
    assert_int_equal(starts[1].batch_seq, batch);
}

// ---- shares ----

static void test_two_batches_share(void **state) {
    (void)state;
    static const int frees[] = {1, 3, 16, 64};
    for (size_t i = 0; i < sizeof frees / sizeof *frees; i++) {
        int64_t a = batch_of("m", 300), b = batch_of("m", 300);
        run(300, frees[i], MOST);
        assert_true(least_in_100(a) >= 40);
        assert_true(least_in_100(b) >= 40);
        type("UPDATE batch_jobs SET status='cancelled' WHERE status='processing'");
    }
}

static void test_a_batch_on_two_models(void **state) {
    (void)state;
    const struct items both[] = {{.model = "m", .count = 300}, {.model = "n", .count = 300}};
    int64_t a = submit_batch(&(struct batch_spec){.max_failures = -1, .max_failure_share = -1}, both, 2);
    int64_t b = batch_of("m", 300);
    use_models("m", "n", 1);
    run(300, 1, 1);
    assert_true(least_in_100(a) >= 40);
    assert_true(least_in_100(b) >= 40);
}

// Retries that wait make their lane look ready: that must not cost the batch its turns.
static void test_a_batch_with_an_empty_lane(void **state) {
    (void)state;
    const struct items both[] = {{.model = "m", .count = 300}, {.model = "n", .count = 1}};
    int64_t a = submit_batch(&(struct batch_spec){.max_failures = -1, .max_failure_share = -1}, both, 2);
    int64_t b = batch_of("m", 300);
    use_models("m", "n", 1);
    start_count = 0;
    type("UPDATE generation SET run_after=9000000000000 WHERE model_id='n'");
    while (start_count < 200) {
        type("UPDATE lane SET ready=1 WHERE model_id='n'");
        slots[0].free = slots[1].free = 1;
        claim(1);
        assert_int_equal(claimed, 1);
        starts[start_count++].batch_seq = claims[0].batch_seq;
        end_all();
    }
    assert_true(least_in_100(a) >= 40);
    assert_true(least_in_100(b) >= 40);
}

static void test_singles_and_batches_share(void **state) {
    (void)state;
    static const int frees[] = {1, 2, 7, 64};
    for (size_t i = 0; i < sizeof frees / sizeof *frees; i++) {
        int64_t batch = batch_of("m", 300);
        for (int n = 0; n < 300; n++)
            submit("m", NULL, 0);
        run(200, frees[i], MOST);
        assert_true(least_in_100(0) >= 50);
        assert_true(least_in_100(batch) >= 25);
        type("UPDATE generations SET status='cancelled' WHERE status='queued'");
    }
}

// While singles could not run, batches earn them no right to run alone later; nor the other way round.
static void test_no_credit_without_rivals(void **state) {
    (void)state;
    int64_t batch = batch_of("m", 500);
    for (int n = 0; n < 300; n++)
        submit("m", "u", 0);
    scope.account_concurrency = 50;
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50) INSERT INTO locks"
         " SELECT 'account:u:'||i, 'u', 'x', 0, 9000000000000, NULL FROM n");
    run(200, 1, 1);
    assert_int_equal(least_in_100(batch), 100);
    type("DELETE FROM locks");
    run(200, 1, 1);
    assert_true(least_in_100(batch) >= 25);
    assert_true(least_in_100(0) >= 50);
}

static void test_models_in_turn(void **state) {
    (void)state;
    use_models("m", "n", 1);
    for (int i = 0; i < 20; i++)
        submit(i < 10 ? "m" : "n", NULL, 0);
    run(20, 1, 1);
    for (size_t i = 2; i < 20; i++)
        assert_string_not_equal(starts[i].model, starts[i - 1].model);
}

static void test_users_in_turn(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++)
        submit("m", i < 28 ? "many" : i < 29 ? "one" : "other", 0);
    run(6, 1, 1);
    int others = 0;
    for (size_t i = 0; i < 6; i++)
        others += strcmp(starts[i].user, "many") != 0;
    assert_int_equal(others, 2);
}

static void test_order_within_a_lane(void **state) {
    (void)state;
    int64_t batch = batch_of("m", 20);
    run(20, 1, 1);
    for (size_t i = 1; i < 20; i++)
        assert_true(starts[i].seq > starts[i - 1].seq);
    assert_string_equal(text("SELECT status FROM batch_job WHERE seq=%lld", (long long)batch), "completed");
}

// ---- limits ----

static void test_a_models_slots(void **state) {
    (void)state;
    use_models("m", "n", MOST);
    for (int i = 0; i < 10; i++)
        submit(i % 2 ? "m" : "n", NULL, 0);
    slots[0].free = 2;
    slots[1].free = 0;
    claim(10);
    assert_int_equal(claimed, 2);
    for (size_t i = 0; i < claimed; i++)
        assert_string_equal(claims[i].model_id, "m");
    forget_claims();
}

static void test_a_batchs_concurrency(void **state) {
    (void)state;
    int64_t narrow =
        submit_batch(&(struct batch_spec){.max_failures = -1, .max_failure_share = -1, .concurrency = 2},
                     &(struct items){.model = "m", .count = 10}, 1);
    claim(64);
    assert_int_equal(claimed, 2);
    end_one(0, "completed");
    struct claim first = claims[0], second = claims[1];
    claim(64);
    assert_int_equal(claimed, 1);
    assert_int_equal(claims[0].batch_seq, narrow);
    forget_claims();
    int64_t wide = batch_of("m", 10);
    claim(64);
    assert_int_equal(claimed, 10);
    for (size_t i = 0; i < claimed; i++)
        assert_int_equal(claims[i].batch_seq, wide);
    forget_claims();
    claim_clear(&first);
    claim_clear(&second);
}

static void test_only_one_batch(void **state) {
    (void)state;
    submit("m", NULL, 9);
    batch_of("m", 3);
    int64_t wanted = batch_of("m", 3);
    scope.only_batch = wanted;
    claim(64);
    assert_int_equal(claimed, 3);
    for (size_t i = 0; i < claimed; i++)
        assert_int_equal(claims[i].batch_seq, wanted);
    forget_claims();
}

static void test_only_one_generation(void **state) {
    (void)state;
    submit("m", NULL, 9);
    int64_t wanted = submit("m", NULL, 0), later = submit("m", NULL, 0);
    int64_t batch = batch_of("m", 1);
    int64_t item = number("SELECT seq FROM generation WHERE batch_seq=%lld", (long long)batch);
    type("UPDATE generation SET run_after=%lld WHERE seq=%lld", (long long)scope.now_at + 1,
         (long long)later);
    type("UPDATE batch_jobs SET status='paused'");
    struct {
        int64_t seq;
        size_t count;
    } cases[] = {{wanted, 1}, {wanted, 0}, {later, 0}, {item, 0}, {123456, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        claimed = 0;
        OK(db_begin(db, 1000, &error));
        OK(queue_claim_one(db, &scope, cases[i].seq, claims, &claimed, &error));
        OK(db_commit(db, &error));
        assert_int_equal(claimed, cases[i].count);
        forget_claims();
    }
    // Its time came.
    scope.now_at++;
    OK(db_begin(db, 1000, &error));
    OK(queue_claim_one(db, &scope, later, claims, &claimed, &error));
    OK(db_commit(db, &error));
    assert_int_equal(claimed, 1);
    forget_claims();
}

// ---- account locks ----

static void test_account_locks(void **state) {
    (void)state;
    scope.account_concurrency = 1;
    submit("m", "a", 0);
    submit("m", "a", 0);
    submit("m", "b", 0);
    submit("m", NULL, 0);
    submit("m", NULL, 0);
    claim(64);
    assert_int_equal(claimed, 4); // all but the second of a
    assert_int_equal(number("SELECT count(*) FROM locks"), 2);
    assert_int_equal(
        number("SELECT count(*) FROM locks l JOIN generation g ON g.id=l.reason AND g.user_id=l.user_id"
               " AND g.status='processing' AND l.name='account:'||g.user_id||':1' AND l.owner='%s'",
               me.id),
        2);
    struct claim held[4];
    memcpy(held, claims, sizeof held);
    claim(64);
    assert_int_equal(claimed, 0);
    for (int i = 0; i < 4; i++) {
        claims[0] = held[i];
        end_one(0, "completed");
        claim_clear(&held[i]);
    }
    assert_int_equal(number("SELECT count(*) FROM locks"), 0);
    claim(64);
    assert_int_equal(claimed, 1);
    assert_string_equal(claims[0].user_id, "a");
    forget_claims();
}

static void test_several_locks_an_account(void **state) {
    (void)state;
    scope.account_concurrency = 3;
    for (int i = 0; i < 5; i++)
        submit("m", "a", 0);
    claim(64);
    assert_int_equal(claimed, 3);
    assert_int_equal(
        number("SELECT count(*) FROM locks WHERE name IN ('account:a:1','account:a:2','account:a:3')"), 3);
    // The free number in the middle is taken again.
    size_t middle = 0;
    while (strcmp(text("SELECT name FROM locks WHERE reason='%s'", claims[middle].id), "account:a:2") != 0)
        middle++;
    end_one(middle, "completed");
    struct claim held[3];
    memcpy(held, claims, sizeof held);
    claim(64);
    assert_int_equal(claimed, 1);
    assert_string_equal(text("SELECT name FROM locks WHERE reason='%s'", claims[0].id), "account:a:2");
    forget_claims();
    for (int i = 0; i < 3; i++)
        claim_clear(&held[i]);
}

// Names that could be taken for one another, and one longer than any buffer.
static void test_account_names(void **state) {
    (void)state;
    static char longest[2000], other[2000];
    memset(longest, 'x', sizeof longest - 1);
    memcpy(other, longest, sizeof other);
    other[1990] = 'y';
    const char *names[] = {"a", "a:1", "a:1:2", "a:", "A", "a:~", "%", "_", "'", "é", longest, other};
    size_t count = sizeof names / sizeof *names;
    scope.account_concurrency = 1;
    for (size_t i = 0; i < 2 * count; i++)
        submit("m", names[i % count], 0);
    claim(64);
    assert_int_equal(claimed, count);
    struct claim held[16];
    memcpy(held, claims, sizeof held);
    claim(64);
    assert_int_equal(claimed, 0);
    for (size_t i = 0; i < count; i++) {
        claims[0] = held[i];
        end_one(0, "completed");
        claim_clear(&held[i]);
    }
    assert_int_equal(number("SELECT count(*) FROM locks"), 0);
    claim(64);
    assert_int_equal(claimed, count);
    forget_claims();
}

// The lock of an account does not count for one whose name begins its own.
static void test_a_name_within_a_name(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"a:1", "a"}, {"a:1:1", "a"}, {"a:", "a"},
                                           {"ab", "a"},  {"a", "a:1"},   {"", "a"}};
    scope.account_concurrency = 1;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        type(
            "DELETE FROM locks; INSERT INTO locks VALUES ('account:%s:1', '%s', 'x', 0, 9000000000000, NULL)",
            pairs[i][0], pairs[i][0]);
        submit("m", pairs[i][1], 0);
        claim(4);
        assert_int_equal(claimed, 1);
        end_all();
    }
}

static void test_an_expired_lock(void **state) {
    (void)state;
    scope.account_concurrency = 1;
    submit("m", "a", 0);
    type("INSERT INTO locks VALUES ('account:a:1', 'a', 'x', 0, %lld, 'old')", (long long)scope.now_at + 1);
    claim(4);
    assert_int_equal(claimed, 0);
    scope.now_at++;
    claim(4);
    assert_int_equal(claimed, 1);
    assert_string_equal(text("SELECT owner FROM locks"), me.id);
    forget_claims();
}

static void test_a_locked_account_holds_up_nobody(void **state) {
    (void)state;
    scope.account_concurrency = 1;
    use_models("m", "n", MOST);
    type("INSERT INTO locks VALUES ('account:a:1', 'a', 'x', 0, 9000000000000, NULL)");
    submit("m", "a", 900);
    submit("m", "a", 500);
    submit("n", "a", 100);
    submit_batch(&(struct batch_spec){.user_id = "a", .max_failures = -1, .max_failure_share = -1},
                 &(struct items){.model = "m", .count = 3, .priority = 50}, 1);
    submit("m", "b", 0);
    submit("n", NULL, -1);
    claim(64);
    assert_int_equal(claimed, 2);
    assert_string_equal(claims[0].user_id, "b");
    assert_string_equal(claims[1].model_id, "n");
    forget_claims();
}

// ---- what cannot run ----

// Rows in front, without texts: they must never be looked at.
static void fill(const char *lane_of, int count, const char *run_after) {
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO generation"
         " (id, status, lane, run_after, model_id, user_id, batch_seq, item_index, priority, created_at)"
         " SELECT lower(hex(randomblob(16))), 'queued', g.lane, %s, g.model_id, g.user_id, g.batch_seq,"
         " g.item_index+i, g.priority, 1 FROM n, (SELECT * FROM generation WHERE %s LIMIT 1) g",
         count, run_after, lane_of);
}

static int steps;
static int count_step(void *payload) {
    (void)payload;
    steps++;
    return 0;
}

// VM steps of a claim that gets `want`, with nothing more waiting.
static int steps_of_claim(size_t want) {
    int least = INT32_MAX;
    // The first one may mark lanes as empty.
    for (int i = 0; i < 2; i++) {
        int64_t seq[2] = {0, 0};
        for (size_t n = 0; n < want; n++)
            seq[n] = submit("m", "free", -900);
        steps = 0;
        sqlite3_progress_handler(db_handle(db), 1, count_step, NULL);
        slots[0].free = MOST;
        claim(8);
        sqlite3_progress_handler(db_handle(db), 0, NULL, NULL);
        assert_int_equal(claimed, want);
        for (size_t n = 0; n < want; n++)
            assert_int_equal(claims[n].seq, seq[n]);
        end_all();
        least = steps < least ? steps : least;
    }
    return least;
}

struct front {
    const char *name;
    const char *user;
    bool batch;
    const char *lane_of;
    const char *run_after;
    const char *block;
};

static const struct front fronts[] = {
    {"a parked model", NULL, false, "model_id='parked'", "NULL", "SELECT 1"},
    {"a locked account", "a", false, "user_id='a'", "NULL",
     "INSERT INTO locks VALUES ('account:a:1', 'a', 'x', 0, 9000000000000, NULL)"},
    {"delayed rows", NULL, false, "user_id='later'", "9000000000000",
     "UPDATE generation SET run_after=9000000000000 WHERE user_id='later'"},
    {"a paused batch", NULL, true, "batch_seq=1", "NULL", "UPDATE batch_jobs SET status='paused'"},
    {"a cancelled batch", NULL, true, "batch_seq=1", "NULL", "UPDATE batch_jobs SET status='cancelled'"},
    {"a batch at its limit", NULL, true, "batch_seq=1", "NULL", "UPDATE batch_job SET at_limit=1"},
    {"a stopped batch", NULL, true, "batch_seq=1", "NULL", "UPDATE batch_job SET stop_reason='no'"},
    {"a batch not opened", NULL, true, "batch_seq=1", "NULL", "UPDATE batch_job SET opened_at=NULL"},
};

static void test_what_cannot_run_costs_nothing(void **state) {
    for (size_t i = 0; i < sizeof fronts / sizeof *fronts; i++) {
        const struct front *f = &fronts[i];
        int cost[2];
        // The ground is opened by cmocka once; here it is wanted anew for each case.
        assert_int_equal(ground_close(state), 0);
        assert_int_equal(set_up(state), 0);
        scope.account_concurrency = 1;
        if (f->batch)
            submit_batch(&(struct batch_spec){.max_failures = -1, .max_failure_share = -1},
                         &(struct items){.model = "m", .count = 1, .priority = 900}, 1);
        else
            submit(strstr(f->lane_of, "parked") ? "parked" : "m",
                   strstr(f->lane_of, "later") ? "later" : f->user, 900);
        type("%s", f->block);
        for (int round = 0; round < 2; round++) {
            fill(f->lane_of, round ? 19000 : 999, f->run_after);
            cost[round] = steps_of_claim(1);
        }
        print_message("# %s: %d steps with 1,000 in front, %d with 20,000\n", f->name, cost[0], cost[1]);
        assert_true(cost[1] <= cost[0] + cost[0] / 10 + 50);
        assert_true(cost[0] < 4000);
    }
}

// Many accounts that are locked are walked past once, by lane.
static void test_many_locked_accounts(void **state) {
    (void)state;
    scope.account_concurrency = 1;
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) INSERT INTO lane"
         " (model_id, user_id, batch_seq, priority) SELECT 'm', 'u'||i, 0, 900 FROM n");
    type(
        "INSERT INTO locks SELECT 'account:'||user_id||':1', user_id, 'x', 0, 9000000000000, NULL FROM lane");
    assert_int_equal(steps_of_claim(1) < 1000 * 200, 1);
}

// Lanes that are marked as ready and hold nothing are asked once, and not all in one transaction.
static void test_stale_lanes(void **state) {
    (void)state;
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1500) INSERT INTO lane"
         " (model_id, user_id, batch_seq, priority) SELECT 'm', 'u'||i, 0, 900 FROM n");
    int64_t seq = submit("m", "free", 0);
    claim(4);
    assert_int_equal(claimed, 0);
    assert_true(turn.unfinished);
    claim(4);
    assert_int_equal(claimed, 1);
    assert_int_equal(claims[0].seq, seq);
    assert_false(turn.unfinished);
    assert_int_equal(number("SELECT count(*) FROM lane WHERE ready=1"), 0);
    forget_claims();
}

static void test_resuming_a_batch(void **state) {
    (void)state;
    int64_t batch = batch_of("m", 3);
    OK(queue_batch_pause(db, batch, "later", &error));
    claim(8);
    assert_int_equal(claimed, 0);
    // The pause is one row for each lane: no item was written.
    assert_int_equal(number("SELECT blocked FROM lane WHERE batch_seq=%lld", (long long)batch), 1);
    OK(queue_batch_resume(db, batch, &error));
    claim(8);
    assert_int_equal(claimed, 3);
    end_all();
    assert_string_equal(text("SELECT status FROM batch_job"), "completed");
}

static void test_due_rows(void **state) {
    (void)state;
    int64_t next, promoted;
    int64_t late =
        submit_spec(&(struct spec){.prompt = "p", .model_id = "m", .run_after_at = scope.now_at + 2000});
    int64_t soon =
        submit_spec(&(struct spec){.prompt = "p", .model_id = "m", .run_after_at = scope.now_at + 1000});
    claim(8);
    assert_int_equal(claimed, 0);
    struct {
        int64_t at, next, promoted;
    } cases[] = {{scope.now_at + 999, scope.now_at + 1000, 0},
                 {scope.now_at + 1000, scope.now_at + 2000, 1},
                 {scope.now_at + 5000, 0, 1},
                 {scope.now_at + 5000, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        OK(db_begin(db, 1000, &error));
        OK(queue_promote_due(db, cases[i].at, &next, &promoted, &error));
        OK(db_commit(db, &error));
        assert_int_equal(next, cases[i].next);
        assert_int_equal(promoted, cases[i].promoted);
        claim(8);
        assert_int_equal(claimed, cases[i].promoted);
        if (claimed)
            assert_int_equal(claims[0].seq, i == 1 ? soon : late);
        end_all();
    }
}

static void test_shifted_delays(void **state) {
    (void)state;
    int64_t seq = submit_spec(&(struct spec){.prompt = "p", .model_id = "m", .run_after_at = 5000});
    int64_t moves[][2] = {{1000, 6000}, {-2500, 3500}, {-9000000, 1}};
    for (size_t i = 0; i < 3; i++) {
        OK(queue_shift_delays(db, moves[i][0], &error));
        assert_int_equal(number("SELECT run_after FROM generation WHERE seq=%lld", (long long)seq),
                         moves[i][1]);
    }
}

static void test_names_of_models(void **state) {
    (void)state;
    char **names;
    size_t count;
    OK(queue_lane_models(db, &names, &count, &error));
    assert_int_equal(count, 0);
    free(names);
    submit("n", NULL, 0);
    submit("m", "u", 0);
    submit("m", NULL, 5);
    OK(queue_lane_models(db, &names, &count, &error));
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "m");
    assert_string_equal(names[1], "n");
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    char *model;
    OK(queue_model_of(db, number("SELECT max(seq) FROM generation"), &model, &error));
    assert_string_equal(model, "m");
    free(model);
    OK(queue_model_of(db, 999, &model, &error));
    assert_null(model);
    assert_true(queue_model_waits(db, "m"));
    assert_false(queue_model_waits(db, "x"));
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, ground_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_nothing),
        T(test_values),
        T(test_priorities),
        T(test_priority_changed_by_hand),
        T(test_singles_first),
        T(test_two_batches_share),
        T(test_a_batch_on_two_models),
        T(test_a_batch_with_an_empty_lane),
        T(test_singles_and_batches_share),
        T(test_no_credit_without_rivals),
        T(test_models_in_turn),
        T(test_users_in_turn),
        T(test_order_within_a_lane),
        T(test_a_models_slots),
        T(test_a_batchs_concurrency),
        T(test_only_one_batch),
        T(test_only_one_generation),
        T(test_account_locks),
        T(test_several_locks_an_account),
        T(test_account_names),
        T(test_a_name_within_a_name),
        T(test_an_expired_lock),
        T(test_a_locked_account_holds_up_nobody),
        T(test_what_cannot_run_costs_nothing),
        T(test_many_locked_accounts),
        T(test_stale_lanes),
        T(test_resuming_a_batch),
        T(test_due_rows),
        T(test_shifted_delays),
        T(test_names_of_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
