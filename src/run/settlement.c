// SPDX-License-Identifier: MIT
// From the end of an attempt to what is written of it.
#include "base/json.h"
#include "base/mem.h"
#include "provider/redact.h"
#include "run/attempt.h"
#include <stdlib.h>
#include <string.h>

#define BODY_HEAD 2048 // of a failed answer, in the log

void settlement_texts_free(struct settlement_texts *texts) {
    free(texts->note);
    free(texts->detail);
    free(texts->message);
    free(texts->outputs);
    free(texts->body);
}

// USD for the tokens of this attempt by the model's prices.
static double cost_of(const struct attempt *attempt) {
    const struct model *m = attempt->gate->model;
    const struct outcome *o = attempt->outcome;
    if (!m || !o)
        return 0;
    double cost = 0;
    if (o->input_tokens > 0)
        cost += (double)o->input_tokens * m->price_input / 1e6;
    if (o->output_tokens > 0)
        cost += (double)o->output_tokens * m->price_output / 1e6;
    return o->failure.kind == FAILURE_NONE && attempt->end == END_OUTCOME ? cost + m->price_request : cost;
}

static void set_outputs(const struct attempt *a, bool partial, struct settlement *out,
                        struct settlement_texts *texts) {
    const struct outcome *o = a->outcome;
    if (!o)
        return;
    if (o->output_count > 0)
        texts->outputs = mem_alloc(o->output_count, sizeof *texts->outputs);
    for (size_t i = 0; i < o->output_count; i++)
        texts->outputs[i] = (struct settle_output){.mime = o->outputs[i].mime,
                                                   .content = o->outputs[i].content,
                                                   .length = o->outputs[i].length,
                                                   .partial = partial || o->outputs[i].partial};
    out->outputs = texts->outputs;
    out->output_count = o->output_count;
    out->http_status = o->http_status ? o->http_status : o->failure.http_status;
    out->request_id = o->request_id;
    out->finish_reason = o->finish_reason;
    out->body = o->body;
    out->body_length = o->body_length;
    if (!o->body && o->failure.body) {
        // Servers like to repeat a wrong key in their error.
        struct buf body;
        buf_init(&body, BUF_UNLIMITED);
        redact_append(&body, o->failure.body, strlen(o->failure.body));
        out->body_length = body.length;
        out->body = texts->body = buf_take(&body);
    }
    out->input_tokens = o->input_tokens;
    out->output_tokens = o->output_tokens;
    out->cost = cost_of(a);
}

static enum cause cause_of(const struct attempt *a) {
    if (a->outcome->stream_refused)
        return CAUSE_AGAIN;
    switch (a->verdict.action) {
    case VERDICT_WAIT:
        return CAUSE_WAIT;
    case VERDICT_PARK:
        return CAUSE_PARK;
    case VERDICT_RETRY:
        return a->parked ? CAUSE_PARK : CAUSE_RETRY;
    case VERDICT_FAIL:
        break;
    }
    return CAUSE_FAIL;
}

// The facts of a failure, for the log and for errorContext.
static void write_facts(struct buf *b, const struct attempt *a, const char *action, int64_t wait_ms) {
    const struct failure *f = &a->outcome->failure;
    json_write_member_text(b, "type", a->verdict.error_type);
    json_write_member_text(b, "action", action);
    json_write_member_text(b, "model", a->claim.model_id);
    json_write_member_integer(b, "attempt", a->claim.starts);
    if (f->http_status)
        json_write_member_integer(b, "httpStatus", f->http_status);
    if (a->verdict.code[0])
        json_write_member_text(b, "code", a->verdict.code);
    if (a->outcome->request_id)
        json_write_member_text(b, "requestId", a->outcome->request_id);
    if (wait_ms > 0)
        json_write_member_integer(b, "waitMs", wait_ms);
}

static char *make_note(const struct attempt *a, const struct transition *t, const char *message) {
    struct buf b;
    buf_init(&b, BUF_UNLIMITED);
    buf_char(&b, '{');
    json_write_member_text(&b, "event", t->event);
    json_write_member_text(&b, "level", strcmp(t->status, "failed") == 0 ? "error" : "warn");
    json_write_member_text(&b, "message", message);
    json_write_key(&b, "data");
    buf_char(&b, '{');
    write_facts(&b, a,
                t->deadline                        ? "fail"
                : strcmp(t->status, "failed") == 0 ? "fail"
                                                   : t->event,
                t->delay_ms > 0 ? t->delay_ms : a->verdict.wait_ms);
    if (a->outcome->failure.body) {
        size_t length = strlen(a->outcome->failure.body);
        struct buf head;
        buf_init(&head, BUF_UNLIMITED);
        redact_append(&head, a->outcome->failure.body, length < BODY_HEAD ? length : BODY_HEAD);
        json_write_key(&b, "body");
        json_write_bytes(&b, buf_borrow(&head), head.length);
        buf_free(&head);
    }
    buf_text(&b, "}}");
    return buf_take(&b);
}

static char *make_detail(const struct attempt *a, const char *type) {
    const struct failure *f = &a->outcome->failure;
    struct buf b, where;
    buf_init(&b, BUF_UNLIMITED);
    buf_init(&where, 4096);
    buf_format(&where, "model %s", a->claim.model_id);
    if (f->where)
        buf_format(&where, ", %s", f->where);
    if (f->http_status)
        buf_format(&where, ", HTTP status %d", f->http_status);
    buf_format(&where, ", attempt %d, at %s", a->claim.starts, provider_step_name(a->step));
    buf_char(&b, '{');
    json_write_member_text(&b, "stack", buf_borrow(&where));
    write_facts(&b, a, "fail", 0);
    // The type of the end, not of the last refusal, is what the row failed with.
    if (type != a->verdict.error_type)
        json_write_member_text(&b, "waitedFor", a->verdict.error_type);
    buf_char(&b, '}');
    buf_free(&where);
    return buf_take(&b);
}

// Of an end that has nothing to do with what the server said.
static char *make_plain_detail(const struct attempt *a) {
    struct buf b, where;
    buf_init(&b, BUF_UNLIMITED);
    buf_init(&where, 4096);
    buf_format(&where, "model %s, attempt %d, at %s", a->claim.model_id, a->claim.starts,
               provider_step_name(a->step));
    buf_char(&b, '{');
    json_write_member_text(&b, "stack", buf_borrow(&where));
    json_write_member_text(&b, "action", "fail");
    json_write_member_text(&b, "model", a->claim.model_id);
    json_write_member_integer(&b, "attempt", a->claim.starts);
    buf_char(&b, '}');
    buf_free(&where);
    return buf_take(&b);
}

static void set_failure(const struct attempt *a, const struct run_settings *settings, int64_t now_at,
                        double random, struct settlement *out, struct settlement_texts *texts) {
    const struct transition_rules rules = {.max_attempts = settings->max_attempts,
                                           .backoff_min_ms = settings->backoff_min_ms,
                                           .backoff_max_ms = settings->backoff_max_ms,
                                           .max_wait_ms = settings->max_wait_ms};
    struct transition t = transition_next(cause_of(a), a->claim.attempts, a->verdict.wait_ms,
                                          a->claim.waiting_since, now_at, random, &rules);
    out->status = t.status;
    out->spent = t.spent;
    out->run_after_at = t.delay_ms > 0 ? now_at + t.delay_ms : 0;
    out->waiting_since = t.waiting_since;
    out->last_step = provider_step_name(a->step);
    const char *type = t.deadline ? "DeadlineError" : a->verdict.error_type;
    texts->message = t.deadline ? mem_format("it waited longer than max_wait for: %s", a->verdict.message)
                                : mem_copy(a->verdict.message);
    if (strcmp(t.status, "failed") == 0) {
        texts->detail = make_detail(a, type);
        out->error_type = type;
        out->error_message = texts->message;
        out->error_detail = texts->detail;
    }
    texts->note = make_note(a, &t, texts->message);
    out->note = texts->note;
}

void attempt_settlement(const struct attempt *attempt, const struct run_settings *settings, int64_t now_at,
                        double random, struct settlement *out, struct settlement_texts *texts) {
    const struct attempt *a = attempt;
    bool done = a->end == END_OUTCOME && a->outcome->failure.kind == FAILURE_NONE;
    *texts = (struct settlement_texts){0};
    *out = (struct settlement){.seq = a->claim.seq,
                               .first = a->claim.starts == 1,
                               .token = a->claim.token,
                               .now_at = now_at,
                               .input_tokens = -1,
                               .output_tokens = -1};
    set_outputs(a, !done, out, texts);
    switch (a->end) {
    case END_OUTCOME:
    case END_TIMEOUT:
        if (done)
            out->status = "completed";
        else
            set_failure(a, settings, now_at, random, out, texts);
        break;
    case END_CANCELLED:
    case END_LOST:
        out->status = "cancelled";
        out->cancel_reason = a->end_reason;
        out->last_step = provider_step_name(a->step);
        break;
    case END_STOPPED:
    case END_NONE:
        out->status = "queued";
        out->waiting_since = a->claim.waiting_since;
        out->note =
            "{\"event\":\"recovered\",\"level\":\"info\",\"message\":\"the runner stopped: queued again\"}";
        break;
    }
    // The row refused this settlement before: end it with the plainest one.
    if (a->write_failures > 0) {
        out->status = "failed";
        out->spent = 1;
        out->error_type = "InternalError";
        out->error_message = a->end_reason ? a->end_reason : "the database refused the result";
        free(texts->detail);
        out->error_detail = texts->detail = make_plain_detail(a);
        out->note = NULL;
        out->outputs = NULL;
        out->output_count = 0;
        out->http_status = 0;
        out->body = out->request_id = out->finish_reason = NULL;
    }
}
