// SPDX-License-Identifier: MIT
// The echo model on a real loop: its answers, its scripts, and that stop() may come at any moment.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "provider/provider.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct loop *loop;
static struct err reason;

struct watcher {
    struct provider_call *call;
    struct outcome *outcome;
    int progresses, steps[3];
    size_t content_bytes;
    enum provider_step last_step;
    int stop_after; // stop in the n-th progress; 0: never
    struct outcome *stopped;
};

static void progressed(void *payload, enum provider_step step, size_t content_bytes) {
    struct watcher *w = payload;
    assert_null(w->outcome);
    assert_null(w->stopped);
    w->progresses++;
    w->steps[step]++;
    w->last_step = step;
    w->content_bytes += content_bytes;
    if (w->progresses == w->stop_after)
        w->stopped = provider_echo.stop(w->call);
}

static void ended(void *payload, struct outcome *outcome) {
    struct watcher *w = payload;
    assert_null(w->outcome);
    assert_null(w->stopped);
    w->outcome = outcome;
}

static const struct model model = {.name = (char *)"echo", .provider = (char *)"echo"};

static void begin(struct watcher *w, const char *prompt, const char *parameters, int start,
                  size_t max_output) {
    struct provider_request request = {.model = &model,
                                       .model_id = "echo",
                                       .generation_id = "g",
                                       .start = start,
                                       .prompt = prompt,
                                       .parameters = parameters,
                                       .max_output = max_output};
    struct provider_listener listener = {.on_progress = progressed, .on_end = ended, .payload = w};
    w->call = provider_echo.start(loop, &request, &listener);
    assert_non_null(w->call);
    assert_null(w->outcome); // never from start itself
    assert_int_equal(w->progresses, 0);
}

static struct outcome *run(struct watcher *w, const char *prompt, const char *parameters, int start) {
    begin(w, prompt, parameters, start, 1 << 20);
    while (!w->outcome && !w->stopped)
        assert_int_equal(loop_wait(loop, 60000, &reason), 0);
    return w->outcome;
}

static int set_up(void **state) {
    (void)state;
    return loop_open(&loop, &reason);
}

static int tear_down(void **state) {
    (void)state;
    loop_close(loop);
    return 0;
}

static void echoes(void **state) {
    (void)state;
    const struct {
        const char *prompt, *parameters, *answer;
        int input_tokens, output_tokens;
    } cases[] = {
        {"Say  hello\tworld\n", "{}", "Say  hello\tworld\n", 3, 3},
        {"", "{}", "", 0, 0},
        {"x", NULL, "x", 1, 1},
        {"grüße", "{\"temperature\":0.5,\"unknown\":[]}", "grüße", 1, 1},
        {"ab ", "{\"repeat\":3}", "ab ab ab ", 1, 3},
        {"ab ", "{\"repeat\":\"2\"}", "ab ab ", 1, 2},
        {NULL,
         "{\"messages\":[{\"role\":\"user\",\"content\":\"no\"},{\"role\":\"user\",\"content\":\"yes it "
         "is\"}]}",
         "yes it is", 3, 3},
        {NULL,
         "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\"},{\"text\":"
         "\"b\"}]}]}",
         "ab", 1, 1},
        {NULL, "{\"prompt\":\"from prompt\"}", "from prompt", 2, 2},
        {NULL, "{\"input\":\"from input\"}", "from input", 2, 2},
        {NULL, "{\"input\":[\"one \",\"two\"]}", "one two", 2, 2},
        {NULL, "{\"input\":[{\"role\":\"user\",\"content\":\"last\"}]}", "last", 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct watcher w = {0};
        struct outcome *o = run(&w, cases[i].prompt, cases[i].parameters, 1);
        assert_int_equal(o->failure.kind, FAILURE_NONE);
        assert_int_equal(o->output_count, 1);
        assert_string_equal(o->outputs[0].content, cases[i].answer);
        assert_int_equal(o->outputs[0].length, strlen(cases[i].answer));
        assert_string_equal(o->outputs[0].mime, "text/plain");
        assert_false(o->outputs[0].partial);
        assert_int_equal(o->input_tokens, cases[i].input_tokens);
        assert_int_equal(o->output_tokens, cases[i].output_tokens);
        assert_string_equal(o->finish_reason, "stop");
        assert_null(o->body);
        assert_int_equal(w.progresses, 0);
        outcome_free(o);
    }
}

static void refuses_what_it_cannot_follow(void **state) {
    (void)state;
    unsetenv("GENRUN_ECHO_FAULTS");
    const struct {
        const char *prompt, *parameters, *says;
    } cases[] = {
        {"x", "{", "parameters"},
        {"x", "[]", "parameters"},
        {"x", "{\"delay\":\"soon\"}", "delay"},
        {"x", "{\"delay\":-1}", "delay"},
        {"x", "{\"delay\":1e300}", "delay"},
        {"x", "{\"delay\":true}", "delay"},
        {"x", "{\"chunks\":0}", "chunks"},
        {"x", "{\"chunks\":1.5}", "chunks"},
        {"x", "{\"chunks\":\"\"}", "chunks"},
        {"x", "{\"chunks\":\"2x\"}", "chunks"},
        {"x", "{\"repeat\":-3}", "repeat"},
        {"x", "{\"fail\":\"RateLimit\"}", "RateLimitError"},
        {"x", "{\"fail\":7}", "fail"},
        {"x", "{\"fail_times\":\"often\"}", "fail_times"},
        {"x", "{\"hang\":\"sometimes\"}", "hang"},
        {"x", "{\"retry_after\":\"later\"}", "retry_after"},
        {"x", "{\"crash\":true}", "GENRUN_ECHO_FAULTS"},
        {"x", "{\"block\":\"1s\"}", "GENRUN_ECHO_FAULTS"},
        {NULL, "{}", "nothing to echo"},
        {NULL, "{\"messages\":[]}", "nothing to echo"},
        {NULL, "{\"input\":7}", "nothing to echo"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct watcher w = {0};
        struct outcome *o = run(&w, cases[i].prompt, cases[i].parameters, 1);
        assert_int_equal(o->failure.kind, FAILURE_REQUEST);
        assert_non_null(strstr(o->failure.message, cases[i].says));
        assert_int_equal(o->output_count, 0);
        outcome_free(o);
    }
}

static void an_answer_over_max_output_fails(void **state) {
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct watcher w = {0};
        begin(&w, "12345", "{\"repeat\":2}", 1, over ? 9 : 10);
        while (!w.outcome)
            assert_int_equal(loop_wait(loop, 60000, &reason), 0);
        assert_int_equal(w.outcome->failure.kind, over ? FAILURE_TOO_LARGE : FAILURE_NONE);
        outcome_free(w.outcome);
    }
}

static void chunks_are_progress_and_the_delay_is_kept(void **state) {
    (void)state;
    struct watcher w = {0};
    int64_t began_ms = clock_monotonic_ms();
    struct outcome *o = run(&w, "hello world", "{\"delay\":\"20ms\",\"chunks\":4}", 1);
    assert_true(clock_monotonic_ms() - began_ms >= 20);
    assert_int_equal(o->failure.kind, FAILURE_NONE);
    assert_string_equal(o->outputs[0].content, "hello world");
    assert_int_equal(w.steps[STEP_CONNECT], 1);
    assert_int_equal(w.steps[STEP_WAIT], 1);
    assert_int_equal(w.steps[STEP_STREAM], 4);
    assert_int_equal(w.content_bytes, strlen("hello world"));
    outcome_free(o);
}

static void chunks_without_delay_arrive_at_once(void **state) {
    (void)state;
    struct watcher w = {0};
    struct outcome *o = run(&w, "äöü", "{\"chunks\":10}", 1);
    assert_int_equal(w.steps[STEP_STREAM], 10);
    assert_int_equal(w.content_bytes, strlen("äöü"));
    outcome_free(o);
}

static void fails_as_told(void **state) {
    (void)state;
    struct watcher w = {0};
    struct outcome *o = run(&w, "a b", "{\"fail\":\"RateLimitError\",\"retry_after\":\"2s\"}", 3);
    assert_int_equal(o->failure.kind, FAILURE_SCRIPTED);
    assert_string_equal(o->failure.type, "RateLimitError");
    assert_int_equal(o->failure.retry_after_ms, 2000);
    assert_string_equal(o->failure.where, "echo");
    assert_non_null(strstr(o->failure.message, "RateLimitError (start 3)"));
    assert_int_equal(o->output_count, 0);
    outcome_free(o);
    w = (struct watcher){0};
    o = run(&w, "abcd", "{\"fail\":\"NetworkError\",\"chunks\":4}", 1);
    assert_int_equal(o->failure.kind, FAILURE_SCRIPTED);
    assert_int_equal(o->failure.retry_after_ms, -1);
    assert_string_equal(o->outputs[0].content, "abc");
    assert_true(o->outputs[0].partial);
    outcome_free(o);
}

static void fails_on_the_first_starts_only(void **state) {
    (void)state;
    for (int start = 1; start <= 4; start++) {
        struct watcher w = {0};
        struct outcome *o = run(&w, "x", "{\"fail\":\"NetworkError\",\"fail_times\":2}", start);
        assert_int_equal(o->failure.kind, start <= 2 ? FAILURE_SCRIPTED : FAILURE_NONE);
        outcome_free(o);
    }
}

// Passes the loop until nothing is left to do at once.
static void settle(struct watcher *w) {
    for (int i = 0; i < 50; i++) {
        assert_int_equal(loop_wait(loop, 0, &reason), 0);
        assert_null(w->outcome);
    }
}

static void hangs_as_told(void **state) {
    (void)state;
    const struct {
        const char *parameters;
        enum provider_step step;
        const char *partial;
    } cases[] = {
        {"{\"hang\":\"connect\"}", STEP_CONNECT, NULL},
        {"{\"hang\":\"stream\"}", STEP_STREAM, "abc"},
        {"{\"hang\":\"stream\",\"chunks\":6}", STEP_STREAM, "abc"},
        {"{\"hang\":\"stream\",\"chunks\":3}", STEP_STREAM, "abcd"},
        {"{\"delay\":\"1h\"}", STEP_WAIT, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct watcher w = {0};
        begin(&w, "abcdef", cases[i].parameters, 1, 100);
        settle(&w);
        assert_int_equal(w.last_step, cases[i].step);
        assert_false(provider_echo.is_opaque(w.call));
        struct outcome *o = provider_echo.stop(w.call);
        assert_int_equal(o->failure.kind, FAILURE_NONE);
        assert_int_equal(o->output_count, cases[i].partial ? 1 : 0);
        if (cases[i].partial) {
            assert_string_equal(o->outputs[0].content, cases[i].partial);
            assert_true(o->outputs[0].partial);
        }
        outcome_free(o);
        settle(&w); // and nothing comes after it
    }
}

static void stop_is_safe_before_and_inside_any_progress(void **state) {
    (void)state;
    for (int n = 0; n <= 6; n++) {
        struct watcher w = {.stop_after = n};
        begin(&w, "abcd", "{\"chunks\":4}", 1, 100);
        struct outcome *o;
        if (n == 0) {
            o = provider_echo.stop(w.call);
        } else {
            while (!w.stopped)
                assert_int_equal(loop_wait(loop, 60000, &reason), 0);
            o = w.stopped;
        }
        assert_int_equal(o->output_count, n > 2 ? 1 : 0);
        if (n > 2)
            assert_int_equal(o->outputs[0].length, n - 2);
        outcome_free(o);
        for (int i = 0; i < 5; i++)
            assert_int_equal(loop_wait(loop, 0, &reason), 0);
        assert_null(w.outcome);
    }
}

static void many_end_in_one_pass_in_order_of_start(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    static struct watcher watchers[COUNT];
    memset(watchers, 0, sizeof watchers);
    for (int i = 0; i < COUNT; i++)
        begin(&watchers[i], "no-op", "{}", 1, 100);
    assert_int_equal(loop_wait(loop, 60000, &reason), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_non_null(watchers[i].outcome);
        outcome_free(watchers[i].outcome);
    }
}

static void crash_kills_and_block_blocks_where_allowed(void **state) {
    (void)state;
    setenv("GENRUN_ECHO_FAULTS", "1", 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct watcher w = {0};
        run(&w, "x", "{\"crash\":true}", 1);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    struct watcher w = {0};
    begin(&w, "x", "{\"block\":\"15ms\"}", 1, 100);
    int64_t began_ms = clock_monotonic_ms();
    assert_int_equal(loop_wait(loop, 0, &reason), 0); // the pass itself takes that long
    assert_true(clock_monotonic_ms() - began_ms >= 14);
    while (!w.outcome)
        assert_int_equal(loop_wait(loop, 60000, &reason), 0);
    assert_int_equal(w.outcome->failure.kind, FAILURE_NONE);
    outcome_free(w.outcome);
    unsetenv("GENRUN_ECHO_FAULTS");
}

static void is_in_the_table(void **state) {
    (void)state;
    size_t count = 0;
    const char *const *names = provider_names(&count);
    assert_true(count >= 1);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(provider_find(names[i])->name, names[i]);
    assert_true(provider_find("echo") == &provider_echo);
    assert_null(provider_find("nothing"));
    assert_null(provider_find(NULL));
    assert_string_equal(provider_step_name(STEP_CONNECT), "provider:connect");
    assert_string_equal(provider_step_name(STEP_WAIT), "provider:wait");
    assert_string_equal(provider_step_name(STEP_STREAM), "provider:stream");
    outcome_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echoes),
        cmocka_unit_test(refuses_what_it_cannot_follow),
        cmocka_unit_test(an_answer_over_max_output_fails),
        cmocka_unit_test(chunks_are_progress_and_the_delay_is_kept),
        cmocka_unit_test(chunks_without_delay_arrive_at_once),
        cmocka_unit_test(fails_as_told),
        cmocka_unit_test(fails_on_the_first_starts_only),
        cmocka_unit_test(hangs_as_told),
        cmocka_unit_test(stop_is_safe_before_and_inside_any_progress),
        cmocka_unit_test(many_end_in_one_pass_in_order_of_start),
        cmocka_unit_test(crash_kills_and_block_blocks_where_allowed),
        cmocka_unit_test(is_in_the_table),
    };
    return cmocka_run_group_tests_name("echo", tests, set_up, tear_down);
}
