// SPDX-License-Identifier: MIT
// Runners come and go: what a dead one left is taken back by identity, starts are counted, what was in flight in
// two crashes runs alone, and only what crashed alone too often is given up.
#include "queue_ground.h"

#define MAX_CRASHES 3
#define MAX_ATTEMPTS 3

static struct runner_identity me;
static int64_t recovered, failed, now_at;

// A new runner; the one before it is dead, since it holds the owner's lock no more.
static void begin_runner(void) {
    OK(db_begin(db, 1000, &error));
    OK(start_runner(&me, MAX_CRASHES, MAX_ATTEMPTS, ++now_at, &recovered, &failed));
    OK(db_commit(db, &error));
    check_counts();
    // Whatever is processing is so under the present runner, and that has just begun.
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='processing'"), 0);
}

static int set_up(void **state) {
    now_at = 1000000;
    if (ground_open(state))
        return -1;
    begin_runner();
    return 0;
}

static void start(int64_t seq) {
    const struct claim_scope scope = {.runner_seq = me.seq, .now_at = now_at, .owner = me.id};
    struct claim claim;
    size_t count = 0;
    OK(db_begin(db, 1000, &error));
    OK(queue_claim_one(db, &scope, seq, &claim, &count, &error));
    OK(db_commit(db, &error));
    assert_int_equal(count, 1);
    claim_clear(&claim);
}

enum end { CRASH, HANG, REBOOT, STOP };

// The present runner ends in this way, and the next one takes over.
static void end_runner(enum end end) {
    if (end == HANG)
        OK(queue_runner_mark_hung(db, me.seq, &error));
    if (end == REBOOT)
        type("UPDATE runners SET boot_id='earlier' WHERE seq=%lld", (long long)me.seq);
    if (end == STOP)
        OK(queue_runner_stop(db, &me, "stopped", now_at, &error));
    begin_runner();
}

static const char *row(int64_t seq) {
    return text(
        "SELECT status||' starts '||starts||' attempts '||attempts||' crashes '||crashes||'+'||crashes_alone"
        "||CASE WHEN suspect THEN ' suspect' ELSE '' END FROM generation WHERE seq=%lld",
        (long long)seq);
}

static void test_the_first(void **state) {
    (void)state;
    assert_int_equal(recovered, 0);
    assert_int_equal(failed, 0);
    assert_true(id_is_valid(me.id));
    assert_int_equal(number("SELECT pid FROM runners WHERE id='%s' AND stopped_at IS NULL", me.id), getpid());
    assert_string_equal(text("SELECT group_concat(event) FROM event"), "runner.started");
}

static void test_a_clean_stop(void **state) {
    (void)state;
    int64_t first = me.seq;
    OK(queue_runner_stop(db, &me, "drained", 5, &error));
    OK(queue_runner_stop(db, &me, "again", 6, &error));
    assert_string_equal(text("SELECT stopped_at||end_reason FROM runners"), "5drained");
    begin_runner();
    assert_true(me.seq > first);
    assert_string_equal(text("SELECT end_reason FROM runners WHERE seq=%lld", (long long)first), "drained");
}

static void test_ends_of_runners(void **state) {
    (void)state;
    static const char *const reasons[] = {"crashed", "hung", "rebooted", "stopped"};
    for (int end = CRASH; end <= STOP; end++) {
        int64_t was = me.seq;
        end_runner((enum end)end);
        assert_string_equal(
            text("SELECT end_reason FROM runners WHERE seq=%lld AND stopped_at IS NOT NULL", (long long)was),
            reasons[end]);
        assert_int_equal(number("SELECT count(*) FROM runners WHERE stopped_at IS NULL"), 1);
    }
    // A mark that comes too late changes nothing.
    OK(queue_runner_mark_hung(db, me.seq - 1, &error));
    assert_string_equal(text("SELECT end_reason FROM runners WHERE seq=%lld", (long long)me.seq - 1),
                        "stopped");
}

struct step {
    enum end end;
    int beside; // others in flight
    const char *row;
};
struct story {
    const char *name;
    struct step steps[8];
    size_t count;
};

static const struct story stories[] = {
    {"crashes beside others condemn nobody",
     {{CRASH, 5, "queued starts 1 attempts 0 crashes 1+0"},
      {CRASH, 5, "queued starts 2 attempts 0 crashes 2+0 suspect"},
      {CRASH, 5, "queued starts 3 attempts 0 crashes 3+0 suspect"},
      {CRASH, 5, "queued starts 4 attempts 0 crashes 4+0 suspect"},
      {CRASH, 5, "queued starts 5 attempts 0 crashes 5+0 suspect"}},
     5},
    {"alone it is given up after max_crashes",
     {{CRASH, 0, "queued starts 1 attempts 0 crashes 0+1"},
      {CRASH, 0, "queued starts 2 attempts 0 crashes 0+2 suspect"},
      {CRASH, 0, "failed starts 3 attempts 1 crashes 0+3 suspect"}},
     3},
    {"crashes beside others do not count towards that",
     {{CRASH, 1, "queued starts 1 attempts 0 crashes 1+0"},
      {CRASH, 0, "queued starts 2 attempts 0 crashes 1+1 suspect"},
      {CRASH, 1, "queued starts 3 attempts 0 crashes 2+1 suspect"},
      {CRASH, 0, "queued starts 4 attempts 0 crashes 2+2 suspect"},
      {CRASH, 0, "failed starts 5 attempts 1 crashes 2+3 suspect"}},
     5},
    {"a machine that went down counts for nobody",
     {{REBOOT, 0, "queued starts 1 attempts 0 crashes 0+0"},
      {REBOOT, 0, "queued starts 2 attempts 0 crashes 0+0"},
      {REBOOT, 3, "queued starts 3 attempts 0 crashes 0+0"},
      {REBOOT, 0, "queued starts 4 attempts 0 crashes 0+0"}},
     4},
    {"a runner that hung spends attempts, of which there are max_attempts",
     {{HANG, 0, "queued starts 1 attempts 1 crashes 0+0"},
      {HANG, 4, "queued starts 2 attempts 2 crashes 1+0"},
      {HANG, 0, "failed starts 3 attempts 3 crashes 1+0"}},
     3},
    {"hangs beside others condemn nobody: the last attempt is spent alone",
     {{HANG, 4, "queued starts 1 attempts 1 crashes 1+0"},
      {HANG, 4, "queued starts 2 attempts 2 crashes 2+0 suspect"},
      {HANG, 4, "queued starts 3 attempts 2 crashes 3+0 suspect"},
      {HANG, 0, "failed starts 4 attempts 3 crashes 3+0 suspect"}},
     4},
    {"a stop that could not write the end counts for nobody",
     {{STOP, 0, "queued starts 1 attempts 0 crashes 0+0"},
      {STOP, 1, "queued starts 2 attempts 0 crashes 0+0"}},
     2},
    {"all in turn",
     {{CRASH, 0, "queued starts 1 attempts 0 crashes 0+1"},
      {HANG, 0, "queued starts 2 attempts 1 crashes 0+1"},
      {REBOOT, 0, "queued starts 3 attempts 1 crashes 0+1"},
      {CRASH, 2, "queued starts 4 attempts 1 crashes 1+1 suspect"},
      {HANG, 0, "queued starts 5 attempts 2 crashes 1+1 suspect"},
      {CRASH, 0, "queued starts 6 attempts 2 crashes 1+2 suspect"},
      {HANG, 0, "failed starts 7 attempts 3 crashes 1+2 suspect"}},
     7},
};

// Somebody finds that the runner is gone before the next one comes: what it held is stuck from then on, and the next
// one judges as if nobody had looked.
static void test_noted_as_gone(void **state) {
    (void)state;
    now_at = clock_wall_at(); // a heartbeat that is fresh
    int64_t seq = submit("m", NULL, 0);
    start(seq);
    assert_int_equal(number("SELECT count(*) FROM stuck_generations"), 0);
    for (int i = 0; i < 2; i++) {
        int64_t changes = db_total_changes(db);
        OK(queue_runner_note_gone(db, 100, &error));
        assert_int_equal(db_total_changes(db) - changes, i ? 0 : 1); // once
        assert_string_equal(text("SELECT why FROM stuck_generations"), "its runner is gone");
    }
    assert_string_equal(text("SELECT end_reason||(stopped_at IS NULL) FROM runners"), "crashed1");
    // Its children are still to be looked for.
    char(*ids)[ID_SIZE] = NULL;
    size_t count;
    OK(queue_change(db, CHANGE_RECOVER, seq, NULL, &error));
    OK(queue_runner_dead(db, &ids, &count, &error));
    assert_int_equal(count, 1);
    free(ids);
    begin_runner();
    assert_int_equal(recovered, 0);
    assert_string_equal(row(seq), "queued starts 1 attempts 0 crashes 0+0");
    // It hung, and said so after somebody had looked; and: of another boot.
    start(seq);
    OK(queue_runner_note_gone(db, 100, &error));
    end_runner(HANG);
    assert_string_equal(row(seq), "queued starts 2 attempts 1 crashes 0+0");
    type("UPDATE runners SET boot_id='earlier' WHERE seq=%lld", (long long)me.seq);
    OK(queue_runner_note_gone(db, 100, &error));
    assert_string_equal(text("SELECT end_reason FROM runners WHERE seq=%lld", (long long)me.seq), "rebooted");
    // Nobody waits for a writer here.
    begin_runner();
    struct db *other = open_another();
    OK(db_begin(other, 100, &error));
    assert_int_equal(queue_runner_note_gone(db, 1, &error), ERR_DATABASE);
    assert_true(sqlite3_get_autocommit(db_handle(db)));
    db_rollback(other);
    db_close(other);
}

static void test_stories(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        int64_t seq = submit("m", NULL, 0);
        print_message("# %s\n", stories[i].name);
        for (size_t n = 0; n < stories[i].count; n++) {
            const struct step *step = &stories[i].steps[n];
            start(seq);
            for (int other = 0; other < step->beside; other++)
                start(submit("m", NULL, 0));
            end_runner(step->end);
            assert_int_equal(recovered, 1 + step->beside);
            assert_string_equal(row(seq), step->row);
            assert_int_equal(failed, strncmp(step->row, "failed", 6) == 0);
            type("UPDATE generations SET status='cancelled' WHERE status='queued' AND seq<>%lld",
                 (long long)seq);
        }
    }
}

static void test_what_it_says(void **state) {
    (void)state;
    int64_t seq = submit("m", NULL, 0);
    start(seq);
    type("INSERT INTO generation_live VALUES (%lld, 1, 1, NULL, 'provider:wait', 0)", (long long)seq);
    end_runner(CRASH);
    assert_string_equal(text("SELECT level||message||data FROM event WHERE event='generation.recovered'"),
                        "warnits runner is gone (crashed): queued "
                        "again{\"type\":\"RunnerCrashError\",\"runnerEnd\":\"crashed\","
                        "\"inFlight\":1,\"crashes\":0,\"crashesAlone\":1}");
    assert_int_equal(number("SELECT count(*) FROM generation_live"), 0);
    assert_int_equal(number("SELECT run_after IS NULL AND claim_token IS NULL FROM generation"), 1);
    start(seq);
    end_runner(HANG);
    assert_string_equal(
        text("SELECT json_extract(data,'$.type') FROM event WHERE event='generation.recovered'"
             " ORDER BY id DESC LIMIT 1"),
        "HeartbeatTimeoutError");
    for (int i = 0; i < 2; i++) {
        start(seq);
        end_runner(CRASH);
    }
    assert_string_equal(
        text("SELECT error_type||': '||error_message FROM generations"),
        "RunnerCrashError: the runner died 3 times while this ran alone: quarantined; retry it by hand");
    assert_string_equal(
        text("SELECT json_extract(parameters,'$.errorContext.attempt')||json_extract(parameters,"
             "'$.errorContext.stack') FROM generations"),
        "4recovery of a dead runner, model m, attempt 4");
    assert_int_equal(number("SELECT sum(failed) FROM throughput"), 1);
    // A retry by hand gives it a clean sheet.
    OK(queue_change(db, CHANGE_RETRY, seq, NULL, &error));
    assert_string_equal(row(seq), "queued starts 4 attempts 0 crashes 0+0");
}

// What was in flight beside a suspect is not the suspect: two groups in two crashes share one member.
static void test_only_those_in_both(void **state) {
    (void)state;
    int64_t seq[5];
    for (int i = 0; i < 5; i++)
        seq[i] = submit("m", NULL, 0);
    for (int i = 0; i < 3; i++)
        start(seq[i]);
    end_runner(CRASH);
    for (int i = 2; i < 5; i++)
        start(seq[i]);
    end_runner(CRASH);
    for (int i = 0; i < 5; i++)
        assert_string_equal(row(seq[i]), i == 2 ? "queued starts 2 attempts 0 crashes 2+0 suspect"
                                                : "queued starts 1 attempts 0 crashes 1+0");
}

// Rows of runners that are long gone, or of none that is known.
static void test_older_leftovers(void **state) {
    (void)state;
    int64_t seq[3];
    for (int i = 0; i < 3; i++)
        start(seq[i] = submit("m", NULL, 0));
    type("UPDATE generation SET runner_seq=NULL WHERE seq=%lld", (long long)seq[0]);
    type("UPDATE generation SET runner_seq=777 WHERE seq=%lld", (long long)seq[1]);
    end_runner(CRASH);
    assert_int_equal(recovered, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(row(seq[i]), "queued starts 1 attempts 0 crashes 0+1");
}

// Somebody wrote into the reason of an end.
static void test_an_odd_reason(void **state) {
    (void)state;
    int64_t seq = submit("m", NULL, 0);
    start(seq);
    type("UPDATE runners SET end_reason='\"}, \\', stopped_at=1 WHERE seq=%lld", (long long)me.seq);
    begin_runner();
    assert_string_equal(row(seq), "queued starts 1 attempts 0 crashes 0+0");
}

// Whose processes may still run when a new runner has got the lock.
static void test_the_dead(void **state) {
    (void)state;
    static const struct {
        const char *name, *done;
        bool works, dead;
    } cases[] = {
        {"without a word", "UPDATE runners SET heartbeat_at=heartbeat_at", false, true},
        {"without a word, with work", "UPDATE runners SET heartbeat_at=heartbeat_at", true, true},
        {"hung", "UPDATE runners SET end_reason='hung'", false, true},
        {"stopped", "UPDATE runners SET stopped_at=1, end_reason='stopped'", false, false},
        {"stopped, with work that it could not give back", "UPDATE runners SET stopped_at=1", true, true},
        {"of another boot", "UPDATE runners SET boot_id='earlier'", true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char(*ids)[ID_SIZE] = NULL;
        size_t count = 0;
        print_message("# %s\n", cases[i].name);
        if (cases[i].works)
            start(submit("m", NULL, 0));
        type("%s WHERE seq=%lld", cases[i].done, (long long)me.seq);
        OK(queue_runner_dead(db, &ids, &count, &error));
        assert_int_equal(count, cases[i].dead);
        if (count == 1)
            assert_string_equal(ids[0], me.id);
        free(ids);
        begin_runner();
    }
}

static void test_waiting_goes_on(void **state) {
    (void)state;
    int64_t seq = submit("m", NULL, 0);
    type("UPDATE generation SET waiting_since=4242");
    start(seq);
    end_runner(CRASH);
    assert_int_equal(number("SELECT waiting_since FROM generation"), 4242);
}

static void test_locks_of_accounts(void **state) {
    (void)state;
    type("INSERT INTO locks VALUES ('account:u:1','u','%s',1,9000000000000,NULL), ('account:v:1','v','a "
         "person',1,9000000000000,"
         "NULL), ('job:cleanup',NULL,'%s',1,9000000000000,NULL)",
         me.id, me.id);
    end_runner(CRASH);
    assert_string_equal(text("SELECT group_concat(name) FROM locks"), "account:v:1,job:cleanup");
}

static void test_items(void **state) {
    (void)state;
    int64_t batch =
        submit_batch(&(struct batch_spec){.max_failures = -1, .max_failure_share = -1, .stop_on_error = true},
                     &(struct items){.model = "m", .count = 3}, 1);
    int64_t first = number("SELECT min(seq) FROM generation");
    for (int i = 0; i < MAX_CRASHES; i++) {
        assert_string_equal(text("SELECT status FROM batch_job"), i ? "processing" : "queued");
        start(first);
        end_runner(CRASH);
    }
    // The quarantine of an item is a failure of its batch job.
    assert_int_equal(number("SELECT failed_items FROM batch_job JOIN batch_count ON batch_seq=seq WHERE "
                            "seq=%lld AND stop_reason IS NOT NULL",
                            (long long)batch),
                     1);
}

// ---- suspects ----

static int64_t next_suspect(int64_t only_batch) {
    const struct claim_scope scope = {
        .runner_seq = me.seq, .now_at = now_at, .only_batch = only_batch, .owner = me.id};
    int64_t seq;
    OK(queue_next_suspect(db, &scope, "m", &seq, &error));
    return seq;
}

static void test_suspects(void **state) {
    (void)state;
    struct claim_slot slot = {.model_id = "m", .free = 9};
    const struct claim_scope scope = {.runner_seq = me.seq, .now_at = now_at, .owner = me.id};
    struct claim_turn turn = {0};
    struct claim claims[9];
    size_t count = 0;
    int64_t worse = submit("m", NULL, 9), better = submit("m", NULL, 0), other = submit("n", NULL, 0);
    int64_t batch = batch_of("m", 1);
    int64_t item = number("SELECT max(seq) FROM generation");
    assert_int_equal(next_suspect(0), 0);
    type("UPDATE generation SET suspect=1, crashes=2, crashes_alone=seq=%lld", (long long)worse);
    // A normal claim never takes one.
    OK(db_begin(db, 1000, &error));
    OK(queue_claim(db, &scope, &turn, &slot, 1, 9, claims, &count, &error));
    OK(db_commit(db, &error));
    assert_int_equal(count, 0);
    // The one that crashed alone least often is first.
    assert_int_equal(next_suspect(0), better);
    assert_int_equal(next_suspect(batch), item);
    start(better);
    assert_int_equal(next_suspect(0), item);
    // A batch job that is paused, cancelled or stopped keeps its suspects; one at its own limit does not.
    OK(queue_batch_pause(db, batch, "x", &error));
    assert_int_equal(next_suspect(0), worse);
    OK(queue_batch_resume(db, batch, &error));
    type("UPDATE batch_job SET at_limit=1");
    assert_int_equal(next_suspect(0), item);
    type("UPDATE batch_jobs SET status='cancelled'");
    assert_int_equal(next_suspect(0), worse);
    type("UPDATE generation SET run_after=%lld WHERE seq=%lld", (long long)now_at + 1, (long long)worse);
    assert_int_equal(next_suspect(0), 0);
    now_at++;
    assert_int_equal(next_suspect(0), worse);
    assert_string_equal(row(other), "queued starts 0 attempts 0 crashes 2+0 suspect");
    // Their lanes are found empty; a drain must know of them all the same.
    type("UPDATE lane SET ready=0");
    assert_true(queue_model_waits(db, "m"));
    assert_true(queue_model_waits(db, "n"));
    type("UPDATE generations SET status='cancelled' WHERE id=(SELECT id FROM generation WHERE seq=%lld)",
         (long long)other);
    assert_false(queue_model_waits(db, "n"));
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, ground_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_the_first),     T(test_a_clean_stop),    T(test_ends_of_runners),    T(test_stories),
        T(test_noted_as_gone), T(test_what_it_says),    T(test_only_those_in_both), T(test_older_leftovers),
        T(test_an_odd_reason), T(test_waiting_goes_on), T(test_locks_of_accounts),  T(test_items),
        T(test_suspects),      T(test_the_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
