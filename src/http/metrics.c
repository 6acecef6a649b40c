// SPDX-License-Identifier: MIT
// GET /metrics for Prometheus, and GET /healthz for whoever decides whether this
// process is to live or to get requests. Both are answered on the loop from what is in
// memory or counted by an index: a loop that hangs answers neither, and that is the answer.
#include "base/json.h"
#include "http/handlers.h"
#include "http/prom.h"
#include "http/route.h"
#include "http/server.h"
#include "lib/host.h"
#include <stdio.h>
#include <string.h>

#define METRICS_MAXIMUM ((size_t)8 << 20)

// ---- what the runner counts ----

struct host_lines {
    struct buf *out;
    char family[128]; // begun last
};

static void write_host_line(void *payload, const struct host_metric *metric) {
    static const struct {
        const char *type, *suffix;
    } kinds[] = {[HOST_COUNTER] = {"counter", ""},
                 [HOST_GAUGE] = {"gauge", ""},
                 [HOST_BUCKET] = {"histogram", "_bucket"},
                 [HOST_SUM] = {"histogram", "_sum"},
                 [HOST_COUNT] = {"histogram", "_count"}};
    struct host_lines *lines = payload;
    if (strcmp(lines->family, metric->name) != 0) {
        snprintf(lines->family, sizeof lines->family, "%s", metric->name);
        prom_family(lines->out, metric->name, kinds[metric->type].type, metric->help);
    }
    struct prom_label labels[sizeof metric->labels / sizeof *metric->labels];
    size_t count = 0;
    for (; count < sizeof labels / sizeof *labels && metric->labels[count].name; count++) {
        labels[count] = (struct prom_label){metric->labels[count].name, metric->labels[count].value};
    }
    prom_sample(lines->out, metric->name, kinds[metric->type].suffix, labels, count, metric->value);
}

// ---- what the server counts ----

static void write_requests(struct buf *out, const struct exchange *x) {
    static const char name[] = "genrun_http_requests_total";
    static const char *const classes[] = {"broken", "1xx", "2xx", "3xx", "4xx", "5xx"};
    prom_family(out, name, "counter",
                "Requests answered, by route and class of status; broken: the connection ended first.");
    for (size_t i = 0; i < route_count; i++) {
        const struct server_use *use = server_use(x, i);
        for (size_t class = 0; class < sizeof classes / sizeof *classes; class ++) {
            const struct prom_label labels[] = {
                {"method", route_list[i].method}, {"route", route_list[i].path}, {"status", classes[class]}};
            if (use->by_class[class]) {
                prom_sample(out, name, "", labels, 3, (double)use->by_class[class]);
            }
        }
    }
}

static void write_durations(struct buf *out, const struct exchange *x) {
    static const char name[] = "genrun_http_request_duration_seconds";
    static const double up_to[SERVER_BUCKETS - 1] = {0.001, 0.002, 0.005, 0.01, 0.025, 0.05,
                                                     0.1,   0.25,  1,     5,    30};
    prom_family(out, name, "histogram",
                "From the head of a request to its whole answer, by route; streams are left out.");
    for (size_t i = 0; i < route_count; i++) {
        const struct server_use *use = server_use(x, i);
        const struct prom_label labels[] = {{"method", route_list[i].method}, {"route", route_list[i].path}};
        bool used = false;
        for (size_t b = 0; b < SERVER_BUCKETS; b++) {
            used = used || use->bucket[b];
        }
        if (used) {
            prom_histogram(out, name, labels, 2, up_to, use->bucket, SERVER_BUCKETS - 1, use->seconds);
        }
    }
}

static void write_server(struct buf *out, const struct exchange *x) {
    struct server_numbers now;
    server_numbers(x, &now);
    const struct {
        const char *name, *type, *help;
        double value;
    } lines[] = {
        {"genrun_http_connections", "gauge", "Connections that are open.", now.connections},
        {"genrun_http_streams", "gauge", "Streams of events that are open.", now.streams},
        {"genrun_http_workers_busy", "gauge", "Threads for long requests that are at one.", now.busy},
        {"genrun_http_requests_waiting", "gauge",
         "Requests that wait for others' work, such as process-next.", now.waiting},
        {"genrun_http_connections_cut_total", "counter",
         "Connections ended because they were too slow or in the way.", (double)now.cut},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        prom_family(out, lines[i].name, lines[i].type, lines[i].help);
        prom_sample(out, lines[i].name, "", NULL, 0, lines[i].value);
    }
    write_requests(out, x);
    write_durations(out, x);
}

void metrics_get(struct exchange *x, genrun *g) {
    struct buf out;
    buf_init(&out, METRICS_MAXIMUM);
    host_metrics(g, write_host_line, &(struct host_lines){.out = &out});
    write_server(&out, x);
    if (out.overflow) {
        exchange_error(x, 500, NULL, "too_many_metrics", NULL,
                       "there are more than %zu bytes of metrics: use fewer names of models",
                       METRICS_MAXIMUM);
    } else {
        exchange_text(x, 200, PROM_MIME, buf_borrow(&out), out.length);
    }
    buf_free(&out);
}

// ---- health ----

static void write_reason(void *payload, const char *reason) {
    struct buf *reasons = payload;
    if (reasons->length) {
        buf_char(reasons, ',');
    }
    json_write_text(reasons, reason);
}

// Everybody hears whether it is well; why not, who may see everything.
void metrics_health(struct exchange *x, genrun *g) {
    struct buf reasons, answer;
    buf_init(&reasons, BUF_UNLIMITED);
    buf_init(&answer, BUF_UNLIMITED);
    host_health(g, write_reason, &reasons);
    buf_format(&answer, "{\"status\":\"%s\"", reasons.length ? "unavailable" : "ok");
    if (exchange_role(x) == ROLE_ADMIN) {
        buf_format(&answer, ",\"reasons\":[%s]", buf_borrow(&reasons));
    }
    buf_char(&answer, '}');
    exchange_answer_header(x, "Cache-Control", "no-store");
    exchange_json(x, reasons.length ? 503 : 200, &answer);
    buf_free(&reasons);
}
