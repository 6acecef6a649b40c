// SPDX-License-Identifier: MIT
// Children on a real loop: what they get, what is heard of them, and that nothing of them stays, whatever they do.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "loop/stray.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_MS 20000 // far beyond what anything here takes

static struct loop *loop;
static struct err reason;
static char mark[64], path[4096], folder[] = "/tmp/genrun-child-XXXXXX";

struct watcher {
    struct child *child;
    struct buf out[2];
    struct child_end end;
    bool ended;
    size_t stop_at; // stops the child when so many bytes came on stdout; 0: never
    int passes;
    int told; // that a child was gone
};

static void on_bytes(void *payload, enum child_stream stream, const char *bytes, size_t length) {
    struct watcher *w = payload;
    assert_false(w->ended);
    assert_true(length > 0);
    buf_append(&w->out[stream], bytes, length);
    if (w->stop_at && w->out[CHILD_STDOUT].length >= w->stop_at) {
        child_stop(w->child);
        w->child = NULL;
    }
}

static void on_end(void *payload, const struct child_end *end) {
    struct watcher *w = payload;
    assert_false(w->ended);
    w->ended = true;
    w->child = NULL;
    w->end = *end;
}

static int start_words(struct watcher *w, char *const *words, const char *input, size_t length,
                       const char *where) {
    static int number;
    struct leftover_mark carried = {0};
    snprintf(carried.runner, sizeof carried.runner, "test-%d-%d", (int)getpid(), ++number);
    snprintf(mark, sizeof mark, LEFTOVER_RUNNER "=%s", carried.runner);
    char *const environment[] = {path, mark, (char *)LEFTOVER_GENERATION "=g", NULL};
    memcpy(carried.generation, "g", 2);
    const struct child_request request = {.program = words[0],
                                          .words = words,
                                          .environment = environment,
                                          .folder = where,
                                          .input = input,
                                          .input_length = length,
                                          .mark = carried,
                                          .family = w};
    const struct child_listener listener = {.on_bytes = on_bytes, .on_end = on_end, .payload = w};
    buf_init(&w->out[0], BUF_UNLIMITED);
    buf_init(&w->out[1], BUF_UNLIMITED);
    return child_start(&w->child, loop, &request, &listener);
}

static void start(struct watcher *w, const char *script, const char *input) {
    char *const words[] = {(char *)"/bin/sh", (char *)"-c", (char *)script, NULL};
    assert_int_equal(start_words(w, words, input, input ? strlen(input) : 0, NULL), 0);
    assert_non_null(w->child);
    assert_false(w->ended);
}

static void pass(struct watcher *w) {
    assert_int_equal(loop_wait(loop, LONG_MS, &reason), 0);
    w->passes++;
}

static void finish(struct watcher *w) {
    while (!w->ended)
        pass(w);
}

static void wait_until_gone(struct watcher *w) {
    while (child_dying(loop, NULL) > 0)
        pass(w);
}

static void count_told(void *payload) {
    struct watcher *w = payload;
    w->told++;
}

static const char *out(const struct watcher *w) {
    return buf_borrow(&w->out[CHILD_STDOUT]);
}

static void clear(struct watcher *w) {
    buf_free(&w->out[0]);
    buf_free(&w->out[1]);
    *w = (struct watcher){0};
}

static void run(struct watcher *w, const char *script, const char *input) {
    start(w, script, input);
    finish(w);
}

static bool lives(pid_t pid) {
    struct process_stat stat;
    return pid > 0 && process_read(pid, &stat) && stat.state != 'Z' && stat.state != 'X';
}

// The process numbers that the child wrote, one a line.
static size_t read_pids(const struct watcher *w, pid_t pids[8]) {
    size_t count = 0;
    for (const char *p = out(w); *p && count < 8; p += strcspn(p, "\n") + 1)
        pids[count++] = (pid_t)strtol(p, NULL, 10);
    return count;
}

// SIGKILL was sent; the kernel ends it in a moment, which nobody tells of when it is not a child of this process.
static void assert_gone(pid_t pid) {
    const struct timespec moment = {0, 1000000};
    int64_t end_ms = clock_monotonic_ms() + LONG_MS;
    while (lives(pid) && clock_monotonic_ms() < end_ms)
        nanosleep(&moment, NULL);
    assert_false(lives(pid));
}

static void assert_no_children(void) {
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static int set_up(void **state) {
    (void)state;
    return loop_open(&loop, &reason);
}

static int tear_down(void **state) {
    (void)state;
    loop_close(loop);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    return 0;
}

// ---- what it gets and says ----

static void talks_both_ways(void **state) {
    (void)state;
    struct watcher w = {0};
    run(&w, "cat; echo warn >&2", "hello");
    assert_string_equal(out(&w), "hello");
    assert_string_equal(buf_borrow(&w.out[CHILD_STDERR]), "warn\n");
    assert_false(w.end.signalled);
    assert_int_equal(w.end.status, 0);
    clear(&w);
    run(&w, "cat; printf end", NULL);
    assert_string_equal(out(&w), "end");
    clear(&w);
    assert_no_children();
}

static void a_megabyte_both_ways_at_once(void **state) {
    (void)state;
    struct watcher w = {0};
    size_t length = 1 << 20;
    char *input = mem_alloc(length + 1, 1);
    for (size_t i = 0; i < length; i++)
        input[i] = (char)('a' + i % 23);
    run(&w, "tee /dev/stderr", input);
    assert_int_equal(w.out[CHILD_STDOUT].length, length);
    assert_int_equal(w.out[CHILD_STDERR].length, length);
    assert_memory_equal(w.out[CHILD_STDOUT].data, input, length);
    assert_memory_equal(w.out[CHILD_STDERR].data, input, length);
    clear(&w);
    free(input);
}

static void input_that_nobody_reads(void **state) {
    (void)state;
    static const char *const scripts[] = {"exec <&-; echo ok", "head -c 1 >/dev/null; echo ok",
                                          "sleep 0.1; echo ok", "exec sh -c 'echo ok' </dev/null"};
    struct sigaction old, normal = {.sa_handler = SIG_DFL};
    char *input = mem_alloc((1 << 20) + 1, 1);
    memset(input, 'x', 1 << 20);
    sigaction(SIGPIPE, &normal, &old); // it would end this process
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct watcher w = {0};
        run(&w, scripts[i], input);
        assert_string_equal(out(&w), "ok\n");
        assert_int_equal(w.end.status, 0);
        clear(&w);
    }
    sigaction(SIGPIPE, &old, NULL);
    free(input);
    assert_no_children();
}

static void ends_as_it_ends(void **state) {
    (void)state;
    static const struct {
        const char *script;
        bool signalled;
        int status;
    } cases[] = {
        {"exit 0", false, 0},
        {"exit 1", false, 1},
        {"exit 255", false, 255},
        {"kill -TERM $$", true, SIGTERM},
        {"kill -KILL $$", true, SIGKILL},
        {"kill -SEGV $$", true, SIGSEGV},
        {"exec 0<&- 1>&- 2>&-; exit 4", false, 4},
        {"exec true", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct watcher w = {0};
        run(&w, cases[i].script, "unread");
        assert_int_equal(w.end.signalled, cases[i].signalled);
        assert_int_equal(w.end.status, cases[i].status);
        clear(&w);
    }
    assert_no_children();
}

static void starts_as_a_fresh_program(void **state) {
    (void)state;
    struct watcher w = {0};
    struct sigaction old, ignore = {.sa_handler = SIG_IGN};
    sigset_t all, before;
    sigfillset(&all);
    sigaction(SIGPIPE, &ignore, &old);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int leak = open("/dev/null", O_RDONLY);
    run(&w, "grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '", NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    sigaction(SIGPIPE, &old, NULL);
    close(leak);
    unsigned long long blocked, ignored;
    int at = 0;
    assert_int_equal(sscanf(out(&w), "SigBlk: %llx SigIgn: %llx %n", &blocked, &ignored, &at), 2);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & 0x7fffffff, 0);     // beyond are two of glibc's own
    assert_string_equal(out(&w) + at, "0 1 2 3 "); // 3: of ls
    clear(&w);
    run(&w, "env | grep -v -E '^(PWD|SHLVL|_|OLDPWD)='", NULL);
    char *all_of_it = mem_format("%s\n%s\n%s\n", path, mark, LEFTOVER_GENERATION "=g");
    assert_string_equal(out(&w), all_of_it);
    free(all_of_it);
    clear(&w);
    run(&w, "cut -d' ' -f1,5,6 /proc/$$/stat", NULL); // its own number, group and session
    int numbers[3];
    assert_int_equal(sscanf(out(&w), "%d %d %d", &numbers[0], &numbers[1], &numbers[2]), 3);
    assert_int_equal(numbers[0], numbers[1]);
    assert_int_equal(numbers[0], numbers[2]);
    clear(&w);
}

static void runs_in_its_folder_with_the_former_limit(void **state) {
    (void)state;
    struct watcher w = {0};
    char *const words[] = {(char *)"sh", (char *)"-c", (char *)"pwd; ulimit -n", NULL};
    struct rlimit before, after;
    getrlimit(RLIMIT_NOFILE, &before);
    child_adopt(loop);
    getrlimit(RLIMIT_NOFILE, &after);
    assert_int_equal(start_words(&w, words, NULL, 0, folder), 0);
    finish(&w);
    char *expected = mem_format("%s\n%llu\n", folder, (unsigned long long)before.rlim_cur);
    assert_string_equal(out(&w), expected);
    free(expected);
    struct rlimit still;
    getrlimit(RLIMIT_NOFILE, &still);
    assert_int_equal(still.rlim_cur, after.rlim_cur);
    setrlimit(RLIMIT_NOFILE, &before);
    clear(&w);
}

static void starts_where_standard_files_are_closed(void **state) {
    (void)state;
    struct watcher w = {0};
    int saved[3];
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i);
    }
    char *const words[] = {(char *)"/bin/sh", (char *)"-c", (char *)"cat; echo two >&2", NULL};
    int error = start_words(&w, words, "one", 3, NULL);
    while (!error && !w.ended && loop_wait(loop, LONG_MS, &reason) == 0) {
    }
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
    assert_int_equal(error, 0);
    assert_true(w.ended);
    assert_string_equal(out(&w), "one");
    assert_string_equal(buf_borrow(&w.out[CHILD_STDERR]), "two\n");
    clear(&w);
}

static void write_script(const char *name, const char *text, mode_t mode) {
    char whole[128];
    snprintf(whole, sizeof whole, "%s/%s", folder, name);
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(whole, mode), 0);
}

static void says_why_it_cannot_start(void **state) {
    (void)state;
    write_script("plain", "#!/bin/sh\necho hi\n", 0644);
    write_script("bare", "echo hi\n", 0755);
    write_script("lost", "#!/no/such/interpreter\n", 0755);
    static const struct {
        const char *program, *where;
        int error;
    } cases[] = {
        {"no-such-program-here", NULL, ENOENT},
        {"/no/such/program", NULL, ENOENT},
        {"plain", NULL, EACCES},
        {"bare", NULL, ENOEXEC},
        {"lost", NULL, ENOENT},
        {"", NULL, EACCES},
        {"/bin/sh", "/no/such/folder", ENOENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct watcher w = {0};
        bool is_ours = !strchr(cases[i].program, '/') && i > 1;
        char *program = is_ours ? mem_format("%s/%s", folder, cases[i].program) : mem_copy(cases[i].program);
        char *const words[] = {program, NULL};
        assert_int_equal(start_words(&w, words, NULL, 0, cases[i].where), cases[i].error);
        assert_null(w.child);
        assert_false(child_was_short(cases[i].error));
        free(program);
        clear(&w);
    }
    assert_no_children();
}

static void without_files_nothing_starts(void **state) {
    (void)state;
    char *const words[] = {(char *)"/bin/true", NULL};
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    int next = dup(0);
    close(next);
    // With each number of files that are left: all of them are too few but the last.
    int error = EMFILE;
    for (int more = 0; error && more < 16; more++) {
        struct watcher w = {0};
        none = (struct rlimit){(rlim_t)(next + more), before.rlim_max};
        setrlimit(RLIMIT_NOFILE, &none);
        error = start_words(&w, words, NULL, 0, NULL);
        setrlimit(RLIMIT_NOFILE, &before);
        if (error)
            assert_true(child_was_short(error));
        else
            finish(&w);
        clear(&w);
    }
    assert_int_equal(error, 0);
    assert_no_children();
}

static void waits_without_spinning(void **state) {
    (void)state;
    struct watcher w = {0};
    start(&w, "exec 0<&- 1>&- 2>&-; sleep 0.3", "x");
    finish(&w);
    assert_true(w.passes < 20);
    clear(&w);
    // Nobody reads 1 MB, and nothing is written.
    char *input = mem_alloc((1 << 20) + 1, 1);
    memset(input, 'x', 1 << 20);
    start(&w, "exec sleep 0.3", input);
    finish(&w);
    assert_true(w.passes < 20);
    clear(&w);
    free(input);
}

// ---- stopping ----

static void stops_at_sigterm(void **state) {
    (void)state;
    struct watcher w = {0};
    char script[256];
    snprintf(script, sizeof script,
             "trap 'echo last word; echo bye >%s/bye; exit 3' TERM; echo go; while :; do sleep 0.01; done",
             folder);
    start(&w, script, NULL);
    w.stop_at = 1;
    while (w.child)
        pass(&w);
    assert_int_equal(child_dying(loop, NULL), 1);
    assert_int_equal(child_dying(loop, &w), 1);
    assert_int_equal(child_dying(loop, "another"), 0);
    wait_until_gone(&w);
    assert_false(w.ended);
    assert_string_equal(out(&w), "go\n"); // its last word goes to nobody
    snprintf(script, sizeof script, "%s/bye", folder);
    assert_int_equal(access(script, F_OK), 0);
    clear(&w);
    assert_no_children();
}

// The shell dies of SIGTERM at once; what it waits for is given the time.
static void all_of_the_group_have_the_grace(void **state) {
    (void)state;
    struct watcher w = {0};
    char script[256], file[128];
    snprintf(file, sizeof file, "%s/tidy", folder);
    snprintf(
        script, sizeof script,
        "sh -c \"trap 'sleep 0.2; echo >%s; exit' TERM; echo go; while :; do sleep 0.01; done\"; :", file);
    start(&w, script, NULL);
    w.stop_at = 1;
    while (w.child)
        pass(&w);
    wait_until_gone(&w);
    assert_int_equal(access(file, F_OK), 0);
    clear(&w);
    assert_no_children();
}

static void kills_what_ignores_sigterm(void **state) {
    (void)state;
    static const char *const scripts[] = {
        "trap '' TERM; echo $$; sleep 1000; sleep 1000", // the grandchild ignores it, too
        "trap '' TERM; echo $$; while :; do echo flood; done",
        "trap '' TERM; echo $$; kill -STOP $$; sleep 1000",
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct watcher w = {0};
        pid_t pids[8];
        start(&w, scripts[i], NULL);
        w.stop_at = 1;
        while (w.child)
            pass(&w);
        assert_true(read_pids(&w, pids) > 0);
        assert_true(lives(pids[0]));
        struct loop_task told = {.on_run = count_told, .payload = &w};
        assert_false(child_hurry(loop, "another", &told));
        if (i > 0)
            assert_true(child_hurry(loop, "g", &told)); // its grace is cut
        if (i == 1)
            child_hurry_cancel(loop, &told);
        wait_until_gone(&w);
        assert_false(lives(pids[0]));
        assert_int_equal(w.told, i > 1);
        assert_false(child_hurry(loop, "g", &told));
        clear(&w);
    }
    assert_no_children();
}

static void stop_at_any_moment(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        struct watcher w = {0};
        start(&w, i % 2 ? "echo a; echo b >&2; exit 1" : "sleep 1000 & echo a; exit 0", "input");
        for (int p = 0; p < i / 2 && !w.ended; p++)
            assert_int_equal(loop_wait(loop, 1, &reason), 0);
        if (w.child) {
            child_stop(w.child);
            wait_until_gone(&w);
            assert_false(w.ended);
        }
        clear(&w);
    }
    assert_no_children();
}

static void the_end_of_the_loop_ends_all(void **state) {
    (void)state;
    struct watcher w[4] = {0};
    pid_t pids[4][8];
    for (int i = 0; i < 4; i++) {
        start(&w[i], "trap '' TERM; sleep 1000 & echo $!; echo $$; wait", NULL);
        while (!strchr(out(&w[i]), '\n') || read_pids(&w[i], pids[i]) < 2)
            pass(&w[i]);
    }
    child_stop(w[0].child);
    child_end_all(loop);
    for (int i = 0; i < 4; i++) {
        assert_false(w[i].ended);
        assert_gone(pids[i][0]);
        assert_gone(pids[i][1]);
        clear(&w[i]);
    }
    assert_int_equal(child_dying(loop, NULL), 0);
    assert_no_children();
}

// ---- what it leaves ----

static void ends_what_is_left(void **state) {
    (void)state;
    static const struct {
        const char *script; // writes the numbers of those it leaves
        bool hides_marks;
    } cases[] = {
        {"sleep 1000 & echo $!", false},                                              // in its group
        {"trap '' TERM HUP; sleep 1000 & echo $!", false},                            // deaf
        {"setsid sleep 1000 & echo $!; sleep 0.1", false},                            // a session of its own
        {"set -m; sleep 1000 & echo $!", false},                                      // a group of its own
        {"(setsid sh -c 'sleep 1000 & echo $!; echo $$; wait' &); sleep 0.2", false}, // a daemon with a child
        {"(setsid sh -c 'exec >&- 2>&- <&-; sleep 1000' & echo $!); sleep 0.1", false}, // without our pipes
        {"sh -c 'setsid sh -c \"sh -c \\\"trap : TERM; sleep 1000\\\" & echo \\$!; wait\" &'; sleep 0.2",
         false},
        {"(env -i setsid /bin/sleep 1000 & echo $!); sleep 0.1", true},
    };
    for (int adopting = 0; adopting < 2; adopting++) {
        if (adopting)
            child_adopt(loop);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct watcher w = {0};
            pid_t pids[8];
            if (cases[i].hides_marks && !adopting)
                continue;
            run(&w, cases[i].script, NULL);
            assert_int_equal(w.end.status, 0);
            size_t count = read_pids(&w, pids);
            assert_true(count > 0);
            wait_until_gone(&w);
            for (size_t p = 0; p < count; p++)
                assert_gone(pids[p]);
            clear(&w);
            if (adopting)
                assert_no_children();
        }
    }
}

static void spares_the_strays_of_others(void **state) {
    (void)state;
    struct watcher long_one = {0}, short_one = {0};
    pid_t pids[8];
    char script[256], go[128];
    snprintf(go, sizeof go, "%s/go", folder);
    snprintf(script, sizeof script, "(setsid sleep 1000 & echo $!); until [ -e %s ]; do sleep 0.01; done",
             go);
    child_adopt(loop);
    start(&long_one, script, NULL);
    while (!strchr(out(&long_one), '\n'))
        pass(&long_one);
    assert_int_equal(read_pids(&long_one, pids), 1);
    run(&short_one, "exit 0", NULL);
    assert_true(lives(pids[0]));
    assert_false(long_one.ended);
    write_script("go", "", 0644);
    finish(&long_one);
    wait_until_gone(&long_one);
    assert_gone(pids[0]);
    clear(&long_one);
    clear(&short_one);
}

static void ends_the_children_of_strays_beside_others(void **state) {
    (void)state;
    static const char *const scripts[] = {
        "(setsid sh -c 'env -i /bin/sleep 1000 & echo $!; wait' &); sleep 0.2",
        "(setsid sh -c 'env -i setsid /bin/sh -c \"/bin/sleep 1000 & echo \\$!; wait\" & wait' &); sleep 0.2",
    };
    struct watcher long_one = {0};
    child_adopt(loop);
    start(&long_one, "exec sleep 1000", NULL);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct watcher w = {0};
        pid_t pids[8];
        run(&w, scripts[i], NULL);
        assert_int_equal(read_pids(&w, pids), 1);
        wait_until_gone(&w);
        assert_gone(pids[0]);
        assert_false(long_one.ended);
        clear(&w);
    }
    child_stop(long_one.child);
    wait_until_gone(&long_one);
    clear(&long_one);
    assert_no_children();
}

static void reaps_zombies(void **state) {
    (void)state;
    struct watcher w = {0};
    child_adopt(loop);
    run(&w, "sleep 0 & sleep 0 & exec sleep 0.2", NULL); // which waits for neither
    wait_until_gone(&w);
    assert_no_children();
    clear(&w);
}

static void reaps_while_the_child_runs_on(void **state) {
    (void)state;
    struct watcher w = {0};
    pid_t pids[8];
    struct process_stat stat;
    child_adopt(loop);
    start(&w, "(sh -c 'echo $$' &); exec sleep 1000", NULL);
    while (!strchr(out(&w), '\n'))
        pass(&w);
    assert_int_equal(read_pids(&w, pids), 1);
    assert_gone(pids[0]);
    assert_true(process_read(pids[0], &stat)); // a zombie
    assert_int_equal(stat.parent, getpid());
    stray_reap(loop);
    assert_false(process_read(pids[0], &stat));
    assert_int_equal(child_dying(loop, NULL), 0);
    child_stop(w.child);
    wait_until_gone(&w);
    assert_no_children();
    clear(&w);
}

static void its_output_is_whole_though_others_hold_the_pipe(void **state) {
    (void)state;
    struct watcher w = {0};
    run(&w, "setsid sleep 1000 & head -c 60000 /dev/zero; exit 5", NULL);
    assert_int_equal(w.out[CHILD_STDOUT].length, 60000);
    assert_int_equal(w.end.status, 5);
    clear(&w);
    run(&w, "setsid sh -c 'while :; do echo flood; done' & echo first; exit 6", NULL);
    assert_int_equal(w.end.status, 6);
    assert_non_null(strstr(out(&w), "first"));
    clear(&w);
}

static void many_at_once(void **state) {
    (void)state;
    struct watcher w[64] = {0};
    child_adopt(loop);
    for (int i = 0; i < 64; i++)
        start(&w[i], i % 3 ? "cat; sleep 0.05" : "sleep 1000 & setsid sleep 1000 & cat; exit 1", "x");
    for (int i = 0; i < 64; i++) {
        finish(&w[i]);
        assert_string_equal(out(&w[i]), "x");
        assert_int_equal(w[i].end.status, i % 3 ? 0 : 1);
    }
    wait_until_gone(&w[0]);
    for (int i = 0; i < 64; i++)
        clear(&w[i]);
    assert_no_children();
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const char *given = getenv("PATH");
    snprintf(path, sizeof path, "PATH=%s", given ? given : "/usr/bin:/bin");
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        CASE(talks_both_ways),
        CASE(a_megabyte_both_ways_at_once),
        CASE(input_that_nobody_reads),
        CASE(ends_as_it_ends),
        CASE(starts_as_a_fresh_program),
        CASE(runs_in_its_folder_with_the_former_limit),
        CASE(starts_where_standard_files_are_closed),
        CASE(says_why_it_cannot_start),
        CASE(without_files_nothing_starts),
        CASE(waits_without_spinning),
        CASE(stops_at_sigterm),
        CASE(all_of_the_group_have_the_grace),
        CASE(kills_what_ignores_sigterm),
        CASE(stop_at_any_moment),
        CASE(the_end_of_the_loop_ends_all),
        CASE(ends_what_is_left),
        CASE(spares_the_strays_of_others),
        CASE(ends_the_children_of_strays_beside_others),
        CASE(reaps_zombies),
        CASE(reaps_while_the_child_runs_on),
        CASE(its_output_is_whole_though_others_hold_the_pipe),
        CASE(many_at_once),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char *remove = mem_format("rm -rf %s", folder);
    if (system(remove) != 0)
        failed++;
    free(remove);
    return failed;
}
