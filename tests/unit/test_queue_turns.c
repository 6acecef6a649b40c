// SPDX-License-Identifier: MIT
// Whose turn it is: what the queue remembers of open lanes must choose as if every model were asked each time. Random
// queues, the same in each run, changed through this connection and another one, with claims that are rolled back;
// each claim is compared with the plain law, in its order.
#include "plain_turns.h"

#define MODELS 14
#define MOST 64
#define STEPS 260
#define HISTORIES 6

static uint64_t seed;

// xorshift64* (Marsaglia 2003, Vigna 2016): the history must not depend on the C library.
static uint32_t draw(uint32_t below) {
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * 2685821657736338717u) >> 33) % below;
}

static char names[MODELS][4];
static struct plain_model plain_models[MODELS];
static struct plain plain;
static struct runner_identity me;
static struct db *other;
static struct claim_turn turn;
static struct ready *ready;
static int64_t last_single[MODELS], version, now_at;
static struct claim live[MOST];
static size_t live_count, compared;
static int account_concurrency;

// ---- what changes, through either connection ----

static struct db *either(void) {
    return draw(2) ? db : other;
}

// What is refused here (an illegal transition) is as good as done.
static void __attribute__((format(printf, 1, 2))) change(const char *format, ...) {
    char sql[512];
    struct db *on = either();
    va_list values;
    va_start(values, format);
    vsnprintf(sql, sizeof sql, format, values);
    va_end(values);
    sqlite3_exec(db_handle(on), sql, NULL, NULL, NULL);
    int code = sqlite3_errcode(db_handle(on)) & 0xff;
    if (code != SQLITE_OK && code != SQLITE_CONSTRAINT)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db_handle(on)));
}

static void do_submit(void) {
    static const char *const users[] = {NULL, "u", "v", "w"};
    struct db *kept = db;
    db = either();
    for (uint32_t i = 1 + draw(4); i > 0; i--)
        submit_spec(&(struct spec){.prompt = "p",
                                   .model_id = names[draw(MODELS)],
                                   .user_id = users[draw(4)],
                                   .priority = draw(4) ? 0 : (int)draw(3) - 1,
                                   .run_after_at = draw(6) ? 0 : now_at + draw(40)});
    db = kept;
}

static void do_submit_batch(void) {
    struct db *kept = db;
    db = either();
    const struct items items[] = {{.model = names[draw(MODELS)], .count = 1 + (int)draw(12)},
                                  {.model = names[draw(MODELS)], .count = (int)draw(6)},
                                  {.model = names[draw(MODELS)], .count = (int)draw(3), .priority = 1}};
    submit_batch(&(struct batch_spec){.user_id = draw(2) ? NULL : "u",
                                      .concurrency = draw(3) ? 0 : 1 + (int)draw(3),
                                      .max_failures = -1,
                                      .max_failure_share = -1,
                                      .paused = draw(6) == 0},
                 items, 3);
    db = kept;
}

static void do_type(void) {
    long long row = 1 + (long long)draw(1 + (uint32_t)number("SELECT coalesce(max(seq),0) FROM generation"));
    long long batch = 1 + (long long)draw(1 + (uint32_t)number("SELECT coalesce(max(seq),0) FROM batch_job"));
    switch (draw(7)) {
    case 0:
        change("UPDATE generations SET priority=%d WHERE seq=%lld", (int)draw(3) - 1, row);
        return;
    case 1:
        change("UPDATE generations SET status='cancelled' WHERE seq BETWEEN %lld AND %lld", row, row + 5);
        return;
    case 2:
        change("UPDATE generations SET status='queued' WHERE seq=%lld", row);
        return;
    case 3:
        change("UPDATE batch_jobs SET status='paused' WHERE seq=%lld", batch);
        return;
    case 4:
    case 5:
        change("UPDATE batch_jobs SET status='processing' WHERE seq=%lld", batch);
        return;
    default:
        change("DELETE FROM batch_jobs WHERE seq=%lld", batch);
    }
}

// A change that does not last.
static void do_undo(void) {
    OK(db_begin(db, 1000, &error));
    type("UPDATE lane SET ready=1-ready WHERE id%%%d=0", 2 + (int)draw(5));
    db_rollback(db);
}

// More lanes at once than are remembered one by one.
static void do_all(void) {
    type("UPDATE lane SET ready=1");
    type_on(other,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT OR IGNORE INTO "
            "lane (model_id, user_id, batch_seq, priority) SELECT '%s', 'x'||i, 0, 0 FROM n",
            (int)draw(40), names[draw(MODELS)]);
}

static void do_end(void) {
    for (uint32_t n = draw(6); n > 0 && live_count > 0; n--) {
        size_t i = draw((uint32_t)live_count);
        bool landed, again = draw(3) == 0;
        const struct settlement s = {.seq = live[i].seq,
                                     .token = live[i].token,
                                     .status = again ? "queued" : "completed",
                                     .now_at = now_at,
                                     .run_after_at = again && draw(2) ? now_at + draw(30) : 0,
                                     .input_tokens = -1,
                                     .output_tokens = -1};
        OK(db_begin(db, 1000, &error));
        OK(queue_settle(db, &s, &landed, &error));
        if (live[i].user_id)
            OK(queue_release_lock(db, live[i].user_id, live[i].id, &error));
        OK(db_commit(db, &error));
        claim_clear(&live[i]);
        live[i] = live[--live_count];
    }
}

// ---- the claim, twice ----

static size_t index_of(const char *name) {
    size_t i = 0;
    while (strcmp(names[i], name) != 0)
        i++;
    return i;
}

static void look(struct claim_slot **slots, size_t *count) {
    int64_t seen = db_data_version(db);
    if (seen != version)
        ready_forget(ready);
    version = seen;
    OK(ready_look(ready, &turn, slots, count, &error));
    for (size_t i = 0; i < *count; i++) {
        struct claim_slot *slot = &(*slots)[i];
        size_t model = index_of(slot->model_id);
        slot->free = plain.models[model].free;
        if (!slot->payload)
            slot->last_single = last_single[model];
        slot->payload = &last_single[model];
    }
}

static void compare(const int64_t *seqs, size_t count, size_t before) {
    for (size_t i = 0; i < count || before + i < live_count; i++) {
        int64_t wanted = i < count ? seqs[i] : 0, got = before + i < live_count ? live[before + i].seq : 0;
        if (wanted != got)
            fail_msg("claim %zu of %zu is of %lld (model %s), and by the plain law of %lld (model %s)", i,
                     count, (long long)got, got ? live[before + i].model_id : "-", (long long)wanted,
                     text("SELECT model_id FROM generation WHERE seq=%lld", (long long)wanted));
    }
    compared += count;
}

static void do_claim(void) {
    int64_t seqs[MOST], next, promoted;
    struct claim_slot *slots;
    size_t count, before = live_count;
    int room = (int)draw(30);
    if ((size_t)room > MOST - live_count)
        room = (int)(MOST - live_count);
    OK(db_begin(db, 1000, &error));
    OK(queue_promote_due(db, now_at, &next, &promoted, &error));
    OK(db_commit(db, &error));
    for (size_t i = 0; i < MODELS; i++)
        plain.models[i].free = draw(3) ? 1 + (int)draw(10) : 0;
    int frees[MODELS];
    for (size_t i = 0; i < MODELS; i++)
        frees[i] = plain.models[i].free;
    struct plain kept = plain;
    struct plain_model kept_models[MODELS];
    memcpy(kept_models, plain_models, sizeof kept_models);
    plain.scope.now_at = now_at;
    OK(db_begin(other, 1000, &error));
    size_t expected = plain_claim(&plain, room, seqs);
    db_rollback(other);
    OK(db_begin(db, 1000, &error));
    for (size_t i = 0; i < MODELS; i++)
        plain_models[i].free = frees[i];
    struct claim_turn old = turn;
    look(&slots, &count);
    OK(queue_claim(db, &plain.scope, &turn, slots, count, room, live, &live_count, &error));
    compare(seqs, expected, before);
    if (draw(8) == 0) {
        db_rollback(db);
        ready_forget(ready);
        turn = old;
        for (size_t i = 0; i < count; i++)
            slots[i].last_single = *(int64_t *)slots[i].payload;
        while (live_count > before)
            claim_clear(&live[--live_count]);
        plain = kept;
        memcpy(plain_models, kept_models, sizeof kept_models);
        return;
    }
    OK(db_commit(db, &error));
    ready_keep_turn(ready, &turn);
    for (size_t i = 0; i < count; i++)
        *(int64_t *)slots[i].payload = slots[i].last_single;
}

static void begin(void) {
    int64_t recovered, failed;
    now_at = clock_wall_at();
    other = open_another();
    OK(db_begin(db, 1000, &error));
    OK(start_runner(&me, 3, 3, now_at, &recovered, &failed));
    OK(db_commit(db, &error));
    memset(&turn, 0, sizeof turn);
    memset(last_single, 0, sizeof last_single);
    for (size_t i = 0; i < MODELS; i++) {
        snprintf(names[i], sizeof names[i], "m%02zu", i);
        plain_models[i] = (struct plain_model){.name = names[i]};
    }
    plain = (struct plain){.on = other,
                           .scope = {.runner_seq = me.seq,
                                     .now_at = now_at,
                                     .owner = me.id,
                                     .lock_ms = 60000,
                                     .account_concurrency = account_concurrency},
                           .models = plain_models,
                           .count = MODELS,
                           .single_model = MODELS - 1,
                           .batch_model = MODELS - 1};
    ready = ready_new(db);
    version = db_data_version(db);
}

static void end(void) {
    while (live_count > 0)
        claim_clear(&live[--live_count]);
    ready_free(ready);
    db_close(other);
}

static void test_as_the_plain_law(void **state) {
    static const struct {
        void (*act)(void);
        uint32_t weight;
    } acts[] = {{do_claim, 40}, {do_end, 25}, {do_submit, 12}, {do_submit_batch, 6},
                {do_type, 12},  {do_undo, 3}, {do_all, 2}};
    for (uint64_t history = 1; history <= HISTORIES; history++) {
        assert_int_equal(ground_close(state), 0);
        assert_int_equal(ground_open(state), 0);
        seed = history * 0x9E3779B97F4A7C15u;
        account_concurrency = history % 3 == 1 ? 0 : history % 3 == 2 ? 1 : 2;
        compared = 0;
        begin();
        if (history == HISTORIES)
            do_submit_batch();
        plain.scope.only_batch = history == HISTORIES;
        for (int step = 0; step < STEPS; step++) {
            uint32_t at = draw(100);
            size_t i = 0;
            for (; at >= acts[i].weight; i++)
                at -= acts[i].weight;
            acts[i].act();
            now_at += draw(5);
        }
        print_message("# history %d: %zu claims compared, of %d generations\n", (int)history, compared,
                      (int)number("SELECT count(*) FROM generation"));
        end();
        // Of one batch job there may be few.
        assert_true(compared > (plain.scope.only_batch ? 0 : 100));
    }
}

// ---- what is not asked ----

static int steps;
static int count_step(void *payload) {
    (void)payload;
    steps++;
    return 0;
}

// VM steps of one claim of one, in the steady course of things: the lane holds more.
static int steps_of_claim(void) {
    struct claim_slot *slots;
    size_t count, before = live_count;
    int least = INT32_MAX;
    for (int i = 0; i < 3; i++) {
        steps = 0;
        sqlite3_progress_handler(db_handle(db), 1, count_step, NULL);
        OK(db_begin(db, 1000, &error));
        look(&slots, &count);
        OK(queue_claim(db, &plain.scope, &turn, slots, count, 1, live, &live_count, &error));
        OK(db_commit(db, &error));
        ready_keep_turn(ready, &turn);
        sqlite3_progress_handler(db_handle(db), 0, NULL, NULL);
        assert_int_equal(live_count, before + 1);
        claim_clear(&live[--live_count]);
        least = steps < least ? steps : least;
    }
    return least;
}

static void fill(int models, bool ready_ones, int each) {
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO lane"
         " (model_id, user_id, batch_seq, priority, ready) SELECT 'm0'||(i%%%d), 'u'||i, 0, 0, %d FROM n",
         models, MODELS - 4, ready_ones);
    type("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO lane"
         " (model_id, user_id, batch_seq, priority, ready) SELECT 'idle'||i, '', 0, 0, 0 FROM n",
         models);
    for (int i = 0; i < each; i++)
        submit("m13", NULL, 0);
}

static void test_names_without_work_are_not_asked(void **state) {
    int cost[2];
    for (int large = 0; large < 2; large++) {
        assert_int_equal(ground_close(state), 0);
        assert_int_equal(ground_open(state), 0);
        account_concurrency = 0;
        begin();
        fill(large ? 5000 : 5, false, 20);
        for (size_t i = 0; i < MODELS; i++)
            plain_models[i].free = 1;
        cost[large] = steps_of_claim();
        end();
    }
    print_message("# a claim: %d steps beside 5 names, %d beside 5,000\n", cost[0], cost[1]);
    assert_int_equal(cost[0], cost[1]);
}

// Models that have work and may start nothing are asked nothing; those that may are not asked again.
static void test_names_with_work_are_not_asked_again(void **state) {
    int cost[2];
    for (int parked = 0; parked < 2; parked++) {
        assert_int_equal(ground_close(state), 0);
        assert_int_equal(ground_open(state), 0);
        account_concurrency = 0;
        begin();
        fill(100, false, 20);
        for (size_t i = 0; i < MODELS; i++) {
            for (int n = 0; n < 5; n++)
                submit(names[i], NULL, 0);
            plain_models[i].free = parked && i < MODELS - 1 ? 0 : 1;
        }
        cost[parked] = steps_of_claim();
        end();
    }
    print_message("# a claim: %d steps with all models open, %d with all but one parked\n", cost[0], cost[1]);
    assert_true(cost[0] <= cost[1] + cost[1] / 10);
}

// A model whose work was used up is in turn again where it was.
static void test_the_turn_is_of_names(void **state) {
    (void)state;
    struct claim_slot *slots;
    size_t count;
    static const char *const expected[] = {"m00", "m01", "m02", "m03", "m00", "m01", "m02"};
    account_concurrency = 0;
    begin();
    for (int i = 0; i < 4; i++)
        submit(names[i], NULL, 0);
    for (size_t i = 0; i < MODELS; i++)
        plain_models[i].free = 1;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        // They come back in the middle of the round.
        if (i == 2)
            submit("m01", NULL, 0);
        if (i == 4) {
            submit("m02", NULL, 0);
            submit("m00", NULL, 0);
        }
        live_count = 0;
        OK(db_begin(db, 1000, &error));
        look(&slots, &count);
        OK(queue_claim(db, &plain.scope, &turn, slots, count, 1, live, &live_count, &error));
        OK(db_commit(db, &error));
        ready_keep_turn(ready, &turn);
        assert_int_equal(live_count, 1);
        assert_string_equal(live[0].model_id, expected[i]);
        claim_clear(&live[0]);
    }
    live_count = 0;
    end();
}

#define T(test) cmocka_unit_test_setup_teardown(test, ground_open, ground_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_as_the_plain_law),
        T(test_names_without_work_are_not_asked),
        T(test_names_with_work_are_not_asked_again),
        T(test_the_turn_is_of_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
