// SPDX-License-Identifier: MIT
// The provider command on a real loop with scripts of sh: what they get, what is made of every way to end and of
// everything they may write, and that stop() may come at any moment.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "loop/child.h"
#include "provider/classify.h"
#include "provider/provider.h"
#include "provider/said.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct loop *loop;
static struct err reason;
static char folder[] = "/tmp/genrun-command-XXXXXX";
static struct model model; // of the case under way
static char runner_id[37]; // its own: what carries another one's marks is ended

struct watcher {
    struct provider_call *call;
    struct outcome *outcome;
    int progresses;
    size_t content_bytes;
    enum provider_step last_step;
    bool stop_at_content;
    struct outcome *stopped;
};

static void progressed(void *payload, enum provider_step step, size_t content_bytes) {
    struct watcher *w = payload;
    assert_null(w->outcome);
    assert_null(w->stopped);
    assert_true(step >= w->last_step);
    assert_true(content_bytes > 0 || step != STEP_STREAM);
    w->progresses++;
    w->last_step = step;
    w->content_bytes += content_bytes;
    if (w->stop_at_content && content_bytes)
        w->stopped = provider_command.stop(w->call);
}

static void ended(void *payload, struct outcome *outcome) {
    struct watcher *w = payload;
    assert_null(w->outcome);
    assert_null(w->stopped);
    w->outcome = outcome;
}

// The model's command is `words`, a line that is split as the configuration splits it.
static void set_command(const char *line) {
    text_words_free(model.command);
    free(model.program);
    model.command = text_words(line);
    assert_non_null(model.command);
    model.program = mem_copy(model.command[0]);
    model.command[0] = model.program;
}

static void set_script(const char *script) {
    set_command("sh -c x");
    model.command[2] = (char *)script;
}

static void begin(struct watcher *w, const char *prompt, const char *parameters) {
    static int number;
    char id[37];
    snprintf(id, sizeof id, "00000000-0000-7000-8000-%012d", ++number);
    const struct provider_request request = {.model = &model,
                                             .model_id = "asked",
                                             .generation_id = id,
                                             .runner_id = runner_id,
                                             .start = 2,
                                             .prompt = prompt,
                                             .parameters = parameters,
                                             .max_output = 100000};
    const struct provider_listener listener = {.on_progress = progressed, .on_end = ended, .payload = w};
    w->call = provider_command.start(loop, &request, &listener);
    assert_non_null(w->call);
    assert_false(provider_command.is_opaque(w->call));
    assert_null(w->outcome); // never from start itself
    assert_int_equal(w->progresses, 0);
    while (!w->outcome && !w->stopped)
        assert_int_equal(loop_wait(loop, 60000, &reason), 0);
}

static struct outcome *run(const char *prompt, const char *parameters) {
    struct watcher w = {0};
    begin(&w, prompt, parameters);
    return w.outcome;
}

static void assert_text(const struct outcome *o, const char *text) {
    assert_int_equal(o->failure.kind, FAILURE_NONE);
    assert_int_equal(o->output_count, 1);
    assert_string_equal(o->outputs[0].mime, "text/plain");
    assert_string_equal(o->outputs[0].content, text);
    assert_int_equal(o->outputs[0].length, strlen(text));
    assert_false(o->outputs[0].partial);
}

static void assert_says(const char *message, const char *part) {
    if (!message || !strstr(message, part))
        fail_msg("expected \"%s\" in: %s", part, message ? message : "(nothing)");
}

static int set_up(void **state) {
    (void)state;
    model = (struct model){.name = (char *)"tested", .provider = (char *)"command"};
    return loop_open(&loop, &reason);
}

static int tear_down(void **state) {
    (void)state;
    loop_close(loop);
    loop = NULL;
    text_words_free(model.command);
    free(model.program);
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -1;
}

// ---- what it gets ----

static void gets_the_prompt(void **state) {
    (void)state;
    static const struct {
        const char *prompt, *parameters, *text;
    } cases[] = {
        {"Say hello", "{}", "Say hello"},
        {"", NULL, ""},
        {"gr\xc3\xbc\xc3\x9f\x65 \xf0\x9f\x98\x80\n", "{\"a\":1}",
         "gr\xc3\xbc\xc3\x9f\x65 \xf0\x9f\x98\x80\n"},
        {NULL, "{\"messages\":[{\"role\":\"user\",\"content\":\"one\"}]}", "one"},
        {NULL, "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"text\":\"b\"}]}]}", "ab"},
        {NULL, "{\"prompt\":\"from prompt\"}", "from prompt"},
        {NULL, "{\"input\":\"from input\"}", "from input"},
        {NULL, "{\"input\":[\"one \",\"two\"]}", "one two"},
    };
    set_command("cat");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome *o = run(cases[i].prompt, cases[i].parameters);
        assert_text(o, cases[i].text);
        assert_int_equal(o->input_tokens, -1);
        assert_int_equal(o->output_tokens, -1);
        outcome_free(o);
    }
}

static void refuses_a_body_that_is_not_one_text(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"},{\"content\":\"x\"}]}",
        "{\"messages\":[]}",
        "{\"messages\":[{\"content\":[{\"type\":\"image_url\"}]}]}",
        "{\"input\":[]}",
        "{\"input\":7}",
        "{}",
    };
    set_command("cat");
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct outcome *o = run(NULL, bodies[i]);
        assert_int_equal(o->failure.kind, FAILURE_REQUEST);
        assert_says(o->failure.message, "set input = json for model tested");
        outcome_free(o);
    }
}

static void gets_json_when_it_wants(void **state) {
    (void)state;
    static const struct {
        const char *prompt, *parameters, *tail;
    } cases[] = {
        {"a \"b\"\n", "{\"n\": 12345678901234567890}",
         "\"model\":\"sent\",\"prompt\":\"a \\\"b\\\"\\n\",\"parameters\":{\"n\": "
         "12345678901234567890},\"attempt\":2}\n"},
        {NULL, "{\"messages\":[]}",
         "\"model\":\"sent\",\"prompt\":null,\"parameters\":{\"messages\":[]},\"attempt\":2}\n"},
        {"x", NULL, "\"model\":\"sent\",\"prompt\":\"x\",\"parameters\":{},\"attempt\":2}\n"},
    };
    set_command("cat");
    model.input_json = true;
    model.remote_name = (char *)"sent";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome *o = run(cases[i].prompt, cases[i].parameters);
        assert_int_equal(o->failure.kind, FAILURE_NONE);
        assert_true(text_starts_with(o->outputs[0].content, "{\"id\":\"00000000-"));
        assert_true(text_ends_with(o->outputs[0].content, cases[i].tail));
        outcome_free(o);
    }
    model.remote_name = NULL;
}

static void gets_a_clean_environment(void **state) {
    (void)state;
    setenv("TEST_SECRET_KEY", "key-of-another", 1);
    setenv("TEST_PASSED", "passed on", 1);
    setenv("TEST_KEY", "key-of-this", 1);
    setenv("LC_TIME", "C", 1);
    setenv("GENRUN_MODEL", "of an outer one", 1);
    char *const names[] = {(char *)"TEST_PASSED", (char *)"TEST_NOT_THERE", (char *)"PATH",
                           (char *)"GENRUN_MODEL", NULL};
    model.pass_env = (char **)names;
    model.api_key_env = (char *)"TEST_KEY";
    set_script("env | cut -d= -f1 | sort | tr '\\n' ' '; echo $TEST_PASSED $TEST_KEY $GENRUN_MODEL; "
               "echo \"$GENRUN_PARAMETERS\"");
    struct outcome *o = run("x", "{\"a\": \"b c\"}");
    assert_int_equal(o->failure.kind, FAILURE_NONE);
    const char *text = o->outputs[0].content;
    assert_says(text, "GENRUN_ATTEMPT GENRUN_GENERATION_ID GENRUN_MODEL GENRUN_PARAMETERS GENRUN_RUNNER ");
    assert_says(text, " LC_TIME ");
    assert_says(text, " PATH ");
    assert_says(text, " TEST_KEY TEST_PASSED ");
    assert_says(text, "passed on key-of-this asked\n{\"a\": \"b c\"}\n");
    assert_null(strstr(text, "TEST_SECRET_KEY"));
    assert_null(strstr(text, "TEST_NOT_THERE"));
    outcome_free(o);
    unsetenv("TEST_KEY");
    o = run("x", "{}");
    assert_int_equal(o->failure.kind, FAILURE_CONFIGURATION);
    assert_says(o->failure.message, "TEST_KEY");
    outcome_free(o);
    model.pass_env = NULL;
    model.api_key_env = NULL;
}

static void parameters_too_large_for_an_environment(void **state) {
    (void)state;
    char *parameters = mem_alloc(300001, 1);
    memset(parameters, ' ', 300000);
    parameters[0] = '{';
    parameters[299999] = '}';
    set_command("wc -c");
    struct outcome *o = run("x", parameters);
    assert_int_equal(o->failure.kind, FAILURE_REQUEST);
    assert_says(o->failure.message, "the parameters have 300000 bytes, and GENRUN_PARAMETERS holds 100K: set "
                                    "input = json for model tested");
    outcome_free(o);
    model.input_json = true;
    o = run("x", parameters);
    assert_int_equal(o->failure.kind, FAILURE_NONE);
    assert_true(atoi(o->outputs[0].content) > 300000);
    outcome_free(o);
    free(parameters);
}

// ---- how it ends ----

static const struct end {
    const char *script;
    enum failure_kind kind;
    const char *says; // within the message; of a success the text
    enum verdict_action action;
    const char *type;
} ends[] = {
    {"exit 0", FAILURE_NONE, "", VERDICT_FAIL, NULL},
    {"echo hi; echo no >&2", FAILURE_NONE, "hi\n", VERDICT_FAIL, NULL},
    {"exec <&-; echo unread", FAILURE_NONE, "unread\n", VERDICT_FAIL, NULL},
    {"exit 1", FAILURE_EXIT,
     "exit status 1 of sh: it said nothing on stderr; run it by hand with the prompt on its stdin",
     VERDICT_RETRY, "CommandError"},
    {"echo oh no >&2; exit 3", FAILURE_EXIT, "exit status 3 of sh: oh no", VERDICT_RETRY, "CommandError"},
    {"echo bad input >&2; exit 64", FAILURE_EXIT, "exit status 64 of sh: bad input", VERDICT_FAIL,
     "InvalidRequestError"},
    {"exit 65", FAILURE_EXIT, "exit status 65", VERDICT_FAIL, "InvalidRequestError"},
    {"exit 66", FAILURE_EXIT, "exit status 66", VERDICT_FAIL, "InvalidRequestError"},
    {"exit 69", FAILURE_EXIT, "exit status 69", VERDICT_RETRY, "NetworkError"},
    {"exit 75", FAILURE_EXIT, "exit status 75", VERDICT_RETRY, "CommandError"},
    {"exit 77", FAILURE_EXIT, "exit status 77", VERDICT_PARK, "AuthenticationError"},
    {"exit 78", FAILURE_EXIT, "exit status 78", VERDICT_PARK, "ConfigurationError"},
    {"exit 127", FAILURE_EXIT, "exit status 127", VERDICT_RETRY, "CommandError"},
    {"kill -KILL $$", FAILURE_SIGNAL,
     "sh was killed by signal 9 (Killed), as the system does when memory runs out: it said nothing",
     VERDICT_RETRY, "CommandError"},
    {"echo dying >&2; kill -SEGV $$", FAILURE_SIGNAL,
     "sh was killed by signal 11 (Segmentation fault): dying", VERDICT_RETRY, "CommandError"},
    {"echo progress 10% >&2; printf 'a\\rb\\rprogress 40%%\\nlast\\n' >&2; exit 1", FAILURE_EXIT,
     "exit status 1 of sh: last", VERDICT_RETRY, "CommandError"},
    {"printf 'no \\033[31m end \\000 of line\\377' >&2; exit 1", FAILURE_EXIT, "no \033[31m end   of line",
     VERDICT_RETRY, "CommandError"},
    {"head -c 100001 /dev/zero", FAILURE_TOO_LARGE,
     "the command's output is larger than max_output (100000 bytes)", VERDICT_FAIL, "InvalidRequestError"},
    {"while :; do echo flood; done", FAILURE_TOO_LARGE, "larger than max_output", VERDICT_FAIL,
     "InvalidRequestError"},
    {"i=0; while [ $i -lt 9000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1", FAILURE_EXIT, "line 8999",
     VERDICT_RETRY, "CommandError"},
};

static void ends_as_it_ends(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const struct end *e = &ends[i];
        set_script(e->script);
        struct outcome *o = run("a prompt", "{}");
        assert_int_equal(o->failure.kind, e->kind);
        if (e->kind == FAILURE_NONE) {
            assert_text(o, e->says);
        } else {
            struct verdict verdict;
            assert_says(o->failure.message, e->says);
            assert_string_equal(o->failure.where, "command sh");
            classify(&o->failure, &model, 0, &verdict);
            assert_int_equal(verdict.action, e->action);
            assert_string_equal(verdict.error_type, e->type);
            assert_int_equal(verdict.server_down, strcmp(e->type, "NetworkError") == 0);
            assert_true(text_is_utf8(verdict.message, strlen(verdict.message)));
            assert_null(strpbrk(verdict.message, "\n\r\033"));
        }
        outcome_free(o);
    }
}

static void a_failed_one_keeps_what_it_wrote(void **state) {
    (void)state;
    set_script(
        "echo half an answer; i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; exit 9");
    struct outcome *o = run("x", "{}");
    assert_int_equal(o->failure.exit_status, 9);
    assert_int_equal(o->output_count, 1);
    assert_true(o->outputs[0].partial);
    assert_string_equal(o->outputs[0].content, "half an answer\n");
    assert_true(text_starts_with(o->failure.body, "line 0\nline 1\n"));
    assert_says(o->failure.body, " bytes left out]\n");
    assert_true(text_ends_with(o->failure.body, "line 1998\nline 1999\n"));
    assert_true(strlen(o->failure.body) < SAID_HEAD + SAID_TAIL + 64);
    outcome_free(o);
}

static void what_a_person_decides_for_a_status(void **state) {
    (void)state;
    struct model_status_rule rules[] = {
        {3, VERDICT_FAIL}, {4, VERDICT_WAIT}, {64, VERDICT_RETRY}, {5, VERDICT_PARK}};
    static const int statuses[] = {3, 4, 64, 5, 6, 78};
    static const enum verdict_action actions[] = {VERDICT_FAIL, VERDICT_WAIT,  VERDICT_RETRY,
                                                  VERDICT_PARK, VERDICT_RETRY, VERDICT_PARK};
    model.exit_rules = rules;
    model.exit_rule_count = 4;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        const struct failure failure = {.kind = FAILURE_EXIT,
                                        .exit_status = statuses[i],
                                        .message = (char *)"said",
                                        .retry_after_ms = -1};
        struct verdict verdict;
        classify(&failure, &model, 0, &verdict);
        assert_int_equal(verdict.action, actions[i]);
        assert_string_equal(verdict.message, "said");
    }
    model.exit_rules = NULL;
    model.exit_rule_count = 0;
}

static void secrets_are_not_repeated(void **state) {
    (void)state;
    setenv("TEST_KEY", "plain-value-1", 1);
    setenv("OTHER_TOKEN", "plain-value-2", 1);
    char *const names[] = {(char *)"OTHER_TOKEN", NULL};
    model.api_key_env = (char *)"TEST_KEY";
    model.pass_env = (char **)names;
    set_script("echo \"bad $TEST_KEY and $OTHER_TOKEN and sk-abcdefghijklmnop\" >&2; exit 1");
    struct outcome *o = run("x", "{}");
    struct verdict verdict;
    classify(&o->failure, &model, 0, &verdict);
    assert_says(verdict.message, "bad ************* and ************* and ");
    assert_null(strstr(verdict.message, "plain-value"));
    assert_null(strstr(verdict.message, "abcdefghijklmnop"));
    assert_null(strstr(o->failure.body, "plain-value"));
    outcome_free(o);
    model.api_key_env = NULL;
    model.pass_env = NULL;
}

// Wherever what it says is cut, no part of a secret that is long enough to matter stays.
static void secrets_are_not_repeated_in_part(void **state) {
    (void)state;
    static const char *const scripts[] = {
        "printf '%100s' '' >&2; echo $TEST_KEY >&2; printf '%0*d\\n' $((1500 - $(cat))) 0 >&2; exit 1",
        "printf '%0*d' $((2048 - $(cat))) 0 >&2; echo $TEST_KEY >&2; seq 9000 >&2; exit 1",
        "printf '%0*d' $((4096 - $(cat))) 0 >&2; echo $TEST_KEY >&2; exit 1",
        "printf '%0*d' 3000 0 >&2; echo $TEST_KEY >&2; printf '%0*d' $((4096 - $(cat))) 0 >&2; exit 1",
        "printf '%0*d' $((65536 - $(cat))) 0; printf %s $TEST_KEY; exit 1",
        "printf '%0*d' $((60 - $(cat))) 1; printf %s $TEST_KEY; exit 0",
    };
    setenv("TEST_KEY", "QWERTYUIOPASDFGHJKLZXCVBNMqwertyuiopasdf", 1);
    model.api_key_env = (char *)"TEST_KEY";
    model.output_json = true;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        for (int back = 0; back < 44; back += 11) {
            char prompt[16];
            struct verdict verdict;
            snprintf(prompt, sizeof prompt, "%d", back);
            set_script(scripts[i]);
            struct outcome *o = run(prompt, "{}");
            assert_int_not_equal(o->failure.kind, FAILURE_NONE);
            classify(&o->failure, &model, 0, &verdict);
            for (const char *p = getenv("TEST_KEY"); p[5]; p++) {
                char part[7];
                snprintf(part, sizeof part, "%s", p);
                assert_null(strstr(verdict.message, part));
                assert_null(o->failure.body ? strstr(o->failure.body, part) : NULL);
            }
            outcome_free(o);
        }
    model.api_key_env = NULL;
    model.output_json = false;
}

// ---- what it writes ----

static void bytes_that_are_no_text(void **state) {
    (void)state;
    static const struct {
        const char *script, *mime;
        size_t length;
    } cases[] = {
        {"printf 'a\\000b'", "application/octet-stream", 3},
        {"printf '\\377\\376'", "application/octet-stream", 2},
        {"printf '\\303\\274'", "text/plain", 2},
        {"head -c 100000 /dev/zero", "application/octet-stream", 100000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_script(cases[i].script);
        struct outcome *o = run("x", "{}");
        assert_int_equal(o->failure.kind, FAILURE_NONE);
        assert_string_equal(o->outputs[0].mime, cases[i].mime);
        assert_int_equal(o->outputs[0].length, cases[i].length);
        outcome_free(o);
    }
}

static const struct answer {
    const char *text;
    enum failure_kind kind;
    const char *says; // the first output, or within the message
    const char *mime; // of the first output; or the error type
    int64_t input_tokens, output_tokens;
} answers[] = {
    {"{\"output\":\"hi\"}", FAILURE_NONE, "hi", "text/plain", -1, -1},
    {" {\"output\": \"\"}\n", FAILURE_NONE, "", "text/plain", -1, -1},
    {"{\"output\":{\"n\": 12345678901234567890},\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}",
     FAILURE_NONE, "{\"n\": 12345678901234567890}", "application/json", 3, 4},
    {"{\"output\":null,\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":-4}}", FAILURE_NONE, "null",
     "application/json", 3, -1},
    {"{\"outputs\":[{\"mime\":\"image/png\",\"base64\":\"iVBORw==\"},{\"text\":\"a caption\"}]}",
     FAILURE_NONE, "\x89PNG", "image/png", -1, -1},
    {"{\"outputs\":[{\"text\":\"<p>\",\"mime\":\"text/html\"}],\"error\":null}", FAILURE_NONE, "<p>",
     "text/html", -1, -1},
    {"{\"answer\":42}", FAILURE_NONE, "{\"answer\":42}", "application/json", -1, -1},
    {"[1,2]\n", FAILURE_NONE, "[1,2]\n", "application/json", -1, -1},
    {"\"text\"", FAILURE_NONE, "\"text\"", "application/json", -1, -1},
    {"", FAILURE_BAD_RESPONSE, "the command wrote nothing, not even JSON", NULL, 0, 0},
    {"hello", FAILURE_BAD_RESPONSE, "the command's output is not one JSON value: ", NULL, 0, 0},
    {"hello", FAILURE_BAD_RESPONSE, "; it begins with: hello", NULL, 0, 0},
    {"{\"output\":1} {\"output\":2}", FAILURE_BAD_RESPONSE, "not one JSON value", NULL, 0, 0},
    {"{\"output\":1,\"output\":2}", FAILURE_BAD_RESPONSE, "the command's output cannot be used", NULL, 0, 0},
    {"{\"output\":1,\"outputs\":[]}", FAILURE_BAD_RESPONSE, "both output and outputs", NULL, 0, 0},
    {"{\"outputs\":{}}", FAILURE_BAD_RESPONSE, "outputs are no list", NULL, 0, 0},
    {"{\"outputs\":[{\"text\":\"a\"},7]}", FAILURE_BAD_RESPONSE, "entry 2 of the command's outputs", NULL, 0,
     0},
    {"{\"outputs\":[{\"text\":\"a\",\"base64\":\"AA==\"}]}", FAILURE_BAD_RESPONSE, "either text or base64",
     NULL, 0, 0},
    {"{\"outputs\":[{\"base64\":\"A===\"}]}", FAILURE_BAD_RESPONSE, "its base64 is none", NULL, 0, 0},
    {"{\"outputs\":[{\"mime\":\"png\",\"base64\":\"AA==\"}]}", FAILURE_BAD_RESPONSE, "its mime is none", NULL,
     0, 0},
    {"{\"outputs\":[{\"mime\":\"a/b\\nc\",\"text\":\"\"}]}", FAILURE_BAD_RESPONSE, "its mime is none", NULL,
     0, 0},
    {"{\"error\":{\"message\":\"too many\",\"type\":\"RateLimitError\",\"retry_after\":2.5}}",
     FAILURE_SCRIPTED, "too many", "RateLimitError", 0, 0},
    {"{\"error\":{\"message\":\"strange\",\"type\":\"MyError\"}}", FAILURE_SCRIPTED, "MyError: strange",
     "CommandError", 0, 0},
    {"{\"error\":\"just text\"}", FAILURE_SCRIPTED, "just text", "CommandError", 0, 0},
    {"{\"error\":{}}", FAILURE_SCRIPTED, "an error without a message", "CommandError", 0, 0},
    {"{\"error\":{\"message\":\" \"}}", FAILURE_SCRIPTED, "an error without a message", "CommandError", 0, 0},
    {"{\"error\":{\"type\":\"Odd\"}}", FAILURE_SCRIPTED,
     "Odd: the command told of an error without a message", "CommandError", 0, 0},
};

static void json_answers(void **state) {
    (void)state;
    set_command("cat");
    model.output_json = true;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const struct answer *a = &answers[i];
        struct outcome *o = run(a->text, "{}");
        assert_int_equal(o->failure.kind, a->kind);
        if (a->kind == FAILURE_NONE) {
            assert_true(o->output_count >= 1);
            assert_string_equal(o->outputs[0].content, a->says);
            assert_string_equal(o->outputs[0].mime, a->mime);
            assert_int_equal(o->input_tokens, a->input_tokens);
            assert_int_equal(o->output_tokens, a->output_tokens);
        } else {
            assert_int_equal(o->output_count, 0);
            assert_says(o->failure.message, a->says);
            if (a->mime)
                assert_string_equal(o->failure.type, a->mime);
            struct verdict verdict;
            classify(&o->failure, &model, 0, &verdict);
            assert_string_equal(verdict.error_type, a->mime ? a->mime : "ModelGenerationError");
        }
        outcome_free(o);
    }
}

static void json_of_a_failed_one(void **state) {
    (void)state;
    model.output_json = true;
    set_script("echo '{\"error\":{\"message\":\"no "
               "money\",\"type\":\"QuotaError\",\"retry_after\":\"90s\"}}'; exit 3");
    struct outcome *o = run("x", "{}");
    assert_int_equal(o->failure.kind, FAILURE_SCRIPTED);
    assert_string_equal(o->failure.type, "QuotaError");
    assert_int_equal(o->failure.retry_after_ms, 90000);
    outcome_free(o);
    set_script("echo '{\"output\":\"unfinished\"'; echo broken >&2; exit 3");
    o = run("x", "{}");
    assert_int_equal(o->failure.kind, FAILURE_EXIT);
    assert_says(o->failure.message, "exit status 3 of sh: broken");
    assert_int_equal(o->output_count, 1);
    assert_true(o->outputs[0].partial);
    outcome_free(o);
    set_script("echo '{\"output\":\"a\",\"finish_reason\":\"length\"}'");
    o = run("x", "{}");
    assert_string_equal(o->finish_reason, "length");
    assert_text(o, "a");
    outcome_free(o);
}

// ---- what cannot be started ----

static void write_script(const char *name, const char *text, mode_t mode) {
    char *path = mem_format("%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
    free(path);
}

static void says_what_keeps_it_from_starting(void **state) {
    (void)state;
    static const struct {
        const char *command, *says;
    } cases[] = {
        {"no-such-program-here",
         "cannot start no-such-program-here (No such file or directory): there is no such "
         "program in PATH: install it, or write its path"},
        {"/no/such/program", "there is no such file: correct the path"},
        {"%s/plain", "this user may not execute it: make it an executable file (chmod +x)"},
        {"%s/bare", "(Exec format error): it is not a program: begin a script with a line such as #!/bin/sh"},
        {"%s/lost", "the interpreter that its first line names is not there"},
        {"%s", "this user may not execute it"},
    };
    write_script("plain", "#!/bin/sh\necho hi\n", 0644);
    write_script("bare", "echo hi\n", 0755);
    write_script("lost", "#!/no/such/interpreter\n", 0755);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *hole = strstr(cases[i].command, "%s");
        char *line = hole ? mem_format("%s%s", folder, hole + 2) : mem_copy(cases[i].command);
        set_command(line);
        struct outcome *o = run("x", "{}");
        struct verdict verdict;
        assert_int_equal(o->failure.kind, FAILURE_CONFIGURATION);
        assert_says(o->failure.message, cases[i].says);
        assert_says(o->failure.message, model.program);
        classify(&o->failure, &model, 0, &verdict);
        assert_int_equal(verdict.action, VERDICT_PARK);
        assert_string_equal(verdict.error_type, "ConfigurationError");
        outcome_free(o);
        free(line);
    }
    set_command("cat");
    model.folder = (char *)"/no/such/folder";
    struct outcome *o = run("x", "{}");
    assert_int_equal(o->failure.kind, FAILURE_CONFIGURATION);
    assert_says(o->failure.message,
                "its folder /no/such/folder cannot be entered (No such file or directory)");
    outcome_free(o);
    model.folder = NULL;
}

// ---- progress and stopping ----

static void tells_of_progress(void **state) {
    (void)state;
    struct watcher w = {0};
    set_script("echo progress 10% >&2; sleep 0.05; echo progress 90% >&2; sleep 0.05; echo answer");
    begin(&w, "x", "{}");
    assert_text(w.outcome, "answer\n");
    assert_int_equal(w.last_step, STEP_STREAM);
    assert_true(w.progresses >= 3);
    outcome_free(w.outcome);
    w = (struct watcher){0};
    set_script("sleep 0.05");
    begin(&w, "x", "{}");
    assert_int_equal(w.last_step, STEP_WAIT);
    assert_int_equal(w.content_bytes, 0);
    outcome_free(w.outcome);
}

static void stops_with_what_came(void **state) {
    (void)state;
    struct watcher w = {.stop_at_content = true};
    set_script("echo why >&2; echo half; sleep 1000 & wait");
    begin(&w, "x", "{}");
    assert_int_equal(w.stopped->failure.kind, FAILURE_NONE);
    assert_null(w.stopped->failure.message);
    assert_string_equal(w.stopped->failure.where, "command sh");
    for (size_t i = 0; i < w.stopped->output_count; i++) // as much of it as was there in that pass
        assert_true(w.stopped->outputs[i].partial);
    outcome_free(w.stopped);
    while (child_dying(loop, &model) > 0)
        assert_int_equal(loop_wait(loop, 60000, &reason), 0);
}

static void stop_right_after_start(void **state) {
    (void)state;
    static const char *const commands[] = {"cat", "sleep 1000", "no-such-program-here"};
    for (size_t i = 0; i < 3; i++) {
        struct watcher w = {0};
        const struct provider_request request = {.model = &model,
                                                 .model_id = "m",
                                                 .generation_id = "g",
                                                 .runner_id = runner_id,
                                                 .start = 1,
                                                 .prompt = "x"};
        const struct provider_listener listener = {.on_progress = progressed, .on_end = ended, .payload = &w};
        set_command(commands[i]);
        w.stopped = provider_command.stop(provider_command.start(loop, &request, &listener));
        assert_int_equal(w.stopped->failure.kind, FAILURE_NONE);
        outcome_free(w.stopped);
        while (child_dying(loop, NULL) > 0)
            assert_int_equal(loop_wait(loop, 60000, &reason), 0);
        assert_int_equal(w.progresses, 0);
    }
}

// ---- its tools ----

static void base64_is_strict(void **state) {
    (void)state;
    static const struct {
        const char *text, *bytes; // NULL: refused
    } cases[] = {
        {"", ""},
        {"YQ==", "a"},
        {"YWI=", "ab"},
        {"YWJj", "abc"},
        {"YWJjZA==", "abcd"},
        {"+/+/", "\xfb\xff\xbf"},
        {"YQ", NULL},
        {"YQ=", NULL},
        {"Y===", NULL},
        {"====", NULL},
        {"YQ==YQ==", NULL},
        {"YW-_", NULL},
        {"YWJ\n", NULL},
        {"YWJj\nYWJj", NULL},
        {"=YWJ", NULL},
        {"YW\xc3\xa4", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        assert_int_equal(base64_decode(&out, cases[i].text), cases[i].bytes != NULL);
        if (cases[i].bytes)
            assert_string_equal(buf_borrow(&out), cases[i].bytes);
        buf_free(&out);
    }
}

static void what_was_said_is_kept_whatever_its_pieces(void **state) {
    (void)state;
    static const char text[] =
        "first\r\n10%\r20%\rdone\nprogress 5%\nprogress: 7 of 9\n\nprogress lost\nsecond\nopen end";
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct said said;
        struct buf out;
        said_init(&said, NULL, NULL);
        buf_init(&out, BUF_UNLIMITED);
        for (size_t at = 0; at < sizeof text - 1; at += piece)
            said_add(&said, text + at, sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece);
        said_write(&said, &out);
        assert_string_equal(buf_borrow(&out), "first\ndone\nprogress lost\nsecond\nopen end\n");
        buf_clear(&out);
        said_write_end(&said, 12, &out);
        assert_string_equal(buf_borrow(&out), "\xe2\x80\xa6ond\nopen end");
        said_free(&said);
        buf_free(&out);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    snprintf(runner_id, sizeof runner_id, "test-%d", (int)getpid());
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        CASE(gets_the_prompt),
        CASE(refuses_a_body_that_is_not_one_text),
        CASE(gets_json_when_it_wants),
        CASE(gets_a_clean_environment),
        CASE(parameters_too_large_for_an_environment),
        CASE(ends_as_it_ends),
        CASE(a_failed_one_keeps_what_it_wrote),
        CASE(what_a_person_decides_for_a_status),
        CASE(secrets_are_not_repeated),
        CASE(secrets_are_not_repeated_in_part),
        CASE(bytes_that_are_no_text),
        CASE(json_answers),
        CASE(json_of_a_failed_one),
        CASE(says_what_keeps_it_from_starting),
        CASE(tells_of_progress),
        CASE(stops_with_what_came),
        CASE(stop_right_after_start),
        CASE(base64_is_strict),
        CASE(what_was_said_is_kept_whatever_its_pieces),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < 3; i++) {
        static const char *const scripts[] = {"plain", "bare", "lost"};
        char *path = mem_format("%s/%s", folder, scripts[i]);
        unlink(path);
        free(path);
    }
    return rmdir(folder) == 0 ? failed : 1;
}
