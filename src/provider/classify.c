// SPDX-License-Identifier: MIT
// The table of failures and the order in which it is read: PARK before FAIL before
// WAIT before RETRY, names before statuses, a code before its coarser type. What
// no row knows: another 4xx fails, everything else is tried again. Pure: the same
// failure, model and time give the same verdict.
#include "provider/classify.h"

#include "base/text.h"
#include "provider/error_body.h"
#include "provider/verdict.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MINUTE_MS INT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)
#define YEAR_MS (365 * 24 * HOUR_MS)
// A cool-down beyond this is shown as a parked model: a person may want to do something about it.
#define LONGEST_WAIT_MS HOUR_MS
// Just after midnight the server's clock may be behind ours: ask again after this, not after a day.
#define MIDNIGHT_SLACK_MS (10 * MINUTE_MS)

static const char RATE_LIMIT[] = "RateLimitError", AUTHENTICATION[] = "AuthenticationError",
                  QUOTA[] = "QuotaError", TIMEOUT[] = "TimeoutError", NETWORK[] = "NetworkError",
                  MODEL_GENERATION[] = "ModelGenerationError", INVALID_REQUEST[] = "InvalidRequestError",
                  CONTENT_FILTER[] = "ContentFilterError", CONFIGURATION[] = "ConfigurationError",
                  INTERNAL[] = "InternalError", COMMAND[] = "CommandError";

// What error.code, error.type, innererror.code or details[].reason may say, whatever the status beside it.
struct name_rule {
    const char *name;
    enum verdict_action action;
    const char *error_type;
    bool reduce;
};

static const struct name_rule name_rules[] = {
    // money
    {"insufficient_quota", VERDICT_PARK, QUOTA, false},
    {"credit_balance_exhausted", VERDICT_PARK, QUOTA, false},
    {"organization_spend_limit_exceeded", VERDICT_PARK, QUOTA, false},
    {"project_spend_limit_exceeded", VERDICT_PARK, QUOTA, false},
    {"organization_usage_limit_exceeded", VERDICT_PARK, QUOTA, false},
    {"billing_hard_limit_reached", VERDICT_PARK, QUOTA, false},
    {"billing_not_active", VERDICT_PARK, QUOTA, false},
    {"billing_error", VERDICT_PARK, QUOTA, false}, // Anthropic
    {"enforced_spend_limit_reached", VERDICT_PARK, QUOTA, false},
    {"exceeded_current_quota_error", VERDICT_PARK, QUOTA, false}, // Moonshot
    {"insufficient_balance", VERDICT_PARK, QUOTA, false},
    // keys
    {"invalid_api_key", VERDICT_PARK, AUTHENTICATION, false},
    {"authentication_error", VERDICT_PARK, AUTHENTICATION, false},
    {"account_deactivated", VERDICT_PARK, AUTHENTICATION, false},
    {"API_KEY_INVALID", VERDICT_PARK, AUTHENTICATION, false}, // Gemini says it with a 400
    {"UNAUTHENTICATED", VERDICT_PARK, AUTHENTICATION, false},
    // too long
    {"context_length_exceeded", VERDICT_FAIL, INVALID_REQUEST, false},
    {"string_above_max_length", VERDICT_FAIL, INVALID_REQUEST, false},
    {"exceed_context_size_error", VERDICT_FAIL, INVALID_REQUEST, false}, // llama.cpp
    {"request_too_large", VERDICT_FAIL, INVALID_REQUEST, false},         // Anthropic
    {"not_supported_error", VERDICT_FAIL, INVALID_REQUEST, false},       // llama.cpp, with a 501
    {"model_not_found", VERDICT_FAIL, INVALID_REQUEST, false},
    // refused content
    {"content_filter", VERDICT_FAIL, CONTENT_FILTER, false},
    {"content_policy_violation", VERDICT_FAIL, CONTENT_FILTER, false},
    {"moderation_blocked", VERDICT_FAIL, CONTENT_FILTER, false},
    {"ResponsibleAIPolicyViolation", VERDICT_FAIL, CONTENT_FILTER, false},
    {"data_inspection_failed", VERDICT_FAIL, CONTENT_FILTER, false}, // Alibaba
    // too fast, too busy
    {"rate_limit_exceeded", VERDICT_WAIT, RATE_LIMIT, false},
    {"slow_down", VERDICT_WAIT, RATE_LIMIT, true},
    {"server_is_overloaded", VERDICT_WAIT, RATE_LIMIT, false},
    {"overloaded_error", VERDICT_WAIT, RATE_LIMIT, false},
};

// How the message begins, where code and type are too coarse.
static const struct name_rule message_rules[] = {
    {"You have reached your specified", VERDICT_PARK, QUOTA, false}, // Anthropic, with a 400
    {"Your credit balance is too low", VERDICT_PARK, QUOTA, false},
    {"Incorrect API key provided", VERDICT_PARK, AUTHENTICATION, false}, // xAI, with a 400
    {"API key not valid", VERDICT_PARK, AUTHENTICATION, false},
    {"Loading model", VERDICT_WAIT, RATE_LIMIT, false}, // llama.cpp
    {"server busy", VERDICT_WAIT, RATE_LIMIT, true},    // Ollama: its queue is full
};

static const struct {
    int status;
    enum verdict_action action;
    const char *error_type;
} status_rules[] = {
    {401, VERDICT_PARK, AUTHENTICATION},    {402, VERDICT_PARK, QUOTA},
    {403, VERDICT_PARK, AUTHENTICATION},    {407, VERDICT_PARK, AUTHENTICATION},
    {408, VERDICT_RETRY, TIMEOUT},          {409, VERDICT_RETRY, MODEL_GENERATION},
    {425, VERDICT_RETRY, MODEL_GENERATION}, {429, VERDICT_WAIT, RATE_LIMIT},
    {499, VERDICT_RETRY, MODEL_GENERATION}, {503, VERDICT_WAIT, RATE_LIMIT},
    {504, VERDICT_RETRY, TIMEOUT},          {522, VERDICT_RETRY, TIMEOUT}, // Cloudflare
    {524, VERDICT_RETRY, TIMEOUT},          {529, VERDICT_WAIT, RATE_LIMIT},
};

// What a failure of a kind without HTTP status means, and what is said when its reporter said nothing.
static const struct {
    enum failure_kind kind;
    enum verdict_action action;
    const char *error_type;
    bool server_down;
    const char *message;
} kind_rules[] = {
    {FAILURE_CONNECT, VERDICT_RETRY, NETWORK, true, "the model's server could not be reached"},
    {FAILURE_NETWORK, VERDICT_RETRY, NETWORK, false, "the connection broke before the answer was complete"},
    {FAILURE_TIMEOUT, VERDICT_RETRY, TIMEOUT, false, "the model's server did not answer in time"},
    {FAILURE_BAD_RESPONSE, VERDICT_RETRY, MODEL_GENERATION, false,
     "the answer of the model's server cannot be used"},
    {FAILURE_TOO_LARGE, VERDICT_FAIL, INVALID_REQUEST, false, "the answer is larger than max_output allows"},
    {FAILURE_REQUEST, VERDICT_FAIL, INVALID_REQUEST, false, "the request cannot be sent as it was given"},
    {FAILURE_CONFIGURATION, VERDICT_PARK, CONFIGURATION, false, "the model's configuration is not complete"},
    {FAILURE_EXIT, VERDICT_RETRY, COMMAND, false, "the command failed"},
    {FAILURE_SIGNAL, VERDICT_RETRY, COMMAND, false, "the command was killed"},
    {FAILURE_SHORTAGE, VERDICT_WAIT, COMMAND, false, "this system has no room for another process"},
};

// Exit statuses with a meaning of their own (sysexits.h); any other one is tried again.
static const struct {
    int status;
    enum verdict_action action;
    const char *error_type;
} exit_rules[] = {
    {EX_USAGE, VERDICT_FAIL, INVALID_REQUEST},   {EX_DATAERR, VERDICT_FAIL, INVALID_REQUEST},
    {EX_NOINPUT, VERDICT_FAIL, INVALID_REQUEST}, {EX_UNAVAILABLE, VERDICT_RETRY, NETWORK},
    {EX_TEMPFAIL, VERDICT_RETRY, COMMAND},       {EX_NOPERM, VERDICT_PARK, AUTHENTICATION},
    {EX_CONFIG, VERDICT_PARK, CONFIGURATION},
};

static const struct {
    const char *error_type;
    enum verdict_action action;
} scripted_rules[] = {
    {RATE_LIMIT, VERDICT_WAIT},
    {AUTHENTICATION, VERDICT_PARK},
    {QUOTA, VERDICT_PARK},
    {CONFIGURATION, VERDICT_PARK},
    {TIMEOUT, VERDICT_RETRY},
    {NETWORK, VERDICT_RETRY},
    {MODEL_GENERATION, VERDICT_RETRY},
    {"HeartbeatTimeoutError", VERDICT_RETRY},
    {COMMAND, VERDICT_RETRY},
    {INTERNAL, VERDICT_RETRY},
    {INVALID_REQUEST, VERDICT_FAIL},
    {CONTENT_FILTER, VERDICT_FAIL},
    {"RunnerCrashError", VERDICT_FAIL},
    {"CancelledError", VERDICT_FAIL},
    {"OperatorError", VERDICT_FAIL},
    {"DeadlineError", VERDICT_FAIL},
};

static bool contains(const char *text, const char *needle) {
    return text_find_nocase(text, needle) != NULL;
}

static const struct name_rule *find_name(const char *name) {
    for (size_t i = 0; i < COUNT(name_rules); i++) {
        if (strcasecmp(name, name_rules[i].name) == 0)
            return &name_rules[i];
    }
    return NULL;
}

static const struct name_rule *find_message_rule(const char *message) {
    message += strspn(message, " \t\r\n");
    for (size_t i = 0; i < COUNT(message_rules); i++) {
        if (strncasecmp(message, message_rules[i].name, strlen(message_rules[i].name)) == 0)
            return &message_rules[i];
    }
    return NULL;
}

// The one rule that counts. A code is finer than the type beside it: type insufficient_quota with code
// rate_limit_exceeded waits.
static const struct name_rule *find_rule(const struct error_body *body) {
    const struct name_rule *found[] = {find_message_rule(body->message), find_name(body->detail),
                                       find_name(body->code)};
    const struct name_rule *best = NULL;
    for (size_t i = 0; i < COUNT(found); i++) {
        if (found[i] != NULL &&
            (best == NULL || (best->action == VERDICT_WAIT && found[i]->action != VERDICT_WAIT)))
            best = found[i];
    }
    return best != NULL ? best : find_name(body->type);
}

// The number after `word`, blanks and a colon, with or without thousands separators; -1: none.
static int64_t number_after(const char *text, const char *word) {
    for (const char *p = text; (p = text_find_nocase(p, word)) != NULL;) {
        p += strlen(word);
        const char *digits = p + strspn(p, " :");
        int64_t n = 0;
        if (digits == p || !isdigit((unsigned char)*digits))
            continue;
        for (; isdigit((unsigned char)*digits) || (*digits == ',' && isdigit((unsigned char)digits[1]));
             digits++) {
            if (*digits != ',' && n < INT64_MAX / 100)
                n = n * 10 + (*digits - '0');
        }
        return n;
    }
    return -1;
}

// OpenAI, Groq: "… on tokens per min (TPM): Limit 30000, Requested 40000": that will never fit.
static bool asks_beyond_limit(const struct error_body *body) {
    if (strcmp(body->type, "tokens") != 0 && !contains(body->message, "token"))
        return false;
    int64_t limit = number_after(body->message, "limit"),
            requested = number_after(body->message, "requested");
    return limit >= 0 && requested > limit;
}

static bool is_moderation(const struct error_body *body) {
    static const char *const words[] = {"moderation",     "guardrail",      "flagged",
                                        "content policy", "content_policy", "content filter"};
    for (size_t i = 0; i < COUNT(words); i++) {
        if (contains(body->message, words[i]) || contains(body->code, words[i]) ||
            contains(body->type, words[i]))
            return true;
    }
    return body->moderation;
}

static bool is_too_long(const char *message) {
    static const char *const words[] = {"maximum context length", "available context size",
                                        "context length exceeded", "exceeds the context window",
                                        "prompt is too long"};
    for (size_t i = 0; i < COUNT(words); i++) {
        if (contains(message, words[i]))
            return true;
    }
    return false;
}

static void decide(struct verdict *out, enum verdict_action action, const char *error_type) {
    out->action = action;
    out->error_type = error_type;
}

// What the status alone says. A gateway that answers for a dead server behind it sends no API error.
static void judge_status(int status, bool is_api_error, struct verdict *out) {
    for (size_t i = 0; i < COUNT(status_rules); i++) {
        if (status_rules[i].status == status) {
            decide(out, status_rules[i].action, status_rules[i].error_type);
            return;
        }
    }
    if (status >= 300 && status < 400) {
        decide(out, VERDICT_PARK, CONFIGURATION); // a redirect: base_url is not the address
    } else if (status >= 400 && status < 500) {
        decide(out, VERDICT_FAIL, INVALID_REQUEST);
    } else {
        bool is_gateway = !is_api_error && (status == 502 || status == 521 || status == 523 || status == 530);
        decide(out, VERDICT_RETRY, is_gateway ? NETWORK : MODEL_GENERATION);
        out->server_down = is_gateway;
    }
}

static void judge(int status, const struct error_body *body, int64_t stated_ms, struct verdict *out) {
    judge_status(status, body->is_error, out);
    const struct name_rule *rule = find_rule(body);
    bool by_status = out->action == VERDICT_PARK;
    if (rule != NULL && rule->action == VERDICT_PARK) {
        decide(out, rule->action, rule->error_type);
    } else if (body->daily_quota) {
        decide(out, VERDICT_PARK, QUOTA);
    } else if (status == 402 && (stated_ms >= 0 || body->in_flight)) { // OpenRouter: comes back by itself
        decide(out, VERDICT_WAIT, RATE_LIMIT);
        out->reduce = body->in_flight;
    } else if (status == 403 &&
               (is_moderation(body) || (rule != NULL && rule->error_type == CONTENT_FILTER))) {
        decide(out, VERDICT_FAIL, CONTENT_FILTER);
    } else if (by_status) {
        return;
    } else if (rule != NULL && rule->action == VERDICT_FAIL) {
        decide(out, rule->action, rule->error_type);
    } else if (out->action == VERDICT_FAIL) {
        if (body->moderation)
            out->error_type = CONTENT_FILTER;
    } else if (status == 429 ? asks_beyond_limit(body) : is_too_long(body->message)) {
        decide(out, VERDICT_FAIL, INVALID_REQUEST);
    } else if (rule != NULL && rule->action == VERDICT_WAIT) {
        decide(out, rule->action, rule->error_type);
        out->reduce = rule->reduce;
    }
    out->server_down = out->server_down && out->action == VERDICT_RETRY;
    if (out->action == VERDICT_WAIT && contains(body->message, "concurren"))
        out->reduce = true;
}

// "Please try again in 6m0s", "retry after 37 seconds": the wait, -1 for none.
static int64_t wait_in_words(const char *message, int64_t now_at) {
    static const char *const leads[] = {"again in ", "retry in ", "retry after ", "again after ", "wait "};
    static const struct {
        const char *word;
        const char *unit;
    } units[] = {{"millisecond", "ms"}, {"second", "s"}, {"sec", "s"},
                 {"minute", "m"},       {"hour", "h"},   {"day", "d"}};
    for (size_t i = 0; i < COUNT(leads); i++) {
        const char *p = text_find_nocase(message, leads[i]);
        if (p == NULL)
            continue;
        p += strlen(leads[i]);
        size_t length = strspn(p, "0123456789.dhmsun");
        while (length > 0 && p[length - 1] == '.')
            length--;
        if (length == 0 || length > 40 || !isdigit((unsigned char)*p))
            continue;
        char text[48];
        snprintf(text, sizeof text, "%.*s", (int)length, p);
        p += length;
        p += *p == ' ';
        for (size_t u = 0; u < COUNT(units) && isdigit((unsigned char)text[length - 1]); u++) {
            if (strncasecmp(p, units[u].word, strlen(units[u].word)) == 0)
                snprintf(text + length, sizeof text - length, "%s", units[u].unit);
        }
        int64_t wait_ms = retry_after_parse(text, now_at);
        if (wait_ms >= 0)
            return wait_ms;
    }
    return -1;
}

// Anthropic's spend limit: "You will regain access on 2026-08-01 at 00:00 UTC."
static int64_t wait_for_access(const char *message, int64_t now_at) {
    const char *p = text_find_nocase(message, "regain access on ");
    int year, month, day, hour = 0, minute = 0;
    if (p == NULL || sscanf(p + 17, "%4d-%2d-%2d at %2d:%2d", &year, &month, &day, &hour, &minute) < 3)
        return -1;
    char iso[80];
    snprintf(iso, sizeof iso, "%04d-%02d-%02dT%02d:%02d:00Z", year, month, day, hour, minute);
    return retry_after_parse(iso, now_at);
}

static int64_t wait_for_midnight(int64_t now_at) {
    if (now_at > 0 && pacific_midnight_at(now_at - MIDNIGHT_SLACK_MS) <= now_at)
        return MIDNIGHT_SLACK_MS;
    return pacific_midnight_at(now_at) - now_at;
}

// What the table left: the wait of a parking is only what is known for that cause, never a Retry-After of
// seconds that the server adds to every 429.
static void set_wait(const struct error_body *body, int64_t stated_ms, int64_t now_at, struct verdict *out) {
    out->wait_ms = -1;
    if (out->action == VERDICT_WAIT || out->action == VERDICT_RETRY) {
        out->wait_ms = stated_ms;
        if (stated_ms < 0 && out->action == VERDICT_WAIT)
            out->wait_ms = wait_in_words(body->message, now_at);
        if (out->action == VERDICT_WAIT && out->wait_ms > LONGEST_WAIT_MS)
            out->action = VERDICT_PARK;
    } else if (out->action == VERDICT_PARK && body->daily_quota) {
        out->wait_ms = wait_for_midnight(now_at);
    } else if (out->action == VERDICT_PARK) {
        out->wait_ms = wait_for_access(body->message, now_at);
    }
}

static const struct model_status_rule *find_override(const struct model_status_rule *rules, size_t count,
                                                     int status) {
    for (size_t i = 0; i < count; i++) {
        if (rules[i].status == status)
            return &rules[i];
    }
    return NULL;
}

static void apply_override(const struct model_status_rule *rule, int64_t stated_ms, struct verdict *out) {
    if (rule == NULL || rule->action == out->action)
        return;
    out->action = rule->action;
    if (out->wait_ms < 0)
        out->wait_ms = stated_ms;
    if (rule->action == VERDICT_FAIL)
        out->wait_ms = -1;
    out->server_down = out->server_down && rule->action == VERDICT_RETRY;
    out->reduce = out->reduce && rule->action == VERDICT_WAIT;
}

static void override(const struct model *model, int http_status, int status, int64_t stated_ms,
                     struct verdict *out) {
    if (model == NULL)
        return;
    const struct model_status_rule *rule =
        find_override(model->status_rules, model->status_rule_count, status);
    if (rule == NULL)
        rule = find_override(model->status_rules, model->status_rule_count, http_status);
    apply_override(rule, stated_ms, out);
}

// What the headers asked for, within a year; -1: nothing.
static int64_t stated_wait(const struct failure *failure) {
    if (failure->retry_after_ms < 0)
        return -1;
    return failure->retry_after_ms < YEAR_MS ? failure->retry_after_ms : YEAR_MS;
}

static void judge_http(const struct failure *failure, const struct error_body *body,
                       const struct model *model, int64_t now_at, struct verdict *out) {
    int status = failure->http_status >= 300 ? failure->http_status : body->status;
    int64_t stated_ms = stated_wait(failure);
    if (stated_ms < 0)
        stated_ms = body->wait_ms;
    verdict_write_word(out->code, body->code);
    verdict_write_word(out->type, body->type);
    judge(status, body, stated_ms, out);
    set_wait(body, stated_ms, now_at, out);
    override(model, failure->http_status, status, stated_ms, out);
    verdict_write_http(out, failure, status, body);
}

static void judge_scripted(const struct failure *failure, struct verdict *out) {
    char fallback[160] = "";
    decide(out, VERDICT_FAIL, INVALID_REQUEST);
    size_t i = 0;
    while (i < COUNT(scripted_rules) &&
           (failure->type == NULL || strcmp(failure->type, scripted_rules[i].error_type) != 0))
        i++;
    if (i < COUNT(scripted_rules)) {
        decide(out, scripted_rules[i].action, scripted_rules[i].error_type);
        snprintf(fallback, sizeof fallback, "the echo model was told to fail with %s", out->error_type);
    } else {
        snprintf(fallback, sizeof fallback,
                 "the echo model was told to fail with a type that does not exist: use one "
                 "such as RateLimitError or ModelGenerationError");
    }
    if (out->action != VERDICT_FAIL)
        out->wait_ms = stated_wait(failure);
    verdict_write_plain(out, failure->message, fallback);
}

bool classify_knows(const char *error_type, const char **nearest) {
    const char *names[COUNT(scripted_rules)];
    for (size_t i = 0; i < COUNT(scripted_rules); i++) {
        names[i] = scripted_rules[i].error_type;
        if (strcmp(error_type, names[i]) == 0)
            return true;
    }
    if (nearest)
        *nearest = text_nearest(error_type, names, COUNT(names));
    return false;
}

// After judge_kind: what the exit status says.
static void judge_exit(const struct failure *failure, const struct model *model, struct verdict *out) {
    for (size_t i = 0; i < COUNT(exit_rules); i++) {
        if (exit_rules[i].status == failure->exit_status) {
            decide(out, exit_rules[i].action, exit_rules[i].error_type);
            out->server_down = failure->exit_status == EX_UNAVAILABLE;
        }
    }
    if (model != NULL)
        apply_override(find_override(model->exit_rules, model->exit_rule_count, failure->exit_status), -1,
                       out);
}

static void judge_kind(const struct failure *failure, struct verdict *out) {
    for (size_t i = 0; i < COUNT(kind_rules); i++) {
        if (kind_rules[i].kind == failure->kind) {
            decide(out, kind_rules[i].action, kind_rules[i].error_type);
            out->server_down = kind_rules[i].server_down;
            verdict_write_plain(out, failure->message, kind_rules[i].message);
            return;
        }
    }
    decide(out, VERDICT_RETRY, INTERNAL);
    verdict_write_plain(out, failure->message,
                        "the call ended with neither a result nor a reason: report this as a defect");
}

void classify(const struct failure *failure, const struct model *model, int64_t now_at, struct verdict *out) {
    *out = (struct verdict){.wait_ms = -1};
    if (failure->kind == FAILURE_SCRIPTED) {
        judge_scripted(failure, out);
        return;
    }
    if (failure->kind != FAILURE_HTTP && failure->kind != FAILURE_BAD_RESPONSE) {
        judge_kind(failure, out);
        if (failure->kind == FAILURE_EXIT)
            judge_exit(failure, model, out);
        return;
    }
    struct error_body body;
    error_body_read(failure->body, now_at, &body);
    if (failure->kind == FAILURE_HTTP || body.is_error) {
        judge_http(failure, &body, model, now_at, out);
    } else {
        judge_kind(failure, out);
        override(model, failure->http_status, failure->http_status, stated_wait(failure), out);
    }
    error_body_clear(&body);
}
