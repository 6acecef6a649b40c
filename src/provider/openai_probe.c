// SPDX-License-Identifier: MIT
#include "provider/openai_probe.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "provider/error_body.h"
#include "provider/headers.h"
#include "provider/http.h"
#include "provider/model_list.h"
#include "provider/redact.h"
#include "provider/request.h"
#include <stdlib.h>
#include <string.h>

#define LIST_MAXIMUM (8u << 20) // bytes of a list of models; a longer one is asked by name
#define WORDS_SHOWN 200         // bytes of what a server says

enum question { ASK_LIST, ASK_NAME, ASK_WITHOUT_KEY, ASK_WITH_VERSION };

struct openai_probe {
    struct probe probe;
    const struct model *model;
    const char *model_id; // NULL: none in particular
    enum question question;
    struct http_call *http;
    char *where;        // of the first question: its URL without credentials and query
    char *list_url;     // whole
    struct buf body;    // of the answer
    struct buf names;   // from the list, for advice
    bool list_complete; // the list was read to its end
    int64_t began_ms, end_ms;
    struct loop_timer limit;
    bool connected, answered; // of this question
};

static void ask(struct openai_probe *p, enum question question);

static void on_release(struct probe *probe) {
    struct openai_probe *p = (struct openai_probe *)probe;
    loop_timer_clear(p->probe.loop, &p->limit);
    http_free(p->http);
    free(p->where);
    free(p->list_url);
    buf_free(&p->body);
    buf_free(&p->names);
}

static void finish(struct openai_probe *p) {
    loop_timer_clear(p->probe.loop, &p->limit);
    http_free(p->http);
    p->http = NULL;
    probe_tell(&p->probe);
}

static void finish_with(struct openai_probe *p, bool ok, char *message, char *advice) {
    probe_found(&p->probe, ok, message, advice);
    finish(p);
}

// ---- words ----

// Where the key comes from, never what it is.
static char *name_of_key(const struct model *model) {
    if (model->api_key_env && *model->api_key_env)
        return mem_format("the key in the environment variable %s", model->api_key_env);
    return mem_format("the key in %s", model->api_key_file);
}

static bool has_key(const struct model *model) {
    return (model->api_key_env && *model->api_key_env) || (model->api_key_file && *model->api_key_file);
}

// ": what the server says", or "" when it says nothing of use. Without secrets.
static char *words_of(struct openai_probe *p) {
    struct error_body said;
    struct buf safe, shown;
    buf_init(&safe, BUF_UNLIMITED);
    buf_init(&shown, BUF_UNLIMITED);
    char *body = mem_copy(buf_borrow(&p->body));
    http_mask_secrets(p->http, body);
    error_body_read(body, clock_wall_at(), &said);
    if (*said.message) {
        redact_append(&safe, said.message, strlen(said.message));
        buf_text(&shown, ": ");
        text_escape(&shown, buf_borrow(&safe), safe.length, WORDS_SHOWN);
    }
    error_body_clear(&said);
    buf_free(&safe);
    free(body);
    return buf_take(&shown);
}

// ---- no answer ----

static const char *advice_for(CURLcode code) {
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return "check the host's name in base_url, and that names are resolved here (DNS)";
    case CURLE_COULDNT_CONNECT:
        return "start the server, or set base_url to where it listens";
    case CURLE_OPERATION_TIMEDOUT:
        return "nothing answers at that address: check base_url, the network and its firewall";
    case CURLE_SSL_CONNECT_ERROR:
        return "the server does not speak TLS there: write http:// in base_url, or another port";
    case CURLE_PEER_FAILED_VERIFICATION:
        return "its certificate is not trusted here: install that of its authority, or correct the host in "
               "base_url";
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return "it does not answer in HTTP: check the port in base_url, and whether https:// is meant";
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return "check the port in base_url, whether https:// is meant, and the server's log";
    default:
        return "check base_url and the server's log";
    }
}

static void judge_silence(struct openai_probe *p, CURLcode code, const char *message) {
    p->probe.result.reachable = PROBE_NO;
    char *text = http_is_connected(p->http) ? mem_format("no answer from %s: %s", p->where, message)
                                            : mem_format("cannot connect to %s: %s", p->where, message);
    text_trim(text); // some of libcurl's reasons end in a blank
    finish_with(p, false, text, mem_copy(advice_for(code)));
}

// ---- an answer that is an error ----

static void judge_refused(struct openai_probe *p, int status) {
    p->probe.result.key = PROBE_NO;
    if (!has_key(p->model)) {
        finish_with(p, false, mem_format("%s wants a key (%d)", p->where, status),
                    mem_format("name it by api_key_env or api_key_file in [model %s]", p->model->name));
        return;
    }
    char *key = name_of_key(p->model), *words = words_of(p);
    finish_with(
        p, false, mem_format("%s refuses %s (%d)%s", p->where, key, status, words),
        mem_format("set a valid one there%s",
                   p->model->api_key_env ? ", also where the runner is started, and start it anew" : ""));
    free(key);
    free(words);
}

static void tell_unlisted(struct openai_probe *p) {
    finish_with(p, true,
                mem_format("%s answers, but lists no models (%d): key and model are not known to be right",
                           p->where, p->probe.result.http_status),
                NULL);
}

static void judge_status(struct openai_probe *p, int status) {
    if (status == 401 || status == 403) {
        judge_refused(p, status);
        return;
    }
    if (status == 404 || status == 405 || status == 501) {
        ask(p, ASK_WITH_VERSION);
        return;
    }
    char *words = words_of(p);
    if (status == 429) {
        finish_with(p, true, mem_format("%s is there, and asks to slow down (429)%s", p->where, words), NULL);
    } else if (status == 402) {
        p->probe.result.key = PROBE_YES;
        finish_with(p, false, mem_format("the account is not paid for (402)%s", words),
                    mem_copy("pay the provider, or raise the limit there"));
    } else if (status >= 300 && status <= 399) {
        finish_with(p, false, mem_format("%s redirects (%d), which is not followed", p->where, status),
                    mem_copy("set base_url to the final address"));
    } else if (status >= 500) {
        finish_with(p, false, mem_format("%s is up, but fails (%d)%s", p->where, status, words),
                    mem_copy("look at the server's log"));
    } else {
        finish_with(p, false, mem_format("%s answers %d%s", p->where, status, words),
                    mem_copy("check base_url and the header options of the model"));
    }
    free(words);
}

// ---- the list ----

static const char *wanted_name(const struct openai_probe *p) {
    const struct model *model = p->model;
    return model->remote_name && *model->remote_name ? model->remote_name : p->model_id;
}

// The name is known, or there is none to know: is the key tried?
static void go_on_with_key(struct openai_probe *p) {
    const char *name = wanted_name(p);
    char *message = !p->model_id ? mem_format("%s answers", p->where)
                    : p->probe.result.model == PROBE_YES
                        ? mem_format("%s knows %s", p->where, name)
                        : mem_format("%s lists only a part of its models, %s may be another", p->where, name);
    probe_found(&p->probe, true, message, NULL);
    p->probe.result.key = has_key(p->model) ? PROBE_UNKNOWN : PROBE_YES;
    if (has_key(p->model))
        ask(p, ASK_WITHOUT_KEY);
    else
        finish(p);
}

static void tell_no_list(struct openai_probe *p) {
    const char *start = buf_borrow(&p->body);
    start += strspn(start, " \t\r\n");
    const char *mime = http_header(p->http, "content-type");
    bool is_page = *start == '<' || (mime && text_find_nocase(mime, "html"));
    finish_with(p, false,
                mem_format("%s answers with %s instead of a list of models", p->where,
                           is_page ? "a web page (HTML)" : "something else"),
                mem_copy("set base_url to the address of the API, such as https://host/v1"));
}

static void read_list(struct openai_probe *p, bool whole) {
    if (!whole) {
        p->list_complete = false;
        if (p->model_id)
            ask(p, ASK_NAME);
        else
            go_on_with_key(p);
        return;
    }
    enum model_list found =
        model_list_find(p->body.data, p->body.length, p->model_id ? wanted_name(p) : "", &p->names);
    p->list_complete = found != MODEL_LIST_PAGED;
    if (found == MODEL_LIST_NONE) {
        tell_no_list(p);
    } else if (!p->model_id) {
        go_on_with_key(p);
    } else if (found == MODEL_LIST_HAS) {
        p->probe.result.model = PROBE_YES;
        go_on_with_key(p);
    } else {
        ask(p, ASK_NAME);
    }
}

// ---- the name ----

static void judge_name(struct openai_probe *p, int status) {
    const char *name = wanted_name(p);
    if (status >= 200 && status <= 299 && text_starts_with(buf_borrow(&p->body), "{")) {
        p->probe.result.model = PROBE_YES;
        go_on_with_key(p);
        return;
    }
    if (!p->list_complete && status != 404) {
        go_on_with_key(p); // nothing says that it is not there
        return;
    }
    p->probe.result.model = PROBE_NO;
    p->probe.result.key = PROBE_YES;
    char *near = model_list_nearest(&p->names, name), *some = model_list_some(&p->names);
    char *advice =
        near    ? mem_format("did you mean %s? Set model in [model %s] to it", near, p->model->name)
        : *some ? mem_format("set model in [model %s] to one of its names, such as %s", p->model->name, some)
                : mem_copy("load a model there: it lists none");
    finish_with(p, false, mem_format("the server does not know the model %s", name), advice);
    free(near);
    free(some);
}

// ---- the answers in general ----

static void judge_version(struct openai_probe *p, int status) {
    if (status < 200 || status > 299 ||
        model_list_find(buf_borrow(&p->body), p->body.length, "", &p->names) == MODEL_LIST_NONE) {
        tell_unlisted(p);
        return;
    }
    finish_with(p, false,
                mem_format("base_url lacks /v1: %s answers %d, the same below /v1 lists the models", p->where,
                           p->probe.result.http_status),
                mem_format("add /v1 to the base_url of [model %s]", p->model->name));
}

static void on_end(void *payload, CURLcode code, const char *message) {
    struct openai_probe *p = payload;
    struct probe_result *r = &p->probe.result;
    int status = http_status(p->http);
    if (p->question == ASK_LIST && status) {
        r->reachable = PROBE_YES;
        r->http_status = status;
        if (r->latency_ms < 0)
            r->latency_ms = clock_monotonic_ms() - p->began_ms;
    }
    bool cut = p->body.overflow;
    switch (p->question) {
    case ASK_LIST:
        if (!status)
            judge_silence(p, code, message);
        else if (status < 200 || status > 299)
            judge_status(p, status);
        else if (code != CURLE_OK && !cut)
            finish_with(p, false, mem_format("the answer of %s broke off: %s", p->where, message),
                        mem_copy("look at the server's log"));
        else
            read_list(p, !cut);
        return;
    case ASK_NAME:
        judge_name(p, status);
        return;
    case ASK_WITHOUT_KEY:
        if (status == 401 || status == 403)
            r->key = PROBE_YES;
        else if (status >= 200 && status <= 299)
            probe_found(&p->probe, true,
                        mem_format("%s; it shows its list to anybody, so the key was not tried", r->message),
                        NULL);
        finish(p);
        return;
    case ASK_WITH_VERSION:
        judge_version(p, status);
    }
}

static bool on_body(void *payload, const char *bytes, size_t length) {
    struct openai_probe *p = payload;
    return p->question != ASK_WITHOUT_KEY && buf_append(&p->body, bytes, length);
}

// The connection stands: from here on the limit for the first byte counts.
static void on_sign(void *payload) {
    struct openai_probe *p = payload;
    int64_t due_ms = clock_monotonic_ms() + p->model->first_byte_timeout_ms;
    bool answered = http_status(p->http) != 0;
    if (answered && p->probe.result.latency_ms < 0)
        p->probe.result.latency_ms = clock_monotonic_ms() - p->began_ms;
    if (answered)
        loop_timer_set(p->probe.loop, &p->limit, p->end_ms);
    else if (!p->connected && http_is_connected(p->http) && p->model->first_byte_timeout_ms > 0 &&
             due_ms < p->end_ms)
        loop_timer_set(p->probe.loop, &p->limit, due_ms);
    p->connected = p->connected || http_is_connected(p->http);
    p->answered = answered;
}

// ---- the limit ----

static void on_limit(void *payload) {
    struct openai_probe *p = payload;
    struct probe_result *r = &p->probe.result;
    char waited[32];
    int64_t waited_ms = clock_monotonic_ms() - p->began_ms;
    clock_format_duration(waited_ms < 1000 ? waited_ms : waited_ms / 1000 * 1000, waited, sizeof waited);
    if (p->question == ASK_WITH_VERSION) {
        tell_unlisted(p);
    } else if (p->question == ASK_WITHOUT_KEY) { // the main thing is known
        finish(p);
    } else if (r->reachable == PROBE_YES || p->answered) {
        r->reachable = PROBE_YES;
        finish_with(p, false, mem_format("%s began to answer, but did not end within %s", p->where, waited),
                    mem_copy("look at the server's log and load"));
    } else if (p->connected) {
        r->reachable = PROBE_NO;
        finish_with(p, false,
                    mem_format("%s takes the connection, but does not answer within %s", p->where, waited),
                    mem_copy("the server hangs or is overloaded: look at its log, start it anew"));
    } else {
        r->reachable = PROBE_NO;
        finish_with(p, false, mem_format("no connection to %s within %s", p->where, waited),
                    mem_copy(advice_for(CURLE_OPERATION_TIMEDOUT)));
    }
}

// ---- the questions ----

// "/models" or "/models/NAME", beside the model's own endpoint.
static char *endpoint_of(const struct openai_probe *p, enum question question) {
    const char *own = p->model->endpoint;
    struct buf path;
    buf_init(&path, BUF_UNLIMITED);
    if (question == ASK_WITH_VERSION || (own && text_starts_with(own, "/v1/")))
        buf_text(&path, "/v1");
    buf_text(&path, "/models");
    if (question == ASK_NAME) {
        buf_char(&path, '/');
        // A slash in a name stays one, as OpenAI's own clients send it.
        for (const char *c = wanted_name(p); *c; c++)
            if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:@/", *c))
                buf_char(&path, *c);
            else
                buf_format(&path, "%%%02X", (unsigned)(unsigned char)*c);
    }
    return buf_take(&path);
}

static int make_request(struct openai_probe *p, enum question question, struct http_request *http,
                        struct err *e) {
    static const char *const ours[][2] = {{"Accept", "application/json"}};
    char *endpoint = endpoint_of(p, question);
    const struct provider_request request = {
        .model = p->model, .model_id = p->model_id, .endpoint = endpoint};
    char *where = NULL;
    int rc = request_url(&request, &http->url, &where, e);
    free(endpoint);
    if (question == ASK_LIST) {
        p->where = where;
        p->list_url = mem_copy(http->url);
    } else {
        free(where);
    }
    if (!rc)
        rc = headers_make(&http->headers, p->model, ours, 1, question != ASK_WITHOUT_KEY, e);
    int64_t connect_ms = p->model->connect_timeout_ms, left_ms = p->end_ms - clock_monotonic_ms();
    http->is_get = true;
    http->connect_timeout_ms = connect_ms > 0 && connect_ms < left_ms ? connect_ms
                               : left_ms > 0                          ? left_ms
                                                                      : 1;
    return rc;
}

static void ask(struct openai_probe *p, enum question question) {
    const struct http_listener listener = {
        .on_body = on_body, .on_sign = on_sign, .on_end = on_end, .payload = p};
    struct http_request http = {0};
    struct err e;
    http_free(p->http);
    p->http = NULL;
    p->question = question;
    p->connected = p->answered = false;
    buf_clear(&p->body);
    loop_timer_set(p->probe.loop, &p->limit, p->end_ms);
    int rc = make_request(p, question, &http, &e);
    // With a version in base_url that question is the first one again.
    if (!rc && question == ASK_WITH_VERSION && strcmp(http.url, p->list_url) == 0) {
        http_request_clear(&http);
        tell_unlisted(p);
        return;
    }
    if (!rc) {
        p->http = http_start(p->probe.loop, &http, &listener, &e);
        rc = p->http ? 0 : ERR_REMOTE;
    }
    http_request_clear(&http);
    if (rc == 0)
        return;
    probe_found_unconfigured(&p->probe, &e);
    p->probe.result.unconfigured = rc != ERR_REMOTE;
    finish(p);
}

struct probe *openai_probe_start(struct loop *loop, const struct model *model, const char *model_id,
                                 probe_end on_end_of_probe, void *payload) {
    struct probe *probe = probe_new(sizeof(struct openai_probe), loop, on_end_of_probe, payload);
    struct openai_probe *p = (struct openai_probe *)probe;
    struct err e;
    probe->release = on_release;
    p->model = model;
    p->model_id = model_id;
    p->began_ms = clock_monotonic_ms();
    p->end_ms = p->began_ms + PROBE_LIMIT_MS;
    p->limit = (struct loop_timer){.on_due = on_limit, .payload = p};
    buf_init(&p->body, LIST_MAXIMUM);
    buf_init(&p->names, BUF_UNLIMITED);
    if (model_check_key(model, &e) == 0) {
        ask(p, ASK_LIST);
    } else { // without its key nothing is asked
        probe->result.key = PROBE_NO;
        probe_found_unconfigured(probe, &e);
        finish(p);
    }
    return probe;
}
