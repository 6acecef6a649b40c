// SPDX-License-Identifier: MIT
// The formats: what an event looks like to its receiver.
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "run/webhook.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_COLUMNS 300 // of a message of slack
#define LINES 20         // of one message
#define LATER_MS 60000   // a batch that takes longer to end is told of before

// ---- standard ----

static void write_log(struct buf *out, const struct delivery_event *event) {
    buf_char(out, '{');
    json_write_member_integer(out, "id", event->id);
    json_write_member_text(out, "level", event->level);
    if (event->attempt)
        json_write_member_integer(out, "attempt", event->attempt);
    json_write_member_text(out, "message", event->message);
    json_write_member_raw(out, "data", event->data);
    buf_char(out, '}');
}

// The row's members, and the log's.
static void write_data(struct buf *out, const struct delivery_event *event, struct row *row, bool thin) {
    static const char *const kept[] = {"id", "status", "model_id", "user_id", "batch_job_id", NULL};
    struct buf log;
    buf_init(&log, BUF_UNLIMITED);
    write_log(&log, event);
    struct row *small = NULL;
    if (row && thin) {
        small = row_new();
        for (size_t i = 0; kept[i]; i++)
            row_add_text(small, kept[i], row_text(row, kept[i]));
        row = small;
    }
    buf_char(out, '{');
    if (row) {
        const char *json = row_json(row);
        size_t length = strlen(json);
        buf_append(out, json + 1, length > 2 ? length - 2 : 0);
    }
    if (!thin)
        json_write_member_raw(out, "log", buf_borrow(&log));
    buf_char(out, '}');
    row_free(small);
    buf_free(&log);
}

static void write_standard(struct buf *out, const struct delivery_event *event, struct row *row, bool thin) {
    char at[CLOCK_ISO_SIZE];
    clock_format_iso(event->created_at, at);
    buf_clear(out);
    buf_char(out, '{');
    json_write_member_text(out, "type", event->event);
    json_write_member_text(out, "timestamp", at);
    json_write_key(out, "data");
    write_data(out, event, row, thin);
    buf_char(out, '}');
}

// ---- openai ----

static const char *openai_type(const struct delivery_event *event, const struct webhook_subject *subject) {
    static const struct {
        const char *status, *type;
    } ends[] = {{"completed", "batch.completed"}, {"failed", "batch.failed"},
                {"expired", "batch.expired"},     {"finalizing", "batch.expired"},
                {"cancelled", "batch.cancelled"}, {"cancelling", "batch.cancelled"}};
    static const char *const events[] = {"batch.completed", "batch.failed", "batch.cancelled",
                                         "batch.refused"};
    bool is_end = false;
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        is_end = is_end || strcmp(event->event, events[i]) == 0;
    for (size_t i = 0; is_end && i < sizeof ends / sizeof *ends; i++)
        if (strcmp(subject->openai_status, ends[i].status) == 0)
            return ends[i].type;
    return NULL;
}

static void write_openai(struct buf *out, const struct delivery_event *event, const char *type,
                         const char *id) {
    buf_char(out, '{');
    char own[48];
    snprintf(own, sizeof own, "evt_%lld", (long long)event->id);
    json_write_member_text(out, "id", own);
    json_write_member_text(out, "object", "event");
    json_write_member_integer(out, "created_at", event->created_at / 1000);
    json_write_member_text(out, "type", type);
    json_write_key(out, "data");
    buf_char(out, '{');
    json_write_member_text(out, "id", id);
    buf_text(out, "}}");
}

// ---- slack ----

// A line of text, with what means something to Slack escaped.
static void write_escaped(struct buf *out, const char *text, size_t columns) {
    struct buf line;
    buf_init(&line, BUF_UNLIMITED);
    text_escape(&line, text, strlen(text), columns);
    for (const char *c = buf_borrow(&line); *c; c++) {
        const char *entity = *c == '&' ? "&amp;" : *c == '<' ? "&lt;" : *c == '>' ? "&gt;" : NULL;
        if (entity)
            buf_text(out, entity);
        else
            buf_char(out, *c);
    }
    buf_free(&line);
}

static void write_word(struct buf *out, const char *before, const char *text) {
    if (!text || !*text)
        return;
    buf_text(out, before);
    write_escaped(out, text, 60);
}

static void write_line(struct buf *out, const struct delivery_event *event, const struct row *row) {
    const char *id = row ? row_text(row, "id") : NULL;
    buf_char(out, '*');
    buf_text(out, event->event);
    buf_char(out, '*');
    if (id)
        buf_format(out, " `%s`", strlen(id) > 8 ? id + strlen(id) - 8 : id);
    if (row) {
        write_word(out, " ", row_text(row, "name"));
        write_word(out, " model ", row_text(row, "model_id"));
        write_word(out, " user ", row_text(row, "user_id"));
    }
    if (row && row_text(row, "total_items"))
        buf_format(out, " %s of %s succeeded", row_text(row, "successful_items"),
                   row_text(row, "total_items"));
    const char *name = row ? row_text(row, "name") : NULL; // the message of batch.created
    if (event->message && *event->message && (!name || strcmp(event->message, name) != 0)) {
        buf_text(out, ": ");
        write_escaped(out, event->message, LINE_COLUMNS);
    }
}

static bool is_of_generation(const struct delivery *line) {
    return text_starts_with(line->body, "*generation.");
}

// Of many, what is no generation's comes first: an alert or a batch's end must not be lost among its failures.
void webhook_write_slack(struct buf *out, const struct delivery *lines, size_t count) {
    struct buf text;
    size_t others = 0, shown = 0;
    for (size_t i = 0; i < count; i++)
        others += !is_of_generation(&lines[i]);
    others = others < LINES ? others : LINES;
    size_t generations = LINES - others;
    buf_init(&text, BUF_UNLIMITED);
    for (size_t i = 0; i < count; i++) {
        size_t *left = is_of_generation(&lines[i]) ? &generations : &others;
        if (*left == 0)
            continue;
        (*left)--;
        buf_text(&text, shown++ ? "\n" : "");
        buf_text(&text, lines[i].body);
    }
    if (count > shown)
        buf_format(&text, "\n… and %zu more", count - shown);
    buf_char(out, '{');
    json_write_member_text(out, "text", buf_borrow(&text));
    buf_char(out, '}');
    buf_free(&text);
}

// ---- either ----

bool webhook_write_body(const struct webhook_endpoint *w, const struct delivery_event *event,
                        const struct webhook_subject *subject, char type[64], struct buf *body) {
    const char *sent = event->event;
    if (w->format == WEBHOOK_OPENAI && (!subject->openai_id[0] || !(sent = openai_type(event, subject))))
        return false;
    snprintf(type, 64, "%s", sent);
    if (w->format == WEBHOOK_OPENAI)
        write_openai(body, event, sent, subject->openai_id);
    else if (w->format == WEBHOOK_SLACK)
        write_line(body, event, subject->row);
    else
        write_standard(body, event, subject->row, false);
    if (w->format == WEBHOOK_STANDARD && body->length >= WEBHOOK_BODY_MAXIMUM)
        write_standard(body, event, subject->row, true);
    return true;
}

void webhook_write_test(const struct webhook_endpoint *w, int64_t now_at, struct buf *body) {
    char name[] = "webhook.test", level[] = "info", message[] = "a test of genrun: this endpoint is reached";
    const struct delivery_event event = {
        .created_at = now_at, .event = name, .level = level, .message = message};
    if (w->format == WEBHOOK_OPENAI) {
        write_openai(body, &event, name, "batch_test");
    } else if (w->format == WEBHOOK_SLACK) {
        struct buf line;
        buf_init(&line, BUF_UNLIMITED);
        write_line(&line, &event, NULL);
        const struct delivery lines = {.body = buf_take(&line)};
        webhook_write_slack(body, &lines, 1);
        free(lines.body);
    } else {
        write_standard(body, &event, NULL, false);
    }
}

static bool is_listed(char *const *list, const char *word) {
    for (size_t i = 0; word && list[i]; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}

// Of a model and a user that the endpoint wants? What is of nobody is for all; a batch job is of the models of its items.
static int is_meant(struct db *db, const struct webhook_endpoint *w, const struct delivery_event *event,
                    const struct row *row, bool *meant, struct err *e) {
    bool has_model = event->generation_seq || event->batch_seq;
    bool of_model = !w->models || !has_model || (row && is_listed(w->models, row_text(row, "model_id")));
    int result = 0;
    if (!of_model && !event->generation_seq)
        result = delivery_has_model(db, event->batch_seq, w->models, &of_model, e);
    *meant = (!has_model && !row) ||
             (of_model && (!w->users || (row && is_listed(w->users, row_text(row, "user_id")))));
    return result;
}

static bool is_ending(const struct webhook_subject *subject) {
    return strcmp(subject->openai_status, "cancelling") == 0 ||
           strcmp(subject->openai_status, "finalizing") == 0;
}

int webhook_body(struct db *db, const struct webhook_endpoint *w, const struct delivery_event *event,
                 int64_t now_at, char type[64], struct buf *body, enum webhook_wish *wish, struct err *e) {
    struct webhook_subject subject = {0};
    int64_t age_ms = now_at - event->created_at;
    int result = delivery_subject(db, event, &subject.row, e);
    if (!result && w->format == WEBHOOK_OPENAI)
        result = delivery_openai(db, event, subject.openai_id, subject.openai_status, e);
    bool meant = false;
    if (!result)
        result = is_meant(db, w, event, subject.row, &meant, e);
    bool wanted = !result && meant && webhook_write_body(w, event, &subject, type, body) &&
                  (w->format != WEBHOOK_OPENAI || webhook_wants(w, type));
    bool later = wanted && is_ending(&subject) && age_ms > -LATER_MS && age_ms < LATER_MS;
    *wish = later ? WEBHOOK_LATER : wanted ? WEBHOOK_WANTED : WEBHOOK_NOTHING;
    row_free(subject.row);
    return result;
}
