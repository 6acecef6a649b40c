// SPDX-License-Identifier: MIT
// The built-in model `echo`: answers with the prompt, without any server, the
// same way every time. For a request that is a whole body the text is the last
// message's content, else `prompt`, else `input`. Tokens are words (runs of
// anything but ASCII blanks). Members of `parameters` script it:
//
//   "delay": "100ms"        the answer takes so long (100: milliseconds)
//   "chunks": n             it comes in n pieces spread over the delay, each one a progress
//   "repeat": n             the text n times in a row
//   "fail": "NetworkError"  ends with that error type after the delay, before the last piece
//   "fail_times": n         fails on the first n starts only
//   "retry_after": "2s"     what the server says to wait, with "fail"
//   "hang": "connect"       never answers; "stream": half the pieces (one at least), then silence
//   "crash": true           kills the process (SIGKILL) after the delay
//   "block": "5s"           sleeps on the loop's thread before anything else
//
// The last two need GENRUN_ECHO_FAULTS=1 in the environment. Other members are ignored.
#include "provider/provider.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "provider/script.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum phase { PHASE_BEGIN, PHASE_CONNECT, PHASE_ANSWER };

struct provider_call {
    struct loop *loop;
    struct provider_listener listener;
    int start; // number of the start
    struct script script;
    const char *prompt; // borrowed, or script.text
    const char *text;   // the answer: the prompt, or `repeated`
    size_t prompt_length, text_length;
    char *repeated;
    enum phase phase;
    size_t pieces_sent;
    struct loop_task task;
    struct loop_timer timer;
    int64_t began_ms;
    enum failure_kind refused; // the request cannot be served: told at the end
    struct err reason;
};

static void sleep_ms(int64_t ms) {
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

static int64_t count_words(const char *text, size_t length) {
    int64_t words = 0;
    bool inside = false;
    for (size_t i = 0; i < length; i++) {
        bool blank = text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r');
        if (!blank && !inside)
            words++;
        inside = !blank;
    }
    return words;
}

// The end of piece `n` of the text, never inside a character.
static size_t piece_end(const struct provider_call *call, size_t n) {
    size_t chunks = call->script.chunks;
    if (n >= chunks)
        return call->text_length;
    size_t end = (size_t)((unsigned __int128)call->text_length * n / chunks);
    while (end < call->text_length && ((unsigned char)call->text[end] & 0xc0) == 0x80)
        end++;
    return end;
}

static void free_call(struct provider_call *call) {
    loop_defer_cancel(call->loop, &call->task);
    loop_timer_clear(call->loop, &call->timer);
    free(call->script.text);
    free(call->repeated);
    free(call);
}

// The outcome with the text up to the last piece sent.
static struct outcome *partial_outcome(const struct provider_call *call) {
    struct outcome *outcome = outcome_new();
    outcome->input_tokens = count_words(call->prompt, call->prompt_length);
    size_t length = call->pieces_sent ? piece_end(call, call->pieces_sent) : 0;
    outcome->output_tokens = count_words(call->text, length);
    if (length)
        outcome_add(outcome, "text/plain", call->text, length, true);
    return outcome;
}

static void end_call(struct provider_call *call, struct outcome *outcome) {
    struct provider_listener listener = call->listener;
    free_call(call);
    listener.on_end(listener.payload, outcome);
}

static void end_failed(struct provider_call *call, enum failure_kind kind, char *message) {
    struct outcome *outcome = partial_outcome(call);
    outcome->failure.kind = kind;
    outcome->failure.message = message;
    outcome->failure.where = mem_copy("echo");
    if (kind == FAILURE_SCRIPTED) {
        outcome->failure.type = mem_copy(call->script.fail);
        outcome->failure.retry_after_ms = call->script.retry_after_ms;
    }
    end_call(call, outcome);
}

static void end_completed(struct provider_call *call) {
    struct outcome *outcome = outcome_new();
    outcome->input_tokens = count_words(call->prompt, call->prompt_length);
    outcome->output_tokens =
        call->repeated ? count_words(call->text, call->text_length) : outcome->input_tokens;
    outcome->finish_reason = mem_copy("stop");
    outcome_add(outcome, "text/plain", call->text, call->text_length, false);
    end_call(call, outcome);
}

static bool is_failing(const struct provider_call *call) {
    return call->script.fail && (call->script.fail_times < 0 || call->start <= call->script.fail_times);
}

static void finish(struct provider_call *call) {
    if (call->script.crash)
        raise(SIGKILL);
    if (is_failing(call))
        end_failed(
            call, FAILURE_SCRIPTED,
            mem_format("the echo model was told to fail with %s (start %d)", call->script.fail, call->start));
    else
        end_completed(call);
}

// ---- the course of a call: connect, wait, the pieces, the end ----

static bool is_plain(const struct script *script) {
    return script->delay_ms == 0 && script->chunks == 1 && script->hang == HANG_NEVER &&
           script->block_ms == 0;
}

// Sets the next piece (or the end) to its time; what hangs gets none.
static void plan_next(struct provider_call *call) {
    const struct script *script = &call->script;
    if (script->hang == HANG_CONNECT)
        return;
    if (script->hang == HANG_STREAM && call->pieces_sent >= (script->chunks + 1) / 2)
        return;
    size_t next = call->pieces_sent < script->chunks ? call->pieces_sent + 1 : script->chunks;
    int64_t due_ms =
        call->began_ms + (int64_t)((__int128)script->delay_ms * (int64_t)next / (int64_t)script->chunks);
    if (due_ms > clock_monotonic_ms())
        loop_timer_set(call->loop, &call->timer, due_ms);
    else
        loop_defer(call->loop, &call->task);
}

static void send_piece(struct provider_call *call) {
    size_t from = piece_end(call, call->pieces_sent);
    size_t to = piece_end(call, ++call->pieces_sent);
    plan_next(call);
    // Last, because the listener may stop the call.
    call->listener.on_progress(call->listener.payload, STEP_STREAM, to - from);
}

static void on_turn(void *payload) {
    struct provider_call *call = payload;
    const struct script *script = &call->script;
    if (call->refused) {
        end_failed(call, call->refused, mem_copy(call->reason.message));
        return;
    }
    switch (call->phase) {
    case PHASE_BEGIN:
        if (is_plain(script)) {
            finish(call);
            return;
        }
        sleep_ms(script->block_ms);
        call->phase = PHASE_CONNECT;
        call->began_ms = clock_monotonic_ms();
        if (script->hang != HANG_CONNECT)
            loop_defer(call->loop, &call->task);
        call->listener.on_progress(call->listener.payload, STEP_CONNECT, 0);
        return;
    case PHASE_CONNECT:
        call->phase = PHASE_ANSWER;
        plan_next(call);
        call->listener.on_progress(call->listener.payload, STEP_WAIT, 0);
        return;
    case PHASE_ANSWER:
        if (call->pieces_sent == script->chunks ||
            (call->pieces_sent + 1 == script->chunks && (is_failing(call) || script->crash)))
            finish(call);
        else
            send_piece(call);
        return;
    }
}

// ---- the provider ----

static void repeat_text(struct provider_call *call) {
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    for (size_t i = 0; i < call->script.repeat; i++)
        buf_append(&text, call->prompt, call->prompt_length);
    call->text_length = text.length;
    call->text = call->repeated = buf_take(&text);
}

static void prepare(struct provider_call *call, const struct provider_request *request) {
    call->prompt = call->text = "";
    if (script_read(request->parameters, !request->prompt, &call->script, &call->reason)) {
        call->refused = FAILURE_REQUEST;
        return;
    }
    if (call->script.hang == HANG_STREAM && call->script.chunks < 2)
        call->script.chunks = 2;
    call->prompt = request->prompt ? request->prompt : call->script.text;
    call->prompt_length = request->prompt ? strlen(request->prompt) : call->script.text_length;
    size_t most = request->max_output ? request->max_output : BUF_UNLIMITED;
    if (call->prompt_length > most / call->script.repeat) {
        err_set(&call->reason, ERR_WORK,
                "the answer is larger than max_output (%zu bytes): raise it or repeat less", most);
        call->refused = FAILURE_TOO_LARGE;
    } else if (call->script.repeat > 1) {
        repeat_text(call);
    } else {
        call->text = call->prompt;
        call->text_length = call->prompt_length;
    }
}

static struct provider_call *echo_start(struct loop *loop, const struct provider_request *request,
                                        const struct provider_listener *listener) {
    struct provider_call *call = mem_alloc(1, sizeof *call);
    call->loop = loop;
    call->listener = *listener;
    call->start = request->start;
    call->task = (struct loop_task){.on_run = on_turn, .payload = call};
    call->timer = (struct loop_timer){.on_due = on_turn, .payload = call};
    prepare(call, request);
    loop_defer(loop, &call->task);
    return call;
}

static struct outcome *echo_stop(struct provider_call *call) {
    struct outcome *outcome = partial_outcome(call);
    free_call(call);
    return outcome;
}

// It streams, like a server asked to.
static bool echo_is_opaque(const struct provider_call *call) {
    (void)call;
    return false;
}

static struct probe *echo_probe(struct loop *loop, const struct model *model, const char *model_id,
                                probe_end on_end, void *payload) {
    struct probe *probe = probe_new(sizeof *probe, loop, on_end, payload);
    (void)model, (void)model_id;
    probe->result.reachable = probe->result.key = probe->result.model = PROBE_YES;
    probe_found(probe, true, mem_copy("it is built in"), NULL);
    probe_tell(probe);
    return probe;
}

const struct provider provider_echo = {
    .name = "echo", .start = echo_start, .stop = echo_stop, .is_opaque = echo_is_opaque, .probe = echo_probe};
