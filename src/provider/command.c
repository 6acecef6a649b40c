// SPDX-License-Identifier: MIT
// The provider `command`: a local program is the model. One process a call: the
// prompt goes to its stdin, its stdout is the answer, its stderr is kept for the
// error, and any byte of either is a sign of progress.
#include "provider/command.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "loop/child.h"
#include "provider/answer.h"
#include "provider/command_answer.h"
#include "provider/command_probe.h"
#include "provider/command_request.h"
#include "provider/provider.h"
#include "provider/redact.h"
#include "provider/said.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_END 1500 // bytes of stderr in the message; the rest of what is kept is in the log

struct provider_call {
    struct loop *loop;
    struct provider_request request;
    struct provider_listener listener;
    struct outcome *outcome;
    struct child *child; // NULL: not started, or ended
    struct buf input;
    struct buf output;
    struct said said;
    struct loop_task start; // again, when what it waits for is gone
    struct loop_task turn;  // tells of progress, or of an end that came without the child's
    bool begun;             // the first step was told
    size_t content_bytes;   // not yet told of
};

static void free_call(struct provider_call *call) {
    child_hurry_cancel(call->loop, &call->start);
    loop_defer_cancel(call->loop, &call->start);
    loop_defer_cancel(call->loop, &call->turn);
    buf_free(&call->input);
    buf_free(&call->output);
    said_free(&call->said);
    outcome_free(call->outcome);
    free(call);
}

static void deliver(struct provider_call *call) {
    struct provider_listener listener = call->listener;
    struct outcome *outcome = call->outcome;
    call->outcome = NULL;
    free_call(call);
    listener.on_end(listener.payload, outcome);
}

static void on_turn(void *payload) {
    struct provider_call *call = payload;
    if (call->outcome->failure.kind) {
        deliver(call);
        return;
    }
    size_t content_bytes = call->content_bytes;
    enum provider_step step = call->begun && content_bytes ? STEP_STREAM : STEP_WAIT;
    call->begun = true;
    if (step == STEP_STREAM)
        call->content_bytes = 0;
    else if (content_bytes)
        loop_defer(call->loop, &call->turn);
    // Last, because the listener may stop the call.
    call->listener.on_progress(call->listener.payload, step, step == STEP_STREAM ? content_bytes : 0);
}

// ---- what it says ----

// What must not be seen, should the program repeat it: the values of these are overwritten by `redact`.
static void mask_with(const struct provider_call *call, char *text, void (*redact)(char *, const char *)) {
    const struct model *model = call->request.model;
    const char *key = model->api_key_env ? getenv(model->api_key_env) : NULL;
    if (text && key)
        redact(text, key);
    for (char **name = model->pass_env; text && name && *name; name++)
        if (redact_is_secret_name(*name) && getenv(*name))
            redact(text, getenv(*name));
}

static void mask_line(const void *call, char *line) {
    mask_with(call, line, redact_value);
}

static void mask(const struct provider_call *call, char *text) {
    mask_with(call, text, redact_value);
    mask_with(call, text, redact_cut);
}

static char *take_said(struct provider_call *call) {
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    said_write(&call->said, &text);
    char *body = text.length ? buf_take(&text) : NULL;
    buf_free(&text);
    mask(call, body);
    return body;
}

static void on_bytes(void *payload, enum child_stream stream, const char *bytes, size_t length) {
    struct provider_call *call = payload;
    if (stream == CHILD_STDERR) {
        said_add(&call->said, bytes, length);
    } else if (!buf_append(&call->output, bytes, length)) {
        child_stop(call->child);
        call->child = NULL;
        answer_fail(call->outcome, FAILURE_TOO_LARGE, 0,
                    mem_format("the command's output is larger than max_output (%zu bytes): raise it, or let "
                               "the command write less",
                               call->request.max_output),
                    NULL, 0);
    }
    call->content_bytes += length;
    loop_defer(call->loop, &call->turn);
}

// ---- the end ----

// "exit status 3 of summarize.sh: the end of its stderr"
static char *describe_end(struct provider_call *call, const struct child_end *end) {
    struct buf text;
    const char *name = call->request.model->program;
    name = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    buf_init(&text, BUF_UNLIMITED);
    if (end->signalled && end->status == 0)
        buf_format(&text, "%s ended, and something else in this process took its exit status", name);
    else if (!end->signalled)
        buf_format(&text, "exit status %d of %s", end->status, name);
    else
        buf_format(&text, "%s was killed by signal %d (%s)", name, end->status, strsignal(end->status));
    if (end->signalled && end->status == SIGKILL)
        buf_text(&text, ", as the system does when memory runs out");
    buf_text(&text, ": ");
    size_t before = text.length;
    said_write_end(&call->said, SHOWN_END, &text);
    if (text.length == before)
        buf_text(&text, "it said nothing on stderr; run it by hand with the prompt on its stdin");
    mask(call, text.data);
    return buf_take(&text);
}

static void judge(struct provider_call *call, const struct child_end *end) {
    struct outcome *outcome = call->outcome;
    const char *output = buf_borrow(&call->output);
    size_t length = call->output.length;
    bool is_json = call->request.model->output_json;
    int64_t now_at = clock_wall_at();
    if (!end->signalled && end->status == 0) {
        if (is_json)
            command_answer_json(output, length, now_at, outcome);
        else
            command_answer_bytes(output, length, false, outcome);
    } else if (!is_json || !command_answer_error(output, length, now_at, outcome)) {
        char *body = take_said(call);
        answer_fail(outcome, end->signalled ? FAILURE_SIGNAL : FAILURE_EXIT, 0, describe_end(call, end), body,
                    body ? strlen(body) : 0);
        free(body);
        if (length)
            command_answer_bytes(output, length, true, outcome);
    }
    outcome->failure.exit_status = end->status;
    mask(call, outcome->failure.message);
    mask(call, outcome->failure.body);
}

static void on_child_end(void *payload, const struct child_end *end) {
    struct provider_call *call = payload;
    call->child = NULL;
    judge(call, end);
    deliver(call);
}

// ---- the beginning ----

const char *command_why_not(int error, const struct model *model) {
    bool is_path = strchr(model->program, '/') != NULL;
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        if (is_path && access(model->program, F_OK) == 0)
            return "the interpreter that its first line names is not there: correct the line that begins "
                   "with #!, or install the interpreter";
        return is_path ? "there is no such file: correct the path, or put the program there"
                       : "there is no such program in PATH: install it, or write its path";
    case EACCES:
    case EPERM:
        return "this user may not execute it: make it an executable file (chmod +x) in folders that this "
               "user may enter";
    case ENOEXEC:
        return "it is not a program: begin a script with a line such as #!/bin/sh";
    default:
        return "the system refuses it: correct the command";
    }
}

static void fail_start(struct provider_call *call, int error) {
    const struct model *model = call->request.model;
    struct outcome *outcome = call->outcome;
    if (error == E2BIG)
        answer_fail(outcome, FAILURE_REQUEST, 0,
                    mem_format("cannot start %s: its environment and arguments are larger than the system "
                               "takes: set input = json for model %s, so that the parameters go by stdin",
                               model->program, model->name),
                    NULL, 0);
    else if (child_was_short(error))
        answer_fail(outcome, FAILURE_SHORTAGE, 0,
                    mem_format("cannot start %s (%s): lower concurrency, or raise the limits on processes "
                               "and open files",
                               model->program, strerror(error)),
                    NULL, 0);
    else if (model->folder && access(model->folder, X_OK) != 0)
        answer_fail(outcome, FAILURE_CONFIGURATION, 0,
                    mem_format("cannot start %s: its folder %s cannot be entered (%s): make it again, or "
                               "restart with the configuration where it is now",
                               model->program, model->folder, strerror(errno)),
                    NULL, 0);
    else
        answer_fail(outcome, FAILURE_CONFIGURATION, 0,
                    mem_format("cannot start %s (%s): %s", model->program, strerror(error),
                               command_why_not(error, model)),
                    NULL, 0);
}

static enum failure_kind kind_of(int rc) {
    return rc == ERR_CONFIG ? FAILURE_CONFIGURATION : FAILURE_REQUEST;
}

// No two starts have the same, so it tells this one's descendants.
static struct leftover_mark mark_of(const struct provider_request *request) {
    struct leftover_mark mark = {.attempt = request->start};
    snprintf(mark.runner, sizeof mark.runner, "%s", request->runner_id);
    snprintf(mark.generation, sizeof mark.generation, "%s", request->generation_id);
    return mark;
}

// Nothing of an attempt before it, which may be in its grace, runs beside it.
static void start(void *payload) {
    struct provider_call *call = payload;
    const struct model *model = call->request.model;
    struct err e;
    char **environment = NULL;
    if (child_hurry(call->loop, call->request.generation_id, &call->start))
        return;
    loop_defer(call->loop, &call->turn);
    int rc = command_request_environment(&call->request, &environment, &e);
    if (!rc)
        rc = command_request_input(&call->request, &call->input, &e);
    if (rc) {
        answer_fail(call->outcome, kind_of(rc), 0, mem_copy(e.message), NULL, 0);
        command_request_free(environment);
        return;
    }
    const struct child_request child = {.program = model->program,
                                        .words = model->command,
                                        .environment = environment,
                                        .folder = model->folder,
                                        .input = buf_borrow(&call->input),
                                        .input_length = call->input.length,
                                        .mark = mark_of(&call->request),
                                        .family = model};
    const struct child_listener listener = {.on_bytes = on_bytes, .on_end = on_child_end, .payload = call};
    int error = child_start(&call->child, call->loop, &child, &listener);
    if (error)
        fail_start(call, error);
    command_request_free(environment);
}

static struct provider_call *command_start(struct loop *loop, const struct provider_request *request,
                                           const struct provider_listener *listener) {
    struct provider_call *call = mem_alloc(1, sizeof *call);
    call->loop = loop;
    call->request = *request;
    call->listener = *listener;
    call->outcome = outcome_new();
    call->outcome->failure.where = mem_format("command %s", request->model->program);
    call->start = (struct loop_task){.on_run = start, .payload = call};
    call->turn = (struct loop_task){.on_run = on_turn, .payload = call};
    buf_init(&call->input, BUF_UNLIMITED);
    buf_init(&call->output, request->max_output ? request->max_output : BUF_UNLIMITED);
    said_init(&call->said, mask_line, call);
    start(call);
    return call;
}

static struct outcome *command_stop(struct provider_call *call) {
    struct outcome *outcome = call->outcome;
    if (call->child)
        child_stop(call->child);
    // Only what came counts; a failure not yet told of is forgotten.
    free(outcome->failure.message);
    free(outcome->failure.body);
    outcome->failure.message = NULL;
    outcome->failure.kind = FAILURE_NONE;
    outcome->failure.body = take_said(call);
    if (call->output.length)
        command_answer_bytes(buf_borrow(&call->output), call->output.length, true, outcome);
    call->outcome = NULL;
    free_call(call);
    return outcome;
}

// It may say something at any time; what counts until it does is first_byte_timeout.
static bool command_is_opaque(const struct provider_call *call) {
    (void)call;
    return false;
}

const struct provider provider_command = {.name = "command",
                                          .start = command_start,
                                          .stop = command_stop,
                                          .is_opaque = command_is_opaque,
                                          .probe = command_probe_start};
