// SPDX-License-Identifier: MIT
// --wait and watch: the state of the work on stderr, and in the end what came of it.
#include "cli/wait.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cli/progress.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WATCH_WAIT_MS 1000 // at most until the next look
#define WATCH_REST_MS 200  // between two looks at least

static bool is(const genrun_row *row, const char *status) {
    const char *text = genrun_row_text(row, "status");
    return text != NULL && strcmp(text, status) == 0;
}

static bool has_ended(const genrun_row *row) {
    return is(row, "completed") || is(row, "failed") || is(row, "cancelled");
}

// What ended the wait, where it was not the work's own end.
static int report_wait(struct cli *cli, int code) {
    if (code == GENRUN_CONFLICT && genrun_message(cli->g)[0] == '\0')
        return cli_fail(cli, code, "interrupted: the work stays in the queue, a runner will do it");
    return cli_report(cli, code);
}

// ---- a generation ----

static int each_generation(void *payload, genrun_row *row) {
    const char *status = genrun_row_text(row, "status"), *step = genrun_row_text(row, "last_step");
    char *text = mem_format("%s (%s)", status != NULL ? status : "-", step != NULL ? step : "-");
    progress_show_text(payload, text);
    free(text);
    return 0;
}

// One line that tells why a generation did not complete.
static int report_generation(struct cli *cli, const char *id) {
    genrun_row *row = NULL;
    int code = genrun_get(cli->g, &row, id);
    if (code != GENRUN_OK)
        return cli_report(cli, code);
    const char *whole = genrun_row_text(row, "id"), *type = genrun_row_text(row, "error_type");
    const char *message = genrun_row_text(row, "error_message");
    if (is(row, "cancelled"))
        cli_fail(cli, GENRUN_WORK_FAILED, "%s was cancelled: 'genrun show %s' tells more", whole, whole);
    else
        cli_fail(cli, GENRUN_WORK_FAILED, "%s failed: %s: %s", whole, type != NULL ? type : "InternalError",
                 message != NULL ? message : "no message was stored");
    genrun_row_free(row);
    return GENRUN_WORK_FAILED;
}

int wait_generation(struct cli *cli, const char *id) {
    struct progress p;
    progress_start(&p, stderr, cli->quiet, NULL, "generations");
    int code = genrun_wait(cli->g, id, 1, each_generation, &p);
    progress_end(&p, NULL);
    return code == GENRUN_WORK_FAILED ? report_generation(cli, id) : report_wait(cli, code);
}

// ---- a batch job ----

struct batch_wait {
    struct cli *cli;
    struct progress progress;
    struct progress_state state; // of the row seen last; its note is kept in `note`
    char *note;
    bool begun;
};

static void take_batch(struct batch_wait *w, const genrun_row *row) {
    if (!w->begun) {
        const char *name = genrun_row_text(row, "name");
        progress_start(&w->progress, stderr, w->cli->quiet, name, "items");
        w->begun = true;
    }
    free(w->note);
    w->note = NULL;
    const char *reason = genrun_row_text(row, "paused_reason");
    if (is(row, "paused"))
        w->note = reason != NULL ? mem_format("paused: %s", reason) : mem_copy("paused");
    int64_t cancelled = genrun_row_integer(row, "cancelled_items", 0);
    w->state = (struct progress_state){
        .total = genrun_row_integer(row, "total_items", 0),
        .done = genrun_row_integer(row, "completed_items", 0) + cancelled,
        .failed = genrun_row_integer(row, "failed_items", 0),
        .cancelled = cancelled,
        .tokens = genrun_row_integer(row, "input_tokens", 0) + genrun_row_integer(row, "output_tokens", 0),
        .cost = genrun_row_number(row, "actual_cost", 0),
        .note = w->note,
    };
}

static int each_batch(void *payload, genrun_row *row) {
    struct batch_wait *w = payload;
    take_batch(w, row);
    progress_show(&w->progress, &w->state);
    return 0;
}

static int report_batch(struct cli *cli, const genrun_row *row) {
    int64_t failed = genrun_row_integer(row, "failed_items", 0);
    int64_t cancelled = genrun_row_integer(row, "cancelled_items", 0);
    int64_t total = genrun_row_integer(row, "total_items", 0);
    const char *id = genrun_row_text(row, "id"), *reason = genrun_row_text(row, "status_reason");
    if (failed == 0 && cancelled == 0 && is(row, "completed"))
        return GENRUN_OK;
    return cli_fail(
        cli, GENRUN_WORK_FAILED,
        "of %lld items %lld failed and %lld were cancelled%s%s: 'genrun batch items %s --status %s' "
        "shows them",
        (long long)total, (long long)failed, (long long)cancelled, reason != NULL ? ", " : "",
        reason != NULL ? reason : "", id, failed > 0 ? "failed" : "cancelled");
}

// Ends the bar with the last state of the batch, and tells what came of it.
static int end_batch(struct batch_wait *w, const char *id) {
    genrun_row *row = NULL;
    int code = genrun_batch_get(w->cli->g, &row, id);
    if (code == GENRUN_OK) {
        take_batch(w, row);
        progress_end(&w->progress, &w->state);
        code = report_batch(w->cli, row);
        genrun_row_free(row);
        return code;
    }
    return cli_report(w->cli, code);
}

static void drop_wait(struct batch_wait *w) {
    if (w->begun)
        progress_end(&w->progress, NULL);
    free(w->note);
}

int wait_batch(struct cli *cli, const char *id) {
    struct batch_wait w = {.cli = cli};
    int code = genrun_wait(cli->g, id, 1, each_batch, &w);
    if (w.begun)
        progress_clear(&w.progress);
    code = code == GENRUN_OK || code == GENRUN_WORK_FAILED ? end_batch(&w, id) : report_wait(cli, code);
    drop_wait(&w);
    return code;
}

// A batch that nobody runs would be watched for ever without a word.
static void note_missing_runner(struct cli *cli) {
    genrun_row *row = NULL;
    if (genrun_stats(cli->g, &row) == GENRUN_OK && genrun_row_integer(row, "runner_pid", 0) <= 0)
        cli_note(cli, "no runner is up: the batch goes on when 'genrun run' is started");
    genrun_row_free(row);
}

int wait_watch_batch(struct cli *cli, const char *id) {
    struct batch_wait w = {.cli = cli};
    int code;
    bool ended = false;
    for (;;) {
        genrun_row *row = NULL;
        code = genrun_batch_get(cli->g, &row, id);
        if (code != GENRUN_OK)
            break;
        ended = has_ended(row);
        if (!w.begun && !ended)
            note_missing_runner(cli);
        each_batch(&w, row);
        genrun_row_free(row);
        if (ended)
            break;
        int64_t before = clock_monotonic_ms();
        code = genrun_wait_change(cli->g, WATCH_WAIT_MS);
        if (code != GENRUN_OK)
            break;
        int64_t rest = WATCH_REST_MS - (clock_monotonic_ms() - before);
        struct timespec pause = {.tv_nsec = rest * 1000000};
        if (rest > 0) // a busy runner changes the file a thousand times a second
            nanosleep(&pause, NULL);
    }
    code = ended ? end_batch(&w, id) : cli_report(cli, code);
    drop_wait(&w);
    return code;
}
