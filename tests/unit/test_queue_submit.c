// SPDX-License-Identifier: MIT
// Accepting work: single generations with their keys, batch jobs filled in slices and opened last, and what an
// interrupted writer leaves. And finding what was accepted by its id or the end of it.
#include "queue_ground.h"

#include "base/process.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const struct batch_spec plain = {.max_failures = -1, .max_failure_share = -1};

// ---- single generations ----

static void test_a_row(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool created = false;
    const struct spec spec = {.prompt = "hello",
                              .model_id = "m",
                              .parameters = "{ \"b\":1.00,\"a\":12345678901234567890 }",
                              .endpoint = "/v1/x",
                              .user_id = "u",
                              .session_id = "s",
                              .client_id = "k",
                              .custom_id = "c",
                              .topic = "t",
                              .tier = "gold",
                              .type = "chat",
                              .template_id = "tt",
                              .priority = -1000};
    OK(queue_submit(db, &spec, id, &created, &error));
    assert_true(created);
    assert_true(id_is_valid(id));
    assert_string_equal(
        text("SELECT status||prompt||model_id||endpoint||user_id||session_id||client_id||custom_id||topic"
             "||tier||type||template_id||priority FROM generations WHERE id='%s'",
             id),
        "queuedhellom/v1/xuskctgoldchattt-1000");
    // Byte for byte.
    assert_string_equal(text("SELECT parameters FROM generation_input"), spec.parameters);
    assert_string_equal(text("SELECT last_step FROM generations"), "generate:create");
    assert_string_equal(text("SELECT group_concat(event) FROM logs WHERE generation_id='%s'", id),
                        "generation.queued");
    check_counts();
}

static void test_least(void **state) {
    (void)state;
    submit_spec(&(struct spec){.model_id = "m"});
    assert_string_equal(text("SELECT parameters FROM generations"), "{}");
    assert_int_equal(number("SELECT count(*) FROM generations WHERE user_id IS NULL AND client_id IS NULL"
                            " AND batch_job_id IS NULL AND item_index IS NULL AND custom_id IS NULL"),
                     1);
}

static void test_a_large_prompt(void **state) {
    (void)state;
    size_t length = 3 << 20;
    char *prompt = mem_alloc(length + 1, 1);
    memset(prompt, 'x', length);
    int64_t seq = submit_spec(&(struct spec){.prompt = prompt, .model_id = "m"});
    assert_int_equal(number("SELECT length(prompt) FROM generations WHERE seq=%lld", (long long)seq), length);
    free(prompt);
}

static void test_a_priority_out_of_range(void **state) {
    (void)state;
    static const int wrong[] = {-1001, 1001, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char id[ID_SIZE];
        bool created;
        assert_int_equal(queue_submit(db,
                                      &(struct spec){.prompt = "p", .model_id = "m", .priority = wrong[i]},
                                      id, &created, &error),
                         ERR_CONFLICT);
        assert_non_null(strstr(error.message, "a priority is between -1000 and 1000"));
    }
    // Nothing is left of them, and no transaction is open.
    assert_int_equal(number("SELECT count(*) FROM generation"), 0);
    assert_true(sqlite3_get_autocommit(db_handle(db)));
    check_counts();
}

struct key_case {
    const char *name;
    struct spec second;
    int result;
    bool created;
};

#define FIRST .prompt = "p", .model_id = "m", .parameters = "{\"a\":1}", .user_id = "u", .client_id = "k"

static const struct key_case keys[] = {
    {"the same", {FIRST}, 0, false},
    {"another priority or session is no other request",
     {FIRST, .priority = 5, .session_id = "s", .run_after_at = 1},
     0,
     false},
    {"another prompt",
     {.prompt = "q", .model_id = "m", .parameters = "{\"a\":1}", .user_id = "u", .client_id = "k"},
     5,
     false},
    {"no prompt", {.model_id = "m", .parameters = "{\"a\":1}", .user_id = "u", .client_id = "k"}, 5, false},
    {"another model",
     {.prompt = "p", .model_id = "n", .parameters = "{\"a\":1}", .user_id = "u", .client_id = "k"},
     5,
     false},
    {"other parameters", {.prompt = "p", .model_id = "m", .user_id = "u", .client_id = "k"}, 5, false},
    {"another endpoint", {FIRST, .endpoint = "/v1/x"}, 5, false},
    {"another user", {.prompt = "q", .model_id = "m", .user_id = "v", .client_id = "k"}, 0, true},
    {"no user", {.prompt = "q", .model_id = "m", .client_id = "k"}, 0, true},
    {"no user, again", {.prompt = "q", .model_id = "m", .client_id = "k"}, 0, false},
    {"no user, another prompt", {.prompt = "r", .model_id = "m", .client_id = "k"}, 5, false},
    {"another key", {.prompt = "q", .model_id = "m", .user_id = "u", .client_id = "K"}, 0, true},
    {"no key", {.prompt = "q", .model_id = "m", .user_id = "u"}, 0, true},
    {"no key, again", {.prompt = "q", .model_id = "m", .user_id = "u"}, 0, true},
};

static void test_keys(void **state) {
    (void)state;
    char first[ID_SIZE], id[ID_SIZE];
    bool created;
    OK(queue_submit(db, &(struct spec){FIRST}, first, &created, &error));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct key_case *k = &keys[i];
        print_message("# %s\n", k->name);
        int64_t before = number("SELECT count(*) FROM generation");
        created = !k->created;
        assert_int_equal(queue_submit(db, &k->second, id, &created, &error), k->result);
        assert_int_equal(created, k->created);
        assert_int_equal(number("SELECT count(*) FROM generation"), before + k->created);
        assert_true(sqlite3_get_autocommit(db_handle(db)));
        if (k->result) {
            // The message names the one that has the key.
            assert_non_null(strstr(error.message, "key k was used for generation "));
            assert_non_null(strstr(error.message, "use another key"));
        }
        if (k->result == 0 && k->second.user_id && k->second.user_id[0] == 'u' && !created)
            assert_string_equal(id, first);
    }
    check_counts();
}

// Also when the first one has ended, or its parameters came to hold an error.
static void test_a_key_of_one_that_ended(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool created;
    int64_t seq = submit_spec(&(struct spec){FIRST});
    type("UPDATE generations SET status='failed', error_message='no' WHERE seq=%lld", (long long)seq);
    OK(queue_submit(db, &(struct spec){FIRST}, id, &created, &error));
    assert_false(created);
    assert_string_equal(id, text("SELECT id FROM generation"));
}

static void test_a_busy_database(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool created;
    struct db *other = open_another();
    type_on(other, "BEGIN IMMEDIATE");
    // What waits at most: not the five seconds of a command.
    assert_int_equal(db_begin(db, 1, &error), ERR_DATABASE);
    assert_true(db_was_busy(db));
    type_on(other, "ROLLBACK");
    OK(queue_submit(db, &(struct spec){.prompt = "p", .model_id = "m"}, id, &created, &error));
    db_close(other);
}

// ---- batch jobs ----

static void test_a_batch(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    const struct batch_spec spec = {.name = "night",
                                    .user_id = "u",
                                    .client_id = "k",
                                    .model_id = "m",
                                    .priority = 4,
                                    .concurrency = 7,
                                    .stop_on_error = true,
                                    .max_failures = 3,
                                    .max_failure_share = -1,
                                    .max_cost = 1.5};
    OK(batch_writer_begin(&writer, db, &spec, id, &known, &error));
    assert_false(known);
    for (int i = 0; i < 3; i++) {
        char prompt[16];
        snprintf(prompt, sizeof prompt, "p%d", i);
        OK(batch_writer_add(
            writer,
            &(struct spec){
                .prompt = prompt, .model_id = i == 1 ? "n" : "m", .user_id = "u", .custom_id = prompt},
            &error));
        memset(prompt, '?', sizeof prompt - 1); // the text was the caller's
    }
    // Not to be seen before it is opened.
    assert_int_equal(number("SELECT count(*) FROM batch_jobs"), 0);
    assert_int_equal(number("SELECT count(*) FROM generations"), 0);
    assert_int_equal(number("SELECT queued FROM totals"), 0);
    OK(batch_writer_open(writer, "jsonl", &error));
    assert_string_equal(
        text(
            "SELECT name||status||user_id||client_id||model_id||priority||concurrency||on_error||max_failures"
            "||max_cost||format||total_items||queued_items FROM batch_jobs WHERE id='%s'",
            id),
        "nightqueuedukm47stop31.5jsonl33");
    assert_string_equal(text("SELECT group_concat(item_index||custom_id||prompt||model_id) FROM generations"),
                        "0p0p0m,1p1p1n,2p2p2m");
    assert_string_equal(text("SELECT group_concat(event) FROM logs"), "batch.created");
    assert_int_equal(number("SELECT count(*) FROM lane WHERE blocked=0 AND ready=1"), 2);
    check_counts();
    // The same key of the same user.
    char again[ID_SIZE];
    OK(batch_writer_begin(&writer, db, &spec, again, &known, &error));
    assert_true(known);
    assert_null(writer);
    assert_string_equal(again, id);
    // Of another user.
    struct batch_spec other = spec;
    other.user_id = NULL;
    OK(batch_writer_begin(&writer, db, &other, again, &known, &error));
    assert_false(known);
    batch_writer_abandon(writer);
}

static void test_a_paused_batch(void **state) {
    (void)state;
    struct batch_spec spec = plain;
    spec.paused = true;
    int64_t seq = submit_batch(&spec, &(struct items){.model = "m", .count = 2}, 1);
    assert_string_equal(text("SELECT status||paused_reason FROM batch_jobs WHERE seq=%lld", (long long)seq),
                        "pausedsubmitted as paused");
    assert_int_equal(number("SELECT blocked FROM lane"), 1);
}

static void test_a_share_of_failures(void **state) {
    (void)state;
    struct batch_spec spec = plain;
    spec.max_failure_share = 0.25;
    submit_batch(&spec, &(struct items){.model = "m", .count = 10}, 1);
    assert_int_equal(number("SELECT max_failures FROM batch_jobs"), 2);
}

// More than is held in memory at once: rows are written while more are added, all of them in order.
static void test_slices(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    char *prompt = mem_alloc(8001, 1);
    memset(prompt, 'x', 8000);
    OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
    for (int i = 0; i < 600; i++) {
        char place[16];
        snprintf(place, sizeof place, "%06d", i);
        memcpy(prompt, place, 6);
        OK(batch_writer_add(writer, &(struct spec){.prompt = prompt, .model_id = i % 3 ? "m" : "n"}, &error));
    }
    // Some slices are on disk, and nothing of them can be claimed or listed.
    assert_true(number("SELECT queued_items FROM batch_count WHERE batch_seq=1") > 100);
    assert_int_equal(number("SELECT count(*) FROM generation"),
                     number("SELECT queued_items FROM batch_count WHERE batch_seq=1"));
    assert_int_equal(number("SELECT count(*) FROM lane WHERE blocked<>8"), 0);
    assert_int_equal(number("SELECT count(*) FROM generations"), 0);
    OK(batch_writer_open(writer, "txt", &error));
    assert_int_equal(number("SELECT total_items FROM batch_jobs"), 600);
    assert_int_equal(
        number("SELECT count(*) FROM generation g JOIN generation_input i ON i.seq=g.seq"
               " WHERE CAST(substr(i.prompt,1,6) AS INTEGER)=g.item_index AND length(i.prompt)=8000"),
        600);
    check_counts();
    free(prompt);
}

// Another writer gets in between two slices.
static void test_others_get_in(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    struct db *other = open_another();
    char *prompt = mem_alloc(4001, 1);
    memset(prompt, 'x', 4000);
    OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
    for (int i = 0; i < 400; i++) {
        OK(batch_writer_add(writer, &(struct spec){.prompt = prompt, .model_id = "m"}, &error));
        assert_true(sqlite3_get_autocommit(db_handle(db)));
        type_on(other, "INSERT INTO profiles (id) VALUES ('%d')", i);
    }
    OK(batch_writer_open(writer, NULL, &error));
    assert_int_equal(number("SELECT count(*) FROM profiles"), 400);
    free(prompt);
    db_close(other);
}

static void check_nothing_left(void) {
    static const char *const tables[] = {"batch_job", "generation", "generation_input",
                                         "lane",      "event",      "generation_tombstone"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        assert_int_equal(number("SELECT count(*) FROM %s", tables[i]), 0);
    assert_int_equal(number("SELECT queued FROM totals"), 0);
}

static void test_an_empty_batch(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
    assert_int_equal(batch_writer_open(writer, "txt", &error), ERR_INVALID);
    assert_string_equal(error.message, "the batch job has no item: add at least one");
    check_nothing_left();
}

static void test_abandon(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    char *prompt = mem_alloc(4001, 1);
    memset(prompt, 'x', 4000);
    for (int rows = 0; rows <= 1400; rows += 700) {
        OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
        for (int i = 0; i < rows; i++)
            OK(batch_writer_add(writer, &(struct spec){.prompt = prompt, .model_id = "m"}, &error));
        batch_writer_abandon(writer);
        check_nothing_left();
    }
    batch_writer_abandon(NULL);
    free(prompt);
}

// An abandoned one goes at once though another batch job waits to be swept.
static void test_abandon_beside_a_sweep(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    batch_of("m", 3);
    type("UPDATE batch_jobs SET status='cancelled'");
    OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
    OK(batch_writer_add(writer, &(struct spec){.prompt = "p", .model_id = "m"}, &error));
    batch_writer_abandon(writer);
    assert_int_equal(number("SELECT count(*) FROM batch_job"), 1);
    // Those of the cancelled one still wait: a person may give them a reason.
    assert_int_equal(number("SELECT count(*) FROM generation WHERE status='queued'"), 3);
}

static void test_a_bad_row_in_a_batch(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
    for (int i = 0; i < 50; i++)
        OK(batch_writer_add(
            writer, &(struct spec){.prompt = "p", .model_id = "m", .priority = i == 40 ? 5000 : 0}, &error));
    assert_int_equal(batch_writer_open(writer, "txt", &error), ERR_CONFLICT);
    assert_non_null(strstr(error.message, "a priority is between -1000 and 1000"));
    check_nothing_left();
}

// ---- a writer that dies ----

// Fills a batch job in a process of its own that is killed before it opens it.
static void leave_unfinished(const char *client_id, int rows) {
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    // A connection is not used after a fork.
    db_close(db);
    pid_t child = fork();
    if (child == 0) {
        struct batch_writer *writer;
        struct batch_spec spec = plain;
        char id[ID_SIZE], *prompt = mem_alloc(4001, 1);
        bool known;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        spec.client_id = client_id;
        memset(prompt, 'x', 4000);
        if (db_open(&db, path, DB_EXISTING, &error) != 0 ||
            sqlite3_exec(db_handle(db), "PRAGMA synchronous=OFF", NULL, NULL, NULL) != SQLITE_OK ||
            batch_writer_begin(&writer, db, &spec, id, &known, &error) != 0)
            _exit(1);
        for (int i = 0; i < rows; i++)
            if (batch_writer_add(writer, &(struct spec){.prompt = prompt, .model_id = "m"}, &error) != 0)
                _exit(1);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    int status;
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    db = open_another();
    // As long as it lives it is left alone.
    bool more = true;
    OK(db_begin(db, 1000, &error));
    OK(queue_sweep(db, clock_wall_at(), 500, &more, &error));
    OK(db_commit(db, &error));
    assert_false(more);
    assert_int_equal(number("SELECT count(*) FROM batch_job WHERE opened_at IS NULL"), 1);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void test_a_killed_writer(void **state) {
    (void)state;
    leave_unfinished(NULL, 600);
    assert_true(number("SELECT count(*) FROM generation") > 200);
    assert_int_equal(number("SELECT count(*) FROM generations"), 0);
    int slices = 0;
    for (bool more = true; more; slices++) {
        OK(db_begin(db, 1000, &error));
        OK(queue_sweep(db, clock_wall_at(), 100, &more, &error));
        OK(db_commit(db, &error));
    }
    assert_true(slices > 3); // in slices
    check_nothing_left();
}

// Whoever submits it again with the same key need not wait for a runner.
static void test_a_killed_writers_key(void **state) {
    (void)state;
    leave_unfinished("k", 300);
    struct batch_spec spec = plain;
    spec.client_id = "k";
    submit_batch(&spec, &(struct items){.model = "m", .count = 2}, 1);
    assert_int_equal(number("SELECT count(*) FROM batch_job"), 1);
    assert_int_equal(number("SELECT count(*) FROM generation"), 2);
    check_counts();
}

static void test_a_living_writers_key(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *first, *second;
    struct batch_spec spec = plain;
    spec.client_id = "k";
    OK(batch_writer_begin(&first, db, &spec, id, &known, &error));
    assert_int_equal(batch_writer_begin(&second, db, &spec, id, &known, &error), ERR_CONFLICT);
    assert_non_null(strstr(error.message, "is being submitted just now"));
    assert_null(second);
    assert_true(sqlite3_get_autocommit(db_handle(db)));
    batch_writer_abandon(first);
}

// Taken for dead by another process: an error, never a batch job that is gone without a word.
static void test_a_writer_taken_for_dead(void **state) {
    (void)state;
    char id[ID_SIZE];
    bool known, more = true;
    struct batch_writer *writer;
    for (int rows = 0; rows < 2; rows++) {
        OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
        OK(batch_writer_add(writer, &(struct spec){.prompt = "p", .model_id = "m"}, &error));
        type("UPDATE batch_job SET writer='another boot:1:1:1'");
        for (more = true; more;) {
            OK(db_begin(db, 1000, &error));
            OK(queue_remove_unopened(db, clock_wall_at(), 500, &more, &error));
            OK(db_commit(db, &error));
        }
        if (rows)
            batch_writer_abandon(writer);
        else
            assert_true(batch_writer_open(writer, "txt", &error) != 0);
        check_nothing_left();
    }
}

static void test_processes(void **state) {
    (void)state;
    char me[128], boot[64], other[160];
    process_identity(me, sizeof me);
    process_boot(boot, sizeof boot);
    assert_true(strncmp(me, boot, strlen(boot)) == 0);
    assert_true(process_may_live(me, INT64_MAX));
    // The same process id of a process that started at another time.
    snprintf(other, sizeof other, "%s1", me);
    assert_false(process_may_live(other, 0));
    struct {
        const char *tail;
        int64_t silent_ms;
        bool lives;
    } cases[] = {{":4:1:1", 0, true},        // another container
                 {":4:1:1", 3599999, true},  //
                 {":4:1:1", 3600000, false}, // and silent
                 {":0:1:1", 0, true},        // it could not tell its own
                 {":4:1:0", 0, true},        //
                 {":4:1", 0, false},         // not an identity
                 {"", 0, false},             //
                 {":x:y:z", 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(other, sizeof other, "%s%s", boot, cases[i].tail);
        assert_int_equal(process_may_live(other, cases[i].silent_ms), cases[i].lives);
    }
    assert_false(process_may_live("another-boot:4:1:1", 0));
    assert_false(process_may_live("", 0));
}

// ---- ids ----

static void insert_id(const char *id) {
    type("INSERT INTO generations (id, prompt, model_id) VALUES ('%s', 'p', 'm')", id);
}

static void test_ids(void **state) {
    (void)state;
    int64_t seq;
    insert_id("00000000-0000-7000-8000-0000deadbeef");
    insert_id("00000000-0000-7000-8000-1111deadbeef");
    insert_id("00000000-0000-7000-8000-0000cafe0001");
    struct {
        const char *id;
        int result;
        int64_t seq;
        const char *message;
    } cases[] = {
        {"00000000-0000-7000-8000-0000deadbeef", 0, 1, NULL},
        {"00000000-0000-7000-8000-0000DEADBEEF", 0, 1, NULL},
        {"cafe0001", 0, 3, NULL},
        {"CAFE0001", 0, 3, NULL},
        {"1111deadbeef", 0, 2, NULL},
        {"8000-1111deadbeef", 0, 2, NULL},
        {"deadbeef", ERR_INVALID, 0,
         "generation deadbeef fits several, give more characters of one of: "
         "00000000-0000-7000-8000-0000deadbeef"
         " 00000000-0000-7000-8000-1111deadbeef"},
        {"1deadbeef", 0, 2, NULL},
        {"2deadbeef", ERR_NOT_FOUND, 0,
         "generation 2deadbeef does not exist: 'genrun list' shows the newest, with the ends of their ids"},
        {"00000000-0000-7000-8000-0000deadbee0", ERR_NOT_FOUND, 0, NULL},
        {"afe0001", ERR_INVALID, 0,
         "afe0001 is not an id: give a whole id, or its last 8 or more characters"},
        {"", ERR_INVALID, 0, " is not an id: give a whole id, or its last 8 or more characters"},
        {"cafe000g", ERR_INVALID, 0, NULL},
        {"%%%%%%%%", ERR_INVALID, 0, NULL},
        {"' OR 1=1 --", ERR_INVALID, 0, NULL},
        {"000000000-0000-7000-8000-0000deadbeef", ERR_INVALID, 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("# %s\n", cases[i].id);
        assert_int_equal(queue_find_generation(db, cases[i].id, &seq, &error), cases[i].result);
        if (cases[i].result == 0)
            assert_int_equal(seq, cases[i].seq);
        if (cases[i].message)
            assert_string_equal(error.message, cases[i].message);
    }
}

static void test_many_candidates(void **state) {
    (void)state;
    int64_t seq;
    for (int i = 0; i < 15; i++) {
        char id[64];
        snprintf(id, sizeof id, "00000000-0000-7000-8000-%04ddeadbeef", i);
        insert_id(id);
    }
    assert_int_equal(queue_find_generation(db, "deadbeef", &seq, &error), ERR_INVALID);
    int shown = 0;
    for (const char *p = error.message; (p = strstr(p, "-8000-")); p++)
        shown++;
    assert_int_equal(shown, 10);
}

static void test_ids_of_batches(void **state) {
    (void)state;
    int64_t seq, found;
    char id[ID_SIZE];
    bool known;
    struct batch_writer *writer;
    seq = batch_of("m", 1);
    snprintf(id, sizeof id, "%s", text("SELECT id FROM batch_jobs"));
    OK(queue_find_batch(db, id, &found, &error));
    assert_int_equal(found, seq);
    OK(queue_find_batch(db, id + 28, &found, &error));
    assert_int_equal(found, seq);
    // A batch job is no generation, and one that is not open cannot be found, nor its items.
    assert_int_equal(queue_find_generation(db, id, &found, &error), ERR_NOT_FOUND);
    OK(batch_writer_begin(&writer, db, &plain, id, &known, &error));
    assert_int_equal(queue_find_batch(db, id, &found, &error), ERR_NOT_FOUND);
    batch_writer_abandon(writer);
}

#define T(test) cmocka_unit_test_setup_teardown(test, ground_open, ground_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(test_a_row),
        T(test_least),
        T(test_a_large_prompt),
        T(test_a_priority_out_of_range),
        T(test_keys),
        T(test_a_key_of_one_that_ended),
        T(test_a_busy_database),
        T(test_a_batch),
        T(test_a_paused_batch),
        T(test_a_share_of_failures),
        T(test_slices),
        T(test_others_get_in),
        T(test_an_empty_batch),
        T(test_abandon),
        T(test_abandon_beside_a_sweep),
        T(test_a_bad_row_in_a_batch),
        T(test_a_killed_writer),
        T(test_a_killed_writers_key),
        T(test_a_living_writers_key),
        T(test_a_writer_taken_for_dead),
        T(test_processes),
        T(test_ids),
        T(test_many_candidates),
        T(test_ids_of_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
